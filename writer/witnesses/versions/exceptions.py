"""The exception table of a file: where code goes on after an access to user memory that faults.

A fault is played before the instruction runs: what the kernel's fixup would change is changed, and
the processor is sent to where the kernel would go on.
"""

import struct
from collections.abc import Mapping
from typing import NamedTuple

from runstate_abi.layouts.model import WitnessError
from runstate_abi.writer.witnesses import stubs
from runstate_abi.writer.witnesses.machine import Machine
from runstate_abi.writer.witnesses.object_file import ObjectFile, relocated

SECTION = "__ex_table"
# struct exception_table_entry, arch/x86/include/asm/extable.h: two distances, each from its own
# place, and a word of arch/x86/include/asm/extable_fixup_types.h.
ENTRY = struct.Struct("<iiI")
FIXUP_AT = 4
TYPE, REGISTER, FLAGS, NUMBER = 0xFF, 8, 12, 16
NEAR = 0x10000  # bytes on both sides of the function: its callees are there too
DEFAULT, UACCESS, IMM_REG = 1, 3, 17
CLEARED = {0: (), 1: ("rax",), 2: ("rdx",), 3: ("rax", "rdx")}  # EX_FLAG_CLEAR_AX and _DX


class Fixup(NamedTuple):
    """What a fault of an instruction does: registers that get values, and where code goes on."""

    address: int
    kind: int
    registers: tuple[tuple[str, int], ...]

    @property
    def known(self) -> bool:
        return self.kind in (DEFAULT, UACCESS, IMM_REG)

    def apply(self, machine: Machine) -> None:
        """Play the fault (WitnessError: of a kind that is not known here)."""
        if not self.known:
            raise machine.stopped(f"a fault of kind {self.kind}, which is not known here")
        for name, value in self.registers:
            machine.put(name, value & (1 << 64) - 1)
        machine.put("rip", self.address)


def fixups(file: ObjectFile, address: int) -> Mapping[int, Fixup]:
    """Return instruction -> what a fault of it does, of those near a function.

    There are none if the file has no such table.
    """
    number = next((n for n, s in enumerate(file.sections) if file.name_of(s) == SECTION), None)
    if number is None:
        return {}
    section = file.sections[number]
    if section.size % ENTRY.size:
        raise WitnessError(f"{file.source}: {SECTION} is damaged")
    data = relocated(file, number, lambda name, called: 0) if file.relocatable else None
    content = bytes(data if data is not None else file.content(section))
    found = {}
    for place, (code, fixup, word) in enumerate(ENTRY.iter_unpack(content)):
        start = section.address + place * ENTRY.size
        if abs(start + code - address) <= NEAR:
            found[start + code] = _fixup(start + FIXUP_AT + fixup, word)
    return found


def _fixup(address: int, word: int) -> Fixup:
    cleared = [(name, 0) for name in CLEARED.get(word >> FLAGS & 0xF, ())]
    if word & TYPE == IMM_REG:
        number = struct.unpack("<h", struct.pack("<H", word >> NUMBER))[0]
        cleared.append((stubs.REGISTERS[word >> REGISTER & 0xF], number))
    return Fixup(address, word & TYPE, tuple(cleared))
