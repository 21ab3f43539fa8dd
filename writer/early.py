"""The updates of Linux 5.14, 5.16 and 6.1: one mapping, and the flag in an eight-byte store.

Each version is a generator with its steps in the order of the C source and with its defects.
"""

from collections.abc import Generator, Iterator

from runstate_abi.layouts.abi import U64
from runstate_abi.writer.gpc import Caches
from runstate_abi.writer.host import frame_of
from runstate_abi.writer.steps import Barrier, Copy, Dirty, Step, Store
from runstate_abi.writer.vcpu import (
    Area,
    Runstate,
    Shape,
    entry_bytes,
    flagged,
    state_bytes,
    times_bytes,
    unflagged,
)

Update = Generator[Step, None, None]


def linux_5_14(vcpu: Runstate, area: Area, caches: Caches, atomic: bool) -> Update:
    """Four copies to user space. If one fails the update stops, and the flag may stay set.

    There is no atomic case: 5.14 slept in the scheduler if a page was not resident. An area that
    crosses a page is written by kvm_write_guest(), page by page.
    """
    for offset, data in _writes(vcpu, area.shape):
        if not data:
            yield Barrier()
        elif not (yield from _write_guest(caches, offset, data)):
            return


# What 5.14 and 5.16 write: (offset in the struct, bytes); no bytes means a barrier.
def _writes(vcpu: Runstate, shape: Shape) -> Iterator[tuple[int, bytes]]:
    barrier = 0, b""
    yield shape.entry_time, entry_bytes(flagged(vcpu.entry_time))
    yield barrier
    yield shape.state, state_bytes(vcpu)
    yield shape.time, times_bytes(vcpu)
    yield barrier
    yield shape.entry_time, entry_bytes(vcpu.entry_time)


# kvm_write_guest_offset_cached(): each call checks for changed memslots and marks the page dirty.
def _write_guest(caches: Caches, offset: int, data: bytes) -> Generator[Step, None, bool]:
    ghc = caches.ghc
    if not ghc.current():
        return False
    if ghc.crosses:
        return (yield from ghc.write_slow(offset, data))
    if not (yield from ghc.write(Copy, offset, data, atomic=False)):
        return False
    yield from ghc.mark_dirty()
    return True


def linux_5_16(vcpu: Runstate, area: Area, caches: Caches, atomic: bool) -> Update:
    """User stores; page faults are disabled if it must not sleep. Dirty even after a fault."""
    ghc, shape = caches.ghc, area.shape
    if not ghc.current():
        return
    for offset, data in _writes(vcpu, shape):
        kind = Copy if offset == shape.time else Store
        if not data:
            yield Barrier()
        elif not (yield from ghc.write(kind, offset, data, atomic)):
            break
    else:
        yield Barrier()
    yield from ghc.mark_dirty()


def linux_6_1(vcpu: Runstate, area: Area, caches: Caches, atomic: bool) -> Update:
    """One gfn_to_pfn_cache, all or nothing; the flag is set by an eight-byte store that may tear.

    To clear the flag it reads the eight bytes back from the guest and masks them. So a value that
    the guest wrote in between stays.
    """
    shape, gpc = area.shape, caches.gpc1
    yield from gpc.lock(irqsave=True)
    while not (yield from gpc.check(shape.size, gpc.gpa)):
        yield from gpc.unlock(irqrestore=True)
        if atomic or (yield from gpc.refresh(shape.size)):
            return
        yield from gpc.lock(irqsave=True)
    assert gpc.khva is not None  # a valid cache is mapped
    entry_time = gpc.khva.plus(shape.entry_time)
    yield Store(*entry_time, entry_bytes(flagged(vcpu.entry_time)))
    yield Barrier()
    yield Store(*gpc.khva.plus(shape.state), state_bytes(vcpu))
    yield Copy(*gpc.khva.plus(shape.time), times_bytes(vcpu))
    yield Barrier()
    cleared, keep = unflagged(vcpu.entry_time), unflagged(U64)
    yield Store(*entry_time, entry_bytes(cleared), keep=entry_bytes(keep))
    yield Barrier()
    yield from gpc.unlock(irqrestore=True)
    yield Dirty(frame_of(gpc.gpa))
