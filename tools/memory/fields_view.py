"""The fields of a struct in memory as lines of text and as one JSON value."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby, pairwise
from typing import Any, NamedTuple

from runstate_abi.tools.memory import fields, text_view
from runstate_abi.tools.memory.area import AreaBytes, Edge, edges
from runstate_abi.tools.memory.fields import Row
from runstate_abi.tools.output import Ink, Line

CHUNK = 8  # bytes in a line
FOLD_OVER = 32  # a struct of more rows is folded where they are zero
BYTES_WIDE = 3 * CHUNK + 1


class Piece(NamedTuple):
    """Bytes ``first`` up to ``last`` of the struct, all of one row; ``data`` is None for zeros."""

    row: Row
    first: int
    last: int
    data: bytes | None


class Fold(NamedTuple):
    """Rows one behind the other whose bytes are all zero."""

    rows: tuple[Row, ...]


def page_edges(seen: AreaBytes) -> tuple[Edge, ...]:
    """Return where a page ends inside the struct."""
    return tuple(edge for edge in edges(seen) if edge.page)


def pieces(row: Row, cuts: Iterable[int], every: bool) -> Iterator[Piece]:
    """Yield a row in pieces that no edge cuts; of a long one those that are not zero, or every."""
    folds = row.zero and row.size > CHUNK and not every
    steps = () if folds else range(row.offset, row.offset + row.size, CHUNK)
    stops = {row.offset, *steps, *(cut for cut in cuts if cut > row.offset), row.offset + row.size}
    end = row.offset + len(row.data)
    for first, last in pairwise(sorted(stop for stop in stops if stop <= row.offset + row.size)):
        data = row.data[first - row.offset : last - row.offset]
        if first < end and (every or folds or first == row.offset or first in cuts or any(data)):
            yield Piece(row, first, min(last, end), None if folds else data)


def items(found: tuple[Row, ...], cuts: frozenset[int], every: bool) -> Iterator[Piece | Fold]:
    """Yield what has a line: pieces of rows, and with many rows folds of those that are zero."""
    folding = len(found) > FOLD_OVER and not every

    # A row that an edge cuts is shown; a fold ends at an edge.
    def key(row: Row) -> tuple[bool, int]:
        cut = any(row.offset < offset < row.offset + row.size for offset in cuts)
        return folding and row.zero and not cut, sum(offset <= row.offset for offset in cuts)

    for (zero, _), group in groupby(found, key):
        rows = tuple(group)
        if zero and len(rows) > 1:
            yield Fold(rows)
        else:
            yield from (piece for row in rows for piece in pieces(row, cuts, every))


def heading(seen: AreaBytes, source: str, reasons: Iterable[str]) -> Iterator[Line]:
    """Yield what struct is where, and why it is that one."""
    layout = seen.layout
    what = f"struct {layout.name} [{layout.abi}], {layout.size} bytes, little-endian"
    yield (Ink(f"{source} at {seen.address:#x}: "), Ink(what, "strong"))
    yield from ((Ink("  "), Ink(reason, "dim")) for reason in reasons)


def body(
    seen: AreaBytes, found: tuple[Row, ...], meanings: Mapping[int, str], every: bool = False
) -> Iterator[Line]:
    """Yield a line for each item, and between them the page edges; ``every`` folds nothing.

    ``meanings`` are written behind the numbers at these offsets.
    """
    ends = {edge.offset: edge for edge in page_edges(seen)}
    shown = list(items(found, frozenset(ends), every))
    alone = [item.row for item in shown if isinstance(item, Piece)]
    wide = max((len(row.path) for row in alone), default=0)
    type_wide = max((len(row.type) for row in alone), default=0)
    for item in shown:
        first = item.first if isinstance(item, Piece) else item.rows[0].offset
        if first in ends:
            yield text_view.edge_line(seen, ends[first])
        place = Ink(_place(seen, first), "dim")
        if isinstance(item, Fold):
            yield (place, *_fold(item))
        elif first != item.row.offset:
            yield (place, *_bytes(item), Ink(f"{item.row.path}, continued", _style(item.row)))
        else:
            names = f"{item.row.path:<{wide}}  {item.row.type:<{type_wide}}  "
            style = "flag" if fields.rule(item.row) else ""
            meaning = f"  {meanings[first]}" if first in meanings else ""
            told = (Ink(names, "dim" if item.row.padding else ""), Ink(_value(item.row), style))
            yield (place, *_bytes(item), *told, Ink(meaning))


def _place(seen: AreaBytes, offset: int) -> str:
    wide = max(len(f"{seen.layout.size - 1:#x}"), 4)
    return f"{seen.address_of(offset):#010x}  +{offset:#0{wide}x}  "


def _style(row: Row) -> str:
    return "padding" if row.padding else "flag" if fields.rule(row) else ""


# A byte is in the column of its place in the row, or in the eight bytes that it is in.
def _bytes(piece: Piece) -> Iterator[Ink]:
    if piece.data is None:
        yield Ink(f"{piece.last - piece.first} x 00".ljust(BYTES_WIDE), "dim")
        return
    indent = 3 * ((piece.first - piece.row.offset) % CHUNK)
    text = piece.data.hex(" ")
    yield from (Ink(" " * indent), Ink(text, _style(piece.row)))
    yield Ink(" " * (BYTES_WIDE - indent - len(text)))


def _fold(fold: Fold) -> Iterator[Ink]:
    first, last = fold.rows[0], fold.rows[-1]
    size = last.offset + last.size - first.offset
    yield Ink(f"{size} x 00".ljust(BYTES_WIDE), "dim")
    yield Ink(f"{first.path} .. {last.path}: {_counted(fold.rows)}")


def _counted(rows: tuple[Row, ...]) -> str:
    padding = sum(row.padding for row in rows)
    told = f"{len(rows)} fields are zero"
    return f"{told}, {padding} of them padding" if padding else told


def _value(row: Row) -> str:
    if row.missing:
        return f"{row.missing} of {row.size} bytes are missing"
    if row.padding:
        return "padding, not zero" if any(row.data) else "padding, zero"
    if row.value is None:
        return "no number"
    return f"{row.value}  {_hex(row)}"


# A negative number in hexadecimal is the bytes', as memory has it.
def _hex(row: Row) -> str:
    return f"{(row.value or 0) % (1 << 8 * row.size):#x}"


def as_json(seen: AreaBytes, found: tuple[Row, ...]) -> dict[str, Any]:
    """Return the place, the bytes and every row; ``value`` is null for what is no number."""
    return {
        "struct": seen.layout.name,
        "abi": seen.layout.abi,
        "address": seen.address,
        "size": seen.layout.size,
        "missing": seen.layout.size - len(seen.data),
        "bytes": seen.data.hex(),
        "rows": [
            {
                "path": row.path,
                "offset": row.offset,
                "size": row.size,
                "type": row.type,
                "padding": row.padding,
                "bytes": row.data.hex(),
                "value": row.value,
            }
            for row in found
        ],
        "edges": [
            {"offset": edge.offset, "address": edge.address, "page": edge.page}
            for edge in page_edges(seen)
        ],
    }
