"""kvm_setup_guest_pvclock() of a shipped kernel, executed: KVM's update of a guest's clock.

The struct is behind a gfn_to_pfn_cache: in a page that KVM maps, under the cache's lock. What it
gets is in vcpu->arch.hv_clock, or in what a parameter points to. Parameters are found by their
types, members by their names in the debug info.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from struct import Struct
from typing import NamedTuple

from runstate_abi.layouts.abi import PAGE_SIZE, U64
from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.structs.vcpu_info import VCPU_INFO
from runstate_abi.writer.host import EFAULT
from runstate_abi.writer.witnesses.c_types import Type, Types, member
from runstate_abi.writer.witnesses.machine_code import objects
from runstate_abi.writer.witnesses.object_file import ObjectFile
from runstate_abi.writer.witnesses.versions import updates
from runstate_abi.writer.witnesses.versions.kernel import (
    GPA,
    KVM,
    MEMSLOT,
    OTHER,
    VCPU,
    Entry,
    Kernel,
    at,
    entry,
    maybe,
    memory_of,
)
from runstate_abi.writer.witnesses.versions.record import PAGE, STALE
from runstate_abi.writer.witnesses.versions.updates import SHAPES, Call, Update

FUNCTION = "kvm_setup_guest_pvclock"
SHAPE = SHAPES["pvclock"]
QWORD = Struct("<Q")

# arch/x86/include/asm/pvclock-abi.h
TSC_STABLE, GUEST_STOPPED = 1 << 0, 1 << 1

# What may be registered for a clock: its cache in struct kvm_vcpu, and where the struct is in it.
IN_VCPU_INFO = next(row.offset for row in VCPU_INFO.rows if row.name == "time")
CACHES = {
    "arch.pv_time": 0,
    "arch.xen.vcpu_info_cache": IN_VCPU_INFO,
    "arch.xen.vcpu_time_info_cache": 0,
}
HV_CLOCK, STOPPED = "arch.hv_clock", "arch.pvclock_set_guest_stopped_request"

# The parameters: pointers by the struct that they point to, numbers by name.
POINTERS = ("kvm_vcpu", "gfn_to_pfn_cache", "pvclock_vcpu_time_info")
NUMBERS = ("offset", "force_tsc_unstable")

VERSIONS = (6, 7, 0, 0xFFFF_FFFE, 0xFFFF_FFFF)  # even, odd, and both where 32 bits end
GUEST, KNOWN = 0xC0, 0x20  # the first byte of what the guest's struct has, and of what it gets
OWN_VERSION = 0x3132_3334  # what the hypervisor's copy has: nobody may use it
PLACES = (IN_VCPU_INFO, 0x7E4, PAGE_SIZE - SHAPE.size)  # of the struct, in its page
# A cache that has to be refreshed, one that cannot be, and one without a memslot.
STALE_CACHE, LOST, NO_SLOT = "stale", "lost", "no-slot"
BLEEDS = (
    "GUEST_STOPPED stays in vcpu->arch.hv_clock, and the vCPU's other clocks may get it too: until "
    '24c166378026 ("KVM: x86: Don\'t bleed PVCLOCK_GUEST_STOPPED across PV clocks")'
)


class ClockRequest(NamedTuple):
    """An update to ask for. ``place`` is the struct's offset in its page."""

    version: int  # in the guest's struct before
    cache: str
    place: int
    flags: int = 0  # in the guest's struct before
    stable: bool = True  # the hypervisor's flags have TSC_STABLE
    stopped: bool = False  # GUEST_STOPPED has been requested
    unstable: bool = False  # the caller wants TSC_STABLE down, where there is a parameter for it
    trouble: str = ""

    def __str__(self) -> str:
        words = [f"version {self.version:#x}", f"{self.cache} at {self.place:#x}"]
        words += [f"flags {self.flags:#x}"] * bool(self.flags)
        words += [name for name in ("stopped", "unstable") if getattr(self, name)]
        return ", ".join([*words, *filter(None, [self.trouble])])

    @property
    def before(self) -> bytes:
        return _struct(self.version, GUEST, self.flags)

    @property
    def refused(self) -> bool:
        return self.trouble == LOST

    @property
    def has_slot(self) -> bool:
        return self.trouble != NO_SLOT

    @property
    def takes_flush(self) -> bool:
        return False


# The struct with bytes that count up, but for the version and the flags: none can be mistaken.
def _struct(version: int, first: int, flags: int) -> bytes:
    made = bytearray(range(first, first + SHAPE.size))
    start = SHAPE.offset(updates.VERSION)
    made[start : start + updates.VERSION_SIZE] = version.to_bytes(updates.VERSION_SIZE, "little")
    made[SHAPE.offset("flags")] = flags
    return bytes(made)


class ClockWriter:
    """One kernel's kvm_setup_guest_pvclock(), ready to be called, in emulated memory."""

    shape, function = SHAPE, FUNCTION

    def __init__(self, file: ObjectFile, types: Types) -> None:
        self.file, self.types, self.entry = file, types, entry(file, types, FUNCTION)
        self._roles = _roles(self.entry, types)
        pointed = dict(zip(self._roles, self.entry.parameters.values(), strict=True))
        vcpu, gpc = pointed["kvm_vcpu"].pointed(), pointed["gfn_to_pfn_cache"].pointed()
        self._gpc = {name: maybe(gpc, name, PAGE_SIZE) for name in ("kvm", "active", "valid")}
        self._gpc |= {name: at(gpc, name, PAGE_SIZE) for name in ("gpa", "khva", "memslot", "lock")}
        self._at = {path: maybe(vcpu, path) for path in (*CACHES, HV_CLOCK, STOPPED)}
        self._vcpu, self._own = memory_of(vcpu), bytearray(PAGE_SIZE)
        kvm = member(vcpu, "kvm").type.pointed()
        QWORD.pack_into(self._vcpu, at(vcpu, "kvm"), KVM)
        self.kernel = Kernel(types)
        for name in ("kvm_gpc_check", "kvm_gfn_to_pfn_cache_check"):
            self.kernel.add(name, self._check, ("gpc", "len"))
        for name in ("kvm_gpc_refresh", "kvm_gfn_to_pfn_cache_refresh"):
            self.kernel.add(name, self._refresh, ("gpc", "len"))
        memories = {VCPU: self._vcpu, KVM: memory_of(kvm), OTHER: self._own}
        self.kernel.load(file, objects(types), memories)

    def requests(self) -> Iterator[ClockRequest]:
        """Yield every request that this kernel's function can be asked."""
        caches = [path for path in CACHES if self._at[path] is not None]
        unstable = (False, True) if "force_tsc_unstable" in self._roles else (False,)
        where = list(product(VERSIONS, caches, PLACES))
        how = list(product((True, False), (False, True), unstable))
        for one, flags in product(where, (0, GUEST_STOPPED, 0xFF)):
            yield from (ClockRequest(*one, flags, *other) for other in how)
        for trouble in (STALE_CACHE, LOST, NO_SLOT):
            yield from (ClockRequest(*one, trouble=trouble) for one in where)

    def run(self, asked: ClockRequest, places: bool = False) -> Update:
        """Run one update (WitnessError); ``places`` asks for the place of each event too."""
        self._fill(asked)
        values = {
            "kvm_vcpu": VCPU,
            "gfn_to_pfn_cache": VCPU + self._cache,
            "pvclock_vcpu_time_info": OTHER,
            "offset": CACHES[asked.cache],
            "force_tsc_unstable": int(asked.unstable),
        }
        arguments = tuple(values[role] for role in self._roles)
        made = self.kernel.run(self.entry, arguments, SHAPE, asked, places)
        notes = (BLEEDS,) if self._bleeds() else ()
        return replace(made, expected=self._expected(made), notes=notes)

    def _fill(self, asked: ClockRequest) -> None:
        self._asked, self._valid = asked, asked.trouble not in (STALE_CACHE, LOST)
        self._cache = self._at[asked.cache] or 0
        known = _struct(OWN_VERSION, KNOWN, TSC_STABLE if asked.stable else 0)
        self._own[: len(known)] = known
        start = self._at[HV_CLOCK]
        if start is not None:
            self._vcpu[start : start + len(known)] = known
        request = self._at[STOPPED]
        if request is not None:
            self._vcpu[request] = asked.stopped
        self._register(asked)

    # What KVM has in the cache of a struct that its guest has registered.
    def _register(self, asked: ClockRequest) -> None:
        start = asked.place - CACHES[asked.cache]
        page = PAGE if self._valid else STALE
        self.kernel.slot = MEMSLOT if asked.has_slot else 0
        self.kernel.lock = VCPU + self._cache + (self._gpc["lock"] or 0)
        values = {"gpa": GPA + start, "khva": page + start, "memslot": self.kernel.slot, "kvm": KVM}
        for name, value in values.items():
            self._put(name, value)
        for name in ("active", "valid"):
            offset = self._gpc[name]
            if offset is not None:
                self._vcpu[self._cache + offset] = self._valid

    def _put(self, name: str, value: int) -> None:
        offset = self._gpc[name]
        if offset is not None:
            QWORD.pack_into(self._vcpu, self._cache + offset, value)

    def _expected(self, made: Update) -> bytes:
        asked = self._asked
        flags = TSC_STABLE if asked.stable and not asked.unstable else 0
        flags |= asked.flags & GUEST_STOPPED
        request = self._at[STOPPED]
        # Some kernels serve the request here, others in the caller, for the kvmclock alone.
        if asked.stopped and request is not None and not self._vcpu[request]:
            flags |= GUEST_STOPPED
        return _struct(made.even, KNOWN, flags)

    def _bleeds(self) -> bool:
        start = self._at[HV_CLOCK]
        if start is None:
            return False
        return bool(self._vcpu[start + SHAPE.offset("flags")] & GUEST_STOPPED)

    # What is wrong with a call about the cache, "" if nothing is.
    def _wrong(self, where: Mapping[str, str], size: int) -> str:
        machine, needed = self.kernel.machine, CACHES[self._asked.cache] + SHAPE.size
        if machine.get(where["gpc"]) != VCPU + self._cache:
            return "it asks about another cache"
        if "gpa" in where and machine.get(where["gpa"]) != self._gpa():
            return "it asks about another address than the cache's"
        return "" if size >= needed else f"it asks for {size} bytes, and needs {needed}"

    def _gpa(self) -> int:
        return GPA + self._asked.place - CACHES[self._asked.cache]

    def _check(self, where: Mapping[str, str]) -> None:
        size = self.kernel.machine.get(where["len"])
        good = self._valid and self._gpa() % PAGE_SIZE + size <= PAGE_SIZE
        self.kernel.machine.put("rax", good)
        self.kernel.record.call(Call(updates.CHECK, size, good, self._wrong(where, size)))

    def _refresh(self, where: Mapping[str, str]) -> None:
        size = self.kernel.machine.get(where["len"])
        fits = self._gpa() % PAGE_SIZE + size <= PAGE_SIZE
        self._valid = fits and self._asked.trouble != LOST
        if self._valid:
            self._put("khva", PAGE + self._asked.place - CACHES[self._asked.cache])
        error = 0 if self._valid else -EFAULT
        self.kernel.machine.put("rax", error & U64)
        self.kernel.record.call(Call(updates.REFRESH, size, error, self._wrong(where, size)))


# What each parameter is (WitnessError: one that is not known, or one that is missing).
def _roles(function: Entry, types: Types) -> tuple[str, ...]:
    found = tuple(_role(name, type_) for name, type_ in function.parameters.items())
    unknown = [n for n, role in zip(function.parameters, found, strict=True) if not role]
    if unknown or not {"kvm_vcpu", "gfn_to_pfn_cache", "offset"} <= set(found):
        what = f"{function.name}() takes {', '.join(function.parameters)}"
        raise WitnessError(f"{types.source}: cannot judge: {what}")
    return found


def _role(name: str, type_: Type) -> str:
    try:
        role = type_.pointed().name
    except WitnessError:
        role = name
    return role if role in (*POINTERS, *NUMBERS) else ""
