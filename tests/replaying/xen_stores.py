"""Replay a log of Xen's stores: one image of memory after each store, through many updates.

A short image is the area alone. A longer one shows both sides of a page boundary in its middle;
the guest poisons that memory again and again, and moves the area.

Law of this file: first the log is cut into updates, by what the bytes say; then each is held
against the model. Stores that belong to no update are a difference, not noise.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from replaying.accounting import origin
from replaying.fields import known, octets
from replaying.following import Region, follows
from replaying.outcomes import Case, Replayed, differ
from replaying.recordings import plausible
from replaying.xen_recordings import XEN, area, area_origin, one_origin
from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.writer.gpc import Caches
from runstate_abi.writer.vcpu import FLAG, SHAPES, Area, Shape, runstate_of, unflagged
from runstate_abi.writer.witnesses.recorded import Malformed, Record, choice, field, sequence

STORE = frozenset(("at", "changed", "bytes"))
WIDEST = 8  # bytes that one store writes at most


class Log(NamedTuple):
    """The images, what they show, and which line each came from."""

    shape: Shape
    images: tuple[bytes, ...]
    lines: tuple[int, ...]
    boundary: int  # where page 2 begins in an image, 0 if the image is the area alone

    @property
    def poison(self) -> bytes:
        """What the guest fills memory with: no area begins at the first byte."""
        return self.images[0][:1] * len(self.images[0])


class Update(NamedTuple):
    """One update: where its area begins in the images, memory before it, and after each store."""

    line: int
    start: int
    before: bytes
    states: list[bytes]
    flagged: bool
    complete: bool = True  # False: the log ends before the update does


def store_log(meta: Record, records: Sequence[tuple[int, Record]]) -> Replayed:
    """Replay each update of the log, and each area that its first line lists."""
    log = _log(meta, records)
    updates = list(_wide_updates(log) if log.boundary else _narrow_updates(log))
    wrong = dict(_wrong_changed(log, records))
    cases = [_case(log, update, wrong) for update in updates]
    covered = {line for update in updates for line in _lines(log, update)}
    lost = [line for line in log.lines if line not in covered]
    cases.extend(Case(f"line {line}", ("this store belongs to no update",)) for line in lost)
    origins = [_origin(log, update) for update in updates] + [None] * len(lost)
    found = list(one_origin(cases, origins))
    remarks = tuple(
        f"line {log.lines[-1]}: the log ends within an update; what it shows is the beginning of it"
        for update in updates
        if not update.complete
    )
    cases = [*found, *_listed(meta, log, updates)]
    return Replayed("updates and areas of a store log", tuple(cases), (), remarks)


def _log(meta: Record, records: Sequence[tuple[int, Record]]) -> Log:
    shape = SHAPES[choice(meta, "layout", tuple(SHAPES))]
    images = []
    for number, record in records:
        known(record, STORE)
        images.append(octets(record, "bytes"))
        if len(images[-1]) != len(images[0]) or len(images[-1]) < shape.size:
            raise Malformed(f"line {number}: field 'bytes' has {len(images[-1])} bytes")
    size = len(images[0]) if images else 0
    boundary = size // 2 if size > shape.size else 0
    return Log(shape, tuple(images), tuple(number for number, _ in records), boundary)


# The record's own word for what changed: [first, last], counted from the page boundary.
def _wrong_changed(log: Log, records: Sequence[tuple[int, Record]]) -> Iterator[tuple[int, str]]:
    pairs = zip(pairwise(log.images), records[1:], strict=True)
    for (before, after), (number, record) in pairs:
        places = [n for n, byte in enumerate(after) if byte != before[n]]
        seen = [places[0] - log.boundary, places[-1] - log.boundary] if places else None
        for text in differ(f"line {number}: changed", field(record, "changed"), seen):
            yield number, text


# The area stays, and is flagged: an update goes from the flag's rise to its fall.
def _narrow_updates(log: Log) -> Iterator[Update]:
    states: list[bytes] = []
    before = _lowered(log, 0) if log.images else b""
    first = 0
    for index, image in enumerate(log.images):
        if not states and not _up(log, image, 0):
            before = image if image == before else before
            continue
        if not states:
            first = index
        states.append(image)
        if not _up(log, image, 0):
            yield Update(log.lines[first], 0, before, states, True)
            before, states = image, []
    if states:
        yield Update(log.lines[first], 0, before, states, True, complete=False)


# The first image is after the first store, which raised the flag.
def _lowered(log: Log, start: int) -> bytes:
    image = bytearray(log.images[0])
    image[start + log.shape.update_byte] &= ~FLAG
    return bytes(image)


def _up(log: Log, image: bytes, start: int) -> bool:
    return bool(image[start + log.shape.update_byte] & FLAG)


# Between two poisonings the area stays: it begins where the last image first differs from poison.
def _wide_updates(log: Log) -> Iterator[Update]:
    for first, last in _segments(log):
        end = log.images[last - 1]
        start = next((n for n, byte in enumerate(end) if byte != log.poison[n]), 0)
        raised = start + log.shape.update_byte
        touched = [n for n, byte in enumerate(log.images[first]) if byte != log.poison[n]]
        if touched != [raised]:
            states = list(log.images[first:last])
            yield Update(log.lines[first], start, log.poison, states, False)
            continue
        yield from _flagged(log, first, last, start)


def _flagged(log: Log, first: int, last: int, start: int) -> Iterator[Update]:
    before, states = log.poison, []
    begin = first
    for index in range(first, last):
        states.append(log.images[index])
        if not _up(log, log.images[index], start):
            yield Update(log.lines[begin], start, before, states, True)
            before, states, begin = log.images[index], [], index + 1
    if states:
        ends = last == len(log.images)
        yield Update(log.lines[begin], start, before, states, True, complete=not ends)


# A new segment begins where more is poison again than one store could make so.
def _segments(log: Log) -> Iterator[tuple[int, int]]:
    first = 0
    for index in range(1, len(log.images)):
        if _touched(log, index) + WIDEST < _touched(log, index - 1):
            yield first, index
            first = index
    if log.images:
        yield first, len(log.images)


def _touched(log: Log, index: int) -> int:
    return sum(byte != poison for byte, poison in zip(log.images[index], log.poison, strict=True))


def _case(log: Log, update: Update, wrong: dict[int, str]) -> Case:
    name = f"update at line {update.line}"
    if log.boundary:
        name = f"{name}, {log.boundary - update.start} bytes before the page boundary"
    own = [wrong[line] for line in _lines(log, update) if line in wrong]
    return Case(name, (*_differences(log, update), *own))


def _lines(log: Log, update: Update) -> range:
    return range(update.line, update.line + len(update.states))


def _differences(log: Log, update: Update) -> Iterator[str]:
    end = update.states[-1][update.start : update.start + log.shape.size]
    if len(end) < log.shape.size:
        yield "the area reaches past the image"
        return
    offset = (PAGE_SIZE - log.boundary + update.start) % PAGE_SIZE if log.boundary else 0
    here = Area("native" if log.shape is SHAPES["native"] else "compat", offset, update.flagged)
    vcpu = runstate_of(log.shape, end)
    vcpu = replace(vcpu, entry_time=unflagged(vcpu.entry_time))
    yield from plausible("the last image", vcpu)
    region = Region(here, PAGE_SIZE - log.boundary if log.boundary else 0, len(log.images[0]))
    steps = tuple(XEN.update(vcpu, here, Caches(), False))
    yield from follows(update.before, update.states, steps, region, update.complete)


def _origin(log: Log, update: Update) -> int | None:
    end = update.states[-1][update.start : update.start + log.shape.size]
    whole = update.complete and len(end) == log.shape.size
    return origin(runstate_of(log.shape, end)) if whole else None


# The guest's own log: an area a line, with its two windows.
_LISTED = re.compile(
    r"\S+ flag=(?P<update_flag>[01]) off=(?P<off>\d+) len1=(?P<len1>\d+) len2=(?P<len2>\d+) "
    r"poison=(?P<poison>[0-9a-f]{2}) .*first=(?P<first>\d+) last=(?P<last>\d+) "
    r"outside=(?P<outside>\d+) atreg=(?P<at_register>[0-9a-f]+) win=(?P<after_update>[0-9a-f]+)"
)


def _listed(meta: Record, log: Log, updates: list[Update]) -> Iterator[Case]:
    cases, origins = [], []
    for number, text in enumerate(sequence(meta, "log"), 1):
        found = _LISTED.fullmatch(text) if isinstance(text, str) else None
        if not found:
            raise Malformed(f"line 1: field 'log': entry {number} is none that can be read")
        record: Record = {"layout": meta["layout"], **found.groupdict()}
        record["update_flag"] = int(record["update_flag"])
        differences = (*area(record), *_agrees(log, updates, record))
        cases.append(Case(f"listed area {number}, at {record['off']}", differences))
        origins.append(area_origin(record))
    yield from one_origin(cases, origins)


# What the guest saw is where the stores ended: the first update of its area, and the last.
def _agrees(log: Log, updates: list[Update], record: Record) -> Iterator[str]:
    start = log.boundary - int(record["len1"])
    mine = [update for update in updates if update.start == start]
    if not mine:
        return
    for name, update in (("at_register", mine[0]), ("after_update", mine[-1])):
        if not update.complete:
            continue
        seen = update.states[-1][update.start : update.start + log.shape.size].hex()
        if seen not in record[name]:
            yield f"{name}: the stores end in {seen}"
