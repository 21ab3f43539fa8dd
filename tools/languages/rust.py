"""Rust 1.77: #[repr(C)] declarations, assertions at compile time, and the loop of a reader.

Law of this file: Rust text out; the reader's loop is Rust in a file of its own, text/reader.rs.in.
"""

from collections.abc import Iterator

from runstate_abi.layouts.model import Field, Layout, Scalar
from runstate_abi.layouts.structs.runstate import RUNSTATES, XEN_RUNSTATE_UPDATE
from runstate_abi.tools.languages.promises import (
    GUESTS,
    Promise,
    filled,
    numbers,
    promises,
    sentence,
)


def lines(reader: bool = False) -> Iterator[str]:
    """Yield a module that needs core only, with the reader's loop if asked."""
    word = "rust-reader" if reader else "rust"
    yield "// The Xen runstate area, byte by byte, and assertions that it is so: Rust 1.77, no std."
    yield f"// Made by `runstate emit {word}` from its tables: do not edit."
    yield ""
    yield "/// In `state_entry_time`: an update is in progress."
    yield f"pub const XEN_RUNSTATE_UPDATE: u64 = {XEN_RUNSTATE_UPDATE:#x};"
    for runstate in RUNSTATES:
        yield f"/// {sentence(runstate.meaning)}"
        yield f"pub const {runstate.constant.upper()}: u32 = {runstate.value};"
    for guest in GUESTS:
        yield ""
        yield from declaration(type_name(guest.bits), guest.layout, guest.bits)
    for guest in GUESTS:
        yield from ("", "const _: () = {", "    use core::mem::{align_of, offset_of, size_of};")
        for promise in promises(guest.layout, type_name(guest.bits)):
            yield from _assertion(type_name(guest.bits), promise)
        yield "};"
    if reader:
        yield ""
        yield from filled("reader.rs", numbers())


def with_reader() -> Iterator[str]:
    """Yield the module and behind it the loop of a reader."""
    return lines(reader=True)


def type_name(bits: int) -> str:
    """Return the name of the struct that a guest of so many bits shares."""
    return f"VcpuRunstateInfo{bits}"


def declaration(name: str, layout: Layout, bits: int) -> Iterator[str]:
    """Yield ``struct name``, holes as members, so that no target has a say in its layout."""
    natural = max(row.type.size for row in layout.rows)
    lowered = layout.alignment is not None and layout.alignment < natural
    yield f"/// `{layout.name}` of a {bits}-bit x86 guest: {layout.size} bytes."
    yield f"#[repr(C, {'packed' if lowered else 'align'}({layout.alignment}))]"
    yield "#[derive(Clone, Copy)]"
    yield f"pub struct {name} {{"
    for row in layout.rows:
        yield f"    pub {row.name}: {_type(row)}, // offset {row.offset}, {row.size} bytes"
    yield "}"


def _type(row: Field) -> str:
    return _scalar(row.type) if row.count == 1 else f"[{_scalar(row.type)}; {row.count}]"


def _scalar(scalar: Scalar) -> str:
    return f"{'i' if scalar.signed else 'u'}{scalar.size * 8}"


# A member's own size follows from its type, which this file spells; where it lies does not.
def _assertion(name: str, promise: Promise) -> Iterator[str]:
    measured = {
        "size": f"size_of::<{name}>()",
        "alignment": f"align_of::<{name}>()",
        "offset": f"offset_of!({name}, {promise.member.name if promise.member else ''})",
    }.get(promise.kind)
    if measured:
        yield f'    assert!({measured} == {promise.number}, "{promise.sentence}");'
