"""The filter of the search, and the search without numpy; scan_numpy.py applies the filter faster.

Both find the same places, at any alignment; candidates.py then judges each of them. Here a block of
memory becomes one long integer. Python shifts 64 KiB as fast as it copies them, so `&` and `>>` do
to a block what numpy does to an array. bytes.translate() turns each byte into the answer to one
question, 0 or 1.
"""

import struct
from collections.abc import Iterator

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.layouts.structs.runstate import COMPAT, NATIVE, RUNSTATES, XEN_RUNSTATE_UPDATE
from runstate_abi.tools.memory.decision import AGE_MOST

# The filter, for a little-endian entry time at offset e and the four times after it:
# - each is below 2^60 ns (AGE_MOST), so its top byte is below 16; the entry's may have the flag;
# - bytes 3 to 6 of the entry time are not all zero, nor are those of all four times: an area less
#   than 17 ms after boot is not looked for;
# - a time is 0 or at least 256 ns: no hypervisor changes a state and back in less;
# - they are not all multiples of 256, as small numbers are if they are read one byte early;
# - below their highest bytes, the five have at most ZEROS_MOST zero bytes. A clock's bytes look
#   random: 4 of 25 are zero once in 300,000 areas. Packed small numbers have more;
# - the sum of the times is at most the entry time (twice that while the flag is set) and at least
#   a millionth of it: the guest exists for at least that part of the host's uptime;
# - more than one of the four is not zero, or one of them is the entry time itself;
# - four bytes before is a state, 0..3 (compat), or eight bytes before (native). Between native's
#   state and the entry time is padding: zeros, unless an update is in flight, or KVM left the old
#   bytes there; KVM's times add up to the entry time.
TIME_LEAST = 1 << 8
ZEROS_MOST = 3
LIFE_SHIFT = 20
STATES = len(RUNSTATES)
TIMES = NATIVE.size - NATIVE.offsetof("state_entry_time")  # bytes from the entry time to the end
NATIVE_LEAD = NATIVE.offsetof("state_entry_time")
COMPAT_LEAD = COMPAT.offsetof("state_entry_time")
HIGH_BITS = 0x7F & ~((AGE_MOST >> 56) - 1)  # set in no top byte of a time, the flag aside

BLOCK = 1 << 16
_ZEROS = bytes(PAGE_SIZE)
_FIVE = struct.Struct("<5Q")
_NUMBER = 64  # bits from one number to the next

# Tables for bytes.translate().
_IS_SMALL = bytes(not byte & HIGH_BITS for byte in range(256))
_IS_STATE = bytes(byte < STATES for byte in range(256))
_IS_ZERO = bytes(byte == 0 for byte in range(256))
_IS_USED = bytes(byte != 0 for byte in range(256))


def entries(data: memoryview) -> Iterator[int]:
    """Yield the offsets where an entry time may be, in order, each once."""
    for start, end in _stretches(data):
        for low in range(start, end, BLOCK):
            yield from _in_block(data, low, min(low + BLOCK, end))


# Runs of pages that are not all zero. Each begins early enough for a struct that begins in the page
# before.
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
    while place >= 0:
        entry, *times = _FIVE.unpack_from(block, place)
        # Compat has its state before the numbers. If it is no state, it may be native's padding.
        near = int.from_bytes(block[place - COMPAT_LEAD : place], "little")
        padded = near < STATES or entry & XEN_RUNSTATE_UPDATE or sum(times) == entry
        if _fits(entry, times) and padded:
            yield first + place
        place = marks.find(1, place + 1)


# A long integer with byte e set where an entry time may begin at byte e of the block.
def _passes(block: bytes) -> int:
    top = _answers(block, _IS_SMALL) >> (_NUMBER - 8)
    two = top & top >> _NUMBER
    places = two & two >> 2 * _NUMBER & top >> 4 * _NUMBER
    if not places:
        return 0
    # A state is four or eight bytes before: 0..3 and three zeros.
    zero = _answers(block, _IS_ZERO)
    state = _answers(block, _IS_STATE) & zero >> 8 & zero >> 16 & zero >> 24
    places &= state << 8 * COMPAT_LEAD | state << 8 * NATIVE_LEAD
    # Bytes 3 to 6 of the entry time, and of one of the four times, are not all zero.
    used = _answers(block, _IS_USED)
    pair = used >> 24 | used >> 32
    large = pair | pair >> 16
    two = large >> _NUMBER | large >> 2 * _NUMBER
    places &= large & (two | two >> 2 * _NUMBER)
    # The five numbers are not all multiples of 256.
    two = used | used >> _NUMBER
    return places & (two | two >> 2 * _NUMBER | used >> 4 * _NUMBER)


def _answers(block: bytes, table: bytes) -> int:
    return int.from_bytes(block.translate(table), "little")


# Do five numbers that _passes() left pass the rest of the filter? A time with bit 63 set, which
# _passes() takes for a flag, is larger than twice any entry time.
def _fits(entry_raw: int, times: list[int]) -> bool:
    entry, total = entry_raw & ~XEN_RUNSTATE_UPDATE, sum(times)
    inner = (number.to_bytes(8, "little").rstrip(b"\0") for number in (entry, *times))
    most = entry if entry == entry_raw else 2 * entry
    return (
        not any(0 < time < TIME_LEAST for time in times)
        and sum(number.count(0) for number in inner) <= ZEROS_MOST
        and entry >> LIFE_SHIFT <= total <= most
        and (sum(time > 0 for time in times) > 1 or total == entry)
    )
