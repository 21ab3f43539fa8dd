"""An area as rows: one for each field element, cut where a page or a cache line ends.

Law of this file: every byte of the area is in exactly one row, in order, at its own address.
"""

from collections.abc import Iterator
from typing import NamedTuple

from runstate_abi.layouts.abi import CACHE_LINE, PAGE_SIZE
from runstate_abi.layouts.model import Field, Layout
from runstate_abi.layouts.structs.runstate import RUNSTATES, update_byte
from runstate_abi.tools.memory.area import Area


class Element(NamedTuple):
    """One number of the struct, or one run of padding: ``time[2]`` of ``field``."""

    name: str
    field: Field
    offset: int
    size: int
    number: int

    @property
    def label(self) -> str:
        """The name, and for a time the state that it counts: ``time[2] blocked``."""
        if self.field.count == 1 or self.field.padding:
            return self.name
        return f"{self.name} {RUNSTATES[self.number].name}"


class Row(NamedTuple):
    """Bytes of one element that lie in one cache line; ``column`` is where in it they begin.

    ``flag`` is the index in ``data`` of the byte that holds XEN_RUNSTATE_UPDATE, if it is here.
    """

    address: int
    offset: int
    data: bytes
    column: int
    element: Element
    flag: int | None


class Edge(NamedTuple):
    """A page or a cache line ends before ``address``; ``offset`` bytes of the area precede it."""

    address: int
    offset: int
    page: bool
    elsewhere: bool  # The area goes on in a page that is not the next one.


def elements(layout: Layout) -> Iterator[Element]:
    """Yield the numbers of a struct in offset order, each padding row as one element."""
    for row in layout.rows:
        if row.padding:
            yield Element(row.name, row, row.offset, row.size, 0)
            continue
        for index in range(row.count):
            name = row.name if row.count == 1 else f"{row.name}[{index}]"
            yield Element(name, row, row.offset + index * row.type.size, row.type.size, index)


def edges(area: Area) -> tuple[Edge, ...]:
    """Return where pages and cache lines end inside the area."""
    seam = len(area.spans[0].data) if len(area.spans) > 1 else None
    found: list[Edge] = []
    for offset in range(1, area.layout.size):
        address = area.address_of(offset)
        if address % CACHE_LINE == 0 or offset == seam:
            elsewhere = address != area.address_of(offset - 1) + 1
            found.append(Edge(address, offset, address % PAGE_SIZE == 0 or elsewhere, elsewhere))
    return tuple(found)


def rows(area: Area) -> Iterator[Row | Edge]:
    """Yield the rows of an area, and between them the edges at which they were cut."""
    data, flag = area.data, update_byte(area.layout)
    by_offset = {edge.offset: edge for edge in edges(area)}
    for element in elements(area.layout):
        start, end = element.offset, element.offset + element.size
        stops = [offset for offset in by_offset if start < offset < end]
        for first, last in zip([start, *stops], [*stops, end], strict=True):
            if first in by_offset:
                yield by_offset[first]
            here = flag - first if first <= flag < last else None
            address = area.address_of(first)
            yield Row(address, first, data[first:last], first - start, element, here)
