"""The search without numpy: bytes and one regular expression. Slower, and the same answer."""

import re
import struct
from collections.abc import Iterator

from runstate_abi.tools.memory.image import PAGE_SIZE
from runstate_abi.tools.memory.scan import COMPAT_LEAD, NATIVE_LEAD, STATES, TIMES, fits

# A time below 2^60, the entry time at least 2^24 and with or without the flag, the four not all
# zero: what the filter can say as an expression. Lookahead, because places overlap. It begins
# with a byte that is known, the first of the three zeros of a state, which is searched for fast.
_TIME = rb"(?:.{7}[\x00-\x0f])"
_ENTRY = rb"(?!...\x00{5})(?:.{7}[\x00-\x0f\x80-\x8f])(?!\x00{32})"
_PLACE = re.compile(
    rb"\x00(?=\x00\x00(?:(?=" + _ENTRY + _TIME + rb"{4})|(?=.{4}" + _ENTRY + _TIME + rb"{4})))",
    re.DOTALL,
)
_ZEROS = bytes(PAGE_SIZE)
_FIVE = struct.Struct("<5Q")


def entries(data: memoryview) -> Iterator[int]:
    """Yield the offsets where an entry time may be, in order, each once."""
    for start, end in _stretches(data):
        block = bytes(data[max(start - NATIVE_LEAD, 0) : end + TIMES])
        shift = max(start - NATIVE_LEAD, 0)
        found = {shift + place for place in _in_block(block)}
        yield from sorted(place for place in found if start <= place < end)


# Runs of pages that are not all zero, begun early by what a struct may have in the page before.
def _stretches(data: memoryview) -> Iterator[tuple[int, int]]:
    begun: int | None = None
    for start in range(0, len(data), PAGE_SIZE):
        page = data[start : start + PAGE_SIZE]
        if page != _ZEROS[: len(page)]:
            begun = max(start - TIMES, 0) if begun is None else begun
        elif begun is not None:
            yield begun, start
            begun = None
    if begun is not None:
        yield begun, len(data)


def _in_block(block: bytes) -> Iterator[int]:
    for match in _PLACE.finditer(block):
        state = match.start() - 1
        if state < 0 or block[state] >= STATES:
            continue
        for lead in (COMPAT_LEAD, NATIVE_LEAD):
            place = state + lead
            if _fits(block, place):
                yield place


def _fits(block: bytes, place: int) -> bool:
    if place + TIMES > len(block):
        return False
    entry, *times = _FIVE.unpack_from(block, place)
    return fits(entry, tuple(times))
