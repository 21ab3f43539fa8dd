"""The tables of readers and writers compared: which reader is torn by which writer.

No verdict is written here: all come from writer/race.py.
"""

from collections.abc import Iterator

from runstate_abi.tools.docs.deceptions import WEAK, X86, verdict
from runstate_abi.tools.docs.parties import OURS, is_torn, layouts, ours, question, struct
from runstate_abi.tools.rendering.blocks import Block, Paragraph, Table
from runstate_abi.writer.race import TORN
from runstate_abi.writer.versions.parties import Meeting, VersionReader, VersionWriter
from runstate_abi.writer.versions.readers import READERS
from runstate_abi.writer.versions.writers import WRITERS

MORE = {2: "two", 3: "three"}  # updates in a row


def pieces(family: str) -> dict[str, tuple[Block, ...]]:
    """Return the tables of a family by the names that its prose has for them."""
    return {"compared": tuple(compared(family)), "more-updates": (more_updates(family),)}


def compared(family: str) -> Iterator[Table]:
    """Yield a table for each struct: readers down, writers across, both memory models a cell."""
    for layout in layouts(family):
        across = [one for one in WRITERS[family] if one.layout == layout]
        down = [*ours(family, layout), *(x for x in READERS[family] if layout in x.layouts)]
        rows = tuple((_named(one), *(_cell(writer, one) for writer in across)) for one in down)
        header = ("reader", *(f"`{one.name}`" for one in across))
        yield Table(f"{struct(layout)}: on x86 / on a weak machine", header, rows)


def _named(reader: VersionReader) -> str:
    return reader.name if reader.name.startswith(OURS) else f"`{reader.name}`"


def _cell(writer: VersionWriter, reader: VersionReader) -> str:
    both = [Meeting(writer, reader, model) for model in (X86, WEAK)]
    if not both[0].machines:
        return "-"
    said = [_said(meeting) for meeting in both]
    return " / ".join(dict.fromkeys(said))


def _said(meeting: Meeting) -> str:
    if not is_torn(meeting):
        return "safe"
    return f"({TORN})" if meeting.unreachable else TORN


def more_updates(family: str) -> Paragraph:
    """Return what is so of several updates in a row where one update is safe."""
    safe = [meeting for meeting in pairs(family) if not is_torn(meeting)]
    torn = [
        f"`{one.reader.name}` with `{one.writer.name}`, {one.model.name}, {words} updates"
        for one in safe
        for updates, words in MORE.items()
        if verdict(question(one)._replace(updates=updates)) != "safe"
    ]
    said = f"{' and '.join(MORE.values()).capitalize()} updates in a row, each with a new version"
    if torn:
        return Paragraph(f"{said}: torn, where one is safe, are {'; '.join(torn)}.")
    return Paragraph(f"{said}: what is safe here is safe then, too ({len(safe)} pairs asked).")


def pairs(family: str) -> Iterator[Meeting]:
    """Yield every cell of the tables, on both models."""
    for layout in layouts(family):
        down = [*ours(family, layout), *(x for x in READERS[family] if layout in x.layouts)]
        for writer in WRITERS[family]:
            for reader in down if writer.layout == layout else ():
                both = (Meeting(writer, reader, model) for model in (X86, WEAK))
                yield from (meeting for meeting in both if meeting.machines)
