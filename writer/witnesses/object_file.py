"""An x86-64 object file to execute: sections at addresses, symbols, relocations.

A relocatable object (a module, an xen.o) gets addresses for its sections and is relocated by the
rules of the psABI. A linked one (xen-syms, vmlinux) is at its own addresses. As in elf.py, every
field is checked against the file's length before it is used.
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.witnesses import elf
from runstate_abi.layouts.witnesses.elf import Elf, Section

# The System V gABI and the AMD64 psABI.
# fmt: off
EM_X86_64                        = 62
SHT_SYMTAB, SHT_RELA, SHT_NOBITS = 2, 4, 8
SHF_ALLOC, SHF_EXECINSTR         = 0x2, 0x4
SHN_UNDEF, SHN_ABS               = 0, 0xfff1
STT_OBJECT, STT_FUNC             = 1, 2
SYMBOL     = struct.Struct("<IBBHQQ")      # name info other shndx value size
RELA       = struct.Struct("<QQq")         # offset, info (symbol << 32 | type), addend
# type:        (width in bytes, relative to the place)
RELOCATIONS = {
    0:         (0, False),                 # R_X86_64_NONE
    1:         (8, False),                 # R_X86_64_64
    2:         (4, True),                  # R_X86_64_PC32
    4:         (4, True),                  # R_X86_64_PLT32
    10:        (4, False),                 # R_X86_64_32
    11:        (4, False),                 # R_X86_64_32S
    24:        (8, True),                  # R_X86_64_PC64
}
R_PLT32    = 4
# fmt: on

BASE = 0x1000_0000  # where a relocatable object begins: everything is below 2 GB
ALIGNMENT_MAX = 1 << 21
LOADED_MAX = 32 << 20  # kvm.ko has 3 MB
SYMBOLS_MAX = 1 << 20  # a vmlinux has 200 000
RELOCATIONS_MAX = 1 << 20  # of one section


class Symbol(NamedTuple):
    """A symbol: of another file if ``section`` is SHN_UNDEF, and then ``address`` is 0."""

    name: str
    address: int
    size: int
    section: int
    type: int


@dataclass(slots=True)
class ObjectFile:
    """A loaded file: its sections, its symbols in order, and the defined ones by name."""

    source: str
    file: Elf
    relocatable: bool
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]
    by_name: Mapping[str, Symbol] = field(default_factory=dict)

    def find(self, name: str) -> Symbol | None:
        """Return a function or object defined here; LTO may call it ``name.llvm.123``."""
        return self.by_name.get(name)

    def name_of(self, section: Section) -> str:
        raw = bytes(self.file.names[section.name_offset : section.name_offset + 256])
        return raw.partition(b"\0")[0].decode("ascii", "backslashreplace")

    def content(self, section: Section) -> memoryview:
        """Return the bytes of a section in the file (none for .bss)."""
        if section.type == SHT_NOBITS:
            return self.file.data[:0]
        return self.file.data[section.offset : section.offset + section.size]

    def place(self, address: int) -> str:
        """Return ``function+0x1c7`` for an address."""
        near = [s for s in self.by_name.values() if s.address <= address < s.address + s.size]
        best = min(near, key=lambda s: (s.type != STT_FUNC, s.size), default=None)
        return f"{best.name}+{address - best.address:#x}" if best else f"{address:#x}"


def read(file: Elf) -> ObjectFile:
    """Lay out an x86-64 ELF file (WitnessError if it is none, or has no symbols)."""
    if (file.elf_class, file.machine) != (64, EM_X86_64):
        raise WitnessError(f"{file.source}: {file.description}: only x86-64 code can be run here")
    relocatable = file.type == elf.ET_REL
    sections = _sections(file, relocatable)
    table = next((s for s in sections if s.type == SHT_SYMTAB), None)
    if table is None or table.size == 0:
        raise WitnessError(
            f"{file.source}: no symbol table (stripped, or a vmlinuz): give the file with symbols"
        )
    symbols = tuple(_symbols(file, sections, table, relocatable))
    named = {s.name: s for s in symbols if s.name and 0 < s.section < len(sections)}
    # A local name that LTO made unique is still that function: `name.llvm.1234`.
    for name in [name for name in named if ".llvm." in name]:
        named.setdefault(name.partition(".llvm.")[0], named[name])
    return ObjectFile(file.source, file, relocatable, sections, symbols, named)


# The sections; those of a relocatable file with the address given to them (0: none).
def _sections(file: Elf, relocatable: bool) -> tuple[Section, ...]:
    if not relocatable:
        return file.sections
    found: list[Section] = []
    end = BASE
    for section in file.sections:
        at = 0
        if section.flags & SHF_ALLOC and section.size:
            alignment = _alignment(section.alignment)
            at = -(-end // alignment) * alignment
            end = at + section.size
        found.append(section._replace(address=at))
        if end - BASE > LOADED_MAX:
            raise WitnessError(f"{file.source}: more than {LOADED_MAX} bytes to load")
    return tuple(found)


# In whole pages, so that each section can be mapped separately.
def _alignment(said: int) -> int:
    is_power_of_two = said & (said - 1) == 0
    return min(max(said, PAGE_SIZE), ALIGNMENT_MAX) if is_power_of_two else PAGE_SIZE


def _symbols(
    file: Elf, sections: tuple[Section, ...], table: Section, relocatable: bool
) -> Iterator[Symbol]:
    if table.link >= len(sections) or table.size // SYMBOL.size > SYMBOLS_MAX:
        raise WitnessError(f"{file.source}: its symbol table is damaged")
    strings = sections[table.link]
    text = bytes(file.data[strings.offset : strings.offset + strings.size])
    count = table.size // SYMBOL.size
    rows = file.data[table.offset : table.offset + count * SYMBOL.size]
    for name, kind, _, section, value, size in SYMBOL.iter_unpack(rows):
        end = text.find(b"\0", name, name + 1024)
        if end < 0:
            raise WitnessError(f"{file.source}: its symbol table is damaged")
        if relocatable and section != SHN_UNDEF and section < len(sections):
            value += sections[section].address
        label = text[name:end].decode("ascii", "backslashreplace")
        yield Symbol(label, value, size, section, kind & 0xF)


def _relocations(file: ObjectFile, number: int) -> Iterator[tuple[int, int, Symbol, int]]:
    """Yield (offset, type, symbol, addend) of the relocations of section ``number``."""
    symbols, count = file.symbols, len(file.symbols)
    last = file.sections[number].size - 4
    for section in file.sections:
        if section.type != SHT_RELA or section.info != number:
            continue
        if section.size % RELA.size or section.size // RELA.size > RELOCATIONS_MAX:
            raise WitnessError(f"{file.source}: {file.name_of(section)} is damaged")
        for offset, info, addend in RELA.iter_unpack(file.content(section)):
            if info >> 32 >= count or offset > last:
                raise WitnessError(f"{file.source}: {file.name_of(section)} is damaged")
            yield offset, info & 0xFFFF_FFFF, symbols[info >> 32], addend


def targets(file: ObjectFile, number: int) -> Iterator[int]:
    """Yield the addresses in this file that section ``number`` refers to (WitnessError)."""
    for _, _, symbol, addend in _relocations(file, number):
        if symbol.section != SHN_UNDEF:
            yield symbol.address + addend


def relocated(file: ObjectFile, number: int, foreign: Callable[[str, bool], int]) -> bytearray:
    """Return a section's bytes, relocated (WitnessError: unknown relocation).

    ``foreign`` gives the address of another file's symbol, by its name and whether it is called.
    """
    section = file.sections[number]
    data = bytearray(section.size)
    content = file.content(section)
    data[: len(content)] = content
    start = section.address
    for offset, kind, symbol, addend in _relocations(file, number):
        form = RELOCATIONS.get(kind)
        if form is None or offset + form[0] > len(data):
            raise WitnessError(f"{file.source}: relocation type {kind} in {file.name_of(section)}")
        width, relative = form
        undefined = symbol.section == SHN_UNDEF
        value = foreign(symbol.name, kind == R_PLT32) if undefined else symbol.address
        value += addend - (start + offset if relative else 0)
        end = offset + width
        data[offset:end] = (value & ((1 << 8 * width) - 1)).to_bytes(width, "little")
    return data


def compiler(file: ObjectFile) -> str:
    try:
        text = file.file.section(".comment")
    except WitnessError:
        return ""
    first = bytes(text[:256]).strip(b"\0").partition(b"\0")[0] if text else b""
    said = first.decode("ascii", "replace")
    return said if said.isprintable() else ""
