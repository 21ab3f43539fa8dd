"""Four proposals of the November 2022 thread that were not merged, as the updates they would be.

Nobody posted code for them. So each is the newest update with the one change that its author named.
The rules that its steps break show what that change costs.
"""

from collections.abc import Generator

from runstate_abi.writer.gpc import Caches, Gpc
from runstate_abi.writer.host import Ghc
from runstate_abi.writer.steps import Barrier, Copy, Step, Store
from runstate_abi.writer.two_pages import (
    Update,
    copy_split,
    copy_struct,
    hold,
    newest,
    store_struct,
    stored_entry_time,
)
from runstate_abi.writer.vcpu import (
    SHAPES,
    Area,
    Runstate,
    entry_bytes,
    image,
    split,
    state_bytes,
    times_bytes,
    top_byte,
    unflagged,
)


def embedded_struct(vcpu: Runstate, area: Area, caches: Caches, atomic: bool) -> Update:
    """Bonzini: struct kvm_vcpu_xen holds a struct vcpu_runstate_info, which is copied.

    Woodhouse's answer names the two defects. The stored entry time has no update flag, so the copy
    clears the flag in the middle of the update. And the struct is the 64-bit one: for a compat
    guest the copy begins at byte 4, where the 64-bit struct has padding and the compat struct has
    state.
    """
    stored = area.shape if area.host == "i386" else SHAPES["native"]
    struct = image(stored, vcpu, vcpu.entry_time)[stored.size - area.shape.size :]
    if (yield from hold(caches, area, atomic, trylock=atomic)):
        yield from newest(vcpu, area, caches, copy_struct(caches, area, struct))


def split_helper(vcpu: Runstate, area: Area, caches: Caches, atomic: bool) -> Update:
    """Bonzini: a generic split_memcpy() puts each field into one page or two; no stack struct.

    Unlike Woodhouse's draft of this (split-memcpy), it stores the whole entry time with the flag,
    in the order of the struct.
    """
    if (yield from hold(caches, area, atomic, trylock=atomic)):
        yield from newest(vcpu, area, caches, _field_by_field(vcpu, area, caches))


def _field_by_field(vcpu: Runstate, area: Area, caches: Caches) -> Update:
    shape, entry_time = area.shape, entry_bytes(stored_entry_time(vcpu, area))
    yield from copy_split(caches, area, shape.state, state_bytes(vcpu))
    yield from copy_split(caches, area, shape.entry_time, entry_time)
    yield from copy_split(caches, area, shape.time, times_bytes(vcpu))


def gpc_lock(vcpu: Runstate, area: Area, caches: Caches, atomic: bool) -> Update:
    """Christopherson: kvm_gpc_lock() for both caches. Right for the first, wrong for the second.

    Woodhouse: no helper fits both, because other locks must be dropped between a failed check and
    the refresh. Here gpc2 is refreshed, which sleeps, under gpc1's lock with interrupts off. And a
    gpc2 that was never activated needs activate(): refresh() returns -EINVAL.
    """
    first, second = caches.split(area)
    if not (yield from kvm_gpc_lock(caches.gpc1, first, irqsave=True, atomic=atomic)):
        return
    if second:
        both = yield from kvm_gpc_lock(caches.gpc2, second, irqsave=False, atomic=atomic)
        if not both:
            yield from caches.gpc1.unlock(irqrestore=True)
            return
    body = store_struct(caches, area, vcpu, stored_entry_time(vcpu, area))
    yield from newest(vcpu, area, caches, body)


def kvm_gpc_lock(gpc: Gpc, size: int, irqsave: bool, atomic: bool) -> Generator[Step, None, bool]:
    """Christopherson's helper: lock a cache, and refresh it until ``size`` bytes of it are valid.

    False: the lock is not held, because the refresh failed or because it must not sleep.
    """
    yield from gpc.lock(irqsave)
    while not (yield from gpc.check(size)):
        yield from gpc.unlock(irqrestore=irqsave)
        if atomic or (yield from gpc.refresh(size)):
            return False
        yield from gpc.lock(irqsave)
    return True


def two_hva_caches(vcpu: Runstate, area: Area, caches: Caches, atomic: bool) -> Update:
    """Christopherson: two gfn_to_hva_caches and copies to user space, as 5.16 has with one.

    No lock is needed. But each store can fault (page faults are disabled if it must not sleep), and
    a fault ends the update: after the first store the flag stays set over a struct that is partly
    old and partly new, until a later update succeeds.
    """
    ghc, ghc2 = caches.ghc, caches.ghc2
    parts = split(ghc.gpa, area.shape.size)
    second = ghc.gpa + parts.first
    # The guest may have registered a 32-bit area that crosses the page only now, as a 64-bit one.
    moved = parts.second and not (ghc2.active and ghc2.gpa == second)
    if moved and ghc2.activate(second, parts.second):
        return
    used = (ghc, ghc2) if parts.second else (ghc,)
    if not all(one.current() for one in used):
        return
    yield from _put_all(vcpu, area, used, parts.first, atomic)
    for one in used:
        yield from one.mark_dirty()


def _put_all(vcpu: Runstate, area: Area, used: tuple[Ghc, ...], first: int, atomic: bool) -> Update:
    entry_time = stored_entry_time(vcpu, area)
    in_second = area.shape.update_byte >= first
    ghc, at = used[in_second], area.shape.update_byte - first * in_second
    if area.update_flag:
        if not (yield from ghc.write(Store, at, top_byte(entry_time), atomic)):
            return
        yield Barrier()
    struct = image(area.shape, vcpu, entry_time)
    for one, part in zip(used, (struct[:first], struct[first:]), strict=False):
        if not (yield from one.write(Copy, 0, part, atomic)):
            return
    yield Barrier()
    if area.update_flag:
        yield from ghc.write(Store, at, top_byte(unflagged(entry_time)), atomic)
        yield Barrier()
