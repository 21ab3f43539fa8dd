"""Rust 1.77 and Zig: declarations with the holes as members, and assertions at compile time.

The loop of Rust's reader is in text/reader.rs.in.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from textwrap import wrap

from runstate_abi.layouts.model import STRUCT, Field, Layout, Scalar
from runstate_abi.layouts.structs.runstate import RUNSTATES, XEN_RUNSTATE_UPDATE
from runstate_abi.tools.languages.families import Content, described
from runstate_abi.tools.languages.promises import (
    GUESTS,
    Guest,
    Mirror,
    Promise,
    filled,
    is_lowered,
    measured,
    natural,
    numbers,
    promises,
    sentence,
    whose,
    widest,
)

DOC_WIDE = 67  # behind ///, so that a man page can show it


def rust(reader: bool = False) -> Iterator[str]:
    """Yield a Rust module that needs only core, with the reader's loop if asked."""
    word = "rust-reader" if reader else "rust"
    yield "// The Xen runstate area, byte by byte, and assertions that it is so: Rust 1.77, no std."
    yield f"// Made by `runstate emit {word}` from its tables: do not edit."
    yield ""
    yield "/// In `state_entry_time`: an update is in progress."
    yield f"pub const XEN_RUNSTATE_UPDATE: u64 = {XEN_RUNSTATE_UPDATE:#x};"
    for runstate in RUNSTATES:
        yield from (f"/// {line}" for line in wrap(sentence(runstate.meaning), DOC_WIDE))
        yield f"pub const {runstate.constant.upper()}: u32 = {runstate.value};"
    for guest in GUESTS:
        yield ""
        layout, how = guest.layout, "packed" if is_lowered(guest.layout) else "align"
        about = f"`{layout.name}` of a {guest.bits}-bit x86 guest: {layout.size} bytes."
        how = f"C, {how}({layout.alignment})"
        yield from _rust_struct(_type_name(guest), _unsigned(layout), about, how)
    yield from _rust_assertions(Mirror(_type_name(guest), guest.layout) for guest in GUESTS)
    if reader:
        yield ""
        yield from filled("reader.rs", numbers())


def rust_mirrored(mirrors: Sequence[Mirror]) -> Iterator[str]:
    """Yield assertions alone, about structs that the module around it declares (Rust 1.77)."""
    yield f"// What {whose(mirrors)} asks of the structs below; include!() this where they are"
    yield "// declared. Made by `runstate emit rust`: do not edit."
    yield from _rust_assertions(mirrors)


def _rust_assertions(mirrors: Iterable[Mirror]) -> Iterator[str]:
    for mirror in mirrors:
        mirror = mirror._replace(type_name=mirror.type_name.removeprefix("struct "))
        yield from ("", "const _: () = {", "    #[allow(unused_imports)]")
        yield "    use core::mem::{align_of, offset_of, size_of};"
        yield "    const fn member<T, F>(_: fn(*const T) -> *const F) -> usize { size_of::<F>() }"
        yield "    #[allow(dead_code)]"
        yield "    const fn element<T, F, const N: usize>("
        yield "        _: fn(*const T) -> *const [F; N],"
        yield "    ) -> usize {"
        yield "        size_of::<F>()"
        yield "    }"
        for promise in promises(mirror.layout, mirror.type_name):
            if promise.kind in RUST_FORMS:
                named = _renamed(promise, _rust_path)
                expression = measured(RUST_FORMS, mirror.type_name, named)
                yield f'    assert!({expression} == {promise.number}, "{promise.sentence}");'
        yield "};"


rust_with_reader = partial(rust, reader=True)


def _type_name(guest: Guest) -> str:
    return f"VcpuRunstateInfo{guest.bits}"


# C has int for the state, in which nobody stores a number below 0. Rust compares it with a constant
# only if both have one type: that of the reader's snapshot.
def _unsigned(layout: Layout) -> Layout:
    return layout._replace(
        rows=tuple(row._replace(type=row.type._replace(signed=False)) for row in layout.rows)
    )


def _rust_struct(name: str, layout: Layout, about: str, how: str) -> Iterator[str]:
    yield f"/// {about}"
    yield f"#[repr({how})]"
    yield "#[derive(Clone, Copy)]"
    yield f"pub struct {name} {{"
    for row in layout.rows:
        element = _scalar(row.type)
        type_ = element if row.count == 1 else f"[{element}; {row.count}]"
        yield f"    pub {_rust_path(row.name)}: {type_}, // offset {row.offset}, {row.size} bytes"
    yield "}"


def _scalar(scalar: Scalar) -> str:
    if scalar.kind == STRUCT:
        return _camel(scalar.name.removeprefix("struct "))
    return f"{'i' if scalar.signed else 'u'}{scalar.size * 8}"


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


# Of the words that C leaves to a member, those that are Rust's.
_RUST_WORDS = """
as async await box crate dyn fn impl in let loop match mod move mut priv pub ref trait type
unsafe use where yield
"""


def _rust_path(path: str) -> str:
    return ".".join(
        f"r#{part}" if part in _RUST_WORDS.split() else part for part in path.split(".")
    )


# A packed struct may have none with align() in it, so this has it only where a target may differ.
def _rust_alignment(layout: Layout) -> str:
    if is_lowered(layout):
        return f", packed({layout.alignment})"
    given = min(widest(layout.rows), 4)  # on every target
    return f", align({layout.alignment})" if layout.alignment != given else ""


def rust_family(content: Content) -> Iterator[str]:
    """Yield a Rust module of a family's structs."""
    if content.with_runstate:
        yield from (*rust(), "")
    yield from (f"// {line}" for line in content.about)
    if any(len(struct.parts) > 1 for struct in content.structs):
        yield "// Rust 1.82, whose offset_of! takes a path."
    for about, part in content.parts:
        yield ""
        text = f"`{part.name}`, {described(part, about)}."
        yield from _rust_struct(_camel(part.name), part, text, f"C{_rust_alignment(part)}")
    yield from _rust_assertions(Mirror(_camel(x.claim.name), x.claim) for x in content.structs)


# The sign of a member is not measured: in Rust that would take its type, which may be an enum or
# atomic.
RUST_FORMS = {
    "member": "|x: *const {type}| unsafe {{ core::ptr::addr_of!((*x).{name}) }}",
    "element": "{member}",
    "size": "size_of::<{type}>()",
    "alignment": "align_of::<{type}>()",
    "offset": "offset_of!({type}, {name})",
    "member-size": "member({member})",
    "element-size": "element({member})",
}


def zig() -> Iterator[str]:
    """Yield a Zig module: extern structs, and a comptime block that refuses any other layout."""
    yield "//! The Xen runstate area, byte by byte, and a proof at compile time that it is so."
    yield "//! Made by `runstate emit zig` from its tables: do not edit."
    yield ""
    yield "/// In state_entry_time: an update is in progress."
    yield f"pub const XEN_RUNSTATE_UPDATE: u64 = {XEN_RUNSTATE_UPDATE:#x};"
    for runstate in RUNSTATES:
        yield f"/// {sentence(runstate.meaning)}"
        yield f"pub const {runstate.constant} = {runstate.value};"
    for guest in GUESTS:
        yield ""
        yield f"/// {guest.layout.name} of a {guest.bits}-bit x86 guest: {guest.layout.size} bytes."
        yield from _zig_struct(_type_name(guest), guest.layout)
    yield ""
    yield from _zig_assertions(Mirror(_type_name(guest), guest.layout) for guest in GUESTS)


def _zig_struct(name: str, layout: Layout) -> Iterator[str]:
    yield f"pub const {name} = extern struct {{"
    for row in layout.rows:
        type_ = _scalar(row.type) if row.count == 1 else f"[{row.count}]{_scalar(row.type)}"
        yield f"    {_zig_name(row.name)}: {type_}{_aligned(row, layout)}, // offset {row.offset}"
    yield "};"


# The alignment of each 64-bit member puts it at its offset, and the first's may be the struct's.
def _aligned(row: Field, layout: Layout) -> str:
    most = layout.alignment or 1
    raised = not row.offset and most > widest(layout.rows)
    alignment = most if raised else min(natural(row), most)
    is_own = alignment == natural(row) and row.type.size != 8
    return "" if is_own else f" align({alignment})"


def _zig_assertions(mirrors: Iterable[Mirror]) -> Iterator[str]:
    yield "comptime {"
    for mirror in mirrors:
        for promise in promises(mirror.layout, mirror.type_name):
            yield f"    if ({_zig_measured(mirror.type_name, promise)} != {promise.number})"
            yield f'        @compileError("{promise.sentence}");'
    yield "}"


# @offsetOf() takes no path, so its parts are added up.
def _zig_measured(type_name: str, promise: Promise) -> str:
    outer = ""
    *through, _ = promise.member.name.split(".") if promise.member else [""]
    for part in through:
        outer += f'@offsetOf({type_name}, "{part}") + '
        type_name = f'@FieldType({type_name}, "{part}")'
    last = _renamed(promise, lambda path: path.rpartition(".")[2])
    return outer * (promise.kind == "offset") + measured(ZIG_FORMS, type_name, last)


def _renamed(promise: Promise, name: Callable[[str], str]) -> Promise:
    member = promise.member
    return promise._replace(member=member and member._replace(name=name(member.name)))


# Of the words that C leaves to a member, those that are Zig's.
_ZIG_WORDS = """
align and defer error export fn noalias opaque or packed pub resume suspend test try var
"""


def _zig_name(name: str) -> str:
    return f'@"{name}"' if name in _ZIG_WORDS.split() else name


def zig_family(content: Content) -> Iterator[str]:
    """Yield a Zig module of a family's structs."""
    if content.with_runstate:
        yield from (*zig(), "")
    yield from (f"// {line}" for line in content.about)
    for about, part in content.parts:
        yield from ("", f"/// {part.name}, {described(part, about)}.")
        yield from _zig_struct(_camel(part.name), part)
    for struct in content.structs:
        yield ""
        yield from _zig_assertions([Mirror(_camel(struct.claim.name), struct.claim)])


ZIG_FORMS = {
    "member": '@FieldType({type}, "{name}")',
    "element": "@typeInfo({member}).array.child",
    "size": "@sizeOf({type})",
    "alignment": "@alignOf({type})",
    "offset": '@offsetOf({type}, "{name}")',
    "member-size": "@sizeOf({member})",
    "element-size": "@sizeOf({element})",
    "signed": "@intFromBool(@typeInfo({element}).int.signedness == .signed)",
}
