"""Zig: extern structs, and a comptime block that refuses any other layout.

Law of this file: Zig text out.
"""

from collections.abc import Iterator

from runstate_abi.layouts.model import Field, Layout, Scalar
from runstate_abi.layouts.structs.runstate import RUNSTATES, XEN_RUNSTATE_UPDATE
from runstate_abi.tools.languages.promises import GUESTS, Promise, promises, sentence


def lines() -> Iterator[str]:
    """Yield a module."""
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
        yield from declaration(type_name(guest.bits), guest.layout, guest.bits)
    yield from ("", "comptime {")
    for guest in GUESTS:
        for promise in promises(guest.layout, type_name(guest.bits)):
            yield f"    if ({expression(type_name(guest.bits), promise)} != {promise.number})"
            yield f'        @compileError("{promise.sentence}");'
    yield "}"


def type_name(bits: int) -> str:
    """Return the name of the struct that a guest of so many bits shares."""
    return f"VcpuRunstateInfo{bits}"


def declaration(name: str, layout: Layout, bits: int) -> Iterator[str]:
    """Yield the struct, each member with the alignment that puts it where it belongs."""
    yield f"/// {layout.name} of a {bits}-bit x86 guest: {layout.size} bytes."
    yield f"pub const {name} = extern struct {{"
    for row in layout.rows:
        yield f"    {row.name}: {_type(row)}{_aligner(row, layout)}, // offset {row.offset}"
    yield "};"


def _type(row: Field) -> str:
    return _scalar(row.type) if row.count == 1 else f"[{row.count}]{_scalar(row.type)}"


def _scalar(scalar: Scalar) -> str:
    return f"{'i' if scalar.signed else 'u'}{scalar.size * 8}"


def _aligner(row: Field, layout: Layout) -> str:
    return f" align({layout.alignment})" if row.type.size == 8 else ""


def expression(name: str, promise: Promise) -> str:
    """Return the Zig expression whose value a promise is about."""
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
