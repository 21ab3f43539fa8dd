"""The header of a BTF blob: byte order, sections, and the length of each kind of record.

A kind that is unknown here and not described in the blob is an error: its length is needed to find
the next record.
"""

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from runstate_abi.layouts.model import WitnessError

if TYPE_CHECKING:
    from runstate_abi.layouts.witnesses.compressed import Buffer

VERSION = 1
ORDERS = {b"\x9f\xeb": "<", b"\xeb\x9f": ">"}  # the magic 0xeB9F tells the byte order
WORD = 4


class Kind(NamedTuple):
    """One BTF kind: bytes that follow each record of it once, and for each of its vlen parts."""

    name: str
    once: int
    each: int


# include/uapi/linux/btf.h, 19 kinds; the number is the position in the table.
# fmt: off
KINDS = (
    #    name          once  each
    Kind("UNKN",       0,    0),
    Kind("INT",        4,    0),
    Kind("PTR",        0,    0),
    Kind("ARRAY",      12,   0),
    Kind("STRUCT",     0,    12),
    Kind("UNION",      0,    12),
    Kind("ENUM",       0,    8),
    Kind("FWD",        0,    0),
    Kind("TYPEDEF",    0,    0),
    Kind("VOLATILE",   0,    0),
    Kind("CONST",      0,    0),
    Kind("RESTRICT",   0,    0),
    Kind("FUNC",       0,    0),
    Kind("FUNC_PROTO", 0,    8),
    Kind("VAR",        4,    0),
    Kind("DATASEC",    0,    12),
    Kind("FLOAT",      0,    0),
    Kind("DECL_TAG",   4,    0),
    Kind("TYPE_TAG",   0,    0),
    Kind("ENUM64",     0,    12),
)
(
    UNKN, INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE,
    CONST, RESTRICT, FUNC, FUNC_PROTO, VAR, DATASEC, FLOAT, DECL_TAG, TYPE_TAG, ENUM64,
) = range(len(KINDS))
# fmt: on

# The info word of a record: vlen in bits 0-23, the kind in 24-30, a flag in 31. Older kernels have
# fewer bits for vlen and kind and leave the others zero, so this is right for both.
VLEN, KIND_SHIFT, KIND, FLAG_SHIFT = 0xFFFFFF, 24, 0x7F, 31

# struct btf_header: magic version flags hdr_len, then offset and length of the types and of the
# strings; newer ones also of the layout section. Offsets count from the end of the header.
HEADER, HEADER_LAYOUT = struct.Struct("2sBBI4I"), struct.Struct("2I")
LONGEST = HEADER.size + HEADER_LAYOUT.size
LAYOUT = struct.Struct("BBH")  # struct btf_layout, one for each kind from 0 on


class Header(NamedTuple):
    """The sections of a blob, as (first byte, byte after the last), and its byte order < or >."""

    order: str
    types: tuple[int, int]
    strings: tuple[int, int]
    layout: tuple[int, int]


def header(data: "Buffer", source: str) -> Header:
    """Read and check struct btf_header: its sections are in the data and do not overlap."""
    view = memoryview(data)
    found = _header(view, source)
    _check(found[1:], len(view), source)
    return found


def extent(view: memoryview) -> int | None:
    """Return how many bytes a blob that begins here has, by its header; None if that is damaged.

    ``view`` has LONGEST bytes of it or more.
    """
    try:
        return max(end for _, end in _header(view, "")[1:])
    except WitnessError:
        return None


def _header(view: memoryview, source: str) -> Header:
    order = ORDERS.get(bytes(view[:2]))
    if order is None:
        raise WitnessError(f"{source}: not BTF: no magic number at its beginning")
    if len(view) < HEADER.size:
        raise WitnessError(f"{source}: truncated: {len(view)} bytes are not a whole BTF header")
    _, version, _, length, *places = struct.unpack_from(order + HEADER.format, view)
    if version != VERSION:
        raise WitnessError(f"{source}: BTF version {version}: only version {VERSION} is known")
    if not HEADER.size <= length <= len(view):
        raise WitnessError(f"{source}: a BTF header of {length} bytes in {len(view)} bytes of data")
    newer = length >= HEADER.size + HEADER_LAYOUT.size
    more = struct.Struct(order + HEADER_LAYOUT.format)
    places += more.unpack_from(view, HEADER.size) if newer else (0, 0)
    spans = [(length + places[n], length + sum(places[n : n + 2])) for n in (0, 2, 4)]
    return Header(order, *spans)


def _check(spans: Sequence[tuple[int, int]], size: int, source: str) -> None:
    for name, (start, end) in zip(Header._fields[1:], spans, strict=True):
        if end > size:
            where = f"{source}: its BTF {name} section"
            raise WitnessError(f"{where} ends at {end:#x}, the data at {size:#x}")
        if name != "strings" and (start % WORD or end % WORD):
            raise WitnessError(f"{source}: its BTF {name} section is not aligned to {WORD} bytes")
    reached = 0
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if start < reached:
            raise WitnessError(f"{source}: two of its BTF sections overlap at {start:#x}")
        reached = end


def is_split(data: "Buffer") -> bool:
    """Does this blob build on another? Then its strings do not begin with the empty one."""
    start, end = header(data, "BTF").strings
    return bytes(memoryview(data)[start:end][:1]) != b"\0"


def kinds(data: "Buffer", header: Header, source: str) -> tuple[Kind, ...]:
    """Return the kinds this blob can have: those known here, then those its layout describes."""
    start, end = header.layout
    rows = struct.Struct(header.order + LAYOUT.format).iter_unpack(memoryview(data)[start:end])
    found = list(KINDS)
    for number, (once, each, _) in enumerate(rows):
        if once % WORD or each % WORD:
            raise WitnessError(f"{source}: BTF kind {number} has parts of {once} and {each} bytes")
        if number >= len(KINDS):
            found.append(Kind(f"kind {number}", once, each))
        elif number != UNKN and (once, each) != KINDS[number][1:]:
            known = KINDS[number]
            said = f"says that BTF kind {known.name} has parts of {once} and {each} bytes"
            raise WitnessError(f"{source}: {said}; they are {known.once} and {known.each}")
    return tuple(found)
