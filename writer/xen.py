"""Xen's own writer, update_runstate_area(): an area at a virtual or at a guest-physical address.

Each kind of area has a generator with its steps in the order of the C source. Xen has no cache of a
virtual area: it copies through the guest's page tables and skips what is not mapped.
"""

from collections.abc import Generator

from runstate_abi.layouts.abi import PAGE_MASK, PAGE_SIZE
from runstate_abi.writer.gpc import Caches
from runstate_abi.writer.host import EACCES, ENXIO, INVALID_GPA, Host, Place, frame_of
from runstate_abi.writer.steps import Barrier, Copy, Step, Store
from runstate_abi.writer.vcpu import (
    ENTRY_TIME_SIZE,
    STATE_SIZE,
    TIME_ELEMENT_SIZE,
    Area,
    Runstate,
    entry_bytes,
    flagged,
    image,
    times_bytes,
    top_byte,
    unflagged,
)

Update = Generator[Step, None, None]

# alignof(compat_ulong_t) for a domain with a 32-bit shared info, else alignof(unsigned long):
# map_guest_area(), since d5df44275e (in 4.18).
PHYS_ALIGNMENT = {"native": 8, "compat": 4}


def xen_va(vcpu: Runstate, area: Area, caches: Caches, atomic: bool) -> Update:
    """The virtual area. With VMASST_TYPE_runstate_update_flag: set one byte, copy all, clear it.

    Without it: one copy and no barrier. The padding, which is zero, is copied too.
    """
    shape, entry_time = area.shape, vcpu.entry_time
    if area.update_flag:
        entry_time = flagged(entry_time)
        yield from _copy_to_guest(area, caches.host, shape.update_byte, top_byte(entry_time))
        yield Barrier()
    yield from _copy_to_guest(area, caches.host, 0, image(shape, vcpu, entry_time))
    if area.update_flag:
        yield Barrier()
        cleared = top_byte(unflagged(entry_time))
        yield from _copy_to_guest(area, caches.host, shape.update_byte, cleared)


# __copy_to_guest(): page by page; it stops at the first byte that is not mapped.
def _copy_to_guest(area: Area, host: Host, offset: int, data: bytes) -> Update:
    address = area.offset + offset
    while data:
        size = min(len(data), PAGE_SIZE - (address & PAGE_MASK))
        page = host.pages.get(frame_of(address))
        if not page:
            return
        yield Copy(page, address & PAGE_MASK, data[:size])
        address, data = address + size, data[size:]


def xen_phys(vcpu: Runstate, area: Area, caches: Caches, atomic: bool) -> Update:
    """The physical area: always flagged, set and cleared by eight-byte atomic writes.

    In a 32-bit domain an area need only be 4-aligned, so the eight bytes of its entry time may lie
    in two cache lines: of a compat area, and of a native one that a 64-bit hypercall registered.
    """
    if unregisters(area) or phys_error(area, caches.host):
        return
    shape = area.shape
    at = Place(caches.host.pages[frame_of(area.offset)], area.offset)
    set_flag = entry_bytes(flagged(vcpu.entry_time))
    yield Store(*at.plus(shape.entry_time), set_flag)
    yield Barrier()
    if area.abi == "native":
        yield Copy(*at, image(shape, vcpu, flagged(vcpu.entry_time)))
    else:
        yield from _translate(vcpu, area, at)
    yield Barrier()
    yield Store(*at.plus(shape.entry_time), entry_bytes(unflagged(vcpu.entry_time)))


# XLAT_vcpu_runstate_info: field by field.
def _translate(vcpu: Runstate, area: Area, at: Place) -> Update:
    shape, times = area.shape, times_bytes(vcpu)
    struct = image(shape, vcpu, flagged(vcpu.entry_time))
    yield Store(*at.plus(shape.state), struct[shape.state : shape.state + STATE_SIZE])
    yield Store(*at.plus(shape.entry_time), struct[shape.entry_time :][:ENTRY_TIME_SIZE])
    for start in range(0, len(times), TIME_ELEMENT_SIZE):
        yield Store(*at.plus(shape.time + start), times[start : start + TIME_ELEMENT_SIZE])


def phys_error(area: Area, host: Host) -> int:
    """Return what VCPUOP_register_runstate_phys_area answers: 0 or -errno.

    ~0 takes the area away, which succeeds and leaves nothing to write: see unregisters().
    """
    if unregisters(area):
        return 0
    if area.offset + area.shape.size > PAGE_SIZE:
        return -ENXIO
    if area.offset % PHYS_ALIGNMENT[area.domain or area.abi]:
        return -ENXIO
    if frame_of(area.offset) in host.read_only:
        return -EACCES
    return 0


def unregisters(area: Area) -> bool:
    """Is this the address that means "no area"?"""
    return area.address == INVALID_GPA
