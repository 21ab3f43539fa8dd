"""One update of a struct with a version: its values, its execution, and what shows it in flight."""

from collections.abc import Mapping
from typing import NamedTuple

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.layouts.model import Layout
from runstate_abi.writer.guard import guard_of
from runstate_abi.writer.memory import Moment, Window, trace
from runstate_abi.writer.steps import Step, Write
from runstate_abi.writer.versions.parties import VersionWriter
from runstate_abi.writer.versions.place import Change, Place

# A member's default is its number in each of its bytes: 11 11 .., 22 22 .., 33 33 ..
DIGIT = 0x11


class Refused(Exception):
    """The writer does not take the struct at this place, or cannot store what is asked for."""


class Written(NamedTuple):
    """An executed update: who wrote, where, the struct before it, and each moment."""

    writer: VersionWriter
    place: Place
    before: bytes
    moments: tuple[Moment, ...]

    @property
    def layout(self) -> Layout:
        return self.writer.layout

    def struct(self, moment: Moment) -> bytes:
        """Return the struct right after a step."""
        return moment.memory[self.place.offset :][: self.layout.size]

    @property
    def after(self) -> bytes:
        return self.struct(self.moments[-1])

    @property
    def snapshots(self) -> tuple[bytes, ...]:
        """The struct at each barrier."""
        return tuple(self.struct(one) for one in self.moments if one.at_barrier)


def write(writer: VersionWriter, address: int, old: bytes, values: Mapping[str, int]) -> Written:
    """Execute one update of a struct that holds ``old`` (Refused; ValueError: a value)."""
    place = Place(writer.layout, address)
    if not writer.takes(place):
        raise Refused(f"{writer.name} takes no struct that crosses a page")
    word = _even(writer, old)
    change = Change(_with_word(writer.layout, old, word), new_image(writer, word, values))
    window = Window()
    window.data[place.offset : place.offset + writer.layout.size] = old
    made = tuple(writer.update(change, place))
    _refuse_unstored(writer, place, made, values)
    return Written(writer, place, old, tuple(trace(window, made)))


def _refuse_unstored(
    writer: VersionWriter, place: Place, made: tuple[Step, ...], values: Mapping[str, int]
) -> None:
    stored = {offset for step in made if isinstance(step, Write) for offset in span(place, step)}
    for member in values:
        if writer.layout.offsetof(member) not in stored:
            raise Refused(f"{writer.name} does not store {member}")


def span(place: Place, step: Write) -> range:
    """Return the offsets in the struct that a step stores."""
    start = (step.page - 1) * PAGE_SIZE + step.offset - place.offset
    return range(start, start + len(step.data))


# The word from which the writer counts. Of an odd one, left by a writer that did not come to its
# end, it makes an even one first: version_update_begin(), kvm_setup_guest_pvclock() and others.
def _even(writer: VersionWriter, old: bytes) -> int:
    guard = guard_of(writer.layout)
    word = guard.word(writer.layout)
    value = int.from_bytes(bytes(old[offset] for offset in word), "little")
    if not guard.bit or not value & guard.bit:
        return value
    if not writer.repairs:
        name = guard.name(writer.layout)
        raise Refused(f"{writer.name} adds 1 to an odd {name} too: that is not modelled")
    return (value + guard.bit) % (1 << 8 * len(word))


def _with_word(layout: Layout, image: bytes, value: int) -> bytes:
    word, data = guard_of(layout).word(layout), bytearray(image)
    if word:
        data[word[0] : word[-1] + 1] = value.to_bytes(len(word), "little")
    return bytes(data)


def new_image(writer: VersionWriter, word: int, values: Mapping[str, int]) -> bytes:
    """Return the struct after the update: ``values``, defaults, and the word that follows."""
    layout = writer.layout
    data = bytearray(layout.size)
    for number, row in enumerate(layout.members, 1):
        default = bytes([number * DIGIT]) * row.size
        data[row.offset : row.end] = (
            values[row.name].to_bytes(row.size, "little", signed=values[row.name] < 0)
            if row.name in values
            else default
        )
    return _with_word(layout, bytes(data), following(writer, word))


def following(writer: VersionWriter, word: int) -> int:
    """Return the version or sequence that an update leaves, from the one that it counts from."""
    guard = guard_of(writer.layout)
    numbers = 1 << 8 * max(1, len(guard.word(writer.layout)))
    if guard.bit:
        return (word + 2 * guard.bit) % numbers
    found = (word + 1) % numbers
    return 1 if found in (0, *writer.skips) else found


def in_flight(layout: Layout, struct: bytes) -> bool | None:
    """Do these bytes say that an update is in flight? None if nothing in the struct can."""
    guard = guard_of(layout)
    place = guard.place(layout)
    return None if place < 0 else guard.is_up(struct[place])


def version(layout: Layout, struct: bytes) -> str:
    """Return the version in a struct in words: ``version 3, odd``."""
    guard = guard_of(layout)
    word = guard.word(layout)
    if not word:
        return "no version"
    value = int.from_bytes(struct[word[0] : word[-1] + 1], "little")
    said = f"{guard.name(layout)} {value}"
    return f"{said}: an update is in flight" if in_flight(layout, struct) else said


def fields_of(written: Written, step: Write) -> str:
    """Return the members that a write touches: ``version``, ``sec..nsec``; "" if none."""
    here = span(written.place, step)
    names = [
        row.name
        for row in written.layout.members
        if row.offset < here.stop and here.start < row.end
    ]
    return "" if not names else names[0] if len(names) == 1 else f"{names[0]}..{names[-1]}"
