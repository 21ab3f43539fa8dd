"""The whole search: an image in, judged candidates out.

An image may be larger than memory, so it is searched a stride at a time. Of very many candidates
only the best are kept.
"""

import mmap
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from operator import attrgetter
from typing import NamedTuple

from runstate_abi.tools.memory.image import Image, Piece
from runstate_abi.tools.memory.search import candidates, kin, scan, scan_numpy
from runstate_abi.tools.memory.search.candidates import Candidate
from runstate_abi.tools.memory.search.scan import NATIVE_LEAD, TIMES

# So many candidates are kept. If there are more, the search goes on with the best of them, so that
# memory full of near misses does not hide an area behind it. JUDGED_MOST ends the search.
MOST = 50_000
JUDGED_MOST = 40 * MOST
# So much is searched without numpy in less time than it takes to load numpy.
PLAIN_MOST = 1 << 20
# A squeezed run of a text repeats one line, which no area does; only its ends may be in an area.
RUN_MOST = 1 << 20
# So much is searched between two reports of progress, and mapped at a time.
STRIDE = 16 << 20

Progress = Callable[[int], None]
ADDRESS = attrgetter("address")


class Search(NamedTuple):
    """What was found, best first; ``dropped`` counts less likely ones that were not kept.

    ``cut`` says that the search ended before the image did.
    """

    found: list[Candidate]
    searched: int
    dropped: int
    cut: bool


def find(image: Image, earlier: Image | None, progress: Progress) -> Search:
    """Search an image, and hold what is found against an earlier dump if there is one."""
    plain = image.size <= PLAIN_MOST or not has_numpy()
    found, judged = _kept(_judged(image, earlier, plain, progress))
    if earlier is not None:
        before, _ = _kept(_judged(earlier, None, plain, progress))
        found = sorted([*found, *_lost(before, found, image)], key=ADDRESS)
    ended = candidates.ranked(kin.together(found))
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


# What was found in the earlier dump and not in the later one, under either layout.
def _lost(before: list[Candidate], found: list[Candidate], image: Image) -> Iterator[Candidate]:
    places = {place for item in found for place in (item.address, item.doubt)}
    for was in before:
        if was.address not in places:
            one = candidates.lost(candidates.promoted(was), image)
            if one is not None:
                yield one


def _judged(
    image: Image, earlier: Image | None, plain: bool, progress: Progress
) -> Iterator[Candidate]:
    for piece in _joined(image.pieces):
        for found in entries(piece, plain, progress):
            one = candidates.candidate(image, piece.address + found)
            if one is not None:
                yield one if earlier is None else candidates.since(one, earlier)


# Small neighbouring pieces, as text and sparse dumps have them, are searched as one, so that an
# area across their border is not missed.
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
    if len(pieces) == 1 and pieces[0].size <= len(pieces[0].data):
        return pieces[0]
    data = b"".join(x.cut(x.address, min(x.end, x.address + RUN_MOST)) for x in pieces)
    return Piece(pieces[0].address, len(data), memoryview(data))


def entries(piece: Piece, plain: bool, progress: Progress) -> Iterator[int]:
    """Yield each offset in the piece where an entry time may be, in order.

    ``progress`` is told how many bytes have been searched since it was told last.
    """
    look = scan.entries if plain else scan_numpy.entries
    data = piece.data
    for start in range(0, len(data), STRIDE):
        low = max(start - NATIVE_LEAD, 0)
        high = min(start + STRIDE + TIMES - 1, len(data))
        for found in look(data[low:high]):
            if start <= low + found < start + STRIDE:
                yield low + found
        if isinstance(data.obj, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            # A mapped page counts as this process's memory until it is let go; the file keeps it.
            data.obj.madvise(mmap.MADV_DONTNEED)
        progress(min(STRIDE, len(data) - start))


def has_numpy() -> bool:
    """Tell whether the extra `scan` is installed."""
    return find_spec("numpy") is not None
