"""Which field of an area lies in which page: as lines for a person, and as lanes to be drawn.

Law of this file: it knows where an area lies and nothing of what is in it.
"""

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
    """The part of an element in one page: bytes ``first`` up to ``last`` of the area."""

    element: Element
    first: int
    last: int
    flag: int | None

    @property
    def whole(self) -> bool:
        """Whether all of the element is in this page."""
        return self.last - self.first == self.element.size


class Page(NamedTuple):
    """One of the pages: the area's bytes ``first`` up to ``last`` are in it from ``start`` on."""

    start: int
    first: int
    last: int
    parts: tuple[Part, ...]


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
    sizes = [page.last - page.first for page in held]
    if len(held) == 1:
        return f"{what}: all in one page"
    return f"{what}: {sizes[0]} in the first page, {sizes[1]} in the second"


def lines(layout: Layout, held: tuple[Page, ...], address: int) -> Iterator[Line]:
    """Yield the pages for a person: a ruler of one character a byte, then each part."""
    yield (Ink(heading(layout, held, address), "strong"),)
    for number, page in enumerate(held, 1):
        count = page.last - page.first
        end = page.start + count
        yield (Ink(f"page {number}: {page.start:#x}..{end - 1:#x}, {count} bytes", "page"),)
        yield (Ink("  "), *_ruler(page))
        yield from (_part(page, part) for part in page.parts)


def _ruler(page: Page) -> Iterator[Ink]:
    for part in page.parts:
        style = style_of(part.element.field, part.element.number)
        letter = "." if part.element.field.padding else style[-1] if "time" in style else style[0]
        for offset in range(part.first, part.last):
            yield Ink("U", "flag") if offset == part.flag else Ink(letter, style)
        yield Ink(" ")


def _part(page: Page, part: Part) -> Line:
    style = style_of(part.element.field, part.element.number)
    count, size = part.last - part.first, part.element.size
    address = page.start + part.first - page.first
    amount = f"{count} bytes" if part.whole else f"{count} of {size} bytes"
    place = f"  {address:#x}  +{part.first:#04x}  {amount:<12} "
    if part.flag is None:
        return (Ink(place, "dim"), Ink(part.element.label, style))
    flag = f"  update byte +{part.flag:#04x} at {page.start + part.flag - page.first:#x}"
    return (Ink(place, "dim"), Ink(part.element.label, style), Ink(flag, "flag"))


def lanes(held: tuple[Page, ...]) -> Iterator[Lane]:
    """Yield a lane for each page; the update byte is the filled one."""
    for number, page in enumerate(held, 1):
        boxes = tuple(_box(part) for part in page.parts)
        count = page.last - page.first
        yield Lane(f"page {number}: {count} bytes from {page.start:#x} on", boxes)


def _box(part: Part) -> Box:
    style = style_of(part.element.field, part.element.number)
    mark = None if part.flag is None else part.flag - part.first
    label = part.element.name if part.whole else f"{part.element.name} (part)"
    return Box(label, part.last - part.first, style, mark)


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
                "size": page.last - page.first,
                "update_byte": next(
                    (page.start + x.flag - page.first for x in page.parts if x.flag is not None),
                    None,
                ),
                "parts": [
                    {"name": x.element.name, "offset": x.first, "size": x.last - x.first}
                    for x in page.parts
                ],
            }
            for page in held
        ],
    }
