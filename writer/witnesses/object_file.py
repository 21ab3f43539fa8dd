"""An object file to execute: sections at addresses, symbols, relocations.

A relocatable object (a module, an xen.o) gets addresses for its sections and is relocated by the
rules of its psABI. A linked one (xen-syms, vmlinux) is at its own addresses. As in elf.py, every
field is checked against the file's length before it is used.
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.witnesses import elf
from runstate_abi.layouts.witnesses.elf import Elf, Section

# The System V gABI, and the psABIs of AMD64, i386, Arm and AArch64.
# fmt: off
EM_386, EM_ARM, EM_X86_64, EM_AARCH64 = 3, 40, 62, 183
SHT_SYMTAB, SHT_RELA, SHT_NOBITS, SHT_REL, SHT_DYNSYM = 2, 4, 8, 9, 11
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR = 0x1, 0x2, 0x4
SHN_UNDEF, SHN_ABS               = 0, 0xfff1
STT_OBJECT, STT_FUNC             = 1, 2
SYMBOL = {
    64: struct.Struct("<IBBHQQ"),          # name info other shndx value size
    32: struct.Struct("<IIIBBH"),          # name value size info other shndx
}
# offset, info (symbol and type), addend; without one it is in the place
RELA   = {64: struct.Struct("<QQq"), 32: struct.Struct("<IIi")}
REL    = {64: struct.Struct("<QQ"),  32: struct.Struct("<II")}
TYPE_BITS = {64: 32, 32: 8}                # of info, below the symbol's number


class Form(NamedTuple):
    """How a relocation changes ``width`` bytes, or an instruction in the way ``field`` says."""

    width: int
    relative: bool  # to the place
    called: bool = False
    field: str = ""
    slot: bool = False  # to the place in the global offset table that has the address


RELOCATIONS = {
    EM_X86_64: {
        0:     Form(0, False),                     # R_X86_64_NONE
        1:     Form(8, False),                     # R_X86_64_64
        2:     Form(4, True),                      # R_X86_64_PC32
        4:     Form(4, True, True),                # R_X86_64_PLT32
        9:     Form(4, True, slot=True),           # R_X86_64_GOTPCREL
        10:    Form(4, False),                     # R_X86_64_32
        11:    Form(4, False),                     # R_X86_64_32S
        24:    Form(8, True),                      # R_X86_64_PC64
        41:    Form(4, True, slot=True),           # R_X86_64_GOTPCRELX
        42:    Form(4, True, slot=True),           # R_X86_64_REX_GOTPCRELX
    },
    EM_386: {
        0:     Form(0, False),                     # R_386_NONE
        1:     Form(4, False),                     # R_386_32
        2:     Form(4, True),                      # R_386_PC32
        3:     Form(4, False, False, "got", True), # R_386_GOT32
        4:     Form(4, True, True),                # R_386_PLT32
        9:     Form(4, False, False, "got"),       # R_386_GOTOFF
        10:    Form(4, True),                      # R_386_GOTPC
        43:    Form(4, False, False, "got", True), # R_386_GOT32X
    },
    EM_ARM: {
        0:     Form(0, False),                     # R_ARM_NONE
        2:     Form(4, False),                     # R_ARM_ABS32
        3:     Form(4, True),                      # R_ARM_REL32
        10:    Form(4, True, True, "t24"),         # R_ARM_THM_CALL
        25:    Form(4, True),                      # R_ARM_BASE_PREL, of the GOT
        26:    Form(4, False, False, "got", True), # R_ARM_GOT_BREL
        28:    Form(4, True, True, "b24"),         # R_ARM_CALL
        29:    Form(4, True, True, "b24"),         # R_ARM_JUMP24
        30:    Form(4, True, True, "t24"),         # R_ARM_THM_JUMP24
        40:    Form(0, False),                     # R_ARM_V4BX
        43:    Form(4, False, False, "movw"),      # R_ARM_MOVW_ABS_NC
        44:    Form(4, False, False, "movt"),      # R_ARM_MOVT_ABS
        47:    Form(4, False, False, "tmovw"),     # R_ARM_THM_MOVW_ABS_NC
        48:    Form(4, False, False, "tmovt"),     # R_ARM_THM_MOVT_ABS
        96:    Form(4, True, slot=True),           # R_ARM_GOT_PREL
    },
    EM_AARCH64: {
        0:     Form(0, False),                     # R_AARCH64_NONE
        257:   Form(8, False),                     # R_AARCH64_ABS64
        258:   Form(4, False),                     # R_AARCH64_ABS32
        261:   Form(4, True),                      # R_AARCH64_PREL32
        275:   Form(4, True, False, "adrp"),       # R_AARCH64_ADR_PREL_PG_HI21
        277:   Form(4, False, False, "lo12"),      # R_AARCH64_ADD_ABS_LO12_NC
        282:   Form(4, True, True, "b26"),         # R_AARCH64_JUMP26
        283:   Form(4, True, True, "b26"),         # R_AARCH64_CALL26
        285:   Form(4, False, False, "lo12/4"),    # R_AARCH64_LDST32_ABS_LO12_NC
        286:   Form(4, False, False, "lo12/8"),    # R_AARCH64_LDST64_ABS_LO12_NC
        299:   Form(4, False, False, "lo12/16"),   # R_AARCH64_LDST128_ABS_LO12_NC
        311:   Form(4, True, False, "adrp", True), # R_AARCH64_ADR_GOT_PAGE
        312:   Form(4, False, False, "lo12/8", True),  # R_AARCH64_LD64_GOT_LO12_NC
    },
}
# fmt: on

X86_64 = {(64, EM_X86_64): "x86-64"}
BASE = 0x1000_0000  # where a relocatable object begins: everything is below 2 GB
GOT = "_GLOBAL_OFFSET_TABLE_"  # without entries, it may be anywhere: at BASE
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


def read(file: Elf, machines: Mapping[tuple[int, int], str] = X86_64) -> ObjectFile:
    """Lay out a little-endian ELF file of one of these classes and machines.

    WitnessError if it is another one, or has no symbols.
    """
    if (file.elf_class, file.machine) not in machines or file.byteorder != "little":
        known = ", ".join(machines.values())
        raise WitnessError(f"{file.source}: {file.description}: only {known} code can be run here")
    relocatable = file.type == elf.ET_REL
    sections = _sections(file, relocatable)
    tables = [s for s in sections if s.type in (SHT_SYMTAB, SHT_DYNSYM) and s.size]
    table = min(tables, key=lambda s: s.type, default=None)
    if table is None:
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
    form = SYMBOL[file.elf_class]
    if table.link >= len(sections) or table.size // form.size > SYMBOLS_MAX:
        raise WitnessError(f"{file.source}: its symbol table is damaged")
    strings = sections[table.link]
    text = bytes(file.data[strings.offset : strings.offset + strings.size])
    count = table.size // form.size
    for row in form.iter_unpack(file.data[table.offset : table.offset + count * form.size]):
        if file.elf_class == 64:
            name, kind, _, section, value, size = row
        else:
            name, value, size, kind, _, section = row
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
    bits = TYPE_BITS[file.file.elf_class]
    content = file.content(file.sections[number])
    for section in file.sections:
        if section.type not in (SHT_RELA, SHT_REL) or section.info != number:
            continue
        form = (RELA if section.type == SHT_RELA else REL)[file.file.elf_class]
        if section.size % form.size or section.size // form.size > RELOCATIONS_MAX:
            raise WitnessError(f"{file.source}: {file.name_of(section)} is damaged")
        for offset, info, *addend in form.iter_unpack(file.content(section)):
            if info >> bits >= count or offset > last:
                raise WitnessError(f"{file.source}: {file.name_of(section)} is damaged")
            kind = info & ((1 << bits) - 1)
            here = int.from_bytes(content[offset : offset + 4], "little", signed=True)
            form_of = RELOCATIONS[file.file.machine].get(kind)
            if form_of and form_of.field in ("b24", "t24"):
                here = BRANCH_BACK[form_of.field]
            elif form_of and "mov" in form_of.field:
                here = _moved(here, form_of.field.startswith("t"))
            yield offset, kind, symbols[info >> bits], *(addend or (here,))


def targets(file: ObjectFile, number: int) -> Iterator[int]:
    """Yield the addresses in this file that section ``number`` refers to (WitnessError)."""
    for _, _, symbol, addend in _relocations(file, number):
        if symbol.section != SHN_UNDEF:
            yield symbol.address + addend


def relocated(
    file: ObjectFile,
    number: int,
    foreign: Callable[[str, bool], int],
    slot: Callable[[int], int] | None = None,
) -> bytearray:
    """Return a section's bytes, relocated (WitnessError: unknown relocation).

    ``foreign`` gives the address of another file's symbol, by its name and whether it is called;
    ``slot`` the place in the global offset table that has an address, None: there is no table.
    """
    section = file.sections[number]
    data = bytearray(section.size)
    content = file.content(section)
    data[: len(content)] = content
    start = section.address
    for offset, kind, symbol, addend in _relocations(file, number):
        form = RELOCATIONS[file.file.machine].get(kind)
        if form is None or offset + form.width > len(data) or (form.slot and slot is None):
            raise WitnessError(f"{file.source}: relocation type {kind} in {file.name_of(section)}")
        undefined = symbol.section == SHN_UNDEF
        value = foreign(symbol.name, form.called) if undefined else symbol.address
        value = BASE if symbol.name == GOT else value
        value = slot(value) if slot and form.slot else value
        value += addend
        place = start + offset if form.relative else 0
        if abs(value - place) >= REACH.get(form.field, 1 << 64):
            raise WitnessError(f"{file.source}: {symbol.name} is too far for a call of it")
        end = offset + form.width
        word = int.from_bytes(data[offset:end], "little")
        value = _FIELDS[form.field](word, value, place) if form.field else value - place
        data[offset:end] = (value & ((1 << 8 * form.width) - 1)).to_bytes(form.width, "little")
    return data


# What the addend of a call is before it is relocated: the distance from the instruction to the
# program counter that it is relative to.
BRANCH_BACK = {"b24": -8, "t24": -4}
REACH = {"b24": 1 << 25, "t24": 1 << 24, "b26": 1 << 27}  # bytes, forward or back


# Put an address into an instruction: the word, the address, where the instruction is.
def _adrp(word: int, value: int, place: int) -> int:
    pages = (value >> 12) - (place >> 12)
    return word & ~0x60FF_FFE0 | (pages & 3) << 29 | (pages >> 2 & 0x7_FFFF) << 5


def _low_12(shift: int, word: int, value: int, place: int) -> int:
    return word & ~(0xFFF << 10) | ((value & 0xFFF) >> shift) << 10


def _branch_arm(word: int, value: int, place: int) -> int:
    return word & 0xFF00_0000 | (value - place >> 2) & 0xFF_FFFF


# Two halfwords: S:imm10, then J1:J2:imm11.
def _branch_thumb(word: int, value: int, place: int) -> int:
    distance = (value & ~1) - place
    sign = distance >> 24 & 1
    j1, j2 = ((distance >> bit & 1) ^ sign ^ 1 for bit in (23, 22))
    first = word & 0xF800 | sign << 10 | distance >> 12 & 0x3FF
    second = word >> 16 & 0xD000 | j1 << 13 | j2 << 11 | distance >> 1 & 0x7FF
    return second << 16 | first


# An immediate of 16 bits: 4:12 in Arm code, 4:1:3:8 in the halfwords of Thumb's.
def _moved(word: int, thumb: bool) -> int:
    high, low = (word, word >> 16) if thumb else (word >> 16, word)
    rest = (low >> 12 & 7) << 8 | (high >> 10 & 1) << 11 | low & 0xFF if thumb else low & 0xFFF
    value = (high & 0xF) << 12 | rest
    return value - (value >> 15 << 16)


def _mov(shift: int, word: int, value: int, place: int) -> int:
    value = value >> shift & 0xFFFF
    return word & ~0xF_0FFF | value >> 12 << 16 | value & 0xFFF


def _mov_thumb(shift: int, word: int, value: int, place: int) -> int:
    value = value >> shift & 0xFFFF
    first = value >> 12 | (value >> 11 & 1) << 10
    second = (value >> 8 & 7) << 12 | value & 0xFF
    return word & ~0x70FF_040F | second << 16 | first


def _branch(word: int, value: int, place: int) -> int:
    return word & ~0x3FF_FFFF | (value - place >> 2) & 0x3FF_FFFF


def _from_got(word: int, value: int, place: int) -> int:
    return value - BASE


_FIELDS: dict[str, Callable[[int, int, int], int]] = {
    "adrp": _adrp,
    "b24": _branch_arm,
    "t24": _branch_thumb,
    "b26": _branch,
    "lo12": partial(_low_12, 0),
    "lo12/4": partial(_low_12, 2),
    "lo12/8": partial(_low_12, 3),
    "lo12/16": partial(_low_12, 4),
    "got": _from_got,
    "movw": partial(_mov, 0),
    "movt": partial(_mov, 16),
    "tmovw": partial(_mov_thumb, 0),
    "tmovt": partial(_mov_thumb, 16),
}


def compiler(file: ObjectFile) -> str:
    try:
        text = file.file.section(".comment")
    except WitnessError:
        return ""
    first = bytes(text[:256]).strip(b"\0").partition(b"\0")[0] if text else b""
    said = first.decode("ascii", "replace")
    return said if said.isprintable() else ""
