"""A struct of any family, drawn to scale: eight bytes a row, and no row more than it takes.

A member that fills many rows is folded: its first full row is drawn, and the offsets on the left go
on behind it.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from runstate_abi.layouts.model import Field, Layout
from runstate_abi.tools.rendering import drawing
from runstate_abi.tools.rendering.blocks import Figure
from runstate_abi.tools.rendering.drawing import PER_ROW, Box, Picture

ROWS_MAX = 8  # a member that fills more rows than this is folded
COLOURS = ("time0", "state", "time1", "entry", "time2", "time3")  # of drawing.COLOURS


class Drawn(NamedTuple):
    """Boxes, and the offset in the struct of each row that they fill."""

    boxes: tuple[Box, ...]
    starts: tuple[int, ...]
    folds: bool


def drawn(layout: Layout) -> Drawn:
    """Return what is drawn of a layout: a box for each row of it, long ones folded."""
    left_out = {number for row in layout.rows for number in _folded(row)}
    starts = range(0, layout.size, PER_ROW)
    shown = tuple(start for start in starts if start // PER_ROW not in left_out)
    return Drawn(tuple(_boxes(layout)), shown, bool(left_out))


# The rows of the drawing that a member leaves out.
def _folded(row: Field) -> range:
    first, last = -(-row.offset // PER_ROW), row.end // PER_ROW
    return range(first + 1, last) if last - first > ROWS_MAX else range(0)


def _boxes(layout: Layout) -> Iterator[Box]:
    members = 0
    for row in layout.rows:
        left_out = len(_folded(row))
        label = f"{row.declaration}: {row.size} bytes" if left_out else row.declaration
        kind = "padding" if row.padding else COLOURS[members % len(COLOURS)]
        members += not row.padding
        yield Box("padding" if is_hole(row) else label, row.size - left_out * PER_ROW, kind)


def is_hole(row: Field) -> bool:
    """Does the ABI make this padding? Otherwise it is declared and has a name of its own."""
    return row.padding and row.name.startswith("pad_")


def figure(caption: str, layout: Layout) -> Figure:
    """Return a struct drawn, and the same in characters; ``caption`` begins the caption."""
    held = drawn(layout)
    folded = " A long member is cut short: the offsets go on behind it." if held.folds else ""
    hatched = "Padding is hatched." if layout.padding else ""
    return Figure(
        f"{caption}: {layout.size} bytes, eight a row.{folded}",
        tuple(drawing.svg(_picture(f"struct {layout.name}, byte by byte", held))),
        tuple(characters(held.boxes, held.starts)),
        hatched,
    )


# byte_rows() labels its rows 0x00, 0x08, ... after those of the columns: here by their offsets.
def _picture(title: str, held: Drawn) -> Picture:
    made = drawing.byte_rows(title, held.boxes)
    shapes = list(made.shapes)
    for number, start in enumerate(held.starts):
        place = PER_ROW + number
        shapes[place] = shapes[place].replace(f">{number * PER_ROW:#04x}<", f">{start:#04x}<")
    return made._replace(shapes=tuple(shapes))


# Six characters per byte. A box that does not end in its row continues in the next one.
def characters(held: Sequence[Box], starts: Sequence[int]) -> Iterator[str]:
    """Yield boxes in characters; ``starts`` are the offsets of the rows."""
    cells = [(box, index) for box in held for index in range(box.size)]
    places = [f"{start:#04x}" for start in starts]
    wide = max(map(len, places))
    edge = " " * (wide + 1)
    yield f"{edge} " + "".join(f"{column:^6}" for column in range(PER_ROW)).rstrip()
    rule = f"{edge}+" + "-" * (6 * PER_ROW - 1) + "+"
    yield rule
    for number, place in enumerate(places):
        row = cells[number * PER_ROW : (number + 1) * PER_ROW]
        yield f"{place:<{wide}} |" + "".join(_segments(row))
        yield rule if len(row) == PER_ROW else f"{edge}+" + "-" * (6 * len(row) - 1) + "+"


def _segments(row: list[tuple[Box, int]]) -> Iterator[str]:
    for box, cells in groupby(row, key=lambda cell: cell[0]):
        here = [at for _, at in cells]
        wide = 6 * len(here) - 1
        text = box.label if here[0] == 0 else "..."
        if box.kind == "padding":
            text = f" {box.label} ".center(wide, "/")
        if box.mark is not None and box.mark in here:
            text = f"{text[: wide - 6]:<{wide - 6}}|{' UPD':<5}"
        yield f"{text[:wide]:<{wide}}|"
