"""Kernels in Debian packages and tarballs, streamed: only the files that are wanted reach the disk.

A kernel package has 100 MB and more, of which the kernel and kvm.ko are 12: ar, then xz, zstd or
gzip, then tar are read as a stream, to its end: a second kernel may stand behind the first.

Law of this file: nothing is believed. Every length has a limit, names from an archive never become
paths, and what is truncated or corrupt is a WitnessError that says where.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from runstate_abi.layouts.findings import one_line
from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.witnesses import btf_header, elf
from runstate_abi.layouts.witnesses.compressed import PIECE, Stream, compression, inflated

AR_MAGIC, AR_HEADER = b"!<arch>\n", 60
BLOCK = 512
START = BLOCK + 8  # what a kind of file is told from
# Debian's kernels with all debug info: a vmlinux of 360 MB in a package of 5 GB.
FILE_MAX = 512 << 20
HEADER_MAX = 64 << 10  # a long name, or a set of pax records

# Base names of what can be asked: kernels, their debug builds, KVM's modules, Xen with symbols.
WANTED = re.compile(
    r"(vmlinu[xz].*|Image(\..*)?|kvm(-intel|-amd)?\.ko(\.(xz|zst|gz|debug))?|xen-syms.*)"
)
NAMED_SO = re.compile(r"\.(u?deb|tar(\.\w+)?|tgz|txz|tzst|tbz2?)$")
# What a build leaves beside them, the decompressor's own ELF file above all.
UNWANTED = re.compile(
    r"(.*/)?(boot/compressed/vmlinux|[^/]*\.(o|a|h|lds|bin|syms|map|config|efi|signed|sig|p7[bcs]))"
)


class Extracted(NamedTuple):
    """A file out of an archive: its name there, and where its bytes are now."""

    member: str
    path: str


def is_archive(path: str) -> bool:
    """Tell a package or a tarball from its first bytes; a compressed or damaged one by its name."""
    if not os.path.isfile(path):
        return False
    start = first_bytes(path)
    if start[: len(AR_MAGIC)] == AR_MAGIC or start[257:262] == b"ustar":
        return True
    return bool(NAMED_SO.search(path))


def first_bytes(path: str) -> bytes:
    """Return what a file begins with; nothing if it cannot be read."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as file:
            return file.read(START) or b""
    except OSError:
        return b""


def begins_like_a_kernel(start: bytes) -> bool:
    """Tell a kernel image or a BTF blob of any name from its first START bytes.

    ELF files are not told so, or every program would be a kernel.
    """
    if start[: len(elf.MAGIC)] == elf.MAGIC or compression(start):
        return False
    boot = (start[0x202:0x206], start[0x38:0x3C], start[0x04:0x08])
    known = (b"HdrS", b"ARM\x64", b"zimg")
    if any(seen == magic for seen, magic in zip(boot, known, strict=True)):
        return True
    return start[:2] in btf_header.ORDERS and start[2:3] == bytes([btf_header.VERSION])


def wanted(member: str) -> bool:
    """Tell from its name whether a file in an archive or a folder can be asked."""
    return bool(WANTED.fullmatch(os.path.basename(member))) and not UNWANTED.fullmatch(member)


def extract(path: str, folder: str) -> list[Extracted]:
    """Write the wanted files of a package or tarball into ``folder``; WitnessError."""
    found: list[Extracted] = []
    try:
        with open(path, "rb") as file:
            for member, size, stream in _members(_tar_stream(file, path), path):
                start = stream.exactly(min(size, START)) if size <= FILE_MAX else b""
                named = not UNWANTED.fullmatch(member) and begins_like_a_kernel(start)
                if named or wanted(member):
                    found.append(_kept(member, size, start, stream, folder, len(found)))
    except WitnessError:
        raise
    except (OSError, EOFError, ValueError) as error:
        raise WitnessError(f"{path}: {_one_line(error)}") from None
    except Exception as error:
        # Each decompressor has an exception of its own, and one is not installed everywhere.
        raise WitnessError(f"{path}: corrupt: {_one_line(error)}") from None
    return found


def _kept(
    member: str, size: int, start: bytes, stream: "Stream", folder: str, number: int
) -> Extracted:
    if size > FILE_MAX:
        raise WitnessError(f"{stream.path}: {member} has {size} bytes, over {FILE_MAX}")
    # Named by its place in the archive: a name from there could lead anywhere.
    target = os.path.join(folder, str(number))
    with open(target, "wb") as out:
        out.write(start)
        size -= len(start)
        while size:
            piece = stream.exactly(min(size, PIECE))
            out.write(piece)
            size -= len(piece)
    return Extracted(one_line(member), target)


def _tar_stream(file: IO[bytes], path: str) -> Stream:
    start = file.read(len(AR_MAGIC))
    file.seek(0)
    size = _data_of_package(file, path) if start == AR_MAGIC else None
    return Stream(inflated(_pieces(file, size), path), path)


# A .deb is an ar archive: leave the file at its data.tar and return that one's size.
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


# POSIX.1-1988 ustar, GNU's and pax' long names. Python's tarfile reads a long name of any length
# into memory, and a hostile one has gigabytes.
def _members(stream: Stream, path: str) -> Iterator[tuple[str, int, Stream]]:
    long_name, long_size = "", None
    while True:
        header = stream.exactly(BLOCK)
        if not any(header):
            return
        if header[257:262] != b"ustar":
            raise WitnessError(f"{path}: not a tar archive at byte {stream.total:#x}")
        kind, size = header[156:157], _number(header[124:136], path)
        if kind in (b"L", b"x", b"K", b"g"):
            if size > HEADER_MAX:
                raise WitnessError(f"{path}: a name of {size} bytes")
            text = stream.exactly(size)
            stream.skip(-size % BLOCK)
            if kind == b"L":
                long_name = text.rstrip(b"\0").decode(errors="replace")
            elif kind == b"x":
                long_name, long_size = _pax(text, long_name)
            continue
        size = size if long_size is None else long_size
        name = long_name or _name(header)
        before = stream.total - len(stream.rest)
        if kind in (b"0", b"\0", b"7"):
            yield name, size, stream
        read = stream.total - len(stream.rest) - before
        stream.skip(size - read + -size % BLOCK if kind in (b"0", b"\0", b"7") else 0)
        long_name, long_size = "", None


def _number(field: bytes, path: str) -> int:
    if field[0] & 0x80:
        return int.from_bytes(field, "big") & ~(0x80 << 8 * (len(field) - 1))
    text = field.strip(b"\0 ")
    if not re.fullmatch(rb"[0-7]*", text):
        raise WitnessError(f"{path}: not a tar archive: a size of {ascii(text)[1:]}")
    return int(text or b"0", 8)


def _name(header: bytes) -> str:
    name, prefix = (header[a:b].split(b"\0")[0] for a, b in ((0, 100), (345, 500)))
    joined = prefix + b"/" + name if prefix and header[257:263] == b"ustar\0" else name
    return joined.decode(errors="replace")


# ``length key=value\n``, again and again; the length counts its own digits.
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


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def unpacked(binary: str, btf: str) -> Iterator[tuple[str, str]]:
    """Give the paths of code and debug info, out of packages if that is what was named.

    One package may hold both. WitnessError if a package has no such file.
    """
    named = [path for path in (binary, btf) if path and is_archive(path)]
    if not named:
        yield binary, btf
        return
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="runstate-") as folder:
        yield _found(binary, btf, Path(folder))


def _found(binary: str, btf: str, folder: Path) -> tuple[str, str]:
    code, types = binary, btf
    if is_archive(binary):
        found = _files(binary, folder / "binary")
        code = _one(binary, found, "kvm.ko", "xen-syms")
        types = btf or _maybe(found, "vmlinu")
    if btf and is_archive(btf):
        types = _one(btf, _files(btf, folder / "btf"), "vmlinu")
    return code, types


def _files(package: str, folder: Path) -> dict[str, str]:
    folder.mkdir()
    return {Path(one.member).name: one.path for one in extract(package, str(folder))}


def _one(package: str, found: dict[str, str], *names: str) -> str:
    for name in names:
        path = _maybe(found, name)
        if path:
            return path
    raise WitnessError(f"{package}: no {' and no '.join(names)} in this package")


def _maybe(found: dict[str, str], name: str) -> str:
    return next((path for file, path in found.items() if file.startswith(name)), "")
