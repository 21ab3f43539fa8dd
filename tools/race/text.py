"""The answers of ``runstate race``: one in words or JSON, several as a table."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, groupby, islice
from textwrap import wrap

from runstate_abi.layouts.abi import CACHE_LINE
from runstate_abi.tools.output import Ink, Line, aligned, counted, plain
from runstate_abi.tools.race import explanation
from runstate_abi.tools.race.rows import KINDS, Row, not_shown, seen_to_store
from runstate_abi.writer.guest import READERS, Load, ReadBarrier, Reader, drop
from runstate_abi.writer.race import SAFE, TORN, Question, Race, ask, race
from runstate_abi.writer.racing.drops import READER_DROPS, VERSION_READER_DROPS
from runstate_abi.writer.racing.ordering import is_whole
from runstate_abi.writer.racing.patterns import A_B_A, ENTRY_TIMES, EQUAL, INCREASING
from runstate_abi.writer.vcpu import place_of
from runstate_abi.writer.versions.place import Place

SCHEMA = "runstate-race/1"
# What a version may do from one update to the next.
VERSIONS = {
    INCREASING: "each update adds to the version",
    A_B_A: "a version comes back after two updates: a host that begins again, or 2^31 updates",
}
WIDTH, BULLET = 100, "  - "
GAPS_MAX = 16  # between loads, where two barriers are tried


def answer(row: Row) -> Iterator[Line]:
    if row.verdict == TORN:
        yield from _torn(row)
        return
    claim = f"{row.question.reader.name} never accepts from {row.writer} what was never true"
    yield Ink("safe: ", "normal"), Ink(claim, "strong")
    yield (Ink(f"proved: {row.answer.states} states in {row.answer.searches} searches, no race"),)
    yield from _assuming(row)


def _torn(row: Row) -> Iterator[Line]:
    reader, found = row.question.reader, race(row.question, row.answer)
    yield from told(row, found)
    yield from _assuming(row)
    yield (Ink(""),)
    yield from explanation.timeline(found, row.writer, reader.name)
    yield (Ink(""),)
    believed = ", ".join(reader.uses)
    verb = "is" if len(reader.uses) == 1 else "are"
    yield (Ink(f"accepted, and no image ever had it ({believed} {verb} believed):"),)
    yield from explanation.accepted(found, reader)
    tears = "This needs stores or loads that tear into bytes; words alone do not show it."
    words = "Whole words are enough for this: what tears, tears where it is not one access."
    yield (Ink(words if found.words else tears),)


def told(row: Row, found: Race) -> Iterator[Line]:
    """Yield what was accepted, and why, in the first sentences of a torn answer."""
    reader = row.question.reader
    claim = f"{reader.name} accepts from {row.writer} what was never true"
    yield Ink("torn: ", "wrong"), Ink(claim, "strong")
    followed = reader  # without the dropped steps
    for name in row.question.dropped:
        of_reader = name in READER_DROPS or name in VERSION_READER_DROPS
        followed = drop(followed, name) if of_reader else followed
    for text in (*explanation.explained(found, followed), *_mended(row.question)):
        yield from plain(wrap(text, WIDTH))


# Which read barriers would make machine code safe, if one or two would.
def _mended(question: Question) -> Iterator[str]:
    reader, program = question.reader, question.reader.program
    if not question.model.barriers or not any(load.measured for load in reader.loads):
        return
    gaps = [n for n in range(1, len(program)) if isinstance(program[n], Load)]
    gaps = [n for n in gaps if isinstance(program[n - 1], Load)]
    for where in (*combinations(gaps, 1), *combinations(gaps[:GAPS_MAX], 2)):
        ops = [*program]
        for place in reversed(where):
            ops.insert(place, ReadBarrier("mended"))
        if ask(question._replace(reader=replace(reader, program=tuple(ops)))).found is None:
            names = [f"{program[n - 1].name} and {program[n].name}" for n in where]  # type: ignore[union-attr]
            yield f"With a read barrier between {', and one between '.join(names)}, it is safe."
            return


def first_torn(rows: Sequence[Row]) -> Iterator[Line]:
    """Yield how the first torn answer came about, if the reader is machine code."""
    code = (row for row in rows if any(load.measured for load in row.question.reader.loads))
    for row in islice((row for row in code if row.verdict == TORN), 1):
        yield (Ink(""),)
        yield from told(row, race(row.question, row.answer))
        area, writer = row.question.area, row.question.writer.name
        words = f"all of the execution: --variant {writer} --at {area.address:#x}"
        yield (Ink(f"{BULLET}{area.abi} at {area.address:#x}; {words}"),)


def _assuming(row: Row) -> Iterator[Line]:
    for text in (*assumptions(row.question), *seen_to_store([row]), *not_shown([row])):
        first, *rest = wrap(text, WIDTH - len(BULLET))
        yield (Ink(BULLET, "dim"), Ink(first))
        yield from ((Ink(" " * len(BULLET)), Ink(line)) for line in rest)


def assumptions(question: Question) -> Iterator[str]:
    """Yield in words what an answer assumes."""
    area, model = question.area, question.model
    line = area.address % CACHE_LINE
    where = f"offset {line} of a cache line, {area.offset:#x} of a page"
    yield f"{area.abi} at {area.address:#x}: {where}"
    yield f"{model.name}: {model.summary}"
    yield _atomicity(question)
    yield f"updates in a row: {question.updates}; {_changes(question)}"
    if question.dropped:
        yield f"without: {', '.join(question.dropped)}"


# What the guard's word does from update to update.
def _changes(question: Question) -> str:
    if isinstance(question.area, Place):
        return VERSIONS[question.entry_times]
    times = ENTRY_TIMES[question.entry_times]
    return times if question.entry_times == EQUAL else f"{times}, {_WHICHEVER}"


_WHICHEVER = "whichever of its bytes stay as they are"


def _atomicity(question: Question) -> str:
    model, area = question.model, question.area
    word = area.shape.guard.word(area.shape.layout)
    name = area.shape.guard.name(area.shape.layout)
    whole = not word or is_whole(area.address + word[0], len(word), model)
    rule = f"within an aligned {model.grain} bytes" if model.grain else "aligned to its own size"
    crosses = "one" if whole else "not one"
    text = f"an access is whole {rule}"
    text += f": all of {name} is {crosses} here" if word else ""
    assumed = any(load.whole and load.read for load in question.reader.loads)
    if model.recorded:
        text = f"a recorded store is one access, and {text}"
    if assumed and not whole:
        text += f"; {question.reader.name}'s loads of it are taken as whole all the same"
    return text


def as_json(row: Row) -> dict[str, object]:
    """Return a row as JSON values; ``trace`` is the execution, empty if there is none."""
    question = row.question
    return {
        "variant": question.writer.name,
        "reader": question.reader.name,
        "model": question.model.name,
        "abi": question.area.abi,
        "at": question.area.address,
        "updates": question.updates,
        "dropped": list(question.dropped),
        "hidden": list(row.hidden),
        "verdict": row.verdict,
        "states": row.answer.states,
        "trace": _trace(race(question, row.answer)) if row.verdict == TORN else [],
    }


def _trace(found: Race) -> list[dict[str, object]]:
    rows = [("before", "all", 0, found.case.images[0])]
    for event in found.events:
        place = place_of(found.case.layout, event.offset, len(event.data))
        by = "host" if event.step >= 0 else "guest"
        rows.append((by, event.name or place, event.offset, event.data))
    rows.append(("guest", "accepted", min(found.accepted), bytes(found.accepted.values())))
    return [
        {"by": by, "what": what, "offset": offset, "bytes": data.hex()}
        for by, what, offset, data in rows
    ]


def as_python(reader: Reader) -> Iterator[str]:
    """Yield a reader as the Python expression that makes it."""
    yield f"Reader({reader.name!r}, ("
    for op in reader.program:
        yield f"    {op!r},"
    rest = (reader.summary, reader.source)
    uses = f"bit_check={reader.bit_check}, uses={reader.uses}"
    yield f"), {', '.join(map(repr, rest))}, {uses})"


def listed(title: str, rows: Mapping[str, str]) -> list[str]:
    """Return a title and a line for each name, as --help has them."""
    width = max(map(len, rows))
    return [title, *(f"  {name:<{width}}  {words}" for name, words in rows.items())]


HEADER = ["writer", "reader", "model", "abi", "at", "placement", "verdict", ""]
MIXED, NOT_ASKED = "mixed", "-"
# fmt: off
LEGEND = {
    MIXED:     "torn at some of the placements, safe at the others; --rows has them all",
    NOT_ASKED: "not asked: it has no such step, or takes no such area",
}
# fmt: on


def is_tabular(rows: Sequence[Row]) -> bool:
    """Are there at least two pairs of a writer and a reader?"""
    return len({(row.writer, row.question.reader.name) for row in rows}) > 1


def summary(rows: Sequence[Row], left_out: Mapping[str, int]) -> Iterator[Line]:
    used: set[str] = set()
    for model in dict.fromkeys(row.question.model for row in rows):
        cells = _grid([row for row in rows if row.question.model == model])
        used |= {mark for mark in LEGEND for line in cells[2:] for cell in line[1:] if mark in cell}
        dropped = rows[0].steps_dropped
        without = f"; without {', '.join(dropped)}" if dropped else ""
        yield (Ink(f"{model.name}: {model.summary}{without}", "strong"),)
        yield from plain(aligned(cells))
        yield (Ink(""),)
    yield from ((Ink(f"{mark}: {LEGEND[mark]}", "dim"),) for mark in LEGEND if mark in used)
    yield from _closing(rows, left_out)


# Writers down, in the order of their history; readers across, their names on two lines.
def _grid(rows: Sequence[Row]) -> list[list[str]]:
    asked: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        asked.setdefault((row.writer, row.question.reader.name), []).append(row)
    writers = dict.fromkeys(writer for writer, _ in asked)
    order = [one.name for one in READERS]
    readers = sorted({name for _, name in asked}, key=lambda name: (*order, name).index(name))
    names = [name.partition("-") for name in readers]
    heads = [["", *(first for first, _, _ in names)], ["", *(last for _, _, last in names)]]
    cells = []
    for writer in writers:
        found = [{row.verdict for row in asked.get((writer, name), ())} for name in readers]
        cells.append([writer, *(MIXED if len(x) > 1 else next(iter(x), NOT_ASKED) for x in found)])
    return [*heads, *cells]


def in_full(rows: Sequence[Row], left_out: Mapping[str, int]) -> Iterator[Line]:
    """Yield a line per row; the splits of a page with the same verdict share one."""
    cells = [HEADER]

    def same(row: Row) -> tuple[object, ...]:
        place = "" if row.kind == "page" else row.question.area.address
        return *_order(row)[:-1], place, row.verdict

    for _, group in groupby(sorted(rows, key=_order), key=same):
        cells.append(_cells(list(group)))
    yield from plain(aligned(cells))
    yield (Ink(""),)
    yield from _closing(rows, left_out)


def _order(row: Row) -> tuple[object, ...]:
    question = row.question
    return (row.writer, question.dropped, question.reader.name, question.model.name,
            question.area.abi, list(KINDS).index(row.kind) if row.kind else 0,
            question.area.address)  # fmt: skip


def _cells(rows: list[Row]) -> list[str]:
    first, last = rows[0].question, rows[-1].question
    at = f"{first.area.address:#x}"
    if len(rows) > 1:
        at += f"..{last.area.address:#x}"
    count = f" ({len(rows)} splits)" if len(rows) > 1 else ""
    states = sorted({row.answer.states for row in rows})
    span = f"{states[0]}" if len(states) == 1 else f"{states[0]}..{states[-1]}"
    note = f"proved, {span} states" if rows[0].verdict == SAFE else ""
    dropped = "".join(f" -{name}" for name in rows[0].steps_dropped)
    return [rows[0].writer + dropped, first.reader.name, first.model.name, first.area.abi, at,
            rows[0].kind + count, rows[0].verdict, " " + note]  # fmt: skip


def not_asked(left_out: Mapping[str, int]) -> Iterator[str]:
    """Yield a line for each reason why questions could not be asked."""
    for why, count in left_out.items():
        yield f"not asked: {counted(count, 'question')}: {why}"


# What could not be asked or was not shown, and the number of each verdict.
def _closing(rows: Sequence[Row], left_out: Mapping[str, int]) -> Iterator[Line]:
    yield from plain((*not_asked(left_out), *seen_to_store(rows), *not_shown(rows)))
    torn = sum(row.verdict == TORN for row in rows)
    yield (Ink(f"{counted(len(rows), 'question')}: {len(rows) - torn} safe, {torn} torn"),)
