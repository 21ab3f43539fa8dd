"""THE FACTS: how long a hypervisor kept a vCPU from running, byte by byte.

Offsets are the same on every ABI. x86's struct has the alignment of a 64-bit integer; RISC-V's and
Arm's are packed, so their alignment is 1. There is no compat form.
"""

from runstate_abi.layouts.abi import ABI
from runstate_abi.layouts.conditions import Condition
from runstate_abi.layouts.model import Field, Layout, Scalar
from runstate_abi.layouts.structs.families import Family

U8 = Scalar("uint8_t", 1, signed=False)
U32 = Scalar("uint32_t", 4, signed=False)
U64 = Scalar("uint64_t", 8, signed=False)

# kvm_steal_time: Linux, arch/x86/include/uapi/asm/kvm_para.h.
# sbi_sta_struct: Linux, arch/riscv/include/asm/sbi.h. Its integers are __le32 and __le64.
# pvclock_vcpu_stolen_time: Linux, arch/arm64/include/asm/pvclock-abi.h. So are its.
# fmt: off
KVM_STEAL_TIME = Layout("kvm_steal_time", "x86_64", size=0x40, alignment=8, rows=(
    Field(0x00, "steal",     U64),
    Field(0x08, "version",   U32),
    Field(0x0c, "flags",     U32),
    Field(0x10, "preempted", U8),
    Field(0x11, "u8_pad",    U8,  3,  padding=True),
    Field(0x14, "pad",       U32, 11, padding=True),
))
SBI_STA = Layout("sbi_sta_struct", "riscv64", size=0x40, alignment=1, rows=(
    Field(0x00, "sequence",  U32),
    Field(0x04, "flags",     U32),
    Field(0x08, "steal",     U64),
    Field(0x10, "preempted", U8),
    Field(0x11, "pad",       U8,  47, padding=True),
))
STOLEN_TIME = Layout("pvclock_vcpu_stolen_time", "arm64", size=0x40, alignment=1, rows=(
    Field(0x00, "revision",    U32),
    Field(0x04, "attributes",  U32),
    Field(0x08, "stolen_time", U64),
    Field(0x10, "padding",     U8,  48, padding=True),
))
# fmt: on


# Any compiler can lay out any of them, so each is claimed on every ABI.
def _on(abi: str) -> tuple[Layout, ...]:
    aligned = KVM_STEAL_TIME._replace(alignment=ABI[abi].u64_alignment)
    return tuple(one._replace(abi=abi) for one in (aligned, SBI_STA, STOLEN_TIME))


DECLARATIONS = """\
struct kvm_steal_time {
	u64 steal;
	u32 version;
	u32 flags;
	u8  preempted;
	u8  u8_pad[3];
	u32 pad[11];
};
struct sbi_sta_struct {
	u32 sequence;
	u32 flags;
	u64 steal;
	u8  preempted;
	u8  pad[47];
} __packed;
struct pvclock_vcpu_stolen_time {
	u32 revision;
	u32 attributes;
	u64 stolen_time;
	u8  padding[48];
} __packed;
"""

# conditions is empty: we found no BUILD_BUG_ON() or static_assert() in Linux about one of the three.
# fmt: off
UNASSERTED = (
    Condition("SU1",  "sizeof(struct kvm_steal_time) != 64", 0, False, "x86's is 64 bytes, the alignment that the MSR asks for"),
    Condition("SU2",  "sizeof(struct sbi_sta_struct) != 64", 0, False, "RISC-V's is 64 bytes"),
    Condition("SU3",  "sizeof(struct pvclock_vcpu_stolen_time) != 64", 0, False, "Arm's is 64 bytes"),
    Condition("SU4",  "offsetof(struct kvm_steal_time, steal) != 0", 0, False, "x86's time comes first"),
    Condition("SU5",  "offsetof(struct kvm_steal_time, version) != offsetof(struct kvm_steal_time, steal) + 8", 0, False, "x86's version comes behind the time that it guards"),
    Condition("SU6",  "offsetof(struct sbi_sta_struct, sequence) != 0", 0, False, "RISC-V's version, sequence, comes first"),
    Condition("SU7",  "offsetof(struct sbi_sta_struct, steal) != 8", 0, False, "RISC-V's time does not cross an aligned 8 bytes, though the struct is packed"),
    Condition("SU8",  "offsetof(struct kvm_steal_time, preempted) != 16", 0, False, "x86's preempted follows version and flags at once"),
    Condition("SU9",  "offsetof(struct sbi_sta_struct, preempted) != 16", 0, False, "RISC-V's preempted is where x86's is"),
    Condition("SU10", "offsetof(struct pvclock_vcpu_stolen_time, stolen_time) != 8", 0, False, "Arm's time does not cross an aligned 8 bytes, though the struct is packed"),
    Condition("SU11", "sizeof_field(struct pvclock_vcpu_stolen_time, stolen_time) != sizeof(uint64_t)", 0, False, "Arm's time is one 64-bit word: nothing else says whether it is whole"),
    Condition("SU12", "is_signed(struct kvm_steal_time, version) != 0", 0, False, "x86's version is unsigned (Linux's reader keeps it in an int)"),
)
# fmt: on

FAMILY = Family(
    "steal_time",
    "the time for which a hypervisor kept a vCPU from running",
    {abi: _on(abi) for abi in ABI},
    {
        "x86_64": ("kvm_steal_time",),
        "i386": ("kvm_steal_time",),
        "arm64": ("pvclock_vcpu_stolen_time",),
        "riscv64": ("sbi_sta_struct",),
    },
    {
        "kvm_steal_time": "Linux arch/x86/include/uapi/asm/kvm_para.h",
        "sbi_sta_struct": "Linux arch/riscv/include/asm/sbi.h",
        "pvclock_vcpu_stolen_time": "Linux arch/arm64/include/asm/pvclock-abi.h",
    },
    DECLARATIONS,
    packed=frozenset(("sbi_sta_struct", "pvclock_vcpu_stolen_time")),
    unasserted=UNASSERTED,
    notes=(
        "The version is behind the time in kvm_steal_time and in front of it in sbi_sta_struct; "
        "pvclock_vcpu_stolen_time has none.",
        "LoongArch, which is not one of our ABIs, has a kvm_steal_time with the same offsets and one "
        "pad[47]; its first form had no preempted and pad[12].",
        "MSR_KVM_STEAL_TIME takes a multiple of 64, but no declaration of kvm_steal_time says so: as "
        "a plain variable it is aligned to 8, on i386 to 4.",
        "preempted is written on its own, outside the version protocol: it may change while the "
        "version stays.",
        "The integers of sbi_sta_struct and pvclock_vcpu_stolen_time are little-endian also where "
        "the machine is not.",
    ),
)
