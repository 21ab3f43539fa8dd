"""A race as a person reads it: two columns, host stores | guest loads, and the accepted image."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from runstate_abi.tools.output import Ink, Line
from runstate_abi.writer.guest import Reader
from runstate_abi.writer.steps import line as canonical_line
from runstate_abi.writer.vcpu import FLAG, place_of

if TYPE_CHECKING:
    from runstate_abi.writer.race import Race

ROW = 16  # bytes of the image in a line
EVENT = 8  # bytes of a store or load that are all shown, so that both columns fit a terminal
END = 3  # of each end of more bytes
# The marks under the bytes of an accepted image; after one update of several, new is n1, n2, ...
OLD, NEW, SAME, UP, NONE, UNUSED = "old", "new", "=", "flg", "?", "-"


def timeline(race: "Race", writer: str, reader: str) -> Iterator[Line]:
    """Yield the execution, an event a line, in the order in which memory sees it."""
    torn, host = _torn(race), f"host: {writer}"
    texts = [
        f"{place_of(race.case.layout, event.offset, len(event.data))} = {short(event.data)}"
        for event in race.events
    ]
    told = list(zip(race.events, texts, strict=True))
    width = max(len(host), *(len(text) for event, text in told if event.step >= 0))
    yield (Ink(f"      {host:<{width}} | guest: {reader}", "strong"),)
    for number, (event, text) in enumerate(told, 1):
        if event.step < 0:
            yield Ink(f"  {number:>3} {'':<{width}} | "), Ink(f"{event.name}: {text}", "strong")
            continue
        part = f"  part of: {step(race, event.step)}" if event.step in torn else ""
        left = Ink(f"  {number:>3} "), Ink(f"{text:<{width}}", "changed")
        yield *left, Ink(" |"), Ink(part, "dim")


def step(race: "Race", number: int) -> str:
    """Return a step's canonical line, without the bytes of a copy."""
    words = canonical_line(race.case.steps[number]).split()
    return " ".join(words if words[0] == "store" else words[:-1])


def short(data: bytes) -> str:
    """Return bytes in memory order; the middle of many is left out."""
    digits = data.hex(" ")
    return digits if len(data) <= EVENT else f"{data[:END].hex(' ')} .. {data[-END:].hex(' ')}"


# The steps of which the guest saw a part: made late, in several pieces, or not as a whole.
def _torn(race: "Race") -> set[int]:
    torn, last = set(), -2
    for event in race.events:
        if 0 <= event.step < last:
            torn.add(event.step)
        last = max(last, event.step)
    for number in {event.step for event in race.events if event.step >= 0}:
        pieces = [len(event.data) for event in race.events if event.step == number]
        whole = len(getattr(race.case.steps[number], "data", b""))
        if len(pieces) > 1 or pieces[0] < whole:
            torn.add(number)
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
    explained = ", ".join(f"{mark}: {known[mark]}" for mark in known if mark in used)
    yield (Ink(f"  {explained}", "dim"),)


def _marked(race: "Race", reader: Reader, offset: int) -> tuple[str, str]:
    if offset not in race.accepted:
        return "", ""
    byte = race.accepted[offset]
    row = next(row for row in race.case.layout.rows if row.offset <= offset < row.end)
    believed = row.name in reader.uses
    return f"{byte:02x}", version(race.case.images, offset, byte) if believed else UNUSED


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
