"""Show which field of an area lies in which page: as text, as lanes to be drawn, as JSON."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.layouts.model import Layout
from runstate_abi.layouts.structs.runstate import update_byte
from runstate_abi.tools.memory.area import Element, abi_of, elements
from runstate_abi.tools.memory.text_view import style_of
from runstate_abi.tools.output import Ink, Line
from runstate_abi.tools.rendering.drawing import Box, Lane


class Part(NamedTuple):
    """The bytes ``first`` up to ``last`` of the area: an element, or what of it is in one page.

    ``flag`` is the offset of the update byte if it is among them.
    """

    element: Element
    first: int
    last: int
    flag: int | None

    @property
    def whole(self) -> bool:
        """Whether all of the element is in this page."""
        return self.last - self.first == self.element.size

    @property
    def style(self) -> str:
        """The style of the element's bytes."""
        return style_of(self.element.field, self.element.number)


class Page(NamedTuple):
    """One of the pages: the area's bytes ``first`` up to ``last`` are in it from ``start`` on."""

    start: int
    first: int
    last: int
    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        """How many bytes of the area are in this page."""
        return self.last - self.first

    def address_of(self, offset: int) -> int:
        """Return the address of byte ``offset`` of the area."""
        return self.start + offset - self.first


def pages(layout: Layout, address: int, second: int | None = None) -> tuple[Page, ...]:
    """Return the one or two pages that hold an area at ``address``; ``second`` is the other."""
    here = PAGE_SIZE - address % PAGE_SIZE
    if here >= layout.size:
        return (_page(layout, address, 0, layout.size),)
    other = address + here if second is None else second
    return (_page(layout, address, 0, here), _page(layout, other, here, layout.size))


def _page(layout: Layout, start: int, first: int, last: int) -> Page:
    flag = update_byte(layout)
    parts = []
    for element in elements(layout):
        low, high = max(first, element.offset), min(last, element.offset + element.size)
        if low < high:
            parts.append(Part(element, low, high, flag if low <= flag < high else None))
    return Page(start, first, last, tuple(parts))


def heading(layout: Layout, held: tuple[Page, ...], address: int) -> str:
    """Return one sentence: ``compat, 44 bytes at 0x1fec: 20 in the first page, ...``."""
    what = f"{abi_of(layout)} {layout.name}, {layout.size} bytes at {address:#x}"
    if len(held) == 1:
        return f"{what}: all in one page"
    return f"{what}: {held[0].size} in the first page, {held[1].size} in the second"


def lines(layout: Layout, held: tuple[Page, ...], address: int) -> Iterator[Line]:
    """Yield the pages for a person: a ruler of one character a byte, then each part."""
    yield (Ink(heading(layout, held, address), "strong"),)
    for number, page in enumerate(held, 1):
        end = page.start + page.size - 1
        yield (Ink(f"page {number}: {page.start:#x}..{end:#x}, {page.size} bytes", "page"),)
        yield (Ink("  "), *_ruler(page))
        yield from (_part(page, part) for part in page.parts)


def _ruler(page: Page) -> Iterator[Ink]:
    for part in page.parts:
        style = part.style
        letter = "." if part.element.field.padding else style[-1] if "time" in style else style[0]
        for offset in range(part.first, part.last):
            yield Ink("U", "flag") if offset == part.flag else Ink(letter, style)
        yield Ink(" ")


def _part(page: Page, part: Part) -> Line:
    count, size = part.last - part.first, part.element.size
    amount = f"{count} bytes" if part.whole else f"{count} of {size} bytes"
    place = f"  {page.address_of(part.first):#x}  +{part.first:#04x}  {amount:<12} "
    line = (Ink(place, "dim"), Ink(part.element.label, part.style))
    if part.flag is None:
        return line
    flag = f"  update byte +{part.flag:#04x} at {page.address_of(part.flag):#x}"
    return (*line, Ink(flag, "flag"))


def lanes(held: tuple[Page, ...]) -> Iterator[Lane]:
    """Yield a lane for each page, with its update byte marked."""
    for number, page in enumerate(held, 1):
        boxes = tuple(
            Box(
                part.element.name if part.whole else f"{part.element.name} (part)",
                part.last - part.first,
                part.style,
                None if part.flag is None else part.flag - part.first,
            )
            for part in page.parts
        )
        yield Lane(f"page {number}: {page.size} bytes from {page.start:#x} on", boxes)


def as_json(layout: Layout, held: tuple[Page, ...], address: int) -> dict[str, Any]:
    """Return the same as one JSON value; ``update_byte`` is an address."""
    return {
        "schema": "runstate-pages/1",
        "abi": abi_of(layout),
        "address": address,
        "size": layout.size,
        "pages": [
            {
                "address": page.start,
                "size": page.size,
                "update_byte": next(
                    (page.address_of(x.flag) for x in page.parts if x.flag is not None), None
                ),
                "parts": [
                    {"name": x.element.name, "offset": x.first, "size": x.last - x.first}
                    for x in page.parts
                ],
            }
            for page in held
        ],
    }
