"""Guest memory in pieces: here an image is what a file, a text or a live machine has of it.

A byte that the source does not have is reported, and never read as zero.
"""

from bisect import bisect_right
from collections.abc import Iterable
from operator import attrgetter
from typing import NamedTuple

from runstate_abi.layouts.model import WitnessError

ADDRESS_END = 1 << 64
LIME_KIND = "LiME dump"


class Piece(NamedTuple):
    """``size`` bytes of memory from ``address`` on: ``data``, repeated if it is shorter."""

    address: int
    size: int
    data: memoryview

    @property
    def end(self) -> int:
        return self.address + self.size

    def cut(self, start: int, end: int) -> bytes:
        """Return the bytes from address ``start`` up to ``end``, which must be in the piece."""
        first, last = start - self.address, end - self.address
        if self.size <= len(self.data):
            return bytes(self.data[first:last])
        return bytes(self.data[index % len(self.data)] for index in range(first, last))


class Image(NamedTuple):
    source: str
    kind: str  # how the source was read
    pieces: tuple[Piece, ...]  # in address order, without overlaps
    machine: str | None = None  # the machine in the ELF header, if there is one
    notes: tuple[str, ...] = ()  # messages for the user
    partial: bool = False  # the source ends early

    @property
    def placed(self) -> bool:
        """Has the source addresses? Then --gpa names a place in it, and not --at."""
        return self.machine is not None or self.kind == LIME_KIND

    @property
    def size(self) -> int:
        return sum(piece.size for piece in self.pieces)


def arranged(pieces: Iterable[Piece]) -> tuple[Piece, ...]:
    """Return the pieces in address order; where two overlap, the first one's bytes are kept."""
    kept: list[Piece] = []
    reached = 0
    for piece in sorted(pieces, key=lambda piece: piece.address):
        start = max(piece.address, reached)
        if start >= piece.end:
            continue
        if start > piece.address:
            skipped = start - piece.address
            data = piece.data[skipped:]
            if piece.size > len(piece.data):
                turn = skipped % len(piece.data)
                data = memoryview(bytes(piece.data[turn:]) + bytes(piece.data[:turn]))
            piece = Piece(start, piece.size - skipped, data)
        kept.append(piece)
        reached = piece.end
    return tuple(kept)


def available(image: Image, address: int, size: int) -> bytes:
    """Return the bytes from ``address`` on, at most ``size``, up to the first missing one."""
    found = bytearray()
    index = bisect_right(image.pieces, address, key=attrgetter("address")) - 1
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
    earlier = [piece.end for piece in image.pieces if piece.end <= missing]
    later = [piece.address for piece in image.pieces if piece.address > missing]
    near = [f"memory ends at {max(earlier):#x}"] if earlier else []
    near += [f"memory begins at {min(later):#x}"] if later else []
    why = f"{size} bytes at {address:#x} wanted, but {missing:#x} is not in it"
    raise WitnessError(f"{image.source}: {why} ({', '.join(near) or 'it holds no memory'})")
