"""Guest-physical memory in ELF cores: QEMU's dump-guest-memory and Xen's dump-core.

QEMU describes memory by PT_LOAD program headers and their p_paddr. Xen's dump-core has no program
headers: section .xen_pages holds pages, and .xen_pfn or .xen_p2m gives the frame of each. Every
number is checked against the file's length before it is used. Memory that a header announces and
the file does not hold is reported as missing.
"""

import struct
from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

from runstate_abi.layouts.abi import PAGE_SIZE, abi_of_elf
from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.witnesses import elf
from runstate_abi.tools.memory.image import ADDRESS_END, Image, Piece, arranged

ET_CORE = 4
PT_LOAD = 1
PN_XNUM = 0xFFFF
SEGMENTS_MOST = 1 << 20  # QEMU makes one for each block of memory: tens, thousands at the worst


class Shape(NamedTuple):
    header: struct.Struct  # e_type e_machine e_phoff e_shoff e_phentsize e_phnum, from byte 16 on
    segment: struct.Struct  # p_type, then the fields of Segment
    info: int  # offset of sh_info in a section header


# The System V gABI, chapters "ELF Header" and "Program Header"; "x" is a byte of no interest. By
# EI_CLASS.
# fmt: off
SHAPES = {
    1: Shape(struct.Struct("<HH 4x 4x II 4x 2x HH 2x"), struct.Struct("<I   5I 8x"), 28),
    2: Shape(struct.Struct("<HH 4x 8x QQ 4x 2x HH 2x"), struct.Struct("<I4x 5Q 8x"), 44),
}
# fmt: on


class Segment(NamedTuple):
    """One program header: ``filesz`` bytes at file ``offset`` are the memory at ``paddr``."""

    type: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int


def image(data: memoryview, source: str) -> Image:
    """Return the guest-physical memory of an ELF core (WitnessError)."""
    if len(data) < 16 or data[4] not in SHAPES:
        raise WitnessError(f"{source}: ELF header: no known class")
    if data[5] != 1:
        raise WitnessError(f"{source}: ELF header: not little-endian, as every Xen guest is")
    shape, elf_class = SHAPES[data[4]], 32 * data[4]
    if len(data) < 16 + shape.header.size:
        raise WitnessError(f"{source}: truncated: {len(data)} bytes are not a whole ELF header")
    kind, number, phoff, shoff, entry, phnum = shape.header.unpack_from(data, 16)
    if kind != ET_CORE:
        raise WitnessError(f"{source}: ELF type {kind} is no memory dump (a core is {ET_CORE})")
    if phnum and entry != shape.segment.size:
        sizes = f"{entry} bytes, expected {shape.segment.size}"
        raise WitnessError(f"{source}: ELF header: program headers of {sizes}")
    if phnum == PN_XNUM:
        # There are more than 65534, and sh_info of section 0 says how many.
        place = shoff + shape.info
        if not shoff or place + 4 > len(data):
            raise WitnessError(f"{source}: ELF header: e_phnum is PN_XNUM, but no section 0")
        phnum = int.from_bytes(data[place : place + 4], "little")
    abi = abi_of_elf(elf_class, number)
    machine = abi.name if abi else elf.MACHINES.get(number, f"machine {number}")
    if not phnum:
        # The format: Xen's docs/misc/dump-core-format.txt.
        core = elf.parse(data, source)
        pages = core.section(".xen_pages")
        if pages is None:
            raise WitnessError(f"{source}: neither program headers nor a section .xen_pages")
        frames = _frames(core, source, len(pages) // PAGE_SIZE)
        pieces = arranged(_runs(frames, pages))
        left_out = len(frames) - sum(piece.size for piece in pieces) // PAGE_SIZE
        notes = () if not left_out else (f"{left_out} of its pages have no frame, or another's",)
        return Image(source, "Xen dump-core", pieces, machine, notes)
    end = phoff + shape.segment.size * phnum
    if phnum > SEGMENTS_MOST:
        raise WitnessError(f"{source}: ELF header: {phnum} program headers, no core has so many")
    if end > len(data):
        ends = f"the program headers end at {end:#x}, the file at {len(data):#x}"
        raise WitnessError(f"{source}: truncated: {ends}")
    segments = [Segment(*fields) for fields in shape.segment.iter_unpack(data[phoff:end])]
    return _from_segments(data, source, segments, f"ELF{elf_class}", machine)


def _from_segments(
    data: memoryview, source: str, segments: list[Segment], kind: str, machine: str
) -> Image:
    loaded = [(number, item) for number, item in enumerate(segments) if item.type == PT_LOAD]
    pieces: list[Piece] = []
    absent, partial = 0, 0
    kind, notes = f"{kind} core", []
    # In cores of processes (gdb, the kernel) p_paddr is always 0. A machine has one segment at 0.
    if not any(x.paddr for _, x in loaded) and any(x.vaddr for _, x in loaded):
        loaded = [(number, item._replace(paddr=item.vaddr)) for number, item in loaded]
        kind = kind.replace(" core", " process core")
        notes.append("no segment has a physical address: addresses are virtual, --gpa takes them")
    for number, segment in loaded:
        if segment.paddr + max(segment.filesz, segment.memsz) > ADDRESS_END:
            memory = f"memory at {segment.paddr:#x} of {segment.memsz:#x} bytes"
            raise WitnessError(f"{source}: program header {number}: {memory} ends beyond 2^64")
        part = data[segment.offset : segment.offset + segment.filesz]
        absent += max(0, segment.memsz - segment.filesz)
        partial += segment.filesz - len(part)
        if part:
            pieces.append(Piece(segment.paddr, len(part), part))
    if not pieces:
        count = len(segments)
        raise WitnessError(f"{source}: no PT_LOAD of {count} program headers has any bytes")
    if partial:
        notes.append(f"truncated: {partial:#x} bytes that its headers promise are not in it")
    if absent:
        notes.append(f"{absent:#x} bytes of memory were not dumped")
    return Image(source, kind, arranged(pieces), machine, tuple(notes), partial > 0)


def _frames(core: elf.Elf, source: str, count: int) -> list[int]:
    plain, pairs = core.section(".xen_pfn"), core.section(".xen_p2m")
    table, width = (plain, 1) if plain is not None else (pairs, 2)
    if table is None:
        raise WitnessError(f"{source}: .xen_pages, but no .xen_pfn or .xen_p2m")
    words = min(count * width, len(table) // 8)
    frames = list(struct.unpack(f"<{words}Q", table[: words * 8])[::width])
    if len(frames) < count:
        has = f"{count} pages, but only {len(frames)} have a frame"
        raise WitnessError(f"{source}: .xen_pages holds {has}")
    return frames


# Adjacent pages with adjacent frames are one piece.
def _runs(frames: list[int], pages: memoryview) -> Iterator[Piece]:
    for _, run in groupby(enumerate(frames), key=lambda pair: pair[1] - pair[0]):
        (first, frame), *rest = run
        address, size = frame * PAGE_SIZE, (1 + len(rest)) * PAGE_SIZE
        # A page that has no frame says 2^64 - 1, which is beyond all addresses.
        if address + size <= ADDRESS_END:
            yield Piece(address, size, pages[first * PAGE_SIZE :][:size])
