"""The BTF of a kernel that is being inflated: the rest is not kept, and what follows not inflated.

A kernel of 64 MB has its section table at its end, 30 MB behind its BTF. So the BTF is found by its
header, as in an image that has no sections, and the notes by their program header. The kernel in a
bzImage has no DWARF: arch/x86/boot/compressed/Makefile makes it with objcopy -S.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from typing import NamedTuple

from runstate_abi.layouts.abi import Abi
from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.witnesses import btf_header, elf
from runstate_abi.layouts.witnesses.btf_blob import SIZE_MAX, Btf
from runstate_abi.layouts.witnesses.compressed import LIMIT, PIECE

# BPF programs in a kernel have BTF of some KiB; the kernel's own has megabytes.
BTF_MIN = 256 << 10
MAGICS = [magic + bytes((btf_header.VERSION, 0)) for magic in btf_header.ORDERS]


class Streamed(NamedTuple):
    abi: Abi | None
    build_id: str | None
    btf: bytes


def kernel(pieces: Iterable[bytes], source: str) -> Streamed | None:
    """Return the BTF of an ELF kernel that comes in pieces; None if it has none that is large.

    WitnessError: its header is damaged, or it inflates to over LIMIT bytes.
    """
    large = _joined(pieces)
    first = next(large, b"")
    if first[: len(elf.MAGIC)] != elf.MAGIC:
        return None
    begin = elf.beginning(memoryview(first), source)
    notes = dict.fromkeys(begin.notes, b"")
    held, at, blob = bytearray(), 0, b""
    for piece in chain((first,), large, (b"",)):
        for start, end in notes:
            notes[start, end] += piece[max(0, start - at) : max(0, end - at)]
        at += len(piece)
        if at > LIMIT:
            raise WitnessError(f"{source}: it inflates to over {LIMIT} bytes")
        if not blob:
            held += piece
            blob, done = _searched(held, last=not piece)
            del held[:done]
        if blob and all(len(found) == end - start for (start, end), found in notes.items()):
            break
    ids = (elf.gnu_build_id(begin.order, memoryview(one)) for one in notes.values())
    return Streamed(begin.abi, next(filter(None, ids), None), blob) if blob else None


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


# The first blob of BTF that is as large as a kernel's, b"" if none is whole, and how many bytes are
# no longer needed. ``last``: nothing follows.
def _searched(held: bytearray, last: bool) -> tuple[bytes, int]:
    at = 0
    while True:
        places = [place for magic in MAGICS if (place := held.find(magic, at)) >= 0]
        if not places:
            return b"", max(0, len(held) - max(map(len, MAGICS)))
        at = min(places)
        size = btf_header.extent(memoryview(held[at : at + btf_header.LONGEST]))
        whole = at + btf_header.LONGEST <= len(held) and at + (size or 0) <= len(held)
        if not whole and not last and (size or BTF_MIN) in range(BTF_MIN, SIZE_MAX):
            return b"", at
        if whole and size and size >= BTF_MIN:
            with memoryview(held) as view:
                blob = bytes(view[at : at + size])
            with suppress(WitnessError):
                Btf(blob)
                return blob, at
        at += 1
