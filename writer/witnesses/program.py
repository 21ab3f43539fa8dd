"""An object file as its running code sees it: sections, and stubs and objects of other files.

A symbol of another file gets an address by its exact name. A symbol without a known meaning gets an
address where an access stops the code.
"""

from collections.abc import Callable, Iterator, Mapping

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.witnesses.elf import Section
from runstate_abi.writer.witnesses import stubs
from runstate_abi.writer.witnesses.object_file import (
    SHF_ALLOC,
    SHF_EXECINSTR,
    ObjectFile,
    relocated,
)

# fmt: off
STUBS      = 0x2000_0000   # a function of another file: the call is noticed, and it returns
REAL       = 0x2100_0000   # the same, but its code is run: nothing, a return, a register jump
PARAVIRT   = 0x2180_0000   # the functions that the table of paravirt calls points to
SCRATCH    = 0x2190_0000   # what a stub does to registers, before it returns
OBJECTS    = 0x4000_0000   # the objects of other files that mean something
FOREIGN  = 0x5000_0000   # those that mean nothing here: 4 KiB each, and not mapped
# fmt: on
SLOT, POINTER = 16, 8
SLOTS_MAX, OBJECTS_SIZE, FOREIGN_MAX = 4096, 2 * PAGE_SIZE, 1 << 14
PARAVIRT_SLOTS = 128  # paravirt_patch_template has 50 members
ADDRESS_MASK = (1 << 52) - 1  # the bits of an address that the engine uses
LATE_PAGES_MAX = 1024
# besides code, the sections of its own that code may read and write
LOADED = (".rodata", ".data", ".bss")

Handler = Callable[[], None]
JUMP_SIZE = 5  # no function that is replaced is shorter


# jmp, with a distance from the instruction behind it.
def _to_scratch(address: int) -> bytes:
    distance = SCRATCH - address - JUMP_SIZE
    return b"\xe9" + distance.to_bytes(JUMP_SIZE - 1, "little", signed=True)


def paravirt_table() -> bytes:
    """Return pv_ops: a pointer to the stub of each of its members."""
    stubs_of = (PARAVIRT + SLOT * number for number in range(PARAVIRT_SLOTS))
    return b"".join(address.to_bytes(POINTER, "little") for address in stubs_of)


class Program:
    """An object file with all that its code refers to. References are resolved on demand."""

    def __init__(
        self,
        file: ObjectFile,
        meaning: Callable[[str], Handler | None],
        objects: Mapping[str, bytes],
    ) -> None:
        """``meaning`` gives the handler of a function, ``objects`` the bytes of data, by name."""
        self.file, self._meaning, self._contents = file, meaning, objects
        self.objects = bytearray(OBJECTS_SIZE)
        self._object_end = 0
        self._places: dict[str, int] = {}
        self._names = {SCRATCH: "a function of the kernel"}
        self._foreign: list[str] = []
        self._stubs = bytearray(stubs.RETURN * (SLOT * SLOTS_MAX))
        self._real = bytearray(stubs.RETURN * (SLOT * SLOTS_MAX))
        self._counts = {STUBS: 0, REAL: 0}
        # Functions of this file that have a known meaning are replaced too, and not executed.
        self.replaced = {
            symbol.address: name
            for name, symbol in file.by_name.items()
            if symbol.address and meaning(name)
        }
        self._names |= self.replaced
        self._sections = {
            section.address & ADDRESS_MASK: section
            for section in file.sections
            if section.flags & SHF_ALLOC and section.size and section.address
        }

    def memory(self) -> Iterator[tuple[int, bytearray, bool]]:
        """Yield (address, memory, is it code) of everything but the file's own sections."""
        yield STUBS, self._stubs, True
        yield REAL, self._real, True
        yield SCRATCH, bytearray(stubs.SCRATCH.ljust(PAGE_SIZE, stubs.RETURN)), True
        yield PARAVIRT, bytearray(stubs.RETURN * PAGE_SIZE), True
        yield OBJECTS, self.objects, False

    def noticed(self) -> Iterator[tuple[int, int]]:
        """Yield the first and the last address of each range where a call is handled."""
        yield STUBS, STUBS + SLOT * SLOTS_MAX - 1
        yield PARAVIRT, PARAVIRT + PAGE_SIZE - 1
        yield from ((address, address) for address in self.replaced)

    def name_at(self, address: int) -> str:
        """Return the name of the function whose stub is here, "" if there is none."""
        if PARAVIRT <= address < PARAVIRT + SLOT * PARAVIRT_SLOTS:
            return f"{stubs.PARAVIRT_TABLE}+{(address - PARAVIRT) // SLOT * POINTER}"
        return self._names.get(address, "")

    def foreign_at(self, address: int) -> str:
        """Return the name of the foreign object with this unmapped address, "" if none."""
        number = (address - FOREIGN) // PAGE_SIZE
        return self._foreign[number] if 0 <= number < len(self._foreign) else ""

    def at(self, address: int) -> tuple[int, bytearray, bool] | None:
        """Return (address, memory, is it code) of the file's contents at an address, None if there
        are none.

        This is a whole section of a relocatable file, or one page of a linked file.
        """
        if not self.file.relocatable:
            return self._page(address & -PAGE_SIZE)
        for number, section in enumerate(self.file.sections):
            code = bool(section.flags & SHF_EXECINSTR)
            if section.address <= address < section.address + section.size and (
                code or self.file.name_of(section).startswith(LOADED)
            ):
                return section.address, self._section(number, section), code
        return None

    # A section's bytes, relocated, in whole pages.
    def _section(self, number: int, section: Section) -> bytearray:
        data = relocated(self.file, number, self._place)
        for address in self.replaced:
            start = address - section.address
            if 0 <= start <= len(data) - JUMP_SIZE:
                data[start : start + JUMP_SIZE] = _to_scratch(address)
        return data.ljust(-(-len(data) // PAGE_SIZE) * PAGE_SIZE, b"\0")

    def _page(self, page: int) -> tuple[int, bytearray, bool] | None:
        memory, found, code = bytearray(PAGE_SIZE), False, False
        for start, section in self._sections.items():
            low, high = max(page, start), min(page + PAGE_SIZE, start + section.size)
            if low < high:
                found, code = True, code or bool(section.flags & SHF_EXECINSTR)
                data = self.file.content(section)[low - start : high - start]
                memory[low - page : low - page + len(data)] = data
        for address in self.replaced:
            if page <= address & ADDRESS_MASK < page + PAGE_SIZE:
                memory[(address & ADDRESS_MASK) - page] = stubs.RETURN[0]
        return (page, memory, code) if found else None

    # The address of a symbol of another file, chosen when it is first needed.
    def _place(self, name: str, called: bool) -> int:
        place = self._places.get(name)
        if place is None:
            place = self._places[name] = self._new_place(name, called)
        return place

    def _new_place(self, name: str, called: bool) -> int:
        if name in self._contents:
            return self._object(self._contents[name])
        if name in stubs.REAL or name in stubs.QUIET:
            return self._slot(REAL, self._real, stubs.REAL.get(name, stubs.RETURN), name)
        if called or self._meaning(name):
            address = self._slot(STUBS, self._stubs, stubs.RETURN, name)
            self._stubs[address - STUBS : address - STUBS + JUMP_SIZE] = _to_scratch(address)
            return address
        if len(self._foreign) >= FOREIGN_MAX:
            raise WitnessError(f"{self.file.source}: refers to more than {FOREIGN_MAX} objects")
        self._foreign.append(name)
        return FOREIGN + PAGE_SIZE * (len(self._foreign) - 1)

    def _object(self, content: bytes) -> int:
        start = self._object_end
        self._object_end += -(-len(content) // SLOT) * SLOT
        self.objects[start : start + len(content)] = content
        return OBJECTS + start

    def _slot(self, base: int, memory: bytearray, code: bytes, name: str) -> int:
        number = self._counts[base]
        if number >= SLOTS_MAX:
            raise WitnessError(f"{self.file.source}: calls more than {SLOTS_MAX} functions")
        self._counts[base] = number + 1
        memory[number * SLOT : number * SLOT + len(code)] = code
        self._names[base + number * SLOT] = name
        return base + number * SLOT
