"""Decide from the bytes whether an area is native or compat, with reasons, or leave it open.

Native at A with zero padding always reads as compat at A+4 too, because the padding is then state
0. So one layout that fits is not enough for a decision.
"""

from collections.abc import Iterable
from typing import NamedTuple

from runstate_abi.layouts.abi import ABI
from runstate_abi.layouts.model import Layout
from runstate_abi.layouts.structs.runstate import COMPAT, NATIVE, RUNSTATES
from runstate_abi.tools.memory import area
from runstate_abi.tools.memory.area import AreaBytes, Excerpt, Values

# How well the five times of a reading agree with what a writer produces, best first.
EXACT, ORDERED, FLAGGED, SMALL, NONE = 4, 3, 2, 1, 0
FITS = {
    EXACT: "the four times add up to the entry time exactly",
    ORDERED: "the four times fit into the entry time",
    FLAGGED: "the update flag is set and the times are within a machine's uptime",
    SMALL: "the times are within a machine's uptime",
    NONE: "the times exceed any machine's uptime",
}

ONLY_COMPAT = "the ELF header says i386, which has no other form"

AGE_MOST = 1 << 60  # ns: 36 years, longer than any machine has been up
WORD = 32
# In a reading that is wrong by four bytes, the low word of a time is the high word of another:
# below 2^24 in the first two years. The low word of a real time is below 2^24 once in 256.
HIGH_WORD_MOST = 1 << 24
# In a reading that begins one byte early, every time is 256 times as large.
MISREAD_LEAST = 1 << 7
SANE_LEAD = 2  # so many more numbers must be plausible in one layout than in the other


class Decision(NamedTuple):
    """The layout of an area, or None if nothing decides, and the reasons in words."""

    layout: Layout | None
    reasons: tuple[str, ...]
    # The other possible readings: all of them if nothing decides, else the one that reads the same
    # bytes at another address.
    others: tuple[tuple[Layout, int], ...] = ()  # (layout, where the area would begin)


def standing(seen: Values, shifts: bool = False) -> int:
    """Return how well the times agree with what a writer produces: EXACT down to NONE.

    ``shifts``: also of what may be a reading that is wrong by four bytes.
    """
    numbers = (seen.entry, *seen.times)
    low_words = (time % (1 << WORD) for time in numbers)
    shifted = max(numbers) >> WORD > 0 and all(word < HIGH_WORD_MOST for word in low_words)
    if (shifted and not shifts) or not seen.entry:
        return NONE
    if seen.total % (1 << 64) in (seen.entry, seen.entry_raw):
        return EXACT
    if max(numbers) >= AGE_MOST:
        return NONE
    if seen.state < len(RUNSTATES) and seen.total <= seen.entry:
        return ORDERED
    return FLAGGED if seen.updating else SMALL


def decide(seen: Excerpt, machine: str | None = None) -> Decision:
    """Decide the layout of the area; ``machine`` is the ABI's name in the ELF header, if any."""
    if len(seen.data) < NATIVE.size:
        return _checked(COMPAT, f"there are only {len(seen.data)} bytes of it", seen, machine)
    read = {layout: area.values(layout, seen.data) for layout in (NATIVE, COMPAT)}
    fits = {layout: standing(found) for layout, found in read.items()}
    better, worse = sorted(fits, key=lambda layout: fits[layout], reverse=True)
    if fits[better] > fits[worse]:
        reason = f"as {area.abi_of(better)} {FITS[fits[better]]}; as {area.abi_of(worse)} "
        return _checked(better, reason + FITS[fits[worse]], seen, machine)
    sane = {
        layout: sum(0 < number < AGE_MOST for number in (found.entry, *found.times))
        for layout, found in read.items()
    }
    better, worse = sorted(sane, key=lambda layout: sane[layout], reverse=True)
    if sane[better] >= sane[worse] + SANE_LEAD:
        reason = f"as {area.abi_of(better)} {sane[better]} of the 5 times are within a machine's "
        reason += f"uptime, as {area.abi_of(worse)} {sane[worse]}"
        return _checked(better, reason, seen, machine)
    why = FITS[fits[NATIVE]] if any(sane.values()) else "every time is 0, or none makes sense"
    doubt = f"native and compat fit alike: {why}"
    # Only x86 has a compat form, and i386 has no other. On x86-64 the guest may be of either kind.
    if machine == "i386":
        return Decision(COMPAT, (doubt, ONLY_COMPAT))
    if machine in ABI and machine not in ("x86_64", "x32"):
        return Decision(NATIVE, (doubt, f"the ELF header says {machine}, which has no compat form"))
    return Decision(None, (doubt,))


# Compat at this address may be native four bytes earlier. Then the address is wrong.
def _checked(layout: Layout, reason: str, seen: Excerpt, machine: str | None) -> Decision:
    if layout is not COMPAT:
        return Decision(layout, (reason,))
    word = int.from_bytes(seen.before[-area.SHIFT :], "little")
    earlier = seen.address - area.SHIFT
    if machine == "i386":
        why = ONLY_COMPAT
    elif len(seen.before) < area.SHIFT:
        why = "the four bytes before are not there to contradict it"
    elif word >= len(RUNSTATES):
        why = f"the four bytes before, {word:#x}, are no state"
    elif area.values(COMPAT, seen.data).state:
        why = "as native four bytes earlier the padding would be 1..3"
    elif earlier % NATIVE.field("state_entry_time").type.size:
        why = f"native at {earlier:#x} would not be aligned"
    else:
        doubt = f"the four bytes before are {word}: native at {earlier:#x} reads the same"
        both = ((NATIVE, earlier), (COMPAT, seen.address))
        return Decision(None, (reason, doubt), both)
    return Decision(layout, (reason, why))


def short_of_native(seen: Excerpt) -> bool:
    """Is this native without its last bytes? With zeros there it must fit better."""
    size = len(seen.data)
    if not COMPAT.size <= size < NATIVE.size:
        return False
    compat = standing(area.values(COMPAT, seen.data))
    native = standing(area.values(NATIVE, seen.data.ljust(NATIVE.size, b"\0")))
    return native > compat or (native == compat and size > COMPAT.size)


def doubted(decision: Decision, seen: Excerpt, near: Iterable[Excerpt]) -> Decision:
    """Return the decision, or no decision if an aligned area in ``near`` explains these times.

    In an area that is read from one byte early, the times are 256 times as large and still agree.
    """
    if decision.layout is None:
        return decision
    read = area.values(decision.layout, seen.data).entry
    for place in near:
        for layout in (NATIVE, COMPAT):
            if len(place.data) < layout.size:
                continue
            found = area.values(layout, place.data)
            if standing(found) >= ORDERED and found.entry * MISREAD_LEAST < read:
                reason = f"{area.abi_of(layout)} at {place.address:#x} is aligned, its times "
                reason += f"{read // found.entry} times smaller"
                others = ((layout, place.address), (decision.layout, seen.address))
                return Decision(None, (*decision.reasons, reason), others)
    return decision


def rival(shown: AreaBytes, before: bytes) -> int | None:
    """Return where the other layout begins that reads the same times, if both readings fit."""
    front = shown.data if shown.layout is NATIVE else before[-area.SHIFT :] + shown.data
    words = [int.from_bytes(front[at : at + area.SHIFT], "little") for at in (0, area.SHIFT)]
    if len(front) < NATIVE.size or not all(area.state_name(word) for word in words):
        return None
    return shown.address + (area.SHIFT if shown.layout is NATIVE else -area.SHIFT)
