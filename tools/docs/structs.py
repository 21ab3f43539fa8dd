"""Pieces about the bytes: layouts, ABIs, states, conditions, declarations."""

from collections.abc import Iterator

from runstate_abi.layouts.abi import ABIS
from runstate_abi.layouts.conditions import CONDITIONS, STAGES, UNASSERTED
from runstate_abi.layouts.model import Layout
from runstate_abi.layouts.structs.runstate import (
    CLAIMS,
    COMPAT,
    NATIVE,
    RUNSTATES,
    XEN_RUNSTATE_UPDATE,
    label,
    update_byte,
)
from runstate_abi.tools import output
from runstate_abi.tools.docs.drawings import characters
from runstate_abi.tools.languages import c
from runstate_abi.tools.languages.promises import GUESTS
from runstate_abi.tools.rendering import drawing
from runstate_abi.tools.rendering.blocks import Block, Code, Figure, Table
from runstate_abi.tools.rendering.drawing import Box

FLAG_BIT = XEN_RUNSTATE_UPDATE.bit_length() - 1


def pieces() -> dict[str, tuple[Block, ...]]:
    declared = list(c.constants())  # as `runstate emit c` has them
    for guest in GUESTS:
        declared += ("", *c.declaration(c.type_name(guest.bits), guest.layout))
    states = tuple((str(x.value), f"`{x.constant}`", x.meaning) for x in RUNSTATES)
    asserted = ("", "must not be true", "in words")
    nobody = tuple((x.id, f"`{x.text}`", x.sentence) for x in UNASSERTED)
    named = ("value", "name", "meaning")
    return {
        "layout-table": (layout_table(),),
        "native-drawing": (layout_figure("native", NATIVE),),
        "compat-drawing": (layout_figure("compat", COMPAT),),
        "declarations": (Code("c", tuple(declared)),),
        "abi-table": (abi_table(),),
        "state-table": (Table("The values of `state`", named, states, frozenset({0})),),
        "condition-table": (condition_table(),),
        "unasserted-table": (Table("What nobody asserts", asserted, nobody),),
    }


def layout_table() -> Table:
    """Return a row for each member and hole, with its offsets in both layouts, in bytes."""
    of_compat = {row.name: str(row.offset) for row in COMPAT.rows}
    rows: list[tuple[str, ...]] = []
    for row in NATIVE.rows:
        title = "(padding)" if row.padding else f"`{row.declaration}`"
        c_type = "" if row.padding else f"`{row.type.name}`"
        places = str(row.offset), of_compat.get(row.name, "none")
        rows.append((title, c_type, *places, str(row.size)))
        if row.name == "state_entry_time":
            flags = (f"{update_byte(layout)}" for layout in (NATIVE, COMPAT))
            rows.append(("update byte", f"bit {FLAG_BIT} of it", *flags, "1"))
    rows.append(("`sizeof`", "", str(NATIVE.size), str(COMPAT.size), ""))
    alignments = str(NATIVE.alignment), f"{CLAIMS['x86_64'].compat_xen.alignment}"
    rows.append(("`_Alignof`", "", *alignments, ""))
    header = ("member", "C type", "native", "compat", "size")
    return Table("Offsets and sizes in bytes", header, tuple(rows), frozenset({2, 3, 4}))


def boxes(layout: Layout, first: int = 0, last: int | None = None) -> Iterator[Box]:
    """Yield a box for each element between two offsets, the update byte marked."""
    flag = update_byte(layout)
    for element in layout.elements():
        low, high = max(element.offset, first), min(element.end, last or layout.size)
        if low < high:
            mark = flag - low if low <= flag < high else None
            words = "padding" if element.row.padding else label(element)
            yield Box(words, high - low, output.style_of(element), mark)


def layout_figure(word: str, layout: Layout) -> Figure:
    """Return the struct drawn to scale, eight bytes a row, and the same in characters."""
    no_padding = "" if layout.padding else "; there is no padding"
    caption = (
        f"{word.capitalize()}: {layout.size} bytes, eight a row. "
        f"The update byte, {update_byte(layout)}, is marked{no_padding}."
    )
    picture = drawing.byte_rows(f"struct {layout.name}, byte by byte", tuple(boxes(layout)))
    hatched = "Padding is hatched." if layout.padding else ""
    return Figure(caption, tuple(drawing.svg(picture)), tuple(in_characters(layout)), hatched)


def in_characters(layout: Layout) -> Iterator[str]:
    """Yield the same drawing in characters: ``//`` is padding, ``UPD`` the update byte."""
    yield from characters(tuple(boxes(layout)), range(0, layout.size, drawing.PER_ROW))


def abi_table() -> Table:
    """Return a row for each ABI: its layout, size and alignment, and what decides them."""
    rows = []
    for abi in ABIS:
        claim = CLAIMS[abi.name].native
        word = next(guest.word for guest in GUESTS if guest.layout.rows == claim.rows)
        rows.append((abi.name, word, str(claim.size), str(claim.alignment), abi.why))
    header = ("ABI", "layout", "size", "alignment", "what decides it")
    caption = "What `struct vcpu_runstate_info` is on each ABI; sizes and alignments in bytes"
    return Table(caption, header, tuple(rows), frozenset({2, 3}))


def condition_table() -> Table:
    """Return the kernel's conditions in its own words, and the version that added each."""
    words = [f"{x.sentence}{' (x86-64)' * x.x86_64_only}" for x in CONDITIONS]
    rows = tuple(
        (x.id, f"`{x.text}`", sentence, STAGES[x.since].name)
        for x, sentence in zip(CONDITIONS, words, strict=True)
    )
    header = ("", "must not be true", "in words", "since")
    return Table("The BUILD_BUG_ON conditions of KVM's writer", header, rows)
