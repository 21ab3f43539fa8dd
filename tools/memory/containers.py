"""Memory dumps in formats of their own: compressed, LiME, and those that are not read."""
# ruff: noqa: E501

import mmap
import struct
from collections.abc import Iterator
from typing import NamedTuple

from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.witnesses import compressed
from runstate_abi.layouts.witnesses.compressed import Compression, compression
from runstate_abi.tools.memory.image import ADDRESS_END, LIME_KIND, Image, Piece, arranged

ELF = "have the memory written as an ELF core (virsh dump --memory-only, dump-guest-memory)"
CONVERT = "convert it to an ELF core, or to raw memory, first"
AS_IT_IS = "(--raw: take its bytes as they are)"


class Container(NamedTuple):
    """A format that is refused and not read as raw bytes: an offset in it is not an address."""

    offset: int  # of ``magic`` in the file
    magic: bytes
    name: str
    advice: str


# Sources: QEMU migration/qemu-file-types.h and block/*.c; libvirt src/qemu/qemu_saveimage.h; crash
# vmware_vmss.h; AVML src/image.rs; Xen docs/specs/libxc-migration-stream.pandoc and
# tools/xl/xl_vmcontrol.c; makedumpfile diskdump_mod.h; Windows' wdbgexts.h and minidumpapiset.h.
# fmt: off
CONTAINERS = (
    Container(0, b"KDUMP   ",                    "a compressed kernel dump",          "hexdump --drgn reads it (extra `drgn`)"),
    Container(0, b"makedumpfile",                "a compressed kernel dump",          "hexdump --drgn reads it (extra `drgn`)"),
    Container(0, b"DISKDUMP",                    "a diskdump",                        CONVERT),
    Container(0, b"QEVM",                        "a QEMU migration stream",           ELF),
    Container(0, b"LibvirtQemudSave",            "a libvirt save image",              ELF),
    Container(0, b"LibvirtQemudPart",            "a libvirt save image, incomplete",  ELF),
    Container(0, b"QFI\xfb",                     "a qcow2 disk image",                ELF),
    Container(0, b"KDMV",                        "a VMDK disk image",                 CONVERT),
    Container(0, b"vhdxfile",                    "a VHDX disk image",                 CONVERT),
    Container(0, b"conectix",                    "a VHD disk image",                  CONVERT),
    Container(0x40, b"\x7f\x10\xda\xbe",         "a VDI disk image",                  CONVERT),
    Container(0, b"\xd0\xbe\xd0\xbe",            "a VMware suspended state (VMSS)",   CONVERT),
    Container(0, b"\xd1\xba\xd1\xbe",            "a VMware suspended state (VMSS)",   CONVERT),
    Container(0, b"\xd2\xbe\xd2\xbe",            "a VMware suspended state (VMSS)",   CONVERT),
    Container(0, b"\xd0\xbe\xd2\xbe",            "a VMware suspended state (VMSS)",   CONVERT),
    Container(0, b"\xd3\xbe\xd3\xbe",            "a VMware suspended state (VMSS)",   CONVERT),
    Container(0, b"\xd1\xba\xd1\xba",            "a VMware suspended state (VMSS)",   CONVERT),
    Container(0, b"AVML",                        "an AVML dump, compressed",          "avml-convert makes LiME of it"),
    Container(0, b"PAGEDU64",                    "a Windows crash dump (PAGEDU64)",   CONVERT),
    Container(0, b"PAGEDUMP",                    "a Windows crash dump (PAGEDUMP)",   CONVERT),
    Container(0, b"MDMP",                        "a Windows minidump",                CONVERT),
    Container(0, b"hibr",                        "a Windows hibernation file",        CONVERT),
    Container(0, b"HIBR",                        "a Windows hibernation file",        CONVERT),
    Container(0, b"Xen saved domain",            "a saved domain of Xen's",           "xl dump-core writes an ELF core"),
    Container(0, b"\xff" * 8 + b"XENF",          "a migration stream of Xen's",       "xl dump-core writes an ELF core"),
    Container(0, b"LibxlFmt",                    "a migration stream of libxl's",     "xl dump-core writes an ELF core"),
    Container(0, b"\x7fVirtualBox SavedState",   "a VirtualBox saved state",          "VBoxManage debugvm dumpvmcore writes an ELF core"),
    Container(0, b"\xcf\xfa\xed\xfe",            "a Mach-O file",                     CONVERT),
    Container(0, b"EVF\x09\x0d\x0a\xff\x00",     "an Expert Witness image",           CONVERT),
    Container(0, b"PK\x03\x04",                  "a zip archive",                     "unpack it first"),
    Container(0, b"7z\xbc\xaf\x27\x1c",          "a 7z archive",                      "unpack it first"),
    Container(0, b"\xff\x06\x00\x00sNaPpY",      "compressed with snappy",            "unpack it first"),
    Container(0x101, b"ustar",                   "a tar archive",                     "unpack it first"),
)
# fmt: on

GZIP = b"\x1f\x8b\x08"  # deflate is the only method; two bytes alone may begin raw memory

LIME_MAGIC = b"EMiL"
LIME_VERSION = 1
# LiME doc/README.md, "Spec": magic, version, first and last address, eight reserved bytes.
LIME = struct.Struct("<4sIQQ8x")
RANGES_MOST = 1 << 16


def compressed_by(data: memoryview) -> Compression | None:
    """Return how the data are compressed, None if they are not."""
    known = compression(data)
    return None if known and known.name == "gzip" and data[: len(GZIP)] != GZIP else known


def inflated(data: memoryview, known: Compression, source: str) -> memoryview:
    """Return the inflated data, mapped from an unnamed temporary file (WitnessError).

    A dump is read at any place, but a compressed one only from its beginning. Runs of zeros become
    holes in the file.
    """
    if known.opened is None:
        why = f"compressed with {known.name}, which is not read here: unpack it first"
        raise WitnessError(f"{source}: {why} {AS_IT_IS}")
    import tempfile

    size = 0
    with tempfile.TemporaryFile() as file:
        for piece in compressed.unpacked(compressed.cut(data), known, source):
            size += len(piece)
            if size > compressed.STREAM_MAX:
                most = f"{compressed.STREAM_MAX >> 30} GiB"
                raise WitnessError(f"{source}: its {known.name} data inflates to over {most}")
            if piece.count(0) == len(piece):
                file.seek(len(piece), 1)
            else:
                file.write(piece)
        if not size:
            raise WitnessError(f"{source}: {known.name} data inflates to nothing")
        file.truncate(size)
        file.flush()
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def refuse(data: memoryview, source: str) -> None:
    """Raise WitnessError if the data are in one of CONTAINERS."""
    for known in CONTAINERS:
        if data[known.offset : known.offset + len(known.magic)] == known.magic:
            why = f"this is {known.name}, not raw memory: {known.advice}"
            raise WitnessError(f"{source}: {why} {AS_IT_IS}")


def lime(data: memoryview, source: str) -> Image:
    """Return the physical memory of a LiME dump: for each range a header, then its bytes."""
    pieces = tuple(_ranges(data, source))
    lost = sum(piece.size - len(piece.data) for piece in pieces)
    notes = (f"truncated: {lost:#x} bytes of its last range are not in it",) if lost else ()
    kept = arranged(piece._replace(size=len(piece.data)) for piece in pieces if piece.data)
    if not kept:
        raise WitnessError(f"{source}: LiME: truncated: no range has any bytes")
    return Image(source, LIME_KIND, kept, None, notes, lost > 0)


# The size of a piece is what its header says, even if the file ends earlier.
def _ranges(data: memoryview, source: str) -> Iterator[Piece]:
    place = 0
    for _ in range(RANGES_MOST):
        if place == len(data):
            return
        if len(data) - place < LIME.size:
            raise WitnessError(f"{source}: LiME: truncated: it ends inside a header at {place:#x}")
        magic, version, first, last = LIME.unpack_from(data, place)
        if magic != LIME_MAGIC or version != LIME_VERSION or not first <= last < ADDRESS_END:
            raise WitnessError(f"{source}: LiME: no header of version 1 at {place:#x}")
        size = last - first + 1
        place += LIME.size
        yield Piece(first, size, data[place : place + size])
        place = min(place + size, len(data))
    raise WitnessError(f"{source}: LiME: more than {RANGES_MOST} ranges")
