"""Records what an emulated writer does, as it happens, and makes Evidence of it.

The Machine and the emulated kernel call the Journal. It only records and decides nothing.

The guest has two pages with guard pages. KVM maps each page separately. So here page 2 is below
page 1, and a store past the end of page 1 hits a guard page. Xen writes to the guest's own
addresses, so for Xen the pages are adjacent. A third page stands for a mapping that is no longer
the guest's.
"""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.layouts.model import WitnessError
from runstate_abi.writer.rulebook.evidence import (
    CALLS,
    READS,
    RETURN,
    Evidence,
    Ledger,
    Read,
    ledger,
)
from runstate_abi.writer.rulebook.requests import Request
from runstate_abi.writer.steps import (
    Barrier,
    Check,
    Copy,
    IrqRestore,
    IrqSave,
    Step,
    Steps,
    Store,
)
from runstate_abi.writer.vcpu import split
from runstate_abi.writer.witnesses import stubs

if TYPE_CHECKING:
    from runstate_abi.writer.witnesses.machine import Machine

BASE = 0x7000_0000
STALE = 4  # the page that a stale cache points to
# Page -> its place in the memory block, counted in pages. The highest comes first, because place()
# searches in this order. Guard pages are between and around them.
PLACES = {1: 9, STALE: 6, 2: 3}
SIZE = 12 * PAGE_SIZE


class Piece(NamedTuple):
    """Bytes stored in a page by one instruction, or by one call of memcpy()."""

    page: int
    offset: int  # negative, or past the page, in a guard page
    data: bytes
    copied: bool = False


class GuestPages:
    """``memory`` is the block that the code writes to, ``start`` the pages' addresses."""

    __slots__ = ("_clean", "_fill", "_low", "adjacent", "memory", "start")

    def __init__(self, adjacent: bool = False) -> None:
        self.adjacent = adjacent
        self.memory = bytearray(SIZE)
        self.start = {page: BASE + place * PAGE_SIZE for page, place in PLACES.items()}
        if adjacent:
            self.start = {2: self.start[1] + PAGE_SIZE, 1: self.start[1]}
        # The lowest address that counts as a page's: its guard page's, or its own if adjacent.
        guard = 0 if adjacent else PAGE_SIZE
        self._low = tuple((start - guard, page, start) for page, start in self.start.items())
        self._clean = self._fill = b""

    def fill(self, pattern: bytes) -> None:
        """Fill everything with a pattern, unless it already is."""
        if pattern != self._fill:
            self._fill = pattern
            self._clean = (pattern * (SIZE // len(pattern) + 1))[:SIZE]
            self.memory[:] = self._clean

    def before(self, offset: int, first: int, second: int) -> bytes:
        one, two = self.start[1] - BASE + offset, self.start[2] - BASE
        return self._clean[one : one + first] + self._clean[two : two + second]

    def after(self, offset: int, first: int, second: int) -> bytes:
        """Return an area's current bytes, and restore them."""
        one, two = self.start[1] - BASE + offset, self.start[2] - BASE
        found = bytes(self.memory[one : one + first] + self.memory[two : two + second])
        self.memory[one : one + first] = self._clean[one : one + first]
        self.memory[two : two + second] = self._clean[two : two + second]
        return found

    def changed(self) -> tuple[str, ...]:
        """Return where other bytes have changed, after after(), and restore them."""
        if self.memory == self._clean:
            return ()
        pairs = zip(self.memory, self._clean, strict=True)
        places = [address for address, (is_, was) in enumerate(pairs) if is_ != was]
        self.memory[:] = self._clean
        return tuple(self._runs(places))

    def place(self, address: int) -> tuple[int, int]:
        for low, page, start in self._low:
            if address >= low:
                return page, address - start
        page = 1 if self.adjacent else 2
        return page, address - self.start[page]

    def pieces(self, address: int, data: bytes, copied: bool = False) -> Iterator[Piece]:
        """Yield the stored bytes, cut where page 2 begins if the pages are adjacent."""
        page, offset = self.place(address)
        end = PAGE_SIZE - offset
        if self.adjacent and page == 1 and offset >= 0 and len(data) > end:
            yield Piece(1, offset, data[:end], copied)
            page, offset, data = 2, 0, data[end:]
        yield Piece(page, offset, data, copied)

    def _runs(self, places: list[int]) -> Iterator[str]:
        for index, at in enumerate(places):
            if not index or places[index - 1] != at - 1:
                page, offset = self.place(BASE + at)
                yield f"p{page}{offset:+d}"


EVENTS_MAX = 500  # an update has 30; one that copies byte by byte 100
COPY_MAX = 2 * PAGE_SIZE
AT_RETURN = "(at return)"  # the place of an event that shows only after the function has returned
WIDEST = 8  # bytes of a store that the engine reports in one piece

Event = Piece | Step
# no BARRIERS: x86 keeps stores in order, so smp_wmb() is no instruction
RECORDS = frozenset((CALLS, READS, RETURN))


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a writer.

    Stores are kept relative to the area. So two runs that differ only in the place of the area have
    equal keys and one verdict.
    """

    request: Request
    events: tuple[Event, ...]
    before: bytes
    after: bytes  # the bytes of the area as they were found
    reads: tuple[Read, ...] = ()
    changed: tuple[str, ...] = ()
    odd: tuple[tuple[int, str], ...] = ()
    streamed: frozenset[int] = frozenset()  # events that are non-temporal stores
    irqs_off_at_return: bool = False
    locks_sleep: bool = False
    places: tuple[str, ...] = ()  # the instruction of each event, if asked for
    # And its address, then the calls that led to it; the last entry is that of the return.
    chains: tuple[tuple[int, ...], ...] = ()
    asides: tuple[tuple[int, tuple[int, ...]], ...] = ()  # (event that follows, chain) of no events
    ended: str = ""  # why it never returned
    owed: tuple[str, ...] = ()  # what of the caller's was not restored
    lost: WitnessError | None = None  # it could not be followed further

    def key(self) -> Hashable:
        """Return all that the verdict on this run depends on, without the offset in the page."""
        asked = self.request
        # Only in page 1 do offsets depend on the area's: in page 2 they begin at 0.
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
            asked.scenario.no_slot, self.ended, self.owed, self.streamed,
            # With any of these, the place is part of what is wrong.
            (asked.offset, self.reads, self.changed, self.odd)
            if self.reads or self.changed or self.odd else None,
        )  # fmt: skip

    def aside(self, at: int) -> tuple[int, ...]:
        """Return the chain of the first thing before event ``at`` that is no event itself."""
        return next(chain for behind, chain in self.asides if behind == at)

    def steps(self) -> Steps:
        return tuple(_step(event) if isinstance(event, Piece) else event for event in self.events)

    def book(self) -> Ledger:
        """Return the Ledger for the rules.

        WitnessError if the recorded stores do not give the bytes that were found.
        """
        asked = self.request
        found = ledger(Evidence(
            asked.area, asked.vcpu, asked.atomic, self.before, self.steps(), RECORDS,
            self.reads, asked.irqs_off, self.irqs_off_at_return, self.changed, self.odd,
            self.streamed, self.locks_sleep, asked.scenario.no_slot, self.ended, self.owed,
        ))  # fmt: skip
        if (found.landed[-1].after if found.landed else self.before) != self.after:
            what = "the stores that were seen do not make the bytes that were found"
            raise WitnessError(f"{asked}: {what}")
        return found


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _step(event: Piece) -> Step:
    page, offset, data, copied = event
    return Copy(page, offset, data) if copied else Store(page, offset, data)


class Journal:
    __slots__ = (
        "_streams", "asides", "chains", "events", "irqs_off", "machine", "odd", "pages", "places",
        "reads", "streamed",
    )  # fmt: skip

    def __init__(self, machine: "Machine", pages: GuestPages) -> None:
        self.machine, self.pages = machine, pages
        machine.map(BASE, self.pages.memory)
        machine.watch(BASE, SIZE, self._stored, self._read)
        self.begin(False, b"\0")

    def begin(self, places: bool, fill: bytes, irqs_off: bool = False) -> None:
        """Start a new run, in pages filled with a pattern, with interrupts on or off."""
        self.irqs_off = irqs_off
        self.pages.fill(fill)
        self.events: list[Event] = []
        self.reads: list[Read] = []
        self.odd: list[tuple[int, str]] = []
        self.streamed: set[int] = set()
        self._streams = 0  # the address of the last movnti
        self.places: list[str] | None = [] if places else None
        self.chains: list[tuple[int, ...]] = []
        self.asides: list[tuple[int, tuple[int, ...]]] = []

    def run(
        self, asked: Request, entry: int, arguments: tuple[int, ...], sleeps: Callable[[], bool]
    ) -> Run:
        """Call the writer and return its run; one that ends early has what it did until then."""
        ended, owed, lost = "", tuple[str, ...](), None
        try:
            owed = self.machine.run(entry, arguments, asked.irqs_off, self.places is not None)
        except stubs.Ended as error:
            ended = str(error)
        except WitnessError as error:
            ended, lost = str(error), error
        return self.finished(asked, sleeps(), ended, owed, lost)

    def finished(
        self,
        asked: Request,
        locks_sleep: bool = False,
        ended: str = "",
        owed: tuple[str, ...] = (),
        lost: WitnessError | None = None,
    ) -> Run:
        """Return the run of the request ``asked``, and restore the pages.

        ``ended``: why it never returned; its last instruction is where it stopped.
        """
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
            frozenset(self.streamed),
            not flags & stubs.EFLAGS_IF,
            locks_sleep,
            tuple(self.places or ()),
            () if self.places is None else (*self.chains, self.machine.chain(inside=bool(ended))),
            tuple(self.asides),
            ended,
            owed,
            lost,
        )

    def add(self, event: Event, place: str = "") -> None:
        """Record one event, and before it a change of interrupts (WitnessError: too many)."""
        self.notice_irqs(place)
        self._append(event, place)

    def notice_irqs(self, place: str = "") -> int:
        """Return the processor's flags, and record a change of interrupts since the last event.

        cli and sti are instructions and no calls, so only the flags show them.
        """
        flags = self.machine.get("eflags")
        off = not flags & stubs.EFLAGS_IF
        if off != self.irqs_off:
            self.irqs_off = off
            self._append(IrqSave() if off else IrqRestore(), place)
        return flags

    def irqs_on(self) -> None:
        """Record that the instruction here (sti) turns interrupts on.

        If they are off again before the next event, the flags alone would not show it.
        """
        here = "" if self.places is None else self.machine.here()
        self.notice_irqs(here)
        if self.irqs_off:
            self.irqs_off = False
            self._append(IrqRestore(), here)

    def pops_flags(self) -> None:
        """Record that the instruction here (popf) turns interrupts on, if it does."""
        flags = int.from_bytes(self.machine.peek(self.machine.get("rsp"), 8), "little")
        if flags & stubs.EFLAGS_IF:
            self.irqs_on()

    def streams(self) -> None:
        """Take note that the instruction here (movnti) stores non-temporally."""
        self._streams = self.machine.get("rip")

    def fence(self) -> None:
        """Record an instruction that orders all stores."""
        self.add(Barrier(), "" if self.places is None else self.machine.here())

    def _append(self, event: Event, place: str) -> None:
        self.events.append(event)
        if self.places is not None:
            self.places.append(place or self.machine.caller())
            self.chains.append(self.machine.chain(inside=place not in ("", AT_RETURN)))
        if len(self.events) > EVENTS_MAX:
            raise self.machine.ended(self._without_end())

    def _without_end(self) -> str:
        for size in range(1, EVENTS_MAX // 3):
            last, before = self.events[-size:], self.events[-2 * size : -size]
            if last == before == self.events[-3 * size : -2 * size]:
                failed = [one for one in last if isinstance(one, Check) and not one.result]
                why = (
                    f": {one.cache} is not valid for {_counted(one.size, 'byte')}" for one in failed
                )
                return f"it repeats the same {_counted(size, 'step')} without end{next(why, '')}"
        return f"it does not end after {EVENTS_MAX} steps"

    def strange(self, what: str) -> None:
        """Record something that no kind of step describes (WitnessError: too many)."""
        self.odd.append((len(self.events), what))
        self._aside()
        if len(self.odd) > EVENTS_MAX:
            raise self.machine.ended(f"it does more than {EVENTS_MAX} strange things, as {what}")

    def memcpy(self) -> int:
        """Do memcpy(), whose arguments are in registers, record it, and return its result."""
        to, source, size = self._arguments("copies")
        self._copy(to, self.machine.peek(source, size), source)
        return to

    def memset(self) -> int:
        to, value, size = self._arguments("fills")
        self._copy(to, bytes((value & 0xFF,)) * size)
        return to

    def _arguments(self, verb: str) -> tuple[int, int, int]:
        to, what, size = (self.machine.get(register) for register in stubs.ARGUMENTS[:3])
        if size > COPY_MAX:
            raise self.machine.stopped(f"{verb} {size} bytes")
        return to, what, size

    def _copy(self, to: int, data: bytes, source: int = 0) -> None:
        low, high = BASE, BASE + SIZE
        if low <= source < high and data:
            self.reads.append(Read(len(self.events), *self.pages.place(source), len(data)))
            self._aside()
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
        if self._streams and self._streams == self.machine.get("rip"):
            self.streamed.add(len(self.events) - 1)

    def _read(self, uc: Any, kind: int, address: int, size: int, value: int, data: Any) -> None:
        if len(self.reads) > EVENTS_MAX:
            raise self.machine.ended(f"it reads guest memory more than {EVENTS_MAX} times")
        self.reads.append(Read(len(self.events), *self.pages.place(address), size))
        self._aside()

    # Keep the place of something that is no event.
    def _aside(self) -> None:
        if self.places is not None:
            self.asides.append((len(self.events), self.machine.chain(inside=True)))
