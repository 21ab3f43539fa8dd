"""The updates since November 2022, with two caches, because the area may cross a page.

These are the drafts of the mailing-list thread, the merged version, and today's Linux. They differ
in how the struct reaches memory, in who takes which lock, and in when a page is marked dirty.
Proposals of the thread without code are in alternatives.py.

Each version is a generator that yields its steps in the order of the C source. Versions share code
only where their sources are the same.
"""

from collections.abc import Generator
from typing import TYPE_CHECKING

from runstate_abi.writer.host import Place, frame_of
from runstate_abi.writer.steps import Barrier, Copy, Dirty, IrqRestore, IrqSave, Step, Store
from runstate_abi.writer.vcpu import (
    Area,
    Runstate,
    Shape,
    entry_bytes,
    flagged,
    image,
    state_bytes,
    times_bytes,
    top_byte,
    unflagged,
)

if TYPE_CHECKING:
    from runstate_abi.writer.gpc import Caches, Gpc

Update = Generator[Step, None, None]

# The model's value for uninitialised kernel stack that a version copies, so that a leak shows.
KERNEL_STACK = bytes.fromhex("5afe57ac")


def split_memcpy(vcpu: Runstate, area: Area, caches: "Caches", atomic: bool) -> Update:
    """Woodhouse's draft with memcpy_to_runstate(), "utterly untested": it splits each field.

    Only this version writes the entry time after the times and without its top byte, and only this
    version ORs the flag into the guest's own byte. Both unlocks restore the same interrupt flags,
    so interrupts are on again while gpc1 is still locked. A gpc2 that was never activated is
    refreshed, which fails: after a switch from 32 to 64 bits nothing is written.
    """
    shape = area.shape
    if not (yield from hold(caches, area, atomic, activate=False)):
        return
    update = place_in(caches, area, shape.update_byte)
    flag = top_byte(flagged(0))
    yield Store(*update, flag, keep=bytes([flag[0] ^ 0xFF]))
    yield Barrier()
    below_top = entry_bytes(vcpu.entry_time)[: shape.update_byte - shape.entry_time]
    yield from copy_split(caches, area, shape.state, state_bytes(vcpu))
    yield from copy_split(caches, area, shape.time, times_bytes(vcpu))
    yield from copy_split(caches, area, shape.entry_time, below_top)
    yield Barrier()
    yield Store(*update, top_byte(vcpu.entry_time))
    yield Barrier()
    yield from _release(caches, area, irqrestore=True)


def two_paths(vcpu: Runstate, area: Area, caches: "Caches", atomic: bool) -> Update:
    """The code that the thread's diff changes: stores into the page, or a struct copied from the
    stack if the area is split.

    Patch 2/4 as posted clears the padding on the stack in another way, with the same bytes.
    """
    if caches.split(area).second:
        body = copy_struct(caches, area, _stack_of_pre_image(vcpu, area))
    else:
        body = _assign(caches.gpc1, area.shape, vcpu, flagged(vcpu.entry_time))
    yield from _always_flagged(vcpu, area, caches, atomic, body)


def single_path(vcpu: Runstate, area: Area, caches: "Caches", atomic: bool) -> Update:
    """Bonzini's proposal: always via the stack.

    It always takes gpc2's lock, but releases it only if the area is split. After an update in one
    page it returns with the lock held, and the next writer of gpc2 waits for ever.
    """
    body = copy_struct(caches, area, _stack_of_pre_image(vcpu, area))
    yield from _always_flagged(vcpu, area, caches, atomic, body, always_second=True)


def reconciled(vcpu: Runstate, area: Area, caches: "Caches", atomic: bool) -> Update:
    """Woodhouse's reconciliation: one path, but two places in which the struct is built."""
    body = store_struct(caches, area, vcpu, flagged(vcpu.entry_time))
    yield from _always_flagged(vcpu, area, caches, atomic, body)


# What these three do around a body. The body runs only if both caches are locked and valid.
def _always_flagged(
    vcpu: Runstate,
    area: Area,
    caches: "Caches",
    atomic: bool,
    body: Update,
    always_second: bool = False,
) -> Update:
    if not (yield from hold(caches, area, atomic, always_second=always_second)):
        return
    update = place_in(caches, area, area.shape.update_byte)
    yield Store(*update, top_byte(flagged(vcpu.entry_time)))
    yield Barrier()
    yield from body
    yield Barrier()
    yield Store(*update, top_byte(vcpu.entry_time))
    yield Barrier()
    yield from _release(caches, area)


def linux_6_2(vcpu: Runstate, area: Area, caches: "Caches", atomic: bool) -> Update:
    """As merged: the flag only if the guest asked, trylock where it must not spin."""
    if (yield from hold(caches, area, atomic, trylock=atomic)):
        body = store_struct(caches, area, vcpu, stored_entry_time(vcpu, area))
        yield from _merged_body(vcpu, area, caches, body)
        yield from _release(caches, area)


def upstream(vcpu: Runstate, area: Area, caches: "Caches", atomic: bool) -> Update:
    """Newest: each page is marked dirty under its lock, when its cache cannot move."""
    if (yield from hold(caches, area, atomic, trylock=atomic)):
        body = store_struct(caches, area, vcpu, stored_entry_time(vcpu, area))
        yield from newest(vcpu, area, caches, body)


def stored_entry_time(vcpu: Runstate, area: Area) -> int:
    """Return the entry time that the body stores: with the flag, if the guest asked for it."""
    return flagged(vcpu.entry_time) if area.update_flag else vcpu.entry_time


def newest(vcpu: Runstate, area: Area, caches: "Caches", body: Update) -> Update:
    """Do what upstream does under the locks: ``body`` between the flag's stores, then unlock."""
    yield from _merged_body(vcpu, area, caches, body)
    if caches.split(area).second:
        yield Dirty(frame_of(caches.gpc2.gpa))
        yield from caches.gpc2.unlock()
    yield Dirty(frame_of(caches.gpc1.gpa))
    yield from caches.gpc1.unlock(irqrestore=True)


# The stores of 6.2 and later. They clear the flag even if bit 63 was set in the vCPU's own entry
# time, which should never happen; older versions store that bit, and the flag stays set.
def _merged_body(vcpu: Runstate, area: Area, caches: "Caches", body: Update) -> Update:
    entry_time = stored_entry_time(vcpu, area)
    update = place_in(caches, area, area.shape.update_byte)
    if area.update_flag:
        yield Store(*update, top_byte(entry_time))
        yield Barrier()
    yield from body
    yield Barrier()
    if area.update_flag:
        yield Store(*update, top_byte(unflagged(entry_time)))
        yield Barrier()


# Take the locks and make the caches valid. False: nothing was written, and the update is over.
def hold(
    caches: "Caches",
    area: Area,
    atomic: bool,
    trylock: bool = False,
    always_second: bool = False,
    activate: bool = True,
) -> Generator[Step, None, bool]:
    gpc1, gpc2 = caches.gpc1, caches.gpc2
    first, second = caches.split(area)
    while True:
        if not (yield from _hold_first(gpc1, first, atomic, trylock)):
            return False
        if not second and not always_second:
            return True
        if not trylock:
            yield from gpc2.lock()
        elif not (yield from gpc2.trylock()):
            yield from gpc1.unlock(irqrestore=True)
            return False
        if not second or (yield from gpc2.check(second)):
            return True
        yield from gpc2.unlock()
        yield from gpc1.unlock(irqrestore=True)
        if atomic:
            return False
        # Not refresh: a guest that registered in 32-bit mode may reach the second page only now,
        # as a 64-bit guest. Then gpc2 was never activated.
        if activate:
            error = yield from gpc2.activate(gpc1.gpa + first, second)
        else:
            error = yield from gpc2.refresh(second)
        if error:
            return False
        # gpc1's lock was dropped, so both caches must be checked again.
        # gpc1's lock was dropped, so both caches must be checked again.


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


# The pages are marked dirty after the unlocks, when another thread may have changed the addresses.
# upstream() fixes that.
def _release(caches: "Caches", area: Area, irqrestore: bool = False) -> Update:
    second = caches.split(area).second
    if second:
        yield from caches.gpc2.unlock(irqrestore)
    yield from caches.gpc1.unlock(irqrestore=True)
    yield Dirty(frame_of(caches.gpc1.gpa))
    if second:
        yield Dirty(frame_of(caches.gpc2.gpa))


# The place of a byte of the struct: in the first or in the second page.
def place_in(caches: "Caches", area: Area, offset: int) -> Place:
    first = caches.split(area).first
    if offset < first:
        return _khva(caches.gpc1).plus(offset)
    return _khva(caches.gpc2).plus(offset - first)


def _khva(gpc: "Gpc") -> Place:
    assert gpc.khva is not None  # a valid cache is mapped
    return gpc.khva


def store_struct(caches: "Caches", area: Area, vcpu: Runstate, entry_time: int) -> Update:
    if caches.split(area).second:
        yield from copy_struct(caches, area, image(area.shape, vcpu, entry_time))
    else:
        yield from _assign(caches.gpc1, area.shape, vcpu, entry_time)


# Three assignments in the guest's own struct: the padding keeps the guest's bytes.
def _assign(gpc: "Gpc", shape: Shape, vcpu: Runstate, entry_time: int) -> Update:
    khva = _khva(gpc)
    yield Store(*khva.plus(shape.state), state_bytes(vcpu))
    yield Store(*khva.plus(shape.entry_time), entry_bytes(entry_time))
    yield Copy(*khva.plus(shape.time), times_bytes(vcpu))


# Two memcpy() of a struct built on the stack; its padding is cleared so that nothing leaks.
def copy_struct(caches: "Caches", area: Area, struct: bytes) -> Update:
    first, second = caches.split(area)
    yield Copy(*_khva(caches.gpc1), struct[:first])
    if second:
        yield Copy(*_khva(caches.gpc2), struct[first:])


# memcpy_to_runstate(): one field, in one page or in two.
def copy_split(caches: "Caches", area: Area, offset: int, data: bytes) -> Update:
    first = max(0, min(len(data), caches.split(area).first - offset))
    if first:
        yield Copy(*place_in(caches, area, offset), data[:first])
    if first < len(data):
        yield Copy(*place_in(caches, area, offset + first), data[first:])


# The struct that two_paths(), patch 2/4 and Bonzini's proposal build on the stack. For a compat
# guest they skip four bytes at its beginning (`rs_state++`): on a 64-bit host that is the padding.
# A 32-bit host's struct has no padding, so state is skipped: the guest gets the entry time in its
# place, and at the end four bytes of the stack behind the struct.
def _stack_of_pre_image(vcpu: Runstate, area: Area) -> bytes:
    struct = image(area.shape, vcpu, flagged(vcpu.entry_time))
    if area.host == "i386":
        return struct[area.shape.entry_time :] + KERNEL_STACK
    return struct
