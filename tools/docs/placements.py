"""Pieces about pages: at which offsets an area is in two pages, and what is in which."""

from collections.abc import Callable, Sequence
from itertools import groupby

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.layouts.structs.runstate import NATIVE
from runstate_abi.tools.docs import structs
from runstate_abi.tools.rendering import drawing
from runstate_abi.tools.rendering.blocks import Block, Figure, Table
from runstate_abi.tools.rendering.drawing import Lane
from runstate_abi.writer.vcpu import SHAPES, Shape, split


def pieces() -> dict[str, tuple[Block, ...]]:
    return {
        "split-table": (split_table(),),
        "native-split-places": (places_table("native"),),
        "compat-split-places": (places_table("compat"),),
        "split-drawing": (split_figure(),),
    }


def words() -> dict[str, str]:
    places = range(0, PAGE_SIZE, NATIVE.alignment or 1)
    crossing = [place for place in places if split(place, NATIVE.size).second]
    found = {
        "all.places": str(2 * 2 * PAGE_SIZE),
        "native.aligned_places": str(len(places)),
        "native.aligned_crossings": str(len(crossing)),
        "split.offset": str(flag_first("native")),
    }
    for abi, shape in SHAPES.items():
        found[f"{abi}.exact"] = str(PAGE_SIZE - shape.size)
        found[f"{abi}.flag_first"] = str(flag_first(abi))
    return found


def flag_first(abi: str) -> int:
    """Return the page offset at which the update byte is the first byte of the second page."""
    return PAGE_SIZE - SHAPES[abi].update_byte


def split_table() -> Table:
    """Return the page offsets at which an area of either layout has each property."""
    questions: tuple[tuple[str, Callable[[Shape, int], bool]], ...] = (
        ("ends with its page", lambda s, a: a + s.size == PAGE_SIZE),
        ("crosses into the next page", lambda s, a: split(a, s.size).second > 0),
        ("has the update byte in the second page", lambda s, a: _in_second(s.update_byte, a)),
        ("has `state_entry_time` in both pages", lambda s, a: _in_both(s, "state_entry_time", a)),
        ("has `state` in both pages", lambda s, a: _in_both(s, "state", a)),
        # A guest that registers in 32-bit mode and continues in 64-bit mode gets these.
        (
            "is in one page, and would not be in the native layout",
            lambda s, a: split(a, s.size).second <= 0 < split(a, NATIVE.size).second,
        ),
    )
    rows = []
    for text, asks in questions:
        found = (_ranges([a for a in range(PAGE_SIZE) if asks(SHAPES[abi], a)]) for abi in SHAPES)
        rows.append((text, *found))
    header = ("the area", *SHAPES)
    return Table("Page offsets of the area at which it", header, tuple(rows))


def _in_second(offset: int, address: int) -> bool:
    return address + offset >= PAGE_SIZE


def _in_both(shape: Shape, name: str, address: int) -> bool:
    row = shape.layout.field(name)
    return not _in_second(row.offset, address) and _in_second(row.end - 1, address)


def _ranges(values: Sequence[int]) -> str:
    if not values:
        return "none"
    first, last = values[0], values[-1]
    assert list(values) == list(range(first, last + 1))
    if first == last:
        return f"{first} ({first:#x})"
    return f"{first} to {last} ({first:#x} to {last:#x})"


def places_table(abi: str) -> Table:
    """Return which member is in which page, for every page offset at which the area is split."""
    shape = SHAPES[abi]
    members = shape.layout.members
    ends = [*((row.offset, row.end - 1) for row in members), (shape.update_byte,) * 2]

    # For each member and the update byte: "1", "2" or "both".
    def pages(address: int) -> tuple[str, ...]:
        both = [[1 + _in_second(end, address) for end in pair] for pair in ends]
        return tuple("both" if first != last else str(first) for first, last in both)

    starts = groupby(range(PAGE_SIZE - shape.size, PAGE_SIZE), key=pages)
    rows = tuple((_ranges(list(group)), *spots) for spots, group in starts)
    header = ("page offset", *(f"`{row.name}`" for row in members), "update byte")
    return Table(f"{abi.capitalize()}: 1 is the first page, 2 the second", header, rows)


def split_figure() -> Figure:
    """Return a drawing of a native area whose update byte is the first byte of its second page."""
    offset = flag_first("native")
    first = split(offset, NATIVE.size).first
    found = [
        Lane(f"page 1: {first} bytes from {offset:#x} on", tuple(structs.boxes(NATIVE, 0, first))),
        Lane(f"page 2: {NATIVE.size - first} bytes", tuple(structs.boxes(NATIVE, first))),
    ]
    text = []
    for lane in found:
        text.append(lane.title)
        for box in lane.boxes:
            mark = f", byte {box.mark} of them is the update byte" if box.mark is not None else ""
            text.append(f"  {box.size:>2}  {box.label}{mark}")
    title = f"A native area at page offset {offset:#x}"
    picture = drawing.lanes(title, found, byte=14)
    caption = f"{title}: the update byte, marked, is the first byte of the second page."
    return Figure(caption, tuple(drawing.svg(picture)), tuple(text))
