"""THE FACTS: the page from which a guest of Hyper-V, or of KVM or Xen as such, computes the time.

Offsets are the same on every ABI; Linux packs the struct, so its alignment is 1. There is no compat
form.
"""

from runstate_abi.layouts.abi import ABI
from runstate_abi.layouts.conditions import Condition
from runstate_abi.layouts.model import Field, Layout, Scalar
from runstate_abi.layouts.structs.families import Family, on

U32 = Scalar("uint32_t", 4, signed=False)
U64 = Scalar("uint64_t", 8, signed=False)
S64 = Scalar("int64_t", 8, signed=True)

# Linux, include/hyperv/hvgdk_mini.h; include/asm-generic/hyperv-tlfs.h in 6.1.
# fmt: off
TSC_ROWS = (
    Field(0x00, "tsc_sequence", U32),
    Field(0x04, "reserved1",    U32, padding=True),
    Field(0x08, "tsc_scale",    U64),
    Field(0x10, "tsc_offset",   S64),
)
TSC_PAGE = Layout("ms_hyperv_tsc_page", "x86_64", size=0x18, alignment=1, rows=TSC_ROWS)
# Linux before "KVM: x86: hyperv: Remove duplicate definitions of Reference TSC Page" (posted 20 Apr
# 2020, message 20200420173838.24672-2-mikelley@microsoft.com), arch/x86/include/asm/hyperv-tlfs.h:
# the whole page, as Microsoft's specification and Xen's viridian code declare it. Packed since
# "x86/hyper-v: Mark TLFS structures packed" (2018).
WHOLE_TSC_PAGE = TSC_PAGE._replace(
    size=0x1000, rows=(*TSC_ROWS, Field(0x18, "reserved2", U64, 509, padding=True))
)
# fmt: on

DECLARATIONS = """\
struct ms_hyperv_tsc_page {
	u32 tsc_sequence;
	u32 reserved1;
	u64 tsc_scale;
	s64 tsc_offset;
} __packed;
"""

# arch/x86/kvm/hyperv.c, kvm_hv_setup_tsc_page(). H1 is verbatim. H2 is there
# "sizeof(tsc_seq) != sizeof(hv->tsc_ref.tsc_sequence)", of a variable u32 tsc_seq and of
# struct ms_hyperv_tsc_page tsc_ref.
# fmt: off
CONDITIONS = (
    Condition("H1", "offsetof(struct ms_hyperv_tsc_page, tsc_sequence) != 0", 0, False, "tsc_sequence comes first"),
    Condition("H2", "sizeof_field(struct ms_hyperv_tsc_page, tsc_sequence) != 4", 0, False, "tsc_sequence is as wide as KVM's own copy of it"),
)
UNASSERTED = (
    Condition("HU1", "offsetof(struct ms_hyperv_tsc_page, tsc_scale) != 8", 0, False, "tsc_scale does not cross an aligned 8 bytes, though the struct is packed"),
    Condition("HU2", "offsetof(struct ms_hyperv_tsc_page, tsc_offset) != offsetof(struct ms_hyperv_tsc_page, tsc_scale) + sizeof(u64)", 0, False, "tsc_offset follows tsc_scale at once"),
    Condition("HU3", "is_signed(struct ms_hyperv_tsc_page, tsc_offset) != 1", 0, False, "tsc_offset is signed"),
    Condition("HU4", "is_signed(struct ms_hyperv_tsc_page, tsc_scale) != 0", 0, False, "tsc_scale is unsigned"),
)
# fmt: on

# The header is every architecture's, but Linux builds the clock that reads the page on x86 only:
# CONFIG_HYPERV_TIMER depends on X86.
FAMILY = Family(
    "hyperv",
    "the reference TSC page of Hyper-V",
    on(ABI, TSC_PAGE, WHOLE_TSC_PAGE),
    {"x86_64": ("ms_hyperv_tsc_page",), "i386": ("ms_hyperv_tsc_page",)},
    {
        "ms_hyperv_tsc_page": "Linux include/hyperv/hvgdk_mini.h, "
        "include/asm-generic/hyperv-tlfs.h before",
    },
    DECLARATIONS,
    packed=frozenset(("ms_hyperv_tsc_page",)),
    conditions=CONDITIONS,
    unasserted=UNASSERTED,
    notes=(
        "The struct is 24 bytes and what the guest is given is a page: the rest of it was the member "
        "reserved2 until 2020.",
        "A tsc_sequence of 0 is no version: it says that the page is not valid.",
        "tsc_sequence is not odd while the page is written: KVM sets it to 0 in between, Xen leaves it.",
        "Linux before 2020 had the same 24 bytes a second time, as HV_REFERENCE_TSC_PAGE, with a res1 in "
        "place of reserved1.",
    ),
)
