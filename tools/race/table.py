"""Many answers of ``runstate race``: a cell for each writer and reader, or a line for each row."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from runstate_abi.tools.output import Ink, Line, aligned, plain
from runstate_abi.tools.race.rows import KINDS, Row, not_shown
from runstate_abi.writer.guest import READERS
from runstate_abi.writer.race import SAFE, TORN
from runstate_abi.writer.racing.ordering import Model

HEADER = ["writer", "reader", "model", "abi", "at", "placement", "verdict", ""]
MIXED, NOT_ASKED = "mixed", "-"
# fmt: off
LEGEND = {
    MIXED:     "torn at some of the placements, safe at the others; --rows has them all",
    NOT_ASKED: "not asked: it has no such step, or takes no such area",
}
# fmt: on


def is_tabular(rows: Sequence[Row]) -> bool:
    """Are there two pairs of a writer and a reader, so that a summary has two cells?"""
    return len({(row.writer, row.question.reader.name) for row in rows}) > 1


def summary(rows: Sequence[Row], left_out: Mapping[str, int]) -> Iterator[Line]:
    """Yield a table for each model, and the count."""
    used: set[str] = set()
    for model in dict.fromkeys(row.question.model for row in rows):
        cells = _grid([row for row in rows if row.question.model == model])
        used |= {mark for mark in LEGEND for line in cells[2:] for cell in line[1:] if mark in cell}
        yield (Ink(_title(model, rows[0]), "strong"),)
        yield from plain(aligned(cells))
        yield (Ink(""),)
    yield from ((Ink(f"{mark}: {LEGEND[mark]}", "dim"),) for mark in LEGEND if mark in used)
    yield from _closing(rows, left_out)


def _title(model: Model, row: Row) -> str:
    without = f"; without {', '.join(row.steps_dropped)}" if row.steps_dropped else ""
    return f"{model.name}: {model.summary}{without}"


# Writers down, in the order of their history, and readers across, their names on two lines.
def _grid(rows: Sequence[Row]) -> list[list[str]]:
    asked: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        asked.setdefault((row.writer, row.question.reader.name), []).append(row)
    writers = dict.fromkeys(writer for writer, _ in asked)
    readers = [one.name for one in READERS if any(one.name == name for _, name in asked)]
    names = [name.partition("-") for name in readers]
    heads = [["", *(first for first, _, _ in names)], ["", *(last for _, _, last in names)]]
    cells = [[w, *(_cell(asked.get((w, name), [])) for name in readers)] for w in writers]
    return [*heads, *cells]


def _cell(rows: Sequence[Row]) -> str:
    verdicts = {row.verdict for row in rows}
    return MIXED if len(verdicts) > 1 else next(iter(verdicts), NOT_ASKED)


def in_full(rows: Sequence[Row], left_out: Mapping[str, int]) -> Iterator[Line]:
    """Yield a line a row; the splits of a page that have one verdict in a row share one."""
    cells = [HEADER]
    for _, group in groupby(sorted(rows, key=_order), key=_same):
        cells.append(_cells(list(group)))
    yield from plain(aligned(cells))
    yield (Ink(""),)
    yield from _closing(rows, left_out)


def _order(row: Row) -> tuple[object, ...]:
    question = row.question
    return (row.writer, question.dropped, question.reader.name, question.model.name,
            question.area.abi, list(KINDS).index(row.kind) if row.kind else 0,
            question.area.address)  # fmt: skip


def _same(row: Row) -> tuple[object, ...]:
    place = "" if row.kind == "page" else row.question.area.address
    return *_order(row)[:-1], place, row.verdict


def _cells(rows: list[Row]) -> list[str]:
    first, last = rows[0].question, rows[-1].question
    at = f"{first.area.address:#x}"
    if len(rows) > 1:
        at += f"..{last.area.address:#x}"
    count = f" ({len(rows)} splits)" if len(rows) > 1 else ""
    states = [row.answer.states for row in rows]
    note = f"proved, {_span(states)} states" if rows[0].verdict == SAFE else ""
    dropped = "".join(f" -{name}" for name in rows[0].steps_dropped)
    return [rows[0].writer + dropped, first.reader.name, first.model.name, first.area.abi, at,
            rows[0].kind + count, rows[0].verdict, " " + note]  # fmt: skip


def _span(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low}..{high}"


def not_asked(left_out: Mapping[str, int]) -> Iterator[str]:
    """Yield a line for each reason why questions could not be asked."""
    for why, count in left_out.items():
        yield f"not asked: {_count(count, 'question')}: {why}"


# What could not be asked or was not shown, and how many of each verdict there were.
def _closing(rows: Sequence[Row], left_out: Mapping[str, int]) -> Iterator[Line]:
    yield from plain((*not_asked(left_out), *not_shown(rows)))
    torn = sum(row.verdict == TORN for row in rows)
    yield (Ink(f"{_count(len(rows), 'question')}: {len(rows) - torn} safe, {torn} torn"),)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
