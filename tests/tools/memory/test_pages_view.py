import itertools
import xml.etree.ElementTree as ET

import pytest

from runstate_abi.layouts.structs.runstate import update_byte
from runstate_abi.tools.memory import pages_view
from runstate_abi.tools.memory.area import LAYOUTS
from runstate_abi.tools.rendering import drawing

SPLITS = [
    (abi, offset) for abi, known in LAYOUTS.items() for offset in range(4097 - known.size, 4096)
]


@pytest.mark.parametrize(("abi", "offset"), SPLITS)
def test_the_parts_in_two_pages_are_the_whole_struct_and_the_flag_is_in_one(abi, offset):
    layout = LAYOUTS[abi]
    held = pages_view.pages(layout, 0x7000 + offset)
    assert len(held) == 2
    parts = [(part.first, part.last) for page in held for part in page.parts]
    assert parts[0][0] == 0
    assert parts[-1][1] == layout.size
    assert all(one[1] == two[0] for one, two in itertools.pairwise(parts))
    assert held[0].last == 4096 - offset
    flags = [
        page.start + p.flag - page.first for page in held for p in page.parts if p.flag is not None
    ]
    assert flags == [0x7000 + offset + update_byte(layout)]


@pytest.mark.parametrize(("abi", "offset"), SPLITS)
def test_the_ruler_has_a_character_for_each_byte(abi, offset):
    layout = LAYOUTS[abi]
    held = pages_view.pages(layout, offset)
    shown = ["".join(ink.text for ink in line) for line in pages_view.lines(layout, held, offset)]
    rulers = [line for line in shown if set(line) <= set("seU.0123 ") and line.startswith("  ")]
    counts = [len(line.replace(" ", "")) for line in rulers]
    assert counts == [
        4096 - offset,
        layout.size - 4096 + offset,
    ]
    assert "".join(rulers).count("U") == 1


def test_an_area_in_one_page_has_one():
    assert len(pages_view.pages(LAYOUTS["native"], 0xFD0)) == 1


def test_the_picture_is_well_formed_and_its_boxes_are_as_wide_as_their_bytes():
    held = pages_view.pages(LAYOUTS["compat"], 0xFEC)
    picture = drawing.document("compat at 0xfec <&>", pages_view.lanes(held))
    root = ET.fromstring(picture)
    wide = [int(r.get("width")) for r in root.iter("{http://www.w3.org/2000/svg}rect")][1:]
    marks = [w for w in wide if w == drawing.BYTE_WIDE]
    assert (sum(wide) - sum(marks)) // drawing.BYTE_WIDE == 44
    assert len(marks) == 1
    assert picture == drawing.document("compat at 0xfec <&>", pages_view.lanes(held))
