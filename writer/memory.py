"""Guest memory: a few pages that are adjacent for the guest and mapped separately in the host.

A store past the end of page 1 does not reach page 2: it hits other memory of the host. Here it
raises Overrun, which names the bytes. Only this module changes memory.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.writer.steps import Barrier, Step, Store, Write


class Overrun(Exception):
    """A write past the end of its page: ``data`` are the bytes outside, ``offset`` their place.

    The bytes inside the page have been written, as the hardware would do.
    """

    def __init__(self, page: int, offset: int, data: bytes) -> None:
        super().__init__(
            f"{len(data)} bytes outside the mapping of page {page}, at p{page}{offset:+d}: "
            f"{data.hex()}"
        )
        self.page, self.offset, self.data = page, offset, data


class Window:
    """``count`` host pages as one bytearray, page 1 first, filled with ``pattern``."""

    __slots__ = ("data",)

    def __init__(self, pattern: bytes = b"\0", count: int = 2) -> None:
        if not pattern:
            raise ValueError("a fill pattern needs at least one byte")
        size = count * PAGE_SIZE
        self.data = bytearray((pattern * (size // len(pattern) + 1))[:size])

    @property
    def count(self) -> int:
        return len(self.data) // PAGE_SIZE

    def read(self, offset: int, size: int) -> bytes:
        """Return bytes as the guest sees them: offset 4096 is the start of page 2."""
        return bytes(self.data[offset : offset + size])

    def page(self, page: int) -> bytes:
        return self.read((page - 1) * PAGE_SIZE, PAGE_SIZE)

    def write(self, page: int, offset: int, data: bytes) -> None:
        """Write into one page (Overrun if some of it is outside)."""
        if not 1 <= page <= self.count:
            raise Overrun(page, offset, data)
        inside = max(0, min(len(data), PAGE_SIZE - offset))
        if offset < 0:
            raise Overrun(page, offset, data)
        start = (page - 1) * PAGE_SIZE + offset
        self.data[start : start + inside] = data[:inside]
        if inside < len(data):
            raise Overrun(page, offset + inside, data[inside:])


def stored(window: Window, step: Write) -> bytes:
    """Return the bytes that a write puts into memory as it is now."""
    if not isinstance(step, Store) or not step.keep:
        return step.data
    start = (step.page - 1) * PAGE_SIZE + step.offset
    return masked(window.read(start, len(step.data)), step.data, step.keep)


def masked(old: bytes, new: bytes, keep: bytes) -> bytes:
    """Return ``new``, with the bits of the mask ``keep`` taken from ``old``."""
    pairs = zip(old, new, keep, strict=True)
    return bytes((was & mask) | (data & ~mask) for was, data, mask in pairs)


def apply(window: Window, step: Step) -> Step:
    """Execute one step. A read-modify-write is returned with the bytes that it stored."""
    if isinstance(step, Write):
        data = stored(window, step)
        window.write(step.page, step.offset, data)
        if isinstance(step, Store) and step.keep:
            return replace(step, data=data, keep=b"")
    return step


def play(window: Window, steps: Iterable[Step]) -> tuple[Step, ...]:
    """Execute an update to its end and return the steps as executed."""
    return tuple(apply(window, step) for step in steps)


class Moment(NamedTuple):
    """One step as executed, the memory right after it, and the number of barriers so far."""

    step: Step
    memory: bytes
    barriers: int

    @property
    def at_barrier(self) -> bool:
        """Is this the memory that the barrier makes visible?"""
        return isinstance(self.step, Barrier)


def trace(window: Window, steps: Iterable[Step]) -> Iterator[Moment]:
    """Execute an update and yield the memory after each step."""
    passed = 0
    for step in steps:
        played = apply(window, step)
        passed += isinstance(played, Barrier)
        yield Moment(played, bytes(window.data), passed)


def snapshots(moments: Iterable[Moment], offset: int, size: int) -> tuple[bytes, ...]:
    return tuple(moment.memory[offset : offset + size] for moment in moments if moment.at_barrier)
