"""Judge candidates for a runstate area: what each one probably is, with reasons.

Native at A and compat at A+4 are one candidate, and the bytes in front may tell which it is. A
hypervisor has its own record of each vCPU, from which it copies areas and which looks the same.
Other memory looks like an area by chance.
"""

import struct
from collections.abc import Iterable
from itertools import pairwise, takewhile
from typing import NamedTuple

from runstate_abi.layouts.model import Layout
from runstate_abi.layouts.structs.runstate import COMPAT, NATIVE, RUNSTATES
from runstate_abi.tools.memory import image as memory
from runstate_abi.tools.memory.area import SHIFT, Values, state_name, values
from runstate_abi.tools.memory.image import Image
from runstate_abi.tools.memory.observations import deltas, words

LIKELY, COPY, POSSIBLE, UNLIKELY = "likely", "hypervisor copy", "possible", "unlikely"
VERDICTS = (LIKELY, COPY, POSSIBLE, UNLIKELY)

# x86-64 Xen has all its addresses in this range; Linux, with its direct map, from
# 0xffff880000000000 on (or 0xff11... with five levels). So a structure with such a pointer is
# Xen's: xen/arch/x86/include/asm/config.h, Linux Documentation/arch/x86/x86_64/mm.rst.
XEN_POINTERS = range(0xFFFF_82C0_0000_0000, 0xFFFF_8800_0000_0000)
GUEST_POINTERS = range(0xFFFF_8800_0000_0000, 0xFFFF_FFFF_FFFF_F000)
GUEST_POINTERS_32 = range(0x8000_0000, 0xFFFF_F000)
POINTERS_MOST = 6  # words in front of a record, from Xen's pointer on
WEIGHT_LIKELY = 6
GOING_ON = 3  # so many of the five numbers must have grown
OLD = 1 << 58  # ns: 9 years
POINTER = struct.Struct("<Q")
_FIVE = struct.Struct("<5Q")
USER_POINTERS = range(0x5500_0000_0000, 0x8000_0000_0000)  # where Linux maps programs
YOUNG = 10_000_000  # ns
ROUND = 100_000  # ns
PRINTABLE = bytes(range(0x20, 0x7F))
WORD = 32
WORD_EDGE = 1 << 16  # the low word of a time is so near to 0 once in 2^16


class Reason(NamedTuple):
    """Why a candidate is more likely or, with a weight below 0, less likely."""

    weight: int
    text: str


class Candidate(NamedTuple):
    """A place in memory that may be an area: its layout, its numbers, and the reasons."""

    address: int
    layout: Layout
    seen: Values
    reasons: tuple[Reason, ...]
    verdict: str
    # where the other layout reads the same numbers, if nothing decides between them
    doubt: int | None = None
    points_to: int | None = None  # the guest's address that a hypervisor's record is copied to

    @property
    def weight(self) -> int:
        return sum(reason.weight for reason in self.reasons)

    def because(self, *reasons: Reason, verdict: str = "") -> "Candidate":
        """Return the candidate with more reasons, and with another verdict if one is given."""
        return self._replace(reasons=self.reasons + reasons, verdict=verdict or self.verdict)


def candidate(image: Image, entry_address: int) -> Candidate | None:
    """Judge the bytes around an entry time by themselves; None if neither layout fits."""
    layout, doubt = _layout(image, entry_address)
    if layout is None:
        return None
    address = entry_address - layout.offsetof("state_entry_time")
    data = memory.available(image, address, layout.size)
    if len(data) < layout.size:
        return None
    seen = values(layout, data)
    # Xen writes zeros into the padding, and KVM, which leaves it, keeps the sum.
    if any(seen.padding) and not seen.updating and seen.total != seen.entry:
        return None
    reasons = (*_of_values(seen), _of_place(entry_address))
    found = Candidate(address, layout, seen, reasons, POSSIBLE, doubt)
    if sum(time > 0 for time in seen.times) < 2:
        text = "all its time is in one state: two equal numbers and zeros"
        return found.because(Reason(-8, text), verdict=UNLIKELY)
    return _as_copy(image, found)


# The word before the entry time is compat's state or native's padding; the one before that is
# native's state. If both layouts fit, zero padding and the alignment decide.
def _layout(image: Image, entry_address: int) -> tuple[Layout | None, int | None]:
    front = memory.before(image, entry_address, 2 * SHIFT)
    near = int.from_bytes(front[-SHIFT:], "little") if len(front) >= SHIFT else len(RUNSTATES)
    far = int.from_bytes(front[:SHIFT], "little") if len(front) == 2 * SHIFT else len(RUNSTATES)
    if far >= len(RUNSTATES):
        return (COMPAT if near < len(RUNSTATES) else None), None
    if near >= len(RUNSTATES):
        return NATIVE, None
    aligned = entry_address % NATIVE.field("state_entry_time").type.size == 0
    if near == 0 and (aligned or entry_address % SHIFT):
        return NATIVE, entry_address - SHIFT
    return COMPAT, entry_address - 2 * SHIFT


def _of_values(seen: Values) -> Iterable[Reason]:
    if seen.total == seen.entry:
        yield Reason(5, "the times add up to the entry time exactly, as KVM keeps them")
    else:
        ahead = words(seen.entry - seen.total)
        yield Reason(1, f"the times fit into the entry time, which is {ahead} ahead, as on Xen")
        if seen.entry - seen.total < YOUNG:
            yield Reason(-4, f"a host is not ready for a vCPU {ahead} after it started")
        if seen.total < seen.entry >> 4:
            # This is so for a young guest on an old host, and for most memory that is no area.
            yield Reason(-2, "the times are a small part of the entry time")
        elif seen.total > seen.entry // 2:
            text = "the times are most of the entry time: a vCPU nearly as old as its host"
            yield Reason(1, text)
    if seen.entry > OLD:
        yield Reason(-4, f"the host would have been up for {words(seen.entry)}")
    yield from _of_chance(seen)
    used = sum(time > 0 for time in seen.times)
    yield Reason(used - 2, f"{used} of the four times are not zero")
    if seen.state < len(RUNSTATES) and not seen.times[seen.state]:
        yield Reason(-1, f"no time was ever spent in the state it is in, {state_name(seen.state)}")
    if seen.updating:
        yield Reason(-1, "the update flag is set, which is rare")
    if any(seen.padding):
        padding = seen.padding.hex(" ")
        yield Reason(-1, f"the padding is not zero ({padding}), which only KVM leaves")


# A clock's low bits look random; those of other numbers do not.
def _of_chance(seen: Values) -> Iterable[Reason]:
    used = [time for time in seen.times if time]
    if len(set(used)) < len(used):
        yield Reason(-4, "two of the times are equal")
    if any(low in USER_POINTERS and high - low < 1 << WORD for low, high in pairwise(sorted(used))):
        yield Reason(-4, "two of the times are near each other, as pointers are")
    if seen.entry in USER_POINTERS and any(time in USER_POINTERS for time in used):
        yield Reason(-2, "the entry time and a time would be pointers in user space")
    for number in (seen.entry, *used):
        at_edge = (number + WORD_EDGE // 2) % (1 << WORD) < WORD_EDGE
        if at_edge and number > WORD_EDGE:
            yield Reason(-4, f"{number:#x} is two 32-bit numbers rather than a time")
            break
    if any(time % ROUND == 0 for time in used):
        yield Reason(-1, "one of the times is round, and no clock is")
    said = _FIVE.pack(seen.entry, *seen.times).replace(b"\0", b"")
    if len(said.translate(None, PRINTABLE)) * 10 <= len(said):
        text = " ".join(said.decode("latin-1").split())
        yield Reason(-6, f"it reads as text: {text}")


def _of_place(entry_address: int) -> Reason:
    if entry_address % 4:
        return Reason(-3, "the entry time is not aligned, and no compiler does that")
    weight, size = (0, 4) if entry_address % 8 else (1, 8)
    return Reason(weight, f"the entry time is aligned to {size} bytes")


# In Xen's struct vcpu a pointer into Xen comes before the runstate. Next to the runstate is the
# handle that the guest registered, the guest's address of its area: after it in 4.17.5, before it
# in 4.17.7 and 4.20.3, where two null words are between (seen in Debian's builds). An idle vCPU's
# handle is null.
def _as_copy(image: Image, found: Candidate) -> Candidate:
    front = _pointers(memory.before(image, found.address, POINTERS_MOST * POINTER.size))
    between = list(takewhile(lambda word: not word or _is_guests(word), reversed(front)))
    owner = front[-1 - len(between)] if len(between) < len(front) else 0
    if owner not in XEN_POINTERS:
        return found
    text = f"in front of it is a pointer of Xen's, {owner:#x}: in Xen's struct vcpu"
    found = found.because(Reason(3, text), verdict=COPY)
    end = found.address + found.layout.size
    behind = _pointers(memory.available(image, end, POINTER.size))
    handle = next((word for word in (*between, *behind) if _is_guests(word)), None)
    if handle is None:
        return found
    text = f"beside it is a guest's address, {handle:#x}: where Xen copies it to"
    return found.because(Reason(2, text))._replace(points_to=handle)


def _is_guests(word: int) -> bool:
    return word in GUEST_POINTERS or word in GUEST_POINTERS_32


def _pointers(data: bytes) -> tuple[int, ...]:
    whole = data[len(data) % POINTER.size :]
    return tuple(pointer for (pointer,) in POINTER.iter_unpack(whole))


def lost(was: Candidate, image: Image) -> Candidate | None:
    """Return a candidate that only the earlier dump has, with the numbers of the later one.

    A likely one was an area and stays one, even if its numbers do not look so now. Of a possible
    one most of the five numbers must have grown, as in an area, or None is returned.
    """
    data = memory.available(image, was.address, was.layout.size)
    if len(data) < was.layout.size or was.verdict == UNLIKELY:
        return None
    now = values(was.layout, data)
    moved = deltas(was.seen, now)
    steps = (now.entry - was.seen.entry, *moved.times)
    went_on = sum(0 <= step < OLD for step in steps) >= GOING_ON and now.state < len(RUNSTATES)
    if was.verdict != LIKELY and not (went_on and moved.entry > 0):
        return None
    text = f"it was an area in the earlier dump ({was.verdict}, {was.weight:+d})"
    after = Reason(-1, "its numbers now are no area's: hexdump --before says which are wrong")
    reasons = (Reason(was.weight, text), after)
    return was._replace(seen=now, reasons=reasons)


def since(found: Candidate, earlier: Image) -> Candidate:
    """Judge a candidate by the bytes at its place in an earlier dump."""
    data = memory.available(earlier, found.address, found.layout.size)
    if len(data) < found.layout.size:
        return found.because(Reason(0, "its place is not in the earlier dump"))
    old = values(found.layout, data)
    if old == found.seen:
        return found.because(Reason(0, "it did not change since the earlier dump"))
    if old.updating or found.seen.updating:
        return found.because(Reason(0, "one of the dumps is in flight"))
    moved = deltas(old, found.seen)
    if moved.offsets[0] != moved.offsets[1] or moved.entry <= 0 or min(moved.times) < 0:
        text = "it did not move as an area does since the earlier dump"
        was = candidate(earlier, found.address + found.layout.offsetof("state_entry_time"))
        if was is not None and promoted(was).verdict == LIKELY:
            return found.because(Reason(-2, f"{text}, which has an area here"))
        return found.because(Reason(-8, text), verdict=UNLIKELY)
    text = f"entry time - sum stayed {words(moved.offsets[0])} while {words(moved.entry)} passed"
    if found.verdict == UNLIKELY:
        return found.because(Reason(1, text))
    return promoted(found.because(Reason(8, text)))


def ranked(found: Iterable[Candidate]) -> list[Candidate]:
    """Return the candidates, best first, equal ones in address order."""
    return sorted((promoted(item) for item in found), key=rank)


def rank(item: Candidate) -> tuple[int, int, int]:
    """Return the key that sorts candidates: verdict, weight, address."""
    return VERDICTS.index(item.verdict), -item.weight, item.address


def promoted(item: Candidate) -> Candidate:
    """Return a possible candidate as likely from WEIGHT_LIKELY on, as unlikely below 0."""
    if item.verdict != POSSIBLE or 0 <= item.weight < WEIGHT_LIKELY:
        return item
    return item._replace(verdict=LIKELY if item.weight >= WEIGHT_LIKELY else UNLIKELY)
