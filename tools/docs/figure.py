"""The interactive figure: the newest writers and Linux's readers at every place near a page's end.

No verdict, store or interleaving is written here: all come from the writers and the race checker.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

from runstate_abi.layouts.abi import CACHE_LINE, PAGE_SIZE
from runstate_abi.tools.docs import proven
from runstate_abi.tools.player import data as player
from runstate_abi.tools.rendering.blocks import Block, Player
from runstate_abi.writer import race
from runstate_abi.writer.guest import READER
from runstate_abi.writer.race import Question, Writer
from runstate_abi.writer.racing.ordering import MODEL, WORD, Model
from runstate_abi.writer.racing.projection import Answer
from runstate_abi.writer.racing.symbols import versions
from runstate_abi.writer.variants import VARIANT, Refused
from runstate_abi.writer.vcpu import SHAPES, Area

WRITERS = ("upstream", "linux-6.1", "xen-va", "xen-phys")
READERS = ("linux-64", "linux-32", "fenced-32")
MODELS = ("x86-tso", "weak")
WINDOW = 2 * CACHE_LINE  # bytes at the end of a page in which the area may begin
PLACES = range(PAGE_SIZE - WINDOW, PAGE_SIZE)
FRAME = PAGE_SIZE  # the guest frame of the first page: any but the first
SAFE, REFUSED = -1, -2  # else the number of an execution

CAPTION = (
    "The area over two pages. Move it, choose who writes and who reads, and step through one "
    "update. Any other offset is like the one here with the same place in a cache line. Grey is "
    "old, green new, red the update byte with the flag up; what is underlined is in the second "
    "page."
)
_LINE = PLACES[0] + CACHE_LINE - SHAPES["compat"].entry_time - 4  # state_entry_time is in two lines
_64 = {"layout": "native", "reader": "linux-64", "machine": "x86-tso", "at": PLACES[0]}
_32 = {"layout": "compat", "reader": "fenced-32", "machine": "x86-tso", "at": _LINE}
STORY = (
    (
        "1. No flag",
        "The hypervisor needs many stores for one update, and the guest may read between two of "
        "them. Without a flag it takes a mixture of old and new, and nothing tells it so.",
        {**_64, "writer": "upstream", "flag": 0, "mode": "race", "step": 99},
    ),
    (
        "2. A flag",
        "The highest bit of state_entry_time is the flag: an update is going on. It is set before "
        "anything else is written, and cleared after everything has been. A guest that sees it "
        "reads again.",
        {**_64, "writer": "upstream", "flag": 1, "mode": "update", "step": 1},
    ),
    (
        "3. The flag in a store of eight bytes",
        "Linux 6.1 set the flag by storing all of state_entry_time, 8 bytes. Here they are in two "
        "cache lines, so the machine makes that store in pieces: the guest sees new bytes of the "
        "time while the flag is still down.",
        {**_32, "writer": "linux-6.1", "flag": 1, "mode": "race", "step": 99},
    ),
    (
        "4. The flag in a store of one byte",
        "One byte is never in two pieces, wherever the area is: in two cache lines or in two "
        "pages. So today's Linux first stores the one byte that has the flag, and nothing else. "
        "The guest is the one of case 3.",
        {**_32, "writer": "upstream", "flag": 1, "mode": "update", "step": 1},
    ),
)  # fmt: skip


class Chosen(NamedTuple):
    """A writer and whether the guest asked for the flag; ``dropped`` says the same to race."""

    writer: Writer
    flag: int
    dropped: tuple[str, ...]


def pieces() -> dict[str, tuple[Block, ...]]:
    return {"player": (Player(CAPTION, proven.values("player", made)),)}


@cache
def made() -> player.Values:
    """Return all that the figure is given."""
    plans, rows, told = player.Table(), player.Table(), Told()
    plans_at: dict[str, list[int]] = {}
    verdicts: dict[str, int] = {}
    for one in _chosen():
        for abi in SHAPES:
            key = f"{one.writer.name}/{one.flag}/{abi}"
            plans_at[key] = [plans.number(plan(one, abi, at)) for at in PLACES]
            for model in (MODEL[name] for name in MODELS):
                found = _verdicts(one, abi, plans_at[key], model, told)
                for name, row in zip(READERS, zip(*found, strict=True), strict=True):
                    verdicts[f"{key}/{name}/{model.name}"] = rows.number(row)
    executions = list(player.numbered(told.executions.rows))
    return {
        **places(),
        "versions": ["old", "new"],
        "writers": {name: {"always": _writer(name).always_flagged} for name in WRITERS},
        "readers": {name: readers(name) for name in READERS},
        "machines": list(MODELS),
        "flags": 1,
        "plans": plans.rows,
        "plans_at": plans_at,
        "rows": rows.rows,
        "verdicts": verdicts,
        "executions": executions[:-1],
        **executions[-1],
        "start": STORY[0][2],
        "story": [{"title": title, "text": text, "set": set_} for title, text, set_ in STORY],
    }


def _writer(name: str) -> Writer:
    return race.of_variant(VARIANT[name])


def _chosen() -> Iterator[Chosen]:
    for name in WRITERS:
        writer = _writer(name)
        yield Chosen(writer, 1, ())
        if not writer.always_flagged:
            yield Chosen(writer, 0, ("flag",))


def plan(one: Chosen, abi: str, at: int) -> list[Any] | str:
    """Return the stores of one update, or why the writer refuses the area."""
    area = Area(abi, FRAME + at)
    try:
        return player.plan_of(race.case_of(one.writer, _flagged(area, one), versions(area, 1)))
    except Refused as refused:
        return str(refused).replace(f"{area.address:#x}", "the area")


def _flagged(area: Area, one: Chosen) -> Area:
    return replace(area, update_flag=bool(one.flag))


class Told:
    """The executions so far. Equal scenes have one answer, so one execution is told for each."""

    __slots__ = ("_numbers", "executions")

    def __init__(self) -> None:
        self.executions = player.Table()
        self._numbers: dict[int, tuple[Answer, int]] = {}

    def number(self, question: Question, answer: Answer) -> int:
        """Return the number of the execution of a torn answer."""
        if id(answer) not in self._numbers:
            made = player.execution_of(race.race(question, answer))
            self._numbers[id(answer)] = answer, self.executions.number(made)
        return self._numbers[id(answer)][1]


# Whether an access tears depends on where it is in a block of the machine. So areas at the same
# place of one, of the same plan, have one answer.
def _verdicts(
    one: Chosen, abi: str, plans: Sequence[int], model: Model, told: Told
) -> Iterator[tuple[int, ...]]:
    found: dict[tuple[int, int], tuple[int, ...]] = {}
    for at, number in zip(PLACES, plans, strict=True):
        key = number, at % (model.grain or WORD)
        if key not in found:
            found[key] = tuple(verdict(one, abi, at, model, name, told) for name in READERS)
        yield found[key]


def verdict(one: Chosen, abi: str, at: int, model: Model, reader: str, told: Told) -> int:
    """Return SAFE, REFUSED or the number of an execution."""
    area = Area(abi, FRAME + at)
    question = Question(one.writer, READER[reader], model, area, dropped=one.dropped)
    try:
        answer = race.ask(question)
    except Refused:
        return REFUSED
    return SAFE if answer.found is None else told.number(question, answer)


def readers(name: str) -> dict[str, player.Values]:
    """Return what a reader does with each layout; both machines load the same bytes."""
    return {
        abi: player.reader_of(READER[name], MODEL[MODELS[0]], shape.layout)
        for abi, shape in SHAPES.items()
    }


def places() -> player.Values:
    """Return where the area may be, and both layouts."""
    area = {abi: Area(abi, FRAME + PLACES[0]) for abi in SHAPES}
    upstream = _writer("upstream")
    cases = {abi: race.case_of(upstream, one, versions(one, 1)) for abi, one in area.items()}
    return {
        "page": PAGE_SIZE,
        "window": WINDOW,
        "first": PLACES[0],
        "last": PLACES[-1],
        "layouts": {abi: player.layout_of(shape.layout) for abi, shape in SHAPES.items()},
        "before": {abi: player.before_of(case) for abi, case in cases.items()},
    }
