"""Tables of the writers and readers of structs with a version: who they are, and who is torn.

No verdict is written here: all come from writer/race.py.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.layouts.model import Layout
from runstate_abi.tools.docs.deceptions import WEAK, X86, verdict
from runstate_abi.tools.rendering.blocks import Table
from runstate_abi.writer.guard import guard_of
from runstate_abi.writer.guest import (
    RMB_COPY,
    RMB_REREAD,
    CannotDrop,
    Load,
    Op,
    Reader,
)
from runstate_abi.writer.race import Question, of_version
from runstate_abi.writer.racing.drops import VERSION_DROPS, VERSION_READER_DROPS
from runstate_abi.writer.racing.symbols import versions
from runstate_abi.writer.steps import Barrier, Copy, Step, Steps, Write
from runstate_abi.writer.versions import parties
from runstate_abi.writer.versions.parties import Meeting, VersionReader, VersionWriter
from runstate_abi.writer.versions.place import Change, Place
from runstate_abi.writer.versions.readers import READERS
from runstate_abi.writer.versions.writers import WRITERS

AT = 0x1100  # a cache line in the guest's second page
WORD = 8  # bytes that a 32-bit machine loads in two
OURS = "the reader above"
RUNNING = {
    parties.ALL: "all",
    parties.OTHERS: "the others",
    parties.NONE: "none",
}
# What the steps are, where the version is odd while an update is in flight, and where it is 0.
# fmt: off
ODD = {
    "wmb-set":    "the barrier between the odd version and the members",
    "wmb-body":   "the barrier between the members and the even version",
    "set":        "the store that makes the version odd",
    "body-odd":   "the odd version among the members",
    "rmb-copy":   "the barrier between the version and the members",
    "rmb-reread": "the barrier between the members and the version again",
    "reread":     "loading the version again",
    "odd-check":  "looking whether the version is odd",
}
ZERO = {
    "wmb-set":    "the barrier between the 0 and the members",
    "wmb-body":   "the barrier between the members and the next sequence",
    "set":        "the store of 0",
    "rmb-copy":   "the barrier between the sequence and the members",
    "rmb-reread": "the barrier between the members and the sequence again",
    "reread":     "loading the sequence again",
    "zero-check": "looking whether the sequence is 0",
}
# fmt: on
WIDTHS = {
    64: (parties.X86, parties.ARM64, parties.RISCV64, parties.LOONGARCH),
    32: (parties.X86, parties.ARM, parties.RISCV32),
}


def place_of(layout: Layout) -> Place:
    """Return where the questions of this page put a struct."""
    return Place(layout, AT)


def steps_of(writer: VersionWriter) -> Steps:
    """Return one update of a writer."""
    place = place_of(writer.layout)
    return tuple(writer.update(Change(*versions(place, 1)), place))  # type: ignore[arg-type]


def pieces(family: str) -> dict[str, tuple[Table, ...]]:
    """Return the tables of a family by the names that its prose has for them."""
    return {
        "writers": (writers(family),),
        "readers": (readers(family),),
        "drops": tuple(drops(family)),
    }


def writers(family: str) -> Table:
    """Return the public writers of a family, each with its update step by step."""
    rows = [
        (f"`{one.name}`", struct(one.layout), _update(one), RUNNING[one.running], one.source)
        for one in WRITERS[family]
    ]
    header = ("writer", "struct", "its update", "vCPUs that may run meanwhile", "where it is")
    return Table("Who writes, and how", header, tuple(rows))


def struct(layout: Layout) -> str:
    """Return the name of a struct, and whether it has the upper seconds."""
    upper = " with `sec_hi`" if any(row.name == "sec_hi" for row in layout.rows) else ""
    return f"`{layout.name}`{upper}"


# "odd 4 | copy 32 | even 4"
def _update(writer: VersionWriter) -> str:
    epochs: list[list[str]] = [[]]
    for step in steps_of(writer):
        if isinstance(step, Barrier):
            epochs.append([])
        elif isinstance(step, Write):
            epochs[-1].append(f"{_stored(step, writer.layout)} {len(step.data)}")
    return " | ".join(", ".join(epoch) for epoch in epochs)


def _stored(step: Write, layout: Layout) -> str:
    start = offset_of(step)
    here = range(start, start + len(step.data))
    copy = "copy" if isinstance(step, Copy) else ""
    if here == guard_of(layout).word(layout):
        return f"{copy} {_shown(step, layout)}".strip()
    if copy:
        return copy
    return next(
        row.name + ("" if row.size == len(here) else " low" if row.offset == start else " high")
        for row in layout.rows
        if row.offset <= start < row.end
    )


def offset_of(step: Write) -> int:
    """Return the offset in the struct at which a step of steps_of() begins."""
    return (step.page - 1) * PAGE_SIZE + step.offset - AT % PAGE_SIZE


def marks(step: Step, layout: Layout) -> bool:
    """Does a step store that an update is in flight?"""
    if not isinstance(step, Write):
        return False
    guard = guard_of(layout)
    place = guard.place(layout) - offset_of(step)
    return 0 <= place < len(step.data) and guard.is_up(step.data[place])


def _shown(step: Write, layout: Layout) -> str:
    if not guard_of(layout).bit:
        return "0" if marks(step, layout) else "the next number"
    return "odd" if marks(step, layout) else "even"


def readers(family: str) -> Table:
    """Return the public readers of a family: what each loads, and whose struct it may read."""
    rows = []
    for one in READERS[family]:
        whose = "its own vCPU's" if one.own else "any"
        rows.append((f"`{one.name}`", _marked(one.reader), whose, one.reader.source))
    header = ("reader", "what it takes, and when it refuses", "whose struct", "where it is")
    return Table("Who reads, and how", header, tuple(rows))


# A summary begins with the members that the reader takes.
def _marked(reader: Reader) -> str:
    members = ", ".join(reader.uses)
    said = reader.summary
    if not said.startswith(members):
        return said
    return ", ".join(f"`{name}`" for name in reader.uses) + said[len(members) :]


@cache
def layouts(family: str) -> tuple[Layout, ...]:
    """Return the structs of a family that somebody writes."""
    return tuple(dict.fromkeys(one.layout for one in WRITERS[family]))


def ours(family: str, layout: Layout) -> Iterator[VersionReader]:
    """Yield the reader of this page for 64-bit machines and, if it is another, for 32-bit ones.

    It takes every member that a public reader takes by the version; none if there is no version.
    """
    guarded = [x for x in READERS[family] if layout in x.layouts and RMB_COPY in x.reader.program]
    members = tuple(dict.fromkeys(member for one in guarded for member in one.reader.uses))
    if not members:
        return
    halves = _split(layout, members)
    for width, loaded in ((64, members), (32, halves)):
        if width == 64 or halves != members:
            name = OURS if width == 64 else f"{OURS}, 32 bits"
            yield VersionReader(_reader(name, members, loaded), (layout,), WIDTHS[width])


def _split(layout: Layout, members: Sequence[str]) -> tuple[str, ...]:
    found: list[str] = []
    for member in members:
        wide = layout.field(member).size == WORD
        found += (f"{member}.low", f"{member}.high") if wide else (member,)
    return tuple(found)


# prose/ has it in C: an even first version, and an equal second one.
def _reader(name: str, members: tuple[str, ...], loaded: Iterable[str]) -> Reader:
    loads = (Load(part, part, 0, whole=False) for part in loaded)
    before, after = Load("v1", "entry", 1), Load("v2", "entry", 2)
    program: tuple[Op, ...] = (before, RMB_COPY, *loads, RMB_REREAD, after)
    return Reader(name, program, "", "runstate docs", uses=members, checks=(1,))


def question(meeting: Meeting, dropped: tuple[str, ...] = ()) -> Question:
    """Return the question about a writer and a reader: one update, everything else in order."""
    place = place_of(meeting.writer.layout)
    pair = of_version(meeting.writer), meeting.reader.reader
    return Question(*pair, meeting.model, place, dropped=dropped)


def is_torn(meeting: Meeting) -> bool:
    return verdict(question(meeting)) != "safe"


def drops(family: str) -> Iterator[Table]:
    """Yield a table for each struct that has a writer with both barriers: one step left out."""
    for layout in layouts(family):
        both = (x for x in WRITERS[family] if x.layout == layout and _is_whole(x))
        writer = next(both, None)
        if writer is not None:
            yield _drops(writer, [one.reader for one in ours(family, layout)])


# Does it mark its update, with a barrier behind the mark and one before the end?
def _is_whole(writer: VersionWriter) -> bool:
    steps = steps_of(writer)
    barriers = sum(isinstance(step, Barrier) for step in steps)
    return barriers > 1 and any(marks(step, writer.layout) for step in steps)


def _drops(writer: VersionWriter, forms: Sequence[Reader]) -> Table:
    rows = [("nothing", "", *_verdicts(writer, forms, ()))]
    words = ODD if guard_of(writer.layout).bit else ZERO
    for side, names in (("hypervisor", VERSION_DROPS), ("guest", VERSION_READER_DROPS)):
        for name in names:
            if name in words:
                rows += _row(writer, forms, name, (words[name], side))
    widths = [one.name.removeprefix(OURS) for one in forms]
    columns = [f"{machine}{width}" for width in widths for machine in ("x86", "weak")]
    caption = f"{struct(writer.layout)}, written by `{writer.name}`: one step left out"
    return Table(caption, ("left out", "by", *columns), tuple(rows))


# Nothing if the writer has no such step.
def _row(
    writer: VersionWriter, forms: Sequence[Reader], name: str, head: tuple[str, str]
) -> Iterator[tuple[str, ...]]:
    try:
        yield *head, *_verdicts(writer, forms, (name,))
    except CannotDrop:
        return


def _verdicts(
    writer: VersionWriter, forms: Iterable[Reader], dropped: tuple[str, ...]
) -> tuple[str, ...]:
    place = place_of(writer.layout)
    return tuple(
        verdict(Question(of_version(writer), reader, model, place, dropped=dropped))
        for reader in forms
        for model in (X86, WEAK)
    )
