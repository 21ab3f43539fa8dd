"""record_steal_time() of a shipped kernel, executed: how long its guest's vCPU did not run.

The struct is at an address of the VMM, which may not be mapped: each access to it may fault. A
gfn_to_hva_cache keeps that address, for one set of memslots and one address of the guest.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import product
from struct import Struct
from typing import NamedTuple

from runstate_abi.layouts.abi import PAGE_SIZE, U64
from runstate_abi.writer.host import EFAULT
from runstate_abi.writer.witnesses.c_types import Type, Types, member
from runstate_abi.writer.witnesses.machine_code import objects
from runstate_abi.writer.witnesses.object_file import ObjectFile
from runstate_abi.writer.witnesses.versions import updates
from runstate_abi.writer.witnesses.versions.exceptions import Fixup, fixups
from runstate_abi.writer.witnesses.versions.kernel import (
    BEHIND,
    GPA,
    KVM,
    MEMSLOT,
    OTHER,
    TASK,
    TASK_SIZE,
    VCPU,
    Kernel,
    at,
    entry,
    memory_of,
    named,
)
from runstate_abi.writer.witnesses.versions.record import PAGE, STALE
from runstate_abi.writer.witnesses.versions.updates import SHAPES, Call, Update

FUNCTION = "record_steal_time"
SHAPE = SHAPES["steal_time"]
BYTE, WORD, QWORD = Struct("<B"), Struct("<I"), Struct("<Q")
WORD_MASK = (1 << 8 * WORD.size) - 1

# struct kvm_vcpu, from BTF, by what each member is called here.
VCPU_MEMBERS = {
    "kvm": "kvm",
    "msr": "arch.st.msr_val",
    "last": "arch.st.last_steal",
    "preempted": "arch.st.preempted",
    "generation": "arch.st.cache.generation",
    "gpa": "arch.st.cache.gpa",
    "hva": "arch.st.cache.hva",
    "len": "arch.st.cache.len",
    "memslot": "arch.st.cache.memslot",
    "enforced": "arch.pv_cpuid.enforce",
    "features": "arch.pv_cpuid.features",
}
# arch/x86/include/uapi/asm/kvm_para.h
ENABLED, PV_TLB_FLUSH = 1 << 0, 1 << 9
PREEMPTED, FLUSH_TLB = 1 << 0, 1 << 1

# Data of other files. arch/x86/include/asm/page_64.h: where the kernel's addresses begin, without
# randomisation; an error is kept as an address of the kernel. processor.h: the last user address.
PAGE_OFFSET, USER_MAX = 0xFFFF_8880_0000_0000, 0x7FFF_FFFF_F000
ADDRESSES = {"page_offset_base": PAGE_OFFSET, "USER_PTR_MAX": USER_MAX}
BAD_HVA = PAGE_OFFSET

VERSIONS = (6, 7, 0, 0xFFFF_FFFE, 0xFFFF_FFFF)  # even, odd, and both where 32 bits end
PLACES = (0, 0x640, PAGE_SIZE - SHAPE.size)  # of the struct, in its page: a multiple of 64
GENERATION = 0x2468
LAST, DELAY = 0x1_0000_1000, 0x1_2345_7000  # ns, before and now
GUEST = 0x80  # the first byte of what the guest's struct has
GUEST_STEAL = 0xF0_0000_0001

# In what state the cache is, and what its setup gives; what must not be written at all.
CURRENT, OLD_SLOTS, MOVED, BAD, NO_SLOT = "", "other memslots", "moved", "bad hva", "no memslot"
LOST, UNSLOTTED, DISABLED = "lost", "no memslot for it", "not enabled"


class StealRequest(NamedTuple):
    """An update to ask for. ``fault``: the access that is to fail, the first is 1; 0: none."""

    version: int  # in the guest's struct before
    place: int = 0  # of the struct, in its page
    preempted: int = PREEMPTED  # in the guest's struct before
    enforced: bool = False  # the VMM chose which features the guest may use,
    feature: bool = False  # and this is one of them: a TLB flush by the host
    cache: str = CURRENT
    fault: int = 0

    def __str__(self) -> str:
        words = [f"version {self.version:#x}, at {self.place:#x}, preempted {self.preempted:#x}"]
        if self.enforced:
            words.append(f"{'a' if self.feature else 'no'} TLB flush for the guest")
        words += [f"cache: {self.cache}"] * bool(self.cache)
        words += [f"a fault at access {self.fault}"] * bool(self.fault)
        return ", ".join(words)

    @property
    def before(self) -> bytes:
        return _struct(self.version, GUEST_STEAL, self.preempted)

    @property
    def refused(self) -> bool:
        return self.cache in (LOST, UNSLOTTED, DISABLED)

    @property
    def has_slot(self) -> bool:
        return True

    @property
    def takes_flush(self) -> bool:
        return self.feature or not self.enforced


# The struct with bytes that count up, but for what an update writes.
def _struct(version: int, steal: int, preempted: int) -> bytes:
    made = bytearray(range(GUEST, GUEST + SHAPE.size))
    WORD.pack_into(made, SHAPE.offset(updates.VERSION), version)
    QWORD.pack_into(made, SHAPE.offset("steal"), steal)
    BYTE.pack_into(made, SHAPE.offset("preempted"), preempted)
    return bytes(made)


# What is read of the VM, of its memslots and of `current`: their memory, by address.
def _others(types: Types, kvm: Type) -> dict[int, bytearray]:
    memory, slots, task = memory_of(kvm), bytearray(BEHIND), bytearray(TASK_SIZE)
    QWORD.pack_into(memory, at(kvm, "memslots"), OTHER)
    generation = at(named(types, "kvm_memslots"), "generation", PAGE_SIZE)
    QWORD.pack_into(slots, generation, GENERATION)
    delay = at(named(types, "task_struct"), "sched_info.run_delay", TASK_SIZE - QWORD.size)
    QWORD.pack_into(task, delay, DELAY)
    return {KVM: memory, OTHER: slots, TASK: task}


class StealWriter:
    """One kernel's record_steal_time(), ready to be called, in emulated memory."""

    shape, function = SHAPE, FUNCTION

    def __init__(self, file: ObjectFile, types: Types) -> None:
        self.file, self.types, self.entry = file, types, entry(file, types, FUNCTION)
        vcpu = next(iter(self.entry.parameters.values())).pointed()
        self._at = {name: at(vcpu, path) for name, path in VCPU_MEMBERS.items()}
        self._vcpu = memory_of(vcpu)
        self.kernel = Kernel(types)
        self.kernel.slot = MEMSLOT
        self.kernel.add("kvm_gfn_to_hva_cache_init", self._set_up, ("ghc", "gpa", "len"))
        for name in ("kvm_vcpu_flush_tlb_guest", "__SCT__kvm_x86_flush_tlb_guest"):
            self.kernel.add(name, self._flush)
        for name in ("kvm_mmu_sync_roots", "kvm_mmu_sync_prev_roots"):
            self.kernel.add(name, lambda where: None)
        data = {name: QWORD.pack(value) for name, value in ADDRESSES.items()}
        others = _others(types, member(vcpu, "kvm").type.pointed())
        self.kernel.load(file, objects(types) | data, {VCPU: self._vcpu, **others})
        self._catch()

    # Play a fault where one is asked for, at the instructions that have a fixup.
    def _catch(self) -> None:
        found = fixups(self.file, self.entry.symbol.address)
        self.kernel.record.catching = frozenset(found)
        for address, fixup in found.items():
            self.kernel.machine.before(address, partial(self._access, fixup))

    def _access(self, fixup: Fixup) -> None:
        self._accesses += 1
        if self._accesses == self._asked.fault:
            self.kernel.record.fault(self._accesses)
            fixup.apply(self.kernel.machine)

    def requests(self) -> Iterator[StealRequest]:
        """Yield every request, and for each state of the version a fault at every access."""
        features = ((False, False), (True, False), (True, True))
        bytes_ = (0, PREEMPTED, PREEMPTED | FLUSH_TLB, 0xFF)
        for version, place, preempted, feature in product(VERSIONS, PLACES, bytes_, features):
            yield StealRequest(version, place, preempted, *feature)
        caches = (OLD_SLOTS, MOVED, BAD, NO_SLOT, LOST, UNSLOTTED, DISABLED)
        for version, place, cache in product(VERSIONS, PLACES, caches):
            yield StealRequest(version, place, cache=cache)
        for version, feature in product(VERSIONS, features):
            asked = StealRequest(version, PLACES[1], PREEMPTED | FLUSH_TLB, *feature)
            self.run(asked)
            yield from (asked._replace(fault=n) for n in range(1, self._accesses + 1))

    def run(self, asked: StealRequest, places: bool = False) -> Update:
        """Run one update (WitnessError); ``places`` asks for the place of each event too."""
        self._asked, self._accesses = asked, 0
        self._fill(asked)
        made = self.kernel.run(self.entry, (VCPU,), SHAPE, asked, places)
        expected = _struct(made.even, (GUEST_STEAL + DELAY - LAST) & U64, 0)
        kept = self._kept() if made.whole else ""
        return replace(made, expected=expected, kept=kept, notes=self._lost_time(made))

    # A fault between the vCPU's own record of the time and the guest's.
    def _lost_time(self, made: Update) -> tuple[str, ...]:
        start = SHAPE.offset("steal")
        was, is_ = (one[start : start + QWORD.size] for one in (made.asked.before, made.after))
        if not made.faulted or was != is_ or self._last() != DELAY:
            return ()
        what = f"a fault at access {self._asked.fault} loses the time that was to be added"
        return (f"{what}: last_steal already counts it",)

    def _last(self) -> int:
        last: int = QWORD.unpack_from(self._vcpu, self._at["last"])[0]
        return last

    def _fill(self, asked: StealRequest) -> None:
        msr = GPA + asked.place + (0 if asked.cache == DISABLED else ENABLED)
        self._put({"kvm": KVM, "msr": msr, "last": LAST})
        self._register(asked)
        self._vcpu[self._at["preempted"]] = 1
        self._vcpu[self._at["enforced"]] = asked.enforced
        # All other features are there if this one is not.
        features = PV_TLB_FLUSH if asked.feature else WORD_MASK ^ PV_TLB_FLUSH
        WORD.pack_into(self._vcpu, self._at["features"], features)

    # What the cache has, from the guest's last registration of the struct, or an earlier one.
    def _register(self, asked: StealRequest) -> None:
        old = asked.cache in (OLD_SLOTS, LOST, UNSLOTTED)
        page = STALE if old or asked.cache == MOVED else PAGE
        values = {
            "generation": GENERATION - old,
            "gpa": GPA + asked.place + (PAGE_SIZE if asked.cache == MOVED else 0),
            "hva": BAD_HVA if asked.cache == BAD else page + asked.place,
            "len": SHAPE.size,
            "memslot": 0 if asked.cache == NO_SLOT else MEMSLOT,
        }
        self._put(values)

    def _put(self, values: Mapping[str, int]) -> None:
        for name, value in values.items():
            QWORD.pack_into(self._vcpu, self._at[name], value)

    # What an update leaves behind in struct kvm_vcpu.
    def _kept(self) -> str:
        if self._last() != DELAY:
            return f"last_steal is {self._last():#x}, and not {DELAY:#x}: time is counted twice"
        if self._vcpu[self._at["preempted"]]:
            return "the vCPU's own note that its guest knows it as preempted is not taken down"
        return ""

    def _set_up(self, where: Mapping[str, str]) -> None:
        get, asked = self.kernel.machine.get, self._asked
        gpa, size = get(where["gpa"]), get(where["len"])
        wrong = ""
        if get(where["ghc"]) != VCPU + min(self._at[n] for n in ("generation", "gpa", "hva")):
            wrong = "it sets up another cache"
        elif (gpa, size) != (GPA + asked.place, SHAPE.size):
            wrong = f"it sets up {size} bytes at {gpa - GPA:#x}, and the struct is elsewhere"
        error = -EFAULT if asked.cache == LOST or wrong else 0
        if not error:
            self._register(asked._replace(cache=CURRENT))
        if asked.cache == UNSLOTTED:
            self._put({"memslot": 0})
        self.kernel.machine.put("rax", error & U64)
        self.kernel.record.call(Call(updates.REFRESH, size, error, wrong))

    def _flush(self, where: Mapping[str, str]) -> None:
        self.kernel.record.call(Call(updates.FLUSH))
