"""The symbols of a kernel image without a symbol table: its own kallsyms.

The format is scripts/kallsyms.c's: names are packed with a table of 256 tokens, and every 256th has
a marker. Addresses are relative to a base, which comes before the names up to v6.4 and behind the
tokens since 404bad70fcf7 ("scripts/kallsyms: change the output order", in v6.5), or each is
relative to its own place, as a 7.2 kernel has them. Nothing says which: the tables are found by
their shape, and of the ways to read the addresses only one gives sorted ones.
"""

import struct
from array import array
from collections.abc import Callable, Iterator
from itertools import pairwise
from mmap import mmap
from typing import NamedTuple

from runstate_abi.layouts.model import WitnessError

Image = bytes | bytearray | mmap
DIGITS = b"".join(b"%d\0" % digit for digit in range(10))  # each is a token of its own
ZERO, TOKENS = ord("0"), 256
INDEX = struct.Struct(f"<{TOKENS}H")
NAMES_MAX = 16 << 20  # bytes of all names; a Debian kernel has 3 MB
COUNT_MIN, COUNT_MAX = 64, 1 << 20  # a Debian kernel has 50,000 or 200,000
MARKED = 256  # symbols a marker
START_MAX = 16 << 20  # how far the first symbol may be from the base
NAME_MAX = 512 * 3  # KSYM_NAME_LEN


class KernelSymbol(NamedTuple):
    """``kind`` is the letter of nm: T, t for code."""

    name: str
    kind: str
    address: int


class _Tables(NamedTuple):
    symbols: int
    names: int  # offset of the first name
    markers: int
    tokens: tuple[bytes, ...]
    behind: int  # the end of the tokens' index


def symbols(image: Image, pointer: int, address_of: Callable[[int], int]) -> list[KernelSymbol]:
    """Return the symbols of an unpacked kernel, by address (WitnessError: it has no kallsyms).

    ``pointer`` is 4 or 8; ``address_of`` gives the address of an offset in ``image``.
    """
    tables = _tables(image, pointer)
    if tables is None:
        raise WitnessError("no symbols: neither a symbol table nor kallsyms (CONFIG_KALLSYMS)")
    addresses = _addresses(image, tables, pointer, address_of)
    if addresses is None:
        raise WitnessError("the addresses of its kallsyms cannot be read")
    names = _names(image, tables)
    return [
        KernelSymbol(name[1:], name[:1], address)
        for name, address in zip(names, addresses, strict=True)
    ]


def _tables(image: Image, pointer: int) -> _Tables | None:
    at = image.find(DIGITS)
    while at >= 0:
        for start, behind, tokens in _tokens(image, at):
            for count, names, markers in _counts(image, start, pointer):
                return _Tables(count, names, markers, tokens, behind)
        at = image.find(DIGITS, at + 1)
    return None


# The table of tokens that has its digits at ``at``, and its index behind it.
def _tokens(image: Image, at: int) -> Iterator[tuple[int, int, tuple[bytes, ...]]]:
    end = at
    for _ in range(ZERO, TOKENS):
        end = image.find(b"\0", end) + 1
        if not end:
            return
    for behind in range(end, min(end + 8, len(image) - INDEX.size)):
        index = INDEX.unpack_from(image, behind)
        start = at - index[ZERO]
        if index[0] == 0 <= start and all(a < b for a, b in pairwise(index)):
            ends = [*(start + place for place in index[1:]), end]
            tokens = [bytes(image[start + a : b - 1]) for a, b in zip(index, ends, strict=True)]
            if not any(b"\0" in token for token in tokens):
                yield start, behind + INDEX.size, tuple(tokens)


# A number in front of the tokens, so many names behind it, and then their markers.
def _counts(image: Image, end: int, pointer: int) -> Iterator[tuple[int, int, int]]:
    low = max(0, end - NAMES_MAX) & ~3
    words = memoryview(image)[low : end & ~3].cast("I")
    for number in range(len(words) - 1, -1, -1):
        count = words[number]
        if not COUNT_MIN <= count < COUNT_MAX:
            continue
        at = low + 4 * number
        for names in dict.fromkeys((at + 4, -(-(at + 4) // pointer) * pointer)):
            if 2 * count < end - names and not any(image[at + 4 : names]):
                markers = _markers(image, names, count, end)
                if markers:
                    yield count, names, markers


# Where the markers of so many names are, 0 if these are no names.
def _markers(image: Image, names: int, count: int, end: int) -> int:
    at, wanted = names, array("I")
    for number in range(count):
        if number % MARKED == 0:
            wanted.append(at - names)
        size, at = _length(image, at)
        at += size
        if not 0 < size <= NAME_MAX or at >= end:
            return 0
    told = wanted.tobytes()
    places = (-(-at // size) * size for size in (4, 8))
    return next((place for place in places if image[place : place + len(told)] == told), 0)


# ULEB128 since 73bbb94466fd ("kallsyms: support "big" kernel symbols", in v6.1); before that a name
# had less than 128 bytes.
def _length(image: Image, at: int) -> tuple[int, int]:
    first = image[at]
    return (first & 0x7F | image[at + 1] << 7, at + 2) if first & 0x80 else (first, at + 1)


def _names(image: Image, tables: _Tables) -> Iterator[str]:
    at = tables.names
    for _ in range(tables.symbols):
        size, at = _length(image, at)
        packed = b"".join([tables.tokens[code] for code in image[at : at + size]])
        yield packed.decode("ascii", "backslashreplace")
        at += size


# Each way to read the addresses; the one that gives them in order is right. The first symbol is
# near the base, and its own place, which is among the constants, is behind the code.
def _addresses(
    image: Image, tables: _Tables, pointer: int, address_of: Callable[[int], int]
) -> list[int] | None:
    count, mask = tables.symbols, (1 << 8 * pointer) - 1

    def word(at: int) -> int:
        return int.from_bytes(image[at : at + pointer], "little")

    def read(at: int) -> "array[int]":
        content = bytes(image[at : at + 4 * count]) if at >= 0 else b""
        return array("i", content[: len(content) & ~3])

    def padded(at: int) -> int:
        return -(-at // pointer) * pointer

    base_at = (tables.names - 4 & ~(pointer - 1)) - pointer
    before = base_at - padded(4 * count)
    for at, base_place in ((before, base_at), (tables.behind, 0), (padded(tables.behind), 0)):
        offsets = read(at)
        if len(offsets) < count:
            continue
        base = word(base_place or padded(at + 4 * count))
        first = address_of(at)
        ways = []
        if 0 <= offsets[0] < START_MAX:
            ways.append([base + (one & 0xFFFF_FFFF) for one in offsets])
            # CONFIG_KALLSYMS_ABSOLUTE_PERCPU: negative ones are relative, the others absolute.
            ways.append([one if one >= 0 else base - 1 - one for one in offsets])
        if offsets[0] < 0:
            ways.append([first + 4 * number + one for number, one in enumerate(offsets)])
        for way in ways:
            if any(offsets) and all(a <= b for a, b in pairwise(way)):
                return [one & mask for one in way]
    return None
