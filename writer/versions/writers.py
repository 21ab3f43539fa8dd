"""The writers of structs with a version: each a generator of steps in the order of the C source.

A generator is given the struct before and after the update, and where the struct is. The compiler
may reorder what no barrier separates, and a struct assignment is a memcpy.
"""
# ruff: noqa: E501

from collections.abc import Iterable, Iterator

from runstate_abi.layouts.structs.hyperv import TSC_PAGE
from runstate_abi.layouts.structs.pvclock import ARM_WALL_CLOCK, TIME_INFO, WALL_CLOCK
from runstate_abi.layouts.structs.steal_time import KVM_STEAL_TIME, SBI_STA, STOLEN_TIME
from runstate_abi.writer.steps import Barrier, Check, Copy, Dirty, Lock, Step, Store, Unlock
from runstate_abi.writer.versions.parties import (
    ALL,
    ARM,
    ARM64,
    LOONGARCH,
    NONE,
    OTHERS,
    RISCV32,
    RISCV64,
    X86,
    VersionWriter,
)
from runstate_abi.writer.versions.place import Change, Place

Steps = Iterator[Step]
GPC = "gpc"


# The struct as it is copied while its version says that an update is in flight.
def _in_flight(change: Change, place: Place) -> bytes:
    guard, struct = place.shape.guard, bytearray(change.new)
    for offset in guard.word(place.layout):
        struct[offset] = change.old[offset] if guard.bit else 0
    struct[guard.place(place.layout)] = guard.raised(change.old[guard.place(place.layout)])
    return bytes(struct)


# The guard's word up, a barrier, the body, a barrier, the new word.
def _guarded(change: Change, place: Place, body: Iterable[Step]) -> Steps:
    word = place.shape.guard.name(place.layout)
    yield place.store(word, _in_flight(change, place))
    yield Barrier()
    yield from body
    yield Barrier()
    yield place.store(word, change.new)


def _all(change: Change, place: Place) -> tuple[Copy, ...]:
    return place.copy(0, _in_flight(change, place))


def _members(change: Change, place: Place, *names: str) -> Steps:
    return (place.store(name, change.new) for name in names)


def kvm_time(change: Change, place: Place) -> Steps:
    """kvm_setup_guest_pvclock(): odd, wmb, all of it, wmb, even. The page is dirty under the lock.

    It takes the old version and PVCLOCK_GUEST_STOPPED out of the guest's memory.
    """
    yield Lock(GPC, irqsave=True)
    yield Check(GPC, place.layout.size, True)
    yield from _guarded(change, place, _all(change, place))
    yield Dirty(0)
    yield Unlock(GPC, irqrestore=True)


def kvm_time_6_12(change: Change, place: Place) -> Steps:
    """The same in 6.12: where the TSC is not stable for Xen, that flag is cleared after the copy."""
    stable, at = 0x01, place.layout.offsetof("flags")
    for step in kvm_time(change, place):
        if isinstance(step, Copy):
            data = bytearray(step.data)
            data[at] |= stable
            yield Copy(step.page, step.offset, bytes(data))
            yield place.store("flags", change.new)
        else:
            yield step


def kvm_wall_clock(change: Change, place: Place) -> Steps:
    """kvm_write_wall_clock(): three kvm_write_guest() and no barrier, which x86 does not need."""
    return (step for step in xen_time_va(change, place) if not isinstance(step, Barrier))


def kvm_xen_wall_clock(change: Change, place: Place) -> Steps:
    """kvm_xen_shared_info_init(): the clock in Xen's shared_info, which is never marked dirty."""
    return _guarded(change, place, _members(change, place, "nsec", "sec", "sec_hi"))


def xen_time(change: Change, place: Place) -> Steps:
    """__update_vcpu_system_time() and write_time_guest_area(): odd, wmb, all of it, wmb, even.

    The former takes the even version from the guest's memory again, where KVM takes its own.
    """
    return _guarded(change, place, _all(change, place))


def xen_time_va(change: Change, place: Place) -> Steps:
    """update_secondary_system_time(): three copies to a virtual address, which may cross pages."""
    for step in xen_time(change, place):
        if isinstance(step, Store):
            word = place.layout.field("version")
            yield from place.copy(word.offset, step.data)
        else:
            yield step


def xen_wall_clock(change: Change, place: Place) -> Steps:
    """update_domain_wallclock_time(): three stores between the barriers."""
    return _guarded(change, place, _members(change, place, "sec", "nsec", "sec_hi"))


def kvm_x86_steal(change: Change, place: Place) -> Steps:
    """record_steal_time(): no barrier before the even version, which x86 does not need.

    A fault in the middle leaves the version odd, until the next update that gets through.
    """
    steps = list(kvm_loongarch_steal(change, place))
    del steps[max(n for n, step in enumerate(steps) if isinstance(step, Barrier))]
    yield from steps


def kvm_preempted(change: Change, place: Place) -> Steps:
    """kvm_steal_time_set_preempted(), kvm_vcpu_set_pv_preempted(): one byte, and no version."""
    return _members(change, place, "preempted")


def kvm_loongarch_steal(change: Change, place: Place) -> Steps:
    """kvm_update_stolen_time() of loongarch: x86's, with the barrier that x86's lacks."""
    yield place.store("preempted", change.new)
    yield from _guarded(change, place, _members(change, place, "steal"))
    yield Dirty(0)


def kvm_riscv64_steal(change: Change, place: Place) -> Steps:
    """kvm_riscv_vcpu_record_steal_time(): no barrier at all, and the time is one store.

    It adds 1 to whatever it finds: a sequence that is once odd is from then on even while an update
    is in flight.
    """
    steps = _guarded(change, place, _members(change, place, "steal"))
    yield from (step for step in steps if not isinstance(step, Barrier))
    yield Dirty(0)


def kvm_riscv32_steal(change: Change, place: Place) -> Steps:
    """The same where put_user() of eight bytes is two stores."""
    for step in kvm_riscv64_steal(change, place):
        data = getattr(step, "data", b"")
        if len(data) == 8:
            at = place.layout.offsetof("steal")
            yield place.put(at, data[:4])
            yield place.put(at + 4, data[4:])
        else:
            yield step


def kvm_arm64_steal(change: Change, place: Place) -> Steps:
    """kvm_update_stolen_time() of arm64: one aligned store, and no version."""
    return _members(change, place, "stolen_time")


def kvm_tsc_page(change: Change, place: Place) -> Steps:
    """kvm_hv_setup_tsc_page(): 0, wmb, all of it with 0, wmb, the next number."""
    return _guarded(change, place, _all(change, place))


def xen_tsc_page(change: Change, place: Place) -> Steps:
    """update_reference_tsc() of viridian: the number stays while the page is written."""
    yield from _members(change, place, "tsc_scale", "tsc_offset")
    yield Barrier()
    yield place.store("tsc_sequence", change.new)


def bhyve_time(change: Change, place: Place) -> Steps:
    """vpvclock_fill_timeinfo(): odd, field by field, even, with compiler barriers between."""
    body = _members(change, place, *(row.name for row in place.layout.members[1:]))
    steps = _guarded(change, place, body)
    return (step for step in steps if not isinstance(step, Barrier))


# fmt: off
WRITERS = {
    "pvclock": (
        VersionWriter("kvm-time",           TIME_INFO,      (X86,), kvm_time,           OTHERS, "the newest: the page is marked dirty under the lock",      "Linux arch/x86/kvm/x86.c, kvm_setup_guest_pvclock() (read in 7.3-rc7), since 4438355ec6e1"),
        VersionWriter("kvm-time-6.12",      TIME_INFO,      (X86,), kvm_time_6_12,      OTHERS, "6.12: a flag is cleared after the copy",                   "Linux arch/x86/kvm/x86.c, kvm_setup_guest_pvclock() (read in 6.12.117)"),
        VersionWriter("xen-time",           TIME_INFO,      (X86,), xen_time,           ALL,    "Xen, in vcpu_info",                                        "Xen xen/arch/x86/time.c, __update_vcpu_system_time() (read in c447b7308b13); VCPUOP_register_vcpu_time_memory_area calls it for a vCPU that may run"),
        VersionWriter("xen-time-va",        TIME_INFO,      (X86,), xen_time_va,        ALL,    "Xen, the second area, at a virtual address",               "Xen xen/arch/x86/time.c, update_secondary_system_time(), since a5d39947cb (\"Allow guests to register secondary vcpu_time_info\") (in 4.0)", pages=2),
        VersionWriter("xen-time-phys",      TIME_INFO,      (X86,), xen_time,           ALL,    "Xen, the second area, at a physical address",              "Xen xen/arch/x86/time.c, write_time_guest_area(), since 60e544a8c5 (\"x86: introduce GADDR based secondary time area registration alternative\") (in 4.18)"),
        VersionWriter("bhyve-time",         TIME_INFO,      (X86,), bhyve_time,         OTHERS, "bhyve: field by field, compiler barriers",                 "bhyve sys/amd64/vmm/io/vpvclock.h, vpvclock_fill_timeinfo() (read in 5BSD 50bfd2aa2bdf)"),
        VersionWriter("kvm-wallclock",      WALL_CLOCK,     (X86,), kvm_wall_clock,     OTHERS, "KVM's MSR: three copies, no barrier",                      "Linux arch/x86/kvm/msrs.c, kvm_write_wall_clock() (read in 7.3-rc7; in 6.12.117 in x86.c)", pages=2),
        VersionWriter("kvm-xen-wallclock",  ARM_WALL_CLOCK, (X86,), kvm_xen_wall_clock, ALL,    "KVM for a guest of Xen's, in shared_info, by ioctl",       "Linux arch/x86/kvm/xen.c, kvm_xen_shared_info_init() (read in 6.12.117, 7.3-rc7)"),
        VersionWriter("xen-wallclock",      ARM_WALL_CLOCK, (X86, ARM, ARM64), xen_wall_clock, ALL, "Xen, in shared_info, from any CPU",                   "Xen xen/common/time.c, update_domain_wallclock_time() (read in c447b7308b13); sec_hi since e1890c4261 (\"time: widen wallclock seconds to 64 bits\") (in 4.6)"),
    ),
    "steal_time": (
        VersionWriter("kvm-x86-steal",       KVM_STEAL_TIME, (X86,),       kvm_x86_steal,       OTHERS, "no barrier before the even version",     "Linux arch/x86/kvm/x86.c, record_steal_time() (read in 6.12.117, 7.3-rc7)"),
        VersionWriter("kvm-x86-preempted",   KVM_STEAL_TIME, (X86,),       kvm_preempted,       OTHERS, "one byte, no version",                   "Linux arch/x86/kvm/x86.c, kvm_steal_time_set_preempted() (read in 6.12.117, 7.3-rc7)"),
        VersionWriter("kvm-loongarch-steal", KVM_STEAL_TIME, (LOONGARCH,), kvm_loongarch_steal, OTHERS, "both barriers",                          "Linux arch/loongarch/kvm/vcpu.c, kvm_update_stolen_time() (read in 7.3-rc7; in 6.12.117 without preempted)"),
        VersionWriter("kvm-loongarch-preempted", KVM_STEAL_TIME, (LOONGARCH,), kvm_preempted,   OTHERS, "one byte, no version",                   "Linux arch/loongarch/kvm/vcpu.c, kvm_vcpu_set_pv_preempted() (read in 7.3-rc7)"),
        VersionWriter("kvm-riscv64-steal",   SBI_STA,        (RISCV64,),   kvm_riscv64_steal,   OTHERS, "no barrier; the time is one store",      "Linux arch/riscv/kvm/vcpu_sbi_sta.c, kvm_riscv_vcpu_record_steal_time() (read in 6.12.117, 7.3-rc7)", repairs=False),
        VersionWriter("kvm-riscv32-steal",   SBI_STA,        (RISCV32,),   kvm_riscv32_steal,   OTHERS, "no barrier; the time is two stores",     "Linux arch/riscv/kvm/vcpu_sbi_sta.c, kvm_riscv_vcpu_record_steal_time(), built for 32 bits", repairs=False),
        VersionWriter("kvm-arm64-steal",     STOLEN_TIME,    (ARM64,),     kvm_arm64_steal,     OTHERS, "one aligned word, no version",           "Linux arch/arm64/kvm/pvtime.c, kvm_update_stolen_time() (read in 6.12.117, 7.3-rc7)"),
    ),
    "hyperv": (
        VersionWriter("kvm-tsc-page",        TSC_PAGE,       (X86,),       kvm_tsc_page,        OTHERS, "KVM: 0 while it is written",              "Linux arch/x86/kvm/hyperv.c, kvm_hv_setup_tsc_page() (read in 6.12.117, 7.3-rc7)", skips=(0xFFFFFFFF,)),
        VersionWriter("xen-tsc-page",        TSC_PAGE,       (X86,),       xen_tsc_page,        NONE,   "Xen: not 0 meanwhile; the guest is paused", "Xen xen/arch/x86/hvm/viridian/time.c, update_reference_tsc() (read in c447b7308b13)"),
    ),
}
# fmt: on
