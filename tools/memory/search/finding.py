"""The whole search: an image in, judged candidates out.

An image may be larger than memory, so it is searched a stride at a time, and of very many
candidates only the best are kept.
"""

import mmap
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import NamedTuple

from runstate_abi.tools.memory.image import Image, Piece
from runstate_abi.tools.memory.search import candidates, kin, scan_numpy, scan_plain
from runstate_abi.tools.memory.search.candidates import Candidate
from runstate_abi.tools.memory.search.scan import NATIVE_LEAD, TIMES

# So many candidates are kept. Memory full of near misses must not hide an area behind them, so the
# search goes on with the best half; memory that is nothing else ends it.
MOST = 50_000
JUDGED_MOST = 40 * MOST
# So much is searched without numpy in less time than it takes to load numpy.
PLAIN_MOST = 1 << 20
# A squeezed run in a text is the same line over and over, and an area is not; its ends may be.
RUN_MOST = 1 << 20
# So much is searched at a time: between two reports of progress, and what is mapped at once.
STRIDE = 16 << 20

Progress = Callable[[int], None]


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
        found = sorted([*found, *_lost(before, found, image)], key=_address)
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
            found = sorted(candidates.ranked(found)[:MOST], key=_address)
        if count == JUDGED_MOST:
            break
    return found, count


def _address(item: Candidate) -> int:
    return item.address


# What the earlier dump has, and the later search did not find under either layout.
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
    for address in _entry_addresses(image, plain, progress):
        one = candidates.candidate(image, address)
        if one is not None:
            yield one if earlier is None else candidates.since(one, earlier)


def _entry_addresses(image: Image, plain: bool, progress: Progress) -> Iterator[int]:
    for piece in _joined(image.pieces):
        for found in entries(piece, plain, progress):
            yield piece.address + found


# Small neighbouring pieces, as text and sparse dumps have them, are searched as one, so that an
# area across their border is not missed.
def _joined(pieces: tuple[Piece, ...]) -> Iterator[Piece]:
    held: list[Piece] = []
    for piece in pieces:
        if held and not (held[-1].end == piece.address and _small(held) and _small([piece])):
            yield _one(held)
            held = []
        held.append(piece)
    if held:
        yield _one(held)


def _small(pieces: list[Piece]) -> bool:
    return sum(piece.size for piece in pieces) <= RUN_MOST


def _one(pieces: list[Piece]) -> Piece:
    if len(pieces) == 1 and pieces[0].size <= len(pieces[0].data):
        return pieces[0]
    address = pieces[0].address
    data = b"".join(
        piece.cut(piece.address, min(piece.end, piece.address + RUN_MOST)) for piece in pieces
    )
    return Piece(address, len(data), memoryview(data))


def entries(piece: Piece, plain: bool, progress: Progress) -> Iterator[int]:
    """Yield each offset in the piece where an entry time may be, in order.

    ``progress`` is told how many bytes have been searched since it was told last.
    """
    look = scan_plain.entries if plain else scan_numpy.entries
    data = piece.data
    for start in range(0, len(data), STRIDE):
        low = max(start - NATIVE_LEAD, 0)
        high = min(start + STRIDE + TIMES - 1, len(data))
        for found in look(data[low:high]):
            if start <= low + found < start + STRIDE:
                yield low + found
        _forget(data)
        progress(min(STRIDE, len(data) - start))


def has_numpy() -> bool:
    """Tell whether the extra `scan` is installed."""
    return find_spec("numpy") is not None


# A mapped page counts as this process's memory until it is let go; the file keeps it.
def _forget(data: memoryview) -> None:
    if isinstance(data.obj, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        data.obj.madvise(mmap.MADV_DONTNEED)
