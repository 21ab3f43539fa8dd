"""Put the lines of a dump where their addresses say.

Dumps print addresses in several bases. The right one is that in which each line begins where the
line before it ends.
"""

from collections.abc import Iterable, Iterator, Sequence

from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools.memory.image import ADDRESS_END, Piece
from runstate_abi.tools.memory.text.forms import NUMBER, DumpLine

BASES = (16, 10, 8)  # xxd -d and od -Ad print decimal addresses, od without -A octal ones
SAME_MOST = 1 << 20  # bytes of two readings that are compared


# A line of a dump, and its bytes in memory order.
Read = tuple[DumpLine, bytes]


def pieces(lines: Sequence[Read], source: str) -> Iterator[Piece]:
    """Yield the stretches of memory that the lines are, in their order (WitnessError)."""
    base = next((base for base in BASES if _continuous(lines, base)), BASES[0])
    start, held = 0, bytearray()
    previous = b""
    for line, data in lines:
        reached = start + len(held)
        address = int(line.address, base)
        if address + len(data) > ADDRESS_END:
            raise WitnessError(f"{source}: line {line.number}: an address beyond 2^64")
        if line.squeezed and previous and address > reached:
            yield Piece(reached, address - reached, memoryview(previous))
        if not data and start < address < reached:
            del held[address - start :]  # the last word was filled up, and the end address shows it
            continue
        if address != reached:
            if held:
                yield Piece(start, len(held), memoryview(bytes(held)))
            start, held = address, bytearray()
        held += data
        previous = data or previous
    if held:
        yield Piece(start, len(held), memoryview(bytes(held)))


def _continuous(lines: Sequence[Read], base: int) -> bool:
    reached: int | None = None
    previous = b""
    for line, data in lines:
        address = number_of(line.address, base)
        if address < 0:
            return False
        if reached is not None and line.address != lines[0][0].address:
            gap = address - reached
            if line.squeezed:
                follows = gap > 0 and len(previous) > 0 and gap % len(previous) == 0
            else:
                # An address alone ends the text. It may lie inside the last word, which was filled.
                follows = gap == 0 or (not data and -NUMBER < gap < 0)
            if not follows:
                return False
        reached, previous = address + len(data), data
    return True


def number_of(digits: str, base: int) -> int:
    """Return the number that digits are in a base; -1 if they are none."""
    try:
        return int(digits, base)
    except ValueError:
        return -1


def agree(found: Iterable[Piece], source: str) -> None:
    """Raise WitnessError if two pieces have different bytes for one address."""
    # In address order it is enough to compare each piece with that which reaches farthest so far.
    far: Piece | None = None
    for piece in sorted(found, key=lambda piece: piece.address):
        if far is not None and piece.address < far.end:
            end = min(far.end, piece.end, piece.address + SAME_MOST)
            pairs = zip(far.cut(piece.address, end), piece.cut(piece.address, end), strict=True)
            for address, (old, new) in enumerate(pairs, piece.address):
                if old != new:
                    raise WitnessError(
                        f"{source}: address {address:#x} is given twice, with other bytes: two "
                        "readings? paste one"
                    )
        far = piece if far is None or piece.end > far.end else far
