"""The updates of Linux 5.14, 5.16 and 6.1: one mapping, and the flag in an eight-byte store.

Law of this file: one generator a version, steps in the order of the C source, and nothing but
what that version did, faults of its time included.
"""

from collections.abc import Generator
from typing import TYPE_CHECKING

from runstate_abi.layouts.abi import U64
from runstate_abi.writer.host import frame_of
from runstate_abi.writer.steps import Barrier, Copy, Dirty, Step, Store
from runstate_abi.writer.vcpu import (
    Area,
    Runstate,
    entry_bytes,
    flagged,
    state_bytes,
    times_bytes,
    unflagged,
)

if TYPE_CHECKING:
    from runstate_abi.writer.caches import Caches

Update = Generator[Step, None, None]


def linux_5_14(vcpu: Runstate, area: Area, caches: "Caches", atomic: bool = False) -> Update:
    """Four copies to user space; where one fails the update stops, and may leave the flag up.

    There is no atomic case: 5.14 slept in the scheduler if a page was not resident. An area that
    crosses a page is written by kvm_write_guest(), page by page.
    """
    shape = area.shape
    set_flag = entry_bytes(flagged(vcpu.entry_time))
    if not (yield from _write_guest(caches, shape.entry_time, set_flag)):
        return
    yield Barrier()
    if not (yield from _write_guest(caches, shape.state, state_bytes(vcpu))):
        return
    if not (yield from _write_guest(caches, shape.time, times_bytes(vcpu))):
        return
    yield Barrier()
    yield from _write_guest(caches, shape.entry_time, entry_bytes(vcpu.entry_time))


# kvm_write_guest_offset_cached(): looks whether the memslots have changed, and marks the page
# dirty itself, each time.
def _write_guest(caches: "Caches", offset: int, data: bytes) -> Generator[Step, None, bool]:
    ghc = caches.ghc
    if not ghc.current():
        return False
    if ghc.crosses:
        return (yield from ghc.write_slow(offset, data))
    if not (yield from ghc.copy(offset, data, atomic=False)):
        return False
    yield from ghc.mark_dirty()
    return True


def linux_5_16(vcpu: Runstate, area: Area, caches: "Caches", atomic: bool = False) -> Update:
    """User stores with page faults disabled where it must not sleep; dirty even after a fault."""
    ghc = caches.ghc
    if not ghc.current():
        return
    yield from _put_all(vcpu, area, caches, atomic)
    yield from ghc.mark_dirty()


def _put_all(vcpu: Runstate, area: Area, caches: "Caches", atomic: bool) -> Update:
    shape, ghc = area.shape, caches.ghc
    set_flag = entry_bytes(flagged(vcpu.entry_time))
    if not (yield from ghc.put(shape.entry_time, set_flag, atomic)):
        return
    yield Barrier()
    if not (yield from ghc.put(shape.state, state_bytes(vcpu), atomic)):
        return
    if not (yield from ghc.copy(shape.time, times_bytes(vcpu), atomic)):
        return
    yield Barrier()
    yield from ghc.put(shape.entry_time, entry_bytes(vcpu.entry_time), atomic)
    yield Barrier()


def linux_6_1(vcpu: Runstate, area: Area, caches: "Caches", atomic: bool = False) -> Update:
    """One gfn_to_pfn_cache, all or nothing; the flag set by an eight-byte store that may tear.

    The flag is cleared by reading the eight bytes back from the guest and masking: what a guest
    wrote meanwhile stays.
    """
    shape, gpc = area.shape, caches.gpc1
    yield from gpc.lock(irqsave=True)
    while not (yield from gpc.check(shape.size, gpc.gpa)):
        yield from gpc.unlock(irqrestore=True)
        if atomic:
            return
        if (yield from gpc.refresh(shape.size)):
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
