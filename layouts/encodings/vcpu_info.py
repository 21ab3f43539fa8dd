"""vcpu_info and shared_info as Construct definitions and as ctypes structures."""

import ctypes
from typing import Any

from construct import Array, Bytes, Int8sl, Int8ul, Int32ul, Int64ul, Struct

_TIME = Struct(
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

_ARCH_VCPU_INFO = Struct("cr2" / Int64ul, "pad" / Bytes(8))
_VCPU_INFO = Struct(
    "evtchn_upcall_pending" / Int8ul,
    "evtchn_upcall_mask" / Int8ul,
    "pad_02" / Bytes(6),
    "evtchn_pending_sel" / Int64ul,
    "arch" / _ARCH_VCPU_INFO,
    "time" / _TIME,
)
_ARCH_SHARED_INFO = Struct(
    "max_pfn" / Int64ul,
    "pfn_to_mfn_frame_list_list" / Int64ul,
    "nmi_reason" / Int64ul,
    "p2m_cr3" / Int64ul,
    "p2m_vaddr" / Int64ul,
    "p2m_generation" / Int64ul,
)
_SHARED_INFO = Struct(
    "vcpu_info" / Array(32, _VCPU_INFO),
    "evtchn_pending" / Array(64, Int64ul),
    "evtchn_mask" / Array(64, Int64ul),
    "wc" / _WALL_CLOCK,
    "wc_sec_hi" / Int32ul,
    "arch" / _ARCH_SHARED_INFO,
)

# i386, which KVM's compat structs repeat.
_ARCH_VCPU_INFO_32 = Struct("cr2" / Int32ul, "pad" / Bytes(20))
_VCPU_INFO_32 = Struct(
    "evtchn_upcall_pending" / Int8ul,
    "evtchn_upcall_mask" / Int8ul,
    "pad" / Bytes(2),
    "evtchn_pending_sel" / Int32ul,
    "arch" / _ARCH_VCPU_INFO_32,
    "time" / _TIME,
)
_ARCH_SHARED_INFO_32 = Struct(
    "max_pfn" / Int32ul,
    "pfn_to_mfn_frame_list_list" / Int32ul,
    "nmi_reason" / Int32ul,
    "p2m_cr3" / Int32ul,
    "p2m_vaddr" / Int32ul,
    "p2m_generation" / Int32ul,
    "wc_sec_hi" / Int32ul,
)
_SHARED_INFO_32 = Struct(
    "vcpu_info" / Array(32, _VCPU_INFO_32),
    "evtchn_pending" / Array(32, Int32ul),
    "evtchn_mask" / Array(32, Int32ul),
    "wc" / _WALL_CLOCK,
    "arch" / _ARCH_SHARED_INFO_32,
)
CONSTRUCTS: dict[str, dict[str, Any]] = {
    "x86_64": {
        "arch_vcpu_info": _ARCH_VCPU_INFO,
        "vcpu_info": _VCPU_INFO,
        "arch_shared_info": _ARCH_SHARED_INFO,
        "shared_info": _SHARED_INFO,
        "compat_arch_vcpu_info": _ARCH_VCPU_INFO_32,
        "compat_vcpu_info": _VCPU_INFO_32,
        "compat_arch_shared_info": _ARCH_SHARED_INFO_32,
        "compat_shared_info": _SHARED_INFO_32,
    },
    "i386": {
        "arch_vcpu_info": _ARCH_VCPU_INFO_32,
        "vcpu_info": _VCPU_INFO_32,
        "arch_shared_info": _ARCH_SHARED_INFO_32,
        "shared_info": _SHARED_INFO_32,
    },
}


class _time_info(ctypes.LittleEndianStructure):
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


class _wall_clock(ctypes.LittleEndianStructure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (
        ("version", ctypes.c_uint32),
        ("sec", ctypes.c_uint32),
        ("nsec", ctypes.c_uint32),
    )


class arch_vcpu_info(ctypes.LittleEndianStructure):
    """``struct arch_vcpu_info``."""

    _fields_ = (("cr2", ctypes.c_uint64), ("pad", ctypes.c_uint64))


class vcpu_info(ctypes.LittleEndianStructure):
    """``struct vcpu_info``: the selector is 64 bits."""

    _fields_ = (
        ("evtchn_upcall_pending", ctypes.c_uint8),
        ("evtchn_upcall_mask", ctypes.c_uint8),
        ("evtchn_pending_sel", ctypes.c_uint64),
        ("arch", arch_vcpu_info),
        ("time", _time_info),
    )


class arch_shared_info(ctypes.LittleEndianStructure):
    """``struct arch_shared_info``."""

    _fields_ = (
        ("max_pfn", ctypes.c_uint64),
        ("pfn_to_mfn_frame_list_list", ctypes.c_uint64),
        ("nmi_reason", ctypes.c_uint64),
        ("p2m_cr3", ctypes.c_uint64),
        ("p2m_vaddr", ctypes.c_uint64),
        ("p2m_generation", ctypes.c_uint64),
    )


class shared_info(ctypes.LittleEndianStructure):
    """``struct shared_info``, as Linux has it."""

    _fields_ = (
        ("vcpu_info", vcpu_info * 32),
        ("evtchn_pending", ctypes.c_uint64 * 64),
        ("evtchn_mask", ctypes.c_uint64 * 64),
        ("wc", _wall_clock),
        ("wc_sec_hi", ctypes.c_uint32),
        ("arch", arch_shared_info),
    )


class compat_arch_vcpu_info(ctypes.LittleEndianStructure):
    """``struct compat_arch_vcpu_info``."""

    _fields_ = (("cr2", ctypes.c_uint32), ("pad", ctypes.c_uint32 * 5))


class compat_vcpu_info(ctypes.LittleEndianStructure):
    """``struct compat_vcpu_info``: the selector is 32 bits."""

    _fields_ = (
        ("evtchn_upcall_pending", ctypes.c_uint8),
        ("evtchn_upcall_mask", ctypes.c_uint8),
        ("pad", ctypes.c_uint16),
        ("evtchn_pending_sel", ctypes.c_uint32),
        ("arch", compat_arch_vcpu_info),
        ("time", _time_info),
    )


class compat_arch_shared_info(ctypes.LittleEndianStructure):
    """``struct compat_arch_shared_info``: it ends with the upper half of the seconds."""

    _fields_ = (
        ("max_pfn", ctypes.c_uint32),
        ("pfn_to_mfn_frame_list_list", ctypes.c_uint32),
        ("nmi_reason", ctypes.c_uint32),
        ("p2m_cr3", ctypes.c_uint32),
        ("p2m_vaddr", ctypes.c_uint32),
        ("p2m_generation", ctypes.c_uint32),
        ("wc_sec_hi", ctypes.c_uint32),
    )


class compat_shared_info(ctypes.LittleEndianStructure):
    """``struct compat_shared_info``."""

    _fields_ = (
        ("vcpu_info", compat_vcpu_info * 32),
        ("evtchn_pending", ctypes.c_uint32 * 32),
        ("evtchn_mask", ctypes.c_uint32 * 32),
        ("wc", _wall_clock),
        ("arch", compat_arch_shared_info),
    )


CTYPES: dict[str, dict[str, Any]] = {
    "x86_64": {
        "arch_vcpu_info": arch_vcpu_info,
        "vcpu_info": vcpu_info,
        "arch_shared_info": arch_shared_info,
        "shared_info": shared_info,
        "compat_arch_vcpu_info": compat_arch_vcpu_info,
        "compat_vcpu_info": compat_vcpu_info,
        "compat_arch_shared_info": compat_arch_shared_info,
        "compat_shared_info": compat_shared_info,
    }
}
