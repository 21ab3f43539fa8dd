"""Candidates judged by one another: which overlap, which are copies of one vCPU's times.

A dump may hold a table of a hundred thousand rows that look like areas, so no step here is slower
than sorting them.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import chain, islice

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.tools.memory.area import Values
from runstate_abi.tools.memory.comparison import offset
from runstate_abi.tools.memory.observations import words
from runstate_abi.tools.memory.search import candidates
from runstate_abi.tools.memory.search.candidates import COPY, LIKELY, UNLIKELY, Candidate, Reason

APART_LEAST, ROUND = 1000, 1 << 12  # ns
FAMILY_MOST = 5  # An area, Xen's copy and a guest's own: more are the rows of some table.

# Candidates with one difference of entry time and sum, by what tells two records apart.
Family = dict[tuple[bool, tuple[int, ...]], list[Candidate]]


def together(found: Sequence[Candidate]) -> list[Candidate]:
    """Judge candidates, in address order, by one another: overlaps, copies, who points where."""
    families: dict[int, Family] = defaultdict(lambda: defaultdict(list))
    found = _apart(found)
    for item in found:
        if _has_kin(item):
            families[offset(item.seen)][_distinct(item)].append(item)
    found = _repeated(found)
    return [
        _with_others(item, families[offset(item.seen)]) if _has_kin(item) else item
        for item in found
    ]


# A record that stands in several places is somebody's record: an area is in one, and what Xen has
# of it in another.
def _repeated(found: Sequence[Candidate]) -> list[Candidate]:
    same: dict[Values, list[Candidate]] = defaultdict(list)
    for item in found:
        same[item.seen].append(item)
    return [_not_alone(item, same[item.seen]) for item in found]


def _not_alone(item: Candidate, same: Sequence[Candidate]) -> Candidate:
    if len(same) == 1 or any(other.verdict == COPY for other in same[:FAMILY_MOST]):
        return item
    other = next(other for other in same if other is not item)
    return item.because(Reason(-2, f"the same numbers stand at {other.address:#x}"))


# KVM's difference is 0 for all, and so is that of Xen's idle vCPUs.
def _has_kin(item: Candidate) -> bool:
    return offset(item.seen) != 0 and item.verdict != UNLIKELY


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
    return candidates.rank(one)[:2] <= candidates.rank(other)[:2]


# Equal records, and those of a table that counts up, equal differences too. So it counts where few
# have it, and the numbers differ or one of them is known to be the hypervisor's.
def _with_others(item: Candidate, family: Family) -> Candidate:
    others = _others(item, family)
    if not others:
        return item
    place = others[0].address
    constant = words(offset(item.seen))
    text = f"{place:#x} has the same entry time - sum, {constant}: two copies of one vCPU's times"
    item = candidates.promoted(item.because(Reason(6, text)))
    newest = max(others, key=lambda other: other.seen.entry)
    if newest.seen.entry > item.seen.entry and item.verdict == LIKELY:
        behind = words(newest.seen.entry - item.seen.entry)
        item = item.because(Reason(0, f"stale: {newest.address:#x} is {behind} newer"))
    for other in others:
        if other.points_to is not None and _same_place(other.points_to, item.address):
            text = f"the copy at {other.address:#x} points here ({other.points_to:#x})"
            return item.because(Reason(4, text))
    return item


# The others of a family; none if there are so many that it is a table. That may have a hundred
# thousand rows: no more are looked at than decide it.
def _others(item: Candidate, family: Family) -> list[Candidate]:
    alike = _distinct(item)
    others = chain.from_iterable(items for times, items in family.items() if times != alike)
    if item.verdict == COPY:
        same = (other for other in family[alike] if other.address != item.address)
        others = chain(others, same)
    several = sorted(islice(others, FAMILY_MOST), key=lambda other: other.address)
    if len(several) == FAMILY_MOST:
        return []
    return [other for other in several if _apart_as_times(item, other)]


# Two states of one vCPU are a while apart, and by no round number: a clock counted it.
def _apart_as_times(item: Candidate, other: Candidate) -> bool:
    apart = abs(item.seen.entry - other.seen.entry)
    return COPY in (item.verdict, other.verdict) or (apart >= APART_LEAST and apart % ROUND != 0)


# What tells two records of one family apart; hypervisor's copies differ from what is no copy.
def _distinct(item: Candidate) -> tuple[bool, tuple[int, ...]]:
    return item.verdict == COPY, item.seen.times


def _same_place(virtual: int, physical: int) -> bool:
    return virtual % PAGE_SIZE == physical % PAGE_SIZE
