"""The kernel around an emulated function: locks, interrupts, copies, the dirty log.

Each function of the kernel has the effects of its own that the function can see, and is recorded.
What only one family's function calls, such as the setup of its cache, that family's module adds.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.layouts.model import WitnessError
from runstate_abi.writer.witnesses import stubs
from runstate_abi.writer.witnesses.c_types import STRUCT_MAX, Type, Types, member, zeroed
from runstate_abi.writer.witnesses.machine import Machine
from runstate_abi.writer.witnesses.object_file import ObjectFile, Symbol
from runstate_abi.writer.witnesses.program import Program
from runstate_abi.writer.witnesses.stubs import LockCall
from runstate_abi.writer.witnesses.versions import updates
from runstate_abi.writer.witnesses.versions.record import Record
from runstate_abi.writer.witnesses.versions.updates import Asked, Call, Shape, Update

# fmt: off
VCPU    = 0x6000_0000
KVM     = 0x6100_0000
TASK    = 0x6200_0000   # `current`
MEMSLOT = 0x6300_0000   # named, and not mapped
OTHER   = 0x6400_0000   # a structure of one family's
# fmt: on
TASK_SIZE = 0x10000
GFN = 0x12_3456  # the guest's frame: its address needs more than 32 bits
GPA = GFN * PAGE_SIZE

# The parameters of functions of other files, where the debug info of one object has none for them.
PROTOTYPES = {name: parameters for name, (_, parameters) in stubs.CACHES.items()} | {
    "kvm_gfn_to_hva_cache_init": ("kvm", "ghc", "gpa", "len"),
}

Meaning = Callable[[], None]


class Entry(NamedTuple):
    """A function to run: its symbol, and its parameters by name, in order."""

    name: str
    symbol: Symbol
    parameters: Mapping[str, Type]


def require(file: ObjectFile, name: str) -> Symbol:
    """Return a function's symbol (WitnessError says why it is not there)."""
    symbol = file.find(name)
    if symbol is None or not symbol.address:
        raise WitnessError(f"{file.source}: cannot judge: no function {name}{_why(file, name)}")
    return symbol


def entry(file: ObjectFile, types: Types, name: str) -> Entry:
    """Return a function with its parameters (WitnessError: it is not in the debug info)."""
    symbol, parameters = require(file, name), types.parameters(name)
    if not parameters:
        raise WitnessError(f"{types.source}: cannot judge: the debug info has no function {name}")
    return Entry(name, symbol, parameters)


# Why a function is not there: it is called otherwise, or is part of another, or does not exist yet.
def _why(file: ObjectFile, name: str) -> str:
    others = sorted(one for one in file.by_name if one.startswith(f"{name}."))
    if others:
        return f": only {others[0]}, whose parameters the debug info does not say"
    if any(one.startswith("kvm_") for one in file.by_name):
        return ": inlined into its caller, or a kernel from before it; it is run only by itself"
    return " (not kvm.ko?)"


class Kernel:
    """What every function may call. ``sleeps``: it was seen to use the locks of PREEMPT_RT."""

    machine: Machine
    record: Record

    def __init__(self, types: Types) -> None:
        self._types = types
        self.lock, self.sleeps, self.slot = 0, False, 0
        self._meanings: dict[str, Meaning] = {stubs.SMASHED: self._smashed}
        for name, call in stubs.LOCKS.items():
            act = self._unlock if call.does == "unlock" else self._lock
            self._meanings[name] = partial(act, call)
        self._meanings |= dict.fromkeys(stubs.COPIES, lambda: self.record.copy())
        self._meanings |= dict.fromkeys(stubs.FILLS, lambda: self.record.fill())
        self.add("mark_page_dirty_in_slot", self._dirty, ("memslot", "gfn"))

    def add(
        self, name: str, act: Callable[[Mapping[str, str]], None], needed: tuple[str, ...] = ()
    ) -> None:
        """Give a function a meaning, if it has the parameters that are needed.

        ``act`` gets parameter -> register.
        """
        known = self._types.parameters(name) or PROTOTYPES.get(name, ())
        where = dict(zip(known, stubs.ARGUMENTS, strict=False))
        if all(parameter in where for parameter in needed):
            self._meanings[name] = partial(act, where)

    def load(
        self, file: ObjectFile, objects: Mapping[str, bytes], memories: Mapping[int, bytearray]
    ) -> None:
        """Load a file's code, with data of other files and memory at addresses (WitnessError)."""
        self.machine = Machine(Program(file, self.meaning, objects), self.meaning)
        self.record = Record(self.machine)
        for address, memory in memories.items():
            self.machine.map(address, memory)

    def meaning(self, name: str) -> Meaning | None:
        """Return the effect of a function of the kernel, by its name; None if unknown."""
        return self._meanings.get(name)

    def run(
        self, function: Entry, arguments: tuple[int, ...], shape: Shape, asked: Asked, places: bool
    ) -> Update:
        """Call a function and return what it did (WitnessError: it cannot be followed).

        ``places`` asks for the place of each event too. What is expected is not filled in.
        """
        record, ended, owed = self.record, "", tuple[str, ...]()
        record.begin(asked.place, asked.before, places)
        try:
            owed = self.machine.run(function.symbol.address, arguments, irqs_off=False)
        except stubs.Ended as error:
            ended = str(error)
        irqs, events = (*record.irqs, record.irqs_on()), tuple(record.events)
        guarded, replayed = updates.replay(shape, asked.before, events)
        record.check(replayed)
        return Update(
            shape, asked, events, record.struct(), guarded, irqs, self.sleeps, ended, owed,
            tuple(record.places or ()),
        )  # fmt: skip

    @property
    def used(self) -> tuple[str, ...]:
        """The functions of the kernel that were called so far."""
        return tuple(sorted(self.machine.used))

    def _lock(self, call: LockCall) -> None:
        self.sleeps |= call.sleeps
        flags, right = self.machine.get("eflags"), self.machine.get("rdi") == self.lock
        self.machine.put("rax", flags if call.irq else 1)
        if call.irq:
            self._irqs(flags, on=0)
        self.record.call(Call(updates.LOCK, wrong="" if right else "another lock is taken"))

    def _unlock(self, call: LockCall) -> None:
        flags, right = self.machine.get("eflags"), self.machine.get("rdi") == self.lock
        if call.irq:
            self._irqs(flags, on=self.machine.get("rsi") & stubs.EFLAGS_IF)
        self.record.call(Call(updates.UNLOCK, wrong="" if right else "another lock is released"))

    def _irqs(self, flags: int, on: int) -> None:
        self.machine.put("eflags", flags & ~stubs.EFLAGS_IF | (stubs.EFLAGS_IF if on else 0))

    def _dirty(self, where: Mapping[str, str]) -> None:
        slot, frame = self.machine.get(where["memslot"]), self.machine.get(where["gfn"])
        if not slot:
            return  # as the kernel does
        wrong = ""
        if frame != GFN:
            wrong = f"frame {frame - GFN:+d} is marked dirty, counted from the struct's"
        elif slot != self.slot:
            wrong = "the page is marked dirty in a memslot that is not its own"
        elif "kvm" in where and self.machine.get(where["kvm"]) != KVM:
            wrong = "the page is marked dirty in a VM that is not the vCPU's"
        self.record.call(Call(updates.DIRTY, wrong=wrong))

    def _smashed(self) -> None:
        raise self.machine.ended("it finds its own stack overwritten (__stack_chk_fail)")


def named(types: Types, name: str) -> Type:
    """Return the first struct of this name (WitnessError: there is none)."""
    found = next(types.structs(name), None)
    if found is None:
        raise WitnessError(f"{types.source}: cannot judge: the debug info has no struct {name}")
    return found


# Debug info may be wrong: what lies in a struct by its account may reach this far behind it.
BEHIND = 2 * PAGE_SIZE


def memory_of(type_: Type) -> bytearray:
    """Return memory for a struct, all zero, and BEHIND more (WitnessError: implausible size)."""
    return zeroed(type_) + bytearray(BEHIND)


def at(type_: Type, path: str, room: int = STRUCT_MAX) -> int:
    """Return the offset of a member.

    WitnessError: it is missing, or lies outside the struct, or not in the first ``room`` bytes.
    """
    offset = member(type_, path).offset
    if not 0 <= offset < min(type_.size, room):
        what = f"member {path} of struct {type_.name} lies outside it"
        raise WitnessError(f"{type_.source}: cannot judge: {what}")
    return offset


def maybe(type_: Type, path: str, room: int = STRUCT_MAX) -> int | None:
    """Return the offset of a member that not every kernel has (WitnessError: outside)."""
    return at(type_, path, room) if type_.find(path) else None
