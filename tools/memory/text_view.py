"""An area as lines of text."""

from collections.abc import Iterable, Iterator
from textwrap import wrap

from runstate_abi.layouts.abi import CACHE_LINE
from runstate_abi.layouts.model import Element
from runstate_abi.layouts.structs.runstate import UINT64, label
from runstate_abi.tools.memory import observations
from runstate_abi.tools.memory.area import (
    STOLEN,
    AreaBytes,
    Edge,
    Part,
    Values,
    edges,
    parts,
    state_name,
)
from runstate_abi.tools.output import Ink, Line, style_of

BYTES_WIDE = 3 * UINT64.size + 2
LABEL_WIDE = 17
RULE_WIDE = 78
BAR_WIDE = 30
TEXT_WIDE = 88
KIND_WIDE = 11


def heading(area: AreaBytes, source: str, reasons: Iterable[str]) -> Iterator[Line]:
    """Yield what and where the area is, and why it is read so."""
    what = f"{area.abi} {area.layout.name}, {area.layout.size} bytes, little-endian"
    yield (Ink(f"{source} at {area.address:#x}: "), Ink(what, "strong"))
    for reason in reasons:
        yield (Ink("  "), Ink(reason, "dim"))


def body(area: AreaBytes, changed: frozenset[int] = frozenset()) -> Iterator[Line]:
    """Yield a line for each row and edge; bytes at ``changed`` offsets have another style."""
    for item in rows(area):
        yield edge_line(area, item) if isinstance(item, Edge) else _row(area, item, changed)


def rows(area: AreaBytes) -> Iterator[Part | Edge]:
    """Yield the parts of an area, and between them the edges that separate them."""
    by_offset = {edge.offset: edge for edge in edges(area)}
    for part in parts(area.layout, by_offset, area.address_of):
        if part.first in by_offset:
            yield by_offset[part.first]
        yield part


def edge_line(area: AreaBytes, edge: Edge) -> Line:
    """Return the rule between two lines where a page or a cache line ends."""
    if not edge.page:
        text = f"- - - - {CACHE_LINE}-byte line {edge.address:#x} "
        return (Ink(text + "- " * ((RULE_WIDE - len(text)) // 2), "line"),)
    rest = area.layout.size - edge.offset
    where = "elsewhere" if edge.elsewhere else "in the next"
    text = f"===== page ends: {edge.offset} bytes in it, {rest} {where}, {edge.address:#x} "
    return (Ink(text.ljust(RULE_WIDE, "="), "page"),)


def _row(area: AreaBytes, part: Part, changed: frozenset[int]) -> Line:
    element, style = part.element, style_of(part.element)
    place = Ink(f"{part.address:#010x}  +{part.first:#04x} ", "dim")
    shown = (place, *_bytes(area, part, changed))
    if part.first != element.offset:
        return (*shown, Ink(f"  {label(element)}, continued", style))
    plain = "dim" if element.row.padding else style
    return (*shown, Ink(f" {label(element):<{LABEL_WIDE}} ", plain), *_value(area, element))


# A byte is in the column of its place in the element, even if an edge cuts the element.
def _bytes(area: AreaBytes, part: Part, changed: frozenset[int]) -> Iterator[Ink]:
    column = part.first - part.element.offset
    yield Ink(" " * (3 * column))
    for offset, byte in enumerate(area.data[part.first : part.last], part.first):
        here = style_of(part.element) + " changed" * (offset in changed)
        if offset == part.flag:
            yield from (Ink("["), Ink(f"{byte:02x}", "flag" if byte & 0x80 else here), Ink("]"))
        else:
            after_flag = part.flag is not None and offset == part.flag + 1
            yield from (Ink("" if after_flag else " "), Ink(f"{byte:02x}", here))
    used = 3 * (column + part.size) + (part.flag is not None)
    yield Ink(" " * (BYTES_WIDE - used))


def _value(area: AreaBytes, element: Element) -> Iterator[Ink]:
    seen, row = area.values, element.row
    wide = max(len(f"{ns:,}") for ns in (seen.entry, *seen.times))
    if row.padding:
        yield Ink("zero" if not any(seen.padding) else "not zero", "dim")
    elif row.count > 1:
        yield Ink(_ns(seen.times[element.number], wide))
    elif row.type is UINT64:
        yield from (Ink(_ns(seen.entry, wide)), Ink("  "))
        yield Ink(f"UPDATE={int(seen.updating)}", "flag" if seen.updating else "dim")
    else:
        name = state_name(seen.state)
        yield Ink(f"{seen.state}  {name}" if name else f"{seen.state:#x}  not a RUNSTATE_*")


def _ns(ns: int, wide: int = 0) -> str:
    return f"{ns:>{wide},} ns  {observations.words(ns)}"


def steal(seen: Values, verdict: str) -> Iterator[Line]:
    """Yield how much time was stolen, if these numbers tell, or what a wrong area makes of it."""
    steal = seen.steal % observations.WRAP
    part = f"{_ns(steal)}, {steal / max(seen.total, 1):.1%} of the four times"
    if verdict == observations.WRONG:
        part = f"{_ns(steal)}"
        if steal > seen.entry:
            part += ", more than the entry time"
        if seen.updating:
            part += ", but it waits while the flag is set"
    elif seen.updating or not seen.total or max(seen.times) > seen.entry:
        return
    yield (Ink(f"steal      {' + '.join(STOLEN)}, as Linux counts it: "), Ink(part, "strong"))


def observed(
    found: Iterable[observations.Observation], columns: int | None = None
) -> Iterator[Line]:
    """Yield each observation with its class and its fact, for a terminal of ``columns``."""
    wide = max(min(TEXT_WIDE, (columns or TEXT_WIDE + KIND_WIDE) - KIND_WIDE), 1)
    for item in found:
        first, *rest = wrap(item.text, wide)
        yield (Ink(f"{item.kind:<10} ", item.kind), Ink(first))
        yield from ((Ink(f"{'':<10} {line}"),) for line in rest)
        yield from ((Ink(" " * KIND_WIDE), Ink(line, "dim")) for line in wrap(item.fact, wide))


def verdict(kind: str) -> Line:
    texts = {
        "wrong": "something is wrong: see above",
        "in-flight": "in flight: a reader must retry, and so must you",
        observations.NORMAL: "nothing is wrong",
    }
    return (Ink("verdict: "), Ink(texts[kind], kind))


def growth(moved: observations.Deltas, source: str) -> Iterator[Line]:
    """Yield how each number grew since an earlier reading, with each state's share as a bar."""
    states = " -> ".join(state_name(state) or f"{state:#x}" for state in moved.states)
    yield (Ink(f"since {source}: state {states}, entry time {_signed(moved.entry)}"),)
    for index, share in enumerate(observations.shares(moved)):
        bar = "#" * round(share.part * BAR_WIDE)
        yield (
            Ink(f"  time[{index}] {share.name:<8} "),
            Ink(f"{_signed(share.delta):>40} {share.part:6.1%} "),
            Ink(bar, f"time{index}"),
            *((Ink("  backwards", "wrong"),) if share.delta < 0 else ()),
        )


def _signed(ns: int) -> str:
    return f"{ns:+,} ns  {observations.words(ns)}"
