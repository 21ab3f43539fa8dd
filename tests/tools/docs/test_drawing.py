"""Drawings: to scale, marked where they should be, well-formed, and the same every time."""

import re
import xml.etree.ElementTree as ET

import pytest

from runstate_abi.layouts.structs.runstate import COMPAT, NATIVE, update_byte
from runstate_abi.tools.docs import structs
from runstate_abi.tools.rendering import drawing
from runstate_abi.tools.rendering.drawing import Box, Epoch, Lane

SVG = "{http://www.w3.org/2000/svg}"


def parsed(picture, alone=False):
    return ET.fromstring("\n".join(drawing.svg(picture, alone)))


def places(picture, kind):
    """The offsets of the bytes that rectangles of a class cover."""
    found = []
    for rect in parsed(picture).iter(f"{SVG}rect"):
        if rect.get("class") == f"d-{kind}":
            column = (int(rect.get("x")) - drawing.LABEL_WIDE) / drawing.COLUMN_WIDE
            row = (int(rect.get("y")) - 20) / drawing.ROW_HIGH
            count = int(rect.get("width")) / drawing.COLUMN_WIDE
            assert column == int(column)
            assert row == int(row)
            assert count == int(count)
            start = int(row) * drawing.PER_ROW + int(column)
            found += range(start, start + int(count))
    return found


KINDS = {"state": "state", "state_entry_time": "entry", "pad_04": "padding"}


@pytest.mark.parametrize("layout", [NATIVE, COMPAT], ids=["native", "compat"])
def test_every_byte_is_drawn_where_the_layout_has_it(layout):
    picture = drawing.byte_rows("title", list(structs.boxes(layout)))
    for row in layout.rows:
        for index in range(row.count if row.name == "time" else 1):
            kind = KINDS.get(row.name, f"time{index}")
            size = row.type.size if row.name == "time" else row.size
            start = row.offset + index * size if row.name == "time" else row.offset
            assert places(picture, kind) == list(range(start, start + size))
    assert places(picture, "flag") == [update_byte(layout)]


@pytest.mark.parametrize("layout", [NATIVE, COMPAT], ids=["native", "compat"])
def test_the_drawing_in_characters_has_every_byte_where_the_layout_has_it(layout):
    _, *lines = structs.in_characters(layout)
    rows = [line for line in lines if line.startswith("0x")]
    for number, line in enumerate(rows):
        start = int(line[:4], 16)
        assert start == number * 8
        bars = [i for i, letter in enumerate(line[5:]) if letter == "|"]
        assert all(bar % 6 == 0 for bar in bars)
        edges = {start + bar // 6 for bar in bars}
        ends = {r.offset + i * r.type.size for r in layout.members for i in range(r.count)}
        ends |= {r.offset for r in layout.rows} | {update_byte(layout), update_byte(layout) + 1}
        last = min(start + 8, layout.size)
        expected = {o for o in ends if start <= o <= last} | {start, last}
        assert edges == expected


def test_only_padding_is_hatched():
    def hatched(layout):
        picture = drawing.byte_rows("title", list(structs.boxes(layout)))
        return [
            path for path in parsed(picture).iter(f"{SVG}path") if path.get("class") == "d-hatch"
        ]

    assert len(hatched(NATIVE)) == 1
    assert hatched(COMPAT) == []


def test_a_hatch_stays_in_its_box():
    (hatch,) = [s for s in drawing.byte_rows("t", [Box("", 5, "padding")]).shapes if "hatch" in s]
    xs, ys = zip(*((int(x), int(y)) for x, y in re.findall(r"[ML](\d+) (\d+)", hatch)), strict=True)
    left = drawing.LABEL_WIDE
    assert min(xs) >= left
    assert max(xs) <= left + 5 * drawing.COLUMN_WIDE
    assert min(ys) >= 20
    assert max(ys) <= 20 + drawing.ROW_HIGH


def test_a_picture_by_itself_brings_its_colours_and_one_in_a_page_does_not():
    picture = drawing.byte_rows("a <title> & more", [Box("x", 4, "state", 1)])
    alone, within = parsed(picture, alone=True), parsed(picture)
    assert alone.find(f"{SVG}title").text == "a <title> & more"
    assert "prefers-color-scheme:dark" in alone.find(f"{SVG}style").text
    assert within.find(f"{SVG}style") is None
    assert not any(element.get("id") for element in within.iter())


def test_every_class_that_is_drawn_has_a_colour_in_light_and_dark():
    epochs = [Epoch("e", ("s",), ("old", "new", "either", "flag"), "r")] * 2
    shapes = "".join(drawing.timeline("t", epochs, "wmb").shapes)
    shapes += "".join(drawing.byte_rows("t", list(structs.boxes(NATIVE))).shapes)
    used = set(re.findall(r'class="d-(\w+)"', shapes)) - {"edge", "hatch", "bar"}
    assert used <= {name for name, _, _ in drawing.COLOURS}
    light, dark = drawing.style().split("@media")
    for name in used:
        assert f".d-{name}{{fill:" in light
        assert f".d-{name}{{fill:" in dark


def test_a_timeline_has_a_block_for_each_store_a_line_after_each_epoch_and_a_cell_for_each_byte():
    epochs = [Epoch("1", ("a", "b"), ("old",) * 12, "x"), Epoch("2", ("c",), ("new",) * 12, "y")]
    root = parsed(drawing.timeline("t", epochs, "smp_wmb()"))
    classes = [element.get("class") for element in root.iter()]
    assert classes.count("d-store") == 3
    assert classes.count("d-bar") == 2
    assert (classes.count("d-old"), classes.count("d-new")) == (12, 12)
    words = [element.text for element in root.iter(f"{SVG}text")]
    assert [w for w in words if w.startswith("reader: ")] == ["reader: x", "reader: y"]


def test_everything_is_inside_the_picture():
    epochs = [Epoch("1", ("a", "b", "c"), ("old",) * 48, "long words " * 12)] * 3
    lanes = drawing.lanes("t", [Lane("one", tuple(structs.boxes(NATIVE)))], byte=10)
    for picture in (
        drawing.timeline("t", epochs, "b"),
        lanes,
        drawing.byte_rows("t", [Box("x", 44, "state")]),
    ):
        for rect in parsed(picture).iter(f"{SVG}rect"):
            x, y, wide, high = (float(rect.get(name)) for name in ("x", "y", "width", "height"))
            assert 0 <= x <= x + wide <= picture.width
            assert 0 <= y <= y + high <= picture.height
        for text in parsed(picture).iter(f"{SVG}text"):
            if text.get("text-anchor") is None:
                assert float(text.get("x")) + len(text.text) * drawing.LETTER <= picture.width + 1
            assert float(text.get("y")) <= picture.height


def test_a_label_that_does_not_fit_is_cut():
    shapes = drawing.lanes("t", [Lane("l", (Box("state_entry_time", 3, "entry"),))]).shapes
    assert any("…</text>" in shape for shape in shapes)
