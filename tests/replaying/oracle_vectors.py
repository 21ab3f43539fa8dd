"""Replay the oracle's vectors: single updates of the kernel's own code, every byte recorded.

Law of this file: everything that an expectation says is compared; a key that has no comparison is
a difference, because a silent pass is one too.
"""

from collections.abc import Iterator
from hashlib import sha256
from typing import Any, NamedTuple

from replaying.arena import arena_bytes, window
from replaying.fields import octets, octets_of, text
from replaying.outcomes import Case, Replayed, differ, differ_bytes, differ_lines
from replaying.traces import step_of_event
from runstate_abi.layouts.abi import PAGE_SIZE, U32, U64
from runstate_abi.layouts.model import WitnessError
from runstate_abi.writer.gpc import (
    PFNCACHE_6_1,
    PFNCACHE_6_1_BROKEN,
    PFNCACHE_6_12,
    Caches,
    Pfncache,
)
from runstate_abi.writer.memory import Overrun, apply
from runstate_abi.writer.steps import Barrier, Dirty, Step, canonical, digest, line, memory_text
from runstate_abi.writer.variants import VARIANT, Variant
from runstate_abi.writer.vcpu import SHAPES, TIME_COUNT, Area, Runstate, split
from runstate_abi.writer.witnesses.recorded import (
    Malformed,
    Record,
    choice,
    field,
    list_of,
    number,
    number_of,
    record_of,
    sequence,
    truth,
)

FORMAT = "runstate-oracle-public/1"
# A result without these says next to nothing of what was written, and in which order.
REQUIRED = ("trace", "snapshots", "after")
MARGIN = 16  # bytes of a window on both sides of the touched ones


class Version(NamedTuple):
    """A version by the oracle's name: which variant, on which pfncache.c."""

    variant: str
    pfncache: Pfncache


# fmt: off
VERSIONS = {
    "upstream_6_12": Version("upstream",    PFNCACHE_6_12),
    "post_seed":     Version("reconciled",  PFNCACHE_6_1),
    "pre_seed":      Version("two-paths",   PFNCACHE_6_1),
    "paolo":         Version("single-path", PFNCACHE_6_1),
    "posted_2of4":   Version("patch-2of4",  PFNCACHE_6_1),
    "old_6_1":       Version("linux-6.1",   PFNCACHE_6_1),
}
# fmt: on


def version(name: str) -> Version:
    """Return what a version name of the oracle means; ``*_nofix`` is without the khva fix."""
    base = name.removesuffix("_nofix")
    if base not in VERSIONS:
        raise Malformed(f"version '{name}' is unknown")
    found = VERSIONS[base]
    return found if base == name else found._replace(pfncache=PFNCACHE_6_1_BROKEN)


class Played(NamedTuple):
    """One update as it went: the steps, the locks held at each Dirty, memory at each barrier."""

    steps: tuple[Step, ...]
    held: tuple[list[int], ...]
    snapshots: tuple[bytes, ...]
    after: bytes
    locks: dict[str, int]
    irqs_off: bool
    overruns: tuple[str, ...]


def replay_vectors(document: Record) -> Replayed:
    """Run each case in each version that it names."""
    cases: list[Case] = []
    malformed: list[str] = []
    for index, raw in enumerate(sequence(document, "cases")):
        name = str(raw.get("id", f"case {index}")) if isinstance(raw, dict) else f"case {index}"
        try:
            record = record_of(raw, "a case")
            expect = record_of(field(record, "expect"), "field 'expect'")
            if not expect:
                raise Malformed("field 'expect' is empty")
            for key in expect:
                cases.append(Case(f"{name} {key}", tuple(_differences(record, expect, key))))
        except (Malformed, WitnessError) as error:
            malformed.append(f"{name}: {error}")
    return Replayed("vectors", tuple(cases), tuple(malformed))


class _Setting(NamedTuple):
    area: Area
    vcpu: Runstate
    atomic: bool
    fill: bytes


def _setting(record: Record) -> _Setting:
    times = [number_of(value, "time", 0, U64) for value in sequence(record, "time")]
    if len(times) != TIME_COUNT:
        raise Malformed(f"field 'time': {len(times)} values, not {TIME_COUNT}")
    first, second, third, fourth = times
    fill = octets(record, "fill")
    if not fill:
        raise Malformed("field 'fill' is empty")
    return _Setting(
        Area(
            choice(record, "abi", tuple(SHAPES)),
            number(record, "offset", 0, PAGE_SIZE - 1),
            truth(record, "update_flag"),
        ),
        Runstate(
            number(record, "state", 0, U32),
            number(record, "state_entry_time", 0, U64),
            (first, second, third, fourth),
        ),
        truth(record, "atomic"),
        fill,
    )


def _differences(record: Record, expect: Record, key: str) -> Iterator[str]:
    setting = _setting(record)
    parts = split(setting.area.offset, setting.area.shape.size)
    yield from differ("len1", number(record, "len1", 0, PAGE_SIZE), parts.first)
    yield from differ("len2", number(record, "len2", 0, PAGE_SIZE), parts.second)
    views = _views(setting)
    for view in views:
        yield from _before(record, setting, view)
    which = version(key)
    variant = VARIANT[which.variant]
    if variant.always_flagged and not setting.area.update_flag:
        yield f"{which.variant} has no update flag switch, and the case turns it off"
        return
    played = _play(variant, which.pfncache, setting)
    yield from played.overruns
    yield from _compare(_result(expect, key), played, setting, views)


# "=upstream_6_12", for the whole or for one field, means: as in that version.
def _result(expect: Record, key: str) -> Record:
    result = _followed(expect, field(expect, key), key)
    if not isinstance(result, dict):
        raise Malformed(f"version '{key}' is neither an object nor '=VERSION'")
    return {name: _followed(expect, value, key, name) for name, value in result.items()}


def _followed(expect: Record, value: Any, key: str, name: str = "") -> Any:
    seen = {key}
    while isinstance(value, str) and value.startswith("="):
        other = value[1:]
        if other in seen or other not in expect:
            raise Malformed(f"version '{key}': '{value}' leads nowhere")
        seen.add(other)
        value = expect[other]
        if name and isinstance(value, dict):
            value = field(value, name)
    return value


def _play(variant: Variant, pfncache: Pfncache, setting: _Setting) -> Played:
    caches = Caches(code=pfncache)
    error = variant.register(setting.area, caches)
    memory = window(setting.fill)
    steps, held, snapshots = [], [], []
    overruns = [f"registering the area fails with {error}"] if error else []
    for step in variant.update(setting.vcpu, setting.area, caches, setting.atomic):
        try:
            steps.append(apply(memory, step))
        except Overrun as overrun:
            steps.append(step)
            overruns.append(f"the model overruns: {overrun}")
        if isinstance(step, Dirty):
            held.append([n for n, gpc in enumerate((caches.gpc1, caches.gpc2), 1) if gpc.readers])
        if isinstance(step, Barrier):
            snapshots.append(bytes(memory.data))
    return Played(
        tuple(steps),
        tuple(held),
        tuple(snapshots),
        bytes(memory.data),
        caches.held(),
        caches.host.irqs_off,
        tuple(overruns),
    )


class _View(NamedTuple):
    name: str
    page: int
    start: int  # page offset of the first byte; what lies outside the page is guard
    size: int


def _views(setting: _Setting) -> tuple[_View, _View]:
    parts = split(setting.area.offset, setting.area.shape.size)
    return (
        _View("p1", 1, setting.area.offset - MARGIN, parts.first + 2 * MARGIN),
        _View("p2", 2, -MARGIN, parts.second + 2 * MARGIN),
    )


# The window's bytes: the page's where the page is, the fill where the guards are.
def _seen(view: _View, memory: bytes, fill: bytes) -> bytes:
    filled = bytearray(arena_bytes(fill, view.page, view.start, view.size))
    first, last = max(view.start, 0), min(view.start + view.size, PAGE_SIZE)
    page = memory[(view.page - 1) * PAGE_SIZE :][first:last]
    filled[first - view.start : last - view.start] = page
    return bytes(filled)


def _before(record: Record, setting: _Setting, view: _View) -> Iterator[str]:
    before = record_of(field(record_of(field(record, "before")), view.name), view.name)
    yield from differ(f"before {view.name} start", field(before, "start"), view.start)
    fill = arena_bytes(setting.fill, view.page, view.start, view.size)
    yield from differ_bytes(f"before {view.name}", octets(before, "hex"), fill)


def _compare(
    result: Record, played: Played, setting: _Setting, views: tuple[_View, _View]
) -> Iterator[str]:
    for name in REQUIRED:
        field(result, name)
    for name, value in result.items():
        match name:
            case "trace":
                yield from _trace(value, played)
            case "snapshots":
                yield from _snapshots(value, played, setting, views)
            case "after":
                yield from _memory("after", value, played.after, setting, views)
            case "locks_held_at_return":
                yield from differ(name, value, played.locks)
            case "irqs_off_at_return":
                yield from differ(name, value, played.irqs_off)
            case "mem_sha256":
                yield from differ(name, value, digest(memory_text(played.steps)))
            case "full_sha256":
                yield from differ(name, value, digest(canonical(played.steps)))
            case "epoch_sha256":
                yield from differ(name, value, _epoch_digest(played, setting))
            case _:
                yield f"'{name}' is recorded, and nothing here compares it"


def _trace(events: Any, played: Played) -> Iterator[str]:
    recorded = [record_of(event, "an event") for event in list_of(events, "trace")]
    theirs = [line(step_of_event(event)) for event in recorded]
    yield from differ_lines(theirs, [line(step) for step in played.steps])
    held = [event["held"] for event in recorded if "held" in event]
    yield from differ("locks held while marking dirty", held, list(played.held))


def _snapshots(
    value: Any, played: Played, setting: _Setting, views: tuple[_View, _View]
) -> Iterator[str]:
    value = list_of(value, "snapshots")
    yield from differ("snapshots", len(value), len(played.snapshots))
    for number_, (theirs, ours) in enumerate(zip(value, played.snapshots, strict=False), 1):
        yield from _memory(f"at barrier {number_}", theirs, ours, setting, views)


def _memory(
    what: str, value: Any, memory: bytes, setting: _Setting, views: tuple[_View, _View]
) -> Iterator[str]:
    value = record_of(value, what)
    shape = setting.area.shape
    for view in views:
        theirs = octets_of(text(value, view.name), f"{what} {view.name}")
        # Where the struct begins in this window: page 2's begins before the window does.
        start = setting.area.offset - (view.page - 1) * PAGE_SIZE - view.start
        seen = _seen(view, memory, setting.fill)
        yield from differ_bytes(f"{what} {view.name}", theirs, seen, shape, start)


def _epoch_digest(played: Played, setting: _Setting) -> str:
    start, size = setting.area.offset, setting.area.shape.size
    return sha256(b"".join(one[start : start + size] for one in played.snapshots)).hexdigest()
