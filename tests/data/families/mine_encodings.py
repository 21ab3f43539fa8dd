"""The encodings of mine.py's struct."""

import ctypes

from construct import Array, Bytes, Int32ul, Int64sl, Struct

CONSTRUCTS = {
    "x86_64": {
        "my_clock": Struct("sequence" / Int32ul, "pad_04" / Bytes(4), "drift" / Array(2, Int64sl))
    }
}


class my_clock(ctypes.LittleEndianStructure):
    _fields_ = (("sequence", ctypes.c_uint32), ("drift", ctypes.c_int64 * 2))


CTYPES = {"x86_64": {"my_clock": my_clock}}
