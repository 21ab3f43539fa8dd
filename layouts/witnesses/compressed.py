"""The bytes of a file, inflated if they are compressed: gzip, xz, zstd, bzip2, lzma, lz4.

Nothing may be inflated without a limit: one megabyte of zstd can inflate to terabytes. Only the
decompressor that a file needs is imported.
"""

import mmap
import os
import re
import stat
from collections.abc import Callable, Generator, Iterable, Iterator
from importlib import import_module
from itertools import chain
from typing import Any, NamedTuple

from runstate_abi.layouts.model import WitnessError

Buffer = bytes | bytearray | memoryview | mmap.mmap

# A file that cannot be mapped (sysfs, on older kernels) is read up to this size.
READ_MAX = 64 << 20
LIMIT = 400 << 20  # a kernel with its debug info is 360 MB; what is inflated stays below 512 MB
STREAM_MAX = 8 << 30  # Debian's kernels with all debug info: a package of 5 GB
PIECE = 1 << 20
# zlib and zstandard inflate all that one call gets, and zstd makes 128 KiB of four bytes.
# So it gets little, and more as long as the data inflates as much as a kernel's does.
SLICE, LONG_SLICE, USUAL = 512, 2048, 32
XZ_MEMORY = 256 << 20  # kernels are compressed with a dictionary of 128 MiB


class NotInstalled(WitnessError):
    """A file needs a package that is not here; the message says which."""


class Compression(NamedTuple):
    """One format: ``opened`` makes its decompressor; None if it cannot be read here."""

    name: str
    magic: bytes
    opened: Callable[[], Any] | None


def contents(path: str) -> tuple[memoryview, str]:
    """Return the bytes of a regular file, and how it was compressed or "" (WitnessError)."""
    data = memoryview(mapped(path))
    how = compression(data)
    return (inflate(data, how, path), how.name) if how else (data, "")


def starts(pattern: bytes, data: Buffer) -> Iterator[int]:
    """Yield where a pattern matches. Matches may overlap, which those of re.finditer() do not."""
    search = re.compile(pattern, re.DOTALL).search
    hit = search(data)
    while hit:
        yield hit.start()
        hit = search(data, hit.start() + 1)


def found_at(needle: bytes, data: bytes | bytearray | mmap.mmap) -> Iterator[int]:
    """Yield where these bytes are. Of a long needle this is faster than starts()."""
    at = data.find(needle)
    while at >= 0:
        yield at
        at = data.find(needle, at + 1)


def viewed(data: memoryview) -> bytes | bytearray | mmap.mmap:
    """Return the bytes of a view, not copied if it is of a whole object: a view has no find()."""
    whole = data.obj
    if isinstance(whole, bytes | bytearray | mmap.mmap) and len(whole) == len(data):
        return whole
    return bytes(data)


def mapped(path: str) -> mmap.mmap | bytes:
    """Return the bytes of a regular file (WitnessError). A pipe or a device could be endless."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            kind = "a directory" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            raise WitnessError(f"{path}: {kind}")
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


def sha256(path: str) -> str:
    import hashlib

    return hashlib.sha256(mapped(path)).hexdigest()


def compression(data: Buffer) -> Compression | None:
    """Return how data is compressed, by its first bytes; None if it is not."""
    return next((known for known in COMPRESSIONS if data[: len(known.magic)] == known.magic), None)


def inflate(data: memoryview, how: Compression, source: str, limit: int = LIMIT) -> memoryview:
    """Return the inflated ``data``, at most ``limit`` bytes; bytes after the end of it are ignored.

    WitnessError if the data is corrupt, ends early, or needs a package that is not installed.
    """
    found = bytearray()
    for piece in unpacked(cut(data), how, source, several=False):
        found += piece
        if len(found) > limit:
            raise WitnessError(f"{source}: its {how.name} data inflates to over {limit} bytes")
    return memoryview(found)


def cut(data: memoryview) -> Iterator[memoryview]:
    return (data[start : start + PIECE] for start in range(0, len(data), PIECE))


def unpacked(
    pieces: Iterable[Buffer], how: Compression, source: str, several: bool = True
) -> Iterator[bytes]:
    """Yield the inflated pieces, never much more than PIECE at a time.

    xz and gzip files may be concatenated, so what follows the end of a stream is another one,
    unless ``several`` is False. WitnessError as for inflate().
    """
    try:
        yield from _unpacked(pieces, how, source, several)
    except EOFError:
        raise WitnessError(f"{source}: truncated: its {how.name} data ends early") from None
    except ImportError:
        before = "Python before 3.14 needs " if how.name == "zstd" else ""
        needs = f"{before}pip install 'runstate-abi[{how.name}]'"
        raise NotInstalled(f"{source}: compressed with {how.name}: {needs}") from None
    except (WitnessError, MemoryError):
        raise
    except Exception as error:
        # Each library has an exception of its own, and one of them is not installed everywhere.
        said = " ".join(str(error).split())
        raise WitnessError(f"{source}: its {how.name} data is corrupt: {said}") from None


def _unpacked(
    pieces: Iterable[Buffer], how: Compression, source: str, several: bool
) -> Iterator[bytes]:
    stream = _opened(how, source)
    for piece in pieces:
        rest = piece
        while rest:
            stream = _opened(how, source) if stream.eof else stream
            rest = (yield from _bounded(stream, rest)).lstrip(b"\0")
            if stream.eof and not several:
                return
    if not stream.eof and not getattr(stream, "may_end", False):
        raise EOFError


class Stream:
    """Bytes in order, each counted: ``exactly`` never returns fewer than asked for."""

    def __init__(self, pieces: Iterator[bytes], path: str) -> None:
        self.pieces, self.path, self.rest, self.total = pieces, path, b"", 0

    @property
    def passed(self) -> int:
        return self.total - len(self.rest)

    def exactly(self, size: int) -> bytes:
        """Return ``size`` bytes (WitnessError: the archive ends, or is too long)."""
        parts, missing = [], size
        while missing:
            if not self.rest:
                self.rest = next(self.pieces, b"")
                self.total += len(self.rest)
            if not self.rest:
                raise WitnessError(f"{self.path}: truncated: it ends inside a file")
            if self.total > STREAM_MAX:
                raise WitnessError(f"{self.path}: inflates to over {STREAM_MAX} bytes")
            part, self.rest = self.rest[:missing], self.rest[missing:]
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def skip(self, size: int) -> None:
        while size:
            size -= len(self.exactly(min(size, PIECE)))


def inflated(pieces: Iterator[bytes], path: str) -> Iterator[bytes]:
    """Yield the inflated pieces, or the pieces themselves; none is much larger than PIECE."""
    first = next(pieces, b"")
    how = compression(first)
    every = chain((first,), pieces)
    yield from every if how is None else unpacked(every, how, path)


def _opened(how: Compression, source: str) -> Any:
    if how.opened is None:
        raise WitnessError(f"{source}: compressed with {how.name}, which cannot be read here")
    return how.opened()


# Yields the inflated data in pieces of bounded size; returns what follows the end of the stream.
def _bounded(stream: Any, data: Buffer) -> Generator[bytes, None, bytes]:
    if hasattr(stream, "needs_input"):  # lzma, bz2 and Python 3.14's zstd
        yield stream.decompress(data, PIECE)
        while not stream.needs_input and not stream.eof:
            yield stream.decompress(b"", PIECE)
        return bytes(stream.unused_data or b"")  # lz4 has None
    start, size = 0, SLICE
    while start < len(data):
        found = stream.decompress(data[start : start + size])
        yield found
        start += size
        if stream.eof:
            return bytes(stream.unused_data) + bytes(data[start:])
        size = LONG_SLICE if len(found) < USUAL * size else SLICE
    return b""


def _zstd() -> Any:
    try:
        from compression import zstd
    except ImportError:
        import zstandard

        return zstandard.ZstdDecompressor(max_window_size=XZ_MEMORY).decompressobj()
    return zstd.ZstdDecompressor()


class _Lz4Legacy:
    """The frame of `lz4 -l`, in which kernels are compressed: sizes and blocks, and no end.

    lib/decompress_unlz4.c; behind the last block a kernel image has the size of all of it.
    """

    BLOCK, eof, unused_data = 8 << 20, False, b""

    def __init__(self) -> None:
        self.block: Any = import_module("lz4.block")
        self.kept, self.total = bytearray(), -1

    def decompress(self, data: Buffer) -> bytes:
        """Return what the blocks inflate to that are complete."""
        self.kept += data
        if self.total < 0 and len(self.kept) >= 4:
            del self.kept[:4]  # the magic number
            self.total = 0
        found = b""
        while self.total >= 0 and len(self.kept) > 4:
            size = int.from_bytes(self.kept[:4], "little")
            if not 0 < size <= self.BLOCK + self.BLOCK // 255 + 16:
                raise ValueError(f"a block of {size} bytes")
            if len(self.kept) < 4 + size:
                break
            found += self.block.decompress(self.kept[4 : 4 + size], uncompressed_size=self.BLOCK)
            del self.kept[: 4 + size]
        self.total += len(found)
        return found

    @property
    def may_end(self) -> bool:
        """Whether no block has begun: there is nothing left, or the size of it all."""
        size = self.total & 0xFFFFFFFF
        return self.total > 0 and bytes(self.kept) in (b"", size.to_bytes(4, "little"))


def _xz() -> Any:
    return import_module("lzma").LZMADecompressor(memlimit=XZ_MEMORY)


# 31 is zlib's word for gzip's frame. The two LZ4 magics are its old and its present frame.
# fmt: off
COMPRESSIONS = (
    Compression("gzip",  b"\x1f\x8b",          lambda: import_module("zlib").decompressobj(31)),
    Compression("xz",    b"\xfd7zXZ\0",        _xz),
    Compression("zstd",  b"\x28\xb5\x2f\xfd",  _zstd),
    Compression("bzip2", b"BZh",               lambda: import_module("bz2").BZ2Decompressor()),
    Compression("lzma",  b"\x5d\0\0",          _xz),
    Compression("lzo",   b"\x89LZO\0\r\n\x1a\n", None),
    Compression("lz4",   b"\x02\x21\x4c\x18",  _Lz4Legacy),
    Compression("lz4",   b"\x04\x22\x4d\x18",  lambda: import_module("lz4.frame").LZ4FrameDecompressor()),
)
# fmt: on
# Compressed sections of ELF files. Two bytes of magic are too few to recognise a file.
ZLIB = Compression("zlib", b"\x78", lambda: import_module("zlib").decompressobj())
