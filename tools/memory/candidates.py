"""Candidates for a runstate area, judged: what each is likely to be, and why.

Native at A and compat at A+4 are one candidate, whose layout the bytes in front may or may not
tell. A hypervisor keeps copies of its own, which look like areas because they are where areas are
copied from. Other memory looks like an area by chance.

Law of this file: a candidate is judged by reasons, each a sentence; no reason is about one dump.
"""

import struct
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from runstate_abi.layouts.model import Layout
from runstate_abi.layouts.runstate import COMPAT, NATIVE, RUNSTATES
from runstate_abi.tools.memory import image as memory
from runstate_abi.tools.memory.area import SHIFT, Values, state_name, values
from runstate_abi.tools.memory.comparison import deltas, offset
from runstate_abi.tools.memory.durations import words
from runstate_abi.tools.memory.image import PAGE_SIZE, Image

LIKELY, COPY, POSSIBLE, UNLIKELY = "likely", "hypervisor copy", "possible", "unlikely"
VERDICTS = (LIKELY, COPY, POSSIBLE, UNLIKELY)

# x86-64 Xen maps all memory from here on for itself, its own text and data just below: a pointer
# in front of the bytes that points there is Xen's, and so is the structure that they are in. Linux
# has its own addresses, direct map included, from 0xffff880000000000 on (or 0xff11... with five
# levels): xen/arch/x86/include/asm/config.h, Linux Documentation/arch/x86/x86_64/mm.rst.
XEN_POINTERS = range(0xFFFF_82C0_0000_0000, 0xFFFF_8800_0000_0000)
GUEST_POINTERS = range(0xFFFF_8800_0000_0000, 0xFFFF_FFFF_FFFF_F000)
WEIGHT_LIKELY = 5
FAMILY_MOST = 5  # An area, Xen's copy and a guest's own: more are the rows of some table.
OLD = 1 << 58  # ns: 9 years
POINTER = struct.Struct("<Q")


class Reason(NamedTuple):
    """Why a candidate is more (or less) likely: how much it weighs, and a sentence."""

    weight: int
    text: str


class Candidate(NamedTuple):
    """One place: its layout, its numbers, and what speaks for and against it.

    ``doubt`` is where the same bytes begin when read under the other layout, if nothing tells
    which it is. ``points_to`` is the guest's address of the area that a hypervisor's copy is for.
    """

    address: int
    layout: Layout
    seen: Values
    reasons: tuple[Reason, ...]
    verdict: str
    doubt: int | None = None
    points_to: int | None = None

    @property
    def weight(self) -> int:
        """All reasons together."""
        return sum(reason.weight for reason in self.reasons)

    def because(self, *reasons: Reason, verdict: str = "") -> "Candidate":
        """Return the candidate with more reasons, and another verdict if there is one."""
        return self._replace(reasons=self.reasons + reasons, verdict=verdict or self.verdict)


def candidate(image: Image, entry_address: int) -> Candidate | None:
    """Judge the bytes whose entry time is at ``entry_address`` on their own; None if none fits."""
    layout, doubt = _layout(image, entry_address)
    if layout is None:
        return None
    address = entry_address - layout.offsetof("state_entry_time")
    data = memory.available(image, address, layout.size)
    if len(data) < layout.size:
        return None
    seen = values(layout, data)
    found = Candidate(address, layout, seen, tuple(_of_values(seen)), POSSIBLE, doubt)
    found = found.because(_of_place(entry_address))
    if _one_state(seen):
        text = "all its time is in one state: two equal numbers and zeros"
        return found.because(Reason(-8, text), verdict=UNLIKELY)
    return _as_copy(image, found)


# The words before the entry time: the nearer one is compat's state or native's padding, the other
# native's state. Where both could be, the padding's being zero and the alignment speak.
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
        yield Reason(4, "the times add up to the entry time exactly, as KVM keeps them")
    else:
        ahead = words(seen.entry - seen.total)
        yield Reason(1, f"the times fit into the entry time, which is {ahead} ahead, as on Xen")
        if seen.total < seen.entry >> 4:
            # True of a young guest on an old host, and of most that is no area.
            yield Reason(-2, "the times are a small part of the entry time")
    if seen.entry > OLD:
        yield Reason(-2, f"the host would have been up for {words(seen.entry)}")
    used = sum(time > 0 for time in seen.times)
    yield Reason(used - 2, f"{used} of the four times are not zero")
    if seen.state < len(RUNSTATES) and not seen.times[seen.state]:
        yield Reason(-1, f"no time was ever spent in the state it is in, {state_name(seen.state)}")
    if seen.updating:
        yield Reason(-1, "the update flag is set, which is rare")
    if any(seen.padding):
        yield Reason(
            -1, f"the padding is not zero ({seen.padding.hex(' ')}), which only KVM leaves"
        )


def _of_place(entry_address: int) -> Reason:
    if entry_address % 8 == 0:
        return Reason(1, "the entry time is aligned to 8 bytes")
    if entry_address % 4 == 0:
        return Reason(0, "the entry time is aligned to 4 bytes")
    return Reason(-3, "the entry time is not aligned, and no compiler does that")


def _one_state(seen: Values) -> bool:
    return sum(time > 0 for time in seen.times) < 2


# Xen's struct vcpu has a pointer of Xen's in front of its runstate, and behind it the handle that
# the guest registered: the guest's address of its area.
def _as_copy(image: Image, found: Candidate) -> Candidate:
    front = memory.before(image, found.address, POINTER.size)
    if len(front) < POINTER.size or _pointer(front) not in XEN_POINTERS:
        return found
    end = found.address + found.layout.size
    behind = memory.available(image, end, POINTER.size)
    guest = _pointer(behind) if len(behind) == POINTER.size else 0
    text = f"in front of it is a pointer of Xen's, {_pointer(front):#x}: in Xen's struct vcpu"
    found = found.because(Reason(3, text), verdict=COPY)
    if guest in GUEST_POINTERS:
        text = f"behind it is a guest's address, {guest:#x}: where Xen copies it to"
        return found.because(Reason(2, text))._replace(points_to=guest)
    return found


def _pointer(data: bytes) -> int:
    return int(POINTER.unpack(data)[0])


def together(found: Sequence[Candidate]) -> list[Candidate]:
    """Judge candidates, in address order, by one another: overlaps, copies, who points where."""
    by_offset: dict[int, list[Candidate]] = defaultdict(list)
    found = _apart(found)
    for item in found:
        if offset(item.seen) and item.verdict != UNLIKELY:
            by_offset[offset(item.seen)].append(item)
    return [_with_others(item, by_offset[offset(item.seen)]) for item in found]


# The later numbers of an area may look like another one; of two that overlap, one is less likely.
def _apart(found: Sequence[Candidate]) -> list[Candidate]:
    kept = list(found)
    best = 0
    for index in range(1, len(kept)):
        if kept[index].address >= kept[best].address + kept[best].layout.size:
            best = index
            continue
        winner, loser = (best, index) if _better(kept[best], kept[index]) else (index, best)
        text = f"it overlaps a better candidate, at {kept[winner].address:#x}"
        kept[loser] = kept[loser].because(Reason(-8, text), verdict=UNLIKELY)
        best = winner
    return kept


def _better(one: Candidate, other: Candidate) -> bool:
    return _rank(one)[:2] <= _rank(other)[:2]


def _rank(item: Candidate) -> tuple[int, int, int]:
    return VERDICTS.index(item.verdict), -item.weight, item.address


# Equal records, and those of a table that counts up, equal differences too. So it counts where few
# have it, and the numbers differ or one of them is known to be the hypervisor's.
def _with_others(item: Candidate, family: Sequence[Candidate]) -> Candidate:
    others = [other for other in family if _same_vcpu(item, other)]
    if not 0 < len(others) < FAMILY_MOST or item.verdict == UNLIKELY:
        return item
    place = others[0].address
    constant = words(offset(item.seen))
    text = f"{place:#x} has the same entry time - sum, {constant}: two copies of one vCPU's times"
    item = _promoted(item.because(Reason(6, text)))
    newest = max(others, key=lambda other: other.seen.entry)
    if newest.seen.entry > item.seen.entry and item.verdict == LIKELY:
        behind = words(newest.seen.entry - item.seen.entry)
        item = item.because(Reason(0, f"stale: {newest.address:#x} is {behind} newer"))
    for other in others:
        if other.points_to is not None and _same_place(other.points_to, item.address):
            text = f"the copy at {other.address:#x} points here ({other.points_to:#x})"
            return item.because(Reason(4, text))
    return item


def _same_vcpu(item: Candidate, other: Candidate) -> bool:
    if other.address == item.address:
        return False
    copies = COPY in (item.verdict, other.verdict)
    return copies or other.seen.times != item.seen.times


def _same_place(virtual: int, physical: int) -> bool:
    return virtual % PAGE_SIZE == physical % PAGE_SIZE


def since(found: Candidate, earlier: Image) -> Candidate:
    """Judge a candidate by what was in its place in an earlier dump."""
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
        return found.because(Reason(-8, text), verdict=UNLIKELY)
    text = f"entry time - sum stayed {words(moved.offsets[0])} while {words(moved.entry)} passed"
    if found.verdict == UNLIKELY:
        return found.because(Reason(1, text))
    return _promoted(found.because(Reason(8, text)))


def ranked(found: Iterable[Candidate]) -> list[Candidate]:
    """Return the candidates, the best first; equals in address order."""
    return sorted((_promoted(item) for item in found), key=_rank)


# What speaks for a candidate must outweigh what speaks against it, and one dump's ordered numbers
# alone never do.
def _promoted(item: Candidate) -> Candidate:
    likely = item.verdict == POSSIBLE and item.weight >= WEIGHT_LIKELY
    return item._replace(verdict=LIKELY) if likely else item
