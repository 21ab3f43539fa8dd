"""The rows of ``runstate race``: the questions and their answers."""

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from runstate_abi.layouts.abi import CACHE_LINE, I386, PAGE_SIZE
from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.structs.runstate import NATIVE, claim
from runstate_abi.writer.guest import READERS, CannotDrop, Reader
from runstate_abi.writer.race import SAFE, TORN, Question, Writer, ask, of_variant
from runstate_abi.writer.racing.drops import flag_stores
from runstate_abi.writer.racing.ordering import MEASURED_GRAIN, MODEL, MODELS, Model
from runstate_abi.writer.racing.projection import Answer
from runstate_abi.writer.rulebook.requests import Request
from runstate_abi.writer.steps import Steps
from runstate_abi.writer.variants import VARIANT, VARIANTS, Refused
from runstate_abi.writer.vcpu import ENTRY_TIME_SIZE, SHAPES, Area, Runstate, place_of, runs

if TYPE_CHECKING:
    from runstate_abi.writer.witnesses.guests.reader import Found
    from runstate_abi.writer.witnesses.journal import Run


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
    code: Reader | None = None  # a reader out of machine code, instead of those with names


class Row(NamedTuple):
    question: Question
    kind: str  # a Placement's, "" if the address was given
    answer: Answer

    @property
    def verdict(self) -> str:
        return TORN if self.answer.found else SAFE

    @property
    def writer(self) -> str:
        """The writer's name: ``upstream``, ``upstream (flag off)``."""
        flag = " (flag off)" if "flag" in self.question.dropped else ""
        return f"{self.question.writer.name}{flag}"

    @property
    def hidden(self) -> tuple[str, ...]:
        """The C names of bytes that a recording does not show: nothing is said about them."""
        layout, hidden = self.question.area.shape.layout, self.question.writer.hidden
        shown = [o for row in layout.members for o in range(row.offset, row.end) if o in hidden]
        return tuple(place_of(layout, run[0], len(run)) for run in runs(shown))

    @property
    def steps_dropped(self) -> tuple[str, ...]:
        """The dropped steps, without "flag", which is in the writer's name."""
        return tuple(name for name in self.question.dropped if name != "flag")


# The questions if no option names any: the newest writer, with the readers of Linux. Reader, model,
# ABI; None is both models.
SHIPPED = (("linux-64", None, "native"), ("linux-32", "x86-tso", "compat"))


def shipped(wanted: Wanted, left_out: Counter[str]) -> Iterator[Row]:
    """Yield the answers for KVM's newest writer and the readers of Linux, at each placement."""
    for reader, model, abi in SHIPPED:
        asked = wanted._replace(variant="upstream", reader=reader, model=model, abi=abi)
        yield from rows(asked, left_out)


# A kernel's code is asked with the readers of Linux, each with the struct that it reads, unless a
# reader is named or all are asked for.
def _of_linux(wanted: Wanted, every_reader: bool) -> list[Wanted]:
    if wanted.reader or wanted.code or every_reader:
        return [wanted]
    pairs = [(r, a) for r, _, a in SHIPPED if wanted.abi in (None, a)]
    return [wanted._replace(reader=reader, abi=abi) for reader, abi in pairs]


def rows(wanted: Wanted, left_out: Counter[str]) -> Iterator[Row]:
    """Yield the answers for the model's writers.

    If a single question is asked and cannot be answered, Refused or CannotDrop says why. Of several
    questions, ``left_out`` counts those that cannot be asked, by reason.
    """
    for variant in [v for v in VARIANTS if wanted.variant in (None, v.name)]:
        writer = of_variant(variant)
        # A table also has rows for guests that did not ask for the flag.
        unflagged = wanted.variant is None and not wanted.dropped and not variant.always_flagged
        for dropped in [wanted.dropped, ("flag",)] if unflagged else [wanted.dropped]:
            asked = wanted._replace(dropped=dropped)
            for abi in _abis(wanted):
                yield from _answers(writer, _areas(abi, wanted), models(wanted), asked, left_out)


def writers(variant: str | None) -> int:
    """Return the number of writers in a table: each version, also without the flag if it can."""
    return 1 if variant else sum(2 - one.always_flagged for one in VARIANTS)


def _abis(wanted: Wanted) -> list[str]:
    return [abi for abi in SHAPES if wanted.abi in (None, abi)]


# The areas to ask about, each with the kind of its placement.
def _areas(abi: str, wanted: Wanted) -> list[tuple[str, Area]]:
    if wanted.at is not None:
        return [("", Area(abi, wanted.at))]
    # A compiler may count on the struct's own alignment.
    step = _ALIGNED[abi] if wanted.code else 1
    return [(p.kind, Area(abi, p.address)) for p in placements(abi) if p.address % step == 0]


def models(wanted: Wanted) -> list[Model]:
    """Return the models asked for, x86's with the grain asked for."""
    return [
        model._replace(grain=wanted.grain) if model.grain else model
        for model in MODELS
        if not model.recorded and wanted.model in (None, model.name)
    ]


# One writer, each area, model and reader. A writer that is no version of the model is asked about
# alone (left_out is None). Then a question that cannot be asked is an error.
def _answers(
    writer: Writer,
    areas: Iterable[tuple[str, Area]],
    models: Sequence[Model],
    wanted: Wanted,
    left_out: Counter[str] | None,
) -> Iterator[Row]:
    times = wanted.updates, wanted.entry_times
    for kind, area in areas:
        for model in models:
            for reader in _readers(wanted):
                question = Question(writer, reader, model, area, *times, None, wanted.dropped)
                try:
                    yield Row(question, kind, ask(question))
                except (Refused, CannotDrop) as error:
                    narrowed = wanted.at if isinstance(error, Refused) else wanted.reader
                    if left_out is None or (wanted.variant and narrowed is not None):
                        raise
                    left_out[str(error)] += 1


def _readers(wanted: Wanted) -> list[Reader]:
    if wanted.code:
        return [wanted.code]
    return [reader for reader in READERS if wanted.reader in (None, reader.name)]


# The C alignment of the struct in a guest's own code, which need not be the hypervisor's.
_ALIGNED = {"native": NATIVE.alignment or 1, "compat": claim(NATIVE.name, I386.name).alignment or 1}

POINTER = 8  # bytes; a signature is as right with other pointers

# The writers that a guest can meet today, for a reader out of machine code.
TODAY = ("upstream", "xen-va", "xen-phys")


class Code(NamedTuple):
    """What is asked of a guest's code: FILE:FUNCTION, its C signature, a global area's symbol."""

    what: str
    signature: str
    area: str


def refuse_signature(made: argparse.ArgumentParser, text: str) -> None:
    """Exit with status 2 and one line if --signature is no C signature."""
    if text:
        from runstate_abi.writer.witnesses.guests import cpus

        try:
            cpus.signature(text, POINTER)
        except cpus.WrongSignature as error:
            made.error(f"--signature {error}")


def of_code(code: Code, wanted: Wanted, left_out: Counter[str]) -> Iterator[Row]:
    """Yield the answers for a reader out of machine code, by today's writers."""
    wanted, abi = _wanted(code, wanted)
    for name in (wanted.variant,) if wanted.variant else TODAY:
        writer = of_variant(VARIANT[name])
        yield from _answers(writer, _areas(abi, wanted), models(wanted), wanted, left_out)


def _wanted(code: Code, wanted: Wanted) -> tuple[Wanted, str]:
    found, abi = reader_of(code, wanted.abi)
    return wanted._replace(code=found.reader, abi=abi, model=found.model), abi


def reader_of(code: Code, abi: str | None) -> tuple["Found", str]:
    """Return the reader of FILE:FUNCTION, and which struct it reads (WitnessError)."""
    from runstate_abi.writer.witnesses.guests.file import found

    path, _, function = code.what.rpartition(":")
    return found(path, function, code.signature, code.area, abi)


def of_recording(path: str, wanted: Wanted, left_out: Counter[str]) -> Iterator[Row]:
    """Yield the answers for each recorded update that shows enough; ``left_out`` has the others."""
    from runstate_abi.tools.race import recorded

    model = MODEL["program-order"]._replace(grain=wanted.grain)
    for writer, area in recorded.writers(path):
        for row in _answers(writer, [("", area)], [model], wanted, None):
            if row.answer.searches:
                yield row
            else:
                reader = row.question.reader.name
                left_out[f"{writer.name} shows too little for {reader} to be deceived"] += 1


def of_kernel(
    path: str,
    btf: str,
    wanted: Wanted,
    every_reader: bool,
    left_out: Counter[str],
    code: Code | None = None,
) -> Iterator[Row]:
    """Yield the answers for a kernel's machine code: in program order, so only on x86-TSO.

    ``code`` is the guest's, if its reader is machine code too (WitnessError: it is not x86's).
    """
    from runstate_abi.writer.witnesses import shipped

    if code:
        wanted, _ = _wanted(code, wanted)
        if MODEL[wanted.model or ""].barriers:
            raise WitnessError(f"{code.what}: not x86 code, which {path} is: they never meet")
    judged = shipped.opened(path, btf)

    def request(area: Area, vcpu: Runstate) -> Request:
        return Request(area.abi, area.offset, area.update_flag, False, vcpu)

    def steps(vcpu: Runstate, area: Area) -> Steps:
        return judged.writer.run(request(area, vcpu)).steps()

    name = judged.release or path
    aligned = Area(wanted.abi or "native", FRAME + FIRST)
    stores = _flag_stores(judged.writer.run(request(aligned, _ANY_VCPU)))
    writer = Writer(name, steps, always_flagged=False, flag_stores=stores)
    tso = [model for model in models(wanted) if not model.barriers]
    for asked in _of_linux(wanted, every_reader):
        for kind, area in [one for abi in _abis(asked) for one in _areas(abi, asked)]:
            if judged.writer.takes(request(area, _ANY_VCPU)):
                yield from _answers(writer, [(kind, area)], tso, asked, None)
            else:
                questions = len(tso) * len(_readers(asked))
                left_out[f"{name} has one cache, for one page"] += questions


# A store changes what it read if the flag's byte was read since the store before it.
def _flag_stores(run: "Run") -> str:
    area = run.request.area
    flag = area.offset + area.shape.update_byte
    read = {r.at for r in run.reads if r.page == 1 and r.offset <= flag < r.offset + r.size}
    return flag_stores(run.steps(), area, read)


_ANY_VCPU = Runstate(0, 0, (0, 0, 0, 0))


def seen_to_store(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a line for each writer of machine code: how it stores the flag."""
    writers = dict.fromkeys(
        (row.question.writer.name, row.question.writer.flag_stores) for row in rows
    )
    yield from (f"{name}: {stores}" for name, stores in writers if stores)


def not_shown(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a line for each recording that does not show all of the struct."""
    for writer, hidden in dict.fromkeys((row.writer, row.hidden) for row in rows if row.hidden):
        yield f"{writer} does not show, and nothing is claimed about: {', '.join(hidden)}"


# The placements of an area that matter. Any other address behaves like one of these, because only
# the alignment decides what is made in one piece.
FRAME = PAGE_SIZE  # the guest frame of the default addresses: any but the first
FIRST = 4 * CACHE_LINE  # the aligned area's offset in it

KINDS = {
    "aligned": "at a cache line",
    "half-line": "state_entry_time crosses 32 bytes, but no cache line",
    "line": "state_entry_time crosses a cache line",
    "page": "the struct crosses a page",
}


class Placement(NamedTuple):
    """A guest-physical address, and why it is asked about: one of KINDS."""

    kind: str
    address: int


def placements(abi: str) -> Iterator[Placement]:
    """Yield the placements that matter for ``native`` or ``compat``."""
    shape = SHAPES[abi]
    before = shape.entry_time + ENTRY_TIME_SIZE // 2
    yield Placement("aligned", FRAME + FIRST)
    yield Placement("half-line", FRAME + FIRST + MEASURED_GRAIN - before)
    yield Placement("line", FRAME + FIRST + CACHE_LINE - before)
    for inside in reversed(range(1, shape.size)):
        yield Placement("page", FRAME + PAGE_SIZE - inside)
