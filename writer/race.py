"""Can a guest reader accept a snapshot that was never true? A proof, or an execution that shows it.

A snapshot was never true if the members that the reader takes from it belong to different updates.
racing/projection.py says how this is decided exactly. A writer is anything that makes steps: a
version of the model, a recording of a real kernel, or an emulated kernel.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.layouts.model import WitnessError
from runstate_abi.writer.guest import CHECKS, CannotDrop, Reader, drop
from runstate_abi.writer.memory import Overrun, Window, play
from runstate_abi.writer.racing import execution
from runstate_abi.writer.racing.drops import VERSION_DROPS, WRITER_DROPS, without
from runstate_abi.writer.racing.execution import Event
from runstate_abi.writer.racing.ordering import Model
from runstate_abi.writer.racing.patterns import A_B_A, INCREASING, in_order
from runstate_abi.writer.racing.projection import Answer, solve
from runstate_abi.writer.racing.scene import Case
from runstate_abi.writer.racing.symbols import Version, Where, image_of, stored, versions
from runstate_abi.writer.steps import Step, Steps, Write
from runstate_abi.writer.variants import Variant, update
from runstate_abi.writer.vcpu import Area, Runstate, entry_bytes, flagged, image
from runstate_abi.writer.versions.parties import VersionWriter
from runstate_abi.writer.versions.place import Place

SAFE, TORN = "safe", "torn"


@dataclass(frozen=True, slots=True)
class Writer:
    name: str
    # Of one whole update: of a vCPU's runstate in an Area, or an Change of a struct in a Place.
    steps: Callable[[Any, Any], Steps]
    hidden: frozenset[int] = frozenset()  # offsets that a recording does not show
    always_flagged: bool = True  # it has no switch for the update flag
    flag_stores: str = ""  # of machine code: how it was seen to store the flag


class Proof(NamedTuple):
    """No execution deceives the reader: ``searches`` explored ``states`` states in all."""

    states: int
    searches: int


class Race(NamedTuple):
    """The shortest execution in which the reader accepts what was never true."""

    answer: Answer
    words: bool  # it also happens on a machine that does not tear words into bytes
    versions: tuple[Version, ...]
    case: Case  # holds the true images, first the one from before the updates
    events: tuple[Event, ...]
    accepted: dict[int, int]  # offset -> byte of the reader's copy
    witness: tuple[int, int]  # two offsets whose bytes belong to different images

    @property
    def states(self) -> int:
        return self.answer.states


EVERY_DROP = WRITER_DROPS | VERSION_DROPS


@cache
def of_variant(variant: Variant) -> Writer:
    """Return a version of the model as a Writer."""

    def steps(vcpu: Runstate, area: Area) -> Steps:
        return update(variant, vcpu, area)

    return Writer(variant.name, steps, always_flagged=variant.always_flagged)


@cache
def of_version(one: VersionWriter) -> Writer:
    """Return a writer of a struct with a version as a Writer."""
    return Writer(one.name, lambda update, place: tuple(one.update(update, place)))


class Question(NamedTuple):
    """Can this reader be deceived by this writer at this place on this machine?

    ``patterns`` are masks of the bytes of the guard's word that differ, bit 0 for the lowest byte.
    None means every pattern that ``entry_times`` allows.
    """

    writer: Writer
    reader: Reader
    model: Model
    area: Where  # its address decides what tears, and where the area crosses a page
    updates: int = 1
    entry_times: str = INCREASING
    patterns: tuple[int, ...] | None = None
    dropped: tuple[str, ...] = ()  # names of racing/drops.py


def find_race(question: Question) -> Proof | Race:
    """Answer a question (CannotDrop; Refused if this writer does not take the area)."""
    found = ask(question)
    return Proof(found.states, found.searches) if found.found is None else race(question, found)


def ask(question: Question) -> Answer:
    """Answer a question without building the whole execution."""
    if question.entry_times == A_B_A and question.updates < 2:
        raise ValueError("an entry time can come back after two updates, not after one")
    case, reader = met(question)
    return solve(case, reader, question.model, question.entry_times, question.patterns)


def met(question: Question) -> tuple[Case, Reader]:
    """Return the updates and the reader of a question, without the steps that it drops."""
    area, reader = _without(question)
    case = _symbols(question.writer, area, question.updates, _of_writer(question.dropped))
    return case, reader


def race(question: Question, answer: Answer) -> Race:
    """Return the execution for a question whose answer is that there is one."""
    # Prefer an execution that tears no words into bytes: more machines can do it.
    coarse = question._replace(model=question.model._replace(coarse=True))
    words = ask(coarse).found
    found = words or answer.found
    assert found is not None
    area, reader = _without(question)
    offsets = [offset for offset, _ in found.pattern]
    columns = tuple(column for _, column in found.pattern)
    if question.entry_times == INCREASING and columns:
        # Renumbered so that time increases.
        columns = in_order(columns, len(columns[0])) or columns
    by_offset = dict(zip(offsets, columns, strict=True))
    made = versions(area, question.updates, by_offset)
    case = case_of(question.writer, area, made, _of_writer(question.dropped))
    told = execution.tell(case, reader, (coarse if words else question).model, found)
    return Race(answer, bool(words), made, case, told.events, told.accepted, found.witness)


def _of_writer(dropped: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in dropped if name in EVERY_DROP)


# All readers on all models ask about the same writer at the same place.
@lru_cache(maxsize=4)
def _symbols(writer: Writer, area: Where, updates: int, dropped: tuple[str, ...]) -> Case:
    return case_of(writer, area, versions(area, updates), dropped)


def _without(question: Question) -> tuple[Where, Reader]:
    writer, reader, area = question.writer, question.reader, question.area
    for name in question.dropped:
        if name == "flag":
            area = _unflagged(writer, area)
        elif name in CHECKS and name != area.shape.guard.check:
            raise CannotDrop(f"reader {reader.name} has no {name}")
        elif name not in EVERY_DROP:
            reader = drop(reader, name)
    return area, reader


def _unflagged(writer: Writer, area: Where) -> Where:
    if writer.always_flagged or isinstance(area, Place):
        raise CannotDrop(f"{writer.name} has no switch for the flag")
    return replace(area, update_flag=False)


def case_of(
    writer: Writer, area: Where, made: tuple[Version, ...], dropped: Iterable[str] = ()
) -> Case:
    """Return the case: each update runs on the memory that the last one left.

    WitnessError if this writer stores outside the pages of its area.
    """
    images = tuple(image_of(area, one) for one in made)
    window = Window()
    window.data[area.offset : area.offset + area.shape.size] = images[0]
    played: list[Step] = []
    for old, new in pairwise(made):
        steps = writer.steps(stored(old, new), area)
        for name in dropped:
            steps = without(steps, area, name)
        try:
            played += play(window, steps)
        except Overrun as overrun:
            # This is a defect of the writer and no race: no guest reads these bytes.
            where = f"{writer.name}, {area.abi} at {area.address:#x}"
            raise WitnessError(f"{where}: it cannot be asked: {overrun}") from None
    return Case(area.shape.layout, area.offset, images, tuple(played), writer.hidden)


def of_recording(name: str, steps: Steps, area: Area) -> Writer:
    """Return a writer that repeats one recorded update with other values.

    A recorded byte that equals the last one stored at its offset stands for the new value (in the
    update byte also with the flag set). Any other byte keeps its recorded value. Offsets that were
    never stored to are hidden, because a watchpoint does not show a store that changed nothing.
    """
    final: dict[int, int] = {}
    for step in steps:
        if isinstance(step, Write):
            final |= zip(_offsets(step, area), step.data, strict=True)
    hidden = frozenset(range(area.shape.size)).difference(final)

    def repeated(vcpu: Runstate, area_: Area) -> Steps:
        return tuple(_repeated(step, area_, final, vcpu) for step in steps)

    return Writer(name, repeated, hidden)


def _offsets(step: Write, area: Area) -> range:
    start = (step.page - 1) * PAGE_SIZE + step.offset - area.offset
    return range(start, start + len(step.data))


def _repeated(step: Step, area: Area, final: Mapping[int, int], vcpu: Runstate) -> Step:
    if not isinstance(step, Write):
        return step
    plain = image(area.shape, vcpu, vcpu.entry_time)
    up = image(area.shape, vcpu, flagged(vcpu.entry_time))
    data = bytearray(step.data)
    flag = area.shape.update_byte
    mask = entry_bytes(flagged(0))[-1]
    for index, offset in enumerate(_offsets(step, area)):
        if not 0 <= offset < area.shape.size:
            continue
        if data[index] == final[offset]:
            data[index] = plain[offset]
        elif offset == flag and data[index] == final[offset] | mask:
            data[index] = up[offset]
    return replace(step, data=bytes(data))
