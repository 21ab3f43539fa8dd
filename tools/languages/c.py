"""C11 and C++11: declarations that are right on every target, assertions, the loop of a reader.

The reader's loop is C in its own file, text/reader.h.in.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from textwrap import wrap
from typing import TYPE_CHECKING, NamedTuple

from runstate_abi.layouts.model import STRUCT, Field, Layout, Scalar
from runstate_abi.layouts.structs.runstate import RUNSTATES, XEN_RUNSTATE_UPDATE, update_byte
from runstate_abi.tools.languages.promises import (
    GUESTS,
    Mirror,
    filled,
    is_lowered,
    measured,
    numbers,
    promises,
    whose,
)

if TYPE_CHECKING:
    from runstate_abi.tools.languages.families import Content


class Macro(NamedTuple):
    name: str
    form: str  # takes the condition (``good`` or ``bad``) and the message
    in_function: bool  # it is a statement, so it cannot be at file scope
    whose: str


# fmt: off
MACROS = (
    Macro("_Static_assert",     "_Static_assert({good},\n\t{message});",   False, "C11"),
    Macro("static_assert",      "static_assert({good},\n\t{message});",    False, "C23, Linux and <assert.h>"),
    Macro("BUILD_BUG_ON",       "BUILD_BUG_ON({bad});",                 True,  "Linux, Xen"),
    Macro("BUILD_BUG_ON_MSG",   "BUILD_BUG_ON_MSG({bad},\n\t{message});",  True,  "Linux"),
    Macro("QEMU_BUILD_BUG_ON",  "QEMU_BUILD_BUG_ON({bad});",            False, "QEMU"),
    Macro("QEMU_BUILD_BUG_MSG", "QEMU_BUILD_BUG_MSG({bad},\n\t{message});", False, "QEMU"),
    Macro("CTASSERT",           "CTASSERT({good});",                    False, "FreeBSD"),
)
# fmt: on
MACRO = {macro.name: macro for macro in MACROS}

# Xen's headers may define these first. Then they must be the same.
CONSTANTS = (
    ("XEN_RUNSTATE_UPDATE", f"{XEN_RUNSTATE_UPDATE:#x}ULL"),
    *((runstate.constant, str(runstate.value)) for runstate in RUNSTATES),
)


def header(macro: Macro = MACROS[0], reader: bool = False) -> Iterator[str]:
    """Yield a header: constants, both structs, the assertions, and the reader's loop if asked."""
    guard = "RUNSTATE_READER_H" if reader else "RUNSTATE_ABI_H"
    yield "/* The Xen runstate area, byte by byte, and assertions that it is so."
    yield f" * Made by `runstate emit c{'-reader' if reader else ''}` from its tables: do not edit."
    yield " */"
    yield from (f"#ifndef {guard}", f"#define {guard}", "")
    yield from ("#include <stddef.h>", "#include <stdint.h>", "")
    yield from constants()
    for guest in GUESTS:
        yield ""
        yield from declaration(type_name(guest.bits), guest.layout)
    mirrors = [Mirror(f"struct {type_name(g.bits)}", g.layout) for g in GUESTS]
    yield from assertions(mirrors, macro, CONSTANTS)
    if reader:
        yield ""
        yield from filled("reader.h", numbers())
    yield from ("", f"#endif /* {guard} */")


with_reader = partial(header, reader=True)


def mirrored(mirrors: Sequence[Mirror], macro: Macro = MACROS[0]) -> Iterator[str]:
    """Yield assertions alone, about structs that the user's headers declare."""
    yield f"/* What {whose(mirrors)} asks of the structs below; include this where they are"
    yield " * declared, and <stddef.h>. Made by `runstate emit c`: do not edit."
    yield " */"
    yield from assertions(mirrors, macro)


def type_name(bits: int) -> str:
    return f"vcpu_runstate_info_{bits}"


def constants() -> Iterator[str]:
    """Yield the #defines; those that Xen's headers already have are left alone."""
    yield "#ifndef XEN_RUNSTATE_UPDATE"
    yield "/* in state_entry_time: an update is in progress */"
    yield f"#define XEN_RUNSTATE_UPDATE {XEN_RUNSTATE_UPDATE:#x}ULL"
    yield from ("#endif", f"#ifndef {RUNSTATES[0].constant}")
    for runstate in RUNSTATES:
        # Long meanings continue in a second line. A man page has no room for more than 71 columns.
        words = ("\n" + " " * 29 + "* ").join(wrap(runstate.meaning, 37))
        yield from f"#define {runstate.constant:<17} {runstate.value} /* {words} */".splitlines()
    yield "#endif"


def declaration(name: str, layout: Layout, align: str = "_Alignas") -> Iterator[str]:
    """Yield a runstate struct with its guest and its update byte."""
    bits = next(guest.bits for guest in GUESTS if guest.layout == layout)
    about = f"{layout.name} of a {bits}-bit x86 guest"
    yield from _struct(name, layout, align, about, update_byte(layout))


def _struct(
    name: str, layout: Layout, align: str, about: str, update: int | None = None
) -> Iterator[str]:
    """Yield ``struct name`` with offset and size of each member, as pahole writes them.

    It has this layout on every target: the holes are members, so neither the target's alignment of
    64-bit integers nor a compiler option changes it.
    """
    lowered = is_lowered(layout)
    if lowered:
        yield f"#pragma pack(push, {layout.alignment})"
    yield f"/* {about} */"
    yield f"struct {name} {{"
    # The first member sets the alignment of the struct, in case the target has a smaller one.
    first = "" if lowered else f"{align}({layout.alignment}) "
    columns = [
        (f"{first * (not row.offset)}{c_type(row.type)} {row.declaration};", row)
        for row in layout.rows
    ]
    wide = max(len(text) for text, _ in columns)
    for text, row in columns:
        yield f"\t{text:<{wide}} /* {row.offset:5} {row.size:5} */"
    yield ""
    yield f"\t/* size: {layout.size}, align: {layout.alignment}, members: {len(layout.members)} */"
    if update is not None:
        yield f"\t/* update byte: {update} (little-endian) */"
    yield "};"
    if lowered:
        yield "#pragma pack(pop)"


def c_type(scalar: Scalar) -> str:
    if scalar.kind == STRUCT:
        return scalar.name
    return f"{'' if scalar.signed else 'u'}int{scalar.size * 8}_t"


def family(content: "Content", macro: Macro = MACROS[0]) -> Iterator[str]:
    """Yield a header of a family's structs, behind runstate's own header if it is every family's."""
    if content.with_runstate:
        yield from (*header(macro), "")
    guard = f"RUNSTATE_{content.name.upper()}_H"
    yield f"/* {content.about[0]}"
    yield from (f" * {line}" for line in content.about[1:])
    yield " */"
    yield from (f"#ifndef {guard}", f"#define {guard}", "")
    yield from ("#include <stddef.h>", "#include <stdint.h>")
    for about, part in content.parts:
        yield ""
        yield from _struct(part.name, part, "_Alignas", about)
    mirrors = [Mirror(f"struct {one.claim.name}", one.claim) for one in content.structs]
    yield from assertions(mirrors, macro, function=f"runstate_{content.name}_assertions")
    yield from ("", f"#endif /* {guard} */")


def assertions(
    mirrors: Sequence[Mirror],
    macro: Macro,
    constants: Sequence[tuple[str, str]] = (),
    function: str = "runstate_abi_assertions",
) -> Iterator[str]:
    """Yield every promise about each struct as an assertion; a statement macro gets a function."""
    lines: list[str] = []
    for mirror in mirrors:
        for promise in promises(mirror.layout, mirror.type_name.removeprefix("struct ")):
            expression = measured(C_FORMS, mirror.type_name, promise)
            lines += _assertion(expression, promise.number, promise.sentence, macro)
    for name, value in constants:
        lines += _assertion(name, value, f"{name} must be {value}", macro)
    yield ""
    if not macro.in_function:
        yield from lines
        return
    yield f"/* {macro.name} is a statement: call this from code that is compiled. */"
    yield from (f"static inline void {function}(void)", "{")
    yield from (f"\t{line}" for line in lines)
    yield "}"


def _assertion(expression: str, number: int | str, sentence: str, macro: Macro) -> Iterator[str]:
    if "message" not in macro.form:
        yield f"/* {sentence}. */"
    good, bad = f"{expression} == {number}", f"{expression} != {number}"
    yield from macro.form.format(good=good, bad=bad, message=f'"{sentence}"').splitlines()


C_FORMS = {
    "member": "(({type} *)0)->{name}",
    "element": "{member}[0]",
    "size": "sizeof({type})",
    "alignment": "_Alignof({type})",
    "offset": "offsetof({type}, {name})",
    "member-size": "sizeof({member})",
    "element-size": "sizeof({element})",
    "signed": "((__typeof__({element}))-1 < 1)",
}
_OF = "static_cast<decltype({plus}{element})>"
CPP_FORMS = C_FORMS | {
    "member": "{type}::{name}",
    "alignment": "alignof({type})",
    # decltype() of an element is a reference, which the + takes away, and a scoped enumeration has
    # no unary +. No <type_traits>: a kernel does not have it.
    "signed": f"({_OF}(-1) < {_OF}(1))",
}


def cpp() -> Iterator[str]:
    """Yield a C++ header: the same declarations in a namespace, and static_assert."""
    yield "// The Xen runstate area, byte by byte, and assertions that it is so: C++11."
    yield "// Made by `runstate emit cpp` from its tables: do not edit."
    yield from ("#pragma once", "", "#include <stddef.h>", "#include <stdint.h>", "")
    yield from ("namespace runstate_abi {", "")
    # Not the kernel's names: if Xen's headers define them as macros, these would not compile.
    yield f"constexpr uint64_t update_flag = {XEN_RUNSTATE_UPDATE:#x}ULL;"
    for runstate in RUNSTATES:
        yield f"constexpr int {runstate.name} = {runstate.value}; // {runstate.meaning}"
    for guest in GUESTS:
        yield ""
        yield from declaration(type_name(guest.bits), guest.layout, "alignas")
    yield ""
    yield from _cpp_assertions(Mirror(type_name(g.bits), g.layout) for g in GUESTS)
    yield from ("", "} // namespace runstate_abi")


def cpp_mirrored(mirrors: Sequence[Mirror]) -> Iterator[str]:
    """Yield assertions alone, about structs that the reader's own headers declare."""
    yield f"// What {whose(mirrors)} asks of the structs below; include this where they are"
    yield "// declared, and <stddef.h>. Made by `runstate emit cpp`: do not edit."
    yield from _cpp_assertions(mirrors)


def _cpp_assertions(mirrors: Iterable[Mirror]) -> Iterator[str]:
    for mirror in mirrors:
        for promise in promises(mirror.layout, mirror.type_name.removeprefix("struct ")):
            if promise.kind == "signed" and _promoted(promise.member):
                continue
            expression = measured(CPP_FORMS, mirror.type_name, promise)
            yield f"static_assert({expression} == {promise.number},"
            yield f'\t"{promise.sentence}");'


# The + before an element makes an int of these, whose sign says nothing.
def _promoted(member: Field | None) -> bool:
    return member is not None and member.count > 1 and member.type.size < 4


def cpp_family(content: "Content") -> Iterator[str]:
    """Yield a C++ header of a family's structs."""
    if content.with_runstate:
        yield from (*cpp(), "")
    yield from (f"// {line}" for line in content.about)
    yield from ("#pragma once", "", "#include <stddef.h>", "#include <stdint.h>", "")
    yield "namespace runstate_abi {"
    for about, part in content.parts:
        yield ""
        yield from _struct(part.name, part, "alignas", about)
    yield ""
    yield from _cpp_assertions(Mirror(one.claim.name, one.claim) for one in content.structs)
    yield from ("", "} // namespace runstate_abi")
