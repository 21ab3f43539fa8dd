"""The writer of a shipped kernel, run: what KVM's machine code does to a guest's area.

kvm_xen_update_runstate_guest() is found and called. Offsets in structs come from the debug info,
beginning at the function's own prototype; the other constants are in stubs.py, with their meaning.
"""

from collections.abc import Iterator

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.structs.runstate import NATIVE
from runstate_abi.writer.rulebook.requests import Request
from runstate_abi.writer.witnesses import stubs
from runstate_abi.writer.witnesses.c_types import Entry, Types
from runstate_abi.writer.witnesses.journal import Journal, Run
from runstate_abi.writer.witnesses.kvm_kernel import KvmKernel
from runstate_abi.writer.witnesses.kvm_structs import KVM, TASK, TASK_SIZE, VCPU, kvm_structs
from runstate_abi.writer.witnesses.machine import Machine
from runstate_abi.writer.witnesses.object_file import SHF_EXECINSTR, ObjectFile
from runstate_abi.writer.witnesses.program import Program, paravirt_table

# The writer, or what calls it, if the compiler made one function of the two.
ENTRIES = ("kvm_xen_update_runstate_guest", "kvm_xen_update_runstate")
CODE_MAX = 0x4000  # bytes of a writer that are searched for an sti; one has 1500
STATE = "state"  # the parameter of one that accounts time before it writes


def require_entry(file: ObjectFile, name: str = "") -> None:
    """Refuse a file that has no writer, before anything else is opened (WitnessError)."""
    if not any(file.find(known) for known in ((name,) if name else ENTRIES)):
        why = "" if name else " (a kernel built without CONFIG_KVM_XEN, or not kvm.ko)"
        what = name or ENTRIES[0]
        raise WitnessError(f"{file.source}: cannot judge: no function {what}{why}")


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
    """One kernel's writer, ready to be called. It has a life: the emulated memory."""

    def __init__(self, file: ObjectFile, types: Types, name: str = "") -> None:
        """Find the function and load it (WitnessError says why it cannot be judged)."""
        self.entry = find_entry(file, types, name)
        self.file, self.types = file, types
        self._structs = kvm_structs(self.entry.vcpu)
        self._kernel = kernel = KvmKernel(self._structs, types)
        program = Program(file, kernel.meaning, _objects(types))
        self.machine = kernel.machine = Machine(program, kernel.meaning)
        self._journal = kernel.journal = Journal(self.machine, self._structs.pages)
        kernel.accounts = self.entry.accounts
        for address, memory in (
            (VCPU, self._structs.vcpu),
            (KVM, self._structs.kvm),
            (TASK, bytearray(TASK_SIZE)),
        ):
            self.machine.map(address, memory)
        for address in _sti(file, self.entry):
            self.machine.before(address, self._journal.irqs_on)
        self.machine.watch(VCPU, TASK + TASK_SIZE - VCPU, kernel.stored_in_kernel, None)

    @property
    def used(self) -> tuple[str, ...]:
        """The functions of the kernel that it has called so far."""
        return tuple(sorted(map(self._kernel.label, self.machine.used)))

    @property
    def two_pages(self) -> bool:
        """Has it a cache for a second page?"""
        return "gpc2" in self._structs.caches

    def takes(self, asked: Request) -> bool:
        """Can it be asked for this? With one cache, KVM refuses an area that could cross a page."""
        return self.two_pages or asked.offset + NATIVE.size <= PAGE_SIZE

    def observe(self, asked: Request, places: bool = False) -> Run:
        """Run one update (WitnessError); ``places`` asks for the instruction of each event too."""
        self._journal.begin(places, asked.fill, irqs_off=asked.irqs_off)
        self._kernel.begin(asked)
        argument = asked.vcpu.state if self.entry.accounts else int(asked.atomic)
        self.machine.run(self.entry.address, (VCPU, argument), irqs_off=asked.irqs_off)
        return self._journal.observation(asked, self._kernel.sleeps)


# Where in the writer an sti may be. A byte of another instruction is never run as one.
def _sti(file: ObjectFile, entry: Entry) -> Iterator[int]:
    for section in file.sections:
        start = entry.address - section.address
        if section.flags & SHF_EXECINSTR and 0 <= start < section.size:
            code = bytes(file.content(section)[start : start + min(entry.size, CODE_MAX)])
            yield from (entry.address + at for at, byte in enumerate(code) if byte == stubs.STI)


# Data of other files that the code may touch, by name.
def _objects(types: Types) -> dict[str, bytes]:
    found = dict.fromkeys(stubs.GUARDS, stubs.CANARY) | stubs.COUNTS
    inside = [s.find(stubs.CURRENT_MEMBER) for s in types.structs(stubs.CURRENT_TYPE)]
    offset = next((place.offset for place in inside if place), 0)
    pointer = TASK.to_bytes(8, "little")
    found |= dict.fromkeys(stubs.CURRENT, pointer)
    found |= dict.fromkeys(stubs.CURRENT_INSIDE, bytes(offset) + pointer)
    return found | {stubs.PARAVIRT_TABLE: paravirt_table()}
