"""Guest-physical memory out of ELF cores: QEMU's dump-guest-memory and Xen's dump-core.

QEMU describes memory by PT_LOAD program headers and their p_paddr. Xen's dump-core has no program
headers: section .xen_pages holds pages, and .xen_pfn or .xen_p2m says which frame each one is.

Law of this file: no number of the file is believed before it is held against the file's length;
what a header promises and the file does not hold is a hole, and said.
"""

import struct
from collections.abc import Iterator
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
    """Where an ELF class keeps what is read here, as struct formats without the byte order."""

    header: str  # e_type e_machine e_phoff e_shoff e_phentsize e_phnum e_shentsize, from byte 16
    segment: str  # p_type and the fields of Segment, in the order of `order`
    order: tuple[int, int, int, int, int, int]
    info: int  # offset of sh_info in a section header


# The System V gABI, chapters "ELF Header" and "Program Header"; "x" is a byte of no interest.
# fmt: off
SHAPES = {
    #           e_type, e_machine ..  e_phoff, e_shoff ..  e_phentsize, e_phnum, e_shentsize
    32: Shape("<HH 4x 4x              II 4x 2x             HHH", "<7I4x",   (0, 1, 2, 3, 4, 5), 28),
    64: Shape("<HH 4x 8x              QQ 4x 2x             HHH", "<II5Q8x", (0, 2, 3, 4, 5, 6), 44),
}
# fmt: on


class Segment(NamedTuple):
    """One PT_LOAD: ``filesz`` bytes at file ``offset`` are the memory at ``paddr``.

    A process core has no physical addresses: all its ``paddr`` are 0, and ``vaddr`` tells.
    """

    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int


class Header(NamedTuple):
    """An ELF core's header: class in bits, machine, and where its program headers are."""

    elf_class: int
    machine: int
    phoff: int
    phnum: int


def is_elf(data: memoryview) -> bool:
    """Tell whether the data begin as an ELF file does."""
    return bytes(data[: len(elf.MAGIC)]) == elf.MAGIC


def image(data: memoryview, source: str) -> Image:
    """Return the guest-physical memory of an ELF core (WitnessError)."""
    header = _header(data, source)
    abi = abi_of_elf(header.elf_class, header.machine)
    machine = abi.name if abi else elf.MACHINES.get(header.machine, f"machine {header.machine}")
    if header.phnum:
        return _from_segments(data, source, header, machine)
    return _from_pages(data, source, machine)


def _header(data: memoryview, source: str) -> Header:
    if len(data) < 16 or data[4] not in (1, 2):
        raise WitnessError(f"{source}: ELF header: no known class")
    if data[5] != 1:
        raise WitnessError(f"{source}: ELF header: not little-endian, as every Xen guest is")
    elf_class = (32, 64)[data[4] - 1]
    shape = SHAPES[elf_class]
    if len(data) < 16 + struct.calcsize(shape.header):
        raise WitnessError(f"{source}: truncated: {len(data)} bytes are not a whole ELF header")
    kind, machine, phoff, shoff, entry, phnum, _ = struct.unpack_from(shape.header, data, 16)
    if kind != ET_CORE:
        raise WitnessError(f"{source}: ELF type {kind} is no memory dump (a core is {ET_CORE})")
    if phnum and entry != struct.calcsize(shape.segment):
        raise WitnessError(
            f"{source}: ELF header: program headers of {entry} bytes, "
            f"expected {struct.calcsize(shape.segment)}"
        )
    if phnum == PN_XNUM:
        phnum = _many_segments(data, source, shoff, shape)
    return Header(elf_class, machine, phoff, phnum)


# More than 65534 program headers do not fit into e_phnum: the first section's sh_info has them.
def _many_segments(data: memoryview, source: str, shoff: int, shape: Shape) -> int:
    if not shoff or shoff + shape.info + 4 > len(data):
        raise WitnessError(f"{source}: ELF header: e_phnum is PN_XNUM, but there is no section 0")
    return int(struct.unpack_from("<I", data, shoff + shape.info)[0])


def _from_segments(data: memoryview, source: str, header: Header, machine: str) -> Image:
    pieces: list[Piece] = []
    absent, partial = 0, 0
    segments = list(_segments(data, source, header))
    kind = f"ELF{header.elf_class} core"
    notes: list[str] = []
    if _of_a_process([segment for _, segment in segments]):
        segments = [(number, item._replace(paddr=item.vaddr)) for number, item in segments]
        kind = f"ELF{header.elf_class} process core"
        notes.append("no segment has a physical address: addresses are virtual, --gpa takes them")
    for number, segment in segments:
        if segment.paddr + max(segment.filesz, segment.memsz) > ADDRESS_END:
            raise WitnessError(
                f"{source}: program header {number}: memory at {segment.paddr:#x} of "
                f"{segment.memsz:#x} bytes ends beyond 2^64"
            )
        held = max(0, min(segment.filesz, len(data) - segment.offset))
        absent += max(0, segment.memsz - segment.filesz)
        partial += segment.filesz - held
        if held:
            part = data[segment.offset : segment.offset + held]
            pieces.append(Piece(segment.paddr, held, part))
    if not pieces:
        raise WitnessError(f"{source}: no PT_LOAD of {header.phnum} program headers has any bytes")
    if partial:
        notes.append(f"truncated: {partial:#x} bytes that its headers promise are not in it")
    if absent:
        notes.append(f"{absent:#x} bytes of memory were not dumped")
    return Image(source, kind, arranged(pieces), machine, tuple(notes), partial > 0)


# gdb's gcore and the kernel's core dumps of processes; a machine's memory begins at 0 only once.
def _of_a_process(segments: list[Segment]) -> bool:
    return not any(item.paddr for item in segments) and any(item.vaddr for item in segments)


def _segments(data: memoryview, source: str, header: Header) -> Iterator[tuple[int, Segment]]:
    shape = SHAPES[header.elf_class]
    row = struct.Struct(shape.segment)
    end = header.phoff + row.size * header.phnum
    if header.phnum > SEGMENTS_MOST:
        raise WitnessError(
            f"{source}: ELF header: {header.phnum} program headers, no core has so many"
        )
    if end > len(data):
        raise WitnessError(
            f"{source}: truncated: the program headers end at {end:#x}, the file at {len(data):#x}"
        )
    for number, fields in enumerate(row.iter_unpack(data[header.phoff : end])):
        kind, *rest = (fields[index] for index in shape.order)
        if kind == PT_LOAD:
            yield number, Segment(*rest)


# The format: Xen's docs/misc/dump-core-format.txt.
def _from_pages(data: memoryview, source: str, machine: str) -> Image:
    core = elf.parse(data, source)
    pages = core.section(".xen_pages")
    if pages is None:
        raise WitnessError(f"{source}: neither program headers nor a section .xen_pages")
    frames = _frames(core, source, len(pages) // PAGE_SIZE)
    pieces = arranged(_runs(frames, pages))
    left_out = len(frames) - sum(piece.size for piece in pieces) // PAGE_SIZE
    notes = () if not left_out else (f"{left_out} of its pages have no frame, or another's",)
    return Image(source, "Xen dump-core", pieces, machine, notes)


def _frames(core: elf.Elf, source: str, count: int) -> list[int]:
    plain, pairs = core.section(".xen_pfn"), core.section(".xen_p2m")
    table, width = (plain, 1) if plain is not None else (pairs, 2)
    if table is None:
        raise WitnessError(f"{source}: .xen_pages, but no .xen_pfn or .xen_p2m")
    words = min(count * width, len(table) // 8)
    frames = list(struct.unpack(f"<{words}Q", table[: words * 8])[::width])
    if len(frames) < count:
        raise WitnessError(
            f"{source}: .xen_pages holds {count} pages, but only {len(frames)} have a frame"
        )
    return frames


# Neighbouring pages with neighbouring frames are one piece.
def _runs(frames: list[int], pages: memoryview) -> Iterator[Piece]:
    first = 0
    for index in range(1, len(frames) + 1):
        if index < len(frames) and frames[index] == frames[index - 1] + 1:
            continue
        address, size = frames[first] * PAGE_SIZE, (index - first) * PAGE_SIZE
        # A page that has no frame says 2^64 - 1, which is beyond all addresses.
        if address + size <= ADDRESS_END:
            yield Piece(address, size, pages[first * PAGE_SIZE : index * PAGE_SIZE])
        first = index
