"""A page with the player for one answer of the race checker, or for one update: for a review."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from runstate_abi.layouts.abi import CACHE_LINE, PAGE_SIZE
from runstate_abi.tools.player import data
from runstate_abi.tools.rendering import html
from runstate_abi.tools.rendering.blocks import Code, Player
from runstate_abi.writer import race
from runstate_abi.writer.guest import Reader
from runstate_abi.writer.race import Question
from runstate_abi.writer.racing.ordering import MODEL, Model
from runstate_abi.writer.racing.projection import Answer
from runstate_abi.writer.racing.scene import Case

WINDOW = 2 * CACHE_LINE  # bytes at the end of a page that are drawn
CAPTION = (
    "Step through it. Grey is old, green new, red the byte that shows an update in flight; = is "
    "the same in all versions; what is underlined is in the second page."
)
NAMES = {2: ("old", "new"), 3: ("old", "first", "second"), 4: ("old", "first", "second", "third")}


def of_answer(question: Question, answer: Answer, title: str, said: Iterable[str]) -> Iterator[str]:
    """Yield a page about one answer; ``said`` is the answer as the terminal has it."""
    case, reader = race.met(question)
    names = question.writer.name, question.reader.name
    made = _one(case, names[0], {names[1]: reader}, question.model)
    made["said"] = f", on {question.model.name}"
    made["rows"] = [[-1 if answer.found is None else 0]]
    made["verdicts"] = {f"{_key(case, names[0])}/{names[1]}/{question.model.name}": 0}
    if answer.found is not None:
        *executions, events = data.numbered([data.execution_of(race.race(question, answer))])
        made |= {"executions": executions, **events}
    return _page(title, made, said)


def of_update(
    case: Case,
    writer: str,
    readers: Mapping[str, Reader],
    structs: Iterable[bytes],
    said: Iterable[str],
) -> Iterator[str]:
    """Yield a page about one update; ``structs``: the struct before it, and after each step."""
    made = _one(case, writer, readers, MODEL["x86-tso"])
    made["hex"] = [struct.hex() for struct in structs]
    return _page(f"One update by {writer}, step by step", made, said)


# What the player is given if there is one writer at one place. Nothing can be chosen then but a
# reader.
def _one(case: Case, writer: str, readers: Mapping[str, Reader], model: Model) -> dict[str, Any]:
    name = _name(case)
    return {
        "page": PAGE_SIZE,
        "window": WINDOW,
        "first": case.offset,
        "last": case.offset,
        "layouts": {name: data.layout_of(case.layout)},
        "before": {name: data.before_of(case)},
        "versions": NAMES[len(case.images)],
        "writers": {writer: {"always": True}},
        "readers": {
            one: {name: data.reader_of(reader, model, case.layout)}
            for one, reader in readers.items()
        },
        "machines": [model.name],
        "flags": 0,
        "plans": [data.plan_of(case)],
        "plans_at": {_key(case, writer): [0]},
        "executions": [],
        "start": {
            "writer": writer, "flag": 1, "layout": name, "reader": next(iter(readers)),
            "machine": model.name, "at": case.offset,
        },
    }  # fmt: skip


def _name(case: Case) -> str:
    return f"{case.layout.name}, {case.layout.size} bytes"


def _key(case: Case, writer: str) -> str:
    return f"{writer}/1/{_name(case)}"


def _page(title: str, made: dict[str, Any], said: Iterable[str]) -> Iterator[str]:
    made["start"]["mode"] = "race" if made["executions"] else "update"
    start = made["start"]
    summary = f"{start['layout']}, at page offset {start['at']:#x}{made.pop('said', '')}"
    return html.page(
        title, summary, (Player(CAPTION, made), Code("text", tuple(line.rstrip() for line in said)))
    )
