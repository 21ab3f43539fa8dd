"""A compressed stream as bytes in order: xz, zstd, gzip, bzip2, or none of them.

Law of this file: nothing is held but a piece, and every total has a limit: a hostile megabyte of
zstd inflates to terabytes.
"""

from collections.abc import Iterator
from typing import Any

from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.witnesses.inflate import compression

PIECE = 1 << 20
STREAM_MAX = 8 << 30  # Debian's kernels with all debug info: a package of 5 GB
XZ_MEMORY = 256 << 20


class Stream:
    """Bytes in order, each counted: ``exactly`` never gives fewer than asked."""

    def __init__(self, pieces: Iterator[bytes], path: str) -> None:
        self.pieces, self.path, self.rest, self.total = pieces, path, b"", 0

    def exactly(self, size: int) -> bytes:
        """Return ``size`` bytes (WitnessError: the archive ends, or is longer than any)."""
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
        """Pass over ``size`` bytes."""
        while size:
            size -= len(self.exactly(min(size, PIECE)))


def inflated(pieces: Iterator[bytes], path: str) -> Iterator[bytes]:
    """Yield what the pieces inflate to, or themselves; none is much larger than PIECE."""
    first = next(pieces, b"")
    how = compression(first)
    if how is None:
        yield first
        yield from pieces
        return
    if how.name == "zstd":
        yield from _zstd(first, pieces)
        return
    stream = _decompressor(how.name, path)
    for piece in _with(first, pieces):
        while piece:
            yield from _bounded(stream, piece)
            piece = stream.unused_data.lstrip(b"\0") if stream.eof else b""
            # What follows the end of a stream is another one: xz and gzip may be put together.
            stream = _decompressor(how.name, path) if stream.eof else stream


def _with(first: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from pieces


def _decompressor(name: str, path: str) -> Any:
    if name in ("xz", "lzma"):
        import lzma

        return lzma.LZMADecompressor(memlimit=XZ_MEMORY)
    if name == "bzip2":
        import bz2

        return bz2.BZ2Decompressor()
    if name == "gzip":
        import zlib

        return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    raise WitnessError(f"{path}: compressed with {name}, which cannot be read here")


def _bounded(stream: Any, piece: bytes) -> Iterator[bytes]:
    if hasattr(stream, "unconsumed_tail"):
        while piece and not stream.eof:
            yield stream.decompress(piece, PIECE)
            piece = stream.unconsumed_tail
        return
    yield stream.decompress(piece, PIECE)
    while not stream.needs_input and not stream.eof:
        yield stream.decompress(b"", PIECE)


def _zstd(first: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    try:
        from compression import zstd
    except ImportError:
        import zstandard

        source: Any = _Reader(_with(first, pieces))
        inflater = zstandard.ZstdDecompressor(max_window_size=XZ_MEMORY)
        reader = inflater.stream_reader(source, read_size=PIECE, read_across_frames=True)
        while piece := reader.read(PIECE):
            yield piece
        return
    stream = zstd.ZstdDecompressor()
    for piece in _with(first, pieces):
        yield from _bounded(stream, piece)


class _Reader:
    """What zstandard reads from: pieces with a read()."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces, self.rest = pieces, b""

    def read(self, size: int = -1) -> bytes:
        """Return at most ``size`` bytes, none at the end."""
        self.rest = self.rest or next(self.pieces, b"")
        part, self.rest = self.rest[:size], self.rest[size:]
        return part
