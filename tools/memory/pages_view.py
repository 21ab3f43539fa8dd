"""Which field of an area is in which page: as text, as lanes to draw, as JSON."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.layouts.model import Layout
from runstate_abi.layouts.structs.runstate import label
from runstate_abi.tools.memory.area import Part, abi_of, parts
from runstate_abi.tools.output import Ink, Line, style_of
from runstate_abi.tools.rendering.drawing import Box, Lane


class Page(NamedTuple):
    """One page: the area's bytes ``first`` up to ``last`` are in it from ``start`` on."""

    start: int
    first: int
    last: int
    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        return self.last - self.first


def pages(layout: Layout, address: int, second: int | None = None) -> tuple[Page, ...]:
    """Return the one or two pages that hold an area at ``address``; ``second`` is the other."""
    here = PAGE_SIZE - address % PAGE_SIZE
    other = address + here if second is None else second
    every = tuple(parts(layout, (here,), lambda at: at + (address if at < here else other - here)))
    head = Page(address, 0, min(here, layout.size), tuple(x for x in every if x.first < here))
    if here >= layout.size:
        return (head,)
    return (head, Page(other, here, layout.size, tuple(x for x in every if x.first >= here)))


def _update_byte(part: Part) -> int | None:
    return None if part.flag is None else part.address + part.flag - part.first


def heading(layout: Layout, held: tuple[Page, ...], address: int) -> str:
    """Return one sentence: ``compat, 44 bytes at 0x1fec: 20 in the first page, ...``."""
    what = f"{abi_of(layout)} {layout.name}, {layout.size} bytes at {address:#x}"
    if len(held) == 1:
        return f"{what}: all in one page"
    return f"{what}: {held[0].size} in the first page, {held[1].size} in the second"


def lines(layout: Layout, held: tuple[Page, ...], address: int) -> Iterator[Line]:
    """Yield the pages as text: a ruler with one character per byte, then each part."""
    yield (Ink(heading(layout, held, address), "strong"),)
    for number, page in enumerate(held, 1):
        end = page.start + page.size - 1
        yield (Ink(f"page {number}: {page.start:#x}..{end:#x}, {page.size} bytes", "page"),)
        ruler = [Ink("  ")]
        for part in page.parts:
            style = style_of(part.element)
            letter = "." if style == "padding" else style[-1] if "time" in style else style[0]
            ruler += (
                Ink("U", "flag") if offset == part.flag else Ink(letter, style)
                for offset in range(part.first, part.last)
            )
            ruler.append(Ink(" "))
        yield tuple(ruler)
        for part in page.parts:
            size = f"{part.size} bytes"
            whole = part.size == part.element.size
            amount = size if whole else f"{part.size} of {part.element.size} bytes"
            place = f"  {part.address:#x}  +{part.first:#04x}  {amount:<12} "
            line = (Ink(place, "dim"), Ink(label(part.element), style_of(part.element)))
            byte = (
                f"  update byte +{part.flag:#04x} at {_update_byte(part):#x}" if part.flag else ""
            )
            yield (*line, Ink(byte, "flag"))


def lanes(held: tuple[Page, ...]) -> Iterator[Lane]:
    """Yield a lane for each page, with its update byte marked."""
    for number, page in enumerate(held, 1):
        boxes = []
        for part in page.parts:
            name = part.element.name + " (part)" * (part.size < part.element.size)
            mark = None if part.flag is None else part.flag - part.first
            boxes.append(Box(name, part.size, style_of(part.element), mark))
        yield Lane(f"page {number}: {page.size} bytes from {page.start:#x} on", tuple(boxes))


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
                "update_byte": next(filter(None, map(_update_byte, page.parts)), None),
                "parts": [
                    {"name": x.element.name, "offset": x.first, "size": x.size} for x in page.parts
                ],
            }
            for page in held
        ],
    }
