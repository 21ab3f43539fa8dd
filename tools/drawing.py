"""Byte fields as SVG: boxes as wide as their bytes, cut where a page ends.

Law of this file: it draws what it is told and knows no struct. The picture is text, the same bytes
for the same values, with a title and no script, so that it may be committed and read aloud.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

BYTE_WIDE = 18
BOX_HIGH = 34
LEFT, TOP = 12, 46
LANE_GAP = 46
PAPER, INK, QUIET = "#ffffff", "#1f2328", "#6e7781"
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace"


class Box(NamedTuple):
    """``size`` bytes with a label; ``mark`` is the index of a byte to be filled, if any."""

    label: str
    size: int
    fill: str
    mark: int | None = None


class Lane(NamedTuple):
    """Boxes in a row that lie together in memory: ``title`` stands over them."""

    title: str
    boxes: tuple[Box, ...]


def svg(title: str, lanes: Sequence[Lane]) -> Iterator[str]:
    """Yield the lines of an SVG picture: one lane under another."""
    widest = max(sum(box.size for box in lane.boxes) for lane in lanes)
    letters = max(len(title), *(len(lane.title) for lane in lanes))
    wide = 2 * LEFT + max(widest * BYTE_WIDE, letters * 8)
    high = TOP + len(lanes) * (BOX_HIGH + LANE_GAP)
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}" '
        f'viewBox="0 0 {wide} {high}" role="img" font-family="{FONT}" font-size="12">'
    )
    yield f"<title>{escape(title)}</title>"
    yield f'<rect width="{wide}" height="{high}" fill="{PAPER}"/>'
    yield _text(LEFT, 20, title, INK, "bold")
    for number, lane in enumerate(lanes):
        yield from _lane(lane, TOP + number * (BOX_HIGH + LANE_GAP))
    yield "</svg>"


def _lane(lane: Lane, top: int) -> Iterator[str]:
    yield _text(LEFT, top + 10, lane.title, QUIET)
    left = LEFT
    for box in lane.boxes:
        yield from _box(box, left, top + 18)
        left += box.size * BYTE_WIDE


def _box(box: Box, left: int, top: int) -> Iterator[str]:
    wide = box.size * BYTE_WIDE
    yield _rect(left, top, wide, BOX_HIGH, box.fill, INK)
    for index in range(1, box.size):
        x = left + index * BYTE_WIDE
        yield f'<path d="M{x} {top + BOX_HIGH - 5}v5" stroke="{INK}"/>'
    if box.mark is not None:
        yield _rect(left + box.mark * BYTE_WIDE, top, BYTE_WIDE, BOX_HIGH, "#cf222e", INK)
    fits = max(wide // 7 - 1, 0)
    label = box.label if len(box.label) <= fits else box.label[: max(fits - 1, 0)] + "…"
    if fits > 1:
        yield _text(left + 4, top + 20, label, INK)
    yield f"<!-- {escape(box.label).replace('--', '- -')}: {box.size} bytes -->"


def _rect(left: int, top: int, wide: int, high: int, fill: str, line: str) -> str:
    return (
        f'<rect x="{left}" y="{top}" width="{wide}" height="{high}" fill="{fill}" stroke="{line}"/>'
    )


def _text(left: int, top: int, text: str, fill: str, weight: str = "normal") -> str:
    return f'<text x="{left}" y="{top}" fill="{fill}" font-weight="{weight}">{escape(text)}</text>'


def document(title: str, lanes: Iterable[Lane]) -> str:
    """Return the whole picture as one string."""
    return "\n".join(svg(title, tuple(lanes))) + "\n"
