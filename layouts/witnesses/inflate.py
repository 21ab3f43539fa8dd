"""Compressed kernels and modules, inflated: gzip, xz, zstd, bzip2, lzma.

Law of this file: nothing inflates without a limit, and a stream that stops early is an error. Only
the decompressor that a file needs is imported.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.witnesses.elf import Buffer

LIMIT = 400 << 20  # a kernel with its debug info is 360 MB; what is inflated stays below 512 MB
PIECE = 4 << 20
# zstd can make 128 KiB of four bytes, and `zstandard` has no limit for one call.
ZSTD_PIECE = 512
XZ_MEMORY = 256 << 20  # kernels are compressed with a dictionary of 128 MiB


class Compression(NamedTuple):
    """One format: ``pieces`` yields what the data inflates to; None if it cannot be read here."""

    name: str
    magic: bytes
    pieces: Callable[[memoryview], Iterator[bytes]] | None


def compression(data: Buffer) -> Compression | None:
    """Tell how data is compressed from its first bytes; None if it is not."""
    return next((known for known in COMPRESSIONS if data[: len(known.magic)] == known.magic), None)


def inflate(data: memoryview, how: Compression, source: str, limit: int = LIMIT) -> bytearray:
    """Return what ``data`` inflates to, ``limit`` bytes at most; what follows it is ignored.

    Raises WitnessError if the data is corrupt, ends early, or needs what is not installed.
    """
    if how.pieces is None:
        raise WitnessError(f"{source}: compressed with {how.name}, which cannot be read here")
    inflated = bytearray()
    try:
        for piece in how.pieces(data):
            inflated += piece
            if len(inflated) > limit:
                raise WitnessError(f"{source}: its {how.name} data inflates to over {limit} bytes")
    except EOFError:
        raise WitnessError(f"{source}: truncated: its {how.name} data ends early") from None
    except ImportError:
        raise WitnessError(
            f"{source}: compressed with {how.name}: Python before 3.14 needs "
            "pip install 'runstate-abi[zstd]'"
        ) from None
    except WitnessError:
        raise
    except Exception as error:
        # Each library has an exception of its own, and one of them is not installed everywhere.
        raise WitnessError(f"{source}: its {how.name} data is corrupt: {error}") from None
    return inflated


def _gzip(data: memoryview) -> Iterator[bytes]:
    import zlib

    stream, rest = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS), bytes(data)
    while not stream.eof:
        piece, rest = stream.decompress(rest, PIECE), stream.unconsumed_tail
        if not piece and not stream.eof:
            raise EOFError
        yield piece


def _xz(data: memoryview) -> Iterator[bytes]:
    import lzma

    return _limited(lzma.LZMADecompressor(memlimit=XZ_MEMORY), data)


def _bzip2(data: memoryview) -> Iterator[bytes]:
    import bz2

    return _limited(bz2.BZ2Decompressor(), data)


def _zstd(data: memoryview) -> Iterator[bytes]:
    try:
        from compression import zstd
    except ImportError:
        return _zstandard(data)
    return _limited(zstd.ZstdDecompressor(), data)


# The standard library's decompressors but zlib's have one interface.
def _limited(stream: Any, data: memoryview) -> Iterator[bytes]:
    piece = stream.decompress(data, PIECE)
    while not stream.eof:
        if not piece and stream.needs_input:
            raise EOFError
        yield piece
        piece = stream.decompress(b"", PIECE)
    yield piece


def _zstandard(data: memoryview) -> Iterator[bytes]:
    import zstandard

    stream = zstandard.ZstdDecompressor().decompressobj()
    for start in range(0, len(data), ZSTD_PIECE):
        yield stream.decompress(data[start : start + ZSTD_PIECE])
        if stream.eof:
            return
    raise EOFError


# The two LZ4 magics are its old and its present frame; the standard library reads neither.
# fmt: off
COMPRESSIONS = (
    Compression("gzip",  b"\x1f\x8b",          _gzip),
    Compression("xz",    b"\xfd7zXZ\0",        _xz),
    Compression("zstd",  b"\x28\xb5\x2f\xfd",  _zstd),
    Compression("bzip2", b"BZh",               _bzip2),
    Compression("lzma",  b"\x5d\0\0",          _xz),
    Compression("lzo",   b"\x89LZO\0\r\n\x1a\n", None),
    Compression("lz4",   b"\x02\x21\x4c\x18",  None),
    Compression("lz4",   b"\x04\x22\x4d\x18",  None),
)
# fmt: on
