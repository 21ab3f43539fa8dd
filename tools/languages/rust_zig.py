"""Rust 1.77 and Zig: declarations with the holes as members, and assertions at compile time.

The loop of Rust's reader is in text/reader.rs.in.
"""

from collections.abc import Iterable, Iterator
from functools import partial

from runstate_abi.layouts.model import Scalar
from runstate_abi.layouts.structs.runstate import RUNSTATES, XEN_RUNSTATE_UPDATE
from runstate_abi.tools.languages.promises import (
    GUESTS,
    Guest,
    Mirror,
    filled,
    is_lowered,
    measured,
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
            if promise.kind in RUST_FORMS:
                expression = measured(RUST_FORMS, mirror.type_name, promise)
                yield f'    assert!({expression} == {promise.number}, "{promise.sentence}");'
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
        yield f"pub const {_type_name(guest)} = extern struct {{"
        for row in guest.layout.rows:
            # The alignment of each 64-bit member puts it at its offset.
            type_ = _scalar(row.type) if row.count == 1 else f"[{row.count}]{_scalar(row.type)}"
            aligned = f" align({guest.layout.alignment})" if row.type.size == 8 else ""
            yield f"    {row.name}: {type_}{aligned}, // offset {row.offset}"
        yield "};"
    yield from ("", "comptime {")
    for guest in GUESTS:
        for promise in promises(guest.layout, _type_name(guest)):
            expression = measured(ZIG_FORMS, _type_name(guest), promise)
            yield f"    if ({expression} != {promise.number})"
            yield f'        @compileError("{promise.sentence}");'
    yield "}"


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
