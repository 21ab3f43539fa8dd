"""Rust 1.77 and Zig: declarations with the holes as members, and assertions at compile time.

The loop of Rust's reader is in text/reader.rs.in.
"""

from collections.abc import Iterable, Iterator
from functools import partial

from runstate_abi.layouts.model import Field, Layout, Scalar
from runstate_abi.layouts.structs.runstate import RUNSTATES, XEN_RUNSTATE_UPDATE
from runstate_abi.tools.languages.promises import (
    GUESTS,
    Guest,
    Mirror,
    Promise,
    filled,
    is_lowered,
    numbers,
    promises,
    sentence,
)


def rust(reader: bool = False) -> Iterator[str]:
    """Yield a Rust module that needs only core, with the reader's loop if asked."""
    word = "rust-reader" if reader else "rust"
    yield "// The Xen runstate area, byte by byte, and assertions that it is so: Rust 1.77, no std."
    yield f"// Made by `runstate emit {word}` from its tables: do not edit."
    yield ""
    yield "/// In `state_entry_time`: an update is in progress."
    yield f"pub const XEN_RUNSTATE_UPDATE: u64 = {XEN_RUNSTATE_UPDATE:#x};"
    for runstate in RUNSTATES:
        yield f"/// {sentence(runstate.meaning)}"
        yield f"pub const {runstate.constant.upper()}: i32 = {runstate.value};"
    for guest in GUESTS:
        yield ""
        yield from _rust_struct(guest)
    yield from _rust_assertions(Mirror(_type_name(guest), guest.layout) for guest in GUESTS)
    if reader:
        yield ""
        yield from filled("reader.rs", numbers())


def rust_mirrored(mirrors: Iterable[Mirror]) -> Iterator[str]:
    """Yield assertions alone, about structs that the module around it declares (Rust 1.77)."""
    yield "// What the Xen runstate ABI asks of the structs below; include!() this where they are"
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
            yield from _rust_assertion(mirror.type_name, promise)
        yield "};"


rust_with_reader = partial(rust, reader=True)


def _type_name(guest: Guest) -> str:
    return f"VcpuRunstateInfo{guest.bits}"


def _rust_struct(guest: Guest) -> Iterator[str]:
    layout = guest.layout
    how = "packed" if is_lowered(layout) else "align"
    yield f"/// `{layout.name}` of a {guest.bits}-bit x86 guest: {layout.size} bytes."
    yield f"#[repr(C, {how}({layout.alignment}))]"
    yield "#[derive(Clone, Copy)]"
    yield f"pub struct {_type_name(guest)} {{"
    for row in layout.rows:
        element = _scalar(row.type)
        type_ = element if row.count == 1 else f"[{element}; {row.count}]"
        yield f"    pub {row.name}: {type_}, // offset {row.offset}, {row.size} bytes"
    yield "}"


def _scalar(scalar: Scalar) -> str:
    return f"{'i' if scalar.signed else 'u'}{scalar.size * 8}"


# What of a member is measured: where it is, its size, and that of an element. Its sign is not: in
# Rust that would take its type, which may be an enum or atomic.
def _rust_assertion(name: str, promise: Promise) -> Iterator[str]:
    own = promise.member.name if promise.member else ""
    field = f"|x: *const {name}| unsafe {{ core::ptr::addr_of!((*x).{own}) }}"
    measured = {
        "member-size": f"member({field})",
        "element-size": f"element({field})",
        "size": f"size_of::<{name}>()",
        "alignment": f"align_of::<{name}>()",
        "offset": f"offset_of!({name}, {own})",
    }.get(promise.kind)
    if measured:
        yield f'    assert!({measured} == {promise.number}, "{promise.sentence}");'


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
        yield f"pub const {_type_name(guest)} = extern struct {{"
        yield from (_zig_member(row, guest.layout) for row in guest.layout.rows)
        yield "};"
    yield from ("", "comptime {")
    for guest in GUESTS:
        for promise in promises(guest.layout, _type_name(guest)):
            yield f"    if ({_zig_expression(_type_name(guest), promise)} != {promise.number})"
            yield f'        @compileError("{promise.sentence}");'
    yield "}"


# The alignment of each 64-bit member puts it at its offset.
def _zig_member(row: Field, layout: Layout) -> str:
    type_ = _scalar(row.type) if row.count == 1 else f"[{row.count}]{_scalar(row.type)}"
    aligned = f" align({layout.alignment})" if row.type.size == 8 else ""
    return f"    {row.name}: {type_}{aligned}, // offset {row.offset}"


def _zig_expression(name: str, promise: Promise) -> str:
    member = promise.member.name if promise.member else ""
    field = f'@FieldType({name}, "{member}")'
    several = bool(promise.member and promise.member.count > 1)
    element = f"@typeInfo({field}).array.child" if several else field
    return {
        "size": f"@sizeOf({name})",
        "alignment": f"@alignOf({name})",
        "offset": f'@offsetOf({name}, "{member}")',
        "member-size": f"@sizeOf({field})",
        "element-size": f"@sizeOf({element})",
        "signed": f"@intFromBool(@typeInfo({element}).int.signedness == .signed)",
    }[promise.kind]
