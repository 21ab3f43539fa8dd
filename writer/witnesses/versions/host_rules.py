"""Rules about what the hypervisor relies on: locks, interrupts, caches, faults, dirty pages.

As in guest_rules.py, a rule is a function that yields each breach it finds in an Update.
"""

from collections.abc import Iterator

from runstate_abi.writer.witnesses.versions.updates import (
    CHECK,
    DIRTY,
    LOCK,
    REFRESH,
    UNLOCK,
    Breach,
    Breaches,
    Call,
    Fault,
    Load,
    Store,
    Update,
)

TAKES = {LOCK: 1, UNLOCK: -1}


def _calls(update: Update, *does: str) -> Iterator[tuple[int, Call]]:
    for at, event in enumerate(update.events):
        if isinstance(event, Call) and event.does in does:
            yield at, event


def refused(update: Update) -> Breaches:
    """What cannot be reached is not written."""
    if update.asked.refused:
        for at, _ in update.stores():
            yield Breach(at, "bytes are stored, and the struct could not be reached")


def ends(update: Update) -> Breaches:
    """It returns."""
    if update.ended:
        yield Breach(len(update.events), update.ended)


def caller(update: Update) -> Breaches:
    """It restores what is its caller's."""
    for owed in update.owed:
        yield Breach(len(update.events), owed)


def dirty(update: Update) -> Breaches:
    """The page is marked dirty after the last store, and only if there is one."""
    last = max((at for at, _ in update.stores()), default=-1)
    marks = list(_calls(update, DIRTY))
    for at, mark in marks:
        if mark.wrong:
            yield Breach(at, mark.wrong)
    if last >= 0 and update.asked.has_slot and not any(at > last for at, _ in marks):
        yield Breach(len(update.events), "the page is not marked dirty after the last store")
    if last < 0 and marks and not update.faulted:
        yield Breach(marks[0][0], "a page is marked dirty, and nothing was stored")


def locks(update: Update) -> Breaches:
    """The cache's lock is held, and a check has succeeded under it, at each access."""
    held, checked = 0, False
    for at, event in enumerate(update.events):
        match event:
            case Call(does=does) if does in TAKES:
                held, checked = held + TAKES[does], False
                if event.wrong or held not in (0, 1):
                    yield Breach(at, event.wrong or f"{does}: it is then held {held} times")
            case Call(does=does) if does == CHECK:
                checked = bool(event.result)
                if event.wrong or not held:
                    yield Breach(at, event.wrong or "the cache is checked without its lock")
            case Call(does=does) if does == REFRESH and (held or event.wrong):
                yield Breach(at, event.wrong or "a refresh sleeps, and the lock is held")
            case Store() | Load() if not (held and checked):
                why = "a check that succeeded" if held else "the cache's lock"
                yield Breach(at, f"guest memory is used without {why}")
    if held and not update.ended:
        yield Breach(len(update.events), "the cache is still locked at return")


def irqs(update: Update) -> Breaches:
    """Interrupts are off while the lock is held, and on at return, as they were at entry."""
    held = 0
    for at, event in enumerate(update.events):
        if isinstance(event, Call) and event.does in TAKES:
            held += TAKES[event.does]
        elif held and update.irqs[at] and not update.sleeps:
            yield Breach(at, "interrupts are on while the lock is held")
    if not (update.irqs[-1] or update.ended):
        yield Breach(len(update.events), "interrupts are off at return, and were on at entry")


def cache(update: Update) -> Breaches:
    """A stale cache is set up anew, for all of the struct, before its page is used."""
    for at, event in _calls(update, REFRESH):
        if event.wrong:
            yield Breach(at, event.wrong)
    for at, store in update.stores():
        if not -update.shape.size <= store.offset <= update.shape.size:
            yield Breach(at, "a page is written that the cache no longer stands for")


def faults(update: Update) -> Breaches:
    """Each access to guest memory may fault, and the first that does is the last."""
    failed = False
    for at, event in enumerate(update.events):
        match event:
            case Fault():
                failed = True
            case Store(caught=False) | Load(caught=False):
                yield Breach(at, "a fault of this access is not caught: no exception table entry")
            case Store() | Load() if failed:
                yield Breach(at, "guest memory is used after an access has failed")
