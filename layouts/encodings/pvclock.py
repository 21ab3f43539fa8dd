"""The time info and the wall clock as Construct definitions and as ctypes structures."""

import ctypes
from typing import Any

from construct import Bytes, Int8sl, Int8ul, Int32ul, Int64ul, Struct

_TIME_INFO = Struct(
    "version" / Int32ul,
    "pad0" / Bytes(4),
    "tsc_timestamp" / Int64ul,
    "system_time" / Int64ul,
    "tsc_to_system_mul" / Int32ul,
    "tsc_shift" / Int8sl,
    "flags" / Int8ul,
    "pad" / Bytes(2),
)
_WALL_CLOCK = Struct("version" / Int32ul, "sec" / Int32ul, "nsec" / Int32ul)
_STRUCTS: dict[str, Any] = {
    "pvclock_vcpu_time_info": _TIME_INFO,
    "vcpu_time_info": Struct(*_TIME_INFO.subcons[:-1], "pad1" / Bytes(2)),
    "pvclock_wall_clock": _WALL_CLOCK,
}
CONSTRUCTS: dict[str, dict[str, Any]] = {"x86_64": _STRUCTS, "i386": _STRUCTS}


class pvclock_vcpu_time_info(ctypes.LittleEndianStructure):
    """``struct pvclock_vcpu_time_info``, packed as Linux has it."""

    _pack_ = 1
    _layout_ = "ms"  # from Python 3.14 on, _pack_ without it is deprecated
    _fields_ = (
        ("version", ctypes.c_uint32),
        ("pad0", ctypes.c_uint32),
        ("tsc_timestamp", ctypes.c_uint64),
        ("system_time", ctypes.c_uint64),
        ("tsc_to_system_mul", ctypes.c_uint32),
        ("tsc_shift", ctypes.c_int8),
        ("flags", ctypes.c_uint8),
        ("pad", ctypes.c_uint8 * 2),
    )


class vcpu_time_info(ctypes.LittleEndianStructure):
    """``struct vcpu_time_info``, aligned as Xen has it."""

    _fields_ = (*pvclock_vcpu_time_info._fields_[:-1], ("pad1", ctypes.c_uint8 * 2))


class pvclock_wall_clock(ctypes.LittleEndianStructure):
    """``struct pvclock_wall_clock``."""

    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (
        ("version", ctypes.c_uint32),
        ("sec", ctypes.c_uint32),
        ("nsec", ctypes.c_uint32),
    )


CTYPES: dict[str, dict[str, Any]] = {
    "x86_64": {
        "pvclock_vcpu_time_info": pvclock_vcpu_time_info,
        "vcpu_time_info": vcpu_time_info,
        "pvclock_wall_clock": pvclock_wall_clock,
    }
}
