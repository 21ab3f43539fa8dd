"""The guest's memory around one struct, and a record of all that is done to it, as it happens.

The struct is in one page, with unmapped-looking guard pages around it. Another page stands for a
mapping that is no longer the guest's. The record decides nothing.
"""

from typing import TYPE_CHECKING, Any

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.layouts.model import WitnessError
from runstate_abi.writer.witnesses import stubs
from runstate_abi.writer.witnesses.versions.updates import Call, Event, Fault, Load, Store

if TYPE_CHECKING:
    from runstate_abi.writer.witnesses.machine import Machine

BASE = 0x7000_0000  # also a user address
PAGE, STALE = BASE + PAGE_SIZE, BASE + 3 * PAGE_SIZE  # guard pages are around each
SIZE = 5 * PAGE_SIZE
FILL = b"\xa5"
EVENTS_MAX = 500  # an update has 20
COPY_MAX = PAGE_SIZE
WIDEST = 8  # bytes of a store that the engine reports in one piece

# Intel SDM, vol. 2, 2.1: an instruction's prefixes, LOCK among them; REX; XCHG always locks.
PREFIXES = frozenset((0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF2, 0xF3))
LOCK, REX, XCHG = 0xF0, range(0x40, 0x50), (0x86, 0x87)
INSTRUCTION_MAX = 15  # bytes


class Record:
    """``memory`` is what the code sees of the guest; the struct begins at ``address``."""

    def __init__(self, machine: "Machine") -> None:
        self.machine = machine
        self.memory = bytearray(SIZE)
        self.catching: frozenset[int] = frozenset()  # instructions in the exception table
        self._locked: dict[int, bool] = {}
        machine.map(BASE, self.memory)
        machine.watch(BASE, SIZE, self._stored, self._loaded)

    def begin(self, offset: int, struct: bytes, places: bool) -> None:
        """Start a new update of the struct ``offset`` bytes into the guest's page."""
        self.address, self.size = PAGE + offset, len(struct)
        self.memory[:] = FILL * SIZE
        self._part()[:] = struct
        self.events: list[Event] = []
        self.irqs: list[bool] = []
        self.places: list[str] | None = [] if places else None

    def struct(self) -> bytes:
        return bytes(self._part())

    def _part(self) -> memoryview:
        start = self.address - BASE
        return memoryview(self.memory)[start : start + self.size]

    def call(self, call: Call) -> None:
        """Record a call, from its stub."""
        self._add(call, inside=False)

    def fault(self, number: int) -> None:
        """Record that the instruction here does not get at the guest's memory."""
        self._add(Fault(number), inside=True)

    def irqs_on(self) -> bool:
        return bool(self.machine.get("eflags") & stubs.EFLAGS_IF)

    def _add(self, event: Event, inside: bool) -> None:
        self.events.append(event)
        self.irqs.append(self.irqs_on())
        if self.places is not None:
            machine = self.machine
            self.places.append(machine.here() if inside else machine.caller())
        if len(self.events) > EVENTS_MAX:
            raise self.machine.ended(f"it does not end after {EVENTS_MAX} steps")

    def copy(self) -> None:
        """Do memcpy(), whose arguments are in registers, and record what the guest sees of it."""
        to, source, size = self._arguments("copies")
        data = self.machine.peek(source, size)
        if BASE <= source < BASE + SIZE and size:
            self._add(Load(source - self.address, size), inside=False)
        self._fill(to, data)

    def fill(self) -> None:
        """Do memset(), in the same way."""
        to, value, size = self._arguments("fills")
        self._fill(to, bytes((value & 0xFF,)) * size)

    def _arguments(self, verb: str) -> tuple[int, int, int]:
        to, what, size = (self.machine.get(register) for register in stubs.ARGUMENTS[:3])
        if size > COPY_MAX:
            raise self.machine.stopped(f"{verb} {size} bytes")
        return to, what, size

    def _fill(self, to: int, data: bytes) -> None:
        if BASE <= to < BASE + SIZE and data:
            self._add(Store(to - self.address, data, copied=True), inside=False)
        self.machine.poke(to, data)
        self.machine.put("rax", to)

    def _stored(self, uc: Any, kind: int, address: int, size: int, value: int, data: Any) -> None:
        if size > WIDEST:
            raise self.machine.stopped(f"stores {size} bytes at once, with vector instructions")
        content = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
        at = self.machine.get("rip")
        store = Store(address - self.address, content, False, self._locks(at), at in self.catching)
        self._add(store, inside=True)

    def _loaded(self, uc: Any, kind: int, address: int, size: int, value: int, data: Any) -> None:
        at = self.machine.get("rip")
        load = Load(address - self.address, size, self._locks(at), at in self.catching)
        self._add(load, inside=True)

    # Does the instruction at an address keep every other CPU out while it reads and writes?
    def _locks(self, address: int) -> bool:
        known = self._locked.get(address)
        if known is None:
            code = self.machine.peek(address, INSTRUCTION_MAX)
            known = self._locked[address] = _locks(code)
        return known

    def check(self, replayed: bytes) -> None:
        """Refuse a record that does not explain the bytes that were found (WitnessError)."""
        if replayed != self.struct():
            what = "the stores that were seen do not make the bytes that were found"
            raise WitnessError(f"{self.machine.file.source}: cannot judge: {what}")


def _locks(code: bytes) -> bool:
    for byte in code:
        if byte == LOCK:
            return True
        if byte not in PREFIXES and byte not in REX:
            return byte in XCHG
    return False
