"""The updates since November 2022: two caches, because the area may cross a page.

The drafts of the mailing-list thread, what was merged, and what Linux has today. They differ in
how the struct reaches memory, in who takes which lock, and in when a page is marked dirty.

Ideas of the thread that nobody wrote code for are in alternatives.py.

There is one generator for each version, with its steps in the order of the C source. Versions share
code only where their sources are the same.
"""

from collections.abc import Generator
from typing import TYPE_CHECKING

from runstate_abi.writer.host import Place, frame_of
from runstate_abi.writer.steps import Barrier, Copy, Dirty, IrqRestore, IrqSave, Step, Store
from runstate_abi.writer.vcpu import (
    Area,
    Runstate,
    Shape,
    Split,
    entry_bytes,
    flagged,
    image,
    split,
    state_bytes,
    times_bytes,
    top_byte,
    unflagged,
)

if TYPE_CHECKING:
    from runstate_abi.writer.gpc import Caches, Gpc

Update = Generator[Step, None, None]

# What the model puts where a version copies uninitialised kernel stack, so that a leak shows.
KERNEL_STACK = bytes.fromhex("5afe57ac")


def split_memcpy(vcpu: Runstate, area: Area, caches: "Caches", atomic: bool) -> Update:
    """Woodhouse's draft with memcpy_to_runstate(), "utterly untested": each field split by itself.

    Only this version writes the entry time after the times, and without its top byte; and only this
    one ORs the flag into what the guest's byte holds. Both unlocks restore the same interrupt
    flags, so interrupts come back while gpc1 is still locked. A gpc2 that was never set up is
    refreshed, which fails: after a switch from 32 to 64 bits nothing is written.
    """
    shape = area.shape
    parts = split(caches.gpc1.gpa, shape.size)
    if not (yield from hold(caches, parts, atomic, activate=False)):
        return
    update = place_in(caches, parts, shape.update_byte)
    flag = top_byte(flagged(0))
    yield Store(*update, flag, keep=bytes([flag[0] ^ 0xFF]))
    yield Barrier()
    below_top = entry_bytes(vcpu.entry_time)[: shape.update_byte - shape.entry_time]
    yield from copy_split(caches, parts, shape.state, state_bytes(vcpu))
    yield from copy_split(caches, parts, shape.time, times_bytes(vcpu))
    yield from copy_split(caches, parts, shape.entry_time, below_top)
    yield Barrier()
    yield Store(*update, top_byte(vcpu.entry_time))
    yield Barrier()
    if parts.second:
        yield from caches.gpc2.unlock(irqrestore=True)
    yield from caches.gpc1.unlock(irqrestore=True)
    yield from _dirty(caches, parts)


def two_paths(vcpu: Runstate, area: Area, caches: "Caches", atomic: bool) -> Update:
    """The pre-image of the thread's diff: straight into the page, or by way of the stack if split.

    Patch 2/4 as posted differs in how it clears the padding on the stack, which no byte shows.
    """
    parts = split(caches.gpc1.gpa, area.shape.size)
    if parts.second:
        body = copy_struct(caches, parts, _stack_of_pre_image(vcpu, area))
    else:
        body = _assign(caches.gpc1, area.shape, vcpu, flagged(vcpu.entry_time))
    yield from _always_flagged(vcpu, area, caches, atomic, body)


def single_path(vcpu: Runstate, area: Area, caches: "Caches", atomic: bool) -> Update:
    """Bonzini's proposal: always by way of the stack.

    It always takes gpc2's lock and releases it only if the area is split: after an update of one
    page it returns with the lock held, and gpc2's next writer waits for ever.
    """
    parts = split(caches.gpc1.gpa, area.shape.size)
    body = copy_struct(caches, parts, _stack_of_pre_image(vcpu, area))
    yield from _always_flagged(vcpu, area, caches, atomic, body, always_second=True)


def reconciled(vcpu: Runstate, area: Area, caches: "Caches", atomic: bool) -> Update:
    """Woodhouse's reconciliation: one path, two places to build the struct."""
    parts = split(caches.gpc1.gpa, area.shape.size)
    body = store_struct(caches, parts, area.shape, vcpu, flagged(vcpu.entry_time))
    yield from _always_flagged(vcpu, area, caches, atomic, body)


# What is around the body in these three. The body runs only when both caches are locked and valid.
def _always_flagged(
    vcpu: Runstate,
    area: Area,
    caches: "Caches",
    atomic: bool,
    body: Update,
    always_second: bool = False,
) -> Update:
    parts = split(caches.gpc1.gpa, area.shape.size)
    if not (yield from hold(caches, parts, atomic, always_second=always_second)):
        return
    update = place_in(caches, parts, area.shape.update_byte)
    yield Store(*update, top_byte(flagged(vcpu.entry_time)))
    yield Barrier()
    yield from body
    yield Barrier()
    yield Store(*update, top_byte(vcpu.entry_time))
    yield Barrier()
    yield from _release(caches, parts)
    yield from _dirty(caches, parts)


def linux_6_2(vcpu: Runstate, area: Area, caches: "Caches", atomic: bool) -> Update:
    """As merged: the flag only if the guest asked, trylock where it must not spin."""
    parts = split(caches.gpc1.gpa, area.shape.size)
    if not (yield from hold(caches, parts, atomic, trylock=atomic)):
        return
    body = store_struct(caches, parts, area.shape, vcpu, stored_entry_time(vcpu, area))
    yield from _merged_body(vcpu, area, caches, parts, body)
    yield from _release(caches, parts)
    yield from _dirty(caches, parts)


def upstream(vcpu: Runstate, area: Area, caches: "Caches", atomic: bool) -> Update:
    """Newest: each page is marked dirty under its lock, so a cache that moves cannot mislead it."""
    parts = split(caches.gpc1.gpa, area.shape.size)
    if not (yield from hold(caches, parts, atomic, trylock=atomic)):
        return
    body = store_struct(caches, parts, area.shape, vcpu, stored_entry_time(vcpu, area))
    yield from newest(vcpu, area, caches, body)


def stored_entry_time(vcpu: Runstate, area: Area) -> int:
    """Return the entry time that the body stores: with the flag, if the guest asked for it."""
    return flagged(vcpu.entry_time) if area.update_flag else vcpu.entry_time


def newest(vcpu: Runstate, area: Area, caches: "Caches", body: Update) -> Update:
    """Yield what upstream does once it holds the locks, around a body."""
    parts = split(caches.gpc1.gpa, area.shape.size)
    yield from _merged_body(vcpu, area, caches, parts, body)
    if parts.second:
        yield Dirty(frame_of(caches.gpc2.gpa))
        yield from caches.gpc2.unlock()
    yield Dirty(frame_of(caches.gpc1.gpa))
    yield from caches.gpc1.unlock(irqrestore=True)


# The stores of 6.2 and later. The clear masks the flag, so that a bit 63 in the entry time, which
# should never be there, does not stay set as it did before.
def _merged_body(
    vcpu: Runstate, area: Area, caches: "Caches", parts: Split, body: Update
) -> Update:
    entry_time = stored_entry_time(vcpu, area)
    update = place_in(caches, parts, area.shape.update_byte)
    if area.update_flag:
        yield Store(*update, top_byte(entry_time))
        yield Barrier()
    yield from body
    yield Barrier()
    if area.update_flag:
        yield Store(*update, top_byte(unflagged(entry_time)))
        yield Barrier()


# Take the locks and make the caches valid. False: the update is over, and nothing was written.
def hold(
    caches: "Caches",
    parts: Split,
    atomic: bool,
    trylock: bool = False,
    always_second: bool = False,
    activate: bool = True,
) -> Generator[Step, None, bool]:
    gpc1, gpc2 = caches.gpc1, caches.gpc2
    while True:
        if not (yield from _hold_first(gpc1, parts.first, atomic, trylock)):
            return False
        if not parts.second and not always_second:
            return True
        if not trylock:
            yield from gpc2.lock()
        elif not (yield from gpc2.trylock()):
            yield from gpc1.unlock(irqrestore=True)
            return False
        if not parts.second or (yield from gpc2.check(parts.second)):
            return True
        yield from gpc2.unlock()
        yield from gpc1.unlock(irqrestore=True)
        if atomic:
            return False
        # Not refresh: if the guest registered in 32-bit mode and only reaches the second page
        # because it is a 64-bit guest now, gpc2 was never set up.
        if activate:
            error = yield from gpc2.activate(gpc1.gpa + parts.first, parts.second)
        else:
            error = yield from gpc2.refresh(parts.second)
        if error:
            return False
        # gpc1's lock was dropped meanwhile, so both caches are checked again.


def _hold_first(gpc1: "Gpc", size: int, atomic: bool, trylock: bool) -> Generator[Step, None, bool]:
    if not trylock:
        yield from gpc1.lock(irqsave=True)
    else:
        gpc1.host.irqs_off = True
        yield IrqSave()
        if not (yield from gpc1.trylock()):
            gpc1.host.irqs_off = False
            yield IrqRestore()
            return False
    while not (yield from gpc1.check(size)):
        yield from gpc1.unlock(irqrestore=True)
        if atomic or (yield from gpc1.refresh(size)):
            return False
        yield from gpc1.lock(irqsave=True)
    return True


def _release(caches: "Caches", parts: Split) -> Update:
    if parts.second:
        yield from caches.gpc2.unlock()
    yield from caches.gpc1.unlock(irqrestore=True)


# After the unlocks, from addresses that another thread may have changed: upstream() mends that.
def _dirty(caches: "Caches", parts: Split) -> Update:
    yield Dirty(frame_of(caches.gpc1.gpa))
    if parts.second:
        yield Dirty(frame_of(caches.gpc2.gpa))


# Where a byte of the struct is: in one page or in the other.
def place_in(caches: "Caches", parts: Split, offset: int) -> Place:
    if offset < parts.first:
        return _khva(caches.gpc1).plus(offset)
    return _khva(caches.gpc2).plus(offset - parts.first)


def _khva(gpc: "Gpc") -> Place:
    assert gpc.khva is not None  # a valid cache is mapped
    return gpc.khva


def store_struct(
    caches: "Caches", parts: Split, shape: Shape, vcpu: Runstate, entry_time: int
) -> Update:
    if parts.second:
        yield from copy_struct(caches, parts, image(shape, vcpu, entry_time))
    else:
        yield from _assign(caches.gpc1, shape, vcpu, entry_time)


# Three assignments in the guest itself: the padding keeps what the guest has there.
def _assign(gpc: "Gpc", shape: Shape, vcpu: Runstate, entry_time: int) -> Update:
    khva = _khva(gpc)
    yield Store(*khva.plus(shape.state), state_bytes(vcpu))
    yield Store(*khva.plus(shape.entry_time), entry_bytes(entry_time))
    yield Copy(*khva.plus(shape.time), times_bytes(vcpu))


# The double memcpy: the struct was built on the stack, its padding cleared so as not to leak.
def copy_struct(caches: "Caches", parts: Split, struct: bytes) -> Update:
    yield Copy(*_khva(caches.gpc1), struct[: parts.first])
    if parts.second:
        yield Copy(*_khva(caches.gpc2), struct[parts.first :])


# memcpy_to_runstate(): one field, in one page or in both.
def copy_split(caches: "Caches", parts: Split, offset: int, data: bytes) -> Update:
    first = max(0, min(len(data), parts.first - offset))
    if first:
        yield Copy(*place_in(caches, parts, offset), data[:first])
    if first < len(data):
        yield Copy(*place_in(caches, parts, offset + first), data[first:])


# What the pre-image (and patch 2/4, and Bonzini's proposal) has on the stack. For a compat guest
# `rs_state++` steps over the padding that only a 64-bit host has. On a 32-bit host it steps over
# state itself: the entry time overwrites the state just stored, and four bytes behind the struct
# are copied.
def _stack_of_pre_image(vcpu: Runstate, area: Area) -> bytes:
    struct = image(area.shape, vcpu, flagged(vcpu.entry_time))
    if area.host == "i386":
        return struct[area.shape.entry_time :] + KERNEL_STACK
    return struct
