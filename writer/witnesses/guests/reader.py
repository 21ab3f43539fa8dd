"""A guest's reader out of its machine code: what it loads, compares, refuses and believes.

The function runs in an emulator on an area whose bytes are chosen load by load. One run with a
quiet area gives its loads. In the others some loads see another version of the struct, or the flag
up: whether it still accepts, and what its result is, shows what it does with each byte of each
load. The result is a Reader, as writer/guest.py has them, and nothing about it is assumed: what
was found is checked against every combination of versions and flags, and what cannot be followed
is refused (WitnessError) with the instruction.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, product
from typing import NamedTuple

from runstate_abi.layouts.model import Layout, WitnessError
from runstate_abi.writer.guest import Load, Measured, Op, ReadBarrier, Reader
from runstate_abi.writer.vcpu import FLAG, RUNNABLE
from runstate_abi.writer.witnesses.guests.machine import (
    LOADS_MAX,
    Attempt,
    ReaderMachine,
    Seen,
)

DECIDING_MAX = 8  # loads of state_entry_time: get64() twice has six
COMBINATIONS_MAX, SURE_MAX = 1024, 12  # 2^12 combinations at most
DIFFERENCES, HALVES = 32, 8
PERIOD = 127  # of changes: a prime, and larger than the loads of an iteration
VALUES = (0, 1, 2, 3, 1 << 20, (1 << 63) - 1)  # that a reader may take for something of their own
Changes = Mapping[int, Mapping[int, int]]  # number of a load -> offset -> what is XORed


def _pattern(layout: Layout, version: int) -> bytes:
    chance = random.Random(layout.size)
    bytes_ = bytearray(chance.randrange(1, 127) for _ in range(layout.size))
    bytes_[layout.field("state_entry_time").end - 1] = 0  # as it is for the next 2,000 years
    state = layout.field("state")
    bytes_[state.offset : state.end] = RUNNABLE.to_bytes(state.size, "little")
    return bytes(bytes_) if not version else bytes(one ^ 0x7F for one in bytes_)


class Found(NamedTuple):
    """A reader as its code has it."""

    reader: Reader
    model: str


class _Inquiry:
    """Questions to one reader: does it accept, and what is its result, if loads see this?"""

    def __init__(self, machine: ReaderMachine) -> None:
        self.machine, self.layout = machine, machine.layout
        entry = machine.layout.field("state_entry_time")
        self.entry, self.top = range(entry.offset, entry.end), entry.end - 1
        self.base, self.other = _pattern(machine.layout, 0), _pattern(machine.layout, 1)
        self.quiet = machine.quiet(self.base)
        if not self.quiet.loads:
            raise machine.refused("it loads nothing of the area")
        self.loads = self.quiet.loads
        self.barriers, self.makers = machine.traced(self.base)
        self.deciding = [n for n, one in enumerate(self.loads) if self.bytes_of(n, self.entry)]
        self.failures = set[int]()
        self._check_numbers()

    def bytes_of(self, number: int, places: range) -> list[int]:
        """Return the offsets of a load that are in ``places``."""
        one = self.loads[number]
        return [at for at in range(one.offset, one.offset + one.size) if at in places]

    # An index of a CPU may be anything to a kernel; to another function a number is an option.
    def _check_numbers(self) -> None:
        if (
            "number" not in self.machine.signature.takes
            or "area" not in self.machine.signature.takes
        ):
            return
        for self.machine.number in (1, 2, 0x7FFF_FFFF):
            try:
                loads = self.machine.run(self.base).loads
            except WitnessError:
                continue  # it is the index of an area
            if loads != self.loads:
                raise self.machine.refused("what it loads depends on a parameter that is a number")
        self.machine.number = 0

    def data_of(self, one: Seen) -> dict[int, int]:
        """Return another version of what a load has but the entry time (offset -> XOR)."""
        places = range(one.offset, one.offset + one.size)
        return {at: 0x7F for at in places if at not in self.entry}

    def other_data(self, number: int) -> dict[int, int]:
        return self.data_of(self.loads[number])

    def struct(self, changes: Mapping[int, int]) -> bytes:
        """Return the struct with changes (offset -> what is XORed)."""
        struct = bytearray(self.base)
        for at, bits in changes.items():
            struct[at] ^= bits
        return bytes(struct)

    def versions(self, changes: Changes) -> dict[int, bytes]:
        return {number: self.struct(places) for number, places in changes.items()}

    def failed(self, run: Attempt) -> bool:
        """Does it say that it failed, with another status than if nothing changes?"""
        machine, right = self.machine, self.quiet.returned
        status = "result" in machine.signature.takes and machine.signature.returns
        if not status or run.returned == right:
            return False
        if not run.returned >> 8 * machine.signature.returns - 1:  # as no -EAGAIN is
            self.failures.add(run.returned)
        if len(self.failures) > 1 or 0 not in (right, *self.failures, bool(self.failures)):
            values = ", ".join(map(str, (right, *sorted(self.failures))))
            raise machine.refused(f"it returns {values}: which of them say that it failed?")
        return True

    def accepts(self, changes: Changes) -> bool:
        """Does it return what it returns if nothing changes, after the same loads?"""
        run = self.machine.run(self.base, self.versions(changes))
        if run.parted is not None:
            return False
        if len(run.loads) < len(self.loads) and not self.failed(run):
            raise self.machine.refused("it may return before it has made all its loads")
        return not self.failed(run)

    def result(self, changes: Changes) -> bytes:
        run = self.machine.run(self.base, self.versions(changes))
        status = "result" in self.machine.signature.takes
        returned = b"" if status else run.returned.to_bytes(8, "little")
        return returned + run.result


def reader_of(machine: ReaderMachine, name: str, line: Callable[[int], str]) -> Found:
    """Return the reader of a function (WitnessError: it cannot be followed).

    ``line`` names an instruction, for the names of the loads.
    """
    asked = _Inquiry(machine)
    compared = _compared(asked)
    flags = _flags(asked, compared)
    many = sum(bool(compared[n] or flags[n]) for n in asked.deciding)
    if many > DECIDING_MAX:
        raise machine.refused(f"{many} loads decide whether it accepts, more than {DECIDING_MAX}")
    _verify(asked, compared, flags)
    believed = _believed(asked, compared)
    members = _members(asked, believed)
    program = tuple(_program(asked, compared, flags, believed, line))
    seen = len(asked.loads)
    reader = Reader(
        name,
        program,
        f"machine code, {seen} loads in an iteration",
        f"{machine.file.source}: {name}()",
        bit_check=any(flags.values()),
        uses=members,
    )
    return Found(reader, machine.cpu.model)


# For each deciding load the offsets of the bytes that must be the same in the others.
def _compared(asked: _Inquiry) -> dict[int, tuple[int, ...]]:
    found: dict[int, tuple[int, ...]] = {}
    for number in asked.deciding:
        mine = []
        places = asked.bytes_of(number, asked.entry)
        if all(asked.accepts({number: _changed(asked, number, True, up)}) for up in (False, True)):
            places = []  # any comparison would have refused it
        for at in places:
            bits = [1 << bit for bit in range(7 if at == asked.top else 8)]
            refused = [not asked.accepts({number: {at: bit}}) for bit in bits]
            if any(refused) and not all(refused):
                why = f"it compares only some bits of byte {at} of the struct"
                raise asked.machine.refused(why)
            if all(refused):
                mine.append(at)
        found[number] = tuple(mine)
    return found


# Which loads refuse the flag: asked with the flag in all loads that compare its byte, or in one.
def _flags(asked: _Inquiry, compared: Mapping[int, tuple[int, ...]]) -> dict[int, bool]:
    together = [number for number in asked.deciding if asked.top in compared[number]]
    up = {asked.top: FLAG}
    refused = bool(together) and not asked.accepts(dict.fromkeys(together, up))
    found = {}
    for number in asked.deciding:
        if not asked.bytes_of(number, range(asked.top, asked.top + 1)):
            found[number] = False
        elif number in together:
            found[number] = refused
        else:
            found[number] = not asked.accepts({number: up})
    return found


# Is what was found all there is? Every combination of versions and flags in the loads of the entry
# time; if these are too many, in those that decide, and any in the others. What it refuses it must
# retry, or say that it failed.
def _verify(
    asked: _Inquiry, compared: Mapping[int, tuple[int, ...]], flags: Mapping[int, bool]
) -> None:
    _verify_others(asked)
    _verify_values(asked, compared, flags)
    _verify_differences(asked, compared)
    _verify_halves(asked, compared)
    has_top = [n for n in asked.deciding if asked.bytes_of(n, range(asked.top, asked.top + 1))]
    # What may differ, the loads that decide first.
    kinds = [(n, False) for n in asked.deciding] + [(n, True) for n in has_top]
    kinds.sort(key=lambda kind: not (compared[kind[0]] or flags[kind[0]]))
    those = sum(bool(compared[n] or flags[n]) for n, _ in kinds)
    sure = len(kinds) if 1 << len(kinds) <= COMBINATIONS_MAX else min(those, SURE_MAX)
    chance = random.Random(1)
    for way in product((False, True), repeat=sure):
        rest = (chance.random() < 0.5 for _ in kinds[sure:])
        chosen = {kind for kind, is_so in zip(kinds, (*way, *rest), strict=True) if is_so}
        new, up = ({n for n, is_flag in chosen if is_flag == which} for which in (False, True))
        changes = {n: _changed(asked, n, n in new, n in up) for n in asked.deciding}
        wanted = _agrees(asked, compared, new, up) and not any(flags[n] for n in up)
        if asked.accepts(changes) != wanted:
            why = "whether it accepts is no comparison of its loads and test of the flag"
            raise asked.machine.refused(why)
        if not wanted:
            _retried(asked, changes)
    _verify_retries(asked, compared, flags)
    _verify_patience(asked, any(compared.values()), any(flags.values()))


def _changed(asked: _Inquiry, number: int, new: bool, up: bool) -> dict[int, int]:
    places = asked.bytes_of(number, asked.entry)
    bits = {at: 0x7F if at == asked.top else 0xFF for at in places} if new else {}
    if up:
        bits[asked.top] = bits.get(asked.top, 0) | FLAG
    return bits


def _agrees(
    asked: _Inquiry, compared: Mapping[int, tuple[int, ...]], new: set[int], up: set[int]
) -> bool:
    for at in asked.entry:
        those = [n for n in asked.deciding if at in compared[n]]
        if len({(n in new, at == asked.top and n in up) for n in those}) > 1:
            return False
    return True


# Nothing but state_entry_time may decide.
def _verify_others(asked: _Inquiry) -> None:
    chance = random.Random(2)
    for _ in range(16):
        changes = {}
        for number, one in enumerate(asked.loads):
            places = range(one.offset, one.offset + one.size)
            changes[number] = {at: chance.randrange(256) for at in places if at not in asked.entry}
        if not asked.accepts(changes):
            raise asked.machine.refused("whether it accepts depends on other members too")


# Nor may one value of a member, or of the entry time: neither what is refused nor what is accepted.
def _verify_values(
    asked: _Inquiry, compared: Mapping[int, tuple[int, ...]], flags: Mapping[int, bool]
) -> None:
    for element in asked.layout.elements():
        for value in VALUES:
            data = value.to_bytes(8, "little")
            places = range(element.offset, element.end)
            bits = {at: data[at - element.offset] ^ asked.base[at] for at in places}
            if asked.top in bits:
                bits[asked.top] &= ~FLAG
            patch = {
                number: {
                    at: bits[at]
                    for at in asked.bytes_of(number, range(element.offset, element.end))
                }
                for number in range(len(asked.loads))
            }
            refuses = asked.accepts(patch)
            for number, change in _kinds(asked, compared, flags, 1):
                one = patch[number]
                both = {at: one.get(at, 0) ^ change.get(at, 0) for at in (*one, *change)}
                refuses = refuses and not asked.accepts({**patch, number: both})
            if not refuses:
                why = f"whether it accepts depends on the value of {element.name}"
                raise asked.machine.refused(why)


# Differences that a sum or a fold of the bytes would not show.
def _verify_differences(asked: _Inquiry, compared: Mapping[int, tuple[int, ...]]) -> None:
    chance = random.Random(3)
    for number, places in compared.items():
        for _ in range(DIFFERENCES if len(places) > 1 else 0):
            half = chance.randrange(1, 1 << 32)
            whole = chance.choice(
                (half, half | half << 32, half | (-half & 0xFFFF_FFFF) << 32, half * 0x1_0001)
            ).to_bytes(8, "little")
            bits = {
                at: whole[at - asked.entry.start] & ~(FLAG * (at == asked.top)) for at in places
            }
            if any(bits.values()) and asked.accepts({number: bits}):
                why = "whether it accepts is no comparison of its loads and test of the flag"
                raise asked.machine.refused(why)


# The same in two loads of other bytes, as a reader of halves compares them.
def _verify_halves(asked: _Inquiry, compared: Mapping[int, tuple[int, ...]]) -> None:
    chance = random.Random(4)
    parts = {n: places for n, places in compared.items() if 0 < len(places) < len(asked.entry)}
    for (one, these), (two, those) in combinations(parts.items(), 2):
        if len(these) != len(those) or not set(these).isdisjoint(those):
            continue
        for round_ in range(HALVES):
            bits = chance.randrange(1, 1 << 8 * len(these) - 1)
            other = -bits & (1 << 8 * len(those)) - 1 if round_ & 1 else bits
            changes = {
                number: dict(zip(places, value.to_bytes(len(places), "little"), strict=True))
                for number, places, value in ((one, these, bits), (two, those, other))
            }
            for change in changes.values():
                if asked.top in change:
                    change[asked.top] &= ~FLAG
            if asked.accepts(changes):
                why = "whether it accepts is no comparison of its loads and test of the flag"
                raise asked.machine.refused(why)


# (load, change) for each kind of change that a load refuses.
def _kinds(
    asked: _Inquiry,
    compared: Mapping[int, tuple[int, ...]],
    flags: Mapping[int, bool],
    bit: int,
) -> Iterator[tuple[int, dict[int, int]]]:
    for number in asked.deciding:
        if flags[number]:
            yield number, {asked.top: FLAG}
        for at in compared[number][:1]:
            yield number, {at: bit}


# What does it do after it saw this change, if nothing changes any more? The same again, from its
# first load or from a later one on, or it says that it failed. Return where the loads of the last
# iteration are: it takes what these saw, and nothing of the other data before.
def _retried(asked: _Inquiry, changes: Changes) -> list[int]:
    changed = asked.versions(
        {n: {**asked.other_data(n), **changes.get(n, {})} for n in range(len(asked.loads))}
    )
    run = asked.machine.follow(asked.base, changed)
    if asked.failed(run):
        return []
    places = _last_iteration(asked, run.loads)
    end = len(run.loads) if run.parted is None else run.parted
    saw = {n: changed[at] for n, at in enumerate(places) if at < end and at in changed}
    last = asked.machine.run(asked.base, saw)
    same = last.parted is None and (run.returned, run.result) == (last.returned, last.result)
    if not places or not same:
        raise asked.machine.refused("after it saw a change it does something else than it did")
    return places


# Does it ask again what it asked before, and take what it took? A change of each kind, and after it
# one in each load of the last iteration.
def _verify_retries(
    asked: _Inquiry, compared: Mapping[int, tuple[int, ...]], flags: Mapping[int, bool]
) -> None:
    machine = asked.machine
    for number, change in _kinds(asked, compared, flags, 1):
        first = asked.struct(change)
        places = _retried(asked, {number: change})
        before = machine.follow(asked.base, {number: first}, stays=True)
        barriers, _ = machine.traced(asked.base, {number: first})
        if places:
            _verify_last(asked, number, change, before, places)
            _verify_order(asked, barriers, places)
        for index, second in _kinds(asked, compared, flags, 2) if places else ():
            place = places[index]
            if place == number:
                continue
            both = {number: first, place: asked.struct(second)}
            run = machine.follow(asked.base, both, stays=True)
            if run.loads[: number + 1] != before.loads[: number + 1]:
                continue  # a loop before the first change saw the second one
            if len(run.loads) <= len(before.loads) and not asked.failed(run):
                raise machine.refused("after it saw a change it accepts what it did not")


# Is its result made of the same loads of the last iteration as of a quiet one?
def _verify_last(
    asked: _Inquiry, number: int, change: dict[int, int], before: Attempt, places: Sequence[int]
) -> None:
    seen = {n: change for n, at in enumerate(places) if at == number}
    for place in range(before.parted or 0, len(before.loads)):
        one = before.loads[place]
        data = asked.data_of(one)
        if not data or place == number:
            continue
        versions = {number: asked.struct(change), place: asked.struct(data)}
        run = asked.machine.follow(asked.base, versions, stays=True)
        there = {n: data for n, at in enumerate(places) if at == place}
        wanted = asked.machine.run(asked.base, asked.versions({**seen, **there}))
        if (run.returned, run.result) != (wanted.returned, wanted.result):
            raise asked.machine.refused("after it saw a change it takes other loads than it did")


# Has the last iteration the read barriers of a quiet one, between the same loads?
def _verify_order(
    asked: _Inquiry, barriers: Sequence[tuple[int, int]], places: Sequence[int]
) -> None:
    for before, _ in asked.barriers:
        if 0 < before < len(places):
            between = range(places[before - 1] + 1, places[before] + 1)
            if not any(number in between for number, _ in barriers):
                raise asked.machine.refused("after it saw a change it has a barrier less")


# Does it ever give up, and take what it has? With the flag up for ever, or another entry time at
# each load, it must come back to a state in which it was.
def _verify_patience(asked: _Inquiry, compares: bool, refuses: bool) -> None:
    kinds = [(True, False)] * refuses + [(False, True)] * compares
    kinds += [(True, True)] * (refuses and compares)
    for up, changes in kinds:
        restless = _Restless(asked, up, PERIOD if changes else 1)
        run = asked.machine.endures(asked.base, restless, restless.period)
        if run is not None and not asked.failed(run):
            raise asked.machine.refused("it accepts after it has tried a number of times")


# Where the loads of a quiet iteration are in a longer run that ends with one. What is loaded before
# the loop, or was loaded at the end of the iteration before, is looked for in front of it. From the
# last look at state_entry_time on it is the same code.
def _last_iteration(asked: _Inquiry, loads: Sequence[Seen]) -> list[int]:
    wanted = asked.loads
    same = len(wanted) - max(asked.deciding, default=0)
    if loads[-same:] != wanted[-same:]:
        return []
    places: list[int] = []
    at = len(loads)
    for one in reversed(wanted):
        at -= 1
        while at >= 0 and loads[at][1:] != one[1:]:
            at -= 1
        if at < 0:
            return []
        places.append(at)
    found = places[::-1]
    skipped = [n for n in range(found[0], len(loads)) if n not in found]
    body = [one[1:] for one in wanted]
    return found if all(loads[n][1:] in body for n in skipped) else []


class _Restless(Mapping[int, bytes]):
    """Versions for a struct with another entry time at each load of a period, with the flag or not.

    They are of every number.
    """

    def __init__(self, inquiry: _Inquiry, up: bool, period: int) -> None:
        self.inquiry, self.up, self.period = inquiry, up, period

    def __getitem__(self, number: int) -> bytes:
        changes = dict.fromkeys(self.inquiry.entry, number % self.period)
        changes[self.inquiry.top] |= FLAG if self.up else 0
        return self.inquiry.struct(changes)

    def __iter__(self) -> Iterator[int]:
        return iter(range(LOADS_MAX))

    def __len__(self) -> int:
        return LOADS_MAX


# (load, offset) of each byte that the result depends on. Compared bytes are the same in all loads
# that compare them, so the first of these stands for them.
def _believed(asked: _Inquiry, compared: Mapping[int, tuple[int, ...]]) -> set[tuple[int, int]]:
    before = asked.result({})
    found = set()
    for number, one in enumerate(asked.loads):
        for at in range(one.offset, one.offset + one.size):
            those = [number]
            if at in compared.get(number, ()):
                those = [n for n in asked.deciding if at in compared[n]]
                if those[0] != number:
                    continue
            for bits in (0x7F, 0x01, 0x40):
                if asked.result({n: {at: bits} for n in those}) != before:
                    found.add((number, at))
        for element in asked.layout.elements():
            places = asked.bytes_of(number, range(element.offset, element.end))
            if any(at in compared.get(number, ()) for at in places):
                continue
            for value in VALUES:
                data = value.to_bytes(8, "little")
                bits_of = {at: data[at - element.offset] ^ asked.base[at] for at in places}
                if asked.result({number: bits_of}) != before:
                    found |= {(number, at) for at in places}
    return found


def _members(asked: _Inquiry, believed: set[tuple[int, int]]) -> tuple[str, ...]:
    names = tuple(
        row.name
        for row in asked.layout.members
        if any(row.offset <= at < row.end for _, at in believed)
    )
    if not set(names) - {"state_entry_time"}:
        why = "its result has no member but state_entry_time" if names else "it has no result"
        raise asked.machine.refused(why)
    return names


def _program(
    asked: _Inquiry,
    compared: Mapping[int, tuple[int, ...]],
    flags: Mapping[int, bool],
    believed: set[tuple[int, int]],
    line: Callable[[int], str],
) -> Iterator[Op]:
    read = 0
    for number, one in enumerate(asked.loads):
        yield from (ReadBarrier(line(at)) for before, at in asked.barriers if before == number)
        decides = bool(compared.get(number) or flags.get(number))
        read += decides
        takes = tuple(sorted(at for n, at in believed if n == number))
        same = number > 0 and asked.makers[number - 1] == asked.makers[number]
        does = Measured(
            one.offset,
            one.size,
            compared.get(number, ()),
            flags.get(number, False),
            takes,
            same,
            one.copied,
        )
        name = f"{line(one.at)}"
        yield Load(name, "measured", read if decides else 0, False, does)
