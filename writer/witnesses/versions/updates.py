"""What one update of a struct with a version did, as plain values.

Offsets count from the first byte of the struct; a negative one, or one past its end, is memory that
is not the struct's. record.py makes the events from an emulated function, rules.py judges them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from runstate_abi.layouts.model import Layout
from runstate_abi.layouts.structs.pvclock import TIME_INFO
from runstate_abi.layouts.structs.steal_time import KVM_STEAL_TIME
from runstate_abi.writer.guard import APART

VERSION = "version"
VERSION_SIZE = 4
VERSION_MASK = (1 << 8 * VERSION_SIZE) - 1


class Store(NamedTuple):
    """Bytes stored by one instruction, or by one call of memcpy() or memset()."""

    offset: int
    data: bytes
    copied: bool = False
    locked: bool = False  # by xchg, or with a lock prefix: no other CPU comes between
    caught: bool = False  # the exception table has the instruction: it may fault

    def covers(self, offset: int) -> bool:
        return self.offset <= offset < self.offset + len(self.data)


class Load(NamedTuple):
    """Bytes of the guest that one instruction reads."""

    offset: int
    size: int
    locked: bool = False
    caught: bool = False


class Call(NamedTuple):
    """A call of a function of the kernel, and what it did: LOCK, CHECK, DIRTY and so on.

    ``wrong`` says what is wrong with its arguments, "" if nothing is.
    """

    does: str
    size: int = 0
    result: int = 0
    wrong: str = ""


class Fault(NamedTuple):
    """The guest's page is not there for the access that comes now, the ``number``-th."""

    number: int


LOCK, UNLOCK, CHECK, REFRESH, DIRTY, FLUSH = "lock", "unlock", "check", "refresh", "dirty", "flush"

Event = Store | Load | Call | Fault


class Breach(NamedTuple):
    """A broken rule: the index of the event (the number of events: at return), and how."""

    at: int
    why: str


Breaches = Iterator[Breach]


class Asked(Protocol):
    """What an update was asked for. Its text is what a reader sees."""

    @property
    def version(self) -> int:
        """The version in the struct before the update."""

    @property
    def place(self) -> int:
        """Where the struct is in its page."""

    @property
    def before(self) -> bytes:
        """The struct's bytes before the update."""

    @property
    def refused(self) -> bool:
        """Must the struct stay as it is, because it cannot be reached?"""

    @property
    def has_slot(self) -> bool:
        """Is there a memslot to mark the page dirty in?"""

    @property
    def takes_flush(self) -> bool:
        """May the guest ask for a TLB flush in the struct?"""


class Shape(NamedTuple):
    """A struct with a version: its layout, and the members that the version does not guard."""

    layout: Layout
    unguarded: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        return self.layout.size

    def offset(self, name: str) -> int:
        return next(row.offset for row in self.layout.rows if row.name == name)

    def version(self, memory: bytes | bytearray) -> int:
        start = self.offset(VERSION)
        return int.from_bytes(memory[start : start + VERSION_SIZE], "little")

    def names(self, event: Store | Load) -> tuple[str, ...]:
        """Return the members that an access touches."""
        size = len(event.data) if isinstance(event, Store) else event.size
        end = event.offset + size
        return tuple(r.name for r in self.layout.rows if r.offset < end and event.offset < r.end)

    def guards(self, store: Store) -> bool:
        """Does this store change a byte that the version guards, or the version itself?"""
        return any(name not in self.unguarded for name in self.names(store))


SHAPES: Mapping[str, Shape] = {
    "pvclock": Shape(TIME_INFO),
    # preempted says by itself whether the vCPU runs: kvm_steal_time_set_preempted() sets it alone.
    "steal_time": Shape(KVM_STEAL_TIME, APART),
}


class GuardedStore(NamedTuple):
    """A store to what the version guards: the index of its event, and the version after it."""

    at: int
    store: Store
    version: int


@dataclass(frozen=True, slots=True)
class Update:
    """One call of a function: what was asked, what it did, and what it left behind."""

    shape: Shape
    asked: Asked
    events: tuple[Event, ...]
    after: bytes  # the struct's
    guarded: tuple[GuardedStore, ...]
    irqs: tuple[bool, ...]  # are interrupts on, at each event and at return?
    sleeps: bool = False  # it uses the locks of PREEMPT_RT, which leave interrupts alone
    ended: str = ""  # why it never returned
    owed: tuple[str, ...] = ()  # what of the caller's it did not restore
    places: tuple[str, ...] = ()  # function+offset of each event, if asked for
    expected: bytes = b""  # the struct, if the update is carried out to its end
    kept: str = ""  # what is wrong with the kernel's own values at return
    notes: tuple[str, ...] = ()  # what is no breach, and worth a sentence

    @property
    def odd(self) -> int:
        """The version that an update has to set first."""
        return ((self.asked.version + 1) | 1) & VERSION_MASK

    @property
    def even(self) -> int:
        """The version that an update has to set last."""
        return (self.odd + 1) & VERSION_MASK

    @property
    def faulted(self) -> bool:
        return any(isinstance(event, Fault) for event in self.events)

    @property
    def whole(self) -> bool:
        """Had it to be carried out to its end?"""
        return not (self.asked.refused or self.faulted or self.ended)

    def stores(self) -> Iterator[tuple[int, Store]]:
        """Yield each store to guest memory with the index of its event."""
        for at, event in enumerate(self.events):
            if isinstance(event, Store):
                yield at, event

    @property
    def last_version(self) -> int:
        return self.shape.version(self.after)

    def is_version(self, store: Store) -> bool:
        """Does this store write the version, all of it and nothing else, at once?"""
        exact = (self.shape.offset(VERSION), VERSION_SIZE)
        return not store.copied and (store.offset, len(store.data)) == exact


def replay(
    shape: Shape, before: bytes, events: Sequence[Event]
) -> tuple[tuple[GuardedStore, ...], bytes]:
    """Return the stores to what the version guards, and the struct's bytes after all stores."""
    memory, found = bytearray(before), []
    for at, event in enumerate(events):
        if isinstance(event, Store):
            _put(memory, event)
            if shape.guards(event):
                found.append(GuardedStore(at, event, shape.version(memory)))
    return tuple(found), bytes(memory)


# Store into a copy of the struct what falls into it.
def _put(memory: bytearray, store: Store) -> None:
    start, end = max(store.offset, 0), min(store.offset + len(store.data), len(memory))
    if start < end:
        memory[start:end] = store.data[start - store.offset : end - store.offset]
