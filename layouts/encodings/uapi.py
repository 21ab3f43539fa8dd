"""The structs of hypercalls and of KVM's exits as Construct definitions and ctypes structures.

Of a union only the member that is given is here, padded to the union's size.
"""

import ctypes
from typing import Any

from construct import Array, Bytes, Int16ul, Int32ul, Int64ul, Struct

_HCALL = Struct(
    "hcall"
    / Struct(
        "longmode" / Int32ul,
        "cpl" / Int32ul,
        "input" / Int64ul,
        "result" / Int64ul,
        "params" / Array(6, Int64ul),
    )
)
_VCPU_ATTR = Struct(
    "type" / Int16ul,
    "pad" / Bytes(6),
    "u"
    / Struct(
        "runstate"
        / Struct(
            "state" / Int64ul,
            "state_entry_time" / Int64ul,
            "time_running" / Int64ul,
            "time_runnable" / Int64ul,
            "time_blocked" / Int64ul,
            "time_offline" / Int64ul,
        ),
        "pad_38" / Bytes(16),
    ),
)
_TIMER = Struct("timeout_abs_ns" / Int64ul, "flags" / Int32ul, "pad_0c" / Bytes(4))
_TIMER_32 = Struct("timeout_abs_ns" / Int64ul, "flags" / Int32ul)
_REGISTER_VCPU_INFO = Struct("mfn" / Int64ul, "offset" / Int32ul, "rsvd" / Int32ul)
_REGISTER_AREA = Struct("addr" / Struct("p" / Int64ul))
# Construct has no pointer: sched_poll has Xen's handle, a struct of one.
_POLL = Struct(
    "ports" / Struct("p" / Int64ul),
    "nr_ports" / Int32ul,
    "pad_0c" / Bytes(4),
    "timeout" / Int64ul,
)
_POLL_I386 = Struct("ports" / Struct("p" / Int32ul), "nr_ports" / Int32ul, "timeout" / Int64ul)
_COMPAT_POLL = Struct("ports" / Int32ul, "nr_ports" / Int32ul, "timeout" / Int64ul)
_FIFO = Struct("ready" / Int32ul, "_rsvd" / Int32ul, "head" / Array(16, Int32ul))
_SAME: dict[str, Any] = {
    "kvm_xen_vcpu_attr": _VCPU_ATTR,
    "vcpu_register_vcpu_info": _REGISTER_VCPU_INFO,
    "vcpu_register_runstate_memory_area": _REGISTER_AREA,
    "vcpu_register_time_memory_area": _REGISTER_AREA,
    "evtchn_fifo_control_block": _FIFO,
}
CONSTRUCTS: dict[str, dict[str, Any]] = {
    "x86_64": {
        **_SAME,
        "kvm_xen_exit": Struct("type" / Int32ul, "pad_04" / Bytes(4), "u" / _HCALL),
        "vcpu_set_singleshot_timer": _TIMER,
        "sched_poll": _POLL,
        "compat_vcpu_set_singleshot_timer": _TIMER_32,
        "compat_sched_poll": _COMPAT_POLL,
    },
    "i386": {
        **_SAME,
        "kvm_xen_exit": Struct("type" / Int32ul, "u" / _HCALL),
        "vcpu_set_singleshot_timer": _TIMER_32,
        "sched_poll": _POLL_I386,
    },
}


class _hcall(ctypes.LittleEndianStructure):
    _fields_ = (
        ("longmode", ctypes.c_uint32),
        ("cpl", ctypes.c_uint32),
        ("input", ctypes.c_uint64),
        ("result", ctypes.c_uint64),
        ("params", ctypes.c_uint64 * 6),
    )


class _exit_u(ctypes.LittleEndianStructure):
    _fields_ = (("hcall", _hcall),)


class kvm_xen_exit(ctypes.LittleEndianStructure):
    """``struct kvm_xen_exit``: 80 bytes if a 64-bit integer is 8-aligned."""

    _fields_ = (("type", ctypes.c_uint32), ("u", _exit_u))


class _runstate(ctypes.LittleEndianStructure):
    _fields_ = (
        ("state", ctypes.c_uint64),
        ("state_entry_time", ctypes.c_uint64),
        ("time_running", ctypes.c_uint64),
        ("time_runnable", ctypes.c_uint64),
        ("time_blocked", ctypes.c_uint64),
        ("time_offline", ctypes.c_uint64),
    )


class _attr_u(ctypes.LittleEndianStructure):
    _fields_ = (("runstate", _runstate), ("pad_38", ctypes.c_uint8 * 16))


class kvm_xen_vcpu_attr(ctypes.LittleEndianStructure):
    """``struct kvm_xen_vcpu_attr`` with the runstate times."""

    _fields_ = (("type", ctypes.c_uint16), ("pad", ctypes.c_uint16 * 3), ("u", _attr_u))


class vcpu_set_singleshot_timer(ctypes.LittleEndianStructure):
    """``struct vcpu_set_singleshot_timer``: 16 bytes if a 64-bit integer is 8-aligned."""

    _fields_ = (("timeout_abs_ns", ctypes.c_uint64), ("flags", ctypes.c_uint32))


class vcpu_register_vcpu_info(ctypes.LittleEndianStructure):
    """``struct vcpu_register_vcpu_info``."""

    _fields_ = (
        ("mfn", ctypes.c_uint64),
        ("offset", ctypes.c_uint32),
        ("rsvd", ctypes.c_uint32),
    )


class _address(ctypes.LittleEndianStructure):
    _fields_ = (("p", ctypes.c_uint64),)


class vcpu_register_runstate_memory_area(ctypes.LittleEndianStructure):
    """``struct vcpu_register_runstate_memory_area``, of its union the 64-bit address."""

    _fields_ = (("addr", _address),)


class vcpu_register_time_memory_area(ctypes.LittleEndianStructure):
    """``struct vcpu_register_time_memory_area``, of its union the 64-bit address."""

    _fields_ = (("addr", _address),)


class sched_poll(ctypes.LittleEndianStructure):
    """``struct sched_poll``, with Linux's handle, a pointer."""

    _fields_ = (
        ("ports", ctypes.c_void_p),
        ("nr_ports", ctypes.c_uint32),
        ("timeout", ctypes.c_uint64),
    )


class evtchn_fifo_control_block(ctypes.LittleEndianStructure):
    """``struct evtchn_fifo_control_block``: 16 queues."""

    _fields_ = (
        ("ready", ctypes.c_uint32),
        ("_rsvd", ctypes.c_uint32),
        ("head", ctypes.c_uint32 * 16),
    )


class compat_vcpu_set_singleshot_timer(ctypes.LittleEndianStructure):
    """``struct compat_vcpu_set_singleshot_timer``, packed as KVM has it."""

    _pack_ = 1
    _layout_ = "ms"  # from Python 3.14 on, _pack_ without it is deprecated
    _fields_ = (("timeout_abs_ns", ctypes.c_uint64), ("flags", ctypes.c_uint32))


class compat_sched_poll(ctypes.LittleEndianStructure):
    """``struct compat_sched_poll``, as KVM has it."""

    _fields_ = (
        ("ports", ctypes.c_uint32),
        ("nr_ports", ctypes.c_uint32),
        ("timeout", ctypes.c_uint64),
    )


CTYPES: dict[str, dict[str, Any]] = {
    "x86_64": {
        "kvm_xen_exit": kvm_xen_exit,
        "kvm_xen_vcpu_attr": kvm_xen_vcpu_attr,
        "vcpu_set_singleshot_timer": vcpu_set_singleshot_timer,
        "vcpu_register_vcpu_info": vcpu_register_vcpu_info,
        "vcpu_register_runstate_memory_area": vcpu_register_runstate_memory_area,
        "vcpu_register_time_memory_area": vcpu_register_time_memory_area,
        "sched_poll": sched_poll,
        "evtchn_fifo_control_block": evtchn_fifo_control_block,
        "compat_vcpu_set_singleshot_timer": compat_vcpu_set_singleshot_timer,
        "compat_sched_poll": compat_sched_poll,
    }
}
