"""What one run of a shipped writer did, as it was seen; and the Evidence that it is.

Stores are kept by address, so that two runs which differ only in where the area is are equal:
a verdict on one is a verdict on the other.

Law of this file: it translates addresses into steps and checks that they add up. It runs nothing.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import NamedTuple

from runstate_abi.layouts.model import WitnessError
from runstate_abi.writer.evidence import CALLS, READS, Evidence, Read, ledger
from runstate_abi.writer.requests import Request
from runstate_abi.writer.steps import Copy, Step, Steps, Store
from runstate_abi.writer.vcpu import PAGE_SIZE
from runstate_abi.writer.witnesses.guest_pages import START, place


class Written(NamedTuple):
    """Bytes stored at an address of the arena, by one instruction or by one call of memcpy()."""

    address: int
    data: bytes
    copied: bool = False


class Touched(NamedTuple):
    """A read of guest memory, after how many events."""

    at: int
    address: int
    size: int


Event = Written | Step
# x86 keeps stores in order: a barrier between them is no instruction, and nothing shows one.
RECORDS = frozenset((CALLS, READS))


@dataclass(frozen=True, slots=True)
class Observation:
    """One run. ``after`` is what the area's bytes were found to be; ``places`` the instructions,
    one for each event, if they were asked for."""

    request: Request
    events: tuple[Event, ...]
    before: bytes
    after: bytes
    reads: tuple[Touched, ...] = ()
    changed: tuple[str, ...] = ()
    odd: tuple[tuple[int, str], ...] = ()
    irqs_off_at_return: bool = False
    locks_sleep: bool = False
    places: tuple[str, ...] = ()

    def key(self) -> Hashable:
        """Return what the verdict on this run depends on: where in the page it was is left out."""
        asked, area = self.request, START[1] + self.request.offset
        low = START[1] - PAGE_SIZE
        events = tuple(
            (event.address - area if event.address >= low else event.address, *event[1:])
            if type(event) is Written
            else event
            for event in self.events
        )
        size = asked.area.shape.size
        first = min(size, PAGE_SIZE - asked.offset)
        return (
            asked.abi, asked.flag, asked.atomic, first, asked.vcpu, events, self.before, self.after,
            self.irqs_off_at_return, self.locks_sleep, asked.scenario.no_slot,
            # With any of these, where it was is part of what is wrong.
            (asked.offset, self.reads, self.changed, self.odd)
            if self.reads or self.changed or self.odd else None,
        )  # fmt: skip

    def steps(self) -> Steps:
        """Return the events as steps."""
        return tuple(_step(event) if isinstance(event, Written) else event for event in self.events)

    def evidence(self) -> Evidence:
        """Return what the rule book judges (WitnessError if stores and memory do not agree)."""
        asked = self.request
        found = Evidence(
            asked.area, asked.vcpu, asked.atomic, self.before, self.steps(), RECORDS,
            tuple(Read(at, *place(address), size) for at, address, size in self.reads),
            asked.atomic, self.irqs_off_at_return, self.changed, self.odd, self.locks_sleep,
            asked.scenario.no_slot,
        )  # fmt: skip
        landed = ledger(found).landed
        if (landed[-1].after if landed else self.before) != self.after:
            raise WitnessError(
                f"{asked}: the stores that were seen do not make the bytes that were found"
            )
        return found


def _step(event: Written) -> Step:
    page, offset = place(event.address)
    return (Copy if event.copied else Store)(page, offset, event.data)
