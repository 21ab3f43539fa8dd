"""The rows of ``runstate race``: which questions there are, and their answers.

Law of this file: questions are made from tables, answered by writer/race.py, and not rendered.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from runstate_abi.writer.guest import READERS, CannotDrop, Reader
from runstate_abi.writer.race import SAFE, TORN, Question, Writer, ask, of_variant
from runstate_abi.writer.racing.ordering import MODELS, Model, Placement, placements
from runstate_abi.writer.racing.projection import Answer
from runstate_abi.writer.rulebook.requests import Request
from runstate_abi.writer.steps import Steps
from runstate_abi.writer.variants import VARIANTS, Refused, Variant
from runstate_abi.writer.vcpu import SHAPES, Area, Runstate, place_of


class Wanted(NamedTuple):
    """What the options ask for; None is everything."""

    variant: str | None
    reader: str | None
    model: str | None
    abi: str | None
    at: int | None
    updates: int
    entry_times: str
    dropped: tuple[str, ...]
    grain: int


class Row(NamedTuple):
    """One question and its answer. ``kind`` is why this place is asked about."""

    question: Question
    kind: str
    answer: Answer

    @property
    def verdict(self) -> str:
        """SAFE or TORN."""
        return TORN if self.answer.found else SAFE

    @property
    def writer(self) -> str:
        """The writer's name: ``upstream``, ``upstream (flag off)``."""
        flag = " (flag off)" if "flag" in self.question.dropped else ""
        return f"{self.question.writer.name}{flag}"

    @property
    def hidden(self) -> tuple[str, ...]:
        """The C names of what a recording does not show: nothing is claimed about it."""
        layout, hidden = self.question.area.shape.layout, self.question.writer.hidden
        shown = [o for row in layout.members for o in range(row.offset, row.end) if o in hidden]
        runs: list[list[int]] = []
        for offset in shown:
            if not runs or offset != runs[-1][-1] + 1:
                runs.append([])
            runs[-1].append(offset)
        return tuple(place_of(layout, run[0], len(run)) for run in runs)

    @property
    def steps_dropped(self) -> tuple[str, ...]:
        """What is left away but for the flag, which is in the writer's name."""
        return tuple(name for name in self.question.dropped if name != "flag")


# What `runstate race` asks where nothing is named: the newest writer, read as Linux reads it.
# Reader, model, ABI; None is both models.
SHIPPED = (("linux-64", None, "native"), ("linux-32", "x86-tso", "compat"))


def shipped(wanted: Wanted, left_out: Counter[str]) -> Iterator[Row]:
    """Yield the answers about KVM's newest writer and the readers of Linux, at each placement."""
    for reader, model, abi in SHIPPED:
        asked = wanted._replace(variant="upstream", reader=reader, model=model, abi=abi)
        yield from rows(asked, left_out)


def rows(wanted: Wanted, left_out: Counter[str]) -> Iterator[Row]:
    """Yield the answers. Refused or CannotDrop if there is nothing but one question to ask and it
    cannot be; of many, ``left_out`` then counts how many there were for each reason.
    """
    variants = [v for v in VARIANTS if wanted.variant in (None, v.name)]
    for variant in variants:
        for dropped in _flags(variant, wanted):
            for abi in [abi for abi in SHAPES if wanted.abi in (None, abi)]:
                yield from _of_abi(variant, dropped, abi, wanted, len(variants) == 1, left_out)


def writers(variant: str | None) -> int:
    """Return how many writers a table has: each version, and again with the flag off if it can."""
    return 1 if variant else sum(2 - one.always_flagged for one in VARIANTS)


# A table has rows for guests that did not ask for the flag too.
def _flags(variant: Variant, wanted: Wanted) -> Iterator[tuple[str, ...]]:
    yield wanted.dropped
    if wanted.variant is None and not wanted.dropped and not variant.always_flagged:
        yield ("flag",)


def _of_abi(
    variant: Variant,
    dropped: tuple[str, ...],
    abi: str,
    wanted: Wanted,
    alone: bool,
    left_out: Counter[str],
) -> Iterator[Row]:
    places = [Placement("", wanted.at)] if wanted.at is not None else list(placements(abi))
    for place in places:
        for model in models(wanted):
            for reader in [r for r in READERS if wanted.reader in (None, r.name)]:
                try:
                    yield _row(variant, reader, model, abi, place, wanted, dropped)
                except (Refused, CannotDrop) as error:
                    narrowed = wanted.at if isinstance(error, Refused) else wanted.reader
                    if alone and narrowed is not None:
                        raise
                    left_out[str(error)] += 1


def not_shown(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a line for each recording that does not show all of the struct."""
    for writer, hidden in dict.fromkeys((row.writer, row.hidden) for row in rows if row.hidden):
        yield f"{writer} does not show, and nothing is claimed about: {', '.join(hidden)}"


def models(wanted: Wanted) -> Iterator[Model]:
    """Yield the models asked for, x86's with the grain asked for."""
    for model in MODELS:
        if not model.recorded and wanted.model in (None, model.name):
            yield model._replace(grain=wanted.grain) if model.grain else model


def _row(
    variant: Variant,
    reader: Reader,
    model: Model,
    abi: str,
    place: Placement,
    wanted: Wanted,
    dropped: tuple[str, ...],
) -> Row:
    area = Area(abi, place.address)
    times = wanted.updates, wanted.entry_times
    question = Question(of_variant(variant), reader, model, area, *times, None, dropped)
    return Row(question, place.kind, ask(question))


def of_kernel(path: str, btf: str, wanted: Wanted, left_out: Counter[str]) -> Iterator[Row]:
    """Yield the answers for a kernel's machine code: in program order, so on x86-TSO alone."""
    from runstate_abi.writer.witnesses import shipped

    judged = shipped.opened(path, btf)

    def steps(vcpu: Runstate, area: Area) -> Steps:
        asked = Request(area.abi, area.offset, area.update_flag, False, vcpu)
        return judged.writer.observe(asked).steps()

    writer = Writer(judged.release or path, steps, always_flagged=False)
    for abi in [abi for abi in SHAPES if wanted.abi in (None, abi)]:
        places = [Placement("", wanted.at)] if wanted.at is not None else list(placements(abi))
        for place in places:
            area = Area(abi, place.address)
            takes = judged.writer.takes(Request(abi, area.offset, True, False, _ANY_VCPU))
            for model in [model for model in models(wanted) if not model.barriers]:
                for reader in [r for r in READERS if wanted.reader in (None, r.name)]:
                    if not takes:
                        left_out[f"{writer.name} has one cache, for one page"] += 1
                        continue
                    times = wanted.updates, wanted.entry_times
                    question = Question(writer, reader, model, area, *times, None, wanted.dropped)
                    yield Row(question, place.kind, ask(question))


_ANY_VCPU = Runstate(0, 0, (0, 0, 0, 0))
