"""A race as a person reads it: two columns, host stores | guest loads, and the accepted image.

Law of this file: it renders what writer/race.py found and decides nothing.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from runstate_abi.layouts.model import Layout
from runstate_abi.layouts.structs.runstate import XEN_RUNSTATE_UPDATE
from runstate_abi.tools.output import Ink, Line
from runstate_abi.writer.guest import Reader
from runstate_abi.writer.steps import line as canonical_line
from runstate_abi.writer.vcpu import TOP_BYTE_SHIFT, place_of

if TYPE_CHECKING:
    from runstate_abi.writer.race import Race
    from runstate_abi.writer.racing.execution import Event

FLAG = XEN_RUNSTATE_UPDATE >> TOP_BYTE_SHIFT
ROW = 16  # bytes of the image in a line
EVENT = 8  # bytes of a store or load that are all shown, so that both columns fit a terminal
END = 3  # of each end of more bytes
# The marks under the bytes of an accepted image; after one update of several, new is n1, n2, ...
OLD, NEW, SAME, UP, NONE, UNUSED = "old", "new", "=", "flg", "?", "-"


def timeline(race: "Race", writer: str, reader: str) -> Iterator[Line]:
    """Yield the execution, an event a line, in the order in which memory sees it."""
    layout, torn = race.case.layout, _torn(race)
    told = [(event, *_event(layout, event)) for event in race.events]
    names = [f"{where} = {value}" for event, where, value in told if event.step >= 0]
    width = max((len(name) for name in names), default=0)
    width = max(width, len(f"host: {writer}"))
    yield (Ink(f"      {f'host: {writer}':<{width}} | guest: {reader}", "strong"),)
    for number, (event, where, value) in enumerate(told, 1):
        if event.step >= 0:
            text = f"{where} = {value}"
            shown = f"  part of: {step(race, event.step)}" if event.step in torn else ""
            yield (
                Ink(f"  {number:>3} "),
                Ink(f"{text:<{width}}", "changed"),
                Ink(" |"),
                Ink(shown, "dim"),
            )
        else:
            yield (
                Ink(f"  {number:>3} {'':<{width}} | "),
                Ink(f"{event.name}: {where} = {value}", "strong"),
            )


def step(race: "Race", number: int) -> str:
    """Return a step's canonical line, without the bytes of a copy."""
    words = canonical_line(race.case.steps[number]).split()
    return " ".join(words if words[0] == "store" else words[:-1])


def _event(layout: Layout, event: "Event") -> tuple[str, str]:
    return place_of(layout, event.offset, len(event.data)), short(event.data)


def short(data: bytes) -> str:
    """Return bytes in memory order; the middle of many is left out."""
    digits = data.hex(" ")
    return digits if len(data) <= EVENT else f"{data[:END].hex(' ')} .. {data[-END:].hex(' ')}"


# The steps that the guest looked into the middle of.
def _torn(race: "Race") -> set[int]:
    torn, last = set(), -2
    for event in race.events:
        if event.step >= 0 and event.step < last:
            torn.add(event.step)
        last = max(last, event.step)
    for step in {event.step for event in race.events if event.step >= 0}:
        made = sum(len(event.data) for event in race.events if event.step == step)
        data = getattr(race.case.steps[step], "data", b"")
        pieces = sum(event.step == step for event in race.events)
        if made < len(data) or pieces > 1:
            torn.add(step)
    return torn


def accepted(race: "Race", reader: Reader) -> Iterator[Line]:
    """Yield the accepted image: a hexdump, under each byte which update it is of, the legend."""
    layout = race.case.layout
    used: set[str] = set()
    for start in range(0, layout.size, ROW):
        offsets = [o for o in range(start, min(start + ROW, layout.size)) if o in race.accepted]
        if not offsets:
            continue
        bytes_ = [Ink(f"  {start:#04x} ", "dim")]
        marks = [Ink("       ")]
        for offset in range(start, offsets[-1] + 1):
            byte, mark = _marked(race, reader, offset)
            bytes_.append(Ink(f" {byte:>3}", _style(mark)))
            marks.append(Ink(f" {mark:>3}", _style(mark)))
            used.add(mark)
        yield tuple(bytes_)
        yield tuple(marks)
    known = legend(len(race.case.images))
    yield (
        Ink("  " + ", ".join(f"{mark}: {known[mark]}" for mark in known if mark in used), "dim"),
    )


def _marked(race: "Race", reader: Reader, offset: int) -> tuple[str, str]:
    if offset not in race.accepted:
        return "", ""
    byte = race.accepted[offset]
    row = next(row for row in race.case.layout.rows if row.offset <= offset < row.end)
    return f"{byte:02x}", version(
        race.case.images, offset, byte
    ) if row.name in reader.uses else UNUSED


def legend(images: int) -> dict[str, str]:
    """Return what each mark under a byte means where there are so many images."""
    alone = images == 2
    marks = {OLD: f"from before the update{'' if alone else 's'}"}
    marks |= {_new(number, images): f"from update {number}" for number in range(1, images)}
    if alone:
        marks[NEW] = "from the update"
    return marks | {
        SAME: "the same in both" if alone else "the same in more than one",
        UP: "with the flag up",
        NONE: "of no update",
        UNUSED: "not believed",
    }


def _new(number: int, images: int) -> str:
    return NEW if images == 2 else f"n{number}"


def version(images: Sequence[bytes], offset: int, byte: int) -> str:
    """Return which image has this byte there: old, new (new2, ...), = all, flag, ? none."""
    has = [number for number, image in enumerate(images) if image[offset] == byte]
    if len(has) == len(images):
        return SAME
    if not has:
        return UP if any(image[offset] | FLAG == byte for image in images) else NONE
    if len(has) > 1:
        return SAME
    return _new(has[0], len(images)) if has[0] else OLD


def _style(mark: str) -> str:
    if mark == OLD:
        return "time0"
    if mark.startswith("n"):
        return "entry"
    return "wrong" if mark in (NONE, UP) else "dim"
