"""What the player is given: layouts, updates, readers and executions as JSON values.

A byte is a mark, one digit in base 32: a bit for each version of the struct that has this byte
there, 1 for the old one, and 16 if the guard's bit is set besides. So a struct is a mixture if the
marks of the bytes that a reader uses have no bit in common.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.layouts.model import Layout
from runstate_abi.tools.output import style_of
from runstate_abi.writer.guard import guard_of
from runstate_abi.writer.guest import Reader
from runstate_abi.writer.race import Race
from runstate_abi.writer.racing.ordering import Model
from runstate_abi.writer.racing.scene import Case, looked_at
from runstate_abi.writer.steps import Barrier, Copy, Write

DIGITS = "0123456789abcdefghijklmnopqrstuv"
UP = 16

# By a reader's check: what the guard is while no update is in flight, and while one is; what a
# reader then sees; the mark in its byte, and what the byte is called.
WORDS = {
    "bit-check": ("flag down", "flag up", "the flag", "UPD", "the update byte"),
    "odd-check": ("even", "odd", "an odd version", "odd", ""),
    "zero-check": ("not 0", "0", "a 0", "0", ""),
    "": ("", "", "", "", ""),
}

SHOWN_MOST = 64  # bytes of padding that are drawn: a page may have 4000

Values = dict[str, Any]


def layout_of(layout: Layout) -> Values:
    """Return a layout: its size, its elements as [name, offset, size, kind], the guard's byte."""
    elements = [
        ["padding" if one.row.padding else one.name, one.offset, one.size, style_of(one)]
        for one in layout.elements()
        if not one.row.padding or one.size <= SHOWN_MOST
    ]
    guard = guard_of(layout)
    words = dict(zip(("down", "up", "seen", "mark", "byte"), WORDS[guard.check], strict=True))
    return {"size": layout.size, "elements": elements, "flag": guard.place(layout), **words}


def marks(case: Case, offset: int, data: Iterable[int]) -> str:
    """Return the marks of bytes from ``offset`` of the struct on; "0" outside of it."""
    guard, place = guard_of(case.layout), guard_of(case.layout).place(case.layout)
    found = []
    for at, byte in enumerate(data, offset):
        images = [image[at] for image in case.images] if 0 <= at < case.layout.size else []
        mark = _versions(images, byte)
        if at == place and guard.is_up(byte):
            mark = UP + (mark or _versions([guard.raised(one) for one in images], byte))
        found.append(DIGITS[mark])
    return "".join(found)


def _versions(images: Sequence[int], byte: int) -> int:
    return sum(1 << number for number, one in enumerate(images) if one == byte)


def plan_of(case: Case) -> list[Any]:
    """Return the stores and barriers of a case: [page, offset, marks, is it a memcpy()], or 0."""
    return [
        [step.page, offset_of(case, step), marks(case, offset_of(case, step), step.data),
         int(isinstance(step, Copy))]
        if isinstance(step, Write)
        else 0
        for step in case.steps
        if isinstance(step, Write | Barrier)
    ]  # fmt: skip


def offset_of(case: Case, step: Write) -> int:
    """Return where in the struct a store begins."""
    return (step.page - 1) * PAGE_SIZE + step.offset - case.offset


def before_of(case: Case) -> str:
    """Return the marks of the struct before the update."""
    return marks(case, 0, case.images[0])


def reader_of(reader: Reader, model: Model, layout: Layout) -> Values:
    """Return what a reader does that looks at all of the struct at one moment.

    ``uses``: the offsets of what it then takes; ``refuses``: it does not accept while the guard's
    bit is set, because it looks, or because it compares the byte with one that it has cleared.
    """
    sights = looked_at(reader, model, layout, 0).sights
    place = guard_of(layout).place(layout)
    masked = {sight.masked for sight in sights if place in sight.compared}
    refuses = any(sight.flag for sight in sights) or len(masked) > 1
    uses = sorted({offset for sight in sights for offset in sight.believed})
    return {"refuses": int(refuses), "uses": uses}


def execution_of(race: Race) -> Values:
    """Return an execution: memory before it, its events, and what the reader accepted.

    An event is [bytes, offset, marks]: the size of the store that it is a piece of, or 0 if it is a
    load. A byte of the struct that was not loaded is " ".
    """
    sizes = [len(step.data) if isinstance(step, Write) else 0 for step in race.case.steps]
    events = [
        [sizes[event.step] if event.step >= 0 else 0, event.offset,
         marks(race.case, event.offset, event.data)]
        for event in race.events
    ]  # fmt: skip
    taken = [
        marks(race.case, offset, [race.accepted[offset]]) if offset in race.accepted else " "
        for offset in range(race.case.layout.size)
    ]
    return {"before": before_of(race.case), "events": events, "accepted": "".join(taken)}


class Table:
    """Values that are said once, and named by their number afterwards."""

    __slots__ = ("_numbers", "rows")

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self._numbers: dict[str, int] = {}

    def number(self, row: Any) -> int:
        """Return the number of a row, which is added if it is new."""
        key = repr(row)
        if key not in self._numbers:
            self._numbers[key] = len(self.rows)
            self.rows.append(row)
        return self._numbers[key]


def numbered(executions: Iterable[Values]) -> Iterator[Values]:
    """Yield executions whose events are numbers; the last value has the ``events`` themselves."""
    events = Table()
    for one in executions:
        yield {**one, "events": [events.number(event) for event in one["events"]]}
    yield {"events": events.rows}
