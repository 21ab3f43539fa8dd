"""PE and COFF files: what compilers for Windows make, unified kernel images, Xen's .efi.

Microsoft's PE/COFF specification, chapters 2 to 4. A name of over eight characters is ``/OFFSET``
in the string table, as GNU's linker writes ``.debug_info``.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.witnesses import elf

DOS, SIGNATURE, SIGNATURE_AT = b"MZ", b"PE\0\0", 0x3C
# Machine, sections, symbol table, symbols, optional header; name, size in memory, size, place.
HEADER, SECTION = struct.Struct("<HH 4x II H 2x"), struct.Struct("<8s I 4x II 16x")
SYMBOL = 18
MACHINES = {0x014C: "i386-windows", 0x8664: "x86_64-windows"}  # COFF's, as ABIs
ELF_MACHINES = {0x014C: (32, 3), 0x8664: (64, 62), 0xAA64: (64, 183)}  # what a kernel is for


class Section(NamedTuple):
    """A section: its whole name, and where its bytes are in the file."""

    name: str
    start: int
    size: int


def is_pe(data: memoryview) -> bool:
    """Tell whether the data are a PE image, from its two signatures."""
    at = _header(data)
    return at > 0 and data[at - 4 : at] == SIGNATURE


def machine(data: memoryview) -> int:
    """Return the machine of an image, or of an object whose header comes first."""
    at = _header(data)
    return HEADER.unpack_from(data, at)[0] if at + HEADER.size <= len(data) else 0


def sections(data: memoryview) -> Iterator[Section]:
    """Yield the sections whose bytes are in the file (struct.error: the table is cut off)."""
    at = _header(data)
    _, count, symbols, number, optional = HEADER.unpack_from(data, at)
    names = symbols + number * SYMBOL if symbols else len(data)
    for row in range(count):
        place = at + HEADER.size + optional + row * SECTION.size
        name, used, size, start = SECTION.unpack_from(data, place)
        size = min(size, used) if used else size  # in an image, the rest is filled up
        text = name.rstrip(b"\0")
        if text[:1] == b"/" and text[1:].isdigit():
            text = bytes(data[names + int(text[1:]) :][:64]).partition(b"\0")[0]
        if 0 < size <= len(data) - start:
            yield Section(text.decode("ascii", "replace"), start, size)


def as_elf(data: memoryview, source: str) -> elf.Elf:
    """Return the sections of an image as those of an ELF file (WitnessError)."""
    try:
        found = list(sections(data))
        elf_class, number = ELF_MACHINES.get(machine(data), (64, 0))
    except struct.error:
        raise WitnessError(f"{source}: truncated: a PE file of {len(data)} bytes") from None
    names = b"".join(one.name.encode() + b"\0" for one in found)
    rows = tuple(
        elf.Section(names.index(one.name.encode() + b"\0"), 1, 0, 0, *one[1:], 0, 0, 1)
        for one in found
    )
    return elf.Elf(source, data, elf_class, "little", 2, number, rows, memoryview(names))


# Behind the image's signature; an object has nothing in front of its header.
def _header(data: memoryview) -> int:
    if data[:2] != DOS or len(data) < SIGNATURE_AT + 4:
        return 0
    return int.from_bytes(data[SIGNATURE_AT : SIGNATURE_AT + 4], "little") + 4
