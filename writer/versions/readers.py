"""The readers of structs with a version, as public guests have them: rows of guest.py's Reader.

Each was read in the version that its source names. What matters is the class of reader: the loads
between two barriers, in which of its loads of the version it looks for an update in flight, and
whether it may read the struct of a vCPU that is not its own.
"""
# ruff: noqa: E501

from runstate_abi.layouts.structs.hyperv import TSC_PAGE
from runstate_abi.layouts.structs.pvclock import ARM_WALL_CLOCK, TIME_INFO, WALL_CLOCK
from runstate_abi.layouts.structs.steal_time import KVM_STEAL_TIME, SBI_STA, STOLEN_TIME
from runstate_abi.writer.guest import RMB_COPY, RMB_REREAD, Load, Op, ReadBarrier, Reader
from runstate_abi.writer.versions.parties import (
    ARM,
    ARM64,
    LOONGARCH,
    RISCV32,
    RISCV64,
    X86,
    VersionReader,
)


def _loads(members: tuple[str, ...]) -> tuple[Load, ...]:
    return tuple(Load(member, member, 0, whole=False) for member in members)


# The version, a barrier, the members, a barrier, the version again.
def _around(*members: str) -> tuple[Op, ...]:
    return (Load("v1", "entry", 1), RMB_COPY, *_loads(members), RMB_REREAD, Load("v2", "entry", 2))


# The same where the source has compiler barriers only, as suits x86.
def _ordered_by_x86(*members: str) -> tuple[Op, ...]:
    return tuple(op for op in _around(*members) if not isinstance(op, ReadBarrier))


# How a reader refuses an update in flight: (it looks at the bit, it clears the bit in the first
# version instead, the readings in which it looks).
FIRST, LAST = (True, False, (1,)), (True, False, (2,))
MASKS, NEVER = (True, True, ()), (False, False, ())
SAID = {
    FIRST: "refuses if its first version is odd",
    LAST: "refuses if its second version is odd",
    MASKS: "compares the second version with the first without its lowest bit",
    NEVER: "compares the versions and does not look whether they are odd",
}

TIME = ("tsc_timestamp", "tsc_to_system_mul", "tsc_shift", "system_time")
FLAGS, FLAGS_FIRST = (*TIME, "flags"), ("flags", *TIME)
CLOCK, LONG_CLOCK = ("sec", "nsec"), ("sec_hi", "sec", "nsec")
PAGE = ("tsc_scale", "tsc_offset")
STEAL_HALVES: tuple[Op, ...] = (
    Load("v1", "entry", 1),
    RMB_COPY,
    *(Load(half, half, 0, whole=False) for half in ("steal.low", "steal.high")),
    RMB_REREAD,
    Load("v2", "entry", 2),
)


def _reader(
    name: str,
    members: tuple[str, ...],
    refuses: tuple[bool, bool, tuple[int, ...]],
    source: str,
    program: tuple[Op, ...] = (),
    summary: str = "",
) -> Reader:
    said = summary or f"{', '.join(members)}; {SAID[refuses]}"
    looks, masks, where = refuses
    return Reader(name, program or _around(*members), said, source, looks, members, masks, where)


_XENBUS = "win-xenbus src/xenbus/shared_info.c, SharedInfoGetTime()"
_ODD_SINCE = 'since bfe5260389b4 ("Wallclock Time Calculation Checks Update Versions For Consistency") of 2017'
_OPENBSD_ALONE = "only this function makes KVM write, by WRMSR, and it reads after that"
_GIVES_UP = "tsc_scale, tsc_offset; gives up if its first sequence is 0"

# fmt: off
_TIMES = tuple(
    VersionReader(reader, (TIME_INFO,), (X86,), own)
    for own, reader in (
        (True,  _reader("linux-time",       FLAGS,       MASKS, "Linux arch/x86/kernel/pvclock.c, __pvclock_clocksource_read() (read in 6.12.117, 7.3-rc7)")),
        (False, _reader("linux-vdso-time",  FLAGS_FIRST, MASKS, "Linux arch/x86/include/asm/vdso/gettimeofday.h, vread_pvclock(): vCPU 0's, from any CPU (read in 7.3-rc7)")),
        (True,  _reader("freebsd-time",     FLAGS,       LAST,  "FreeBSD sys/x86/x86/pvclock.c, pvclock_read_time_info() (read in e4452d45ec5a)")),
        (False, _reader("freebsd-libc-time", FLAGS_FIRST, LAST, "FreeBSD lib/libc/x86/sys/__vdso_gettc.c, __vdso_pvclock_gettc(): vCPU 0's, from any CPU, if the TSC is stable")),
        (True,  _reader("netbsd-xen-time",  TIME,        FIRST, "NetBSD sys/arch/xen/xen/xen_clock.c, xen_vcputime_enter() (read in 0b3bf41e8c83)", _ordered_by_x86(*TIME))),
        (False, _reader("netbsd-time",      FLAGS,       MASKS, "NetBSD sys/dev/pv/pvclock.c, pvclock_get_timecount(): one page for all CPUs (read in 2c617c65c898 of NetBSDfr/NetBSD-src)")),
        (False, _reader("openbsd-time",     FLAGS,       MASKS, "OpenBSD sys/dev/pv/pvclock.c, pvclock_get(): one page for all CPUs (read in revision 1.15)")),
        (True,  _reader("mini-os-time",     TIME,        LAST,  "Mini-OS arch/x86/time.c, get_time_values_from_xen() (read in 229260e02faa)")),
        (True,  _reader("unikraft-time",    TIME,        LAST,  "Unikraft plat/xen/x86/arch_time.c (read in eaf6fda1d420)")),
        (True,  _reader("illumos-time",     TIME,        LAST,  "illumos usr/src/uts/i86xpv/os/xpv_timestamp.c, dtrace_xpv_getsystime() (read in 43be50aefe7a)")),
        (False, _reader("nanos-time",       TIME,        MASKS, "nanos src/kernel/vdso-now.c, vdso_pvclock_now_ns(): one struct for all CPUs (read in b9c3671d9b95)")),
        (True,  _reader("osv-time",         FLAGS,       FIRST, "OSv arch/x64/pvclock-abi.cc, pvclock::system_time() (read in 0e34e4dc2b27)", _ordered_by_x86(*FLAGS))),
        (True,  _reader("osv-0.09-time",    FLAGS,       NEVER, 'OSv core/pvclock-abi.cc (read in 2df3c0293aa2), before fd36783567ce ("pvclock: fix system_time() atomic-read logic") (in v0.10)', _ordered_by_x86(*FLAGS))),
        (False, _reader("win-xenbus-master-time", TIME,  FIRST, f"{_XENBUS}: vCPU 0's, from any CPU (read in 1087a8d024ca), {_ODD_SINCE}")),
    )
)
_CLOCKS = (
    VersionReader(_reader("linux-wallclock",     CLOCK,      LAST,  "Linux arch/x86/kernel/pvclock.c, pvclock_read_wallclock(): not sec_hi (read in 6.12.117, 7.3-rc7)"),    (WALL_CLOCK, ARM_WALL_CLOCK), (X86,)),
    VersionReader(_reader("linux-arm-wallclock", LONG_CLOCK, LAST,  "Linux arch/arm/xen/enlighten.c, xen_read_wallclock() (read in 6.12.117, 7.3-rc7)"),   (ARM_WALL_CLOCK,), (ARM, ARM64)),
    VersionReader(_reader("freebsd-wallclock",   CLOCK,      LAST,  "FreeBSD sys/x86/x86/pvclock.c, pvclock_read_wall_clock() (read in e4452d45ec5a)"),    (WALL_CLOCK, ARM_WALL_CLOCK), (X86,)),
    VersionReader(_reader("netbsd-xen-wallclock", CLOCK,     FIRST, "NetBSD sys/arch/xen/xen/xen_clock.c, xen_wallclock_enter() (read in 0b3bf41e8c83)"),  (ARM_WALL_CLOCK,), (X86,)),
    VersionReader(_reader("openbsd-wallclock",   CLOCK,      FIRST, "OpenBSD sys/dev/pv/pvclock.c, pvclock_tick() (read in revision 1.15)", (Load("v1", "entry", 1), *_loads(CLOCK)), "sec, nsec; waits while the version is odd, and does not read it again"), (WALL_CLOCK,), (X86,), alone=_OPENBSD_ALONE),
    VersionReader(_reader("mini-os-wallclock",   CLOCK,      LAST,  "Mini-OS arch/x86/time.c, update_wallclock() (read in 229260e02faa)"),                 (ARM_WALL_CLOCK,), (X86,)),
    VersionReader(_reader("unikraft-wallclock",  CLOCK,      LAST,  "Unikraft plat/xen/x86/arch_time.c (read in eaf6fda1d420)"),                           (ARM_WALL_CLOCK,), (X86,)),
    VersionReader(_reader("nanos-wallclock",     CLOCK,      MASKS, "nanos src/kernel/pvclock.c, pvclock_get_rtc_offset() (read in b9c3671d9b95)"),        (WALL_CLOCK, ARM_WALL_CLOCK), (X86,)),
    VersionReader(_reader("osv-wallclock",       CLOCK,      NEVER, "OSv arch/x64/pvclock-abi.cc, pvclock::wall_clock_boot() (read in 0e34e4dc2b27)", _ordered_by_x86(*CLOCK)), (WALL_CLOCK, ARM_WALL_CLOCK), (X86,)),
    VersionReader(_reader("win-xenbus-wallclock", CLOCK,     NEVER, f"{_XENBUS} (read in 03922d739bdf; the same in 8.2.1)"),                              (ARM_WALL_CLOCK,), (X86,)),
    VersionReader(_reader("win-xenbus-master-wallclock", CLOCK, FIRST, f"{_XENBUS} (read in 1087a8d024ca), {_ODD_SINCE}"),                                (ARM_WALL_CLOCK,), (X86,)),
)
_STEAL = (
    VersionReader(_reader("linux-x86-steal",       ("steal",), FIRST, "Linux arch/x86/kernel/kvm.c, kvm_steal_clock() (read in 6.12.117, 7.3-rc7)"),          (KVM_STEAL_TIME,), (X86,)),
    VersionReader(_reader("linux-i386-steal",      ("steal",), FIRST, "Linux arch/x86/kernel/kvm.c, kvm_steal_clock(), built for 32 bits", STEAL_HALVES),                                           (KVM_STEAL_TIME,), (X86,)),
    VersionReader(_reader("linux-x86-preempted",   ("preempted",), NEVER, "Linux arch/x86/kernel/kvm.c, __raw_callee_save___kvm_vcpu_is_preempted() (read in 7.3-rc7)", _loads(("preempted",)), "preempted alone, no version"), (KVM_STEAL_TIME,), (X86,)),
    VersionReader(_reader("linux-loongarch-steal", ("steal",), FIRST, "Linux arch/loongarch/kernel/paravirt.c, paravt_steal_clock() (read in 7.3-rc7)"),      (KVM_STEAL_TIME,), (LOONGARCH,)),
    VersionReader(_reader("linux-loongarch-preempted", ("preempted",), NEVER, "Linux arch/loongarch/include/asm/qspinlock.h (read in 7.3-rc7)", _loads(("preempted",)), "preempted alone, no version"), (KVM_STEAL_TIME,), (LOONGARCH,)),
    VersionReader(_reader("linux-riscv64-steal",   ("steal",), FIRST, "Linux arch/riscv/kernel/paravirt.c, pv_time_steal_clock() (read in 7.3-rc7)"),         (SBI_STA,), (RISCV64,)),
    VersionReader(_reader("linux-riscv32-steal",   ("steal",), FIRST, "Linux arch/riscv/kernel/paravirt.c, pv_time_steal_clock(), built for 32 bits", STEAL_HALVES),                                           (SBI_STA,), (RISCV32,)),
    VersionReader(_reader("linux-arm64-steal",     ("stolen_time",), NEVER, "Linux arch/arm64/kernel/paravirt.c, para_steal_clock() (read in 7.3-rc7)", _loads(("stolen_time",)), "stolen_time alone, one aligned word"), (STOLEN_TIME,), (ARM64,)),
)
_PAGES = (
    VersionReader(_reader("linux-tsc-page",        PAGE, FIRST, "Linux include/clocksource/hyperv_timer.h, hv_read_tsc_page_tsc() (read in 6.12.117, 7.3-rc7)", (), _GIVES_UP), (TSC_PAGE,), (X86,)),
)
# fmt: on

READERS = {"pvclock": (*_TIMES, *_CLOCKS), "steal_time": _STEAL, "hyperv": _PAGES}
