"""The search with numpy (extra `scan`): each byte of memory becomes a bit.

Most of the filter in scan.py asks only which bytes are zero, and which are too large for a time's
top byte. As bits, 64 bytes of memory are one word, and the same byte of the next number is one byte
of bits further, so the filter costs little more than making the bits. The bits may discard only
what scan.py would discard too; what they leave goes through the whole filter in _judged().
"""

from collections.abc import Iterator
from typing import Any

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.layouts.structs.runstate import XEN_RUNSTATE_UPDATE
from runstate_abi.tools.memory.decision import AGE_MOST
from runstate_abi.tools.memory.search import scan
from runstate_abi.tools.memory.search.scan import NATIVE_LEAD, TIMES

BLOCK = 1 << 20  # the bits of a block, and what is made of them, fit in a core's L2 cache
SPARSE = 64  # if fewer than one byte of bits in so many is set, the other tests cost more
RECORD = NATIVE_LEAD + TIMES  # one or two words that may be a state, and five numbers
_WORD = 64  # bits in a word of bits, so bytes of memory
_MARGIN = _WORD  # bits after a block: the rest of its last record
_NO_FLAG = XEN_RUNSTATE_UPDATE - 1
_NUMBER = 8  # bytes in a number
_LARGE_BYTES = 0x00FFFFFFFF000000  # bytes 3 to 6
_ONES = 0x0101010101010101

Array = Any  # numpy's array types say less than the names here


def entries(data: memoryview) -> Iterator[int]:
    """Yield the offsets where an entry time may be, in order, each once."""
    import numpy as np  # passed on from here, so that only a search loads it

    every = np.frombuffer(data, dtype=np.uint8)
    # The first few places have no room for a state in front: their records begin before the data.
    front = np.full(NATIVE_LEAD, 0xFF, dtype=np.uint8)
    head = np.concatenate([front, every[: RECORD - 1]])
    yield from _judged(np, head, np.arange(len(head) - RECORD + 1)).tolist()
    room = np.empty(BLOCK + _MARGIN, dtype=np.uint8)
    blocks = [
        _in_block(np, every, low, min(low + BLOCK, end), room)
        for start, end in _stretches(np, every)
        for low in range(start, end, BLOCK)
    ]
    found = _judged(np, every, np.concatenate([np.arange(0), *blocks]))
    yield from (found + NATIVE_LEAD).tolist()


# Runs of pages that are not all zero, each begun early by the size of a record.
def _stretches(np: Any, every: Array) -> Iterator[tuple[int, int]]:
    whole = len(every) // PAGE_SIZE * PAGE_SIZE
    words = every[:whole].view(np.uint64).reshape(-1, PAGE_SIZE // _NUMBER)
    used = np.bitwise_or.reduce(words, axis=1) != 0
    used = np.concatenate(([False], used, [whole < len(every)], [False]))
    changes = np.flatnonzero(used[1:] != used[:-1])
    for first, last in zip(changes[::2], changes[1::2], strict=True):
        start = max(int(first) * PAGE_SIZE - RECORD, 0)
        yield start, min(int(last) * PAGE_SIZE, len(every))


# Where records may begin in a block: the places that the bits leave, if the times fit into the
# entry time. (With its flag, that is larger than any four times.)
def _in_block(np: Any, every: Array, low: int, high: int, room: Array) -> Array:
    count = -(-(high - low) // _WORD) * _WORD
    block = every[low : low + count + _MARGIN]
    if len(block) < count + _MARGIN:
        block = np.concatenate([block, np.zeros(count + _MARGIN - len(block), dtype=np.uint8)])
    # The numbers of the bits that are set.
    words = _fits(np, block, count // 8, room).view("<u8")
    some = np.flatnonzero(words != 0)
    single = np.unpackbits(words[some].view(np.uint8), bitorder="little")
    inside = np.flatnonzero(single.view(np.bool_))
    found = ((some * _WORD).take(inside // _WORD) + (inside & _WORD - 1)) + low
    found = found[: np.searchsorted(found, min(high, len(every) - RECORD + 1))]
    _, entry, *times = _numbers(np, every, found)
    return found[times[0] + times[1] + times[2] + times[3] <= entry]


# ``size`` bytes of bits, set where a record may begin. A record is six lanes of eight bytes: lane 0
# may have the state, lanes 1 to 5 the numbers. byte_23 has a bit for each place: is byte 2 or 3 of
# a number that begins there not zero?
def _fits(np: Any, block: Array, size: int, room: Array) -> Array:
    last = len(block) - _NUMBER + 1
    high = np.bitwise_and(block[_NUMBER - 1 :], scan.HIGH_BITS, out=room[:last])
    fits = ~_lanes(np.packbits(high, bitorder="little"), size, 1, 5)
    if np.count_nonzero(fits) < size // SPARSE:
        return fits
    byte_0 = np.packbits(block, bitorder="little")
    byte_1 = _shifted(np, byte_0, 1)
    byte_23 = _shifted(np, byte_0 | byte_1, 2)
    byte_123 = byte_1 | byte_23
    byte_567 = _shifted(np, byte_123, 4)
    byte_34567 = _shifted(np, byte_123, 2) | byte_567
    # The entry time is large enough, and not all five are multiples of 256.
    fits &= byte_34567[1 : size + 1]
    fits &= _lanes(byte_0, size, 1, 5)
    # Wrong: a time of 1 to 255 ns; two adjacent numbers with two zeros each below other bytes, more
    # than scan.ZEROS_MOST; no half of lane 0 is a state (0..3 and three zeros).
    tiny = byte_0 & ~(byte_123 | byte_34567)
    holes = byte_34567 & ~byte_23
    wrong = _lanes(tiny[1:] | holes[:-1] & holes[1:], size, 1, 4)
    wrong |= byte_123[:size] & byte_567[:size]
    return fits & ~wrong


# Bit e becomes what bit e + count was.
def _shifted(np: Any, bits: Array, count: int) -> Array:
    words = bits.view("<u8")
    shifted = words >> count
    shifted[:-1] |= words[1:] << _WORD - count
    return shifted.view(np.uint8)


# Four or five lanes in a row, from ``first`` on: set in any of them.
def _lanes(bits: Array, size: int, first: int, count: int) -> Array:
    bits = bits[first : first + size + 4]
    two = bits[: size + 2] | bits[1 : size + 3]
    four = two[:size] | two[2:]
    return four | bits[4:] if count > 4 else four


# The six words of each record, one array for each: the state's two halves, and five numbers. numpy
# fetches a record as fast as one number of it.
def _numbers(np: Any, every: Array, found: Array) -> Array:
    count = max(len(every) - RECORD + 1, 0)
    records = np.ndarray((count,), f"V{RECORD}", every, strides=(1,))[found]
    return records.view("<u8").reshape(-1, RECORD // _NUMBER).T


# The whole filter, for the few places that are left.
def _judged(np: Any, every: Array, found: Array) -> Array:
    for test in (_has_state, _has_times, _has_bytes):
        if len(found):
            found = found[test(np, np.ascontiguousarray(_numbers(np, every, found)))]
    return found


def _has_state(np: Any, numbers: Array) -> Array:
    front, raw, *times = numbers
    far, near = front & (1 << 32) - 1, front >> 32
    loose = (raw >= XEN_RUNSTATE_UPDATE) | (times[0] + times[1] + times[2] + times[3] == raw)
    return (near < scan.STATES) | (far < scan.STATES) & loose


def _has_times(np: Any, numbers: Array) -> Array:
    raw, times = numbers[1], numbers[2:]
    entry = raw & _NO_FLAG
    total = np.add.reduce(times)
    most = np.where(raw == entry, entry, entry * 2)
    answer = np.maximum(entry, np.maximum.reduce(times)) < AGE_MOST
    answer &= (np.bitwise_or.reduce(times) & _LARGE_BYTES) != 0
    answer &= (entry & _LARGE_BYTES) != 0
    answer &= (total <= most) & (total >= entry >> scan.LIFE_SHIFT)
    answer &= (np.count_nonzero(times, axis=0) > 1) | (total == entry)
    answer &= ~np.logical_or.reduce((times != 0) & (times < scan.TIME_LEAST))
    return answer & ((np.bitwise_or.reduce(numbers[1:]) & 0xFF) != 0)


# Few bytes below the five numbers' highest ones are zero. Each byte of a word is the answer for the
# same byte of a number, 0 or 1. The sum of five words is the answer for five numbers.
def _has_bytes(np: Any, numbers: Array) -> Array:
    used = numbers[1:].copy()
    used[0] &= _NO_FLAG
    for count in (4, 2, 1):
        used |= used >> count
    used &= _ONES
    below = used.copy()
    for count in (8, 16, 32):
        below |= below >> count
    zeros = np.add.reduce(below ^ used)
    return zeros * _ONES >> 56 <= scan.ZEROS_MOST
