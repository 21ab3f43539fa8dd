"""Xen's writer, executed: what update_runstate_area() of a xen-syms does to a guest's area.

A xen-syms is a linked file with symbols. So nothing is relocated, and Xen's own copies to the guest
are executed. Copies to an HVM guest would need the guest's page tables and are replaced. As in
machine_code.py, offsets come from the debug info, starting at the function's own prototype.
"""

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from runstate_abi.layouts.model import WitnessError
from runstate_abi.writer.host import Host
from runstate_abi.writer.rulebook.requests import FINE, HVM, Request
from runstate_abi.writer.vcpu import SHAPES, image
from runstate_abi.writer.witnesses import stubs
from runstate_abi.writer.witnesses.c_types import Entry, Types, member, zeroed
from runstate_abi.writer.witnesses.journal import GuestPages, Journal, Run
from runstate_abi.writer.witnesses.machine import HEADROOM, Machine
from runstate_abi.writer.witnesses.object_file import ObjectFile
from runstate_abi.writer.witnesses.program import Program
from runstate_abi.writer.xen import phys_error

ENTRY = "update_runstate_area"
VCPU, DOMAIN = 0x6000_0000, 0x6100_0000
U64 = struct.Struct("<Q")
U32 = struct.Struct("<I")


VCPU_MEMBERS = (
    "runstate", "runstate_guest", "runstate_guest_area.map", "runstate_guest_area_compat", "domain"
)  # fmt: skip
DOMAIN_MEMBERS = ("vm_assist", "options", "arch.has_32bit_shinfo")


class Offsets(NamedTuple):
    """The offsets of VCPU_MEMBERS in struct vcpu and of DOMAIN_MEMBERS in struct domain."""

    runstate: int
    guest: int  # the handle of the virtual area
    mapped: int  # the mapping of the physical one
    mapped_compat: int
    domain: int
    vm_assist: int
    options: int
    compat: int


class XenWriter:
    """One Xen's writer of the virtual or of the physical area, in emulated memory."""

    two_pages = True

    def __init__(self, file: ObjectFile, types: Types, physical: bool) -> None:
        symbol, named = file.find(ENTRY), types.parameters(ENTRY)
        if symbol is None or not named:
            raise WitnessError(f"{file.source}: cannot judge: no function {ENTRY}, or no types")
        self.file, self.types, self.physical = file, types, physical
        vcpu = next(iter(named.values())).pointed()
        self.entry = Entry(ENTRY, symbol.address, symbol.size, vcpu, accounts=False)
        domain = member(vcpu, "domain").type.pointed()
        self._at = Offsets(
            *(member(vcpu, path).offset for path in VCPU_MEMBERS),
            *(member(domain, path).offset for path in DOMAIN_MEMBERS),
        )
        self._vcpu, self._domain = zeroed(vcpu), zeroed(domain)
        self._meanings: dict[str, Callable[[], None]] = {
            "copy_to_user_hvm": self._copy,
            "update_guest_memory_policy": lambda: None,
        }
        self.machine = Machine(Program(file, self._meanings.get, {}), self._meanings.get)
        # Xen copies to the guest's addresses, which are adjacent; a mapping is one page.
        self._journal = Journal(self.machine, GuestPages(adjacent=not physical))
        self.machine.map(VCPU, self._vcpu)
        self.machine.map(DOMAIN, self._domain)
        self.machine.watch(VCPU, DOMAIN + len(self._domain) - VCPU, self._stored_in_xen, None)
        self.machine.at_stack_top(_cpu_info(types))

    @property
    def used(self) -> tuple[str, ...]:
        return tuple(sorted(self.machine.used))

    def takes(self, asked: Request) -> bool:
        """Does it accept this request? It has no caches; a physical area has conditions."""
        if asked.atomic or asked.scenario not in (FINE, HVM):
            return False
        return not self.physical or (asked.scenario is FINE and not phys_error(asked.area, Host()))

    def run(self, asked: Request, places: bool = False) -> Run:
        """Run one update (WitnessError); ``places`` asks for the instruction of each event too."""
        self._journal.begin(places, asked.fill)
        self._fill(asked)
        return self._journal.run(asked, self.entry.address, (VCPU,), lambda: False)

    # Fill in the vCPU, the place of its area, and what its guest has asked for.
    def _fill(self, asked: Request) -> None:
        at, memory, native = self._at, self._vcpu, SHAPES["native"]
        address = self._journal.pages.start[1] + asked.offset
        compat = asked.abi == "compat"
        memory[at.runstate : at.runstate + native.size] = image(
            native, asked.vcpu, asked.vcpu.entry_time
        )
        U64.pack_into(memory, at.guest, 0 if self.physical else address)
        U64.pack_into(memory, at.mapped, address if self.physical else 0)
        memory[at.mapped_compat] = compat
        U64.pack_into(memory, at.domain, DOMAIN)
        self._domain[at.compat] = compat
        U32.pack_into(self._domain, at.options, stubs.CDF_HVM if asked.scenario is HVM else 0)
        assist = 1 << stubs.VMASST_RUNSTATE_UPDATE_FLAG if asked.flag else 0
        U64.pack_into(self._domain, at.vm_assist, assist)

    def _copy(self) -> None:
        self._journal.memcpy()
        self.machine.put("rax", 0)

    def _stored_in_xen(
        self, uc: Any, kind: int, address: int, size: int, value: int, data: Any
    ) -> None:
        stored = "1 byte is" if size == 1 else f"{size} bytes are"
        self._journal.strange(f"{stored} stored in Xen's own structs, {address:#x}")


# struct cpu_info, at the top of the stack: there Xen finds the current vCPU.
def _cpu_info(types: Types) -> bytes:
    for info in types.structs("cpu_info"):
        place = member(info, "current_vcpu").offset
        if place + U64.size <= info.size <= HEADROOM - U64.size:
            content = bytearray(info.size)
            U64.pack_into(content, place, VCPU)
            return bytes(content)
    raise WitnessError(f"{types.source}: cannot judge: no struct cpu_info")
