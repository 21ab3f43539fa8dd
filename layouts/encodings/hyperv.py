"""The reference TSC page as a Construct definition and as a ctypes structure."""

import ctypes
from typing import Any

from construct import Bytes, Int32ul, Int64sl, Int64ul, Struct

_STRUCTS: dict[str, Any] = {
    "ms_hyperv_tsc_page": Struct(
        "tsc_sequence" / Int32ul,
        "reserved1" / Bytes(4),
        "tsc_scale" / Int64ul,
        "tsc_offset" / Int64sl,
    ),
}
CONSTRUCTS: dict[str, dict[str, Any]] = {"x86_64": _STRUCTS, "i386": _STRUCTS}


class ms_hyperv_tsc_page(ctypes.LittleEndianStructure):
    """``struct ms_hyperv_tsc_page``, packed as Linux has it."""

    _pack_ = 1
    _layout_ = "ms"  # from Python 3.14 on, _pack_ without it is deprecated
    _fields_ = (
        ("tsc_sequence", ctypes.c_uint32),
        ("reserved1", ctypes.c_uint32),
        ("tsc_scale", ctypes.c_uint64),
        ("tsc_offset", ctypes.c_int64),
    )


CTYPES: dict[str, dict[str, Any]] = {"x86_64": {"ms_hyperv_tsc_page": ms_hyperv_tsc_page}}
