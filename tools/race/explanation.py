"""An execution told in a few sentences: what the guest took from which update, and why it accepted.

The sentences follow from the events and the accepted bytes, compared with the true images.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from runstate_abi.tools.race import timeline
from runstate_abi.writer.guest import Reader
from runstate_abi.writer.vcpu import FLAG, place_of

if TYPE_CHECKING:
    from runstate_abi.writer.race import Race

Versions = frozenset[int]  # numbers of images: 0 is what was there before
_NTH = ("first", "second")  # no protocol reads it more often


class Reading(NamedTuple):
    """One reading of state_entry_time: the bytes it gave, and the steps it saw half done."""

    data: bytes
    halves: tuple[int, ...]


def explained(race: "Race", reader: Reader) -> Iterator[str]:
    """Yield the sentences."""
    yield f"The guest took {', and '.join(_taken(race, reader))}."
    yield _accepted(race, reader)


def _taken(race: "Race", reader: Reader) -> Iterator[str]:
    groups: dict[str, list[str]] = {}
    for offset, size in _believed(race, reader):
        whose = _whose(race, range(offset, offset + size))
        if whose:
            name = place_of(race.case.layout, offset, size)
            groups.setdefault(whose, []).append(name)
    for whose, names in groups.items():
        yield f"{listed(names)} {whose}"


# The elements that the reader believes: offset and size of each.
def _believed(race: "Race", reader: Reader) -> Iterator[tuple[int, int]]:
    for row in race.case.layout.members:
        if row.name in reader.uses:
            yield from ((row.offset + i * row.type.size, row.type.size) for i in range(row.count))


# From which update the bytes at these offsets are, in words; "" if all images have the same ones.
def _whose(race: "Race", offsets: Iterable[int]) -> str:
    images = race.case.images
    telling: dict[Versions | str, None] = {}
    for offset in offsets:
        if offset in race.accepted and offset not in race.case.hidden:
            byte = race.accepted[offset]
            have = frozenset(n for n, image in enumerate(images) if image[offset] == byte)
            if len(have) < len(images):
                mark = timeline.version(images, offset, byte)
                telling[have or timeline.legend(len(images))[mark]] = None
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
    first = found[0].data
    same = all(one.data == first for one in found)
    reads = f"two reads of state_entry_time were {'equal' if same else 'different'},"
    if len(found) == 1:
        reads = "one read of state_entry_time was"
    text = f"Its {reads} {timeline.short(first)}{_time(race, first)}"
    if reader.bit_check:
        text += f", and the flag was {'set' if first[-1] & FLAG else 'clear'}"
    text += ": so it accepted."
    for number, one in enumerate(found):
        steps = [timeline.step(race, step) for step in one.halves]
        read = f"The {_NTH[number]} read" if len(found) > 1 else "That read"
        text += f" {read} fell into the middle of {listed(steps)}." if steps else ""
    return text


# Of which update an entry time is, in words; "" if all images have the same one.
def _time(race: "Race", data: bytes) -> str:
    row, images = race.case.layout.field("state_entry_time"), race.case.images
    plain = data[:-1] + bytes([data[-1] & ~FLAG])
    versions = frozenset(
        n for n, image in enumerate(images) if image[row.offset : row.end] == plain
    )
    whose = _from(versions, len(images)) if versions else "of no update"
    said = [] if len(versions) == len(images) else [whose]
    if plain != data:
        said.append("with the flag up")
    return f" ({', '.join(said)})" if said else ""


# The readings in the order in which they are numbered. Loads of one reading may come in pieces.
def _readings(race: "Race", reader: Reader) -> Sequence[Reading]:
    numbers = {load.name: load.read for load in reader.loads if load.read}
    seen: dict[int, dict[int, int]] = {}
    halves: dict[int, dict[int, None]] = {}
    for index, event in enumerate(race.events):
        number = numbers.get(event.name) if event.step < 0 else None
        if number is not None:
            seen.setdefault(number, {}).update(enumerate(event.data, event.offset))
            halves.setdefault(number, {}).update(dict.fromkeys(_half_done(race, index)))
    return [
        Reading(bytes(dict(sorted(seen[one].items())).values()), tuple(halves[one]))
        for one in sorted(seen)
    ]


# The steps with a piece before an event and another one after it.
def _half_done(race: "Race", index: int) -> Iterator[int]:
    before = {event.step for event in race.events[:index] if event.step >= 0}
    yield from sorted(before & {event.step for event in race.events[index:]})


def listed(names: Sequence[str]) -> str:
    """Return ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
