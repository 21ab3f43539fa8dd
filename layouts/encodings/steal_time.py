"""The three steal times as Construct definitions and as ctypes structures."""

import ctypes
from typing import Any

from construct import Bytes, Int8ul, Int32ul, Int64ul, Struct

_STRUCTS: dict[str, Any] = {
    "kvm_steal_time": Struct(
        "steal" / Int64ul,
        "version" / Int32ul,
        "flags" / Int32ul,
        "preempted" / Int8ul,
        "u8_pad" / Bytes(3),
        "pad" / Bytes(44),
    ),
    "sbi_sta_struct": Struct(
        "sequence" / Int32ul,
        "flags" / Int32ul,
        "steal" / Int64ul,
        "preempted" / Int8ul,
        "pad" / Bytes(47),
    ),
    "pvclock_vcpu_stolen_time": Struct(
        "revision" / Int32ul,
        "attributes" / Int32ul,
        "stolen_time" / Int64ul,
        "padding" / Bytes(48),
    ),
}
CONSTRUCTS: dict[str, dict[str, Any]] = {"x86_64": _STRUCTS, "i386": _STRUCTS}


class kvm_steal_time(ctypes.LittleEndianStructure):
    """``struct kvm_steal_time`` of x86."""

    _fields_ = (
        ("steal", ctypes.c_uint64),
        ("version", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("preempted", ctypes.c_uint8),
        ("u8_pad", ctypes.c_uint8 * 3),
        ("pad", ctypes.c_uint32 * 11),
    )


class sbi_sta_struct(ctypes.LittleEndianStructure):
    """``struct sbi_sta_struct``, packed as Linux has it."""

    _pack_ = 1
    _layout_ = "ms"  # from Python 3.14 on, _pack_ without it is deprecated
    _fields_ = (
        ("sequence", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("steal", ctypes.c_uint64),
        ("preempted", ctypes.c_uint8),
        ("pad", ctypes.c_uint8 * 47),
    )


class pvclock_vcpu_stolen_time(ctypes.LittleEndianStructure):
    """``struct pvclock_vcpu_stolen_time``, packed as Linux has it."""

    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (
        ("revision", ctypes.c_uint32),
        ("attributes", ctypes.c_uint32),
        ("stolen_time", ctypes.c_uint64),
        ("padding", ctypes.c_uint8 * 48),
    )


CTYPES: dict[str, dict[str, Any]] = {
    "x86_64": {
        "kvm_steal_time": kvm_steal_time,
        "sbi_sta_struct": sbi_sta_struct,
        "pvclock_vcpu_stolen_time": pvclock_vcpu_stolen_time,
    }
}
