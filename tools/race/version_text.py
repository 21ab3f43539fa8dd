"""The answers of ``runstate race --family``: one in words, several as tables, or rows of JSON."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from textwrap import wrap
from typing import NamedTuple

from runstate_abi.tools.output import Ink, Line, aligned, plain
from runstate_abi.tools.race import text
from runstate_abi.tools.race.rows import Row
from runstate_abi.writer.race import TORN, race
from runstate_abi.writer.versions.meanings import meaning
from runstate_abi.writer.versions.parties import Meeting

SCHEMA = "runstate-race-family/1"
NOT_REACHED = f"({TORN})"


class Answered(NamedTuple):
    """One meeting and its answer."""

    meeting: Meeting
    row: Row

    @property
    def verdict(self) -> str:
        return self.row.verdict

    @property
    def cell(self) -> str:
        """The verdict in a table: in parentheses if the execution cannot happen."""
        return NOT_REACHED if self.verdict == TORN and self.meeting.unreachable else self.verdict


def as_json(one: Answered, family: str) -> dict[str, object]:
    """Return an answer as JSON values; ``trace`` is the execution, empty if there is none."""
    value = text.as_json(one.row)
    del value["abi"], value["hidden"]
    reach = one.meeting.unreachable
    return {
        "schema": SCHEMA,
        "family": family,
        "struct": one.meeting.writer.layout.name,
        **value,
        "machines": list(one.meeting.machines),
        "reachable": not reach,
        "unreachable_because": reach,
        "means": _means(one) if one.verdict == TORN else "",
        "writer_source": one.meeting.writer.source,
        "reader_source": one.meeting.reader.reader.source,
    }


# What the torn read means in time, by the members that are of different updates.
def _means(one: Answered) -> str:
    found = one.row.answer.found
    assert found is not None
    layout = one.row.question.area.shape.layout
    return meaning({r.name for r in layout.rows for at in found.witness if r.offset <= at < r.end})


def lines(answered: Sequence[Answered], left_out: Mapping[str, int]) -> Iterator[Line]:
    """Yield one answer in words; of several a table for each struct and model, and what is torn."""
    if len(answered) == 1 and not left_out:
        yield from text.answer(answered[0].row)
        yield from _notes(answered[0])
        return
    tables: dict[str, list[Answered]] = {}
    for one in answered:
        tables.setdefault(f"{_struct(one)}, {one.meeting.model.name}", []).append(one)
    for title, rows in tables.items():
        yield Ink(f"{title}: ", "strong"), Ink(rows[0].meeting.model.summary)
        yield from plain(aligned(_grid(rows)))
        yield (Ink(""),)
    if any(one.cell == NOT_REACHED for one in answered):
        yield (Ink(f"{NOT_REACHED}: by the order of accesses, but these two never meet so", "dim"),)
    yield from _torn(answered)
    codes = dict.fromkeys(one.row.question.reader for one in answered if _is_code(one))
    yield from plain(f"{reader.name}: {reader.summary}" for reader in codes)
    yield from plain(text.not_asked(left_out))
    torn = sum(one.verdict == TORN for one in answered)
    yield (Ink(f"{len(answered)} questions: {len(answered) - torn} safe, {torn} torn"),)


def _struct(one: Answered) -> str:
    layout = one.meeting.writer.layout
    upper = " with sec_hi" if any(row.name == "sec_hi" for row in layout.rows) else ""
    return f"struct {layout.name}{upper}"


# Readers down and writers across: there are more readers.
def _grid(rows: Sequence[Answered]) -> list[list[str]]:
    cells = {(one.meeting.reader.name, one.meeting.writer.name): one.cell for one in rows}
    writers = dict.fromkeys(one.meeting.writer.name for one in rows)
    readers = dict.fromkeys(one.meeting.reader.name for one in rows)
    body = [[f"  {reader}", *(cells.get((reader, w), "-") for w in writers)] for reader in readers]
    return [["", *writers], *body]


# The first execution of each reader that is torn, in words.
def _torn(answered: Iterable[Answered]) -> Iterator[Line]:
    seen = set[str]()
    for one in answered:
        name = one.meeting.reader.name
        if one.verdict == TORN and name not in seen and not one.meeting.unreachable:
            seen.add(name)
            yield from text.told(one.row, race(one.row.question, one.row.answer))
            options = f"--variant {one.meeting.writer.name}"
            if not _is_code(one):
                options += f" --reader {name} --model {one.meeting.model.name}"
            words = f"all of the execution: {options}"
            yield from chain(_notes(one), plain((f"{text.BULLET}{words}", "")))


def _is_code(one: Answered) -> bool:
    return any(load.measured for load in one.row.question.reader.loads)


def _notes(one: Answered) -> Iterator[Line]:
    reader = one.row.question.reader
    notes = [f"writer: {one.meeting.writer.source}", f"reader: {reader.source}"]
    notes += [reader.summary] * _is_code(one)
    if one.verdict == TORN:
        notes.insert(0, f"in time: {_means(one)}")
        notes += [f"it cannot happen: {one.meeting.unreachable}"] * bool(one.meeting.unreachable)
    for note in notes:
        first, *rest = wrap(note, text.WIDTH - len(text.BULLET))
        yield Ink(text.BULLET, "dim"), Ink(first)
        yield from plain(" " * len(text.BULLET) + line for line in rest)
