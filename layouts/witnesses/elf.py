"""An ELF file's class, byte order, machine, sections and build-id, for the other readers.

ELF32 and ELF64, both byte orders. The data may be a mapped file of 400 MB, and nothing is copied.
Every field is checked against the file's length before it is used.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

from runstate_abi.layouts.abi import Abi, abi_of_elf
from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.witnesses.compressed import ZLIB, Buffer, compression, inflate

MAGIC = b"\x7fELF"
ET_REL = 1
SHT_RELA, SHT_NOBITS, SHT_REL, SHF_COMPRESSED = 4, 8, 9, 0x800
NT_GNU_BUILD_ID, GNU = 3, b"GNU\0"
PT_NOTE, NOTES_MAX = 4, 1 << 20

# The System V gABI, chapters "ELF header" and "Sections": struct formats without the byte order;
# "x" is a byte of no interest here. HEADER begins at byte 16, SECTION has the fields of Section.
# fmt: off
HEADER = {  # e_type, e_machine  e_shoff  flags...  shentsize, shnum, shstrndx
    32: "HH 4x  4x 4x          I       4x 2x 2x 2x HHH",
    64: "HH 4x  8x 8x          Q       4x 2x 2x 2x HHH",
}
START = {  # e_machine, e_phoff, e_phentsize, e_phnum: the header's other half
    32: "2x H 4x 4x I 4x 4x 2x HH", 64: "2x H 4x 8x Q 8x 4x 2x HH",
}
SEGMENT = {32: "II 4x 4x I 12x", 64: "I 4x Q 8x 8x Q 16x"}  # p_type, p_offset, p_filesz
SECTION = {32: "III I II II I 4x", 64: "IIQ Q QQ II Q 8x"}
SYMBOL = {32: "4xI8x", 64: "8xQ8x"}  # st_value
# Relocations that put a symbol's value and an addend into 4 or 8 bytes: {machine: {type: size}}.
RELOCATIONS = {3: {1: 4}, 40: {2: 4}, 62: {1: 8, 10: 4, 11: 4}, 183: {257: 8, 258: 4},
               243: {1: 4, 2: 8}}
MACHINES = {
    3: "i386", 8: "mips", 20: "ppc", 21: "ppc64", 22: "s390", 40: "arm", 62: "x86-64",
    183: "arm64", 243: "riscv", 247: "bpf", 258: "loongarch",
}
# fmt: on


class Section(NamedTuple):
    """One section header: where its name and its bytes are."""

    name_offset: int
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int


class Elf(NamedTuple):
    """An ELF file whose section table has been checked; ``elf_class`` is 32 or 64."""

    source: str
    data: memoryview
    elf_class: int
    byteorder: Literal["little", "big"]
    type: int
    machine: int
    sections: tuple[Section, ...]
    names: memoryview

    @property
    def abi(self) -> Abi | None:
        """The ABI of this class and machine; None if ABIS has none, and for big-endian files."""
        return abi_of_elf(self.elf_class, self.machine) if self.byteorder == "little" else None

    @property
    def order(self) -> str:
        return "<" if self.byteorder == "little" else ">"

    @property
    def is_module(self) -> bool:
        return self.type == ET_REL and self.has(".modinfo")

    @property
    def description(self) -> str:
        """``ELF64 x86-64``."""
        order = "" if self.byteorder == "little" else ", big-endian"
        machine = MACHINES.get(self.machine, f"machine {self.machine}")
        return f"ELF{self.elf_class} {machine}{order}"

    def has(self, name: str) -> bool:
        """Is there a section of this name, with or without bytes in the file?"""
        return bool(_named(self, name))

    def section(self, name: str) -> memoryview | None:
        """Return the bytes of section ``name``, None if there is none in this file.

        If debug info was separated, the headers of its sections stay in the file. WitnessError if
        the name is not unique or the section is compressed.
        """
        found = [section for section in _named(self, name) if section.type != SHT_NOBITS]
        if len(found) > 1:
            raise WitnessError(f"{self.source}: {len(found)} sections are called {name}")
        if any(section.flags & SHF_COMPRESSED for section in found):
            raise WitnessError(f"{self.source}: section {name} is compressed")
        return next((self.data[row.offset : row.offset + row.size] for row in found), None)


def parse(data: Buffer, source: str) -> Elf:
    """Read the ELF header and the section table (WitnessError: one of them is wrong)."""
    view = memoryview(data)
    elf_class, order = _ident(view, source)
    header = struct.Struct(order + HEADER[elf_class])
    type_, machine, *table = header.unpack_from(view, 16)
    sections = _sections(view, source, struct.Struct(order + SECTION[elf_class]), *table[:3])
    names = view[:0]
    if sections:
        index = table[3]
        if index >= len(sections) or sections[index].type in (0, SHT_NOBITS):
            raise WitnessError(f"{source}: ELF header: section {index} has no names of sections")
        names = view[sections[index].offset :][: sections[index].size]
    byteorder: Literal["little", "big"] = "little" if order == "<" else "big"
    return Elf(source, view, elf_class, byteorder, type_, machine, sections, names)


# Class and byte order, of a file that has a whole header.
def _ident(view: memoryview, source: str) -> tuple[int, str]:
    if bytes(view[:4]) != MAGIC:
        raise WitnessError(f"{source}: not an ELF file")
    if len(view) < 16 or view[4] not in (1, 2) or view[5] not in (1, 2):
        raise WitnessError(f"{source}: ELF header: no known class or byte order")
    elf_class, order = (32, 64)[view[4] - 1], "<>"[view[5] - 1]
    if len(view) < 16 + struct.calcsize(order + HEADER[elf_class]):
        raise WitnessError(f"{source}: truncated: {len(view)} bytes are not a whole ELF header")
    return elf_class, order


# The section table; no section may end after the file.
def _sections(
    view: memoryview, source: str, row: struct.Struct, offset: int, entry: int, count: int
) -> tuple[Section, ...]:
    if offset == 0:
        return ()
    if count == 0 or entry != row.size:
        found = f"{count} sections of {entry} bytes each"
        raise WitnessError(f"{source}: ELF header: {found}; expected some of {row.size} bytes")
    truncated, at = f"{source}: truncated:", f"ends at {offset + entry * count:#x}"
    if offset + entry * count > len(view):
        raise WitnessError(f"{truncated} the section table {at}, the file at {len(view):#x}")
    table = view[offset : offset + entry * count]
    sections = tuple(Section(*fields) for fields in row.iter_unpack(table))
    for number, section in enumerate(sections):
        end = section.offset + section.size
        if section.type not in (0, SHT_NOBITS) and end > len(view):
            at = f"section {number} ends at {end:#x}"
            raise WitnessError(f"{truncated} {at}, the file at {len(view):#x}")
    return sections


def _named(elf: Elf, name: str) -> list[Section]:
    return [section for section in elf.sections if _is_named(elf, section, name)]


# Compared in place: names are not cut out, so an unterminated name costs nothing.
def _is_named(elf: Elf, section: Section, name: str) -> bool:
    wanted = name.encode() + b"\0"
    return elf.names[section.name_offset : section.name_offset + len(wanted)] == wanted


def build_id(elf: Elf) -> str | None:
    """Return the linker's build-id in hex: in a module's own note, or in a vmlinux's .notes."""
    sections = map(elf.section, (".note.gnu.build-id", ".notes"))
    ids = (gnu_build_id(elf.order, notes) for notes in sections if notes)
    return next(filter(None, ids), None)


def gnu_build_id(order: str, notes: memoryview) -> str | None:
    """Return the build-id among some notes, in hex."""
    header = struct.Struct(order + "III")
    position = 0
    # A note is three words, a name and a description, each padded to four bytes.
    while position + header.size <= len(notes):
        name_size, size, kind = header.unpack_from(notes, position)
        name = position + header.size
        start = name + (name_size + 3 & ~3)
        found = notes[start : start + size]
        if kind == NT_GNU_BUILD_ID and notes[name : name + len(GNU)] == GNU and found:
            return found.hex()
        position = start + (size + 3 & ~3)
    return None


class Beginning(NamedTuple):
    """What the first bytes of an ELF file tell: its ABI, and where in the file its notes are."""

    order: str
    abi: Abi | None
    notes: tuple[tuple[int, int], ...]  # first byte and the byte after the last, of each segment


def beginning(view: memoryview, source: str) -> Beginning:
    """Read an ELF header and the program headers behind it, without the rest (WitnessError)."""
    elf_class, order = _ident(view, source)
    header, row = (struct.Struct(order + form[elf_class]) for form in (START, SEGMENT))
    machine, at, size, count = header.unpack_from(view, 16)
    table = view[at : at + size * count] if size == row.size else view[:0]
    table = table[: len(table) // row.size * row.size]
    notes = tuple(
        (offset, offset + length)
        for kind, offset, length in row.iter_unpack(table)
        if kind == PT_NOTE and length <= NOTES_MAX
    )
    abi = abi_of_elf(elf_class, machine) if order == "<" else None
    return Beginning(order, abi, notes)


def section_bytes(file: Elf, name: str) -> Any:
    """Return the bytes of a section of debug info, inflated and relocated if needed.

    Sections of one name (an object's types) are joined. Empty if there is none. WitnessError if
    they cannot be read.
    """
    relocations: dict[int, list[Section]] = {}
    for row in file.sections if file.type == ET_REL else ():
        if row.type in (SHT_RELA, SHT_REL):
            relocations.setdefault(row.info, []).append(row)
    found = [
        _of_section(file, row, called, relocations.get(number, ()))
        for called in dict.fromkeys((name, name.replace(".debug", ".zdebug")))
        for number, row in enumerate(file.sections)
        if row.type != SHT_NOBITS and _is_named(file, row, called)
    ]
    return found[0] if len(found) == 1 else b"".join(found)


def _of_section(file: Elf, row: Section, name: str, relocations: Sequence[Section]) -> Any:
    data: Any = file.data[row.offset : row.offset + row.size]
    if row.flags & SHF_COMPRESSED or name.startswith(".zdebug"):
        # Behind an Elf64_Chdr, an Elf32_Chdr, or the older "ZLIB" and 8 bytes of size.
        data = data[24 if row.flags & SHF_COMPRESSED and file.elf_class == 64 else 12 :]
        data = inflate(data, compression(data) or ZLIB, f"{file.source}: {name}")
    if file.type == ET_REL:
        data = bytearray(data)
        for one in relocations:
            _relocate(data, file, one)
    return data


def _relocate(data: bytearray, file: Elf, relocations: Section) -> None:
    known = RELOCATIONS.get(file.machine)
    if known is None:
        raise WitnessError(f"{file.source}: {file.description}: its relocations are not known")
    wide = file.elf_class == 64
    symbols = [value for (value,) in _entries(file, relocations.link, SYMBOL[file.elf_class])]
    addend = "qi"[not wide] * (relocations.type == SHT_RELA)
    rows = _entries(file, file.sections.index(relocations), ("QQ" if wide else "II") + addend)
    shift = 32 if wide else 8
    put: dict[int, Any] = {
        size: struct.Struct(file.order + word).pack_into for size, word in ((4, "I"), (8, "Q"))
    }
    for place, info, *addends in rows:
        size = known.get(info & (1 << shift) - 1)
        if size is None:
            continue  # of an address, which no struct needs
        old = addends[0] if addends else int.from_bytes(data[place : place + size], file.byteorder)
        put[size](data, place, symbols[info >> shift] + old & (1 << 8 * size) - 1)


# The entries of a section that is a table; an incomplete one at its end is dropped.
def _entries(file: Elf, number: int, form: str) -> Iterator[tuple[Any, ...]]:
    row, section = struct.Struct(file.order + form), file.sections[number]
    return row.iter_unpack(file.data[section.offset :][: section.size // row.size * row.size])
