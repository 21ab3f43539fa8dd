"""Judge candidates by one another: which overlap, which are copies of one vCPU's times.

A dump may hold a table of a hundred thousand rows that look like areas, so no step here may take
longer than sorting them.
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
FAMILY_MOST = 5  # an area, Xen's record and a guest's own copy; more are the rows of some table

# Candidates with the same entry time - sum, by what makes two of them different records.
Family = dict[tuple[bool, tuple[int, ...]], list[Candidate]]


def together(found: Sequence[Candidate]) -> list[Candidate]:
    """Return candidates, given in address order, with the reasons that other candidates are."""
    families: dict[int, Family] = defaultdict(lambda: defaultdict(list))
    found = _apart(found)
    for item in found:
        if _has_kin(item):
            families[offset(item.seen)][_distinct(item)].append(item)
    return [
        _with_others(item, families[offset(item.seen)]) if _has_kin(item) else item
        for item in _repeated(found)
    ]


# The same numbers in several places are some other record, unless one of them is Xen's record of
# an area.
def _repeated(found: Sequence[Candidate]) -> list[Candidate]:
    same: dict[Values, list[Candidate]] = defaultdict(list)
    for item in found:
        same[item.seen].append(item)
    kept = []
    for item in found:
        alike = same[item.seen]
        if len(alike) > 1 and all(other.verdict != COPY for other in alike[:FAMILY_MOST]):
            other = next(other for other in alike if other is not item)
            item = item.because(Reason(-2, f"the same numbers stand at {other.address:#x}"))
        kept.append(item)
    return kept


# entry time - sum is 0 for all of KVM's areas and Xen's idle vCPUs, so it says nothing there.
def _has_kin(item: Candidate) -> bool:
    return offset(item.seen) != 0 and item.verdict != UNLIKELY


# The last numbers of an area and what follows may look like another area: of two candidates that
# overlap, the worse one is unlikely.
def _apart(found: Sequence[Candidate]) -> list[Candidate]:
    kept = list(found)
    best = 0
    for index in range(1, len(kept)):
        if kept[index].address >= kept[best].address + kept[best].layout.size:
            best = index
            continue
        ranks = [candidates.rank(kept[place])[:2] for place in (best, index)]
        winner, loser = (best, index) if ranks[0] <= ranks[1] else (index, best)
        text = f"it overlaps a better candidate, at {kept[winner].address:#x}"
        kept[loser] = kept[loser].because(Reason(-8, text), verdict=UNLIKELY)
        best = winner
    return kept


# Identical records, or consecutive rows of a counter table, also have the same entry time - sum. So
# it counts only if few candidates have it, and only between records that differ or of which one is
# Xen's.
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
        # A virtual and a physical address of one place are equal within the page.
        if other.points_to is not None and (other.points_to - item.address) % PAGE_SIZE == 0:
            text = f"the copy at {other.address:#x} points here ({other.points_to:#x})"
            return item.because(Reason(4, text))
    return item


# The others of a family; none if there are so many that it is a table. No more are looked at than
# that takes.
def _others(item: Candidate, family: Family) -> list[Candidate]:
    alike = _distinct(item)
    others = chain.from_iterable(items for times, items in family.items() if times != alike)
    if item.verdict == COPY:
        same = (other for other in family[alike] if other.address != item.address)
        others = chain(others, same)
    several = sorted(islice(others, FAMILY_MOST), key=lambda other: other.address)
    if len(several) == FAMILY_MOST:
        return []
    return [other for other in several if _apart_in_time(item, other)]


# Two states of one vCPU are a while apart, and because a clock counts it, by no round number.
def _apart_in_time(item: Candidate, other: Candidate) -> bool:
    apart = abs(item.seen.entry - other.seen.entry)
    return COPY in (item.verdict, other.verdict) or (apart >= APART_LEAST and apart % ROUND != 0)


# What makes two records of a family different ones.
def _distinct(item: Candidate) -> tuple[bool, tuple[int, ...]]:
    return item.verdict == COPY, item.seen.times
