"""The two structs as ctypes structures, written by hand: names and types, and no offsets.

Law of this file: nothing here comes from runstate.py. ctypes lays structs out as the host's C
compiler does, so it is a witness only for what the host's ABI can express; observe() says so
instead of blaming the claim.
"""

import ctypes
from typing import Any

from runstate_abi.layouts.model import Field as Row
from runstate_abi.layouts.model import Layout, Layouts, Scalar, WitnessError, tiled


class vcpu_runstate_info(ctypes.LittleEndianStructure):
    """``struct vcpu_runstate_info``: 48 bytes where a 64-bit integer is 8-aligned."""

    _fields_ = (
        ("state", ctypes.c_int32),
        ("state_entry_time", ctypes.c_uint64),
        ("time", ctypes.c_uint64 * 4),
    )


class compat_vcpu_runstate_info(ctypes.LittleEndianStructure):
    """The compat form as i386 and Xen align it: 44 bytes, alignment 4 (KVM packs it to 1)."""

    _pack_ = 4
    _layout_ = "ms"  # from Python 3.14 on, _pack_ without it is deprecated
    _fields_ = (
        ("state", ctypes.c_int32),
        ("state_entry_time", ctypes.c_uint64),
        ("time", ctypes.c_uint64 * 4),
    )


STRUCTS: dict[str, type[ctypes.Structure]] = {
    "vcpu_runstate_info": vcpu_runstate_info,
    "compat_vcpu_runstate_info": compat_vcpu_runstate_info,
}


def overlay(name: str, memory: bytearray, at: int = 0) -> Any:
    """Return ``struct name`` laid over ``memory`` from byte ``at`` on, at any alignment.

    Reading and writing its fields reads and writes the bytearray. Raises ValueError if the struct
    does not fit, and WitnessError for the native struct where the host cannot express it.
    """
    if name == vcpu_runstate_info.__name__:
        _refuse_other_hosts()
    return STRUCTS[name].from_buffer(memory, at)


def observe(names: tuple[str, ...], abi: str) -> Layouts:
    """Return what ctypes makes of the structures (WitnessError if the host cannot express them)."""
    _refuse_other_hosts()
    return Layouts("ctypes", "layouts/ctypes_structs.py", tuple(_observe(n, abi) for n in names))


# On an i386 host the native struct would begin to be wrong at its second member, without a word.
def _refuse_other_hosts() -> None:
    if ctypes.sizeof(ctypes.c_int32) != 4 or ctypes.alignment(ctypes.c_uint64) != 8:
        raise WitnessError(
            "ctypes: this machine's ABI does not align a 64-bit integer to 8, "
            "so it cannot express the native struct"
        )


def _observe(name: str, abi: str) -> Layout:
    struct = STRUCTS[name]
    rows = []
    for member, type_ in ((field[0], field[1]) for field in struct._fields_):
        descriptor = getattr(struct, member)
        element, count = _element(type_)
        rows.append(Row(descriptor.offset, member, element, count))
    return tiled(name, abi, ctypes.sizeof(struct), ctypes.alignment(struct), rows)


def _element(type_: Any) -> tuple[Scalar, int]:
    if issubclass(type_, ctypes.Array):
        return _element(type_._type_)[0], type_._length_
    signed = type_(-1).value < 0
    return Scalar(type_.__name__, ctypes.sizeof(type_), signed), 1
