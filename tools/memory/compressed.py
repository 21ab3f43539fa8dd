"""Compressed dumps: unpacked into a file without a name, which the system takes back by itself.

A dump is read at any place, and a compressed one only from its beginning. The size of what it
inflates to is limited, and runs of zeros become holes of the file.
"""

import mmap
import tempfile
from collections.abc import Iterator
from typing import IO, Any

from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.witnesses.compressed import (
    PIECE,
    STREAM_MAX,
    XZ_MEMORY,
    Compression,
    compression,
)

GZIP = b"\x1f\x8b\x08"  # deflate is the only method; two bytes alone may begin raw memory
HEAD = 16
# zstd makes up to 128 KiB of four bytes, and the library zstandard has no limit for one call.
ZSTD_PIECE = 512


def how(data: memoryview) -> Compression | None:
    """Tell how the data are compressed; None if they are not."""
    head = bytes(data[:HEAD])
    known = compression(head)
    return None if known and known.name == "gzip" and not head.startswith(GZIP) else known


def inflated(data: memoryview, known: Compression, source: str) -> memoryview:
    """Return what the data inflate to, mapped (WitnessError: corrupt, truncated, too large)."""
    if known.opened is None:
        raise WitnessError(
            f"{source}: compressed with {known.name}, which is not read here: unpack it first "
            "(--raw: take its bytes as they are)"
        )
    with tempfile.TemporaryFile() as file:
        try:
            _write(_pieces(data, known.name, source), file, f"{source}: {known.name}")
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except (WitnessError, MemoryError):
            raise
        except ImportError:
            raise WitnessError(
                f"{source}: compressed with zstd: Python before 3.14 needs "
                "pip install 'runstate-abi[zstd]'"
            ) from None
        except Exception as error:
            # Each library has an exception of its own.
            said = " ".join(str(error).split())
            raise WitnessError(f"{source}: its {known.name} data is corrupt: {said}") from None


def _write(pieces: Iterator[bytes], file: IO[bytes], source: str) -> None:
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > STREAM_MAX:
            raise WitnessError(
                f"{source} data inflates to over {STREAM_MAX >> 30} GiB: unpack it, and give that"
            )
        if piece.count(0) == len(piece):
            file.seek(len(piece), 1)
        else:
            file.write(piece)
    if not size:
        raise WitnessError(f"{source} data inflates to nothing")
    file.truncate(size)
    file.flush()


def _pieces(data: memoryview, name: str, source: str) -> Iterator[bytes]:
    """Yield what the data inflate to; streams that stand behind one another are one."""
    step = ZSTD_PIECE if name == "zstd" else PIECE
    stream = _decompressor(name)
    for start in range(0, len(data), step):
        rest = bytes(data[start : start + step])
        while rest:
            if stream.eof:
                stream = _decompressor(name)
            yield from _bounded(stream, rest, name)
            rest = stream.unused_data.lstrip(b"\0") if stream.eof else b""
    if not stream.eof:
        raise WitnessError(f"{source}: truncated: its {name} data ends early")


def _decompressor(name: str) -> Any:
    if name in ("xz", "lzma"):
        import lzma

        return lzma.LZMADecompressor(memlimit=XZ_MEMORY)
    if name == "bzip2":
        import bz2

        return bz2.BZ2Decompressor()
    if name == "gzip":
        import zlib

        return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        from compression import zstd
    except ImportError:
        import zstandard

        return zstandard.ZstdDecompressor(max_window_size=XZ_MEMORY).decompressobj()
    return zstd.ZstdDecompressor()


# The standard library's decompressors give PIECE bytes at a time, each in its own way.
def _bounded(stream: Any, piece: bytes, name: str) -> Iterator[bytes]:
    if name == "gzip":
        while piece and not stream.eof:
            yield stream.decompress(piece, PIECE)
            piece = stream.unconsumed_tail
        return
    if not hasattr(stream, "needs_input"):
        yield stream.decompress(piece)
        return
    yield stream.decompress(piece, PIECE)
    while not stream.needs_input and not stream.eof:
        yield stream.decompress(b"", PIECE)
