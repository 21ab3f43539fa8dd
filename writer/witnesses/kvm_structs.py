"""KVM's structs around one vCPU's runstate area, in memory, as a given kernel lays them out.

Every offset comes from the debug info, starting at the prototype of the judged function.
"""

import struct
from dataclasses import dataclass, field
from typing import NamedTuple

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.layouts.model import WitnessError
from runstate_abi.writer.rulebook.requests import Request
from runstate_abi.writer.vcpu import TIME_SIZE, Runstate, split
from runstate_abi.writer.witnesses.c_types import Type, member, zeroed
from runstate_abi.writer.witnesses.journal import STALE, GuestPages

# fmt: off
VCPU       = 0x6000_0000
KVM        = 0x6100_0000
TASK       = 0x6200_0000   # `current`: all zero
MEMSLOT    = {"gpc1": 0x6300_0000, "gpc2": 0x6300_1000}   # named, and not mapped
# fmt: on
TASK_SIZE = 0x10000
LOCK_MAX = 512  # rwlock_t: 8 bytes, 72 with lockdep
GFN = 0x12_3456  # page 1's guest frame: its address needs more than 32 bits
GPA = GFN * PAGE_SIZE
NO_GPA = (1 << 64) - 1  # INVALID_GPA
XEN = "arch.xen"
CACHES = {"gpc1": f"{XEN}.runstate_cache", "gpc2": f"{XEN}.runstate2_cache"}
U64 = struct.Struct("<Q")
U32 = struct.Struct("<I")


class Cache(NamedTuple):
    """Offsets in struct kvm_vcpu of one gfn_to_pfn_cache and of its members."""

    start: int
    gpa: int
    khva: int
    memslot: int
    lock: int
    lock_size: int
    kvm: int | None
    flags: tuple[int, ...]  # the bool members that this kernel has: active, valid


@dataclass(slots=True)
class KvmStructs:
    """struct kvm_vcpu and struct kvm. ``vcpu`` and ``kvm`` are their memory, in whole pages."""

    vcpu: bytearray
    kvm: bytearray
    caches: dict[str, Cache]
    state: int
    entry_time: int
    times: int
    last_steal: int | None
    long_mode: int
    update_flag: int | None
    pages: GuestPages = field(default_factory=GuestPages)

    def fill(self, asked: Request, vcpu: Runstate, accounts: bool) -> None:
        """Fill in the vCPU's values and the place of its area.

        ``accounts``: the code accounts time first, which must add nothing here, and then sets the
        state that it is called with.
        """
        area, memory = asked.area, self.vcpu
        first, second = split(area.address, area.shape.size)
        U32.pack_into(memory, self.state, 0 if accounts else vcpu.state)
        U64.pack_into(memory, self.entry_time, vcpu.entry_time)
        for number, time in enumerate(vcpu.times):
            U64.pack_into(memory, self.times + number * U64.size, time)
        if self.last_steal is not None:
            U64.pack_into(memory, self.last_steal, 0)
        self.kvm[self.long_mode] = asked.abi == "native"
        if self.update_flag is not None:
            self.kvm[self.update_flag] = asked.flag
        self._register(asked, "gpc1", GPA + area.offset, True)
        if "gpc2" in self.caches:
            self._register(asked, "gpc2", GPA + area.offset + first, bool(second))

    # The result of KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_ADDR in a cache.
    def _register(self, asked: Request, name: str, gpa: int, active: bool) -> None:
        cache, number = self.caches[name], int(name[-1])
        self.set_khva(name, gpa, active, stale=asked.scenario.stale == number)
        for flag in cache.flags:
            self.vcpu[flag] = active
        slot = 0 if asked.scenario.no_slot or not active else MEMSLOT[name]
        U64.pack_into(self.vcpu, cache.memslot, slot)
        if cache.kvm is not None:
            U64.pack_into(self.vcpu, cache.kvm, KVM)
        self.vcpu[cache.lock : cache.lock + cache.lock_size] = bytes(cache.lock_size)

    def set_khva(self, name: str, gpa: int, active: bool = True, stale: bool = False) -> None:
        """Make a cache map a guest address; a stale cache still maps another page."""
        cache = self.caches[name]
        page = STALE if stale else (gpa - GPA) // PAGE_SIZE + 1
        khva = self.pages.start[page] + gpa % PAGE_SIZE if active else 0
        U64.pack_into(self.vcpu, cache.gpa, gpa if active else NO_GPA)
        U64.pack_into(self.vcpu, cache.khva, khva)
        if active and not stale:
            U64.pack_into(self.vcpu, cache.memslot, MEMSLOT[name])
            for flag in cache.flags:
                self.vcpu[flag] = True

    def gpa(self, name: str) -> int:
        value: int = U64.unpack_from(self.vcpu, self.caches[name].gpa)[0]
        return value

    def accounting(self) -> tuple[range, ...]:
        """Return where in struct kvm_vcpu the accounting of time may write."""
        steal = () if self.last_steal is None else (range(self.last_steal, self.last_steal + 8),)
        start = min(self.entry_time, self.times)
        return (
            range(self.state, self.state + 4),
            range(start, max(self.entry_time + 8, self.times + 32)),
            *steal,
        )


def kvm_structs(vcpu: Type) -> KvmStructs:
    """Return the structs of the kernel whose struct kvm_vcpu this is (WitnessError)."""
    pointer = member(vcpu, "kvm")
    kvm = pointer.type.pointed()
    paths = {name: path for name, path in CACHES.items() if name == "gpc1" or vcpu.find(path)}
    found = KvmStructs(
        zeroed(vcpu),
        zeroed(kvm),
        {name: _cache(vcpu, path) for name, path in paths.items()},
        state=member(vcpu, f"{XEN}.current_runstate").offset,
        entry_time=member(vcpu, f"{XEN}.runstate_entry_time").offset,
        times=member(vcpu, f"{XEN}.runstate_times").offset,
        last_steal=_maybe(vcpu, f"{XEN}.last_steal"),
        long_mode=member(kvm, f"{XEN}.long_mode").offset,
        update_flag=_maybe(kvm, f"{XEN}.runstate_update_flag"),
    )
    _check(vcpu, found, pointer.offset)
    U64.pack_into(found.vcpu, pointer.offset, KVM)
    return found


# Debug info may be wrong: no member may be outside the memory of its struct.
def _check(vcpu: Type, found: KvmStructs, pointer: int) -> None:
    inside = [pointer, found.state, found.entry_time, found.times + TIME_SIZE, found.last_steal]
    for cache in found.caches.values():
        inside += (cache.gpa, cache.khva, cache.memslot, cache.lock + cache.lock_size)
        inside += (cache.kvm, *cache.flags)
    flags = (found.long_mode, found.update_flag or 0)
    if max(filter(None, inside)) + U64.size > len(found.vcpu) or max(flags) >= len(found.kvm):
        what = "a member of struct kvm_vcpu or struct kvm lies outside it"
        raise WitnessError(f"{vcpu.source}: {what}")


def _cache(vcpu: Type, path: str) -> Cache:
    lock = member(vcpu, f"{path}.lock")
    if lock.type.size > LOCK_MAX:
        raise WitnessError(f"{vcpu.source}: a lock of {lock.type.size} bytes")
    flags = (_maybe(vcpu, f"{path}.{flag}") for flag in ("active", "valid"))
    return Cache(
        member(vcpu, path).offset,
        gpa=member(vcpu, f"{path}.gpa").offset,
        khva=member(vcpu, f"{path}.khva").offset,
        memslot=member(vcpu, f"{path}.memslot").offset,
        lock=lock.offset,
        lock_size=lock.type.size,
        kvm=_maybe(vcpu, f"{path}.kvm"),
        flags=tuple(place for place in flags if place is not None),
    )


def _maybe(type_: Type, path: str) -> int | None:
    found = type_.find(path)
    return found.offset if found else None
