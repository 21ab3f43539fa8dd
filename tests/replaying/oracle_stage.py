"""A scenario's script on the model: its operations as a table, and what each leaves behind.

Law of this file: it does what the script says and writes down what came of it in the recording's
own words. Comparing is oracle_scenarios.py's business.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from replaying.arena import arena_bytes
from replaying.fields import text
from replaying.oracle_vectors import Version
from replaying.traces import changed_runs
from runstate_abi.layouts.abi import PAGE_MASK, PAGE_SIZE, U32, U64
from runstate_abi.writer.gpc import Blocked, Caches, Gpc
from runstate_abi.writer.host import BASE
from runstate_abi.writer.memory import Overrun, Window, apply
from runstate_abi.writer.steps import Activate, Copy, Dirty, Refresh, Step, Store, line
from runstate_abi.writer.variants import VARIANT, register_one_page, register_two_pages
from runstate_abi.writer.vcpu import SHAPES, TIME_COUNT, Area, Runstate
from runstate_abi.writer.witnesses.recorded import (
    Malformed,
    Record,
    choice,
    number,
    number_of,
    record_of,
    sequence,
    truth,
)

PAGES = 4  # host pages that a scenario has: guest frames +0 to +3
DEADLOCK = "DEADLOCK (write_lock_irq on a lock still read-held)"
FIRST_PFN = 1 << 12  # the harness numbered its arena's pages from here


@dataclass(slots=True)
class Stage:
    """A scenario in one version while it runs; ``results`` is what the script stored by name."""

    version: Version
    caches: Caches
    window: Window
    vcpu: Runstate
    pfns: dict[int, int]
    fill: bytes
    abi: str = "native"
    update_flag: bool = True
    beyond: dict[tuple[int, int], int] = field(default_factory=dict)
    others: list[Record] = field(default_factory=list)
    fired: list[str] = field(default_factory=list)
    results: Record = field(default_factory=dict)


def runstate_from(values: Record) -> Runstate:
    """Return the vCPU that some values describe."""
    times = [number_of(value, "time", 0, U64) for value in sequence(values, "time")]
    if len(times) != TIME_COUNT:
        raise Malformed(f"field 'time': {len(times)} values, not {TIME_COUNT}")
    first, second, third, fourth = times
    return Runstate(
        number(values, "state", 0, U32),
        number(values, "state_entry_time", 0, U64),
        (first, second, third, fourth),
    )


def do(stage: Stage, operation: Record) -> Any:
    """Do one operation of a script and return what it would store (Malformed)."""
    name = text(operation, "op")
    if name not in OPERATIONS:
        raise Malformed(f"operation '{name}' is unknown")
    return OPERATIONS[name](stage, operation)


def _mode(stage: Stage, operation: Record) -> None:
    stage.abi = choice(operation, "abi", tuple(SHAPES))
    stage.update_flag = truth(operation, "update_flag")


def _values(stage: Stage, operation: Record) -> None:
    stage.vcpu = runstate_from(operation)


def _register(stage: Stage, operation: Record) -> Record:
    gpa = number(operation, "gpa", 0, U64)
    area = Area(stage.abi, gpa, stage.update_flag)
    # In every version but 6.1's the harness did what upstream does.
    old = stage.version.variant == "linux-6.1"
    error = (register_one_page if old else register_two_pages)(area, stage.caches)
    stage.results["registered_as"] = stage.abi
    stage.results["ret"] = error
    return {"offset": gpa, "ret": error, **_caches(stage)}


def _activate(stage: Stage, operation: Record) -> str:
    gpc, gpa = _gpc(stage, operation), number(operation, "gpa", 0, U64)
    size = number(operation, "len", 0, U64) if "len" in operation else PAGE_SIZE - (gpa & PAGE_MASK)
    try:
        error = gpc.activate_now(gpa, size)
    except Blocked:
        return DEADLOCK
    return str(error) if error else "ok"


def _deactivate(stage: Stage, operation: Record) -> str:
    try:
        _gpc(stage, operation).deactivate_now()
    except Blocked:
        return DEADLOCK
    return "ok"


def _memslots_changed(stage: Stage, operation: Record) -> None:
    stage.caches.host.generation += 1


def _invalidate(stage: Stage, operation: Record) -> None:
    gpc = _gpc(stage, operation)
    stage.caches.invalidate(gpc.gpa if gpc.uhva is None else gpc.uhva)


def _remap(stage: Stage, operation: Record) -> None:
    page = number(operation, "page", 0, PAGES)
    stage.caches.host.pages[number(operation, "frame", 0, PAGES - 1)] = page


def _memslot_ends(stage: Stage, operation: Record) -> None:
    stage.caches.host.slot_end = number(operation, "frame", 0, BASE)


def _contend(stage: Stage, operation: Record) -> None:
    _gpc(stage, operation).contended = True


def _other_thread(stage: Stage, operation: Record) -> None:
    sequence(operation, "does")
    text(operation, "after")
    stage.others.append(operation)


def _gpc(stage: Stage, operation: Record) -> Gpc:
    return (stage.caches.gpc1, stage.caches.gpc2)[number(operation, "gpc", 1, 2) - 1]


def _update(stage: Stage, operation: Record) -> Record:
    stage.results["before"] = _caches(stage)
    before, stage.beyond = bytes(stage.window.data), {}
    stage.fired = []
    steps: list[Step] = []
    area = Area(stage.abi, 0, stage.update_flag)
    generator = VARIANT[stage.version.variant].update(
        stage.vcpu, area, stage.caches, truth(operation, "atomic")
    )
    stage.caches.host.watch = lambda event: _interfere(stage, event)
    deadlock = ""
    try:
        for step in generator:
            steps.append(_apply(stage, step))
            _interfere(stage, line(steps[-1]))
    except Blocked as blocked:
        deadlock = str(blocked)
    stage.caches.host.watch = None
    return _outcome(stage, steps, before, deadlock)


def _apply(stage: Stage, step: Step) -> Step:
    try:
        return apply(stage.window, step)
    except Overrun as overrun:
        for index, byte in enumerate(overrun.data):
            stage.beyond[overrun.page, overrun.offset + index] = byte
        return step


# Another thread acts once, right after the event that it waits for.
def _interfere(stage: Stage, event: str) -> None:
    for other in list(stage.others):
        if event == other["after"]:
            stage.others.remove(other)
            stage.fired.append(event)
            watch, stage.caches.host.watch = stage.caches.host.watch, None
            for operation in other["does"]:
                result = do(stage, record_of(operation, "an operation"))
                if "result" in operation:
                    stage.results[text(operation, "result")] = result
            stage.caches.host.watch = watch


def _outcome(stage: Stage, steps: list[Step], before: bytes, deadlock: str) -> Record:
    wrote = _wrote(stage, before)
    outcome: Record = {
        "trace": [line(step) for step in steps],
        "wrote": wrote,
        "wrote_nothing": not wrote,
        "locks_held_at_return": stage.caches.held(),
        "irqs_off_at_return": stage.caches.host.irqs_off,
        "gpc_after": _caches(stage),
    }
    inner = [
        event for step in steps if isinstance(step, Refresh | Activate) for event in step.inner
    ]
    if inner:
        outcome["inner"] = [f"1:{_with_pfn(stage, event)}" for event in inner]
    if stage.fired:
        outcome["other_thread_after"] = stage.fired[0]
    if deadlock:
        outcome["deadlock"] = deadlock
    _dirty_log(stage, steps)
    return outcome


def _dirty_log(stage: Stage, steps: list[Step]) -> None:
    # Where a page backs two frames, it was moved to the lower one.
    frames = {page: frame for frame, page in sorted(stage.caches.host.pages.items(), reverse=True)}
    written = {frames.get(step.page, -1) for step in steps if isinstance(step, Store | Copy)}
    dirty = {step.gfn for step in steps if isinstance(step, Dirty)}
    stage.results["gfns_written"] = sorted(written)
    stage.results["gfns_marked_dirty"] = sorted(dirty)
    stage.results["lost_dirty"] = sorted(written - dirty)


def _with_pfn(stage: Stage, event: str) -> str:
    head, equals, page = event.partition("hva_to_pfn ret=")
    if not equals or page == "-1":
        return event
    return f"{head}{equals}{stage.pfns.get(int(page), page)}"


# Runs of changed bytes, in the order of host memory; a run may go on past its page's end.
def _wrote(stage: Stage, before: bytes) -> list[Record]:
    found: list[Record] = []
    for page in sorted(range(1, PAGES + 1), key=lambda page: stage.pfns.get(page, page)):
        start = (page - 1) * PAGE_SIZE
        old, new = before[start:][:PAGE_SIZE], bytearray(stage.window.page(page))
        past = {offset: byte for (where, offset), byte in stage.beyond.items() if where == page}
        if past:
            guard = arena_bytes(stage.fill, page, PAGE_SIZE, max(past) + 1 - PAGE_SIZE)
            old, new = old + guard, new + guard
            for offset, byte in past.items():
                new[offset] = byte
        found.extend(_run_of(page, offset, data) for offset, data in changed_runs(old, bytes(new)))
    return found


def _run_of(page: int, offset: int, data: bytes) -> Record:
    run: Record = {"page": page, "off": offset, "size": len(data), "hex": data.hex()}
    outside = offset + len(data) - max(offset, PAGE_SIZE)
    if outside > 0:
        run["bytes_beyond_page_end"] = outside
    return run


def _caches(stage: Stage) -> Record:
    return {gpc.name: _cache(stage, gpc) for gpc in (stage.caches.gpc1, stage.caches.gpc2)}


def _cache(stage: Stage, gpc: Gpc) -> Record:
    if not gpc.active:
        return {"active": 0}
    return {
        "active": 1,
        "valid": int(gpc.valid),
        "gpa": gpc.gpa,
        "uhva": -1 if gpc.uhva is None else gpc.uhva,
        "khva_page": gpc.khva.page if gpc.khva else 0,
        "khva_off": gpc.khva.offset if gpc.khva else 0,
        "pfn": -1 if gpc.pfn is None else stage.pfns.get(gpc.pfn, gpc.pfn),
        "readers": gpc.readers,
        "writer": int(gpc.writer),
    }


OPERATIONS: dict[str, Callable[[Stage, Record], Any]] = {
    "mode": _mode,
    "values": _values,
    "register": _register,
    "activate": _activate,
    "deactivate": _deactivate,
    "memslots_changed": _memslots_changed,
    "invalidate": _invalidate,
    "remap": _remap,
    "memslot_ends": _memslot_ends,
    "contend": _contend,
    "other_thread": _other_thread,
    "update": _update,
}
