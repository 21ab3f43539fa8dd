"""The whole search: an image in, judged candidates out.

Law of this file: memory stays flat; what is kept is what was found, at most MOST.
"""

from collections.abc import Iterator
from typing import NamedTuple

from runstate_abi.tools.memory import candidates, scan
from runstate_abi.tools.memory.candidates import Candidate
from runstate_abi.tools.memory.image import Image, Piece

# An image made to have more than this is not searched for areas, and would fill memory.
MOST = 100_000
# A squeezed run in a text is the same line over and over, and an area is not; its ends may be.
RUN_MOST = 1 << 20


class Search(NamedTuple):
    """What was found, best first; ``cut`` says that MOST was reached before the image's end."""

    found: list[Candidate]
    searched: int
    cut: bool


def find(image: Image, earlier: Image | None, plain: bool, progress: scan.Progress) -> Search:
    """Search an image, and hold what is found against an earlier dump if there is one."""
    found: list[Candidate] = []
    cut = False
    for address in _entry_addresses(image, plain, progress):
        one = candidates.candidate(image, address)
        if one is not None:
            found.append(one)
        if len(found) >= MOST:
            cut = True
            break
    if earlier is not None:
        found = [candidates.since(one, earlier) for one in found]
    return Search(candidates.ranked(candidates.together(found)), image.size, cut)


def _entry_addresses(image: Image, plain: bool, progress: scan.Progress) -> Iterator[int]:
    for piece in _joined(image.pieces):
        for found in scan.entries(piece, plain, progress):
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
