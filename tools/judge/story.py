"""How an update broke its rules: the first breach, its source lines, and what the update did.

Rules that break in one update are told together, in the order of its steps: what follows from a
breach is below it, and has no trace of its own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os.path import basename
from typing import TYPE_CHECKING, NamedTuple

from runstate_abi.layouts.model import CodeLine
from runstate_abi.tools.judge.tallies import simplicity, violations
from runstate_abi.tools.output import aligned
from runstate_abi.writer.rules import Violation
from runstate_abi.writer.steps import Copy, Store, line

if TYPE_CHECKING:
    from runstate_abi.tools.judge.verdict import Verdict
    from runstate_abi.writer.witnesses.journal import Run

RESULTS = ("complete", "final")  # what they find in the struct follows from other breaches
LINES_MOST = 40  # lines of a story, but for a breach of very many rules
BYTES_SHOWN = 8  # of stores that are one row


class Story(NamedTuple):
    """One update and the rules that it breaks, the first breach first."""

    run: "Run"
    breaches: tuple[Violation, ...]


@dataclass(slots=True)
class Row:
    """A step, or stores of one source line to bytes that follow each other."""

    text: str
    place: str  # the instruction
    code: str  # file:line
    mark: str = " "
    rules: str = ""  # that break here


def stories(seen: "Verdict") -> list[Story]:
    """Return a story for each distinct cause: as few as tell of each broken rule."""
    runs = {run.request: run for run in seen.shown.values()}
    found = {request: _breaches(run, seen) for request, run in runs.items()}
    untold = set(seen.shown)
    chosen: list[Story] = []
    while untold:
        request = max(
            sorted(runs, key=simplicity),
            key=lambda one: len(untold.intersection(v.rule for v in found[one])),
        )
        new = tuple(one for one in found[request] if one.rule in untold)
        chosen.append(Story(runs[request], new))
        untold.difference_update(one.rule for one in new)
    return sorted(chosen, key=lambda story: simplicity(story.run.request))


def each(seen: "Verdict") -> list[Story]:
    """Return a story for each broken rule."""
    return [
        Story(run, tuple(one for one in _breaches(run, seen) if one.rule == rule))
        for rule, run in seen.shown.items()
    ]


def _breaches(run: "Run", seen: "Verdict") -> tuple[Violation, ...]:
    found = violations(run, run.book(), seen.judged.profile)
    return tuple(sorted(found, key=lambda one: (one.rule in RESULTS, one.at)))


def told(story: Story, seen: "Verdict", whole: bool = False) -> Iterator[str]:
    """Yield a story as text, at most LINES_MOST lines of it unless ``whole``."""
    first, *others = story.breaches
    head = [f"{first.rule}: {story.run.request}: {first.why}"]
    for number, at in enumerate(seen.code_of(story.run, first)):
        head.append(f"  {'from' if number else 'at'} {at} in {at.function}")
    head += [f"  then {one.rule}: {one.why}" for one in others]
    rows = list(_rows(story, seen, whole))
    if not whole:
        rows = _cut(rows, LINES_MOST - len(head))
    yield from head
    yield from aligned(
        [[f"  {row.mark} {row.text}", row.place, row.code, row.rules] for row in rows]
    )


def _rows(story: Story, seen: "Verdict", whole: bool) -> Iterator[Row]:
    run, steps = story.run, story.run.steps()
    marks = {one.at for one in story.breaches if not one.aside}
    group: list[int] = []
    codes = [_code(seen, chain) for chain in run.chains]
    asides = [one for one in story.breaches if one.aside]
    codes[-1:] = [_name(seen.lines.of(chain, at_return=True)) for chain in run.chains[-1:]]

    def ended() -> Iterator[Row]:
        if group:
            at = group[0]
            rules = _rules(story, at)
            text = line(steps[at]) if len(group) == 1 else _together([steps[n] for n in group])
            yield Row(text, run.places[at], codes[at], ">" if at in marks else " ", rules)
            group.clear()

    for at in range(len(steps)):
        before = group[-1] if group else at
        joins = not whole and group and marks.isdisjoint((before, at)) and _follows(steps, at)
        if not joins or codes[before] != codes[at]:
            yield from ended()
        for one in asides:
            if one.at == at:
                yield from ended()
                place = seen.judged.file.place(run.aside(at)[0])
                yield Row(one.why, place, _name(seen.code_of(run, one)), ">", one.rule)
        group.append(at)
    yield from ended()
    if len(steps) in marks:
        rules = _rules(story, len(steps))
        after = f"after {run.places[-1]}" if run.places else ""
        yield Row("never returned" if run.ended else "return", after, codes[-1], ">", rules)


# The rules that a step breaks.
def _rules(story: Story, at: int) -> str:
    return ", ".join(one.rule for one in story.breaches if one.at == at and not one.aside)


def _code(seen: "Verdict", chain: tuple[int, ...]) -> str:
    return _name(seen.lines.of(chain))


# The folders are in the lines above.
def _name(lines: Sequence[CodeLine]) -> str:
    return "".join(basename(str(at)) for at in lines[:1])


# Does the store ``at`` begin where the one before it ended?
def _follows(steps: Sequence[object], at: int) -> bool:
    before, step = steps[at - 1], steps[at]
    return (
        isinstance(before, Store | Copy)
        and isinstance(step, type(before))
        and (step.page, step.offset) == (before.page, before.offset + len(before.data))
    )


def _together(steps: Sequence[object]) -> str:
    stores = [step for step in steps if isinstance(step, Store | Copy)]
    data = b"".join(step.data for step in stores)
    shown = data[:BYTES_SHOWN].hex() + "..." * (len(data) > BYTES_SHOWN)
    first = stores[0]
    return f"store p{first.page}{first.offset:+d} {len(data)} {shown} ({len(stores)} stores)"


# The rows next to marks and to both ends, as many as there is room for.
def _cut(rows: list[Row], room: int) -> list[Row]:
    marked = [0, len(rows) - 1, *(number for number, row in enumerate(rows) if row.mark == ">")]
    for near in range(len(rows), -1, -1):
        kept: list[Row] = []
        left_out = 0
        for number, row in enumerate(rows):
            if any(abs(number - one) <= near for one in marked):
                kept += [Row(f"... {left_out} more", "", "")] * bool(left_out)
                kept.append(row)
                left_out = 0
            else:
                left_out += 1
        if len(kept) <= room or not near:
            return kept
    return rows
