"""Many answers at a glance."""

import pytest

from runstate_abi.tools.race import text
from runstate_abi.tools.race.rows import Row
from runstate_abi.writer.guest import READER, READERS
from runstate_abi.writer.race import Question, of_variant
from runstate_abi.writer.racing.ordering import MODEL
from runstate_abi.writer.racing.projection import Answer
from runstate_abi.writer.variants import VARIANT, VARIANTS
from runstate_abi.writer.vcpu import Area

FOUND = {"torn": object(), "safe": None}


def row(verdict, variant="upstream", reader="linux-64", at=0x1100, **more):
    area = Area("native", at)
    writer = of_variant(VARIANT[variant])
    question = Question(writer, READER[reader], MODEL["weak"], area, **more)
    return Row(question, "aligned", Answer(7, 1, FOUND[verdict]))


def texts(lines):
    return ["".join(ink.text for ink in line).rstrip() for line in lines]


def cells(rows):
    """The summary's table: (writer, first half of the reader's name) -> cell."""
    _, heads, _, *lines = texts(text.summary(rows, {}))
    lines = lines[: lines.index("")]
    return {
        (line.split()[0], name): cell
        for line in lines
        for name, cell in zip(heads.split(), line.split()[1:], strict=True)
    }


def test_a_cell_is_what_all_its_placements_say():
    rows = [
        row("safe"),
        row("safe", at=0x1200),
        row("torn", reader="naive"),
        row("torn", variant="xen-va"),
        row("safe", variant="xen-va", at=0x1200),
    ]
    assert cells(rows) == {
        ("upstream", "linux"): "safe",
        ("upstream", "naive"): "torn",
        ("xen-va", "linux"): "mixed",
        ("xen-va", "naive"): "-",
    }


def test_a_guest_without_the_flag_is_a_writer_of_its_own():
    rows = [row("safe"), row("torn", dropped=("flag",))]
    lines = texts(text.summary(rows, {}))
    assert [line.split("  ")[0] for line in lines[3:5]] == ["upstream", "upstream (flag off)"]


@pytest.mark.parametrize(
    ("rows", "used"),
    [
        ([row("safe"), row("safe", reader="naive")], set()),
        ([row("safe"), row("torn", at=0)], {"mixed"}),
        ([row("safe"), row("safe", "xen-va", "naive")], {"-"}),
    ],
)
def test_a_mark_is_explained_where_it_is_used(rows, used):
    lines = texts(text.summary(rows, {}))
    assert {mark for mark in text.LEGEND if any(x.startswith(f"{mark}: ") for x in lines)} == used


def test_the_last_line_counts():
    rows = [row("torn"), row("torn"), row("torn"), row("safe")]
    last = "4 questions: 1 safe, 3 torn"
    assert texts(text.summary(rows, {}))[-1] == texts(text.in_full(rows, {}))[-1] == last
    assert texts(text.in_full(rows[:1], {}))[-1] == "1 question: 0 safe, 1 torn"


def test_what_could_not_be_asked_is_counted_with_the_reason():
    rows = [row("safe"), row("safe", reader="naive")]
    for lines in (text.summary(rows, {"no page": 3}), text.in_full(rows, {"no page": 3})):
        assert "not asked: 3 questions: no page" in texts(lines)


def test_what_is_left_away_is_in_the_title():
    rows = [row("torn", dropped=("wmb-set",)), row("safe", dropped=("wmb-set",))]
    assert texts(text.summary(rows, {}))[0].endswith("; without wmb-set")


def test_every_writer_and_reader_fit_a_terminal():
    rows = [
        row("torn", variant.name, reader.name, dropped=dropped)
        for variant in VARIANTS
        for reader in READERS
        for dropped in ((), ("flag",))
    ]
    lines = texts(text.summary(rows, {}))
    assert len(lines) > 3 + 2 * len(VARIANTS)
    assert max(map(len, lines[: lines.index("")])) <= 105


@pytest.mark.parametrize(
    ("rows", "tabular"),
    [
        ([row("safe"), row("torn", at=0)], False),
        ([row("safe"), row("torn", reader="naive")], True),
        ([row("safe"), row("torn", dropped=("flag",))], True),
    ],
)
def test_a_summary_needs_two_cells(rows, tabular):
    assert text.is_tabular(rows) is tabular
