"""THE FACTS: vcpu_info and shared_info, byte by byte, and the compat forms that KVM has of them.

The page that a guest shares with its hypervisor. The headers say ``unsigned long``, so there are
four forms: 64-bit x86, i386 (which the compat structs repeat), x32 with Windows, and Arm.
"""

from runstate_abi.layouts.abi import ABI
from runstate_abi.layouts.conditions import Condition
from runstate_abi.layouts.model import Field, Layout, Scalar
from runstate_abi.layouts.structs import pvclock
from runstate_abi.layouts.structs.families import Family, on, struct_type
from runstate_abi.layouts.structs.pvclock import U8, U32, U64

U16 = Scalar("uint16_t", 2, signed=False)
UINT = Scalar("unsigned int", 4, signed=False)
ULONG = Scalar("unsigned long", 8, signed=False)
ULONG32 = Scalar("unsigned long", 4, signed=False)
TIME = struct_type(pvclock.TIME_INFO)
WALL_CLOCK = struct_type(pvclock.WALL_CLOCK)
ARM_WALL_CLOCK = struct_type(pvclock.ARM_WALL_CLOCK)

# vcpu_info, shared_info: Xen, xen/include/public/xen.h; Linux has them as
# include/xen/interface/xen.h. arch_*: Xen, xen/include/public/arch-x86/xen.h, xen-x86_64.h and
# xen-x86_32.h; Linux, arch/x86/include/asm/xen/interface.h, interface_64.h and interface_32.h.
# `time` and `wc` are Linux's packed structs; Xen has its own aligned one for `time`, in the same
# place, and instead of `wc` its members: XEN_SHARED_INFO.

# 64-bit x86: `unsigned long` is 8 bytes.
# fmt: off
ARCH_VCPU_INFO = Layout("arch_vcpu_info", "x86_64", size=0x10, alignment=8, rows=(
    Field(0x00, "cr2", ULONG),
    Field(0x08, "pad", ULONG, padding=True),
))
VCPU_INFO = Layout("vcpu_info", "x86_64", size=0x40, alignment=8, rows=(
    Field(0x00, "evtchn_upcall_pending", U8),
    Field(0x01, "evtchn_upcall_mask",    U8),
    Field(0x02, "pad_02",                U8, 6, padding=True),
    Field(0x08, "evtchn_pending_sel",    ULONG),
    Field(0x10, "arch",                  struct_type(ARCH_VCPU_INFO)),
    Field(0x20, "time",                  TIME),
))
ARCH_SHARED_INFO = Layout("arch_shared_info", "x86_64", size=0x30, alignment=8, rows=(
    Field(0x00, "max_pfn",                    ULONG),
    Field(0x08, "pfn_to_mfn_frame_list_list", ULONG),
    Field(0x10, "nmi_reason",                 ULONG),
    Field(0x18, "p2m_cr3",                    ULONG),
    Field(0x20, "p2m_vaddr",                  ULONG),
    Field(0x28, "p2m_generation",             ULONG),
))
SHARED_INFO = Layout("shared_info", "x86_64", size=0xc40, alignment=8, rows=(
    Field(0x000, "vcpu_info",      struct_type(VCPU_INFO), 32),
    Field(0x800, "evtchn_pending", ULONG, 64),
    Field(0xa00, "evtchn_mask",    ULONG, 64),
    Field(0xc00, "wc",             WALL_CLOCK),
    Field(0xc0c, "wc_sec_hi",      U32),
    Field(0xc10, "arch",           struct_type(ARCH_SHARED_INFO)),
))
XEN_SHARED_INFO = Layout("shared_info", "x86_64", size=0xc40, alignment=8, rows=(
    Field(0x000, "vcpu_info",      struct_type(VCPU_INFO), 32),
    Field(0x800, "evtchn_pending", ULONG, 64),
    Field(0xa00, "evtchn_mask",    ULONG, 64),
    Field(0xc00, "wc_version",     U32),
    Field(0xc04, "wc_sec",         U32),
    Field(0xc08, "wc_nsec",        U32),
    Field(0xc0c, "wc_sec_hi",      U32),
    Field(0xc10, "arch",           struct_type(ARCH_SHARED_INFO)),
))

# i386, and Windows on it: 4 bytes, wc_sec_hi at the end of arch, and cr2 padded until `time` is
# where 64-bit x86 has it.
ARCH_VCPU_INFO_I386 = Layout("arch_vcpu_info", "i386", size=0x18, alignment=4, rows=(
    Field(0x00, "cr2", ULONG32),
    Field(0x04, "pad", ULONG32, 5, padding=True),
))
VCPU_INFO_I386 = Layout("vcpu_info", "i386", size=0x40, alignment=4, rows=(
    Field(0x00, "evtchn_upcall_pending", U8),
    Field(0x01, "evtchn_upcall_mask",    U8),
    Field(0x02, "pad_02",                U8, 2, padding=True),
    Field(0x04, "evtchn_pending_sel",    ULONG32),
    Field(0x08, "arch",                  struct_type(ARCH_VCPU_INFO_I386)),
    Field(0x20, "time",                  TIME),
))
ARCH_SHARED_INFO_I386 = Layout("arch_shared_info", "i386", size=0x1c, alignment=4, rows=(
    Field(0x00, "max_pfn",                    ULONG32),
    Field(0x04, "pfn_to_mfn_frame_list_list", ULONG32),
    Field(0x08, "nmi_reason",                 ULONG32),
    Field(0x0c, "p2m_cr3",                    ULONG32),
    Field(0x10, "p2m_vaddr",                  ULONG32),
    Field(0x14, "p2m_generation",             ULONG32),
    Field(0x18, "wc_sec_hi",                  U32),
))
SHARED_INFO_I386 = Layout("shared_info", "i386", size=0x928, alignment=4, rows=(
    Field(0x000, "vcpu_info",      struct_type(VCPU_INFO_I386), 32),
    Field(0x800, "evtchn_pending", ULONG32, 32),
    Field(0x880, "evtchn_mask",    ULONG32, 32),
    Field(0x900, "wc",             WALL_CLOCK),
    Field(0x90c, "arch",           struct_type(ARCH_SHARED_INFO_I386)),
))
XEN_SHARED_INFO_I386 = Layout("shared_info", "i386", size=0x928, alignment=4, rows=(
    Field(0x000, "vcpu_info",      struct_type(VCPU_INFO_I386), 32),
    Field(0x800, "evtchn_pending", ULONG32, 32),
    Field(0x880, "evtchn_mask",    ULONG32, 32),
    Field(0x900, "wc_version",     U32),
    Field(0x904, "wc_sec",         U32),
    Field(0x908, "wc_nsec",        U32),
    Field(0x90c, "arch",           struct_type(ARCH_SHARED_INFO_I386)),
))

# x32 and 64-bit Windows take the 64-bit header, and `unsigned long` is 4 bytes. No hypervisor has
# this form: whoever compiles the header as it is there gets a wrong one.
ARCH_VCPU_INFO_X32 = Layout("arch_vcpu_info", "x32", size=0x08, alignment=4, rows=(
    Field(0x00, "cr2", ULONG32),
    Field(0x04, "pad", ULONG32, padding=True),
))
VCPU_INFO_X32 = Layout("vcpu_info", "x32", size=0x30, alignment=4, rows=(
    Field(0x00, "evtchn_upcall_pending", U8),
    Field(0x01, "evtchn_upcall_mask",    U8),
    Field(0x02, "pad_02",                U8, 2, padding=True),
    Field(0x04, "evtchn_pending_sel",    ULONG32),
    Field(0x08, "arch",                  struct_type(ARCH_VCPU_INFO_X32)),
    Field(0x10, "time",                  TIME),
))
ARCH_SHARED_INFO_X32 = Layout("arch_shared_info", "x32", size=0x18, alignment=4, rows=(
    Field(0x00, "max_pfn",                    ULONG32),
    Field(0x04, "pfn_to_mfn_frame_list_list", ULONG32),
    Field(0x08, "nmi_reason",                 ULONG32),
    Field(0x0c, "p2m_cr3",                    ULONG32),
    Field(0x10, "p2m_vaddr",                  ULONG32),
    Field(0x14, "p2m_generation",             ULONG32),
))
XEN_SHARED_INFO_X32 = Layout("shared_info", "x32", size=0x728, alignment=8, rows=(
    Field(0x000, "vcpu_info",      struct_type(VCPU_INFO_X32), 32),
    Field(0x600, "evtchn_pending", ULONG32, 32),
    Field(0x680, "evtchn_mask",    ULONG32, 32),
    Field(0x700, "wc_version",     U32),
    Field(0x704, "wc_sec",         U32),
    Field(0x708, "wc_nsec",        U32),
    Field(0x70c, "wc_sec_hi",      U32),
    Field(0x710, "arch",           struct_type(ARCH_SHARED_INFO_X32)),
))
SHARED_INFO_X32 = Layout("shared_info", "x32", size=0x728, alignment=4, rows=(
    Field(0x000, "vcpu_info",      struct_type(VCPU_INFO_X32), 32),
    Field(0x600, "evtchn_pending", ULONG32, 32),
    Field(0x680, "evtchn_mask",    ULONG32, 32),
    Field(0x700, "wc",             WALL_CLOCK),
    Field(0x70c, "wc_sec_hi",      U32),
    Field(0x710, "arch",           struct_type(ARCH_SHARED_INFO_X32)),
))

# Arm: Xen, xen/include/public/arch-arm.h; Linux, include/xen/arm/interface.h. xen_ulong_t has 64
# bits on 32-bit Arm too, there is one vCPU in the page, and the arch structs are empty: C gives
# them no byte, so they have no row here.
VCPU_INFO_ARM = Layout("vcpu_info", "arm64", size=0x30, alignment=8, rows=(
    Field(0x00, "evtchn_upcall_pending", U8),
    Field(0x01, "evtchn_upcall_mask",    U8),
    Field(0x02, "pad_02",                U8, 6, padding=True),
    Field(0x08, "evtchn_pending_sel",    U64),
    Field(0x10, "time",                  TIME),
))
# Xen has no XEN_HAVE_PV_UPCALL_MASK on Arm.
XEN_VCPU_INFO_ARM = Layout("vcpu_info", "arm64", size=0x30, alignment=8, rows=(
    Field(0x00, "evtchn_upcall_pending", U8),
    Field(0x01, "pad0",                  U8,    padding=True),
    Field(0x02, "pad_02",                U8, 6, padding=True),
    Field(0x08, "evtchn_pending_sel",    U64),
    Field(0x10, "time",                  TIME),
))
SHARED_INFO_ARM = Layout("shared_info", "arm64", size=0x448, alignment=8, rows=(
    Field(0x000, "vcpu_info",      struct_type(VCPU_INFO_ARM)),
    Field(0x030, "evtchn_pending", U64, 64),
    Field(0x230, "evtchn_mask",    U64, 64),
    Field(0x430, "wc",             ARM_WALL_CLOCK),
    Field(0x440, "wc_sec_hi",      U32),
    Field(0x444, "pad_444",        U8, 4, padding=True),
))
XEN_SHARED_INFO_ARM = Layout("shared_info", "arm64", size=0x440, alignment=8, rows=(
    Field(0x000, "vcpu_info",      struct_type(XEN_VCPU_INFO_ARM)),
    Field(0x030, "evtchn_pending", U64, 64),
    Field(0x230, "evtchn_mask",    U64, 64),
    Field(0x430, "wc_version",     U32),
    Field(0x434, "wc_sec",         U32),
    Field(0x438, "wc_nsec",        U32),
    Field(0x43c, "wc_sec_hi",      U32),
))

# KVM's compat structs: Linux, arch/x86/kvm/xen.h. Xen generates its own compat/xen.h, with the same
# names, wc_version, wc_sec and wc_nsec instead of wc, and no `pad` in vcpu_info.
COMPAT_ARCH_VCPU_INFO = Layout("compat_arch_vcpu_info", "x86_64", size=0x18, alignment=4, rows=(
    Field(0x00, "cr2", UINT),
    Field(0x04, "pad", UINT, 5, padding=True),
))
COMPAT_VCPU_INFO = Layout("compat_vcpu_info", "x86_64", size=0x40, alignment=4, rows=(
    Field(0x00, "evtchn_upcall_pending", U8),
    Field(0x01, "evtchn_upcall_mask",    U8),
    Field(0x02, "pad",                   U16, padding=True),
    Field(0x04, "evtchn_pending_sel",    U32),
    Field(0x08, "arch",                  struct_type(COMPAT_ARCH_VCPU_INFO)),
    Field(0x20, "time",                  TIME),
))
COMPAT_ARCH_SHARED_INFO = Layout("compat_arch_shared_info", "x86_64", size=0x1c, alignment=4, rows=(
    Field(0x00, "max_pfn",                    UINT),
    Field(0x04, "pfn_to_mfn_frame_list_list", UINT),
    Field(0x08, "nmi_reason",                 UINT),
    Field(0x0c, "p2m_cr3",                    UINT),
    Field(0x10, "p2m_vaddr",                  UINT),
    Field(0x14, "p2m_generation",             UINT),
    Field(0x18, "wc_sec_hi",                  U32),
))
COMPAT_SHARED_INFO = Layout("compat_shared_info", "x86_64", size=0x928, alignment=4, rows=(
    Field(0x000, "vcpu_info",      struct_type(COMPAT_VCPU_INFO), 32),
    Field(0x800, "evtchn_pending", U32, 32),
    Field(0x880, "evtchn_mask",    U32, 32),
    Field(0x900, "wc",             WALL_CLOCK),
    Field(0x90c, "arch",           struct_type(COMPAT_ARCH_SHARED_INFO)),
))
XEN_COMPAT_SHARED_INFO = Layout("compat_shared_info", "x86_64", size=0x928, alignment=4, rows=(
    Field(0x000, "vcpu_info",      struct_type(COMPAT_VCPU_INFO), 32),
    Field(0x800, "evtchn_pending", U32, 32),
    Field(0x880, "evtchn_mask",    U32, 32),
    Field(0x900, "wc_version",     U32),
    Field(0x904, "wc_sec",         U32),
    Field(0x908, "wc_nsec",        U32),
    Field(0x90c, "arch",           struct_type(COMPAT_ARCH_SHARED_INFO)),
))
# fmt: on

NATIVE = (ARCH_VCPU_INFO, VCPU_INFO, ARCH_SHARED_INFO, SHARED_INFO)
COMPAT = (COMPAT_ARCH_VCPU_INFO, COMPAT_VCPU_INFO, COMPAT_ARCH_SHARED_INFO, COMPAT_SHARED_INFO)
I386 = (ARCH_VCPU_INFO_I386, VCPU_INFO_I386, ARCH_SHARED_INFO_I386, SHARED_INFO_I386)
X32 = (ARCH_VCPU_INFO_X32, VCPU_INFO_X32, ARCH_SHARED_INFO_X32, SHARED_INFO_X32)
# Xen's time info is not packed, so where 64-bit integers are aligned to 8 these are, too.
XEN_X32 = (VCPU_INFO_X32._replace(alignment=8), XEN_SHARED_INFO_X32)
XEN_I386_WINDOWS = tuple(
    layout._replace(alignment=8) for layout in (VCPU_INFO_I386, XEN_SHARED_INFO_I386)
)
# Linux's before Xen's.
ARM = (VCPU_INFO_ARM, XEN_VCPU_INFO_ARM, SHARED_INFO_ARM, XEN_SHARED_INFO_ARM)

CLAIMS = {
    **on(("x86_64",), *NATIVE, XEN_SHARED_INFO, *COMPAT, XEN_COMPAT_SHARED_INFO),
    **on(("i386",), *I386, XEN_SHARED_INFO_I386),
    **on(("x32", "x86_64-windows"), *X32, *XEN_X32),
    **on(("arm64", "arm32"), *ARM),
    **on(("riscv64",), *NATIVE, XEN_SHARED_INFO),
    **on(("i386-windows",), *I386, *XEN_I386_WINDOWS),
}

# Linux's declarations. The arch structs are left out on Arm, where they are empty.
DECLARATIONS = f"""\
{pvclock.DECLARATIONS}\
#if defined(__arm__) || defined(__aarch64__)
typedef uint64_t xen_ulong_t;
#else
typedef unsigned long xen_ulong_t;
struct arch_vcpu_info {{
	unsigned long cr2;
#ifdef __i386__
	unsigned long pad[5];
#else
	unsigned long pad;
#endif
}};
struct arch_shared_info {{
	unsigned long max_pfn;
	unsigned long pfn_to_mfn_frame_list_list;
	unsigned long nmi_reason;
	unsigned long p2m_cr3;
	unsigned long p2m_vaddr;
	unsigned long p2m_generation;
#ifdef __i386__
	uint32_t wc_sec_hi;
#endif
}};
#endif
struct vcpu_info {{
	uint8_t evtchn_upcall_pending;
	uint8_t evtchn_upcall_mask;
	xen_ulong_t evtchn_pending_sel;
#if !defined(__arm__) && !defined(__aarch64__)
	struct arch_vcpu_info arch;
#endif
	struct pvclock_vcpu_time_info time;
}};
struct shared_info {{
#if defined(__arm__) || defined(__aarch64__)
	struct vcpu_info vcpu_info[1];
#else
	struct vcpu_info vcpu_info[32];
#endif
	xen_ulong_t evtchn_pending[sizeof(xen_ulong_t) * 8];
	xen_ulong_t evtchn_mask[sizeof(xen_ulong_t) * 8];
	struct pvclock_wall_clock wc;
#ifndef __i386__
	uint32_t wc_sec_hi;
#endif
#if !defined(__arm__) && !defined(__aarch64__)
	struct arch_shared_info arch;
#endif
}};
#if defined(__x86_64__) || defined(__i386__)
struct compat_arch_vcpu_info {{
	unsigned int cr2;
	unsigned int pad[5];
}};
struct compat_vcpu_info {{
	uint8_t evtchn_upcall_pending;
	uint8_t evtchn_upcall_mask;
	uint16_t pad;
	uint32_t evtchn_pending_sel;
	struct compat_arch_vcpu_info arch;
	struct pvclock_vcpu_time_info time;
}};
struct compat_arch_shared_info {{
	unsigned int max_pfn;
	unsigned int pfn_to_mfn_frame_list_list;
	unsigned int nmi_reason;
	unsigned int p2m_cr3;
	unsigned int p2m_vaddr;
	unsigned int p2m_generation;
	uint32_t wc_sec_hi;
}};
struct compat_shared_info {{
	struct compat_vcpu_info vcpu_info[32];
	uint32_t evtchn_pending[32];
	uint32_t evtchn_mask[32];
	struct pvclock_wall_clock wc;
	struct compat_arch_shared_info arch;
}};
#endif
"""

# fmt: off
CONDITIONS = (
    # Linux 6.1.192 and 6.12.117, arch/x86/kvm/xen.c, kvm_xen_shared_info_init(). A fifth one there is about
    # pvclock_vcpu_time_info.
    Condition("V1",  "offsetof(struct compat_shared_info, wc) != 0x900", 0, False, "the compat wall clock is where i386 has it"),
    Condition("V2",  "offsetof(struct compat_shared_info, arch.wc_sec_hi) != 0x924", 0, False, "the compat wc_sec_hi is the end of arch, 24 bytes behind the wall clock's"),
    Condition("V3",  "offsetof(struct shared_info, wc) != 0xc00", 0, True, "the native wall clock is where 64-bit x86 has it"),
    Condition("V4",  "offsetof(struct shared_info, wc_sec_hi) != 0xc0c", 0, True, "the native wc_sec_hi follows the wall clock"),
    # The same file, __kvm_xen_has_interrupt(). V6 and V7 have `sizeof(rc)` there, of a u8.
    Condition("V5",  "offsetof(struct vcpu_info, evtchn_upcall_pending) != offsetof(struct compat_vcpu_info, evtchn_upcall_pending)", 0, False, "evtchn_upcall_pending is in the same place in both"),
    Condition("V6",  "1 != sizeof_field(struct vcpu_info, evtchn_upcall_pending)", 0, False, "the native evtchn_upcall_pending is one byte"),
    Condition("V7",  "1 != sizeof_field(struct compat_vcpu_info, evtchn_upcall_pending)", 0, False, "so is the compat one"),
    # The same file, kvm_xen_vcpu_set_attr().
    Condition("V8",  "sizeof(struct vcpu_info) != sizeof(struct compat_vcpu_info)", 0, False, "the two vcpu_info are equally long (Xen asserts this too, in xen/common/domain.c)"),
    Condition("V9",  "offsetof(struct vcpu_info, time) != offsetof(struct compat_vcpu_info, time)", 0, False, "the time info is in the same place in both"),
    # QEMU, target/i386/kvm/xen-emu.c, vcpuop_register_vcpu_info(); it says what must be true. It
    # holds on i386 too, but QEMU did not compile on x32 because of it.
    Condition("V10", "sizeof(struct vcpu_info) != 64", 0, True, "vcpu_info is 64 bytes"),
)

UNASSERTED = (
    Condition("VU1",  "sizeof(struct shared_info) != 3136", 0, True, "the native shared_info is 3136 bytes"),
    Condition("VU2",  "sizeof(struct compat_shared_info) != 2344", 0, False, "the compat shared_info is 2344 bytes"),
    Condition("VU3",  "offsetof(struct shared_info, vcpu_info) != 0", 0, False, "vcpu_info[] comes first in the page"),
    Condition("VU4",  "offsetof(struct vcpu_info, evtchn_pending_sel) != 8", 0, True, "the native selector is 8 bytes in"),
    Condition("VU5",  "sizeof_field(struct vcpu_info, evtchn_pending_sel) != 8", 0, True, "the native selector is 64 bits"),
    Condition("VU6",  "offsetof(struct compat_vcpu_info, evtchn_pending_sel) != 4", 0, False, "the compat selector is 4 bytes in: an atomic of 8 bytes there reaches into cr2"),
    Condition("VU7",  "sizeof_field(struct compat_vcpu_info, evtchn_pending_sel) != 4", 0, False, "the compat selector is 32 bits"),
    Condition("VU8",  "offsetof(struct vcpu_info, evtchn_upcall_mask) != offsetof(struct compat_vcpu_info, evtchn_upcall_mask)", 0, False, "evtchn_upcall_mask is in the same place in both (only evtchn_upcall_pending is asserted)"),
    Condition("VU9",  "offsetof(struct vcpu_info, time) != 32", 0, False, "the time info is 32 bytes in (only that both agree is asserted)"),
    Condition("VU10", "sizeof_field(struct vcpu_info, time) != 32", 0, False, "the time info fills the second half"),
    Condition("VU11", "offsetof(struct vcpu_info, arch) + sizeof(struct arch_vcpu_info) != offsetof(struct vcpu_info, time)", 0, False, "the padding in the native arch ends where the time info begins"),
    Condition("VU12", "offsetof(struct shared_info, evtchn_pending) != sizeof(struct vcpu_info) * 32", 0, False, "there are 32 vcpu_info in the page"),
    Condition("VU13", "offsetof(struct shared_info, evtchn_mask) != offsetof(struct shared_info, evtchn_pending) + sizeof_field(struct shared_info, evtchn_pending)", 0, False, "the native mask follows the pending bits at once"),
    Condition("VU14", "offsetof(struct compat_shared_info, evtchn_mask) != offsetof(struct compat_shared_info, evtchn_pending) + sizeof_field(struct compat_shared_info, evtchn_pending)", 0, False, "so does the compat mask"),
    Condition("VU15", "sizeof_field(struct shared_info, evtchn_pending) != sizeof_field(struct vcpu_info, evtchn_pending_sel) * 8 * sizeof_element(struct shared_info, evtchn_pending)", 0, False, "each bit of the native selector stands for one word of pending bits"),
    Condition("VU16", "sizeof_field(struct compat_shared_info, evtchn_pending) != sizeof_field(struct compat_vcpu_info, evtchn_pending_sel) * 8 * sizeof_element(struct compat_shared_info, evtchn_pending)", 0, False, "so does each bit of the compat selector"),
    Condition("VU17", "sizeof_field(struct shared_info, evtchn_mask) != sizeof_field(struct shared_info, evtchn_pending)", 0, False, "there are as many native mask bits as pending bits"),
    Condition("VU18", "offsetof(struct shared_info, arch) != 0xc10", 0, True, "the native arch follows wc_sec_hi"),
    Condition("VU19", "offsetof(struct compat_shared_info, arch) != 0x90c", 0, False, "the compat arch follows the wall clock"),
    Condition("VU20", "_Alignof(struct vcpu_info) != sizeof_field(struct vcpu_info, evtchn_pending_sel)", 0, False, "the native vcpu_info is aligned as its selector is: 8 on x86-64, 4 on i386"),
    Condition("VU21", "_Alignof(struct compat_vcpu_info) != 4", 0, False, "the compat vcpu_info is aligned to 4: a guest may register one that no 8-byte atomic may touch"),
)
# fmt: on

_STRUCTS = tuple(layout.name for layout in NATIVE)
_X86 = "Xen xen/include/public/arch-x86/xen.h"

FAMILY = Family(
    "vcpu_info",
    "the page that a guest shares with its hypervisor, and a vCPU's part of it",
    {abi: CLAIMS[abi] for abi in ABI},
    {
        "x86_64": (*_STRUCTS, *(layout.name for layout in COMPAT)),
        "i386": _STRUCTS,
        "arm64": ("vcpu_info", "shared_info"),
        "arm32": ("vcpu_info", "shared_info"),
    },
    {
        "arch_vcpu_info": "Xen xen/include/public/arch-x86/xen-x86_64.h, xen-x86_32.h",
        "vcpu_info": "Xen xen/include/public/xen.h",
        "arch_shared_info": _X86,
        "shared_info": "Xen xen/include/public/xen.h",
        **{layout.name: "Linux arch/x86/kvm/xen.h" for layout in COMPAT},
    },
    DECLARATIONS,
    conditions=CONDITIONS,
    unasserted=UNASSERTED,
    notes=(
        "evtchn_pending_sel is 8 bytes at offset 8 on x86-64 and 4 bytes at offset 4 on i386, "
        "though vcpu_info is 64 bytes with the time info at 32 on both.",
        "On x32 and on 64-bit Windows the header's unsigned long is 4 bytes, which makes vcpu_info "
        "48 bytes, with the selector at 4 and the time info at 16: a form that no hypervisor has.",
        "On 32-bit Arm xen_ulong_t has 64 bits, so both Arm ABIs have the same layout, and it is "
        "neither that of x86-64 nor that of i386.",
        "On Arm the arch structs are empty, so the time info follows the selector: it is at 16.",
        "On Arm Linux's wall clock has 16 bytes, so the place of Xen's wc_sec_hi (1084) is its "
        "wc.sec_hi, and its own wc_sec_hi (1088) lies behind the end of Xen's struct.",
        "The upper half of the wall clock's seconds follows it on x86-64 (0xc0c), and is the last "
        "member of arch on i386 (0x924).",
        "An array of 64-bit words of pending bits and one of 32-bit words are the same bytes on "
        "x86, but there are 4096 ports in the native form and 1024 in the compat form.",
        "Xen has wc_version, wc_sec and wc_nsec as members of shared_info where Linux has the "
        "struct wc: the same bytes under other names.",
    ),
)
