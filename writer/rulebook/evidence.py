"""What is known of one update, and which rules such an update could break.

The source may be the model, a recording or an emulated kernel: the rule book judges all of them by
the same Evidence. A source says what it does not record, and the rules that need it are then "not
judged" and not "kept".
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from runstate_abi.layouts.structs.runstate import XEN_RUNSTATE_UPDATE
from runstate_abi.writer.memory import masked
from runstate_abi.writer.steps import Activate, Check, Dirty, Refresh, Steps, Store, TryLock, Write
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
        inside = _inside(step.data, step.offset, low, high)
        strays += _outside(index, step, low, high)
        if inside:
            start += max(step.offset, low) - low
            before = bytes(struct)
            data = inside
            if isinstance(step, Store) and step.keep:
                keep = _inside(step.keep, step.offset, low, high)
                data = masked(before[start : start + len(inside)], inside, keep)
            struct[start : start + len(data)] = data
            landed.append(Landed(index, start, data, before, bytes(struct)))
    return Ledger(evidence, tuple(landed), tuple(strays), _refusal(evidence))


# A write is cut at the borders of the struct. What lies past the end of page 1 is not page 2.
def _inside(data: bytes, offset: int, low: int, high: int) -> bytes:
    return data[max(low - offset, 0) : max(high - offset, 0)]


def _outside(index: int, step: Write, low: int, high: int) -> Iterator[Stray]:
    before, behind = max(low - step.offset, 0), max(high - step.offset, 0)
    if before:
        yield Stray(index, step.page, step.offset, step.data[:before])
    if len(step.data) > max(before, behind):
        start = max(before, behind)
        yield Stray(index, step.page, step.offset + start, step.data[start:])


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


# The column ``asked`` of RULES in writer/rules.py: which updates put a rule to the test. An update
# without the flag, for example, cannot break a rule about the flag.


def always(book: Ledger) -> bool:
    """Return True: every update puts the rule to the test."""
    return True


def writes(book: Ledger) -> bool:
    """Does the update store anything?"""
    return bool(book.landed)


def writes_flagged(book: Ledger) -> bool:
    """Does it store anything, for a guest that asked for the flag?"""
    return bool(book.landed) and book.evidence.area.update_flag


# Bit 63 of an entry time is the flag's: whoever has it there may see it.
def writes_unflagged(book: Ledger) -> bool:
    """Does it store anything, for a guest that did not ask for the flag?"""
    evidence = book.evidence
    odd = evidence.vcpu.entry_time & XEN_RUNSTATE_UPDATE
    return bool(book.landed) and not evidence.area.update_flag and not odd


def completes(book: Ledger) -> bool:
    """Does it store anything, or should it have?"""
    return bool(book.landed) or book.refusal is None


def writes_padded(book: Ledger) -> bool:
    """Does it store anything, into a struct with padding?"""
    return bool(book.landed) and bool(book.evidence.area.shape.layout.padding)


def is_atomic(book: Ledger) -> bool:
    """Must it not sleep?"""
    return book.evidence.atomic


def is_refused(book: Ledger) -> bool:
    """Was it refused before it could write?"""
    return book.refusal is not None


# With no memslot there is nothing to mark, but a page that nothing wrote must not be marked either.
def marks_dirty(book: Ledger) -> bool:
    """Does it mark a page dirty, or should it have?"""
    marked = any(isinstance(step, Dirty) for step in book.evidence.steps)
    return marked or (bool(book.landed) and not book.evidence.no_slot)


def uses_caches(book: Ledger) -> bool:
    """Does it get as far as using a cache?"""
    used = any(isinstance(s, Check | Refresh | Activate | Write) for s in book.evidence.steps)
    return used or bool(book.evidence.odd)
