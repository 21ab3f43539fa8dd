"""C11 and C++11: declarations that are right on every target, assertions, the loop of a reader.

The reader's loop is C in its own file, text/reader.h.in.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from textwrap import wrap
from typing import NamedTuple

from runstate_abi.layouts.model import Field, Layout, Scalar
from runstate_abi.layouts.structs.runstate import RUNSTATES, XEN_RUNSTATE_UPDATE, update_byte
from runstate_abi.tools.languages.promises import (
    GUESTS,
    Mirror,
    Promise,
    filled,
    is_lowered,
    numbers,
    promises,
)


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
    yield "/* What the Xen runstate ABI asks of the structs below; include this where they are"
    yield " * declared, and <stddef.h>. Made by `runstate emit c`: do not edit."
    yield " */"
    yield from assertions(mirrors, macro)


def type_name(bits: int) -> str:
    return f"vcpu_runstate_info_{bits}"


def constants() -> Iterator[str]:
    """Yield the #defines; those that Xen's headers already have are left alone."""
    yield "#ifndef XEN_RUNSTATE_UPDATE"
    yield f"#define XEN_RUNSTATE_UPDATE {XEN_RUNSTATE_UPDATE:#x}ULL /* in state_entry_time */"
    yield from ("#endif", f"#ifndef {RUNSTATES[0].constant}")
    for runstate in RUNSTATES:
        # Long meanings continue in a second line.
        words = ("\n" + " " * 29 + "* ").join(wrap(runstate.meaning, 46))
        yield from f"#define {runstate.constant:<17} {runstate.value} /* {words} */".splitlines()
    yield "#endif"


def declaration(name: str, layout: Layout, align: str = "_Alignas") -> Iterator[str]:
    """Yield ``struct name`` with offset and size of each member, as pahole writes them.

    It has this layout on every target: the holes are members, so neither the target's alignment of
    64-bit integers nor a compiler option changes it.
    """
    lowered = is_lowered(layout)
    if lowered:
        yield f"#pragma pack(push, {layout.alignment})"
    bits = next(guest.bits for guest in GUESTS if guest.layout == layout)
    yield f"/* {layout.name} of a {bits}-bit x86 guest */"
    yield f"struct {name} {{"
    columns = [
        (f"{_aligner(layout, row, align)}{c_type(row.type)} {row.declaration};", row)
        for row in layout.rows
    ]
    wide = max(len(text) for text, _ in columns)
    for text, row in columns:
        yield f"\t{text:<{wide}} /* {row.offset:5} {row.size:5} */"
    yield ""
    yield f"\t/* size: {layout.size}, align: {layout.alignment}, members: {len(layout.members)} */"
    yield f"\t/* update byte: {update_byte(layout)} (little-endian) */"
    yield "};"
    if lowered:
        yield "#pragma pack(pop)"


# The first member sets the alignment of the struct, in case the target has a smaller one.
def _aligner(layout: Layout, row: Field, align: str) -> str:
    return f"{align}({layout.alignment}) " if not row.offset and not is_lowered(layout) else ""


def c_type(scalar: Scalar) -> str:
    return f"{'' if scalar.signed else 'u'}int{scalar.size * 8}_t"


def assertions(
    mirrors: Sequence[Mirror], macro: Macro, constants: Sequence[tuple[str, str]] = ()
) -> Iterator[str]:
    """Yield every promise about each struct as an assertion; a statement macro gets a function."""
    lines = [
        line
        for mirror in mirrors
        for promise in promises(mirror.layout, mirror.type_name.removeprefix("struct "))
        for line in _assertion(
            expression(mirror.type_name, promise), promise.number, promise.sentence, macro
        )
    ]
    for name, value in constants:
        lines += _assertion(name, value, f"{name} must be {value}", macro)
    yield ""
    if not macro.in_function:
        yield from lines
        return
    yield f"/* {macro.name} is a statement: call this from code that is compiled. */"
    yield from ("static inline void runstate_abi_assertions(void)", "{")
    yield from (f"\t{line}" for line in lines)
    yield "}"


def _assertion(measured: str, number: int | str, sentence: str, macro: Macro) -> Iterator[str]:
    if "message" not in macro.form:
        yield f"/* {sentence}. */"
    good, bad = f"{measured} == {number}", f"{measured} != {number}"
    yield from macro.form.format(good=good, bad=bad, message=f'"{sentence}"').splitlines()


def expression(c_type: str, promise: Promise) -> str:
    """Return the C expression for what a promise is about."""
    if promise.member is None:
        return f"{'sizeof' if promise.kind == 'size' else '_Alignof'}({c_type})"
    name = promise.member.name
    element = f"(({c_type} *)0)->{name}{'[0]' if promise.member.count > 1 else ''}"
    return {
        "offset": f"offsetof({c_type}, {name})",
        "member-size": f"sizeof((({c_type} *)0)->{name})",
        "element-size": f"sizeof({element})",
        "signed": f"((__typeof__({element}))-1 < 1)",
    }[promise.kind]


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


def cpp_mirrored(mirrors: Iterable[Mirror]) -> Iterator[str]:
    """Yield assertions alone, about structs that the reader's own headers declare."""
    yield "// What the Xen runstate ABI asks of the structs below; include this where they are"
    yield "// declared, and <stddef.h>. Made by `runstate emit cpp`: do not edit."
    yield from _cpp_assertions(mirrors)


def _cpp_assertions(mirrors: Iterable[Mirror]) -> Iterator[str]:
    for mirror in mirrors:
        for promise in promises(mirror.layout, mirror.type_name.removeprefix("struct ")):
            yield f"static_assert({_cpp_expression(mirror.type_name, promise)} == {promise.number},"
            yield f'\t"{promise.sentence}");'


def _cpp_expression(name: str, promise: Promise) -> str:
    if promise.member is None:
        return f"{'sizeof' if promise.kind == 'size' else 'alignof'}({name})"
    member = f"{name}::{promise.member.name}"
    element = f"{member}[0]" if promise.member.count > 1 else member
    # decltype() of an element is a reference, and a scoped enumeration has no unary +.
    of = f"decltype(+{element})" if promise.member.count > 1 else f"decltype({member})"
    return {
        "offset": f"offsetof({name}, {promise.member.name})",
        "member-size": f"sizeof({member})",
        "element-size": f"sizeof({element})",
        # No <type_traits>: a kernel does not have it.
        "signed": f"(static_cast<{of}>(-1) < static_cast<{of}>(1))",
    }[promise.kind]
