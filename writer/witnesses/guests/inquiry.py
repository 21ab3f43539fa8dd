"""Questions to one reader out of machine code: does it accept, and what is its result?"""

import random
from collections.abc import Mapping
from typing import NamedTuple

from runstate_abi.layouts.model import Element, Layout, WitnessError
from runstate_abi.writer.vcpu import FLAG, RUNNABLE
from runstate_abi.writer.witnesses.guests.machine import Attempt, ReaderMachine, Seen

NUMBERS = (1, 2, 0x7FFF_FFFF)  # other than 0 that a parameter may be
Changes = Mapping[int, Mapping[int, int]]  # number of a load -> offset -> what is XORed


class Rule(NamedTuple):
    """When a reader accepts, by the numbers of its loads.

    ``compared``: the offsets of the bytes that must be the same in all loads that compare them;
    ``flags``: does this load refuse XEN_RUNSTATE_UPDATE?
    """

    compared: Mapping[int, tuple[int, ...]]
    flags: Mapping[int, bool]

    def decides(self, number: int) -> bool:
        return bool(self.compared.get(number) or self.flags.get(number))


def _pattern(layout: Layout) -> bytes:
    chance = random.Random(layout.size)
    bytes_ = bytearray(chance.randrange(1, 127) for _ in range(layout.size))
    bytes_[layout.field("state_entry_time").end - 1] = 0  # as it is for the next 2,000 years
    state = layout.field("state")
    bytes_[state.offset : state.end] = RUNNABLE.to_bytes(state.size, "little")
    return bytes(bytes_)


class Inquiry:
    """Questions to one reader: does it accept, and what is its result, if loads see this?"""

    def __init__(self, machine: ReaderMachine) -> None:
        self.machine, self.layout = machine, machine.layout
        entry = machine.layout.field("state_entry_time")
        self.entry, self.top = range(entry.offset, entry.end), entry.end - 1
        self.base = _pattern(machine.layout)
        self.quiet = machine.quiet(self.base)
        if not self.quiet.loads:
            raise machine.refused("it loads nothing of the area")
        self.loads = self.quiet.loads
        self.barriers, self.makers = machine.traced(self.base)
        self.deciding = [n for n, one in enumerate(self.loads) if self.bytes_of(n, self.entry)]
        self.failures = set[int]()
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
        machine.number = 0

    def data_of(self, one: Seen) -> dict[int, int]:
        """Return another version of what a load has but the entry time (offset -> XOR)."""
        places = range(one.offset, one.offset + one.size)
        return {at: 0x7F for at in places if at not in self.entry}

    def valued(self, number: int, element: Element, value: int) -> dict[int, int]:
        """Return what makes an element have a value in a load, without the flag (offset -> XOR)."""
        data = value.to_bytes(8, "little")
        bits = {
            at: data[at - element.offset] ^ self.base[at]
            for at in self.bytes_of(number, range(element.offset, element.end))
        }
        if self.top in bits:
            bits[self.top] &= ~FLAG
        return bits

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
        bits = {at: 0x7F if at == self.top else 0xFF for at in places} if new else {}
        if up:
            bits[self.top] = bits.get(self.top, 0) | FLAG
        return bits
