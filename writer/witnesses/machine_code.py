"""The writer of a shipped kernel, executed: what KVM's machine code does to a guest's area.

kvm_xen_update_runstate_guest() is found and called. Offsets in structs come from the debug info,
starting at the function's own prototype. The other constants are in stubs.py, with their meaning.

The kernel around it is emulated: locks, interrupts, caches, the dirty log, memcpy(). Each function
has the effects of the kernel's own, as far as the writer can see them, and records the call. The
request's scenario says what goes wrong. Nothing here judges a call.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from runstate_abi.layouts.abi import PAGE_SIZE, U64
from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.structs.runstate import NATIVE
from runstate_abi.writer.host import EFAULT, EINVAL
from runstate_abi.writer.rulebook.requests import Request
from runstate_abi.writer.steps import (
    Activate,
    Check,
    Dirty,
    IrqRestore,
    IrqSave,
    Lock,
    Refresh,
    TryLock,
    Unlock,
)
from runstate_abi.writer.vcpu import split
from runstate_abi.writer.witnesses import stubs
from runstate_abi.writer.witnesses.c_types import Entry, Types
from runstate_abi.writer.witnesses.journal import Journal, Run
from runstate_abi.writer.witnesses.kvm_structs import (
    GFN,
    GPA,
    KVM,
    MEMSLOT,
    TASK,
    TASK_SIZE,
    VCPU,
    Cache,
    KvmStructs,
    kvm_structs,
)
from runstate_abi.writer.witnesses.machine import Machine
from runstate_abi.writer.witnesses.object_file import STT_FUNC, ObjectFile
from runstate_abi.writer.witnesses.program import Program, paravirt_table
from runstate_abi.writer.witnesses.stubs import LockCall

Where = Mapping[str, str]  # parameter -> register


class KvmKernel:
    """The kernel of one KvmStructs. ``sleeps``: it was seen to use the locks of PREEMPT_RT."""

    machine: Machine
    journal: Journal

    def __init__(self, structs: KvmStructs, types: Types) -> None:
        self._structs, self._types = structs, types
        self._locks = {VCPU + c.lock: name for name, c in structs.caches.items()}
        self._gpcs = {VCPU + c.start: name for name, c in structs.caches.items()}
        self._accounting = structs.accounting()
        self._valid: dict[str, bool] = {}
        self.sleeps = self.accounts = False
        self._meanings = self._all_meanings()

    def begin(self, asked: Request) -> None:
        self._asked = asked
        second = split(asked.offset, asked.area.shape.size).second
        self._valid["gpc1"] = asked.scenario.stale != 1
        self._valid["gpc2"] = bool(second) and asked.scenario.stale != 2
        self._structs.fill(asked, asked.vcpu, self.accounts)

    def meaning(self, name: str) -> Callable[[], None] | None:
        """Return the effect of a function of the kernel, by its name; None if unknown."""
        table, plus, offset = name.partition("+")
        if plus and table == stubs.PARAVIRT_TABLE:
            return self._paravirt(int(offset))
        return self._meanings.get(name)

    def label(self, name: str) -> str:
        """Return the printed name of a function: ``pv_ops.irq.save_fl``."""
        table, plus, offset = name.partition("+")
        if not plus or table != stubs.PARAVIRT_TABLE:
            return name
        paths = (
            p for t in self._types.structs(stubs.PARAVIRT_TYPE) for p in t.paths_at(int(offset))
        )
        return f"{table}.{next(paths, offset).removesuffix('.func')}"

    def _all_meanings(self) -> dict[str, Callable[[], None]]:
        found: dict[str, Callable[[], None]] = {stubs.SMASHED: self._smashed}
        for name, lock in stubs.LOCKS.items():
            found[name] = partial(_LOCKING[lock.does], self, lock)
        for name, (does, assumed) in stubs.CACHES.items():
            known = self._types.parameters(name) or assumed
            where = dict(zip(known, stubs.ARGUMENTS, strict=False))
            act, needed = _CACHING[does]
            if all(parameter in where for parameter in needed):
                found[name] = partial(act, self, where)
        found |= dict.fromkeys(stubs.COPIES, lambda: self.machine.put("rax", self.journal.memcpy()))
        found |= dict.fromkeys(stubs.FILLS, lambda: self.machine.put("rax", self.journal.memset()))
        return found

    # The effect of the member of pv_ops at an offset.
    def _paravirt(self, offset: int) -> Callable[[], None] | None:
        for table in self._types.structs(stubs.PARAVIRT_TYPE):
            for path in table.paths_at(offset):
                does = stubs.PARAVIRT.get(path.removesuffix(".func"))
                if does:
                    return {"save": self._save, "off": self._off, "on": self._on}[does]
        return None

    def _save(self) -> None:
        self.machine.put("rax", self.machine.get("eflags"))

    def _off(self) -> None:
        self._irqs(self.machine.get("eflags"), on=False)
        self.journal.add(IrqSave())

    def _on(self) -> None:
        self._irqs(self.machine.get("eflags"), on=True)
        self.journal.add(IrqRestore())

    def _irqs(self, flags: int, on: int) -> None:
        self.machine.put("eflags", flags & ~stubs.EFLAGS_IF | (stubs.EFLAGS_IF if on else 0))
        self.journal.irqs_off = not on

    # A lock of no cache is named by its address.
    def _lock_name(self) -> str:
        address = self.machine.get("rdi")
        return self._locks.get(address) or f"lock {address:#x}"

    def _lock(self, call: LockCall) -> None:
        self.sleeps |= call.sleeps
        flags = self.journal.notice_irqs()
        if call.irq:
            self.machine.put("rax", flags)
            self._irqs(flags, on=False)
        self.journal.add(Lock(self._lock_name(), call.irq))

    def _trylock(self, call: LockCall) -> None:
        self.sleeps |= call.sleeps
        name = self._lock_name()
        got = name != f"gpc{self._asked.scenario.busy}"
        self.machine.put("rax", got)
        self.journal.add(TryLock(name, got))

    def _unlock(self, call: LockCall) -> None:
        flags = self.journal.notice_irqs()
        if call.irq:
            self._irqs(flags, on=self.machine.get("rsi") & stubs.EFLAGS_IF)
        self.journal.add(Unlock(self._lock_name(), call.irq))

    # The cache of a call, and the length that the call gives.
    def _gpc(self, where: Where) -> tuple[str, int]:
        address = self.machine.get(where["gpc"])
        if address not in self._gpcs:
            what = f"a cache at {address:#x}, which is none of the runstate area's"
            raise self.machine.stopped(f"asks about {what}")
        return self._gpcs[address], self.machine.get(where["len"])

    def _fits(self, name: str, size: int) -> bool:
        return self._structs.gpa(name) % PAGE_SIZE + size <= PAGE_SIZE

    def _check(self, where: Where) -> None:
        name, size = self._gpc(where)
        good = self._valid[name] and self._fits(name, size)
        if "gpa" in where:
            good = good and self.machine.get(where["gpa"]) == self._structs.gpa(name)
        self.machine.put("rax", good)
        self.journal.add(Check(name, size, good))

    def _refresh(self, where: Where) -> None:
        name, size = self._gpc(where)
        gpa = self.machine.get(where["gpa"]) if "gpa" in where else self._structs.gpa(name)
        error = self._set_up(name, gpa, size)
        self.journal.add(Refresh(name, size, error))

    def _activate(self, where: Where) -> None:
        name, size = self._gpc(where)
        gpa = self.machine.get(where["gpa"])
        error = self._set_up(name, gpa, size)
        self.journal.add(Activate(name, gpa - GPA, size, error))
        if not error and self._asked.scenario.again and self._valid["gpc1"]:
            self._valid["gpc1"] = False
            self._structs.set_khva("gpc1", self._structs.gpa("gpc1"), stale=True)

    # Map a guest address: 0 or -errno, as the kernel returns it.
    def _set_up(self, name: str, gpa: int, size: int) -> int:
        error = self._asked.scenario.error
        if gpa % PAGE_SIZE + size > PAGE_SIZE:
            error = -EINVAL
        elif not GFN <= gpa // PAGE_SIZE <= GFN + 1:
            error = -EFAULT
        self._valid[name] = not error
        if not error:
            self._structs.set_khva(name, gpa)
        self.machine.put("rax", error & U64)
        return error

    def _dirty(self, where: Where) -> None:
        gfn, slot = self.machine.get(where["gfn"]) - GFN, self.machine.get(where["memslot"])
        if not slot:
            return  # as the kernel does
        if slot != MEMSLOT.get(f"gpc{gfn + 1}"):
            self.journal.strange(f"frame {gfn:+d} is marked dirty in a memslot that is not its own")
        if "kvm" in where and self.machine.get(where["kvm"]) != KVM:
            self.journal.strange(f"frame {gfn:+d} is marked dirty in a VM that is not the vCPU's")
        self.journal.add(Dirty(gfn))

    def _clock(self, where: Where) -> None:
        self.machine.put("rax", self._asked.vcpu.entry_time)

    def _smashed(self) -> None:
        raise self.machine.ended("it finds its own stack overwritten (__stack_chk_fail)")

    def stored_in_kernel(
        self, uc: Any, kind: int, address: int, size: int, value: int, data: Any
    ) -> None:
        """Record a store into the kernel's own structs: an inlined lock, or a bug."""
        for name, cache in self._structs.caches.items():
            if 0 <= address - VCPU - cache.lock < cache.lock_size:
                self._lock_word(name, cache, address, size, value)
                return
        place = address - VCPU
        if self.accounts and any(place in one for one in self._accounting):
            return
        stored = "1 byte is" if size == 1 else f"{size} bytes are"
        self.journal.strange(f"{stored} stored in the kernel's own structs, {address:#x}")

    # One reader more or less in the lock word: the compiler has inlined read_unlock().
    def _lock_word(self, name: str, cache: Cache, address: int, size: int, value: int) -> None:
        start = address - VCPU
        mask = (1 << 8 * size) - 1
        before = int.from_bytes(self._structs.vcpu[start : start + size], "little")
        change = (value - before) & mask
        if start == cache.lock and change == -stubs.READER & mask:
            self.journal.add(Unlock(name), self.machine.here())
        elif start == cache.lock and change == stubs.READER:
            self.journal.add(Lock(name), self.machine.here())


_LOCKING = {"lock": KvmKernel._lock, "trylock": KvmKernel._trylock, "unlock": KvmKernel._unlock}
# What is called, and the parameters that it needs.
_CACHING = {
    "check": (KvmKernel._check, ("gpc", "len")),
    "refresh": (KvmKernel._refresh, ("gpc", "len")),
    "activate": (KvmKernel._activate, ("gpc", "gpa", "len")),
    "dirty": (KvmKernel._dirty, ("memslot", "gfn")),
    "clock": (KvmKernel._clock, ()),
}


# The writer, or its caller if the compiler inlined it there.
ENTRIES = ("kvm_xen_update_runstate_guest", "kvm_xen_update_runstate")
PREFIX = "kvm_xen_"  # of the functions of arch/x86/kvm/xen.c
STATE = "state"  # the parameter of a writer that accounts time first


def require_entry(file: ObjectFile, name: str = "") -> None:
    """Refuse a file without a writer, before anything else is opened (WitnessError)."""
    if not any(file.find(known) for known in ((name,) if name else ENTRIES)):
        what = name or ENTRIES[0]
        why = "" if name else _missing(file)
        raise WitnessError(f"{file.source}: cannot judge: no function {what}{why}")


# Why there is no writer. Functions of xen.c mean that it was compiled: a static one is inlined.
def _missing(file: ObjectFile) -> str:
    others = sorted(
        name
        for name, symbol in file.by_name.items()
        if name.startswith(PREFIX) and symbol.address and symbol.type == STT_FUNC
    )
    if not others:
        return " (a kernel built without CONFIG_KVM_XEN, or not kvm.ko)"
    return f": if it was inlined, give its caller with --entry: perhaps {', '.join(others[:3])}"


def find_entry(file: ObjectFile, types: Types, name: str = "") -> Entry:
    """Return the function that writes the area (WitnessError if it is not here)."""
    require_entry(file, name)
    for wanted in (name,) if name else ENTRIES:
        symbol, named = file.find(wanted), types.parameters(wanted)
        if symbol is None or not named:
            continue
        vcpu, *others = named.items()
        if len(others) != 1:
            raise WitnessError(f"{types.source}: cannot judge: {wanted}() takes {', '.join(named)}")
        accounts = others[0][0] == STATE
        return Entry(wanted, symbol.address, symbol.size, vcpu[1].pointed(), accounts)
    what = name or ENTRIES[0]
    raise WitnessError(f"{types.source}: cannot judge: the debug info has no function {what}")


class KvmWriter:
    """One kernel's writer, ready to be called, in emulated memory."""

    def __init__(self, file: ObjectFile, types: Types, name: str = "") -> None:
        self.entry = find_entry(file, types, name)
        self.file, self.types = file, types
        self._structs = kvm_structs(self.entry.vcpu)
        self._kernel = kernel = KvmKernel(self._structs, types)
        program = Program(file, kernel.meaning, objects(types))
        self.machine = kernel.machine = Machine(program, kernel.meaning)
        self._journal = kernel.journal = Journal(self.machine, self._structs.pages)
        kernel.accounts = self.entry.accounts
        for address, memory in (
            (VCPU, self._structs.vcpu),
            (KVM, self._structs.kvm),
            (TASK, bytearray(TASK_SIZE)),
        ):
            self.machine.map(address, memory)
        journal = self._journal
        for code, act in (
            (stubs.STI, journal.irqs_on),
            (stubs.POPF, journal.pops_flags),
            (stubs.MOVNTI, journal.streams),
            (stubs.FENCE, journal.fence),
        ):
            self.machine.notice(code, act)
        self.machine.watch(VCPU, TASK + TASK_SIZE - VCPU, kernel.stored_in_kernel, None)

    @property
    def used(self) -> tuple[str, ...]:
        """The functions of the kernel that it has called so far."""
        return tuple(sorted(map(self._kernel.label, self.machine.used)))

    @property
    def two_pages(self) -> bool:
        return "gpc2" in self._structs.caches

    def takes(self, asked: Request) -> bool:
        """Does it accept this request? With one cache, KVM refuses an area that could cross a
        page.
        """
        return self.two_pages or asked.offset + NATIVE.size <= PAGE_SIZE

    def run(self, asked: Request, places: bool = False) -> Run:
        """Run one update (WitnessError); ``places`` asks for the instruction of each event too."""
        self._journal.begin(places, asked.fill, irqs_off=asked.irqs_off)
        self._kernel.begin(asked)
        argument = asked.vcpu.state if self.entry.accounts else int(asked.atomic)
        arguments = VCPU, argument
        return self._journal.run(asked, self.entry.address, arguments, lambda: self._kernel.sleeps)


# Data of other files that the code may access, by name.
def objects(types: Types) -> dict[str, bytes]:
    found = dict.fromkeys(stubs.GUARDS, stubs.CANARY) | stubs.COUNTS
    inside = [s.find(stubs.CURRENT_MEMBER) for s in types.structs(stubs.CURRENT_TYPE)]
    offset = next((place.offset for place in inside if place), 0)
    pointer = TASK.to_bytes(8, "little")
    found |= dict.fromkeys(stubs.CURRENT, pointer)
    found |= dict.fromkeys(stubs.CURRENT_INSIDE, bytes(offset) + pointer)
    return found | {stubs.PARAVIRT_TABLE: paravirt_table()}
