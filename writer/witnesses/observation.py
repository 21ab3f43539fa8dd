"""What one run of a shipped writer did, as it was seen; and the Evidence that it is.

Stores are kept by address, so that two runs which differ only in where the area is are equal:
a verdict on one is a verdict on the other.

Law of this file: it translates addresses into steps and checks that they add up. It runs nothing.
"""

from collections.abc import Hashable
from dataclasses import dataclass

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.layouts.model import WitnessError
from runstate_abi.writer.rulebook.evidence import CALLS, READS, Evidence, Ledger, Read, ledger
from runstate_abi.writer.rulebook.requests import Request
from runstate_abi.writer.steps import Copy, Step, Steps, Store
from runstate_abi.writer.witnesses.guest_pages import Written

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
    reads: tuple[Read, ...] = ()
    changed: tuple[str, ...] = ()
    odd: tuple[tuple[int, str], ...] = ()
    irqs_off_at_return: bool = False
    locks_sleep: bool = False
    places: tuple[str, ...] = ()

    def key(self) -> Hashable:
        """Return what the verdict on this run depends on: where in the page it was is left out."""
        asked = self.request
        # Page 2 begins where it begins: only in page 1 does a place depend on the area's.
        events = tuple(
            (event[1] - asked.offset, *event[2:])
            if type(event) is Written and event[0] == 1
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
        return self.book().evidence

    def book(self) -> Ledger:
        """Return the same with its writes replayed (WitnessError likewise)."""
        asked = self.request
        found = ledger(Evidence(
            asked.area, asked.vcpu, asked.atomic, self.before, self.steps(), RECORDS,
            self.reads, asked.atomic, self.irqs_off_at_return, self.changed, self.odd,
            self.locks_sleep, asked.scenario.no_slot,
        ))  # fmt: skip
        if (found.landed[-1].after if found.landed else self.before) != self.after:
            raise WitnessError(
                f"{asked}: the stores that were seen do not make the bytes that were found"
            )
        return found


def _step(event: Written) -> Step:
    page, offset, data, copied = event
    return Copy(page, offset, data) if copied else Store(page, offset, data)
