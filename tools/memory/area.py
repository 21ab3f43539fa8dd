"""A runstate area in memory: its bytes, their addresses, and the numbers in it under a layout.

Nothing here judges what a value means.
"""

import struct
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from runstate_abi.layouts.abi import CACHE_LINE, PAGE_SIZE
from runstate_abi.layouts.model import Element, Layout, WitnessError
from runstate_abi.layouts.structs import runstate
from runstate_abi.tools.memory import image as memory
from runstate_abi.tools.memory.image import Image

LAYOUTS = {"native": runstate.NATIVE, "compat": runstate.COMPAT}
LARGEST, SMALLEST = runstate.NATIVE.size, runstate.COMPAT.size

STOLEN = ("runnable", "offline")  # the states of a vCPU that could run but did not
# native begins so many bytes before compat, if both read the same times
SHIFT = runstate.NATIVE.offsetof("state_entry_time") - runstate.COMPAT.offsetof("state_entry_time")


def abi_of(layout: Layout) -> str:
    """Return the user's name of a layout: ``native`` or ``compat``."""
    return next(name for name, known in LAYOUTS.items() if known is layout)


def state_name(state: int) -> str | None:
    """Return ``running`` for 0 and so on, None for a value that is no RUNSTATE_*."""
    return next((known.name for known in runstate.RUNSTATES if known.value == state), None)


class Span(NamedTuple):
    """Contiguous bytes: a whole area, or the part of it in one page."""

    address: int
    data: bytes


class Excerpt(NamedTuple):
    """One or two spans from an area's address on, before its layout and size are known."""

    spans: tuple[Span, ...]
    before: bytes = b""  # the few bytes in front of the area, if the source has them

    @property
    def address(self) -> int:
        return self.spans[0].address

    @property
    def data(self) -> bytes:
        return b"".join(span.data for span in self.spans)


class Values(NamedTuple):
    """The numbers in an area, unsigned; times in ns."""

    state: int
    entry_raw: int  # still has the flag
    times: tuple[int, ...]
    padding: bytes

    @property
    def updating(self) -> bool:
        return bool(self.entry_raw & runstate.XEN_RUNSTATE_UPDATE)

    @property
    def entry(self) -> int:
        """state_entry_time in ns, without the flag."""
        return self.entry_raw & ~runstate.XEN_RUNSTATE_UPDATE

    @property
    def total(self) -> int:
        """The sum of the four times in ns, not wrapped at 2^64."""
        return sum(self.times)

    @property
    def steal(self) -> int:
        """What Linux counts as stolen, in ns: xen_steal_clock() in drivers/xen/time.c."""
        return sum(self.times[known.value] for known in runstate.RUNSTATES if known.name in STOLEN)


class AreaBytes(NamedTuple):
    layout: Layout
    spans: tuple[Span, ...]

    @property
    def abi(self) -> str:
        return abi_of(self.layout)

    @property
    def address(self) -> int:
        return self.spans[0].address

    @property
    def data(self) -> bytes:
        return b"".join(span.data for span in self.spans)

    @property
    def values(self) -> Values:
        return values(self.layout, self.data)

    def address_of(self, offset: int) -> int:
        for span in self.spans[:-1]:
            if offset < len(span.data):
                return span.address + offset
            offset -= len(span.data)
        return self.spans[-1].address + offset


def _format(layout: Layout) -> struct.Struct:
    letters = {4: "I", 8: "Q"}
    kinds = (f"{x.size}s" if x.padding else f"{x.count}{letters[x.type.size]}" for x in layout.rows)
    return struct.Struct("<" + "".join(kinds))


_FORMATS = {layout.name: _format(layout) for layout in LAYOUTS.values()}


def values(layout: Layout, data: bytes) -> Values:
    """Return the little-endian unsigned numbers in ``data`` under ``layout``."""
    found = _FORMATS[layout.name].unpack_from(data)
    state, entry, *times = (number for number in found if isinstance(number, int))
    padding = b"".join(part for part in found if isinstance(part, bytes))
    return Values(state, entry, tuple(times), padding)


def packed(seen: Values) -> bytes:
    """Return the numbers as native has them in memory."""
    native = _FORMATS[runstate.NATIVE.name]
    return native.pack(seen.state, seen.padding, seen.entry_raw, *seen.times)


def excerpt(
    image: Image, address: int, second: int | None = None, other: Image | None = None
) -> Excerpt:
    """Read as many bytes at ``address`` as the larger layout needs and the image has.

    ``second`` is the address of the other page if that is not the next page; it is in the image
    ``other`` if that is given. WitnessError if not even the smaller layout fits.
    """
    in_front = memory.before(image, address, SHIFT)
    here = PAGE_SIZE - address % PAGE_SIZE
    if second is None or here >= LARGEST:
        data = memory.available(image, address, LARGEST)
        if 0 < len(data) < SMALLEST:
            raise WitnessError(missing(image.source, address, len(data)))
        return Excerpt((Span(address, data or memory.read(image, address, SMALLEST)),), in_front)
    head = memory.read(image, address, here)
    rest = memory.available(other or image, second, LARGEST - here)
    if not rest:
        memory.read(other or image, second, LARGEST - here)
    if len(head) + len(rest) < SMALLEST:
        raise WitnessError(f"{image.source}: the second page holds {len(rest)} bytes, too few")
    return Excerpt((Span(address, head), Span(second, rest)), in_front)


def missing(source: str, address: int, count: int) -> str:
    """Return a message: only ``count`` bytes of an area are there."""
    return (
        f"{source}: {count} of {LARGEST} bytes at {address:#x}: {LARGEST - count} are missing at "
        f"its end (compat has {SMALLEST}: --abi compat)"
    )


def read_as(layout: Layout, seen: Excerpt) -> AreaBytes:
    """Return the excerpt as an area of this layout (WitnessError if it is too short)."""
    if len(seen.data) < layout.size:
        has = f"{len(seen.data)} bytes at {seen.address:#x}"
        raise WitnessError(f"{has}: {abi_of(layout)} needs {layout.size}")
    (address, data), *rest = seen.spans
    left = layout.size - len(data)
    others = (Span(span.address, span.data[:left]) for span in rest if left > 0)
    return AreaBytes(layout, (Span(address, data[: layout.size]), *others))


class Part(NamedTuple):
    """Bytes ``first`` up to ``last`` of the area: an element or a part of it."""

    element: Element
    first: int
    last: int
    address: int
    flag: int | None  # the offset of the update byte, if it is among them

    @property
    def size(self) -> int:
        return self.last - self.first


def parts(layout: Layout, cuts: Iterable[int], address_of: Callable[[int], int]) -> Iterator[Part]:
    """Yield the elements of a struct, cut into parts at the offsets ``cuts``."""
    flag = runstate.update_byte(layout)
    for element in layout.elements():
        stops = [offset for offset in cuts if element.offset < offset < element.end]
        for first, last in pairwise([element.offset, *stops, element.end]):
            here = flag if first <= flag < last else None
            yield Part(element, first, last, address_of(first), here)


class Edge(NamedTuple):
    """A page or a cache line ends before ``address``, after ``offset`` bytes of the area."""

    address: int
    offset: int
    page: bool
    elsewhere: bool  # the area goes on in a page that is not the next one


def edges(area: AreaBytes) -> tuple[Edge, ...]:
    seam = len(area.spans[0].data)  # the end, if there is one span
    found: list[Edge] = []
    for offset in range(1, area.layout.size):
        address = area.address_of(offset)
        if address % CACHE_LINE == 0 or offset == seam:
            elsewhere = address != area.address_of(offset - 1) + 1
            found.append(Edge(address, offset, address % PAGE_SIZE == 0 or elsewhere, elsewhere))
    return tuple(found)
