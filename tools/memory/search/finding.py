"""The whole search: an image in, judged candidates out.

An image may be larger than memory, so it is searched in strides. Of very many candidates only the
best are kept, which are then compared with each other: which overlap, which are copies of one
vCPU's times. A dump may have a table of a hundred thousand rows that look like areas, so no step
may take longer than sorting them.
"""

import mmap
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from itertools import chain, islice
from operator import attrgetter
from typing import NamedTuple

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.tools.memory.area import Values
from runstate_abi.tools.memory.image import Image, Piece
from runstate_abi.tools.memory.observations import offset, words
from runstate_abi.tools.memory.search import candidates, scan, scan_numpy
from runstate_abi.tools.memory.search.candidates import COPY, LIKELY, UNLIKELY, Candidate, Reason
from runstate_abi.tools.memory.search.scan import NATIVE_LEAD, TIMES

APART_LEAST, ROUND = 1000, 1 << 12  # ns
FAMILY_MOST = 5  # an area, Xen's record and a guest's copy; more are rows of some table

# Candidates with the same entry time - sum, grouped by what makes them different records.
Family = dict[tuple[bool, tuple[int, ...]], list[Candidate]]


def together(found: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates, given in address order, with the reasons that depend on others."""
    families: dict[int, Family] = defaultdict(lambda: defaultdict(list))
    found = _apart(found)
    for item in found:
        if _has_kin(item):
            families[offset(item.seen)][_distinct(item)].append(item)
    return [
        _with_others(item, families[offset(item.seen)]) if _has_kin(item) else item
        for item in _repeated(found)
    ]


# The same numbers in several places are some other record, unless one of them is Xen's record of an
# area.
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


# The last numbers of an area and the bytes after it may look like another area. Of two candidates
# that overlap, the worse one is unlikely.
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


# The others of a family; none if there are so many that it is a table. Only as many as that are
# looked at.
def _others(item: Candidate, family: Family) -> list[Candidate]:
    alike = _distinct(item)
    others = chain.from_iterable(items for times, items in family.items() if times != alike)
    if item.verdict == COPY:
        same = (other for other in family[alike] if other.address != item.address)
        others = chain(others, same)
    several = sorted(islice(others, FAMILY_MOST), key=lambda other: other.address)
    if len(several) == FAMILY_MOST:
        return []
    # Two records of one vCPU are some time apart, and not by a round number: a clock counts it.
    apart = [abs(item.seen.entry - other.seen.entry) for other in several]
    return [
        other
        for other, ns in zip(several, apart, strict=True)
        if COPY in (item.verdict, other.verdict) or (ns >= APART_LEAST and ns % ROUND != 0)
    ]


# What makes two records of a family different.
def _distinct(item: Candidate) -> tuple[bool, tuple[int, ...]]:
    return item.verdict == COPY, item.seen.times


# This many candidates are kept. If there are more, the search continues with the best of them, so
# that memory full of false candidates does not hide an area behind it. JUDGED_MOST ends the search.
MOST = 50_000
JUDGED_MOST = 40 * MOST
PLAIN_MOST = 1 << 20  # searching this much without numpy takes less time than loading numpy
# A squeezed run of a text repeats one line, which no area does; only its ends may be in an area.
RUN_MOST = 1 << 20
STRIDE = 16 << 20  # searched between two reports of progress, and mapped at a time

Progress = Callable[[int], None]
ADDRESS = attrgetter("address")


class Search(NamedTuple):
    found: list[Candidate]
    searched: int
    dropped: int  # less likely candidates that were not kept
    cut: bool  # the search ended before the image did


def find(image: Image, earlier: Image | None, progress: Progress) -> Search:
    """Search an image, and compare the candidates with an earlier dump if there is one."""
    plain = image.size <= PLAIN_MOST or not has_numpy()
    found, judged = _kept(_judged(image, earlier, plain, progress))
    if earlier is not None:
        # Those that the later image does not show, under either layout.
        before, _ = _kept(_judged(earlier, None, plain, progress))
        places = {place for item in found for place in (item.address, item.doubt)}
        new = (candidates.promoted(was) for was in before if was.address not in places)
        lost = (candidates.lost(was, image) for was in new)
        found = sorted([*found, *filter(None, lost)], key=ADDRESS)
    ended = candidates.ranked(together(found))
    return Search(ended, image.size, max(judged - len(ended), 0), judged == JUDGED_MOST)


# The best of them, in address order, and how many there were.
def _kept(judged: Iterator[Candidate]) -> tuple[list[Candidate], int]:
    found: list[Candidate] = []
    count = 0
    for one in judged:
        found.append(one)
        count += 1
        if len(found) > 2 * MOST:
            found = sorted(candidates.ranked(found)[:MOST], key=ADDRESS)
        if count == JUDGED_MOST:
            break
    return found, count


def _judged(
    image: Image, earlier: Image | None, plain: bool, progress: Progress
) -> Iterator[Candidate]:
    for piece in _joined(image.pieces):
        for found in entries(piece, plain, progress):
            one = candidates.candidate(image, piece.address + found)
            if one is not None:
                yield one if earlier is None else candidates.since(one, earlier)


# Small adjacent pieces, as text and sparse dumps have them, are searched as one piece, so that an
# area across their border is found.
def _joined(pieces: tuple[Piece, ...]) -> Iterator[Piece]:
    held: list[Piece] = []
    for piece in pieces:
        small = sum(one.size for one in held) <= RUN_MOST and piece.size <= RUN_MOST
        if held and not (small and held[-1].end == piece.address):
            yield _one(held)
            held = []
        held.append(piece)
    if held:
        yield _one(held)


def _one(pieces: list[Piece]) -> Piece:
    first, *others = pieces
    if not others and first.size <= len(first.data):
        return first
    data = b"".join(x.cut(x.address, min(x.end, x.address + RUN_MOST)) for x in pieces)
    return Piece(first.address, len(data), memoryview(data))


def entries(piece: Piece, plain: bool, progress: Progress) -> Iterator[int]:
    """Yield the offsets of possible entry times; ``progress`` gets numbers of bytes searched."""
    look = scan.entries if plain else scan_numpy.entries
    data = piece.data
    for start in range(0, len(data), STRIDE):
        low = max(start - NATIVE_LEAD, 0)
        high = min(start + STRIDE + TIMES - 1, len(data))
        for found in look(data[low:high]):
            if start <= low + found < start + STRIDE:
                yield low + found
        if isinstance(data.obj, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            # A mapped page counts as memory of this process until it is released.
            data.obj.madvise(mmap.MADV_DONTNEED)
        progress(min(STRIDE, len(data) - start))


def has_numpy() -> bool:
    return find_spec("numpy") is not None
