"""The steps of an update: plain values in program order, and their canonical text.

Code that makes steps does not touch memory: memory.py executes them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256


@dataclass(frozen=True, slots=True)
class IrqSave:
    """local_irq_save()."""


@dataclass(frozen=True, slots=True)
class IrqRestore:
    """local_irq_restore()."""


@dataclass(frozen=True, slots=True)
class Lock:
    """read_lock() of a cache, or read_lock_irqsave()."""

    cache: str
    irqsave: bool = False


@dataclass(frozen=True, slots=True)
class TryLock:
    """read_trylock() of a cache: True if the lock was taken."""

    cache: str
    result: bool


@dataclass(frozen=True, slots=True)
class Unlock:
    """read_unlock() of a cache, or read_unlock_irqrestore()."""

    cache: str
    irqrestore: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """kvm_gpc_check(): are ``size`` bytes in a valid mapping?"""

    cache: str
    size: int
    result: bool


@dataclass(frozen=True, slots=True)
class Refresh:
    """kvm_gpc_refresh(), which returned 0 or -errno. ``inner``: events in it, not printed."""

    cache: str
    size: int
    result: int
    inner: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Activate:
    """kvm_gpc_activate(), which returned 0 or -errno; ``gpa`` counts from page 1's first byte."""

    cache: str
    gpa: int
    size: int
    result: int
    inner: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Store:
    """One C assignment: 1, 4 or 8 bytes, at an offset of a host page.

    With ``keep``, a mask, it is a read-modify-write: memory keeps these bits, and ``data`` has the
    others. memory.apply() returns the step with the bytes that it stored.
    """

    page: int
    offset: int
    data: bytes
    keep: bytes = b""


@dataclass(frozen=True, slots=True)
class Copy:
    """One memcpy(), or copy to user space: its bytes are stored in any order, possibly twice."""

    page: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Barrier:
    """smp_wmb()."""


@dataclass(frozen=True, slots=True)
class Dirty:
    """mark_page_dirty_in_slot() of a guest frame, relative to page 1's."""

    gfn: int


Call = Lock | TryLock | Unlock | Check | Refresh | Activate
Step = Call | IrqSave | IrqRestore | Store | Copy | Barrier | Dirty
Write = Store | Copy
Steps = tuple[Step, ...]


def line(step: Step) -> str:
    """Return the canonical line of one step, without its line end."""
    match step:
        case Store(page, offset, data):
            return f"store p{page}{offset:+d} {len(data)} {data.hex()}"
        case Copy(page, offset, data):
            return f"copy p{page}{offset:+d} {len(data)} {data.hex()}"
        case Barrier():
            return "wmb"
        case Lock(cache, irqsave):
            return f"lock {cache} irqsave" if irqsave else f"lock {cache}"
        case Unlock(cache, irqrestore):
            return f"unlock {cache} irqrestore" if irqrestore else f"unlock {cache}"
        case Check(cache, size, result):
            return f"check {cache} len={size} -> {result:d}"
        case Dirty(gfn):
            return f"dirty gfn={gfn:+d}"
        case TryLock(cache, result):
            return f"trylock {cache} -> {result:d}"
        case Refresh(cache, size, error):
            return f"refresh {cache} len={size} -> {error}"
        case Activate(cache, gpa, size, error):
            return f"activate {cache} gpa={gpa} len={size} -> {error}"
        case IrqSave():
            return "irq save"
        case IrqRestore():
            return "irq restore"


def canonical(steps: Iterable[Step]) -> str:
    """Return the canonical text: one line per step, each ended by a line feed."""
    return "".join(f"{line(step)}\n" for step in steps)


def writes(steps: Iterable[Step]) -> Iterator[Write]:
    return (step for step in steps if isinstance(step, Write))


def barriers(steps: Iterable[Step]) -> int:
    return sum(isinstance(step, Barrier) for step in steps)


def epochs(steps: Iterable[Step]) -> tuple[tuple[Write, ...], ...]:
    """Return the writes between barriers. An empty epoch after the last barrier is left out."""
    found: list[list[Write]] = [[]]
    for step in steps:
        if isinstance(step, Barrier):
            found.append([])
        elif isinstance(step, Write):
            found[-1].append(step)
    if not found[-1]:
        found.pop()
    return tuple(map(tuple, found))


def memory_text(steps: Iterable[Step]) -> str:
    """Return the canonical lines of the steps that concern memory: store, copy and wmb."""
    return canonical(step for step in steps if isinstance(step, Store | Copy | Barrier))


def digest(text: str) -> str:
    return sha256(text.encode("ascii")).hexdigest()
