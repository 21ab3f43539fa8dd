"""Questions to one reader out of machine code: does it accept, and what is its result?"""

import random
from collections.abc import Callable, Mapping
from typing import NamedTuple

from runstate_abi.layouts.model import Element, Layout, WitnessError
from runstate_abi.writer.guard import FLAG, Guard, guard_of
from runstate_abi.writer.vcpu import RUNNABLE
from runstate_abi.writer.witnesses.guests.machine import Attempt, ReaderMachine, Seen

NUMBERS = (1, 2, 0x7FFF_FFFF)  # other than 0 that a parameter may be
Changes = Mapping[int, Mapping[int, int]]  # number of a load -> offset -> what is XORed


class Rule(NamedTuple):
    """When a reader accepts, by the numbers of its loads.

    ``compared``: the offsets of the bytes that must be the same in all loads that compare them;
    ``flags``: does this load refuse an update in flight? ``masked``: these compare without the
    guard's bit.
    """

    compared: Mapping[int, tuple[int, ...]]
    flags: Mapping[int, bool]
    masked: frozenset[int] = frozenset()

    def decides(self, number: int) -> bool:
        return bool(self.compared.get(number) or self.flags.get(number))


# What some members are before anything changes: values that a reader does not treat as special.
USUAL = {
    "state": RUNNABLE,
    "tsc_shift": 1,  # a large one would shift out what the result is made of
    "flags": 1,  # PVCLOCK_TSC_STABLE_BIT
}


def _shift(bits: int) -> int:
    """Return a change of 1 to a shift from -63 to 63: any other is undefined in C."""
    return bits & 0x3E | (0xC0 if bits & 0x80 else 0)


# How members may change that may not have every value.
ALLOWED: dict[str, Callable[[int], int]] = {"tsc_shift": _shift}


def _never(bits: int) -> int:
    return 0


def _pattern(layout: Layout, guard: Guard) -> bytes:
    chance = random.Random(layout.size)
    bytes_ = bytearray(chance.randrange(1, 127) for _ in range(layout.size))
    word = guard.word(layout)
    if word:
        # The top byte of a state_entry_time is 0 for the next 2,000 years; a version is even.
        bytes_[word[-1]] = 0
        bytes_[guard.place(layout)] &= ~guard.bit
    for row in layout.members:
        if row.name in USUAL:
            bytes_[row.offset : row.end] = USUAL[row.name].to_bytes(row.size, "little")
    return bytes(bytes_)


def is_runstate(layout: Layout) -> bool:
    """Is this a runstate area? The other structs are clocks, whose readers may read the TSC."""
    return guard_of(layout) is FLAG


class Inquiry:
    """Questions to one reader: does it accept, and what is its result, if loads see this?"""

    def __init__(self, machine: ReaderMachine, fixed: tuple[str, ...] = ()) -> None:
        """``fixed`` are members that never change."""
        self.machine, self.layout = machine, machine.layout
        self.guard = guard_of(machine.layout)
        self.entry, self.top = self.guard.word(self.layout), self.guard.place(self.layout)
        ways = ALLOWED | dict.fromkeys(fixed, _never)
        rows = [row for row in self.layout.members if row.name in ways]
        self._ways = {at: ways[row.name] for row in rows for at in range(row.offset, row.end)}
        self.base = _pattern(machine.layout, self.guard)
        if not is_runstate(self.layout):
            machine.stop_clocks(self.base)
        self.quiet = machine.quiet(self.base)
        if not self.quiet.loads:
            raise machine.refused("it loads nothing of the area")
        self.loads = self.quiet.loads
        self.barriers, self.makers = machine.traced(self.base)
        self.acquired = frozenset(machine.acquired)
        self.deciding = [n for n, one in enumerate(self.loads) if self.bytes_of(n, self.entry)]
        self.failures = set[int]()
        self.numbers = list[int]()  # other values that a parameter may have
        self._replayed = dict[frozenset[tuple[int, bytes]], Attempt]()
        self._check_numbers()

    def bytes_of(self, number: int, places: range) -> list[int]:
        """Return the offsets of a load that are in ``places``."""
        one = self.loads[number]
        return [at for at in range(one.offset, one.offset + one.size) if at in places]

    # An index of a CPU may be anything to a kernel; to another function a number is an option.
    def _check_numbers(self) -> None:
        machine = self.machine
        is_option = {"number", "area"} <= {*machine.signature.takes}
        for number in NUMBERS if is_option else ():
            machine.number = number
            try:
                loads = machine.run(self.base).loads
            except WitnessError:
                continue  # it is the index of an area
            if loads != self.loads:
                raise machine.refused("what it loads depends on a parameter that is a number")
            self.numbers.append(number)
        machine.number = 0

    def with_number(self, number: int) -> None:
        """Ask from now on with another value of a parameter that is a number."""
        self.machine.number = number
        self._replayed.clear()
        self.quiet = self.machine.quiet(self.base)

    def data_of(self, one: Seen) -> dict[int, int]:
        """Return another version of what a load has but the entry time (offset -> XOR)."""
        places = range(one.offset, one.offset + one.size)
        return {at: self.allowed(at, 0x7F) for at in places if at not in self.entry}

    def allowed(self, at: int, bits: int) -> int:
        """Return what may be XORed to a byte instead of ``bits``, which would be too much."""
        way = self._ways.get(at)
        return way(bits) if way else bits

    def valued(self, number: int, element: Element, value: int) -> dict[int, int]:
        """Return what makes an element have a value in a load, without the flag (offset -> XOR)."""
        data = value.to_bytes(8, "little")
        bits = {
            at: self.allowed(at, data[(at - element.offset) % 8] ^ self.base[at])
            for at in self.bytes_of(number, range(element.offset, element.end))
        }
        if self.top in bits:
            bits[self.top] &= ~self.guard.bit
        return bits

    def valued_word(self, number: int, word: int) -> dict[int, int]:
        """Return what makes the guard's word have a value in a load (offset -> XOR)."""
        data = word.to_bytes(len(self.entry), "little")
        places = self.bytes_of(number, self.entry)
        return {at: data[at - self.entry.start] ^ self.base[at] for at in places}

    def differing(self, at: int, bits: int) -> int:
        """Return bits to change in a byte, none of which says that an update is in flight.

        They are up to 7, shifted if the guard's bit is the lowest.
        """
        return bits << (at == self.top and self.guard.bit == 1)

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

    def replayed(self, versions: Mapping[int, bytes]) -> Attempt:
        """Run it with versions of the struct; what was asked before is not run again."""
        key = frozenset(versions.items())
        if key not in self._replayed:
            self._replayed[key] = self.machine.run(self.base, versions)
        return self._replayed[key]

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

    def changed(self, number: int, new: bool, up: bool) -> dict[int, int]:
        """Return what a load has of another entry time, or of one with the flag up."""
        places = self.bytes_of(number, self.entry)
        bits = {at: 0xFF & ~(self.guard.bit * (at == self.top)) for at in places} if new else {}
        if up:
            bits[self.top] = bits.get(self.top, 0) | self.guard.bit
        return bits
