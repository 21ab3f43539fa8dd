"""What ``runstate race`` prints of one answer: a proof or an execution in words, or JSON."""

from collections.abc import Iterator
from textwrap import wrap

from runstate_abi.layouts.abi import CACHE_LINE
from runstate_abi.tools.output import Ink, Line, plain
from runstate_abi.tools.race import explanation, timeline
from runstate_abi.tools.race.rows import Row, not_shown
from runstate_abi.writer.guest import Reader, drop
from runstate_abi.writer.race import TORN, Question, Race, race
from runstate_abi.writer.racing.drops import READER_DROPS
from runstate_abi.writer.racing.ordering import is_whole
from runstate_abi.writer.racing.patterns import ENTRY_TIMES, EQUAL
from runstate_abi.writer.vcpu import ENTRY_TIME_SIZE, place_of

SCHEMA = "runstate-race/1"
WIDTH, BULLET = 100, "  - "


def answer(row: Row) -> Iterator[Line]:
    """Yield the answer to one question: a proof with its assumptions, or the execution."""
    yield from _torn(row) if row.verdict == TORN else _safe(row)


def _safe(row: Row) -> Iterator[Line]:
    claim = f"{row.question.reader.name} never accepts from {row.writer} what was never true"
    yield Ink("safe: ", "normal"), Ink(claim, "strong")
    yield (Ink(f"proved: {row.answer.states} states in {row.answer.searches} searches, no race"),)
    yield from _assuming(row)


def _torn(row: Row) -> Iterator[Line]:
    question = row.question
    reader, found = question.reader, race(question, row.answer)
    claim = f"{reader.name} accepts from {row.writer} what was never true"
    yield Ink("torn: ", "wrong"), Ink(claim, "strong")
    for text in explanation.explained(found, _reader(question)):
        yield from plain(wrap(text, WIDTH))
    yield from _assuming(row)
    yield (Ink(""),)
    yield from timeline.timeline(found, row.writer, reader.name)
    yield (Ink(""),)
    believed = ", ".join(reader.uses)
    yield (Ink(f"accepted, and no image ever had it ({believed} are believed):"),)
    yield from timeline.accepted(found, reader)
    yield (Ink(_needs(found)),)


# The reader without the steps that are left away.
def _reader(question: Question) -> Reader:
    reader = question.reader
    for name in question.dropped:
        reader = drop(reader, name) if name in READER_DROPS else reader
    return reader


def _needs(found: Race) -> str:
    if found.words:
        return "Whole words are enough for this: what tears, tears where it is not one access."
    return "This needs stores or loads that tear into bytes; words alone do not show it."


def _assuming(row: Row) -> Iterator[Line]:
    for text in (*assumptions(row.question), *not_shown([row])):
        first, *rest = wrap(text, WIDTH - len(BULLET))
        yield (Ink(BULLET, "dim"), Ink(first))
        yield from ((Ink(" " * len(BULLET)), Ink(line)) for line in rest)


def assumptions(question: Question) -> Iterator[str]:
    """Yield in words what an answer rests on."""
    area, model = question.area, question.model
    line = area.address % CACHE_LINE
    where = f"offset {line} of a cache line, {area.offset:#x} of a page"
    yield f"{area.abi} at {area.address:#x}: {where}"
    yield f"{model.name}: {model.summary}"
    yield _atomicity(question)
    times = ENTRY_TIMES[question.entry_times]
    ways = "" if question.entry_times == EQUAL else ", whichever of its bytes stay as they are"
    yield f"updates in a row: {question.updates}; {times}{ways}"
    if question.dropped:
        yield f"without: {', '.join(question.dropped)}"


def _atomicity(question: Question) -> str:
    model, area = question.model, question.area
    start = area.address + area.shape.entry_time
    whole = is_whole(start, ENTRY_TIME_SIZE, model)
    rule = f"within an aligned {model.grain} bytes" if model.grain else "aligned to its own size"
    crosses = "one" if whole else "not one"
    text = f"an access is whole {rule}: all of state_entry_time is {crosses} here"
    assumed = any(load.whole and load.read for load in question.reader.loads)
    if model.recorded:
        text = f"a recorded store is one access, and {text}"
    if assumed and not whole:
        text += f"; {question.reader.name}'s loads of it are taken as whole all the same"
    return text


def as_json(row: Row) -> dict[str, object]:
    """Return a row as JSON values; ``trace`` is the execution, empty where there is none."""
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
