"""The bytes of an ELF section as a reader of debug info needs them: inflated, and relocated.

Law of this file: it knows ELF and no DWARF. A machine's relocations are known or refused.
"""

import struct
import zlib
from collections.abc import Callable
from typing import Any

from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.witnesses import elf
from runstate_abi.layouts.witnesses.compressed import LIMIT, compression, inflate

SHT_RELA, SHT_REL = 4, 9
# fmt: off
# Relocations that put a symbol's value and an addend into 4 or 8 bytes, by machine.
RELOCATIONS = {3: {1: 4}, 40: {2: 4}, 62: {1: 8, 10: 4, 11: 4}, 183: {257: 8, 258: 4},
               243: {1: 4, 2: 8}}
# fmt: on


def section_bytes(file: elf.Elf, name: str) -> Any:
    """Return a section's bytes, inflated and relocated; as they lie in the file if neither is.

    Nothing if there is no such section. WitnessError if they cannot be had.
    """
    zipped = name.replace(".debug", ".zdebug")
    number, zipped_number = file.number_of(name), file.number_of(zipped)
    number = zipped_number if number is None else number
    if number is None:
        return b""
    row = file.sections[number]
    data: Any = file.data[row.offset : row.offset + row.size]
    if row.flags & elf.SHF_COMPRESSED:
        data = _inflated(data[12 if file.elf_class == 32 else 24 :], file.source)
    elif number == zipped_number:
        data = _inflated(data[12:], file.source)
    if file.type == elf.ET_REL:
        data = bytearray(data)
        for relocations in file.sections:
            if relocations.type in (SHT_RELA, SHT_REL) and relocations.info == number:
                _relocate(data, file, relocations)
    return data


def _inflated(data: memoryview, source: str) -> bytes | bytearray:
    how = compression(data)
    if how is not None:
        return inflate(data, how, source)
    try:
        stream = zlib.decompressobj()
        inflated = stream.decompress(data, LIMIT)
    except zlib.error as error:
        raise WitnessError(f"{source}: a compressed section is corrupt: {error}") from None
    if not stream.eof:
        raise WitnessError(f"{source}: a compressed section ends early, or has over {LIMIT} bytes")
    return inflated


def _relocate(data: bytearray, file: elf.Elf, relocations: elf.Section) -> None:
    known = RELOCATIONS.get(file.machine)
    if known is None:
        raise WitnessError(f"{file.source}: {file.description}: its relocations are not known")
    order, wide = "<" if file.byteorder == "little" else ">", file.elf_class == 64
    symbols = _symbols(file, relocations.link)
    with_addend = relocations.type == SHT_RELA
    row = struct.Struct(order + ("QQ" if wide else "II") + "qi"[not wide] * with_addend)
    rows = file.data[relocations.offset : relocations.offset + relocations.size]
    shift = 32 if wide else 8
    put: dict[int, Callable[..., None]] = {
        size: struct.Struct(order + word).pack_into for size, word in ((4, "I"), (8, "Q"))
    }
    little: Any = file.byteorder
    for place, info, *addend in row.iter_unpack(rows[: len(rows) // row.size * row.size]):
        size = known.get(info & (1 << shift) - 1)
        if size is None:
            continue  # of an address, which no struct needs
        plus = addend[0] if addend else int.from_bytes(data[place : place + size], little)
        put[size](data, place, symbols[info >> shift] + plus & (1 << 8 * size) - 1)


def _symbols(file: elf.Elf, number: int) -> list[int]:
    section = file.sections[number]
    wide = file.elf_class == 64
    order = "<" if file.byteorder == "little" else ">"
    row = struct.Struct(order + ("8xQ8x" if wide else "4xI8x"))
    data = file.data[section.offset : section.offset + section.size]
    return [value for (value,) in row.iter_unpack(data[: len(data) // row.size * row.size])]
