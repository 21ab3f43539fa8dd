"""The accepted image: under each byte whose it is, and a legend of the marks that are there."""

import pytest

from runstate_abi.tools.race import explanation
from runstate_abi.writer.guest import READER
from runstate_abi.writer.race import Question, find_race, of_variant
from runstate_abi.writer.racing.ordering import MODEL
from runstate_abi.writer.variants import VARIANT
from runstate_abi.writer.vcpu import Area

IMAGES = (b"\x10\x00", b"\x20\x00", b"\x30\x00")


def accepted(reader, **more):
    found = find_race(Question(
        of_variant(VARIANT["upstream"]), READER[reader], MODEL["x86-tso"], Area("native", 0x1000),
        **more,
    ))  # fmt: skip
    lines = explanation.accepted(found, READER[reader])
    return ["".join(ink.text for ink in line) for line in lines]


@pytest.mark.parametrize(
    ("reader", "more"),
    [
        ("naive", {}),
        ("naive", {"updates": 2}),
        ("copied-time", {"dropped": ("bit-check",)}),
        ("split-hl-lh", {"updates": 2}),
    ],
)
def test_the_legend_explains_the_marks_that_are_there_and_no_other(reader, more):
    *dump, legend = accepted(reader, **more)
    used = {mark for line in dump[1::2] for mark in line.split()}
    explained = [part.split(": ")[0] for part in legend.strip().split(", ")]
    assert len(explained) == len(set(explained))
    assert set(explained) == used
    assert len(legend) <= 100


@pytest.mark.parametrize(
    ("images", "byte", "offset", "mark"),
    [
        (IMAGES[:2], 0x10, 0, "old"),
        (IMAGES[:2], 0x20, 0, "new"),
        (IMAGES, 0x30, 0, "n2"),
        (IMAGES, 0x00, 1, "="),
        (IMAGES, 0x80, 1, "flg"),
        (IMAGES, 0x40, 0, "?"),
    ],
)
def test_a_byte_has_the_mark_of_the_image_it_is_from(images, byte, offset, mark):
    assert explanation.version(images, offset, byte) == mark
    assert mark in explanation.legend(len(images))
