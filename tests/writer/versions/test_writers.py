"""The writers of versions, executed on real bytes: what memory holds after each step."""

from itertools import groupby

import pytest

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.layouts.structs.pvclock import TIME_INFO
from runstate_abi.writer.guard import guard_of
from runstate_abi.writer.memory import Window, apply
from runstate_abi.writer.racing import symbols
from runstate_abi.writer.steps import Copy, Write
from runstate_abi.writer.versions.parties import ALL, OTHERS, Meeting, meetings
from runstate_abi.writer.versions.place import Change, Place
from runstate_abi.writer.versions.readers import READERS
from runstate_abi.writer.versions.writers import WRITERS

EVERY = {one.name: one for rows in WRITERS.values() for one in rows}
FILL = 0xA5
# Those that write one member beside the version, and so leave the others and the version.
PARTS = {"kvm-x86-preempted": ("preempted",), "kvm-loongarch-preempted": ("preempted",)}
FIRST, SECOND = 0x11, 0x52  # what the bytes of the members are


def struct(layout, byte, version):
    """A struct whose members are all one byte, and its version."""
    made = bytearray(layout.size)
    for row in layout.members:
        made[row.offset : row.end] = bytes([byte]) * row.size
    word = guard_of(layout).word(layout)
    made[word.start : word.stop] = version.to_bytes(len(word), "little") if word else b""
    return bytes(made)


def moments(writer, address, versions):
    """The struct after each store, and all of memory at the end."""
    place, size = Place(writer.layout, address), writer.layout.size
    old, new = (struct(writer.layout, *one) for one in zip((FIRST, SECOND), versions, strict=True))
    window = Window(bytes([FILL]))
    window.data[place.offset : place.offset + size] = old
    found = []
    for step in writer.update(Change(old, new), place):
        apply(window, step)
        if isinstance(step, Write):
            found.append(bytes(window.data[place.offset : place.offset + size]))
    return old, new, found, bytes(window.data)


# A carry into the second byte, so that a version of which one half was stored would show.
CARRY, NEXT = (0xFE, 0x100), (0x1FE, 0x1FF)


@pytest.mark.parametrize("name", EVERY)
def test_the_version_goes_up_and_down_once_and_the_rest_is_new_at_the_end(name):
    writer = EVERY[name]
    guard = guard_of(writer.layout)
    versions = CARRY if guard.bit else NEXT
    old, new, found, _ = moments(writer, 0x100, versions)
    if name in PARTS:
        changed = {at for at in range(len(old)) if old[at] != found[-1][at]}
        rows = [writer.layout.field(member) for member in PARTS[name]]
        assert changed == {at for row in rows for at in range(row.offset, row.end)}
        return
    word = guard.word(writer.layout)
    seen = [int.from_bytes(one[word.start : word.stop], "little") for one in found]
    between = [] if not word or name == "xen-tsc-page" else [0xFF if guard.bit else 0]
    distinct = [value for value, _ in groupby([versions[0], *seen])]
    assert not word or distinct == [versions[0], *between, versions[1]]
    taken = {
        load.part for r in EVERY_READER if writer.layout in r.layouts for load in r.reader.loads
    }
    for row in writer.layout.members:
        if row.name in taken:
            assert found[-1][row.offset : row.end] == new[row.offset : row.end], row.name


EVERY_READER = [one for rows in READERS.values() for one in rows]


@pytest.mark.parametrize("name", EVERY)
def test_while_the_members_are_of_two_updates_the_version_says_so(name):
    writer = EVERY[name]
    guard = guard_of(writer.layout)
    if name in PARTS or not guard.word(writer.layout) or name == "xen-tsc-page":
        return
    old, _, found, _ = moments(writer, 0x100, CARRY if guard.bit else NEXT)
    word, place = guard.word(writer.layout), guard.place(writer.layout)
    first = next(n for n, one in enumerate(found) if guard.is_up(one[place]))
    last = max(n for n, one in enumerate(found) if guard.is_up(one[place]))
    for one in found[:first]:  # preempted is outside the protocol
        rows = [r for r in writer.layout.members if one[r.offset : r.end] != old[r.offset : r.end]]
        assert {row.name for row in rows} <= {"preempted"}
    assert last == len(found) - 2
    data = [at for at in range(len(old)) if at not in word]
    assert [found[last][at] for at in data] == [found[-1][at] for at in data]


@pytest.mark.parametrize("address", [0x100, PAGE_SIZE - 8, PAGE_SIZE - 2])
@pytest.mark.parametrize("name", EVERY)
def test_nothing_outside_the_struct_is_touched(name, address):
    writer = EVERY[name]
    if address > PAGE_SIZE - writer.layout.size and name != "xen-time-va":
        return  # the others require a struct in one page
    _, _, found, memory = moments(writer, address, (0x10, 0x12))
    end = address + writer.layout.size
    assert memory[:address] == bytes([FILL]) * address
    assert memory[end:] == bytes([FILL]) * (len(memory) - end)
    assert memory[address:end] == found[-1]


def test_what_a_writer_stores_in_between_is_no_byte_of_a_version():
    """kvm-time-6.12 stores a flag and takes it back: a search must tell both apart."""
    place = Place(TIME_INFO, 0x100)
    flags = TIME_INFO.offsetof("flags")
    images = symbols.versions(place, 2)
    steps = [*EVERY["kvm-time-6.12"].update(Change(*images[:2]), place)]
    (copied,) = (step.data[flags] for step in steps if isinstance(step, Copy))
    assert copied not in {image[flags] for image in images}


def test_a_writer_beside_the_vcpu_reaches_a_reader_of_its_own():
    own = next(one for one in READERS["pvclock"] if one.own)
    writer = next(one for one in WRITERS["pvclock"] if one.layout is TIME_INFO)
    for running, reached in ((OTHERS, False), (ALL, True)):
        asked = list(meetings((writer._replace(running=running),), (own,)))
        assert [not one.unreachable for one in asked] == [reached, False]
        assert all(isinstance(one, Meeting) for one in asked)
