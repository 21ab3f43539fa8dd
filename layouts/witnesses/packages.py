"""Kernels in Debian packages and tarballs, streamed: only the wanted files are written to disk.

Of a kernel package's 100 MB, the kernel and kvm.ko are 12. The archive (ar, compression, tar) is
read to its end, because there may be a second kernel. Every length has a limit, and a name from an
archive never becomes a path.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, NamedTuple

from runstate_abi.layouts.findings import one_line, spaced
from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.witnesses import btf_header, elf
from runstate_abi.layouts.witnesses.compressed import PIECE, Stream, compression, inflated

AR_MAGIC, AR_HEADER = b"!<arch>\n", 60
BLOCK, USTAR = 512, b"ustar"
START = BLOCK + 8  # as much as begins_like_a_kernel() looks at
# Kernels with all debug info: Debian's vmlinux has 360 MB, in a package of 5 GB.
FILE_MAX = 2 << 30
HEADER_MAX = 64 << 10  # a long name, or a set of pax records

# Base names of what can be asked: kernels, their debug builds, KVM's modules, Xen with symbols.
WANTED = r"(vmlinu[xz].*|Image(\..*)?|kvm(-intel|-amd)?\.ko(\.(xz|zst|gz|debug))?|xen-syms.*)"
NAMED_SO = (".deb", ".udeb", ".tar", ".tgz", ".txz", ".tzst", ".tbz", ".tbz2")  # and .tar.*
# Other files of a build, above all the decompressor's own ELF file.
UNWANTED = (
    r"(.*/)?(boot/compressed/vmlinux|[^/]*\.(o|a|h|lds|bin|syms|map|config|efi|signed|sig|p7[bcs])"
    r"(\.(gz|xz|zst))?)"
)


class Extracted(NamedTuple):
    """A file out of an archive: its name there, and where its bytes are now."""

    member: str
    path: str


def is_archive(path: str) -> bool:
    """Recognise a package or tarball by its first bytes; if compressed or damaged, by its name."""
    if not os.path.isfile(path):
        return False
    start = first_bytes(path)
    if start[: len(AR_MAGIC)] == AR_MAGIC or start[257:262] == USTAR:
        return True
    return path.endswith(NAMED_SO) or os.path.splitext(path)[0].endswith(".tar")


def first_bytes(path: str) -> bytes:
    """Return the first bytes of a file; none if it cannot be read."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as file:
            return file.read(START) or b""
    except OSError:
        return b""


def begins_like_a_kernel(start: bytes) -> bool:
    """Recognise a kernel image or raw BTF by its first START bytes; ELF could be any program."""
    if start[: len(elf.MAGIC)] == elf.MAGIC or compression(start):
        return False
    known = ((0x202, b"HdrS"), (0x38, b"ARM\x64"), (0x04, b"zimg"))
    if any(start[at : at + 4] == magic for at, magic in known):
        return True
    return start[:2] in btf_header.ORDERS and start[2:3] == bytes([btf_header.VERSION])


def wanted(member: str) -> bool:
    """Can a file in an archive or a folder be asked, by its name?"""
    return bool(re.fullmatch(WANTED, os.path.basename(member))) and not is_unwanted(member)


def is_unwanted(member: str) -> bool:
    """Is it another file of a build, by its name?"""
    return bool(re.fullmatch(UNWANTED, member))


def extract(path: str, folder: str) -> list[Extracted]:
    """Write the wanted files of a package or tarball into ``folder`` (WitnessError)."""
    found: list[Extracted] = []
    try:
        with open(path, "rb") as file:
            start = file.read(len(AR_MAGIC))
            file.seek(0)
            length = _data_of_package(file, path) if start == AR_MAGIC else None
            tar = Stream(inflated(_pieces(file, length), path), path)
            for member, size, stream in _members(tar, path):
                start = stream.exactly(min(size, START)) if size <= FILE_MAX else b""
                named = not is_unwanted(member) and begins_like_a_kernel(start)
                if named or wanted(member):
                    found.append(_kept(member, size, start, stream, folder, len(found)))
    except WitnessError:
        raise
    except (OSError, EOFError, ValueError) as error:
        raise WitnessError(f"{path}: {spaced(error) or type(error).__name__}") from None
    except Exception as error:
        # Each decompressor has an exception of its own, and one is not installed everywhere.
        raise WitnessError(f"{path}: corrupt: {spaced(error)}") from None
    return found


def _kept(
    member: str, size: int, start: bytes, stream: Stream, folder: str, number: int
) -> Extracted:
    if size > FILE_MAX:
        raise WitnessError(f"{stream.path}: {member} has {size} bytes, over {FILE_MAX}")
    # The name is its number in the archive: a name from there could be any path.
    target = os.path.join(folder, str(number))
    with open(target, "wb") as out:
        out.write(start)
        size -= len(start)
        while size:
            piece = stream.exactly(min(size, PIECE))
            out.write(piece)
            size -= len(piece)
    return Extracted(one_line(member), target)


# A .deb is an ar archive: go to its data.tar and return its size.
def _data_of_package(file: IO[bytes], path: str) -> int:
    file.seek(len(AR_MAGIC))
    for number in range(16):
        header = file.read(AR_HEADER)
        if len(header) < AR_HEADER or header[58:] != b"`\n":
            raise WitnessError(f"{path}: not a Debian package: no data.tar in this ar archive")
        name = header[:16].decode("ascii", "replace").strip().rstrip("/")
        if number == 0 and name != "debian-binary":
            raise WitnessError(f"{path}: an ar archive, but not a Debian package")
        digits = header[48:58].strip()
        if not digits.isdigit():
            raise WitnessError(f"{path}: a member of {ascii(digits)[1:]} bytes")
        size = int(digits)
        if name.startswith("data.tar"):
            return size
        file.seek(size + size % 2, os.SEEK_CUR)
    raise WitnessError(f"{path}: not a Debian package: no data.tar among its first members")


def _pieces(file: IO[bytes], size: int | None) -> Iterator[bytes]:
    while size is None or size > 0:
        piece = file.read(PIECE if size is None else min(PIECE, size))
        if not piece:
            return
        size = None if size is None else size - len(piece)
        yield piece


# POSIX.1-1988 ustar, GNU's and pax' long names. tarfile only reads single headers here: it would
# read a long name of any length into memory, and a hostile one has gigabytes.
def _members(stream: Stream, path: str) -> Iterator[tuple[str, int, Stream]]:
    import tarfile

    long_name, long_size = "", None
    while any(header := stream.exactly(BLOCK)):
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "replace")
        except tarfile.HeaderError:
            info = None
        if info is None or info.size < 0 or header[257:262] != USTAR:
            raise WitnessError(f"{path}: not a tar archive at byte {stream.total:#x}")
        if info.type in (b"L", b"x", b"K", b"g"):
            if info.size > HEADER_MAX:
                raise WitnessError(f"{path}: a name of {info.size} bytes")
            text = stream.exactly(info.size)
            stream.skip(-info.size % BLOCK)
            if info.type == b"L":
                long_name = text.rstrip(b"\0").decode(errors="replace")
            elif info.type == b"x":
                long_name, long_size = _pax(text, long_name)
            continue
        if info.type in (b"0", b"\0", b"7"):
            size = info.size if long_size is None else long_size
            before = stream.passed
            yield long_name or info.name, size, stream
            stream.skip(size - (stream.passed - before) + -size % BLOCK)
        long_name, long_size = "", None


# Repeated ``length key=value\n``; the length includes its own digits.
def _pax(text: bytes, name: str) -> tuple[str, int | None]:
    size = None
    while match := re.match(rb"(\d{1,9}) ", text):
        length = int(match[1])
        record, text = text[len(match[0]) : length].rstrip(b"\n"), text[max(length, 1) :]
        key, _, value = record.partition(b"=")
        if key == b"path":
            name = value.decode(errors="replace")
        elif key == b"size" and value.isdigit():
            size = int(value)
    return name, size


@contextmanager
def unpacked(binary: str, btf: str) -> Iterator[tuple[str, str]]:
    """Give the paths of code and debug info, extracted if they are packages.

    One package may hold both. WitnessError if a package has no such file.
    """
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="runstate-") as folder:
        code, types = binary, btf
        if is_archive(binary):
            found = _files(binary, os.path.join(folder, "binary"))
            code = _one(found, "kvm.ko") or _one(found, "xen-syms")
            types = btf or _one(found, "vmlinu")
            if not code:
                raise WitnessError(f"{binary}: no kvm.ko and no xen-syms in this package")
        if is_archive(btf):
            types = _one(_files(btf, os.path.join(folder, "btf")), "vmlinu")
            if not types:
                raise WitnessError(f"{btf}: no vmlinu in this package")
        yield code, types


def _files(package: str, folder: str) -> dict[str, str]:
    os.mkdir(folder)
    return {os.path.basename(one.member): one.path for one in extract(package, folder)}


def _one(found: dict[str, str], name: str) -> str:
    return next((path for file, path in found.items() if file.startswith(name)), "")
