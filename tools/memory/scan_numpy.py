"""The search with numpy (extra `scan`): whole blocks at a time, a few passes over each.

A pass touches every byte once and a block stays in the cache, so few passes are everything: pages
of zeros go first, then what has no five small top bytes in a row, and only then states and values.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from runstate_abi.layouts.runstate import XEN_RUNSTATE_UPDATE
from runstate_abi.tools.memory.decision import AGE_MOST
from runstate_abi.tools.memory.image import PAGE_SIZE
from runstate_abi.tools.memory.scan import (
    COMPAT_LEAD,
    LARGE_BYTES,
    LIFE_SHIFT,
    NATIVE_LEAD,
    STATES,
    TIME_LEAST,
    TIMES,
    ZEROS_MOST,
)

BLOCK = 1 << 17
SPARSE = 256  # One place in so many fits: more passes are cheaper than looking at each.
_NO_FLAG = XEN_RUNSTATE_UPDATE - 1
_U64 = 8
_HIGH_BITS = 0x7F & ~((AGE_MOST >> 56) - 1)  # set in no top byte, the flag aside

Bytes = Any  # numpy's array types say less than their names here


class _Room(NamedTuple):
    """Where the passes write: made once, so that no pass waits for fresh memory."""

    one: Bytes
    two: Bytes
    three: Bytes


def entries(data: memoryview) -> Iterator[int]:
    """Yield the offsets where an entry time may be, in order, each once."""
    import numpy as np  # Handed on from here: whoever does not search does not pay for it.

    every = np.frombuffer(data, dtype=np.uint8)
    room = _Room(*(np.empty(BLOCK + TIMES + NATIVE_LEAD, dtype=np.uint8) for _ in _Room._fields))
    blocks = [
        _in_block(np, every, low, min(low + BLOCK, end), room)
        for start, end in _stretches(np, every)
        for low in range(start, end, BLOCK)
    ]
    found = np.concatenate([np.empty(0, dtype=np.intp), *blocks])
    for test in (_has_entry, _has_state, _has_times, _has_bytes):
        if len(found):
            found = found[test(np, every, found)]
    yield from found.tolist()


# Runs of pages that are not all zero, begun early by what a struct may have in the page before.
def _stretches(np: Any, every: Bytes) -> Iterator[tuple[int, int]]:
    whole = len(every) // PAGE_SIZE * PAGE_SIZE
    words = every[:whole].view(np.uint64).reshape(-1, PAGE_SIZE // _U64)
    used = np.bitwise_or.reduce(words, axis=1) != 0
    used = np.concatenate(([False], used, [whole < len(every)], [False]))
    changes = np.flatnonzero(used[1:] != used[:-1])
    for first, last in zip(changes[::2], changes[1::2], strict=True):
        start = max(int(first) * PAGE_SIZE - TIMES, 0)
        yield start, min(int(last) * PAGE_SIZE, len(every))


# The places in a block that the passes over its bytes leave.
def _in_block(np: Any, every: Bytes, low: int, high: int, room: _Room) -> Bytes:
    block = every[low : high + TIMES - 1]
    count = len(block) - TIMES + 1
    if count <= 0:
        return np.empty(0, dtype=np.intp)
    fits = _small_tops(np, block, count, room)
    if np.count_nonzero(fits) > count // SPARSE:
        _large(np, block, fits, room)
        _odd_lows(np, block, fits, room)
        if low >= NATIVE_LEAD:
            _states(np, every[low - NATIVE_LEAD : low + count], fits, room)
    return np.flatnonzero(fits.view(np.bool_)) + low


# 1 where the top bytes of five numbers in a row are small. Three passes see all five: a byte and
# the one 8 behind it, that and the one 16 behind, that and the one 32 behind.
def _small_tops(np: Any, block: Bytes, count: int, room: _Room) -> Bytes:
    small = np.bitwise_and(block, _HIGH_BITS, out=room.one[: len(block)])
    small = np.equal(small, 0, out=small.view(np.bool_)).view(np.uint8)
    top = small[_U64 - 1 :]
    two = np.bitwise_and(top[:-8], top[8:], out=room.two[: len(top) - 8])
    four = np.bitwise_and(two[:-16], two[16:], out=room.three[: len(two) - 16])
    return np.bitwise_and(four[:count], top[32 : 32 + count], out=room.three[:count])


# Memory that is mostly zero has small tops everywhere. There, leave out what has an entry time of
# no size, or four times of none: one of its bytes 3..6 is set,
def _large(np: Any, block: Bytes, fits: Bytes, room: _Room) -> None:
    count = len(fits)
    pair = np.bitwise_or(block[3:-1], block[4:], out=room.one[: len(block) - 4])
    size = np.bitwise_or(pair[:-2], pair[2:], out=room.two[: len(pair) - 2])
    two = np.bitwise_or(size[8:-8], size[16:], out=room.one[: len(size) - 16])
    four = np.bitwise_or(two[:count], two[16 : count + 16], out=room.one[:count])
    _keep(np, four, fits)
    _keep(np, size[:count], fits)


# and what has five numbers that are all multiples of 256: small ones, read at the wrong byte.
def _odd_lows(np: Any, block: Bytes, fits: Bytes, room: _Room) -> None:
    count = len(fits)
    two = np.bitwise_or(block[: count + 24], block[8 : count + 32], out=room.one[: count + 24])
    four = np.bitwise_or(two[:count], two[16 : count + 16], out=room.two[:count])
    _keep(np, np.bitwise_or(four, block[32 : count + 32], out=four), fits)


# and what has no state four or eight bytes before: 0..3 and three zeros. `front` begins eight
# bytes before the block.
def _states(np: Any, front: Bytes, fits: Bytes, room: _Room) -> None:
    size = len(front)
    zero = np.equal(front, 0, out=room.one[:size].view(np.bool_)).view(np.uint8)
    state = np.less(front, STATES, out=room.two[:size].view(np.bool_)).view(np.uint8)[: size - 3]
    for place in (1, 2, 3):
        np.bitwise_and(state, zero[place : place + size - 3], out=state)
    count = len(fits)
    lead = NATIVE_LEAD - COMPAT_LEAD
    np.bitwise_and(fits, np.bitwise_or(state[:count], state[lead : lead + count]), out=fits)


def _keep(np: Any, where: Bytes, fits: Bytes) -> None:
    there = np.not_equal(where, 0, out=where.view(np.bool_)).view(np.uint8)
    np.bitwise_and(fits, there, out=fits)


# Two times of four tell most of it. Each costs as much again, so the second is for what is left.
def _has_entry(np: Any, every: Bytes, found: Bytes) -> Bytes:
    words = _words(np, every, np.uint64)
    raw, first = words[found], words[found + _U64]
    answer: Bytes = (first - 1) >= TIME_LEAST - 1  # 0 - 1 is the largest number of all.
    answer &= (first <= (raw & _NO_FLAG) * 2) & ((raw & LARGE_BYTES) != 0)
    kept = np.flatnonzero(answer)
    second = words[found[kept] + 2 * _U64]
    answer[kept] = ((second - 1) >= TIME_LEAST - 1) & (second <= (raw[kept] & _NO_FLAG) * 2)
    return answer


def _has_state(np: Any, every: Bytes, found: Bytes) -> Bytes:
    answer = np.zeros(len(found), dtype=np.bool_)
    for lead in (COMPAT_LEAD, NATIVE_LEAD):
        inside = found >= lead
        words = _words(np, every, np.uint32)[np.where(inside, found - lead, 0)]
        answer |= (words < STATES) & inside
    return answer


# The rest of the filter, on the few places that are left.
def _has_times(np: Any, every: Bytes, found: Bytes) -> Bytes:
    words = _words(np, every, np.uint64)
    raw = words[found]
    entry = raw & _NO_FLAG
    times = np.stack([words[found + _U64 * index] for index in range(1, TIMES // _U64)])
    numbers = np.stack([entry, *times])
    total = np.add.reduce(times)
    most = np.where(raw == entry, entry, entry * 2)
    answer: Bytes = np.maximum.reduce(numbers) < AGE_MOST
    answer &= (np.bitwise_or.reduce(times) & LARGE_BYTES) != 0
    answer &= (total <= most) & (total >= entry >> LIFE_SHIFT)
    answer &= (np.count_nonzero(times, axis=0) > 1) | (total == entry)
    answer &= ~np.logical_or.reduce((times != 0) & (times < TIME_LEAST))
    return answer & ((np.bitwise_or.reduce(numbers) & 0xFF) != 0)


# Few of the bytes below the five numbers' highest ones are zero.
def _has_bytes(np: Any, every: Bytes, found: Bytes) -> Bytes:
    words = _words(np, every, np.uint64)
    numbers = np.stack([words[found + _U64 * index] for index in range(TIMES // _U64)])
    numbers[0] &= _NO_FLAG
    used = numbers.view(np.uint8).reshape(*numbers.shape, _U64) != 0
    below = np.logical_or.accumulate(used[..., ::-1], axis=-1)
    zeros = np.count_nonzero(below, axis=-1) - np.count_nonzero(used, axis=-1)
    answer: Bytes = zeros.sum(axis=0) <= ZEROS_MOST
    return answer


# A number at every byte, aligned or not.
def _words(np: Any, every: Bytes, kind: Any) -> Bytes:
    size = np.dtype(kind).itemsize
    return np.ndarray((max(len(every) - size + 1, 0),), kind, every, strides=(1,))
