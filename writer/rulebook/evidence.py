"""What is known of one update, whoever saw it happen: the model, a recording, an emulated kernel.

The rule book judges nothing else, so one book serves all of them. What a source does not record
it says, and the rules that would need it are then not judged instead of passed.

Law of this file: it arranges what was seen and has no opinion about it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from runstate_abi.writer.memory import Window
from runstate_abi.writer.steps import (
    Activate,
    Check,
    Refresh,
    Steps,
    Store,
    TryLock,
    Write,
)
from runstate_abi.writer.vcpu import Area, Runstate, Split, split

# What a source may record besides the stores themselves, which all of them do.
BARRIERS, CALLS, READS = "barriers", "calls", "reads"


class Read(NamedTuple):
    """A read of guest memory: after how many steps, and where."""

    at: int
    page: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """One update: what was asked for, what was in memory before, and the steps it took.

    ``before`` is the area's bytes, as many as its struct has. ``records`` says what the source
    would have seen: BARRIERS, CALLS (locks, checks, dirty pages), READS. ``irqs_off`` is the state
    of interrupts at entry, ``irqs_off_at_return`` what was measured (None: only the steps tell).
    ``changed`` says which bytes outside the struct were found changed, ``odd`` what else was seen
    that no step is a word for, with the number of steps before it. ``locks_sleep``: PREEMPT_RT,
    where a lock leaves interrupts alone. ``no_slot``: the caches have no memslot to mark dirty in.
    """

    area: Area
    vcpu: Runstate
    atomic: bool
    before: bytes
    steps: Steps
    records: frozenset[str] = frozenset((BARRIERS, CALLS, READS))
    reads: tuple[Read, ...] = ()
    irqs_off: bool = False
    irqs_off_at_return: bool | None = None
    changed: tuple[str, ...] = ()
    odd: tuple[tuple[int, str], ...] = ()
    locks_sleep: bool = False
    no_slot: bool = False

    @property
    def parts(self) -> Split:
        """Bytes of the struct in the first and in the second page."""
        return split(self.area.address, self.area.shape.size)


class Landed(NamedTuple):
    """A write as the struct sees it: bytes ``start`` and on of it are ``data`` now.

    ``before`` and ``after`` are the whole struct around it.
    """

    at: int
    start: int
    data: bytes
    before: bytes
    after: bytes

    def covers(self, offset: int) -> bool:
        """Did this write store the byte at ``offset`` of the struct?"""
        return self.start <= offset < self.start + len(self.data)


class Stray(NamedTuple):
    """Bytes of a write that are not the struct's, from ``offset`` of a page on."""

    at: int
    page: int
    offset: int
    data: bytes


class Breach(NamedTuple):
    """Where a rule is broken: the step (as many as there are: at return), and what is wrong."""

    at: int
    why: str


class Ledger(NamedTuple):
    """An update's writes, replayed: what landed in the struct, what did not, and why it stopped.

    ``refusal`` is the index of the step that ended the update before it could write, or None.
    """

    evidence: Evidence
    landed: tuple[Landed, ...]
    strays: tuple[Stray, ...]
    refusal: int | None


def ledger(evidence: Evidence) -> Ledger:
    """Replay the writes of an update onto the bytes that its area held."""
    struct = bytearray(evidence.before)
    offset, (first, second) = evidence.area.offset, evidence.parts
    # Where a page holds bytes of the struct, and which: (from, to, offset in the struct).
    holds = {1: (offset, offset + first, 0), 2: (0, second, first)}
    landed: list[Landed] = []
    strays: list[Stray] = []
    for index, step in enumerate(evidence.steps):
        if not isinstance(step, Write):
            continue
        low, high, start = holds.get(step.page, (0, 0, 0))
        inside = _inside(step, low, high)
        strays += _outside(index, step, low, high)
        if inside:
            start += max(step.offset, low) - low
            before = bytes(struct)
            data = _kept(step, start, inside, before)
            struct[start : start + len(data)] = data
            landed.append(Landed(index, start, data, before, bytes(struct)))
    return Ledger(evidence, tuple(landed), tuple(strays), _refusal(evidence))


# A write cut at the borders of the struct. What lies past the end of page 1 is not page 2.


def _inside(step: Write, low: int, high: int) -> bytes:
    return step.data[max(low - step.offset, 0) : max(high - step.offset, 0)]


def _outside(index: int, step: Write, low: int, high: int) -> Iterator[Stray]:
    before, behind = max(low - step.offset, 0), max(high - step.offset, 0)
    if before:
        yield Stray(index, step.page, step.offset, step.data[:before])
    if len(step.data) > max(before, behind):
        start = max(before, behind)
        yield Stray(index, step.page, step.offset + start, step.data[start:])


def _kept(step: Write, start: int, data: bytes, struct: bytes) -> bytes:
    if not isinstance(step, Store) or not step.keep:
        return data
    old = struct[start : start + len(data)]
    pairs = zip(old, step.keep, data, strict=True)
    return bytes((was & keep) | (new & ~keep) for was, keep, new in pairs)


def _refusal(evidence: Evidence) -> int | None:
    for index, step in enumerate(evidence.steps):
        match step:
            case TryLock(_, False):
                return index
            case Check(_, _, False) if evidence.atomic:
                return index
            case Refresh(_, _, error) | Activate(_, _, _, error) if error:
                return index
    return None


def of_model(
    steps: Steps, vcpu: Runstate, area: Area, atomic: bool = False, fill: bytes = b"\xa5"
) -> Evidence:
    """Return what a variant's steps say, in memory filled with a pattern."""
    before = Window(fill).read(area.offset, area.shape.size)
    return Evidence(area, vcpu, atomic, before, steps)
