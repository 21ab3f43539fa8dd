"""An execution that deceives a reader, from the first store to the last load.

The search found a path over a few bytes. This module adds the stores and loads of all other bytes,
each at a point that the memory model allows.
"""

from collections.abc import Iterator
from typing import NamedTuple

from runstate_abi.writer.guest import Reader
from runstate_abi.writer.racing.ordering import Model, Sight, phases
from runstate_abi.writer.racing.projection import Found
from runstate_abi.writer.racing.scene import Case, looked_at


class Event(NamedTuple):
    """One store of the host or one load of the guest, made in one piece."""

    step: int  # the number of the writer's step, -1 for a load
    name: str  # of the load, "" for a store
    offset: int
    data: bytes


class Told(NamedTuple):
    """A whole execution, and the reader's copy after it: offset -> byte."""

    events: tuple[Event, ...]
    accepted: dict[int, int]


class _Stage:
    """Memory during an execution, and the stores and loads made so far."""

    __slots__ = ("events", "layout", "loaded", "made", "memory", "phases", "seen", "sights")

    def __init__(self, case: Case, reader: Reader, model: Model) -> None:
        self.layout = case.layout
        self.phases = phases(case.steps, model, case.layout, case.offset)
        self.sights = looked_at(reader, model, case.layout, case.offset).sights
        self.memory = bytearray(case.images[0])
        self.events: list[Event] = []
        self.made: set[tuple[int, int]] = set()
        self.seen: dict[int, bytes] = {}  # number of the Sight -> what it gave
        self.loaded = 0  # mask of the same numbers

    def store(self, number: int, index: int) -> None:
        """Make one store, after all stores that must come before it."""
        for earlier in range(number):
            for other in range(len(self.phases[earlier].accesses)):
                self.put(earlier, other)
        for other in range(index):
            if self.phases[number].after[index] >> other & 1:
                self.put(number, other)
        self.put(number, index)

    def put(self, number: int, index: int) -> None:
        """Make one store now, unless it has been made."""
        if (number, index) in self.made:
            return
        self.made.add((number, index))
        access = self.phases[number].accesses[index]
        self.events.append(Event(access.step, "", access.offsets[0], access.data))
        for offset, byte in zip(access.offsets, access.data, strict=True):
            if 0 <= offset < len(self.memory):
                self.memory[offset] = byte

    def load(self, number: int) -> None:
        """Make one load, after all loads that must come before it."""
        if number in self.seen:
            return
        sight = self.sights[number]
        missing = sight.after & ~self.loaded
        for earlier in range(missing.bit_length()):
            if missing >> earlier & 1:
                self.load(earlier)
        data = bytes(self.memory[sight.offsets[0] : sight.offsets[-1] + 1])
        self.seen[number] = data
        self.loaded |= 1 << number
        self.events.append(Event(-1, sight.load.name, sight.offsets[0], data))


def tell(case: Case, reader: Reader, model: Model, found: Found) -> Told:
    """Return a whole execution that follows the path found over a few bytes."""
    stage = _Stage(case, reader, model)
    waiting = set(found.loads)
    for move in found.path:
        for group in move.groups:
            stage.store(*found.stores[move.phase][group])
        if move.look >= 0:
            number = found.loads[move.look]
            waiting.discard(number)
            for other in sorted((number, *_with(stage, number, waiting))):
                stage.load(other)
    for number in range(len(stage.sights)):
        stage.load(number)
    return Told(tuple(joined(stage.events)), _believed(stage))


# Loads of the copy that do not matter are made with the first load that does. Exception: the loads
# of an element which also holds another byte that matters.
def _with(stage: _Stage, number: int, waiting: set[int]) -> Iterator[int]:
    sights = stage.sights
    if sights[number].decides:
        return
    apart = {_element(stage, sights[other]) for other in waiting if not sights[other].decides}
    alone = _element(stage, sights[number]) in apart
    for other, sight in enumerate(sights):
        if sight.decides or sight.after & ~stage.loaded or other in waiting | stage.seen.keys():
            continue
        if alone or _element(stage, sight) not in apart:
            yield other


def _element(stage: _Stage, sight: Sight) -> int:
    first = sight.offsets[0]
    rows = stage.layout.rows
    row = next(row for row in rows if row.offset <= first < row.end)
    return first - (first - row.offset) % row.type.size


def _believed(stage: _Stage) -> dict[int, int]:
    copied: dict[int, int] = {}
    believed: dict[int, int] = {}
    for number, data in stage.seen.items():
        sight = stage.sights[number]
        loaded = dict(zip(sight.offsets, data, strict=True))
        believed |= {offset: loaded[offset] for offset in sight.believed}
        if not sight.decides:
            copied |= loaded
    return dict(sorted((copied | believed).items()))


def joined(events: list[Event]) -> Iterator[Event]:
    """Yield the events, with adjacent bytes of the same step or load joined."""
    last: Event | None = None
    for event in events:
        if (
            last
            and (last.step, last.name) == (event.step, event.name)
            and last.offset + len(last.data) == event.offset
        ):
            last = last._replace(data=last.data + event.data)
            continue
        if last:
            yield last
        last = event
    if last:
        yield last
