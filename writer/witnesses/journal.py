"""What an emulated writer does, noted as it happens, and the Evidence that comes of it.

The Machine calls the Journal, and so does whoever plays the kernel. It notes and never answers.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.layouts.model import WitnessError
from runstate_abi.writer.rulebook.evidence import CALLS, READS, Evidence, Ledger, Read, ledger
from runstate_abi.writer.rulebook.requests import Request
from runstate_abi.writer.steps import Copy, IrqRestore, IrqSave, Step, Steps, Store
from runstate_abi.writer.vcpu import split
from runstate_abi.writer.witnesses import guest_pages, stubs
from runstate_abi.writer.witnesses.guest_pages import GuestPages, Piece

if TYPE_CHECKING:
    from runstate_abi.writer.witnesses.machine import Machine

EVENTS_MAX = 500  # an update has 30; one that copies byte by byte 100
COPY_MAX = 2 * PAGE_SIZE
AT_RETURN = "(at return)"  # the place of what shows when the function has returned
WIDEST = 8  # bytes of a store that the engine reports whole

Event = Piece | Step
# BARRIERS are not recorded: x86 keeps stores in order, so smp_wmb() is no instruction.
RECORDS = frozenset((CALLS, READS))


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a writer. ``after`` is what the area's bytes were found to be; ``places`` has the
    instruction of each event, if it was asked for.

    Stores are kept by address, so two runs that differ only in where the area is have equal keys,
    and one verdict.
    """

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
        """Return all that the verdict on this run depends on, without the offset in the page."""
        asked = self.request
        # Only in page 1 does the place of a store depend on the area's: page 2 begins at 0.
        events = tuple(
            (event[1] - asked.offset, *event[2:])
            if type(event) is Piece and event[0] == 1
            else event
            for event in self.events
        )
        size = asked.area.shape.size
        first = min(size, PAGE_SIZE - asked.offset)
        return (
            asked.abi, asked.flag, asked.atomic, asked.ioctl, first, asked.vcpu, events,
            self.before, self.after, self.irqs_off_at_return, self.locks_sleep,
            asked.scenario.no_slot,
            # With any of these, where it was is part of what is wrong.
            (asked.offset, self.reads, self.changed, self.odd)
            if self.reads or self.changed or self.odd else None,
        )  # fmt: skip

    def steps(self) -> Steps:
        """Return the events as steps."""
        return tuple(_step(event) if isinstance(event, Piece) else event for event in self.events)

    def book(self) -> Ledger:
        """Return the Evidence for the rule book, with its writes replayed.

        WitnessError if the stores do not make the bytes that were found.
        """
        asked = self.request
        found = ledger(Evidence(
            asked.area, asked.vcpu, asked.atomic, self.before, self.steps(), RECORDS,
            self.reads, asked.irqs_off, self.irqs_off_at_return, self.changed, self.odd,
            self.locks_sleep, asked.scenario.no_slot,
        ))  # fmt: skip
        if (found.landed[-1].after if found.landed else self.before) != self.after:
            raise WitnessError(
                f"{asked}: the stores that were seen do not make the bytes that were found"
            )
        return found


def _step(event: Piece) -> Step:
    page, offset, data, copied = event
    return Copy(page, offset, data) if copied else Store(page, offset, data)


class Journal:
    """Events of the current run, in order. ``places`` is None unless instructions are wanted,
    ``irqs_off`` the state of interrupts as it was last noted."""

    __slots__ = ("events", "irqs_off", "machine", "odd", "pages", "places", "reads")

    def __init__(self, machine: "Machine", pages: GuestPages) -> None:
        """Map the guest's pages and listen to what happens in them."""
        self.machine, self.pages = machine, pages
        machine.map(guest_pages.BASE, self.pages.memory)
        machine.watch(guest_pages.BASE, guest_pages.SIZE, self._stored, self._read)
        self.begin(False, b"\0")

    def begin(self, places: bool, fill: bytes, irqs_off: bool = False) -> None:
        """Start a new run, in pages filled with a pattern, with interrupts on or off."""
        self.irqs_off = irqs_off
        self.pages.fill(fill)
        self.events: list[Event] = []
        self.reads: list[Read] = []
        self.odd: list[tuple[int, str]] = []
        self.places: list[str] | None = [] if places else None

    def observation(self, asked: Request, locks_sleep: bool = False) -> Run:
        """Return what the run has done that was asked for this, and make the pages as before."""
        flags = self.notice_irqs(AT_RETURN)
        first, second = split(asked.area.address, asked.area.shape.size)
        return Run(
            asked,
            tuple(self.events),
            self.pages.before(asked.offset, first, second),
            self.pages.after(asked.offset, first, second),
            tuple(self.reads),
            self.pages.changed(),
            tuple(self.odd),
            not flags & stubs.EFLAGS_IF,
            locks_sleep,
            tuple(self.places or ()),
        )

    def add(self, event: Event, place: str = "") -> None:
        """Note one event, and before it a change of interrupts (WitnessError: too many events)."""
        self.notice_irqs(place)
        self._append(event, place)

    def notice_irqs(self, place: str = "") -> int:
        """Return the processor's flags, and note a change of interrupts since the last event.

        cli and sti are instructions and no calls, so only the flags show them.
        """
        flags = self.machine.get("eflags")
        off = not flags & stubs.EFLAGS_IF
        if off != self.irqs_off:
            self.irqs_off = off
            self._append(IrqSave() if off else IrqRestore(), place)
        return flags

    def irqs_on(self) -> None:
        """Note that the instruction here (sti) turns interrupts on.

        If they are off again before the next event, the flags alone would not show it.
        """
        here = "" if self.places is None else self.machine.here()
        self.notice_irqs(here)
        if self.irqs_off:
            self.irqs_off = False
            self._append(IrqRestore(), here)

    def _append(self, event: Event, place: str) -> None:
        self.events.append(event)
        if self.places is not None:
            self.places.append(place or self.machine.caller())
        if len(self.events) > EVENTS_MAX:
            raise self.machine.stopped(f"does more than {EVENTS_MAX} things")

    def strange(self, what: str) -> None:
        """Note something that no kind of step describes (WitnessError: too many)."""
        self.odd.append((len(self.events), what))
        if len(self.odd) > EVENTS_MAX:
            raise self.machine.stopped(f"does more than {EVENTS_MAX} strange things, as {what}")

    def memcpy(self) -> int:
        """Play memcpy(), whose arguments are in registers, and note it; return its destination."""
        to, source, size = self._arguments("copies")
        self._copy(to, self.machine.peek(source, size), source)
        return to

    def memset(self) -> int:
        """Play memset() likewise."""
        to, value, size = self._arguments("fills")
        self._copy(to, bytes((value & 0xFF,)) * size)
        return to

    def _arguments(self, verb: str) -> tuple[int, int, int]:
        to, what, size = (self.machine.get(register) for register in stubs.ARGUMENTS[:3])
        if size > COPY_MAX:
            raise self.machine.stopped(f"{verb} {size} bytes")
        return to, what, size

    def _copy(self, to: int, data: bytes, source: int = 0) -> None:
        low, high = guest_pages.BASE, guest_pages.BASE + guest_pages.SIZE
        if low <= source < high and data:
            self.reads.append(Read(len(self.events), *self.pages.place(source), len(data)))
        if low <= to < high and data:
            for piece in self.pages.pieces(to, data, copied=True):
                self.add(piece)
        self.machine.poke(to, data)

    def _stored(self, uc: Any, kind: int, address: int, size: int, value: int, data: Any) -> None:
        if size > WIDEST:
            raise self.machine.stopped(f"stores {size} bytes at once, with vector instructions")
        content = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
        here = "" if self.places is None else self.machine.here()
        if self.pages.adjacent:
            for piece in self.pages.pieces(address, content):
                self.add(piece, here)
        else:
            self.add(Piece(*self.pages.place(address), content), here)

    def _read(self, uc: Any, kind: int, address: int, size: int, value: int, data: Any) -> None:
        if len(self.reads) > EVENTS_MAX:
            raise self.machine.stopped(f"reads guest memory more than {EVENTS_MAX} times")
        self.reads.append(Read(len(self.events), *self.pages.place(address), size))
