"""Kernel images as they are shipped, opened to the BTF inside them.

A raw BTF blob, a vmlinux or module (ELF, plain or compressed), an x86 bzImage, an arm64 or riscv
Image, an EFI zboot image.

Law of this file: what a file is, is told from its bytes and never from its name. Files are mapped
into memory, not read; what is inflated has a limit.
"""

import mmap
import os
import stat
import struct
from collections.abc import Iterator
from typing import NamedTuple

from runstate_abi.layouts.abi import ABI, Abi
from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.witnesses import btf_header, elf
from runstate_abi.layouts.witnesses.btf import Btf, is_split
from runstate_abi.layouts.witnesses.compressed import compression, inflate

# A file that cannot be mapped (sysfs, on older kernels) is read, but no more than this.
READ_MAX = 64 << 20
# BPF programs that are built into a kernel bring BTF of some KiB; the kernel's own has megabytes.
IMAGE_BTF_MIN = 256 << 10
# How much in an image may look like a header of BTF, and how many of those are read to the end.
IMAGE_HEADERS, IMAGE_TRIES = 4096, 8

# Documentation/arch/x86/boot.rst: where a bzImage says where its payload is. Protocol 2.08.
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


class Image(NamedTuple):
    """A raw image that has no section table: where its magic number is, and its ABI."""

    name: str
    offset: int
    magic: bytes
    abi: Abi


# Documentation/arch/arm64/booting.rst, Documentation/arch/riscv/boot-image-header.rst.
# fmt: off
IMAGES = (
    Image("arm64 Image", 0x38, b"ARM\x64",   ABI["arm64"]),
    Image("riscv Image", 0x38, b"RSC\x05",   ABI["riscv64"]),
)
# fmt: on


class KernelImage(NamedTuple):
    """One file: ``btf`` is its BTF, never empty; ``abi`` is None where nothing says which.

    ``foreign`` says what machine a file is for that has no ABI here, "" if that is not known.
    ``distilled_base`` is the .BTF.base section that modules built out of tree bring along.
    """

    path: str
    kind: str
    abi: Abi | None
    build_id: str | None
    btf: bytes | memoryview
    distilled_base: bytes | memoryview = b""
    is_module: bool = False
    foreign: str = ""

    @property
    def split(self) -> bool:
        """Whether its BTF builds on another's."""
        return is_split(self.btf)


class _Contents(NamedTuple):
    data: memoryview
    compressed: str  # "xz", or "" if it was not


def open_image(path: str) -> KernelImage:
    """Open a kernel, a module or a BTF blob; WitnessError says in one line why it cannot be."""
    data = memoryview(mapped(path))
    how = compression(data)
    if how is None:
        return _opened(path, _Contents(data, ""))
    return _opened(path, _Contents(memoryview(inflate(data, how, path)), how.name))


def read_btf(image: KernelImage, base: Btf | None = None) -> Btf:
    """Return the reader of an image's BTF; ``base`` is the kernel's, for a module that needs it.

    A module that brings a distilled base is read with that, since its types are numbered by it.
    """
    if image.distilled_base:
        source = f"{image.path} (.BTF.base)"
        base = Btf(image.distilled_base, source=source, distilled=True)
    return Btf(image.btf, base if image.split else None, source=image.path)


def sha256(image: KernelImage) -> str:
    """Return the SHA-256 of the file as it is on disk, in hex (WitnessError)."""
    import hashlib

    return hashlib.sha256(mapped(image.path)).hexdigest()


def identity(image: KernelImage) -> str:
    """Return ``build-id ...`` or, where there is none, ``sha256 ...``."""
    return f"build-id {image.build_id}" if image.build_id else f"sha256 {sha256(image)}"


def mapped(path: str) -> mmap.mmap | bytes:
    """Return the bytes of a regular file (WitnessError). A pipe or a device could be endless."""
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise WitnessError(f"{path}: a directory")
        if not stat.S_ISREG(status.st_mode):
            raise WitnessError(f"{path}: not a regular file")
        with open(path, "rb") as file:
            if status.st_size == 0:
                raise WitnessError(f"{path}: an empty file")
            try:
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except (OSError, ValueError):
                data = file.read(READ_MAX + 1)
    except OSError as error:
        raise WitnessError(f"{path}: {error.strerror or error}") from None
    if not 0 < len(data) <= READ_MAX:
        raise WitnessError(f"{path}: cannot be mapped, and has more than {READ_MAX} bytes or none")
    return data


def _opened(path: str, contents: _Contents) -> KernelImage:
    data = contents.data
    if data[:4] == elf.MAGIC:
        return _from_elf(path, contents)
    if bytes(data[:2]) in btf_header.ORDERS:
        order = btf_header.header(data, path).order
        kind = _kind("raw BTF", "" if order == "<" else "big-endian", contents.compressed)
        return KernelImage(path, kind, None, None, data, foreign="" if order == "<" else kind)
    if _has(data, *BOOT_MAGIC):
        return _from_bzimage(path, data)
    if _has(data, 0, b"MZ") and _has(data, *ZBOOT_MAGIC):
        return _from_zboot(path, data)
    for image in IMAGES:
        if _has(data, image.offset, image.magic):
            btf = _scanned(path, data, image.name)
            return KernelImage(path, _kind(image.name, contents.compressed), image.abi, None, btf)
    raise WitnessError(
        f"{path}: neither ELF, nor BTF, nor a kernel image: it begins with "
        f"{ascii(bytes(data[:4]))[1:]}"
    )


def _has(data: memoryview, offset: int, magic: bytes) -> bool:
    return data[offset : offset + len(magic)] == magic


def _kind(name: str, *details: str) -> str:
    said = ", ".join(detail for detail in details if detail)
    return f"{name} ({said})" if said else name


def _from_elf(path: str, contents: _Contents, bzimage: str = "") -> KernelImage:
    file = elf.parse(contents.data, path)
    is_module = file.type == elf.ET_REL and file.has(".modinfo")
    name = "kernel module" if is_module else "vmlinux" if file.has("__ksymtab") else "ELF file"
    kind = bzimage or _kind(name, file.description, contents.compressed)
    btf = file.section(".BTF")
    if not btf:
        raise WitnessError(f"{path}: no .BTF section (no debug info): {kind}")
    base = file.section(".BTF.base") or b""
    if contents.compressed:
        # So that 58 MB of inflated kernel are not kept for the sake of 5.
        btf, base = memoryview(bytes(btf)), bytes(base)
    foreign = "" if file.abi else file.description
    return KernelImage(path, kind, file.abi, elf.build_id(file), btf, base, is_module, foreign)


def _from_bzimage(path: str, data: memoryview) -> KernelImage:
    if len(data) < BOOT_PAYLOAD + 8:
        raise WitnessError(f"{path}: truncated: a bzImage of {len(data)} bytes")
    (version,) = struct.unpack_from("<H", data, BOOT_VERSION)
    if version < BOOT_VERSION_MIN:
        raise WitnessError(f"{path}: a bzImage of boot protocol {version:#x} tells no payload")
    offset, size = struct.unpack_from("<II", data, BOOT_PAYLOAD)
    start = ((data[BOOT_SETUP_SECTORS] or 4) + 1) * BOOT_SECTOR + offset
    payload, name = _payload(path, data, start, size, "bzImage")
    if payload[:4] != elf.MAGIC:
        raise WitnessError(f"{path}: the payload of this bzImage is no ELF file")
    return _from_elf(path, _Contents(payload, name), _kind("bzImage", name))


def _from_zboot(path: str, data: memoryview) -> KernelImage:
    if len(data) < ZBOOT_PAYLOAD + 8:
        raise WitnessError(f"{path}: truncated: an EFI zboot image of {len(data)} bytes")
    start, size = struct.unpack_from("<II", data, ZBOOT_PAYLOAD)
    payload, name = _payload(path, data, start, size, "EFI zboot image")
    for image in IMAGES:
        if _has(payload, image.offset, image.magic):
            btf = _scanned(path, payload, image.name)
            return KernelImage(path, _kind(image.name, "EFI zboot", name), image.abi, None, btf)
    raise WitnessError(f"{path}: the payload of this EFI zboot image is no kernel that is known")


# What an image carries: (inflated, how it was compressed).
def _payload(
    path: str, data: memoryview, start: int, size: int, name: str
) -> tuple[memoryview, str]:
    if not 0 < size <= len(data) - start:
        raise WitnessError(
            f"{path}: truncated: the payload of this {name} ends at {start + size:#x}, the file "
            f"at {len(data):#x}"
        )
    payload = data[start : start + size]
    how = compression(payload)
    if how is None:
        return payload, ""
    return memoryview(inflate(payload, how, path)), how.name


# A raw image has no table of sections: its BTF is found by its header, and taken for the kernel's
# if it can be read to its end. Of several the largest is the kernel's own.
def _scanned(path: str, data: memoryview, name: str) -> bytes:
    spans = sorted(_headers(data), key=lambda span: span[1] - span[0], reverse=True)
    for start, end in spans[:IMAGE_TRIES]:
        blob = bytes(data[start:end])
        try:
            Btf(blob).end_id()
        except WitnessError:
            continue
        return blob
    raise WitnessError(f"{path}: no BTF in this {name} (no debug info)")


# Where something begins and ends that has the header of a large BTF blob.
def _headers(data: memoryview) -> Iterator[tuple[int, int]]:
    # A view has no find(): what it is a view of has.
    whole = data.obj if isinstance(data.obj, mmap.mmap | bytearray) else bytes(data)
    if len(whole) != len(data):
        whole = bytes(data)
    for magic in btf_header.ORDERS:
        wanted = magic + bytes((btf_header.VERSION, 0))
        start = -1
        for _ in range(IMAGE_HEADERS):
            start = whole.find(wanted, start + 1)
            if start < 0:
                break
            try:
                end = max(span[1] for span in btf_header.header(data[start:], "")[1:])
            except WitnessError:
                continue
            if end >= IMAGE_BTF_MIN:
                yield start, start + end
