"""The BTF of a kernel that is being inflated: the rest is not kept, and what follows not inflated.

A kernel of 64 MB has its section table at its end, 30 MB behind its BTF. So the BTF is found by its
header, as in an image that has no sections, and the notes by their program header. The kernel in a
bzImage has no DWARF: arch/x86/boot/compressed/Makefile makes it with objcopy -S.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from heapq import merge
from itertools import chain
from mmap import mmap
from typing import NamedTuple

from runstate_abi.layouts.abi import Abi
from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.witnesses import btf_header, elf
from runstate_abi.layouts.witnesses.btf_blob import SIZE_MAX, Btf
from runstate_abi.layouts.witnesses.compressed import LIMIT, PIECE, found_at

# BPF programs in a kernel have BTF of some KiB; the kernel's own has megabytes.
BTF_MIN = 256 << 10
# How many places may look like a header of BTF, and how many of these are read.
HEADERS_MOST, TRIES_MOST = 4096, 8


class Streamed(NamedTuple):
    abi: Abi
    build_id: str | None
    btf: bytes


def kernel(pieces: Iterable[bytes], source: str) -> Streamed | None:
    """Return what is in an ELF kernel that comes in pieces.

    None, and its section table must be asked: there is no large BTF, too much looks like it, or its
    ABI is not known. WitnessError: its header is damaged, or it inflates to over LIMIT bytes.
    """
    large = _joined(pieces)
    first = next(large, b"")
    if first[: len(elf.MAGIC)] != elf.MAGIC:
        return None
    begin = elf.beginning(memoryview(first), source)
    if begin.abi is None:
        return None
    notes = dict.fromkeys(begin.notes, b"")
    search, at, blob = _Search(), 0, b""
    for piece in chain((first,), large, (b"",)):
        for start, end in notes:
            notes[start, end] += piece[max(0, start - at) : max(0, end - at)]
        at += len(piece)
        if at > LIMIT:
            raise WitnessError(f"{source}: it inflates to over {LIMIT} bytes")
        blob = blob or search.found(piece)
        if search.spent:
            return None
        if blob and all(len(one) == end - start for (start, end), one in notes.items()):
            break
    if not blob:
        return None
    ids = (elf.gnu_build_id(begin.order, memoryview(one)) for one in notes.values())
    return Streamed(begin.abi, next(filter(None, ids), None), blob)


def begins(data: bytes | bytearray | mmap) -> Iterator[int]:
    """Yield where the header of a blob of BTF may begin, of either byte order."""
    magics = (magic + bytes((btf_header.VERSION, 0)) for magic in btf_header.ORDERS)
    return merge(*(found_at(magic, data) for magic in magics))


# Pieces as large as the search wants them; none is empty.
def _joined(pieces: Iterable[bytes]) -> Iterator[bytes]:
    parts, size = list[bytes](), 0
    for piece in pieces:
        parts.append(piece)
        size += len(piece)
        if size >= PIECE:
            yield b"".join(parts)
            parts, size = [], 0
    if size:
        yield b"".join(parts)


class _Search:
    """Looks for BTF in what has come so far, and keeps no more of it than it needs."""

    def __init__(self) -> None:
        self._held, self._headers, self._tries = bytearray(), HEADERS_MOST, TRIES_MOST

    @property
    def spent(self) -> bool:
        """Has it looked at all that it may?"""
        return not self._headers or not self._tries

    def found(self, piece: bytes) -> bytes:
        """Return the first blob that is as large as a kernel's, b"" if none is whole.

        An empty ``piece`` is the end.
        """
        self._held += piece
        for at in begins(self._held):
            size = btf_header.extent(memoryview(self._held[at : at + btf_header.LONGEST]))
            whole = at + max(btf_header.LONGEST, size or 0) <= len(self._held)
            if not whole and piece and BTF_MIN <= (size or BTF_MIN) < SIZE_MAX:
                del self._held[:at]
                return b""
            if whole and size and size >= BTF_MIN:
                with memoryview(self._held) as view:
                    blob = bytes(view[at : at + size])
                with suppress(WitnessError):
                    Btf(blob)
                    return blob
                self._tries -= 1
            self._headers -= 1
            if self.spent:
                return b""
        del self._held[:-3]  # all but one byte of what a header begins with
        return b""
