"""THE FACTS: the time that a hypervisor gives its guests, byte by byte.

Offsets are the same on every ABI; Linux packs its structs, so their alignment is 1, and Xen's has
the alignment of a 64-bit integer. There is no compat form. Arm's wall clock is 4 bytes longer.
"""

from runstate_abi.layouts.abi import ABI
from runstate_abi.layouts.conditions import Condition
from runstate_abi.layouts.model import Field, Layout, Scalar
from runstate_abi.layouts.structs.families import Family

U8 = Scalar("uint8_t", 1, signed=False)
S8 = Scalar("int8_t", 1, signed=True)
U32 = Scalar("uint32_t", 4, signed=False)
U64 = Scalar("uint64_t", 8, signed=False)

# pvclock_vcpu_time_info, pvclock_wall_clock: Linux, arch/x86/include/asm/pvclock-abi.h. The time info
# is the same on Arm and arm64, include/xen/arm/interface.h.
# vcpu_time_info: Xen, xen/include/public/xen.h, with an interface version above 0x040600.
# fmt: off
TIME_ROWS = (
    Field(0x00, "version",           U32),
    Field(0x04, "pad0",              U32,     padding=True),
    Field(0x08, "tsc_timestamp",     U64),
    Field(0x10, "system_time",       U64),
    Field(0x18, "tsc_to_system_mul", U32),
    Field(0x1c, "tsc_shift",         S8),
    Field(0x1d, "flags",             U8),
    Field(0x1e, "pad",               U8,  2,  padding=True),
)
TIME_INFO = Layout("pvclock_vcpu_time_info", "x86_64", size=0x20, alignment=1, rows=TIME_ROWS)
XEN_TIME_INFO = Layout("vcpu_time_info", "x86_64", size=0x20, alignment=8, rows=(
    *TIME_ROWS[:-1], TIME_ROWS[-1]._replace(name="pad1"),
))
# The same with an interface version up to 0x040600, and in Linux's copy, include/xen/interface/xen.h.
OLD_XEN_TIME_INFO = XEN_TIME_INFO._replace(rows=(
    *TIME_ROWS[:-2], Field(0x1d, "pad1", S8, 3, padding=True),
))
WALL_CLOCK = Layout("pvclock_wall_clock", "x86_64", size=0x0c, alignment=1, rows=(
    Field(0x00, "version", U32),
    Field(0x04, "sec",     U32),
    Field(0x08, "nsec",    U32),
))
# Linux on Arm and arm64, include/xen/arm/interface.h: the seconds have 64 bits.
ARM_WALL_CLOCK = WALL_CLOCK._replace(size=0x10, rows=(*WALL_CLOCK.rows, Field(0x0c, "sec_hi", U32)))
# fmt: on


def _on(abi: str) -> tuple[Layout, ...]:
    clock = ARM_WALL_CLOCK if abi in ("arm32", "arm64") else WALL_CLOCK
    alignment = ABI[abi].u64_alignment
    xens = (one._replace(alignment=alignment) for one in (XEN_TIME_INFO, OLD_XEN_TIME_INFO))
    return tuple(one._replace(abi=abi) for one in (TIME_INFO, *xens, clock))


DECLARATIONS = """\
struct pvclock_vcpu_time_info {
	u32 version;
	u32 pad0;
	u64 tsc_timestamp;
	u64 system_time;
	u32 tsc_to_system_mul;
	s8  tsc_shift;
	u8  flags;
	u8  pad[2];
} __packed;
struct vcpu_time_info {
	uint32_t version;
	uint32_t pad0;
	uint64_t tsc_timestamp;
	uint64_t system_time;
	uint32_t tsc_to_system_mul;
	int8_t   tsc_shift;
	uint8_t  flags;
	uint8_t  pad1[2];
};
struct pvclock_wall_clock {
	u32 version;
	u32 sec;
	u32 nsec;
#if defined(__arm__) || defined(__aarch64__)
	u32 sec_hi;
#endif
} __packed;
"""

# KVM, arch/x86/kvm/xen.c, kvm_xen_shared_info_init(), in Linux 6.1.192 and 6.12.117.
# fmt: off
CONDITIONS = (
    Condition("P1", "offsetof(struct pvclock_vcpu_time_info, version) != 0", 0, False, "version comes first"),
)
UNASSERTED = (
    Condition("PU1", "sizeof(struct pvclock_vcpu_time_info) != 32", 0, False, "the time info is 32 bytes: two fill a cache line"),
    Condition("PU2", "sizeof(struct vcpu_time_info) != sizeof(struct pvclock_vcpu_time_info)", 0, False, "Linux's and Xen's are equally long"),
    Condition("PU3", "offsetof(struct vcpu_time_info, version) != 0", 0, False, "Xen's version comes first, too (of Linux's that is asserted)"),
    Condition("PU4", "offsetof(struct vcpu_time_info, system_time) != offsetof(struct pvclock_vcpu_time_info, system_time)", 0, False, "system_time is in the same place in both"),
    Condition("PU5", "is_signed(struct pvclock_vcpu_time_info, tsc_shift) != 1", 0, False, "tsc_shift is signed: a shift to the right is negative"),
    Condition("PU6", "offsetof(struct pvclock_wall_clock, nsec) != offsetof(struct pvclock_wall_clock, sec) + 4", 0, False, "seconds come before nanoseconds"),
    Condition("PU7", "sizeof(struct pvclock_wall_clock) != 12", 0, True, "x86's wall clock is 12 bytes: the upper seconds are not in it (on Arm they are)"),
)
# fmt: on

FAMILY = Family(
    "pvclock",
    "the time and the wall clock that a hypervisor gives its guests",
    {abi: _on(abi) for abi in ABI},
    {
        "x86_64": ("pvclock_vcpu_time_info", "pvclock_wall_clock"),
        "i386": ("pvclock_vcpu_time_info", "pvclock_wall_clock"),
        "arm64": ("pvclock_vcpu_time_info", "pvclock_wall_clock"),
        "arm32": ("pvclock_vcpu_time_info", "pvclock_wall_clock"),
    },
    {
        "pvclock_vcpu_time_info": "Linux arch/x86/include/asm/pvclock-abi.h, "
        "include/xen/arm/interface.h",
        "vcpu_time_info": "Xen xen/include/public/xen.h; Linux include/xen/interface/xen.h",
        "pvclock_wall_clock": "Linux arch/x86/include/asm/pvclock-abi.h, "
        "include/xen/arm/interface.h",
    },
    DECLARATIONS,
    packed=frozenset(("pvclock_vcpu_time_info", "pvclock_wall_clock")),
    conditions=CONDITIONS,
    unasserted=UNASSERTED,
    same={"pvclock_vcpu_time_info": ("vcpu_time_info",)},
    notes=(
        "Xen's flags exists only above interface version 0x040600, and who asks for none gets 0; up "
        "to it, that byte is the first of pad1[3].",
        "Linux's own copy of Xen's vcpu_time_info has no flags: a kernel's debug info shows pad1[3].",
        "Linux packs pvclock_vcpu_time_info, so a compiler may take its members apart; Xen's "
        "vcpu_time_info is aligned.",
        "Xen has no struct for the wall clock: its members are shared_info's, and on i386 the upper "
        "seconds are elsewhere in it.",
        "Linux on Arm declares the upper seconds twice, as wc.sec_hi and behind it as "
        "shared_info.wc_sec_hi; only the first is Xen's.",
    ),
)
