"""Kernel images as they are shipped, opened to get the BTF in them.

They are raw BTF, a vmlinux or module (ELF, plain or compressed), a bzImage, an arm64 or riscv
Image, an armhf zImage, an EFI zboot image, a unified kernel image. A file's kind is told by its
bytes alone.
"""

import os
import re
import struct
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from runstate_abi.layouts.abi import ABI, Abi
from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.witnesses import btf_header, elf, pe, streamed
from runstate_abi.layouts.witnesses.btf_blob import Btf
from runstate_abi.layouts.witnesses.compressed import (
    COMPRESSIONS,
    Compression,
    NotInstalled,
    compression,
    contents,
    cut,
    inflate,
    starts,
    unpacked,
    viewed,
)

DWARF_SECTIONS = (".debug_info", ".zdebug_info")

# Documentation/arch/x86/boot.rst: the fields that locate the payload of a bzImage. Protocol 2.08.
# fmt: off
BOOT_SETUP_SECTORS = 0x1f1
BOOT_MAGIC         = 0x202, b"HdrS"
BOOT_VERSION       = 0x206
BOOT_PAYLOAD       = 0x248   # payload_offset, payload_length
BOOT_VERSION_MIN   = 0x208
BOOT_SECTOR        = 512
# include/linux/pe.h and drivers/firmware/efi/libstub/zboot-header.S: offset and size from 8 on.
ZBOOT_MAGIC        = 0x04, b"zimg"
ZBOOT_PAYLOAD      = 0x08
# fmt: on


_SOURCES = dict.fromkeys((".h", ".hpp", ".c"), " (a header? --header)") | {".rs": " (--rust?)"}


# Images without a section table: name, offset and bytes of the magic number, ABI. From
# Documentation/arch/arm64/booting.rst, Documentation/arch/riscv/boot-image-header.rst.
IMAGES = (
    ("arm64 Image", 0x38, b"ARM\x64", ABI["arm64"]),
    ("riscv Image", 0x38, b"RSC\x05", ABI["riscv64"]),
)


# Images that say nothing of where their payload is: arch/arm/boot/compressed/head.S, whose payload
# is looked for, and arch/s390/boot/head.S.
ZIMAGE = "armhf zImage", 0x24, b"\x18\x28\x6f\x01"
UNREAD = (("an s390 kernel image", 0x10008, b"S390EP"),)
PIGGY_MIN, PIGGY_MAX = 1 << 20, 128 << 20  # bytes of a kernel; Debian's has 23 MB
PIGGY_TRIES = 64  # what begins like a payload


class KernelImage(NamedTuple):
    path: str
    kind: str
    abi: Abi | None  # None if nothing says which
    build_id: str | None
    btf: bytes | memoryview  # never empty
    distilled_base: bytes | memoryview = b""  # the .BTF.base section in modules built out of tree
    is_module: bool = False
    foreign: str = ""  # the machine, if it has no ABI here, "" if that is not known
    has_dwarf: bool = False

    @property
    def split(self) -> bool:
        return btf_header.is_split(self.btf)

    @property
    def needs_base(self) -> bool:
        """Does its BTF build on another's that is not in the file?"""
        return self.split and not self.distilled_base


def open_image(path: str) -> KernelImage:
    """Open a kernel, a module or a BTF blob (WitnessError: it cannot be opened)."""
    image = _opened(path, *contents(path))
    start, end = btf_header.header(image.btf, path).types
    if start == end:
        raise WitnessError(f"{path}: empty BTF: it has no types: {image.kind}")
    return image


def read_btf(image: KernelImage, base: Btf | None = None) -> Btf:
    """Return the reader of an image's BTF; ``base`` is the kernel's, for a module that needs it.

    A module with a distilled base is read with that, because its types are numbered by it. The
    types that it stands for must be in ``base`` (WitnessError), or the module would not load.
    """
    if not image.distilled_base:
        return Btf(image.btf, base if image.split else None, source=image.path)
    distilled = Btf(image.distilled_base, source=image.path, distilled=True)
    lacking = distilled.lacking(base) if base else []
    reading = Btf(image.btf, distilled, source=image.path)
    if lacking and base:
        names = ", ".join(lacking[:3]) + ", ..." * (len(lacking) > 3)
        reading.note = f"its .BTF.base has types that {base.source} has not: {names}"
    return reading


class Kernel(NamedTuple):
    """A kernel out of its image: an ELF file, or, with an ``abi``, the bytes from _text on."""

    data: memoryview
    abi: Abi | None
    kind: str  # of the image; "" if an ELF file is all there is
    packed: str = ""  # how it was compressed
    still: Compression | None = None  # by which ``data`` are compressed still


def kernel(path: str) -> Kernel:
    """Return the kernel in an image, or an ELF file as it is (WitnessError: it is neither)."""
    data, packed = contents(path)
    found = _kernel(path, data, packed)
    if found is None:
        raise _unknown(path, data)
    return _whole(path, found)


# A kernel that is not compressed any more.
def _whole(path: str, kernel: Kernel) -> Kernel:
    data = inflate(kernel.data, kernel.still, path) if kernel.still else kernel.data
    if kernel.abi is None and data[:4] != elf.MAGIC:
        raise WitnessError(f"{path}: the payload of this bzImage is no ELF file")
    return kernel._replace(data=data, still=None)


# None if it is neither an ELF file nor an image that has a kernel.
def _kernel(path: str, data: memoryview, packed: str) -> Kernel | None:
    if data[:4] == elf.MAGIC:
        return Kernel(data, None, "", packed)
    if _has(data, *BOOT_MAGIC):
        return _of_bzimage(path, data)
    details = [packed]
    if _has(data, 0, b"MZ") and _has(data, *ZBOOT_MAGIC):
        data, packed = _of_zboot(path, data)
        details = ["EFI zboot", packed]
    for name, offset, magic, abi in IMAGES:
        if _has(data, offset, magic):
            return Kernel(data, abi, _kind(name, *details), packed)
    if "EFI zboot" in details:
        raise WitnessError(
            f"{path}: the payload of this EFI zboot image is no kernel that is known"
        )
    if _has(data, *ZIMAGE[1:]):
        return _of_zimage(path, data)
    for name, offset, magic in UNREAD:
        if _has(data, offset, magic):
            raise WitnessError(f"{path}: {name}, which is not read: give its vmlinux, or its BTF")
    inside = pe.as_elf(data, path).section(".linux") if pe.is_pe(data) else None
    if inside is None:
        return None
    # A unified kernel image (systemd-stub) has the kernel in a section.
    found = _kernel(path, inside, packed)
    if found is None:
        raise _unknown(path, inside)
    return found._replace(kind=f"unified kernel image, {found.kind or 'vmlinux'}")


def _unknown(path: str, data: memoryview) -> WitnessError:
    begin = ascii(bytes(data[:4]))[1:] + _SOURCES.get(os.path.splitext(path)[1], "")
    return WitnessError(f"{path}: neither ELF, nor BTF, nor a kernel image: it begins with {begin}")


def _opened(path: str, data: memoryview, packed: str) -> KernelImage:
    if bytes(data[:2]) in btf_header.ORDERS:
        order = btf_header.header(data, path).order
        kind = _kind("raw BTF", "" if order == "<" else "big-endian", packed)
        return KernelImage(path, kind, None, None, data, foreign="" if order == "<" else kind)
    found = _kernel(path, data, packed)
    if found is None and pe.is_pe(data):  # Xen's .efi
        return _of_elf(path, pe.as_elf(data, path), _kind("PE file", packed))
    if found is None:
        raise _unknown(path, data)
    if found.abi is None:
        return _from_elf(path, found)
    btf = _scanned(path, found.data, found.kind.partition(" (")[0])
    return KernelImage(path, found.kind, found.abi, None, btf)


def _has(data: memoryview, offset: int, magic: bytes) -> bool:
    return data[offset : offset + len(magic)] == magic


def _kind(name: str, *details: str) -> str:
    said = ", ".join(detail for detail in details if detail)
    return f"{name} ({said})" if said else name


def _from_elf(path: str, kernel: Kernel) -> KernelImage:
    if kernel.still:
        pieces = unpacked(cut(kernel.data), kernel.still, path, several=False)
        found = streamed.kernel(pieces, path)
        if found is not None:
            return KernelImage(path, kernel.kind, *found)
    kernel = _whole(path, kernel)
    file = elf.parse(kernel.data, path)
    name = "vmlinux" if file.has("__ksymtab") else "ELF file"
    name = "kernel module" if file.is_module else name
    image = _of_elf(path, file, kernel.kind or _kind(name, file.description, kernel.packed))
    # So that 58 MB of inflated kernel are not kept for the sake of 5.
    btf, base = memoryview(bytes(image.btf)), bytes(image.distilled_base)
    return image._replace(btf=btf, distilled_base=base) if kernel.packed else image


def _of_elf(path: str, file: elf.Elf, kind: str) -> KernelImage:
    btf = file.section(".BTF")
    if not btf:
        raise WitnessError(f"{path}: no .BTF section (no debug info): {kind}")
    base = file.section(".BTF.base") or b""
    return KernelImage(
        path,
        kind,
        file.abi,
        elf.build_id(file),
        btf,
        base,
        file.is_module,
        foreign="" if file.abi else file.description,
        has_dwarf=any(map(file.has, DWARF_SECTIONS)),
    )


def _of_bzimage(path: str, data: memoryview) -> Kernel:
    if len(data) < BOOT_PAYLOAD + 8:
        raise WitnessError(f"{path}: truncated: a bzImage of {len(data)} bytes")
    (version,) = struct.unpack_from("<H", data, BOOT_VERSION)
    if version < BOOT_VERSION_MIN:
        raise WitnessError(f"{path}: a bzImage of boot protocol {version:#x} tells no payload")
    offset, size = struct.unpack_from("<II", data, BOOT_PAYLOAD)
    start = ((data[BOOT_SETUP_SECTORS] or 4) + 1) * BOOT_SECTOR + offset
    payload = _payload(path, data, start, size, "bzImage")
    how = compression(payload)
    packed = how.name if how else ""
    return Kernel(payload, None, _kind("bzImage", packed), packed, how)


def _of_zboot(path: str, data: memoryview) -> tuple[memoryview, str]:
    if len(data) < ZBOOT_PAYLOAD + 8:
        raise WitnessError(f"{path}: truncated: an EFI zboot image of {len(data)} bytes")
    start, size = struct.unpack_from("<II", data, ZBOOT_PAYLOAD)
    payload = _payload(path, data, start, size, "EFI zboot image")
    how = compression(payload)
    return (inflate(payload, how, path), how.name) if how else (payload, "")


# Its payload is where something begins that can be inflated to a kernel.
def _of_zimage(path: str, data: memoryview) -> Kernel:
    lacking = WitnessError(f"{path}: no payload in this {ZIMAGE[0]} that can be inflated")
    magics = b"|".join(re.escape(one.magic) for one in COMPRESSIONS)
    for at in islice(starts(magics, data), PIGGY_TRIES):
        how = compression(data[at:])
        assert how is not None
        try:
            inflated = inflate(data[at:], how, path, PIGGY_MAX)
        except NotInstalled as error:
            lacking = error
        except WitnessError:
            continue
        else:
            if len(inflated) >= PIGGY_MIN:
                return Kernel(inflated, ABI["arm32"], _kind(ZIMAGE[0], how.name), how.name)
    raise lacking


def _payload(path: str, data: memoryview, start: int, size: int, name: str) -> memoryview:
    if not 0 < size <= len(data) - start:
        where = f"the payload of this {name} ends at {start + size:#x}, the file at {len(data):#x}"
        raise WitnessError(f"{path}: truncated: {where}")
    return data[start : start + size]


# A raw image has no section table. Its BTF is found by the header, and accepted if it can be read
# to its end. The largest one is the kernel's own.
def _scanned(path: str, data: memoryview, name: str) -> bytes:
    spans = sorted(_headers(data), key=lambda span: span[1] - span[0], reverse=True)
    for start, end in spans[: streamed.TRIES_MOST]:
        blob = bytes(data[start:end])
        try:
            Btf(blob).end_id()
        except WitnessError:
            continue
        return blob
    raise WitnessError(f"{path}: no BTF in this {name} (no debug info)")


# The begin and end of everything that has the header of a large BTF blob.
def _headers(data: memoryview) -> Iterator[tuple[int, int]]:
    for start in islice(streamed.begins(viewed(data)), streamed.HEADERS_MOST):
        try:
            end = max(span[1] for span in btf_header.header(data[start:], "")[1:])
        except WitnessError:
            continue
        if end >= streamed.BTF_MIN:
            yield start, start + end
