"""What is known about one update, and which rules such an update could break.

The source may be the model, a recording or an emulated kernel: the rules judge all of them by the
same Evidence. A source says what it does not record. The rules that need it are then "not judged",
not "kept".
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from runstate_abi.layouts.structs.runstate import XEN_RUNSTATE_UPDATE
from runstate_abi.writer.memory import masked
from runstate_abi.writer.steps import Activate, Check, Dirty, Refresh, Steps, Store, TryLock, Write
from runstate_abi.writer.vcpu import Area, Runstate, Split, split

# What a source may record besides the stores, which all of them record.
# RETURN is how a function returned: its caller's registers and stack, or that it never did.
BARRIERS, CALLS, READS, RETURN = "barriers", "calls", "reads", "how it returns"


class Read(NamedTuple):
    """A read of guest memory, after ``at`` steps."""

    at: int
    page: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """One update: the request, the memory before it, and its steps."""

    area: Area
    vcpu: Runstate
    atomic: bool
    before: bytes  # the bytes of the area, as many as its struct has
    steps: Steps
    # what the source records; CALLS are locks, checks and dirty pages
    records: frozenset[str] = frozenset((BARRIERS, CALLS, READS, RETURN))
    reads: tuple[Read, ...] = ()
    irqs_off: bool = False  # interrupts at entry
    irqs_off_at_return: bool | None = None  # as measured; None: not measured, the steps tell
    changed: tuple[str, ...] = ()  # bytes outside the struct that were found changed
    # anything else that was seen: (number of steps before it, text)
    odd: tuple[tuple[int, str], ...] = ()
    # steps that are non-temporal stores, which x86 orders with others by a fence only
    streamed: frozenset[int] = frozenset()
    locks_sleep: bool = False  # PREEMPT_RT, where a lock leaves interrupts alone
    no_slot: bool = False  # the caches have no memslot to mark dirty in
    ended: str = ""  # why the update never returned
    owed: tuple[str, ...] = ()  # what of the caller's was not restored at return

    @property
    def parts(self) -> Split:
        return split(self.area.address, self.area.shape.size)


class Landed(NamedTuple):
    """A write as the struct sees it: ``data`` is now at byte ``start`` of it."""

    at: int
    start: int
    data: bytes
    before: bytes  # the whole struct before the write, and in ``after`` after it
    after: bytes

    def covers(self, offset: int) -> bool:
        """Did this write store the byte at ``offset`` of the struct?"""
        return self.start <= offset < self.start + len(self.data)


class Stray(NamedTuple):
    """Bytes of a write that are outside the struct, at ``offset`` of a page."""

    at: int
    page: int
    offset: int
    data: bytes


class Breach(NamedTuple):
    """A broken rule: the index of the step (the number of steps: at return), and what is wrong.

    ``aside``: what is wrong is no step, and happened before the one at ``at``.
    """

    at: int
    why: str
    aside: bool = False


class Ledger(NamedTuple):
    """The writes of an update, applied to the struct."""

    evidence: Evidence
    landed: tuple[Landed, ...]
    strays: tuple[Stray, ...]
    refusal: int | None  # the index of the step that ended the update before it wrote, or None


def ledger(evidence: Evidence) -> Ledger:
    """Apply the writes of an update to the bytes that its area held."""
    struct = bytearray(evidence.before)
    offset, (first, second) = evidence.area.offset, evidence.parts
    # Page -> the range of its bytes that belong to the struct: (from, to, offset in the struct).
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


# A write is cut at the ends of the struct. The bytes after the end of page 1 are not page 2.
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


# The column ``asked`` of RULES in writer/rules.py: which updates could break a rule. An update
# without the flag, for example, cannot break a rule about the flag.


def always(book: Ledger) -> bool:
    """Return True: every update could break the rule."""
    return True


def writes(book: Ledger) -> bool:
    return bool(book.landed)


def writes_flagged(book: Ledger) -> bool:
    return bool(book.landed) and book.evidence.area.update_flag


# If bit 63 is set in the entry time itself, the guest may see it.
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
    return book.evidence.atomic


def is_refused(book: Ledger) -> bool:
    return book.refusal is not None


# Without a memslot there is nothing to mark, but a page that was not written must still not be
# marked.
def marks_dirty(book: Ledger) -> bool:
    """Does it mark a page dirty, or should it have?"""
    marked = any(isinstance(step, Dirty) for step in book.evidence.steps)
    return marked or (bool(book.landed) and not book.evidence.no_slot)


def uses_caches(book: Ledger) -> bool:
    """Does it get as far as using a cache?"""
    used = any(isinstance(s, Check | Refresh | Activate | Write) for s in book.evidence.steps)
    return used or bool(book.evidence.odd)
