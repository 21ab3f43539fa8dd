"""The two structs as Construct definitions, written by hand: names and types, no offsets.

Nothing here may be taken from structs/, or a comparison with it would prove nothing. Only this
module may import construct: it has no types, and its import takes longer than reading a kernel's
BTF. Construct puts fields end to end, so the padding is a field. It needs a name, because parse and
build drop the bytes of a field without one.
"""

from typing import Any

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
    found = tuple(_observe(name, abi) for name in names)
    return Layouts("construct", "layouts/constructs.py", found)


# Parse bytes in which every byte holds its own offset: the bytes of an integer then show where it
# was read from, and in which order. Bytes of all ones distinguish signed from unsigned.
def _observe(name: str, abi: str) -> Layout:
    struct = STRUCTS[name]
    size, reached = struct.sizeof(), 0
    offsets = struct.parse(bytes(range(size)))
    ones = struct.parse(b"\xff" * size)
    rows = []
    for member in struct.subcons:
        value, sample = offsets[member.name], ones[member.name]
        if isinstance(value, bytes):
            rows.append(Field(value[0], member.name, _scalar(1, False), len(value), padding=True))
            reached += len(value)
            continue
        count = len(value) if isinstance(value, list) else 1
        first, one = (value[0], sample[0]) if isinstance(value, list) else (value, sample)
        width = member.sizeof() // count
        if isinstance(first, int):
            image = first.to_bytes(width, "little", signed=one < 0)
            reached = min(image)
            kind = model.INTEGER if image[0] == reached else model.BIG_ENDIAN
            element = _scalar(width, one < 0)._replace(kind=kind)
        else:
            kind = model.FLOATING if isinstance(first, float) else model.STRUCT
            element = Scalar(f"{kind} of {width} bytes", width, None, kind=kind)
        rows.append(Field(reached, member.name, element, count))
        reached += member.sizeof()
    return Layout(name, abi, size, None, tuple(rows))


def _scalar(size: int, signed: bool) -> Scalar:
    return Scalar(_C_NAMES.get((size, signed), f"{'s' if signed else 'u'}{size * 8}"), size, signed)
