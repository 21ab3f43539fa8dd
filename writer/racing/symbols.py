"""Versions of a struct in which each byte tells its version.

In the old version all bytes begin with the hex digit 1, in the first update with 2, and so on.
"""

from collections.abc import Iterable, Mapping
from itertools import count

from runstate_abi.writer.racing.patterns import Column
from runstate_abi.writer.vcpu import (
    ENTRY_TIME_SIZE,
    TIME_COUNT,
    TIME_ELEMENT_SIZE,
    Area,
    Runstate,
    image,
)
from runstate_abi.writer.versions.place import Change, Place

UPDATES_MAX = 3  # state has four values: one for the old image, three for updates
DIGITS = 16
FIRST_VERSION = 0x10  # of a word that counts updates: even, and not 0

# What a writer stores: a vCPU's runstate, or the bytes of another struct.
Version = Runstate | bytes
Where = Area | Place


def versions(
    area: Where, updates: int, columns: Mapping[int, Column] | None = None
) -> tuple[Version, ...]:
    """Return the version from before the updates, then one for each of them.

    ``columns``: which bytes of the guard's word are equal in which versions; None: all differ.
    """
    if not 1 <= updates <= UPDATES_MAX:
        raise ValueError(f"1 to {UPDATES_MAX} updates can be asked about, not {updates}")
    numbers = range(updates + 1)
    if isinstance(area, Place):
        return tuple(_struct(area, number, columns) for number in numbers)
    return tuple(_runstate(area, number, columns) for number in numbers)


# Entry-time bytes that must be equal begin with 1 in all versions.
def _runstate(area: Area, version: int, columns: Mapping[int, Column] | None) -> Runstate:
    digits = [version] * ENTRY_TIME_SIZE
    if columns is not None:
        equal = (0,) * (version + 1)
        start = area.shape.entry_time
        digits = [columns.get(start + n, equal)[version] for n in range(ENTRY_TIME_SIZE)]
    times = tuple(_bytes([version] * TIME_ELEMENT_SIZE, index) for index in range(TIME_COUNT))
    return Runstate(version, _bytes(digits, TIME_COUNT), times)  # type: ignore[arg-type]


def _bytes(digits: Iterable[int], last: int) -> int:
    return int.from_bytes(bytes((digit + 1) << 4 | last for digit in digits), "little")


def _struct(place: Place, version: int, columns: Mapping[int, Column] | None) -> bytes:
    layout, guard = place.layout, place.shape.guard
    struct, number = bytearray(layout.size), count()
    for element in layout.elements():
        if not element.row.padding:
            byte = (version + 1) << 4 | 2 * next(number) % DIGITS
            struct[element.offset : element.end] = bytes([byte]) * element.size
    word = guard.word(layout)
    if word:
        column = (columns or {}).get(word[0])
        step = 1 + bool(guard.bit)
        value = FIRST_VERSION + step * (column[version] if column else version)
        struct[word[0] : word[-1] + 1] = value.to_bytes(len(word), "little")
    return bytes(struct)


def image_of(area: Where, version: Version) -> bytes:
    """Return a version as it is in memory."""
    if isinstance(version, bytes):
        return version
    assert isinstance(area, Area)
    return image(area.shape, version, version.entry_time)


def stored(old: Version, new: Version) -> Runstate | Change:
    """Return what a writer is given to get from one version to the next."""
    if isinstance(old, bytes) and isinstance(new, bytes):
        return Change(old, new)
    assert isinstance(new, Runstate)
    return new
