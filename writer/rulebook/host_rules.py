"""Rules about what the hypervisor relies on: locks, interrupts, caches, dirty pages.

As in guest_rules.py, a rule is a function that yields each breach it finds in a Ledger.
"""

from collections.abc import Iterator

from runstate_abi.writer.rulebook.evidence import Breach, Evidence, Ledger
from runstate_abi.writer.steps import (
    Activate,
    Check,
    Dirty,
    IrqRestore,
    IrqSave,
    Lock,
    Refresh,
    Step,
    TryLock,
    Unlock,
    Write,
)

Breaches = Iterator[Breach]
PAGES = (1, 2)  # the pages of an area; a stale cache maps another
FOREIGN_PAGE = "a page that is no longer the area's is written"


def locks(book: Ledger) -> Breaches:
    """Locks are balanced, gpc1 is taken before gpc2, and a page is written under its own lock."""
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
                yield _unguarded(index, step, f"without gpc{step.page}'s lock")
    if held:
        yield Breach(len(book.evidence.steps), f"{held[-1]} is still locked at return")


def _unguarded(at: int, step: Write, how: str) -> Breach:
    return Breach(at, f"page {step.page} is written {how}" if step.page in PAGES else FOREIGN_PAGE)


def irqs(book: Ledger) -> Breaches:
    """Interrupts are off while a lock is held, on while it sleeps, at return as at entry."""
    evidence = book.evidence
    # locks() reports a lock that is never released, so here it does not count as held.
    off, held = evidence.irqs_off, -_never_released(evidence)
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
            # Sleeping with interrupts off at entry is for atomic(), under a lock for calls().
            case Refresh(cache) | Activate(cache) if off and held <= 0 and not evidence.irqs_off:
                yield Breach(index, f"{cache} is refreshed, which sleeps, with interrupts off")
        if held > 0 and not off and not evidence.locks_sleep:
            yield Breach(index, "interrupts are on while a lock is held")
    measured = evidence.irqs_off_at_return
    if (off if measured is None else measured) != evidence.irqs_off:
        now, then = ("on", "off") if evidence.irqs_off else ("off", "on")
        why = f"interrupts are {now} at return, and were {then} at entry"
        yield Breach(len(evidence.steps), why)


def _never_released(evidence: Evidence) -> int:
    taken = [step for step in evidence.steps if isinstance(step, Lock | TryLock)]
    got = sum(isinstance(step, Lock) or step.result for step in taken)
    return max(0, got - sum(isinstance(step, Unlock) for step in evidence.steps))


def atomic(book: Ledger) -> Breaches:
    """If it must not block, it neither sleeps nor spins."""
    yield from never_sleeps(book)
    for index, step in enumerate(book.evidence.steps):
        if book.evidence.atomic and isinstance(step, Lock):
            yield Breach(index, f"it spins for {step.cache}'s lock, and must not block")


def never_sleeps(book: Ledger) -> Breaches:
    """If it must not block, it does not sleep."""
    for index, step in enumerate(book.evidence.steps):
        if book.evidence.atomic and isinstance(step, Refresh | Activate):
            yield Breach(index, f"{step.cache} is refreshed, which sleeps, and it must not block")


def refused(book: Ledger) -> Breaches:
    """Every early return is before the first store: a refused update leaves the area as it was."""
    if book.refusal is not None:
        for at in [write.at for write in book.landed] + [stray.at for stray in book.strays]:
            yield Breach(at, "a store in an update that was refused")


def dirty(book: Ledger) -> Breaches:
    """Each page written is marked dirty after its last store and under its lock, and no other."""
    yield from dirty_at_last(book)
    for index, step, held in _under_locks(book.evidence):
        if isinstance(step, Dirty) and (own := f"gpc{step.gfn + 1}") not in held:
            why = f"without {own}'s lock" if step.gfn + 1 in PAGES else "and is not the area's"
            yield Breach(index, f"frame {step.gfn:+d} is marked dirty {why}")


# Each step with its number and the locks held at that point.
def _under_locks(evidence: Evidence) -> Iterator[tuple[int, Step, tuple[str, ...]]]:
    held: list[str] = []
    for index, step in enumerate(evidence.steps):
        yield index, step, tuple(held)
        match step:
            case Lock(cache) | TryLock(cache, True):
                held.append(cache)
            case Unlock(cache) if cache in held:
                held.remove(cache)


def dirty_at_last(book: Ledger) -> Breaches:
    """Each page written is marked dirty after its last store, and no other."""
    steps = book.evidence.steps
    stored = {step.page - 1: at for at, step in enumerate(steps) if isinstance(step, Write)}
    marked = {step.gfn: at for at, step in enumerate(steps) if isinstance(step, Dirty)}
    for gfn, at in stored.items():
        if marked.get(gfn, -1) < at and not book.evidence.no_slot:
            unmarked = f"frame {gfn:+d} is not marked dirty after its last store"
            yield Breach(len(steps), unmarked if gfn + 1 in PAGES else FOREIGN_PAGE)
    for gfn, at in marked.items():
        if gfn not in stored:
            yield Breach(at, f"frame {gfn:+d} is marked dirty, and nothing is stored in it")


def ends(book: Ledger) -> Breaches:
    """The update returns."""
    if book.evidence.ended:
        yield Breach(len(book.evidence.steps), book.evidence.ended)


def caller(book: Ledger) -> Breaches:
    """At return the caller's registers, stack and direction flag are as they were."""
    for what in book.evidence.owed:
        yield Breach(len(book.evidence.steps), what)


def strange(book: Ledger) -> Breaches:
    """Nothing else is done: no store into the hypervisor's own structs."""
    for at, what in book.evidence.odd:
        yield Breach(at, what, aside=True)


def calls(book: Ledger) -> Breaches:
    """A cache is checked under its lock, for the right number of bytes, before a store.

    It is refreshed or activated with no lock held, and then everything is checked again.
    """
    parts, offset = book.evidence.parts, book.evidence.area.offset
    sizes = {"gpc1": parts.first, "gpc2": parts.second}
    yield from strange(book)
    checked: set[str] = set()
    for index, step, held in _under_locks(book.evidence):
        match step:
            case Unlock(cache):
                checked.discard(cache)
            case Check(cache, size, good):
                if cache not in held:
                    yield Breach(index, f"{cache} is checked without its lock")
                if size != sizes.get(cache):
                    yield Breach(index, f"{cache} is checked for {_bytes(size, sizes[cache])}")
                checked.update({cache} if good else ())
            case Refresh(cache, size) | Activate(cache, _, size):
                if held:
                    yield Breach(index, f"{cache} is refreshed while {held[-1]} is locked")
                if size != sizes.get(cache):
                    yield Breach(index, f"{cache} is refreshed for {_bytes(size, sizes[cache])}")
                if isinstance(step, Activate) and step.gpa != offset + parts.first:
                    place = f"byte {step.gpa - offset} of the area, not where page 2 begins"
                    yield Breach(index, f"{cache} is activated at {place}")
            case _ if isinstance(step, Write) and f"gpc{step.page}" not in checked:
                yield _unguarded(index, step, f"before gpc{step.page} is checked")


def _bytes(size: int, right: int) -> str:
    return f"{size} byte{'s'[: size != 1]}, not {right}"
