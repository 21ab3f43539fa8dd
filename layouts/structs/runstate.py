"""THE FACTS: the runstate structs, byte by byte, and the names that go with them.

The tables are written by hand, each with its source. constructs.py and ctypes_structs.py say the
same independently. None may be derived from another, or comparing them would prove nothing.
"""

from typing import NamedTuple

from runstate_abi.layouts.model import Element, Field, Layout, Member, Scalar

INT = Scalar("int", 4, signed=True)
UINT64 = Scalar("uint64_t", 8, signed=False)
BYTE = Scalar("uint8_t", 1, signed=False)

# vcpu_runstate_info: Xen's public ABI, xen/include/public/vcpu.h; Linux has it as
# include/xen/interface/vcpu.h. Both only list members; the offsets below follow on an ABI with
# 8-aligned 64-bit integers.
#
# compat_vcpu_runstate_info: KVM's, arch/x86/kvm/xen.h, since Linux commit 30b5c851af79 ("KVM:
# x86/xen: Add support for vCPU runstate information") (in v5.12); it is packed, so its alignment
# is 1. Xen generates its own compat/vcpu.h; since Xen commit 0dd40d68b1 (in 4.15) the uint64_t in
# it is a typedef aligned to 4, so there the struct's alignment is 4: what i386 gives.
# fmt: off
NATIVE = Layout("vcpu_runstate_info", "x86_64", size=0x30, alignment=8, rows=(
    Field(0x00, "state",            INT),
    Field(0x04, "pad_04",           BYTE,   4, padding=True),
    Field(0x08, "state_entry_time", UINT64),
    Field(0x10, "time",             UINT64, 4),
))
COMPAT = Layout("compat_vcpu_runstate_info", "x86_64", size=0x2c, alignment=1, rows=(
    Field(0x00, "state",            INT),
    Field(0x04, "state_entry_time", UINT64),
    Field(0x0c, "time",             UINT64, 4),
))
# fmt: on
COMPAT_XEN = COMPAT._replace(alignment=4)

# The members as the headers declare them: what the C rule and the compilers start from.
MEMBERS = (Member("state", INT), Member("state_entry_time", UINT64), Member("time", UINT64, 4))

# The flag in state_entry_time that says "an update is in progress": Xen commit 2529c850ea ("add
# update indicator to vcpu_runstate_info") (in 4.8); xen/include/public/vcpu.h.
XEN_RUNSTATE_UPDATE = 1 << 63


class RunstateName(NamedTuple):
    """One RUNSTATE_* value; ``time[value]`` is the time spent in it, in ns of system time."""

    value: int
    name: str
    meaning: str

    @property
    def constant(self) -> str:
        return f"RUNSTATE_{self.name}"


# xen/include/public/vcpu.h; Linux include/xen/interface/vcpu.h.
# fmt: off
RUNSTATES = (
    RunstateName(0, "running",  "currently running on a physical CPU"),
    RunstateName(1, "runnable", "runnable, but not scheduled on any physical CPU"),
    RunstateName(2, "blocked",  "blocked (idle), so not runnable; takes precedence over offline"),
    RunstateName(3, "offline",  "not runnable and not blocked: hotplug, paused by the administrator, a critical section in the hypervisor"),
)
# fmt: on

# The structs that are claimed.
RUNSTATE_STRUCTS = (NATIVE.name, COMPAT.name)
# Xen's compat struct has the name of KVM's; where both are meant, it is called this.
XEN_COMPAT = f"xen_{COMPAT.name}"
# KVM keeps a state and times in this struct. Two of the conditions are about their sizes.
KVM_VCPU_XEN = "kvm_vcpu_xen"


def update_byte(layout: Layout) -> int:
    """Return the offset of the byte that holds XEN_RUNSTATE_UPDATE on a little-endian machine."""
    flag_bit = XEN_RUNSTATE_UPDATE.bit_length() - 1
    return layout.offsetof("state_entry_time") + flag_bit // 8


def label(element: Element) -> str:
    """Return the name of an element, for a time with its state: ``time[2] blocked``."""
    if element.row.padding or element.row.count == 1:
        return element.name
    return f"{element.name} {RUNSTATES[element.number].name}"


class AbiClaims(NamedTuple):
    """The runstate structs on one ABI: three declarations, three alignments."""

    native: Layout
    compat_kvm: Layout
    compat_xen: Layout

    def by_name(self) -> dict[str, Layout]:
        """Return the three by their names; Xen's compat struct is called XEN_COMPAT."""
        xen = self.compat_xen._replace(name=XEN_COMPAT)
        return {NATIVE.name: self.native, COMPAT.name: self.compat_kvm, XEN_COMPAT: xen}


def _on(abi: str, layout: Layout, alignment: int, name: str = "") -> Layout:
    return layout._replace(name=name or layout.name, abi=abi, alignment=alignment)


# Each row was measured with a compiler for its ABI. Only x86 kernels and Xen have a compat struct;
# for the other ABIs, a row says what a compiler makes of the same declarations.
# fmt: off
CLAIMS = {
    #                         vcpu_runstate_info                   KVM's compat: packed         Xen's compat: aligned(4)
    "x86_64":       AbiClaims(NATIVE,                              COMPAT,                      COMPAT_XEN),
    "i386":         AbiClaims(_on("i386", COMPAT, 4, NATIVE.name), _on("i386", COMPAT, 1),      _on("i386", COMPAT, 4)),
    "x32":          AbiClaims(_on("x32", NATIVE, 8),               _on("x32", COMPAT, 1),       _on("x32", COMPAT, 4)),
    "arm64":        AbiClaims(_on("arm64", NATIVE, 8),             _on("arm64", COMPAT, 1),     _on("arm64", COMPAT, 4)),
    "arm32":        AbiClaims(_on("arm32", NATIVE, 8),             _on("arm32", COMPAT, 1),     _on("arm32", COMPAT, 4)),
    "riscv64":      AbiClaims(_on("riscv64", NATIVE, 8),           _on("riscv64", COMPAT, 1),   _on("riscv64", COMPAT, 4)),
    "x86_64-windows": AbiClaims(_on("x86_64-windows", NATIVE, 8),  _on("x86_64-windows", COMPAT, 1), _on("x86_64-windows", NATIVE, 8, COMPAT.name)),
    "i386-windows": AbiClaims(_on("i386-windows", NATIVE, 8),      _on("i386-windows", COMPAT, 1), _on("i386-windows", NATIVE, 8, COMPAT.name)),
}
# fmt: on


def claim(name: str, abi: str) -> Layout:
    """Return ``struct name`` in a kernel or hypervisor built for ``abi`` (KeyError)."""
    return CLAIMS[abi].by_name()[name]


def structs_expected(abi: str) -> tuple[str, ...]:
    """Return the structs in a kernel of this ABI that serves Xen guests: only x86-64 has compat."""
    return RUNSTATE_STRUCTS if abi == "x86_64" else (NATIVE.name,)
