"""The search without numpy: a block of memory as one long integer, and the same passes as bits.

Python's integers know no limit and shift 64 KiB as fast as memory moves, so `&` and `>>` do to a
block what numpy does to an array. bytes.translate makes each byte the answer to one question.
Slower than numpy, and the same answer.

It imports the standard library alone, and what it finds passes the filter of scan.py.
"""

import struct
from collections.abc import Container, Iterator
from typing import NamedTuple

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.tools.memory.decision import AGE_MOST
from runstate_abi.tools.memory.search.scan import (
    COMPAT_LEAD,
    NATIVE_LEAD,
    STATES,
    TIMES,
    fits,
    padding_fits,
)

BLOCK = 1 << 16
_ZEROS = bytes(PAGE_SIZE)
_FIVE = struct.Struct("<5Q")
_HIGH_BITS = 0x7F & ~((AGE_MOST >> 56) - 1)
_NUMBER = 64  # bits from one number to the next


def _table(answer: Container[int]) -> bytes:
    return bytes(1 if byte in answer else 0 for byte in range(256))


_SMALL = _table([byte for byte in range(256) if not byte & _HIGH_BITS])


class _Question(NamedTuple):
    """What one byte may be: tables for bytes.translate, 1 for yes."""

    small: bytes = _SMALL
    state: bytes = _table(range(STATES))
    zero: bytes = _table([0])
    used: bytes = _table(range(1, 256))


_IS = _Question()


def entries(data: memoryview) -> Iterator[int]:
    """Yield the offsets where an entry time may be, in order, each once."""
    for start, end in _stretches(data):
        for low in range(start, end, BLOCK):
            yield from _in_block(data, low, min(low + BLOCK, end))


# Runs of pages that are not all zero, begun early by what a struct may have in the page before.
def _stretches(data: memoryview) -> Iterator[tuple[int, int]]:
    begun: int | None = None
    for start in range(0, len(data), PAGE_SIZE):
        page = bytes(data[start : start + PAGE_SIZE])
        if page != _ZEROS[: len(page)]:
            begun = max(start - TIMES, 0) if begun is None else begun
        elif begun is not None:
            yield begun, start
            begun = None
    if begun is not None:
        yield begun, len(data)


def _in_block(data: memoryview, low: int, high: int) -> Iterator[int]:
    first = max(low - NATIVE_LEAD, 0)
    block = bytes(data[first : high + TIMES - 1])
    marks = _passes(block).to_bytes(len(block) + TIMES, "little")
    place = marks.find(1, low - first)
    while 0 <= place <= len(block) - TIMES and place < high - first:
        entry, *rest = _FIVE.unpack_from(block, place)
        times = tuple(rest)
        if fits(entry, times) and padding_fits(block[place - COMPAT_LEAD : place], entry, times):
            yield first + place
        place = marks.find(1, place + 1)


# A long integer with byte e set where an entry time may begin at byte e of the block.
def _passes(block: bytes) -> int:
    top = _asked(block, _IS.small) >> (_NUMBER - 8)
    two = top & top >> _NUMBER
    places = two & two >> 2 * _NUMBER & top >> 4 * _NUMBER
    if not places:
        return 0
    places &= _states(block)
    used = _asked(block, _IS.used)
    return places & _large(used) & _odd_lows(used)


# Bytes 3 to 6 of the entry time, and of one of the four times, are not all zero.
def _large(used: int) -> int:
    pair = used >> 24 | used >> 32
    size = pair | pair >> 16
    two = size >> _NUMBER | size >> 2 * _NUMBER
    return size & (two | two >> 2 * _NUMBER)


# The five numbers are not all multiples of 256.
def _odd_lows(used: int) -> int:
    two = used | used >> _NUMBER
    return two | two >> 2 * _NUMBER | used >> 4 * _NUMBER


# A state is four or eight bytes before: 0..3 and three zeros.
def _states(block: bytes) -> int:
    zero = _asked(block, _IS.zero)
    state = _asked(block, _IS.state) & zero >> 8 & zero >> 16 & zero >> 24
    return state << 8 * COMPAT_LEAD | state << 8 * NATIVE_LEAD


def _asked(block: bytes, question: bytes) -> int:
    return int.from_bytes(block.translate(question), "little")
