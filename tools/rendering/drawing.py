"""Drawings as SVG: the bytes of a struct to scale, its parts in pages, one update over time.

Colours are CSS classes, so that a picture follows the reader's light or dark mode. No element has
an id, because a page may have many pictures.
"""

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from textwrap import wrap
from typing import NamedTuple

FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace"
LETTER = 6.7  # width of a character of 11 pixels, a little more than in most fonts

# fmt: off
COLOURS = (
    # class      light      dark
    ("paper",   "#ffffff", "#16181b"),
    ("ink",     "#1f2328", "#e3e1dc"),
    ("quiet",   "#59636e", "#a2a6ad"),
    ("state",   "#b7e4c7", "#1f5136"),
    ("padding", "#f0eee8", "#2a2d31"),
    ("entry",   "#fde68a", "#5f4a08"),
    ("time0",   "#bae6fd", "#0f4a66"),
    ("time1",   "#f5d0fe", "#5a2463"),
    ("time2",   "#c7d2fe", "#31387a"),
    ("time3",   "#fed7aa", "#6b3a12"),
    ("flag",    "#b42318", "#b42318"),
    ("onflag",  "#ffffff", "#ffffff"),
    ("old",     "#eceae4", "#2a2d31"),
    ("new",     "#86cfa4", "#2b7a4b"),
    ("either",  "#fbe9a6", "#6a5712"),
    ("store",   "#dbeafe", "#1d3a5f"),
)
# fmt: on


def style() -> str:
    """Return the CSS of all drawings, for a page or for a single drawing."""
    light = "".join(f".d-{name}{{fill:{colour}}}" for name, colour, _ in COLOURS)
    dark = "".join(f".d-{name}{{fill:{colour}}}" for name, _, colour in COLOURS)
    edges = ".d-edge{stroke:#1f2328;fill:none}.d-hatch{stroke:#8c877a;fill:none}"
    dark_edges = ".d-edge{stroke:#c9c6be}.d-hatch{stroke:#6b6f76}"
    return (
        f"{light}{edges}.d-bar{{stroke:#cf222e;stroke-width:3;fill:none}}"
        f"@media screen and (prefers-color-scheme:dark){{{dark}{dark_edges}}}"
    )


class Box(NamedTuple):
    label: str
    size: int
    kind: str  # a class in COLOURS
    mark: int | None = None  # which of the bytes is the update byte


class Lane(NamedTuple):
    """Boxes that are adjacent in memory, drawn in a row under ``title``."""

    title: str
    boxes: tuple[Box, ...]


class Epoch(NamedTuple):
    """The stores up to a barrier, and what a reader may see of each byte."""

    title: str
    stores: tuple[str, ...]
    bytes: tuple[str, ...]  # old, new, either or flag
    reader: str


class Picture(NamedTuple):
    """SVG elements, and the size that they need in pixels."""

    title: str
    width: int
    height: int
    shapes: tuple[str, ...]


def document(title: str, held: Iterable[Lane]) -> str:
    return "\n".join(svg(lanes(title, tuple(held)), alone=True)) + "\n"


def svg(picture: Picture, alone: bool = False) -> Iterator[str]:
    """Yield the lines of an SVG; ``alone`` if it is a file and needs the style in it."""
    wide, high = picture.width, picture.height
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}" '
        f'viewBox="0 0 {wide} {high}" role="img" font-family="{FONT}" font-size="11">'
    )
    yield f"<title>{escape(picture.title, quote=False)}</title>"
    if alone:
        yield f"<style>{style()}</style>"
        yield f'<rect class="d-paper" width="{wide}" height="{high}"/>'
    yield from (*picture.shapes, "</svg>")


LABEL_WIDE, COLUMN_WIDE, ROW_HIGH, PER_ROW = 46, 37, 34, 8


def byte_rows(title: str, boxes: Sequence[Box]) -> Picture:
    """Draw boxes to scale, eight bytes a row, with the offset of each row."""
    size = sum(box.size for box in boxes)
    rows = -(-size // PER_ROW)
    shapes: list[str] = []
    for column in range(PER_ROW):
        x = LABEL_WIDE + column * COLUMN_WIDE + COLUMN_WIDE // 2
        shapes.append(_text(x, 12, str(column), "quiet", "middle"))
    for row in range(rows):
        y = 20 + row * ROW_HIGH + ROW_HIGH // 2 + 4
        shapes.append(_text(LABEL_WIDE - 8, y, f"{row * PER_ROW:#04x}", "quiet", "end"))
    start = 0
    for box in boxes:
        shapes += _spread(box, start)
        start += box.size
    wide = LABEL_WIDE + PER_ROW * COLUMN_WIDE + 2
    return Picture(title, wide, 22 + rows * ROW_HIGH, tuple(shapes))


# A box that does not end in its row continues in the next one. Its longest piece has the label.
def _spread(box: Box, start: int) -> Iterator[str]:
    end = start + box.size
    firsts = [start, *range((start // PER_ROW + 1) * PER_ROW, end, PER_ROW)]
    sizes = [last - first for first, last in zip(firsts, [*firsts[1:], end], strict=True)]
    for index, (first, size) in enumerate(zip(firsts, sizes, strict=True)):
        mark = None if box.mark is None else box.mark - (first - start)
        label = box.label if index == sizes.index(max(sizes)) else ""
        x, y = LABEL_WIDE + first % PER_ROW * COLUMN_WIDE, 20 + first // PER_ROW * ROW_HIGH
        yield from _box(Box(label, size, box.kind, mark), x, y, COLUMN_WIDE, ROW_HIGH)


BYTE_WIDE, LANE_HIGH, LANE_STEP = 18, 34, 66


def lanes(title: str, held: Sequence[Lane], byte: int = BYTE_WIDE) -> Picture:
    """Draw lanes one below the other, ``byte`` pixels per byte."""
    shapes = [_text(2, 14, title, "ink")]
    for number, lane in enumerate(held):
        top = 30 + number * LANE_STEP
        shapes.append(_text(2, top + 8, lane.title, "quiet"))
        x = 2
        for box in lane.boxes:
            shapes += _box(box, x, top + 16, byte, LANE_HIGH)
            x += box.size * byte
    widest = max(sum(box.size for box in lane.boxes) for lane in held) * byte
    letters = max(len(title), *(len(lane.title) for lane in held)) * LETTER
    return Picture(title, int(max(widest, letters)) + 6, 30 + len(held) * LANE_STEP, tuple(shapes))


def _box(box: Box, x: int, y: int, byte: int, high: int) -> Iterator[str]:
    wide = box.size * byte
    yield f'<rect class="d-{box.kind}" x="{x}" y="{y}" width="{wide}" height="{high}"/>'
    if box.kind == "padding":
        yield _hatch(x, y, wide, high)
    if box.mark is not None and 0 <= box.mark < box.size:
        left = x + box.mark * byte
        yield f'<rect class="d-flag" x="{left}" y="{y}" width="{byte}" height="{high}"/>'
        if _fitting("UPD", byte):
            yield _text(left + byte / 2, y + high // 2 + 4, "UPD", "onflag", "middle")
    ticks = "".join(f"M{x + i * byte} {y + high - 4}v4" for i in range(1, box.size))
    yield f'<path class="d-edge" d="M{x} {y}h{wide}v{high}h-{wide}z{ticks}"/>'
    label = _fitting(box.label, wide - 8 - (byte if box.mark == box.size - 1 else 0))
    if label:
        yield _text(x + 5, y + high // 2 + 4, label, "ink")


def _fitting(label: str, wide: float) -> str:
    fits = int(wide / LETTER)
    if len(label) <= fits:
        return label
    return f"{label[: fits - 1]}…" if fits > 2 else ""


# Diagonals, cut at the box by arithmetic: an SVG pattern would need an id.
def _hatch(x: int, y: int, wide: int, high: int) -> str:
    lines = []
    for start in range(0, wide + high, 7):
        x1, y1 = min(start, wide), max(0, start - wide)
        x2, y2 = max(0, start - high), min(start, high)
        lines.append(f"M{x + x1} {y + y1}L{x + x2} {y + y2}")
    return f'<path class="d-hatch" d="{"".join(lines)}"/>'


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    where = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text class="d-{kind}" x="{x:g}" y="{y:g}"{where}>{escape(text, quote=False)}</text>'


STORE_WIDE, STORE_HIGH, CELL, GAP = 222, 22, 13, 14
TIMELINE_WIDE = STORE_WIDE + GAP + PER_ROW * CELL + 4


def timeline(title: str, epochs: Sequence[Epoch], barrier: str) -> Picture:
    """Draw one update from top to bottom: the stores and bytes of each epoch, and its barrier."""
    shapes: list[str] = []
    y = 4
    for epoch in epochs:
        shapes.append(_text(0, y + 10, epoch.title, "quiet"))
        y += 18
        rows = -(-len(epoch.bytes) // PER_ROW)
        for number, label in enumerate(epoch.stores):
            top, wide, high = y + number * (STORE_HIGH + 3), STORE_WIDE, STORE_HIGH
            box = f'x="0" y="{top}" width="{wide}" height="{high}" rx="3"'
            shapes.append(f'<rect class="d-store" {box}/>')
            shapes.append(_text(7, top + high // 2 + 4, _fitting(label, wide - 10), "ink"))
        for index, kind in enumerate(epoch.bytes):
            left, top = index % PER_ROW * CELL + STORE_WIDE + GAP, y + index // PER_ROW * CELL
            box = f'x="{left}" y="{top}" width="{CELL - 2}" height="{CELL - 2}"'
            shapes.append(f'<rect class="d-{kind}" {box}/>')
        y += max(len(epoch.stores) * (STORE_HIGH + 3), rows * CELL) + 4
        for line in wrap(f"reader: {epoch.reader}", int(TIMELINE_WIDE / LETTER)):
            shapes.append(_text(0, y + 10, line, "ink"))
            y += 15
        y += 7
        shapes.append(f'<path class="d-bar" d="M0 {y}h{TIMELINE_WIDE}"/>')
        shapes.append(_text(TIMELINE_WIDE, y + 13, barrier, "quiet", "end"))
        y += 18
    return Picture(title, TIMELINE_WIDE, y, tuple(shapes))
