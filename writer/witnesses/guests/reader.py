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
from itertools import product
from typing import NamedTuple

from runstate_abi.layouts.model import Layout, WitnessError
from runstate_abi.writer.guest import Load, Measured, Op, ReadBarrier, Reader
from runstate_abi.writer.vcpu import FLAG, RUNNABLE
from runstate_abi.writer.witnesses.guests.machine import (
    LOADS_MAX,
    RETRIES,
    Attempt,
    ReaderMachine,
    Seen,
)

DECIDING_MAX = 8  # loads of state_entry_time: get64() twice has six
COMBINATIONS_MAX, SURE_MAX = 1024, 12  # 2^12 combinations at most
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
        if len(self.deciding) > DECIDING_MAX:
            many = f"{len(self.deciding)} loads of state_entry_time"
            raise machine.refused(f"it has {many}, more than {DECIDING_MAX}")

    def bytes_of(self, number: int, places: range) -> list[int]:
        """Return the offsets of a load that are in ``places``."""
        one = self.loads[number]
        return [at for at in range(one.offset, one.offset + one.size) if at in places]

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
        status = "result" in self.machine.signature.takes and self.machine.signature.returns
        return bool(status) and run.returned != self.quiet.returned

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
            _retried(asked, asked.versions(changes))
    _verify_others(asked)
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


# What does it do after it saw this change, if nothing changes any more? The same again, from its
# first load or from a later one on, or it says that it failed. Return where the loads of the last
# iteration are: it takes what these saw.
def _retried(asked: _Inquiry, changed: Mapping[int, bytes]) -> list[int]:
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


# Does it ask again what it asked before? A change of each kind, and after it one in each load of
# the last iteration.
def _verify_retries(
    asked: _Inquiry, compared: Mapping[int, tuple[int, ...]], flags: Mapping[int, bool]
) -> None:
    def changes(number: int, bit: int) -> Iterator[bytes]:
        places = [{asked.top: FLAG}] if flags[number] else []
        for change in (*places, *({at: bit} for at in compared[number][:1])):
            yield asked.struct(change)

    for number in asked.deciding:
        for first in changes(number, 1):
            places = _retried(asked, {number: first})
            before = asked.machine.follow(asked.base, {number: first}, stays=True)
            for index, place in enumerate(places):
                if place == number or index not in asked.deciding:
                    continue
                for second in changes(index, 2):
                    both = {number: first, place: second}
                    run = asked.machine.follow(asked.base, both, stays=True)
                    if run.loads[: number + 1] != before.loads[: number + 1]:
                        continue  # a loop before the first change saw the second one
                    if len(run.loads) <= len(before.loads) and not asked.failed(run):
                        raise asked.machine.refused(
                            "after it saw a change it accepts what it did not"
                        )


# A reader that never accepts in so many iterations is taken never to.
def _verify_patience(asked: _Inquiry, compares: bool, refuses: bool) -> None:
    most = min(RETRIES * len(asked.loads), LOADS_MAX)
    for restless in (*[_Restless(asked, True)] * refuses, *[_Restless(asked, False)] * compares):
        try:
            run = asked.machine.follow(asked.base, restless, stays=True, loads=most)
        except WitnessError:
            if len(restless.asked) < most:
                raise
        else:
            if not asked.failed(run):
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
    """Versions for a struct whose entry time is another one at each load, with the flag or not."""

    def __init__(self, inquiry: _Inquiry, up: bool) -> None:
        self.inquiry, self.up, self.asked = inquiry, up, set[int]()

    def __getitem__(self, number: int) -> bytes:
        self.asked.add(number)
        changes = dict.fromkeys(self.inquiry.entry, number % 127)
        changes[self.inquiry.top] |= FLAG if self.up else 0
        return self.inquiry.struct(changes)

    def __iter__(self) -> Iterator[int]:
        return iter(self.asked)

    def __len__(self) -> int:
        return len(self.asked)


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
