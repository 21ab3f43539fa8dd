"""What is wrong with a reader or a writer that tears, by class: the execution, and who is of it.

No execution is written here: all come from writer/race.py.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from enum import Enum

from runstate_abi.layouts.model import Field
from runstate_abi.tools.docs.deceptions import WEAK, X86, answer, told
from runstate_abi.tools.docs.parties import (
    is_torn,
    layouts,
    marks,
    ours,
    place_of,
    question,
    steps_of,
)
from runstate_abi.tools.rendering.blocks import Block, Bullets
from runstate_abi.writer.guest import ReadBarrier
from runstate_abi.writer.race import Proof, Question, Race, of_version
from runstate_abi.writer.racing.patterns import A_B_A
from runstate_abi.writer.versions.meanings import MEANINGS, meaning
from runstate_abi.writer.versions.parties import Meeting, VersionReader, VersionWriter, meetings
from runstate_abi.writer.versions.readers import READERS
from runstate_abi.writer.versions.writers import WRITERS


class Kind(Enum):
    """Why a reader is torn: the title of the execution."""

    ONCE = "A reader that loads the version once"
    UNLOOKED = "A reader that does not look whether the version says that an update is in flight"
    UNMARKED = "A writer that leaves the version as it is meanwhile"
    UNORDERED = "A reader whose barriers are for the compiler alone"
    LACKING = "A writer that lacks a barrier"


OF_WRITERS = (Kind.UNMARKED, Kind.LACKING)
COMES_BACK = "Two updates, and the second brings back the version that was there before"


def kind_of(meeting: Meeting) -> Kind:
    """Return what the first thing is that is wrong with a reader and a writer that tear."""
    reader, steps = meeting.reader.reader, steps_of(meeting.writer)
    if sum(load.part == "entry" for load in reader.loads) == 1:
        return Kind.ONCE
    if not reader.bit_check:
        return Kind.UNLOOKED
    if not any(marks(step, meeting.writer.layout) for step in steps):
        return Kind.UNMARKED
    has_barrier = any(isinstance(op, ReadBarrier) for op in reader.program)
    return Kind.LACKING if has_barrier else Kind.UNORDERED


def torn(family: str) -> dict[Kind, list[Meeting]]:
    """Return who is torn, by kind: first those that can meet, and of these first x86.

    A kind of which nobody can meet comes after all others.
    """
    found: dict[Kind, list[Meeting]] = {}
    for meeting in meetings(WRITERS[family], READERS[family]):
        if is_torn(meeting):
            found.setdefault(kind_of(meeting), []).append(meeting)
    for each in found.values():
        each.sort(key=lambda meeting: (bool(meeting.unreachable), meeting.model is not X86))
    kinds = sorted(found, key=lambda kind: (bool(found[kind][0].unreachable), [*Kind].index(kind)))
    return {kind: found[kind] for kind in kinds}


def pieces(family: str) -> dict[str, tuple[Block, ...]]:
    """Return the executions of a family by the name that its prose has for them."""
    return {"kinds": tuple(blocks(family))}


def blocks(family: str) -> Iterator[Block]:
    """Yield the shortest execution of each kind, with what it means and who is of that kind."""
    for number, (kind, each) in enumerate(torn(family).items()):
        first = each[0]
        title = f"{kind.value}: `{first.reader.name}` reads what `{first.writer.name}` writes"
        yield told(title, question(first))
        yield Bullets((f"In time: {meant(question(first))}.", *_who(kind, each)))
        if not number:
            yield from _others(question(first))
    yield from _comes_back(family)


# What else can become of the same two, by the members that are then of different updates.
def _others(asked: Question) -> Iterator[Block]:
    said = meant(asked)
    for members, words in MEANINGS:
        if len(members) > 1 and set(members) <= set(asked.reader.uses) and words != said:
            other = asked._replace(reader=replace(asked.reader, uses=members))
            if not isinstance(answer(other), Proof):
                names = " and ".join(f"`{name}`" for name in members)
                yield told(f"The same two, by {names} alone", other)
                yield Bullets((f"In time: {words}.",))


def meant(asked: Question) -> str:
    """Return what the execution means in time, by the members that are of different updates."""
    found = answer(asked)
    assert not isinstance(found, Proof)
    apart = (words for members, words in MEANINGS if _are_apart(members, asked, found))
    rows = asked.area.shape.layout.rows
    return next(apart, "") or meaning(
        {row.name for row in rows for at in found.witness if row.offset <= at < row.end}
    )


# Does the reader take two of these members from different updates, each of them whole?
def _are_apart(members: Sequence[str], asked: Question, found: Race) -> bool:
    each = [_updates(row, found) for row in found.case.layout.rows if row.name in members]
    taken = set(members) <= set(asked.reader.uses)
    return taken and len(each) > 1 and all(each) and not set.intersection(*each)


# The updates that all bytes of a member can be of.
def _updates(row: Field, found: Race) -> set[int]:
    here = [at for at in found.accepted if row.offset <= at < row.end]
    images = enumerate(found.case.images)
    return {n for n, image in images if all(found.accepted[at] == image[at] for at in here)}


# Every party of a kind, once: the fact, its source and whether such a pair can meet.
def _who(kind: Kind, each: Sequence[Meeting]) -> Iterator[str]:
    parties: dict[str, list[Meeting]] = {}
    for meeting in each:
        parties.setdefault(_party(kind, meeting).name, []).append(meeting)
    for name, its in parties.items():
        party = _party(kind, its[0])
        source = party.source if isinstance(party, VersionWriter) else party.reader.source
        why = its[0].unreachable
        models = " and ".join(_machine(model) for model in (X86, WEAK) if _has(its, model))
        reach = f", which cannot happen: {why}" if why else ""
        yield f"`{name}`, on {models}{reach}. {source}."


def _has(its: Sequence[Meeting], model: object) -> bool:
    reachable = [meeting for meeting in its if not meeting.unreachable] or its
    return any(meeting.model is model for meeting in reachable)


def _machine(model: object) -> str:
    return "x86" if model is X86 else "a weak machine"


def _party(kind: Kind, meeting: Meeting) -> VersionWriter | VersionReader:
    return meeting.writer if kind in OF_WRITERS else meeting.reader


# No reader sees that the version is the one from before: shown for the family's first struct.
def _comes_back(family: str) -> Iterator[Block]:
    for layout in layouts(family):
        (writer, *_) = (one for one in WRITERS[family] if one.layout == layout)
        for reader in ours(family, layout):
            place = place_of(layout)
            wanted = Question(of_version(writer), reader.reader, X86, place, 2, A_B_A)
            if not isinstance(answer(wanted), Proof):
                yield told(f"{COMES_BACK}: {reader.name}, `{writer.name}`", wanted)
                yield Bullets((f"In time: {meant(wanted)}.",))
                return
