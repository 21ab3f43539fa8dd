"""The two structs as Construct definitions, written by hand: names and types, no offsets.

Nothing here may be taken from structs/, or a comparison with it would prove nothing. Only this
module may import construct: it has no types, and its import takes longer than reading a kernel's
BTF. Construct puts fields end to end, so the padding is a field. It needs a name, because parse and
build drop the bytes of a field without one.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from construct import Array, Bytes, Int32sl, Int64ul, Struct

from runstate_abi.layouts import model
from runstate_abi.layouts.model import Field, Layout, Layouts, Scalar

# What Xen's public vcpu.h declares, on an ABI that aligns a 64-bit integer to 8.
vcpu_runstate_info = Struct(
    "state" / Int32sl,
    "pad_04" / Bytes(4),
    "state_entry_time" / Int64ul,
    "time" / Array(4, Int64ul),
)

# The same on i386, and what KVM's arch/x86/kvm/xen.h packs: no padding.
compat_vcpu_runstate_info = Struct(
    "state" / Int32sl,
    "state_entry_time" / Int64ul,
    "time" / Array(4, Int64ul),
)

STRUCTS: dict[str, Any] = {
    "vcpu_runstate_info": vcpu_runstate_info,
    "compat_vcpu_runstate_info": compat_vcpu_runstate_info,
}

_C_NAMES = {(1, False): "uint8_t", (4, True): "int", (8, False): "uint64_t"}


def parse(name: str, image: bytes) -> dict[str, Any]:
    """Return the fields in the bytes of ``struct name``, padding too (ValueError: another size)."""
    struct = STRUCTS[name]
    if len(image) != struct.sizeof():
        raise ValueError(f"struct {name} has {struct.sizeof()} bytes, not {len(image)}")
    fields = dict(struct.parse(image))
    fields.pop("_io", None)
    return {key: list(value) if key == "time" else value for key, value in fields.items()}


def build(name: str, fields: dict[str, Any]) -> bytes:
    """Return the bytes of ``struct name``; every field must be given, padding too (KeyError)."""
    image: bytes = STRUCTS[name].build(fields)
    return image


def observe(names: tuple[str, ...], abi: str) -> Layouts:
    """Return the layouts that Construct has for the definitions, found by parsing."""
    found = tuple(layout_of(STRUCTS[name], name, abi) for name in names)
    return Layouts("construct", "layouts/constructs.py", found)


class _Parsed(NamedTuple):
    """The values that a definition reads out of bytes that say where they are."""

    low: Any  # of bytes that hold their own offset & 0xff
    high: Any  # ... their own offset >> 8
    ones: Any  # of bytes of all ones, which distinguish signed from unsigned

    def __getitem__(self, key: Any) -> "_Parsed":
        return _Parsed(self.low[key], self.high[key], self.ones[key])


def layout_of(struct: Any, name: str, abi: str, paths: frozenset[str] = frozenset()) -> Layout:
    """Return the layout of a definition, found by parsing; ``paths`` are looked into."""
    size = struct.sizeof()
    images = (
        bytes(n & 0xFF for n in range(size)),
        bytes(n >> 8 for n in range(size)),
        b"\xff" * size,
    )
    parsed = _Parsed(*map(struct.parse, images))
    return Layout(name, abi, size, None, tuple(_rows(struct, parsed, 0, paths, "")))


def _rows(
    struct: Any, parsed: _Parsed, reached: int, paths: frozenset[str], path: str
) -> Iterator[Field]:
    for member in struct.subcons:
        label, value = f"{path}{member.name}", parsed[member.name]
        if label in paths and hasattr(value.low, "keys"):
            yield from _rows(member.subcon, value, reached, paths, f"{label}.")
            reached += member.sizeof()
            continue
        if isinstance(value.low, bytes):
            start = value.low[0] | value.high[0] << 8
            yield Field(start, label, _scalar(1, False), len(value.low), padding=True)
            reached = start + len(value.low)
            continue
        count = len(value.low) if isinstance(value.low, list) else 1
        first = value[0] if isinstance(value.low, list) else value
        element, at = _element(first, member.sizeof() // count)
        reached = reached if at is None else at
        yield Field(reached, label, element, count)
        reached += member.sizeof()


# The type of an integer, and where it was read from; of anything else None.
def _element(value: _Parsed, width: int) -> tuple[Scalar, int | None]:
    if not isinstance(value.low, int):
        kind = model.FLOATING if isinstance(value.low, float) else model.STRUCT
        return Scalar(f"{kind} of {width} bytes", width, None, kind=kind), None
    signed = value.ones < 0
    both = value.low, value.high
    low, high = (one.to_bytes(width, "little", signed=signed) for one in both)
    places = [a | b << 8 for a, b in zip(low, high, strict=True)]
    kind = model.INTEGER if places[0] == min(places) else model.BIG_ENDIAN
    return _scalar(width, signed)._replace(kind=kind), min(places)


def _scalar(size: int, signed: bool) -> Scalar:
    return Scalar(_C_NAMES.get((size, signed), f"{'s' if signed else 'u'}{size * 8}"), size, signed)
