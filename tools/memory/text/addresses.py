"""Lines of a dump put where their addresses say, in the base that makes them follow each other."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools.memory.image import ADDRESS_END, Piece

BASES = (16, 10, 8)  # xxd -d and od -Ad print decimal addresses, od without -A octal ones
SAME_MOST = 1 << 20  # bytes of two readings that are compared


class Line(NamedTuple):
    """One line: its number in the text, its address as printed, and its bytes in memory order."""

    number: int
    address: str
    data: bytes
    squeezed: bool


def pieces(lines: tuple[Line, ...], source: str) -> Iterator[Piece]:
    """Yield the stretches of memory that the lines are, in their order (WitnessError)."""
    return _pieces(lines, _base(lines), source)


# The base in which every line begins where the one before it ends; hexadecimal if none does.
def _base(lines: tuple[Line, ...]) -> int:
    return next((base for base in BASES if _continuous(lines, base)), BASES[0])


def _continuous(lines: tuple[Line, ...], base: int) -> bool:
    reached: int | None = None
    previous = b""
    for line in lines:
        address = number_of(line.address, base)
        if address < 0:
            return False
        again = line.address == lines[0].address
        if (
            reached is not None
            and not again
            and not _follows(line, address - reached, len(previous))
        ):
            return False
        reached, previous = address + len(line.data), line.data
    return True


def number_of(digits: str, base: int) -> int:
    """Return what digits are in a base, -1 if they are none of it."""
    try:
        return int(digits, base)
    except ValueError:
        return -1


# `gap`: how far behind the end of the line before, of `length` bytes, the line begins.
def _follows(line: Line, gap: int, length: int) -> bool:
    if line.squeezed:
        return gap > 0 and length > 0 and gap % length == 0
    # An address alone ends the text. It may lie inside the last word, which was filled up.
    return gap == 0 or (not line.data and -8 < gap < 0)


def _pieces(lines: Iterable[Line], base: int, source: str) -> Iterator[Piece]:
    start, held = 0, bytearray()
    previous = b""
    for line in lines:
        reached = start + len(held)
        address = int(line.address, base)
        if address + len(line.data) > ADDRESS_END:
            raise WitnessError(f"{source}: line {line.number}: an address beyond 2^64")
        if line.squeezed and previous and address > reached:
            yield Piece(reached, address - reached, memoryview(previous))
        if not line.data and start < address < reached:
            del held[address - start :]  # The last word was filled up; the end address knows.
            continue
        if address != reached:
            if held:
                yield Piece(start, len(held), memoryview(bytes(held)))
            start, held = address, bytearray()
        held += line.data
        previous = line.data or previous
    if held:
        yield Piece(start, len(held), memoryview(bytes(held)))


# The piece that reaches farthest covers what the next one has in common with all before it.
def agree(found: Iterable[Piece], source: str) -> None:
    """Raise WitnessError if two pieces have different bytes for one address."""
    far: Piece | None = None
    for piece in sorted(found, key=lambda piece: piece.address):
        if far is not None and piece.address < far.end:
            end = min(far.end, piece.end, piece.address + SAME_MOST)
            for address, pair in enumerate(
                zip(far.cut(piece.address, end), piece.cut(piece.address, end), strict=True),
                piece.address,
            ):
                if pair[0] != pair[1]:
                    raise WitnessError(
                        f"{source}: address {address:#x} is given twice, with other bytes: two "
                        "readings? paste one"
                    )
        far = piece if far is None or piece.end > far.end else far
