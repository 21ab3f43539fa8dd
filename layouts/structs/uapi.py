"""THE FACTS: what a guest hands to a hypercall, and KVM to its VMM, byte by byte.

The structs whose 32-bit form differs, and those next to them whose form does not.
"""

from runstate_abi.layouts import model
from runstate_abi.layouts.abi import ABI
from runstate_abi.layouts.conditions import Condition
from runstate_abi.layouts.model import Field, Layout, Scalar
from runstate_abi.layouts.structs.families import Family, on
from runstate_abi.layouts.structs.pvclock import U8, U32, U64

U16 = Scalar("uint16_t", 2, signed=False)
UINT = Scalar("unsigned int", 4, signed=False)
# `ports` of sched_poll. On x86 Linux's handle is a pointer and Xen's a struct of one; on Arm it is
# 8 bytes on both ABIs, a struct in Linux and a union in Xen.
PORTS = Scalar("evtchn_port_t *", 8, None, kind=model.POINTER)
PORTS_32 = Scalar("evtchn_port_t *", 4, None, kind=model.POINTER)
PORTS_ARM = Scalar("__guest_handle_evtchn_port_t", 8, None, 8, model.STRUCT)
PORTS_XEN_ARM = Scalar("__guest_handle_64_evtchn_port_t", 8, None, 8, model.UNION)
PORTS_XEN = Scalar("__guest_handle_evtchn_port_t", 8, None, 8, model.STRUCT)
PORTS_XEN_32 = Scalar("__guest_handle_evtchn_port_t", 4, None, 4, model.STRUCT)
# What Xen's compat headers make of uint64_t.
U64_COMPAT = Scalar("uint64_compat_t", 8, False, 4)

# kvm_xen_exit, kvm_xen_vcpu_attr: Linux, include/uapi/linux/kvm.h. Both have a union `u`; of the
# second the member with the runstate times is given.
# fmt: off
EXIT = Layout("kvm_xen_exit", "x86_64", size=0x50, alignment=8, rows=(
    Field(0x00, "type",             U32),
    Field(0x04, "pad_04",           U8, 4, padding=True),
    Field(0x08, "u.hcall.longmode", U32),
    Field(0x0c, "u.hcall.cpl",      U32),
    Field(0x10, "u.hcall.input",    U64),
    Field(0x18, "u.hcall.result",   U64),
    Field(0x20, "u.hcall.params",   U64, 6),
))
EXIT_I386 = Layout("kvm_xen_exit", "i386", size=0x4c, alignment=4, rows=(
    Field(0x00, "type",             U32),
    Field(0x04, "u.hcall.longmode", U32),
    Field(0x08, "u.hcall.cpl",      U32),
    Field(0x0c, "u.hcall.input",    U64),
    Field(0x14, "u.hcall.result",   U64),
    Field(0x1c, "u.hcall.params",   U64, 6),
))
VCPU_ATTR = Layout("kvm_xen_vcpu_attr", "x86_64", size=0x48, alignment=8, rows=(
    Field(0x00, "type",                        U16),
    Field(0x02, "pad",                         U16, 3,  padding=True),
    Field(0x08, "u.runstate.state",            U64),
    Field(0x10, "u.runstate.state_entry_time", U64),
    Field(0x18, "u.runstate.time_running",     U64),
    Field(0x20, "u.runstate.time_runnable",    U64),
    Field(0x28, "u.runstate.time_blocked",     U64),
    Field(0x30, "u.runstate.time_offline",     U64),
    Field(0x38, "pad_38",                      U8,  16, padding=True),
))

# vcpu_set_singleshot_timer, vcpu_register_*: Xen, xen/include/public/vcpu.h; Linux has it as
# include/xen/interface/vcpu.h. `addr` is a union of a handle, a pointer and a uint64_t `p`.
TIMER = Layout("vcpu_set_singleshot_timer", "x86_64", size=0x10, alignment=8, rows=(
    Field(0x00, "timeout_abs_ns", U64),
    Field(0x08, "flags",          U32),
    Field(0x0c, "pad_0c",         U8, 4, padding=True),
))
TIMER_I386 = Layout("vcpu_set_singleshot_timer", "i386", size=0x0c, alignment=4, rows=(
    Field(0x00, "timeout_abs_ns", U64),
    Field(0x08, "flags",          U32),
))
REGISTER_VCPU_INFO = Layout("vcpu_register_vcpu_info", "x86_64", size=0x10, alignment=8, rows=(
    Field(0x00, "mfn",    U64),
    Field(0x08, "offset", U32),
    Field(0x0c, "rsvd",   U32),
))
REGISTER_RUNSTATE = Layout("vcpu_register_runstate_memory_area", "x86_64", size=0x08, alignment=8, rows=(
    Field(0x00, "addr.p", U64),
))
REGISTER_TIME = Layout("vcpu_register_time_memory_area", "x86_64", size=0x08, alignment=8, rows=(
    Field(0x00, "addr.p", U64),
))

# sched_poll: Xen, xen/include/public/sched.h; Linux has it as include/xen/interface/sched.h.
POLL = Layout("sched_poll", "x86_64", size=0x18, alignment=8, rows=(
    Field(0x00, "ports",    PORTS),
    Field(0x08, "nr_ports", UINT),
    Field(0x0c, "pad_0c",   U8, 4, padding=True),
    Field(0x10, "timeout",  U64),
))
POLL_XEN = Layout("sched_poll", "x86_64", size=0x18, alignment=8, rows=(
    Field(0x00, "ports",    PORTS_XEN),
    Field(0x08, "nr_ports", UINT),
    Field(0x0c, "pad_0c",   U8, 4, padding=True),
    Field(0x10, "timeout",  U64),
))
POLL_ARM = Layout("sched_poll", "arm64", size=0x18, alignment=8, rows=(
    Field(0x00, "ports",    PORTS_ARM),
    Field(0x08, "nr_ports", UINT),
    Field(0x0c, "pad_0c",   U8, 4, padding=True),
    Field(0x10, "timeout",  U64),
))
POLL_XEN_ARM = Layout("sched_poll", "arm64", size=0x18, alignment=8, rows=(
    Field(0x00, "ports",    PORTS_XEN_ARM),
    Field(0x08, "nr_ports", UINT),
    Field(0x0c, "pad_0c",   U8, 4, padding=True),
    Field(0x10, "timeout",  U64),
))
POLL_I386 = Layout("sched_poll", "i386", size=0x10, alignment=4, rows=(
    Field(0x00, "ports",    PORTS_32),
    Field(0x04, "nr_ports", UINT),
    Field(0x08, "timeout",  U64),
))
POLL_XEN_I386 = Layout("sched_poll", "i386", size=0x10, alignment=4, rows=(
    Field(0x00, "ports",    PORTS_XEN_32),
    Field(0x04, "nr_ports", UINT),
    Field(0x08, "timeout",  U64),
))
# x32 and 32-bit Windows: the offsets of i386, and a 64-bit integer is 8-aligned.
POLL_X32 = Layout("sched_poll", "x32", size=0x10, alignment=8, rows=POLL_I386.rows)

# evtchn_fifo_control_block: Xen, xen/include/public/event_channel.h. _rsvd is padding that is
# declared; it is a row like others, because the name of padding may not begin with _.
FIFO = Layout("evtchn_fifo_control_block", "x86_64", size=0x48, alignment=4, rows=(
    Field(0x00, "ready", U32),
    Field(0x04, "_rsvd", U32),
    Field(0x08, "head",  U32, 16),
))

# KVM's compat structs. The timer, packed: Linux, arch/x86/kvm/xen.c. compat_sched_poll, not packed:
# Linux, arch/x86/kvm/xen.h, not in 6.1. Xen generates its own compat/vcpu.h and compat/sched.h, in
# which both are aligned to 4.
COMPAT_TIMER = Layout("compat_vcpu_set_singleshot_timer", "x86_64", size=0x0c, alignment=1, rows=(
    Field(0x00, "timeout_abs_ns", U64),
    Field(0x08, "flags",          U32),
))
COMPAT_POLL = Layout("compat_sched_poll", "x86_64", size=0x10, alignment=8, rows=(
    Field(0x00, "ports",    U32),
    Field(0x04, "nr_ports", UINT),
    Field(0x08, "timeout",  U64),
))
COMPAT_POLL_XEN = Layout("compat_sched_poll", "x86_64", size=0x10, alignment=4, rows=(
    Field(0x00, "ports",    PORTS_XEN_32),
    Field(0x04, "nr_ports", UINT),
    Field(0x08, "timeout",  U64_COMPAT),
))
# fmt: on

# Aligned as a 64-bit integer is, with the same offsets on every ABI.
SAME = (VCPU_ATTR, REGISTER_VCPU_INFO, REGISTER_RUNSTATE, REGISTER_TIME)
SAME_I386 = tuple(layout._replace(alignment=4) for layout in SAME)
WIDE = (EXIT, TIMER, *SAME, FIFO)

# Linux's sched_poll before Xen's, KVM's compat struct before Xen's.
CLAIMS = {
    **on(("x86_64",), *WIDE, POLL, POLL_XEN, COMPAT_TIMER, COMPAT_POLL, COMPAT_POLL_XEN),
    **on(("i386",), EXIT_I386, TIMER_I386, *SAME_I386, FIFO, POLL_I386, POLL_XEN_I386),
    **on(("x32", "i386-windows"), *WIDE, POLL_X32),
    **on(("arm64", "arm32"), *WIDE, POLL_ARM, POLL_XEN_ARM),
    **on(("riscv64", "x86_64-windows"), *WIDE, POLL),
}

# Linux's declarations.
DECLARATIONS = """\
struct kvm_xen_exit {
	u32 type;
	union {
		struct {
			u32 longmode;
			u32 cpl;
			u64 input;
			u64 result;
			u64 params[6];
		} hcall;
	} u;
};
struct kvm_xen_vcpu_attr {
	u16 type;
	u16 pad[3];
	union {
		u64 gpa;
		u64 pad[8];
		struct {
			u64 state;
			u64 state_entry_time;
			u64 time_running;
			u64 time_runnable;
			u64 time_blocked;
			u64 time_offline;
		} runstate;
		u32 vcpu_id;
		struct {
			u32 port;
			u32 priority;
			u64 expires_ns;
		} timer;
		u8 vector;
	} u;
};
struct vcpu_set_singleshot_timer {
	uint64_t timeout_abs_ns;
	uint32_t flags;
};
struct vcpu_register_vcpu_info {
	uint64_t mfn;
	uint32_t offset;
	uint32_t rsvd;
};
struct vcpu_register_runstate_memory_area {
	union {
		struct vcpu_runstate_info *h;
		struct vcpu_runstate_info *v;
		uint64_t p;
	} addr;
};
struct vcpu_register_time_memory_area {
	union {
		struct vcpu_time_info *h;
		struct pvclock_vcpu_time_info *v;
		uint64_t p;
	} addr;
};
struct evtchn_fifo_control_block {
	uint32_t ready;
	uint32_t _rsvd;
	uint32_t head[16];
};
struct sched_poll {
#if defined(__arm__) || defined(__aarch64__)
	struct { union { uint32_t *p; uint64_t q; }; } ports;
#else
	uint32_t *ports;
#endif
	unsigned int nr_ports;
	uint64_t timeout;
};
#if defined(__x86_64__) || defined(__i386__)
struct compat_vcpu_set_singleshot_timer {
	uint64_t timeout_abs_ns;
	uint32_t flags;
} __packed;
struct compat_sched_poll {
	uint32_t ports;
	unsigned int nr_ports;
	uint64_t timeout;
};
#endif
"""

# fmt: off
CONDITIONS = (
    # Linux 6.1.192 and 6.12.117, arch/x86/kvm/xen.c, kvm_xen_hcall_vcpu_op().
    Condition("X1", "offsetof(struct compat_vcpu_set_singleshot_timer, timeout_abs_ns) != offsetof(struct vcpu_set_singleshot_timer, timeout_abs_ns)", 0, False, "timeout_abs_ns is in the same place in both"),
    Condition("X2", "sizeof_field(struct compat_vcpu_set_singleshot_timer, timeout_abs_ns) != sizeof_field(struct vcpu_set_singleshot_timer, timeout_abs_ns)", 0, False, "timeout_abs_ns is equally wide in both"),
    Condition("X3", "offsetof(struct compat_vcpu_set_singleshot_timer, flags) != offsetof(struct vcpu_set_singleshot_timer, flags)", 0, False, "flags is in the same place in both"),
    Condition("X4", "sizeof_field(struct compat_vcpu_set_singleshot_timer, flags) != sizeof_field(struct vcpu_set_singleshot_timer, flags)", 0, False, "flags is equally wide in both"),
    # The same file in 6.12.117, not in 6.1.192, kvm_xen_schedop_poll(), where it is `sizeof(sp32)`.
    Condition("X5", "sizeof(struct compat_sched_poll) != 16", 0, False, "KVM's compat_sched_poll is 16 bytes"),
    # QEMU, target/i386/kvm/xen-emu.c: vcpuop_set_singleshot_timer(), vcpuop_register_vcpu_info(),
    # vcpuop_register_vcpu_time_info() and vcpuop_register_runstate_info(). It says what must be
    # true, and has sizeof() of variables of these types.
    Condition("X6", "offsetof(struct vcpu_set_singleshot_timer, flags) != 8", 0, False, "flags is 8 bytes in: QEMU copies 12 bytes from every guest"),
    Condition("X7", "sizeof(struct vcpu_register_vcpu_info) != 16", 0, False, "vcpu_register_vcpu_info is 16 bytes"),
    Condition("X8", "sizeof(struct vcpu_register_time_memory_area) != 8", 0, False, "vcpu_register_time_memory_area is 8 bytes"),
    Condition("X9", "sizeof(struct vcpu_register_runstate_memory_area) != 8", 0, False, "vcpu_register_runstate_memory_area is 8 bytes"),
)

UNASSERTED = (
    Condition("XU1",  "sizeof(struct kvm_xen_exit) != 80", 0, True, "kvm_xen_exit is 80 bytes; to a 32-bit VMM it is 76"),
    Condition("XU2",  "offsetof(struct kvm_xen_exit, u.hcall.longmode) != 8", 0, True, "4 bytes of padding come before the union; not for a 32-bit VMM"),
    Condition("XU3",  "offsetof(struct kvm_xen_exit, u.hcall.input) != 16", 0, True, "the hypercall's number is 16 bytes in"),
    Condition("XU4",  "offsetof(struct kvm_xen_exit, u.hcall.result) != offsetof(struct kvm_xen_exit, u.hcall.input) + sizeof(u64)", 0, False, "the result follows the hypercall's number at once"),
    Condition("XU5",  "offsetof(struct kvm_xen_exit, u.hcall.params) != offsetof(struct kvm_xen_exit, u.hcall.result) + sizeof(u64)", 0, False, "the parameters follow the result at once"),
    Condition("XU6",  "sizeof(struct kvm_xen_vcpu_attr) != 72", 0, False, "kvm_xen_vcpu_attr is 72 bytes"),
    Condition("XU7",  "offsetof(struct kvm_xen_vcpu_attr, u.runstate.state) != 8", 0, False, "its union is 8 bytes in, by declared padding"),
    Condition("XU8",  "sizeof_field(struct kvm_xen_vcpu_attr, u.runstate.state) != sizeof(u64)", 0, False, "its runstate.state is 64 bits, though the guest's is an int"),
    Condition("XU9",  "sizeof(struct vcpu_set_singleshot_timer) != 16", 0, True, "4 bytes of padding end the native timer struct"),
    Condition("XU10", "sizeof(struct compat_vcpu_set_singleshot_timer) != 12", 0, False, "the compat timer struct has no padding"),
    Condition("XU11", "_Alignof(struct compat_vcpu_set_singleshot_timer) != 1", 0, False, "KVM's compat timer struct is packed: alignment 1 (Xen's is 4)"),
    Condition("XU12", "sizeof(struct sched_poll) != 24", 0, True, "the native sched_poll is 24 bytes"),
    Condition("XU13", "offsetof(struct sched_poll, nr_ports) != 8", 0, True, "the native nr_ports follows a 64-bit pointer"),
    Condition("XU14", "offsetof(struct sched_poll, timeout) != 16", 0, True, "4 bytes of padding come before the native timeout"),
    Condition("XU15", "offsetof(struct compat_sched_poll, nr_ports) != 4", 0, False, "the compat nr_ports follows a 32-bit pointer"),
    Condition("XU16", "offsetof(struct compat_sched_poll, timeout) != 8", 0, False, "the compat timeout follows nr_ports at once"),
    Condition("XU17", "sizeof_field(struct vcpu_register_runstate_memory_area, addr.p) != sizeof(uint64_t)", 0, False, "the address of the runstate area is 64 bits for every guest"),
    Condition("XU18", "offsetof(struct vcpu_register_vcpu_info, offset) != 8", 0, False, "the offset in the page follows the 64-bit frame number"),
    Condition("XU19", "sizeof(struct evtchn_fifo_control_block) != 72", 0, False, "the FIFO control block is 72 bytes: 16 queues"),
    Condition("XU20", "offsetof(struct evtchn_fifo_control_block, head) != 8", 0, False, "the queues' heads are 8 bytes in"),
)
# fmt: on

_VCPU_H = "Xen xen/include/public/vcpu.h"

FAMILY = Family(
    "uapi",
    "what a guest hands to a hypercall, and KVM to its VMM",
    {abi: CLAIMS[abi] for abi in ABI},
    {"x86_64": ("kvm_xen_exit", "evtchn_fifo_control_block", "compat_sched_poll")},
    {
        "kvm_xen_exit": "Linux include/uapi/linux/kvm.h",
        "kvm_xen_vcpu_attr": "Linux include/uapi/linux/kvm.h",
        "vcpu_set_singleshot_timer": _VCPU_H,
        "vcpu_register_vcpu_info": _VCPU_H,
        "vcpu_register_runstate_memory_area": _VCPU_H,
        "vcpu_register_time_memory_area": _VCPU_H,
        "sched_poll": "Xen xen/include/public/sched.h",
        "evtchn_fifo_control_block": "Xen xen/include/public/event_channel.h",
        "compat_vcpu_set_singleshot_timer": "Linux arch/x86/kvm/xen.c",
        "compat_sched_poll": "Linux arch/x86/kvm/xen.h",
    },
    DECLARATIONS,
    packed=frozenset(("compat_vcpu_set_singleshot_timer",)),
    conditions=CONDITIONS,
    unasserted=UNASSERTED,
    notes=(
        "A 32-bit x86 VMM on a 64-bit kernel reads every member of kvm_xen_exit's union 4 bytes "
        "off: nothing pads the struct as pad1 pads kvm_hyperv_exit.",
        "The 32-bit form of these structs is i386's alone: x32, 32-bit Arm and 32-bit Windows "
        "align a 64-bit integer to 8, so kvm_xen_exit and the timer have their 64-bit form there.",
        "On Arm the ports of sched_poll are a handle of 8 bytes on both ABIs, so sched_poll is 24 "
        "bytes on 32-bit Arm too.",
        "On x86 the ports of sched_poll are a pointer in Linux and a struct of one pointer in Xen, "
        "in the same bytes.",
        "The address in vcpu_register_runstate_memory_area and vcpu_register_time_memory_area is "
        "64 bits for every guest: a 32-bit guest must zero its upper half.",
        "Xen's compat structs are aligned to 4; KVM's timer is packed, and its compat_sched_poll "
        "is aligned to 8.",
    ),
)
