"""Guest memory in pieces: which addresses a source has, and how a few bytes are read out of it.

Every source, a raw image, an ELF core, pasted text or a live machine, comes back as an Image, so
nothing behind this file knows where bytes came from.

Law of this file: a byte that the source does not have is said, never read as zero.
"""

from bisect import bisect_right
from collections.abc import Iterable
from mmap import mmap
from typing import NamedTuple

from runstate_abi.layouts.model import WitnessError

Buffer = bytes | bytearray | memoryview | mmap

ADDRESS_END = 1 << 64
LIME_KIND = "LiME dump"


class Piece(NamedTuple):
    """``size`` bytes of memory from ``address`` on: ``data``, again and again if it is shorter.

    Dumps as text squeeze lines that repeat; what they stand for may be large.
    """

    address: int
    size: int
    data: memoryview

    @property
    def end(self) -> int:
        """Address of the first byte behind the piece."""
        return self.address + self.size

    def cut(self, start: int, end: int) -> bytes:
        """Return the bytes from address ``start`` up to ``end``, which must lie in the piece."""
        first, last = start - self.address, end - self.address
        if self.size <= len(self.data):
            return bytes(self.data[first:last])
        return bytes(self.data[index % len(self.data)] for index in range(first, last))


class Image(NamedTuple):
    """The memory that ``source`` holds: pieces in address order, none overlapping another.

    ``machine`` is the ELF machine's name where the source says one. ``kind`` says how the source
    was read, and ``notes`` what a person should know of it. ``partial``: the source ends before
    what it says it has.
    """

    source: str
    kind: str
    pieces: tuple[Piece, ...]
    machine: str | None = None
    notes: tuple[str, ...] = ()
    partial: bool = False

    @property
    def placed(self) -> bool:
        """Whether the file says where its memory is, so that --gpa and not --at names a place."""
        return self.machine is not None or self.kind == LIME_KIND

    @property
    def size(self) -> int:
        """How many bytes of memory the source has, holes not counted."""
        return sum(piece.size for piece in self.pieces)


def arranged(pieces: Iterable[Piece]) -> tuple[Piece, ...]:
    """Return the pieces in address order; where two overlap, the one that begins first is kept."""
    kept: list[Piece] = []
    reached = 0
    for piece in sorted(pieces, key=lambda piece: piece.address):
        start = max(piece.address, reached)
        if start >= piece.end:
            continue
        if start > piece.address:
            piece = _without_head(piece, start)
        kept.append(piece)
        reached = piece.end
    return tuple(kept)


def _without_head(piece: Piece, start: int) -> Piece:
    skipped = start - piece.address
    if piece.size <= len(piece.data):
        return Piece(start, piece.size - skipped, piece.data[skipped:])
    turn = skipped % len(piece.data)
    turned = bytes(piece.data[turn:]) + bytes(piece.data[:turn])
    return Piece(start, piece.size - skipped, memoryview(turned))


def _begin(piece: Piece) -> int:
    return piece.address


def available(image: Image, address: int, size: int) -> bytes:
    """Return the bytes from ``address`` on, at most ``size``, up to the first missing one."""
    found = bytearray()
    index = bisect_right(image.pieces, address, key=_begin) - 1
    if index >= 0 and address + size <= image.pieces[index].end:
        return image.pieces[index].cut(address, address + size)
    for piece in image.pieces[max(index, 0) :]:
        place = address + len(found)
        if len(found) == size or piece.address > place:
            break
        if place < piece.end:
            found += piece.cut(place, min(piece.end, address + size))
    return bytes(found)


def before(image: Image, address: int, size: int) -> bytes:
    """Return the bytes that end at ``address``, at most ``size``, as far back as there are any."""
    for count in range(min(size, address), 0, -1):
        found = available(image, address - count, count)
        if len(found) == count:
            return found
    return b""


def read(image: Image, address: int, size: int) -> bytes:
    """Return exactly ``size`` bytes at ``address``; WitnessError names the first missing one."""
    found = available(image, address, size)
    if len(found) == size:
        return found
    missing = address + len(found)
    raise WitnessError(
        f"{image.source}: {size} bytes at {address:#x} wanted, but {missing:#x} is not in it "
        f"({_neighbours(image, missing)})"
    )


def _neighbours(image: Image, address: int) -> str:
    if not image.pieces:
        return "it holds no memory"
    earlier = [piece.end for piece in image.pieces if piece.end <= address]
    later = [piece.address for piece in image.pieces if piece.address > address]
    parts = [f"memory ends at {max(earlier):#x}"] if earlier else []
    parts += [f"memory begins at {min(later):#x}"] if later else []
    return ", ".join(parts)
