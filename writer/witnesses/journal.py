"""What an emulated writer does, written down as it happens.

Law of this file: it notes and never answers. The Machine calls it, and whoever plays the kernel.
"""

from typing import TYPE_CHECKING

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.writer.rulebook.evidence import Read
from runstate_abi.writer.rulebook.requests import Request
from runstate_abi.writer.steps import IrqRestore, IrqSave
from runstate_abi.writer.vcpu import split
from runstate_abi.writer.witnesses import guest_pages, stubs
from runstate_abi.writer.witnesses.guest_pages import GuestPages, Written
from runstate_abi.writer.witnesses.observation import Event, Observation

if TYPE_CHECKING:
    from runstate_abi.writer.witnesses.machine import Machine

EVENTS_MAX = 500  # an update has 30; one that copies byte by byte 100
COPY_MAX = 2 * PAGE_SIZE
AT_RETURN = "(at return)"  # the place of what shows when the function has returned
WIDEST = 8  # bytes of a store that the engine reports whole


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

    def observation(self, asked: Request, locks_sleep: bool = False) -> Observation:
        """Return what the run has done that was asked for this, and make the pages as before."""
        flags = self.notice_irqs(AT_RETURN)
        first, second = split(asked.area.address, asked.area.shape.size)
        return Observation(
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
        """Note one event, after what became of interrupts (WitnessError: no end of them)."""
        self.notice_irqs(place)
        self._append(event, place)

    def notice_irqs(self, place: str = "") -> int:
        """Return the processor's flags, and note whether interrupts went off or on since the last
        event: cli and sti are instructions, so nothing else shows them."""
        flags = self.machine.get("eflags")
        off = not flags & stubs.EFLAGS_IF
        if off != self.irqs_off:
            self.irqs_off = off
            self._append(IrqSave() if off else IrqRestore(), place)
        return flags

    def irqs_on(self) -> None:
        """Note that the instruction here turns interrupts on: off again before the next event,
        they would look as if they had been off all the time."""
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
        """Note what no step is a word for (WitnessError if there is no end of it)."""
        self.odd.append((len(self.events), what))
        if len(self.odd) > EVENTS_MAX:
            raise self.machine.stopped(f"does more than {EVENTS_MAX} strange things, as {what}")

    def copy(self, to: int, data: bytes, source: int = 0) -> None:
        """Note a memcpy() into the guest's pages, or out of them."""
        low, high = guest_pages.BASE, guest_pages.BASE + guest_pages.SIZE
        if low <= source < high and data:
            self.reads.append(Read(len(self.events), *self.pages.place(source), len(data)))
        if low <= to < high and data:
            for piece in self.pages.pieces(to, data, copied=True):
                self.add(piece)

    def _stored(
        self, uc: object, access: int, address: int, size: int, value: int, data: object
    ) -> None:
        if size > WIDEST:
            raise self.machine.stopped(f"stores {size} bytes at once, with vector instructions")
        content = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
        here = "" if self.places is None else self.machine.here()
        if self.pages.adjacent:
            for piece in self.pages.pieces(address, content):
                self.add(piece, here)
        else:
            self.add(Written(*self.pages.place(address), content), here)

    def _read(
        self, uc: object, access: int, address: int, size: int, value: int, data: object
    ) -> None:
        if len(self.reads) > EVENTS_MAX:
            raise self.machine.stopped(f"reads guest memory more than {EVENTS_MAX} times")
        self.reads.append(Read(len(self.events), *self.pages.place(address), size))
