"""The arithmetic of the clocks that a guest shares: frequencies, dates, times and flags in words.

Nothing here reads memory, and nothing here judges whether a number is right.
"""

from collections.abc import Iterator

from runstate_abi.tools.memory.observations import HALF, WRAP, words

NS = 10**9  # in a second
TICK = 100  # ns: Hyper-V's reference time counts these
# A shift out of this range has no writer. KVM's kvm_get_time_scale() and Xen's set_time_scale()
# return -34 to 30 for every frequency of 64 bits but 0. Xen's local_time_calibration() divides two
# intervals and not a frequency by 10^9, so it may reach -35 and 31.
SHIFTS = range(-35, 32)
LEAST_MULTIPLIER = 1 << 30  # of Xen's local_time_calibration(); the others return 2^31 or more

# bit, name: Linux, arch/x86/include/asm/pvclock-abi.h. Xen has the first two, with XEN_ in front.
TIME_FLAGS = (
    (1 << 0, "PVCLOCK_TSC_STABLE_BIT"),
    (1 << 1, "PVCLOCK_GUEST_STOPPED"),
    (1 << 2, "PVCLOCK_COUNTS_FROM_ZERO"),
)
# bit, name: Linux, arch/x86/include/uapi/asm/kvm_para.h.
PREEMPTED_FLAGS = ((1 << 0, "KVM_VCPU_PREEMPTED"), (1 << 1, "KVM_VCPU_FLUSH_TLB"))


def tsc_khz(multiplier: int, shift: int) -> int | None:
    """Return the TSC's frequency as Linux's pvclock_tsc_khz() does, None if it cannot be told.

    Linux divides first and shifts left then, so with a shift of -2 the last two bits are lost.
    """
    if not multiplier or shift not in SHIFTS:
        return None
    khz = (10**6 << 32) // multiplier
    khz = khz << -shift if shift < 0 else khz >> shift
    return khz if khz < WRAP else None


def reference_khz(scale: int) -> int | None:
    """Return the TSC's frequency for Hyper-V's formula: 100 ns units = tsc * scale >> 64."""
    khz = (NS // TICK // 1000 << 64) // scale if scale else WRAP
    return khz if khz < WRAP else None


def signed(number: int) -> int:
    """Return an unsigned number of 64 bits as a signed one."""
    return number - WRAP if number >= HALF else number


def utc(seconds: int, ns: int) -> str | None:
    """Return the date ``seconds`` after 1970 as ISO 8601, None if the calendar does not have it."""
    from datetime import datetime, timedelta  # dear to import: only a wall clock needs it

    try:
        date = datetime(1970, 1, 1) + timedelta(seconds=seconds)
    except OverflowError:
        return None
    return f"{date.isoformat()}.{ns:09}Z" if 0 <= ns < NS else None


def date_words(date: str) -> str:
    """Return what utc() returned as a person writes it."""
    return f"{date.removesuffix('Z').replace('T', ' ')} UTC"


def ns_words(ns: int) -> str:
    """Return a time as ``34,810,466,931 ns  00:00:34.8``."""
    return f"{ns:,} ns  {words(ns)}"


def names(number: int, known: tuple[tuple[int, str], ...]) -> Iterator[str]:
    """Yield the name of each bit that is set in 8 bits, and ``0x80`` of one without a name."""
    named = dict(known)
    for bit in (1 << place for place in range(8)):
        if number & bit:
            yield named.get(bit, f"{bit:#x}")


def unnamed(number: int, known: tuple[tuple[int, str], ...]) -> int:
    """Return the bits that have no name."""
    return number & ~sum(bit for bit, _ in known)
