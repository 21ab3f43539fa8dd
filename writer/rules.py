"""THE RULE BOOK: what an update of a guest's runstate area must obey.

One book for every source of steps: the model's variants, recorded traces, emulated kernels. Each
rule is a sentence and a small function that looks for a counterexample.

Law of this file: a rule sees Evidence and nothing else, and answers with the first step that
breaks it. A profile never changes a rule: it says, with the reason, which ones do not hold for a
generation of writers, and what weaker one does.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from runstate_abi.writer.evidence import BARRIERS, CALLS, READS, Evidence, Landed, Ledger, ledger
from runstate_abi.writer.steps import (
    Activate,
    Barrier,
    Check,
    Dirty,
    IrqRestore,
    IrqSave,
    Lock,
    Refresh,
    Store,
    TryLock,
    Unlock,
    Write,
)
from runstate_abi.writer.vcpu import (
    Shape,
    flagged,
    image,
    top_byte,
    unflagged,
)

FLAG = top_byte(flagged(0))[0]


class Breach(NamedTuple):
    """Where a rule is broken: the step (as many as there are: at return), and what is wrong."""

    index: int
    why: str


Breaches = Iterator[Breach]
Judge = Callable[[Ledger], Breaches]


# What a guest sees.


def set_first(book: Ledger) -> Breaches:
    """The flag goes up before anything else changes: one byte, the new entry time's top byte."""
    if not book.evidence.area.update_flag or not book.landed:
        return
    first, wanted = book.landed[0], top_byte(flagged(book.evidence.vcpu.entry_time))
    update_byte = book.evidence.area.shape.update_byte
    if (first.start, first.data) != (update_byte, wanted):
        yield Breach(first.index, f"the first store is not the update byte alone, {wanted.hex()}")
    elif not _barrier_between(book, 0, 1):
        yield Breach(first.index, "no barrier keeps the stores that follow behind this one")


def window(book: Ledger) -> Breaches:
    """Once up, the flag stays up until the last store."""
    if not book.evidence.area.update_flag:
        return
    update_byte = book.evidence.area.shape.update_byte
    was_up = False
    for write in book.landed[:-1]:
        up = bool(write.after[update_byte] & FLAG)
        if was_up and not up:
            yield Breach(write.index, "the flag goes down here, and stores follow")
        was_up = up


def complete(book: Ledger) -> Breaches:
    """An update that nothing refused is made, and all of it is in place before the flag goes down."""
    if not book.landed:
        if book.refusal is None:
            yield Breach(len(book.evidence.steps), "nothing refused the update, nothing is written")
        return
    if not book.evidence.area.update_flag or not _takes_down(book, book.landed[-1]):
        return
    last = book.landed[-1]
    missing = _wrong_member(book, last.before, but_for_flag=True)
    if missing:
        yield Breach(last.index, f"the flag goes down, and {missing} is not in place")
    elif not _barrier_between(book, -2, -1):
        yield Breach(last.index, "no barrier keeps this store behind the ones before it")


def clear_last(book: Ledger) -> Breaches:
    """The last store takes the flag down and changes nothing else."""
    if not book.evidence.area.update_flag or not book.landed:
        return
    last, update_byte = book.landed[-1], book.evidence.area.shape.update_byte
    if not _takes_down(book, last):
        yield Breach(last.index, "the last store does not take the flag down")
    elif _without(last.before, update_byte) != _without(last.after, update_byte):
        yield Breach(last.index, "the store that takes the flag down changes other bytes too")


def final(book: Ledger) -> Breaches:
    """Afterwards the struct says what the hypervisor knows, and the flag is down."""
    if book.landed:
        wrong = _wrong_member(book, book.landed[-1].after)
        if wrong:
            yield Breach(len(book.evidence.steps), f"{wrong} is wrong at the end")


def outside(book: Ledger) -> Breaches:
    """No byte that is not the struct's is ever stored."""
    for stray in book.strays:
        place = f"p{stray.page}{stray.offset:+d}"
        yield Breach(stray.index, f"{len(stray.data)} bytes outside the struct, at {place}")
    for page, offset in book.evidence.changed:
        place = f"p{page}{offset:+d}"
        yield Breach(len(book.evidence.steps), f"the byte at {place} has changed")


def padding(book: Ledger) -> Breaches:
    """Padding keeps the guest's bytes in one page, and is zero where the struct is split."""
    if book.evidence.parts.second:
        yield from padding_zero(book)
        return
    for write, offset in _padding_stored(book):
        yield Breach(write.index, f"the padding at byte {offset} is stored")


def padding_zero(book: Ledger) -> Breaches:
    """Padding is zero."""
    for write, offset in _padding_stored(book):
        if write.after[offset]:
            yield Breach(write.index, f"the padding at byte {offset} is {write.after[offset]:#04x}")


def no_flag(book: Ledger) -> Breaches:
    """A guest that did not ask for the flag never sees it."""
    evidence = book.evidence
    if evidence.area.update_flag or top_byte(evidence.vcpu.entry_time)[0] & FLAG:
        return
    update_byte = evidence.area.shape.update_byte
    for write in book.landed:
        if write.covers(update_byte) and write.after[update_byte] & FLAG:
            yield Breach(write.index, "the flag goes up, and the guest did not ask for it")


def read(book: Ledger) -> Breaches:
    """Guest memory is never read: nothing that a guest puts there matters."""
    for index, step in enumerate(book.evidence.steps):
        if isinstance(step, Store) and step.keep:
            yield Breach(index, "a read-modify-write of guest memory")
    for index, page, offset, size in book.evidence.reads:
        yield Breach(index, f"{size} bytes of guest memory are read, at p{page}{offset:+d}")


def read_entry_time_only(book: Ledger) -> Breaches:
    """Of guest memory nothing is read but the entry time, to clear the flag in it."""
    shape, offset = book.evidence.area.shape, book.evidence.area.offset
    entry_time = range(shape.entry_time, shape.time + 1)
    for index, page, start, size in book.evidence.reads:
        inside = start - offset if page == 1 else start + book.evidence.parts.first
        if inside not in entry_time or inside + size not in entry_time:
            yield Breach(index, f"{size} bytes of guest memory are read, at p{page}{start:+d}")


# What the rest of the hypervisor relies on.


def locks(book: Ledger) -> Breaches:
    """Locks are balanced, gpc1 before gpc2, and a page is written under its own lock alone."""
    held: list[str] = []
    for index, step in enumerate(book.evidence.steps):
        match step:
            case Lock(cache) | TryLock(cache, True):
                if held and held[-1] >= cache:
                    yield Breach(index, f"{cache} is locked while {held[-1]} is held")
                held.append(cache)
            case Unlock(cache):
                if cache not in held:
                    yield Breach(index, f"{cache} is unlocked, and nobody holds it")
                else:
                    held.remove(cache)
            case _ if isinstance(step, Write) and f"gpc{step.page}" not in held:
                yield Breach(index, f"page {step.page} is written without gpc{step.page}'s lock")
    if held:
        yield Breach(len(book.evidence.steps), f"{held[-1]} is still locked at return")


def irqs(book: Ledger) -> Breaches:
    """Interrupts are off while a lock is held, and at return they are as they were at entry."""
    evidence = book.evidence
    off, held = evidence.irqs_off, 0
    for index, step in enumerate(evidence.steps):
        match step:
            case Lock(_, irqsave):
                off, held = off or irqsave, held + 1
            case TryLock(_, True):
                held += 1
            case IrqSave():
                off = True
            case IrqRestore():
                off = evidence.irqs_off
            case Unlock(_, irqrestore):
                off, held = evidence.irqs_off if irqrestore else off, held - 1
        if held > 0 and not off:
            yield Breach(index, "interrupts are on while a lock is held")
    measured = evidence.irqs_off_at_return
    if (off if measured is None else measured) != evidence.irqs_off:
        state = "on" if evidence.irqs_off else "off"
        yield Breach(len(evidence.steps), f"interrupts are not {state} at return")


def atomic(book: Ledger) -> Breaches:
    """Where it must not block it neither sleeps nor spins."""
    yield from never_sleeps(book)
    for index, step in enumerate(book.evidence.steps):
        if book.evidence.atomic and isinstance(step, Lock):
            yield Breach(index, f"it spins for {step.cache}'s lock, and must not block")


def never_sleeps(book: Ledger) -> Breaches:
    """Where it must not block it does not sleep."""
    for index, step in enumerate(book.evidence.steps):
        if book.evidence.atomic and isinstance(step, Refresh | Activate):
            yield Breach(index, f"{step.cache} is set up anew, which sleeps, and it must not block")


def refused(book: Ledger) -> Breaches:
    """An update that cannot be made leaves the area as it was: every early return is before the
    first store."""
    if book.refusal is not None:
        for write in (*book.landed, *book.strays):
            yield Breach(write.index, "a store in an update that was refused")


def dirty(book: Ledger) -> Breaches:
    """Each page written is marked dirty after its last store and under its lock, and no other."""
    yield from dirty_at_last(book)
    held: list[str] = []
    for index, step in enumerate(book.evidence.steps):
        match step:
            case Lock(cache) | TryLock(cache, True):
                held.append(cache)
            case Unlock(cache) if cache in held:
                held.remove(cache)
            case Dirty(gfn) if f"gpc{gfn + 1}" not in held:
                yield Breach(index, f"frame {gfn:+d} is marked dirty without gpc{gfn + 1}'s lock")


def dirty_at_last(book: Ledger) -> Breaches:
    """Each page written is marked dirty after its last store, and no other."""
    steps = book.evidence.steps
    stored = {step.page - 1: at for at, step in enumerate(steps) if isinstance(step, Write)}
    marked = {step.gfn: at for at, step in enumerate(steps) if isinstance(step, Dirty)}
    for gfn, at in stored.items():
        if marked.get(gfn, -1) < at:
            yield Breach(len(steps), f"frame {gfn:+d} is not marked dirty after its last store")
    for gfn, at in marked.items():
        if gfn not in stored:
            yield Breach(at, f"frame {gfn:+d} is marked dirty, and nothing is stored in it")


def calls(book: Ledger) -> Breaches:
    """A cache is checked under its lock, for as many bytes as its page gets, before a store; it is
    set up anew with no lock held, for the right bytes, and then all is checked again."""
    parts, offset = book.evidence.parts, book.evidence.area.offset
    sizes = {"gpc1": parts.first, "gpc2": parts.second}
    held: list[str] = []
    checked: set[str] = set()
    for index, step in enumerate(book.evidence.steps):
        match step:
            case Lock(cache) | TryLock(cache, True):
                held.append(cache)
            case Unlock(cache) if cache in held:
                held.remove(cache)
                checked.discard(cache)
            case Check(cache, size, good):
                if cache not in held:
                    yield Breach(index, f"{cache} is checked without its lock")
                if size != sizes[cache]:
                    yield Breach(index, f"{cache} is checked for {size} bytes of {sizes[cache]}")
                checked.update({cache} if good else ())
            case Refresh(cache, size) | Activate(cache, _, size):
                if held:
                    yield Breach(index, f"{cache} is set up anew while {held[-1]} is locked")
                if size != sizes[cache]:
                    yield Breach(index, f"{cache} is set up for {size} bytes of {sizes[cache]}")
                if isinstance(step, Activate) and step.gpa != offset + parts.first:
                    yield Breach(index, f"{cache} is set up at {step.gpa}, not where page 2 begins")
            case _ if isinstance(step, Write) and f"gpc{step.page}" not in checked:
                yield Breach(index, f"page {step.page} is written before gpc{step.page} is checked")


# What the rules share.


def _takes_down(book: Ledger, write: Landed) -> bool:
    update_byte = book.evidence.area.shape.update_byte
    return write.covers(update_byte) and not write.after[update_byte] & FLAG


# Writes `first` and `second` of an update, and whether something orders them.
def _barrier_between(book: Ledger, first: int, second: int) -> bool:
    if BARRIERS not in book.evidence.records or len(book.landed) < 2:
        return True
    between = book.evidence.steps[book.landed[first].index : book.landed[second].index]
    return any(isinstance(step, Barrier) for step in between)


# The first member that is not what it should be; the flag apart, if so asked.
def _wrong_member(book: Ledger, struct: bytes, but_for_flag: bool = False) -> str:
    evidence = book.evidence
    shape, entry_time = evidence.area.shape, evidence.vcpu.entry_time
    if evidence.area.update_flag:
        entry_time = unflagged(entry_time)
    wanted = bytearray(image(shape, evidence.vcpu, entry_time))
    if but_for_flag:
        wanted[shape.update_byte] |= struct[shape.update_byte] & FLAG
    for row in shape.layout.members:
        if struct[row.offset : row.end] != wanted[row.offset : row.end]:
            return row.declaration
    return ""


def _without(struct: bytes, offset: int) -> bytes:
    return struct[:offset] + struct[offset + 1 :]


def _padding_stored(book: Ledger) -> Iterator[tuple[Landed, int]]:
    rows = book.evidence.area.shape.layout.padding
    for write in book.landed:
        for row in rows:
            for offset in range(row.offset, row.end):
                if write.covers(offset):
                    yield write, offset
