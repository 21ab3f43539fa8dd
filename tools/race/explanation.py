"""An execution in a few sentences: what the guest took from which update, and why it accepted.

The sentences follow from the events and the accepted bytes, compared with the true images. The
execution itself is shown in two columns, host stores | guest loads, with the accepted image.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from runstate_abi.tools.output import Ink, Line
from runstate_abi.writer.guard import FLAG, Guard, guard_of
from runstate_abi.writer.guest import Reader
from runstate_abi.writer.steps import line as canonical_line
from runstate_abi.writer.vcpu import place_of, runs

if TYPE_CHECKING:
    from runstate_abi.writer.race import Race

ROW = 16  # bytes of the image per line
EVENT = 8  # a store or load of so many bytes is shown whole, so that both columns fit a terminal
END = 3  # bytes shown at each end of a longer one
# The marks under the bytes of an accepted image; with several updates, new is n1, n2, ...
# A byte of an update in flight has the guard's mark.
OLD, NEW, SAME, NONE, UNUSED = "old", "new", "=", "?", "-"


def timeline(race: "Race", writer: str, reader: str) -> Iterator[Line]:
    """Yield the execution, one event per line, in the order in which memory sees it."""
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
    """Return bytes in memory order, without the middle of many."""
    digits = data.hex(" ")
    return digits if len(data) <= EVENT else f"{data[:END].hex(' ')} .. {data[-END:].hex(' ')}"


# The steps of which the guest saw a part: made late, in several pieces, or not completely.
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
    """Yield the accepted image: a hexdump, the update of each byte below it, the legend."""
    layout, guard = race.case.layout, guard_of(race.case.layout)
    used: set[str] = set()
    for start in range(0, layout.size, ROW):
        offsets = [o for o in range(start, min(start + ROW, layout.size)) if o in race.accepted]
        if not offsets:
            continue
        bytes_ = [Ink(f"  {start:#04x} ", "dim")]
        marks = [Ink("       ")]
        for offset in range(start, offsets[-1] + 1):
            byte = mark = ""
            if offset in race.accepted:
                byte = f"{race.accepted[offset]:02x}"
                row = next(x for x in layout.rows if x.offset <= offset < x.end)
                origin = version(race.case.images, offset, race.accepted[offset], guard)
                mark = origin if row.name in reader.uses else UNUSED
            bytes_.append(Ink(f" {byte:>3}", _style(mark)))
            marks.append(Ink(f" {mark:>3}", _style(mark)))
            used.add(mark)
        yield tuple(bytes_)
        yield tuple(marks)
    known = legend(len(race.case.images), guard)
    explained = ", ".join(f"{mark}: {known[mark]}" for mark in known if mark in used)
    yield (Ink(f"  {explained}", "dim"),)


def legend(images: int, guard: Guard = FLAG) -> dict[str, str]:
    """Return the meaning of each mark under a byte, for so many images."""
    alone = images == 2
    marks = {OLD: f"from before the update{'' if alone else 's'}"}
    marks |= {_new(number, images): f"from update {number}" for number in range(1, images)}
    if alone:
        marks[NEW] = "from the update"
    return marks | {
        SAME: "the same in both" if alone else "the same in more than one",
        guard.mark: guard.legend,
        NONE: "of no update",
        UNUSED: "not believed",
    }


def _new(number: int, images: int) -> str:
    return NEW if images == 2 else f"n{number}"


def version(images: Sequence[bytes], offset: int, byte: int, guard: Guard = FLAG) -> str:
    """Return which image has this byte there: old, new (new2, ...), = all, a guard's, ? none."""
    has = [number for number, image in enumerate(images) if image[offset] == byte]
    if not has:
        busy = any(guard.raised(image[offset]) == byte for image in images)
        return guard.mark if busy else NONE
    if len(has) > 1:
        return SAME
    return _new(has[0], len(images)) if has[0] else OLD


def _style(mark: str) -> str:
    if mark == OLD:
        return "time0"
    if mark.startswith("n"):
        return "entry"
    return "dim" if mark in (SAME, UNUSED, "") else "wrong"


Versions = frozenset[int]  # numbers of images: 0 is the one from before the updates
_NTH = ("first", "second")  # no protocol reads it more often


def explained(race: "Race", reader: Reader) -> Iterator[str]:
    groups: dict[str, list[str]] = {}
    for element in race.case.layout.elements():
        whose = _whose(race, range(element.offset, element.end))
        if element.row.name in reader.uses and whose:
            groups.setdefault(whose, []).append(element.name)
    taken = (f"{listed(names)} {whose}" for whose, names in groups.items())
    yield f"The guest took {', and '.join(taken)}."
    if any(load.measured for load in reader.loads):
        yield from _code(race, reader)
    else:
        yield _accepted(race, reader)


# What a reader out of machine code lacks, by the order of its loads.
def _code(race: "Race", reader: Reader) -> Iterator[str]:
    loads = [(load.name, load.measured) for load in reader.loads if load.measured]
    compares = [n for n, (_, does) in enumerate(loads) if does.compared]
    tests = [name for name, does in loads if does.flag]
    if not compares and not tests:
        yield "It compares nothing, so it accepts whatever it took."
        return
    layout, guard = race.case.layout, guard_of(race.case.layout)
    word = guard.name(layout)
    if not tests:
        yield f"It does not look whether {guard.question}."
    if not compares:
        yield f"It compares no two loads of {word}, and only tests {tests[0]}."
        return
    row = layout.field(word)
    compared = sorted({at for _, does in loads for at in does.compared})
    if len(compared) < row.size:
        places = (place_of(race.case.layout, run[0], len(run)) for run in runs(compared))
        yield f"It compares {listed([*places])} alone."
    for name, does in loads:
        if does.compared and does.copied:
            yield f"At {name}, memcpy() loads {word} byte by byte, in any order."
    for outside, where, look in (
        (range(compares[-1] + 1, len(loads)), "after its last", compares[-1]),
        (range(compares[0]), "before its first", compares[0]),
    ):
        taken = [
            f"{place_of(race.case.layout, does.start, does.size)} (at {name})"
            for name, does in (loads[number] for number in outside)
            if does.believed
        ]
        if taken:
            verb = "is" if len(taken) == 1 else "are"
            said = f"load of {word}, at {loads[look][0]}"
            yield f"{listed(taken)} {verb} loaded {where} {said}."
    names = listed([*dict.fromkeys(loads[n][0] for n in compares)])
    yield f"It accepts if its loads of {word} are equal: at {names}."


# From which update these bytes are, in words; "" if all images have the same ones.
def _whose(race: "Race", offsets: Iterable[int]) -> str:
    images = race.case.images
    telling: dict[Versions | str, None] = {}
    for offset in offsets:
        if offset in race.accepted and offset not in race.case.hidden:
            byte = race.accepted[offset]
            have = frozenset(n for n, image in enumerate(images) if image[offset] == byte)
            if len(have) < len(images):
                guard = guard_of(race.case.layout)
                mark = version(images, offset, byte, guard)
                telling[have or legend(len(images), guard)[mark]] = None
    versions = [one for one in telling if isinstance(one, frozenset)]
    odd = [one for one in telling if isinstance(one, str)]
    common = versions[0].intersection(*versions) if versions else Versions()
    parts = [_from(one, len(images)) for one in ([common] if common else versions)] + odd
    return parts[0] if len(parts) == 1 else ", ".join(f"in part {part}" for part in parts)


def _from(versions: Versions, images: int) -> str:
    updates = [str(number) for number in sorted(versions) if number]
    if not updates:
        return "from before the update" + "s" * (images > 2)
    if images == 2:
        return "from the update"
    before = "before or from " if 0 in versions else ""
    return f"from {before}update {' or '.join(updates)}"


def _accepted(race: "Race", reader: Reader) -> str:
    found = _readings(race, reader)
    if not found:
        return "It compares nothing, so it accepts whatever it took."
    guard = guard_of(race.case.layout)
    word, first = guard.name(race.case.layout), found[0][0]
    same = all(data == first for data, _ in found)
    reads = f"two reads of {word} were {'equal' if same else 'different'},"
    if len(found) == 1:
        reads = f"one read of {word} was"
    text = f"Its {reads} {short(first)}{_time(race, first)}"
    if reader.bit_check:
        text += f", and {guard.up if guard.is_up(first[guard.at]) else guard.down}"
    text += ": so it accepted."
    for number, (_, halves) in enumerate(found):
        steps = [step(race, half) for half in halves]
        read = f"The {_NTH[number]} read" if len(found) > 1 else "That read"
        text += f" {read} fell into the middle of {listed(steps)}." if steps else ""
    return text


# From which update an entry time is, in words; "" if all images have the same one.
def _time(race: "Race", data: bytes) -> str:
    guard, images = guard_of(race.case.layout), race.case.images
    word, plain = guard.word(race.case.layout), bytearray(data)
    plain[guard.at] &= ~guard.bit
    have = (n for n, image in enumerate(images) if image[word[0] : word[-1] + 1] == plain)
    versions = frozenset(have)
    whose = _from(versions, len(images)) if versions else "of no update"
    said = [] if len(versions) == len(images) else [whose]
    if guard.is_up(data[guard.at]):
        said.append(guard.legend)
    return f" ({', '.join(said)})" if said else ""


# The readings of the guard's word, in the order of their numbers: the bytes, and the steps that
# each saw half done. Loads of one reading may come in pieces.
def _readings(race: "Race", reader: Reader) -> Sequence[tuple[bytes, tuple[int, ...]]]:
    numbers = {load.name: load.read for load in reader.loads if load.read}
    seen: dict[int, dict[int, int]] = {}
    halves: dict[int, dict[int, None]] = {}
    for index, event in enumerate(race.events):
        number = numbers.get(event.name) if event.step < 0 else None
        if number is not None:
            seen.setdefault(number, {}).update(enumerate(event.data, event.offset))
            # The steps with one piece before this event and another after it.
            before = {one.step for one in race.events[:index] if one.step >= 0}
            half_done = before & {one.step for one in race.events[index:]}
            halves.setdefault(number, {}).update(dict.fromkeys(sorted(half_done)))
    ordered = {number: dict(sorted(seen[number].items())) for number in sorted(seen)}
    return [(bytes(one.values()), tuple(halves[number])) for number, one in ordered.items()]


def listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
