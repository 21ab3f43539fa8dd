"""An area as lines of text for a person; output.py prints them, in colour where that is wanted."""

from collections.abc import Iterable, Iterator
from textwrap import wrap
from typing import NamedTuple

from runstate_abi.layouts.abi import CACHE_LINE
from runstate_abi.layouts.model import Field
from runstate_abi.layouts.structs.runstate import UINT64, update_byte
from runstate_abi.tools.memory.area import (
    STOLEN,
    AreaBytes,
    Edge,
    Element,
    Values,
    edges,
    elements,
    state_name,
)
from runstate_abi.tools.memory.comparison import Deltas, shares
from runstate_abi.tools.memory.observations import NORMAL, Observation, words
from runstate_abi.tools.output import Ink, Line

BYTES_WIDE = 3 * UINT64.size + 2
LABEL_WIDE = 17
RULE_WIDE = 78
BAR_WIDE = 30
TEXT_WIDE = 88
KIND_WIDE = 11


class ByteRow(NamedTuple):
    """Bytes of one element in one cache line; ``column`` is where in the element they begin.

    ``flag`` is the index in ``data`` of the update byte, if it is here.
    """

    address: int
    offset: int
    data: bytes
    column: int
    element: Element
    flag: int | None


def heading(area: AreaBytes, source: str, reasons: Iterable[str]) -> Iterator[Line]:
    """Yield what and where the area is, and why it is read so."""
    what = f"{area.abi} {area.layout.name}, {area.layout.size} bytes, little-endian"
    yield (Ink(f"{source} at {area.address:#x}: "), Ink(what, "strong"))
    for reason in reasons:
        yield (Ink("  "), Ink(reason, "dim"))


def body(area: AreaBytes, changed: frozenset[int] = frozenset()) -> Iterator[Line]:
    """Yield a line for each row and edge; bytes at ``changed`` offsets have another style."""
    for item in rows(area):
        yield _edge(area, item) if isinstance(item, Edge) else _row(area, item, changed)


def rows(area: AreaBytes) -> Iterator[ByteRow | Edge]:
    """Yield the rows of an area, and between them the edges that part them."""
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
            yield ByteRow(address, first, data[first:last], first - start, element, here)


def _edge(area: AreaBytes, edge: Edge) -> Line:
    if not edge.page:
        text = f"- - - - {CACHE_LINE}-byte line {edge.address:#x} "
        return (Ink(text + "- " * ((RULE_WIDE - len(text)) // 2), "line"),)
    rest = area.layout.size - edge.offset
    where = "elsewhere" if edge.elsewhere else "in the next"
    text = f"===== page ends: {edge.offset} bytes in it, {rest} {where}, {edge.address:#x} "
    return (Ink(text.ljust(RULE_WIDE, "="), "page"),)


def _row(area: AreaBytes, row: ByteRow, changed: frozenset[int]) -> Line:
    style = style_of(row.element.field, row.element.number)
    place = f"{row.address:#010x}  +{row.offset:#04x} "
    if row.column:
        label = Ink(f"  {row.element.label}, continued", style)
        return (Ink(place, "dim"), *_bytes(row, style, changed), label)
    plain = "dim" if row.element.field.padding else style
    label = Ink(f" {row.element.label:<{LABEL_WIDE}} ", plain)
    return (Ink(place, "dim"), *_bytes(row, style, changed), label, *_value(area, row))


def style_of(field: Field, index: int) -> str:
    """Return the style of a field element: ``state``, ``padding``, ``entry``, ``time2``."""
    if field.padding:
        return "padding"
    if field.count > 1:
        return f"time{index}"
    return "entry" if field.type is UINT64 else "state"


# A byte stands in the column of its place in the element, also if an edge parts the element.
def _bytes(row: ByteRow, style: str, changed: frozenset[int]) -> Iterator[Ink]:
    yield Ink(" " * (3 * row.column))
    for index, byte in enumerate(row.data):
        here = style if row.offset + index not in changed else f"{style} changed"
        if index == row.flag:
            yield from (Ink("["), Ink(f"{byte:02x}", "flag" if byte & 0x80 else here), Ink("]"))
        else:
            after_flag = row.flag is not None and index == row.flag + 1
            yield Ink("" if after_flag else " ")
            yield Ink(f"{byte:02x}", here)
    used = 3 * (row.column + len(row.data)) + (1 if row.flag is not None else 0)
    yield Ink(" " * (BYTES_WIDE - used))


def _value(area: AreaBytes, row: ByteRow) -> Iterator[Ink]:
    seen, field = area.values, row.element.field
    wide = max(len(f"{ns:,}") for ns in (seen.entry, *seen.times))
    if field.padding:
        yield Ink("zero" if not any(seen.padding) else "not zero", "dim")
    elif field.count > 1:
        yield Ink(_ns(seen.times[row.element.number], wide))
    elif field.type is UINT64:
        yield from (Ink(_ns(seen.entry, wide)), Ink("  "))
        yield Ink(f"UPDATE={int(seen.updating)}", "flag" if seen.updating else "dim")
    else:
        name = state_name(seen.state)
        yield Ink(f"{seen.state}  {name}" if name else f"{seen.state:#x}  not a RUNSTATE_*")


def _ns(ns: int, wide: int = 0) -> str:
    return f"{ns:>{wide},} ns  {words(ns)}"


def steal(seen: Values) -> Iterator[Line]:
    """Yield how much of the time was stolen, if these numbers tell."""
    if seen.updating or not seen.total or max(seen.times) > seen.entry:
        return
    part = f"{_ns(seen.steal)}, {seen.steal / seen.total:.1%} of the four times"
    yield (Ink(f"steal      {' + '.join(STOLEN)}, as Linux counts it: "), Ink(part, "strong"))


def observed(found: Iterable[Observation], columns: int | None = None) -> Iterator[Line]:
    """Yield each observation with its class and its fact; a terminal has so many ``columns``."""
    wide = max(min(TEXT_WIDE, (columns or TEXT_WIDE + KIND_WIDE) - KIND_WIDE), 1)
    for item in found:
        first, *rest = wrap(item.text, wide)
        yield (Ink(f"{item.kind:<10} ", item.kind), Ink(first))
        yield from ((Ink(f"{'':<10} {line}"),) for line in rest)
        yield from ((Ink(" " * KIND_WIDE), Ink(line, "dim")) for line in wrap(item.fact, wide))


def verdict(kind: str) -> Line:
    """Return the last line, for the worst class of the observations."""
    texts = {
        "wrong": "something is wrong: see above",
        "in-flight": "in flight: a reader must retry, and so must you",
        NORMAL: "nothing is wrong",
    }
    return (Ink("verdict: "), Ink(texts[kind], kind))


def growth(moved: Deltas, source: str) -> Iterator[Line]:
    """Yield how each number grew since an earlier look, with each state's share as a bar."""
    states = " -> ".join(state_name(state) or f"{state:#x}" for state in moved.states)
    yield (Ink(f"since {source}: state {states}, entry time {_signed(moved.entry)}"),)
    for index, share in enumerate(shares(moved)):
        bar = "#" * round(share.part * BAR_WIDE)
        yield (
            Ink(f"  time[{index}] {share.name:<8} "),
            Ink(f"{_signed(share.delta):>40} {share.part:6.1%} "),
            Ink(bar, f"time{index}"),
            *((Ink("  backwards", "wrong"),) if share.delta < 0 else ()),
        )


def _signed(ns: int) -> str:
    return f"{ns:+,} ns  {words(ns)}"
