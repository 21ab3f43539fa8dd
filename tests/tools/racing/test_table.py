"""Many answers at a glance: nothing that is not expected is lost in a summary."""

import pytest

from runstate_abi.tools.racing import table
from runstate_abi.tools.racing.rows import Row
from runstate_abi.writer.guest import READER, READERS
from runstate_abi.writer.race import Question, of_variant
from runstate_abi.writer.racing.ordering import MODEL
from runstate_abi.writer.racing.projection import Answer
from runstate_abi.writer.variants import VARIANT, VARIANTS
from runstate_abi.writer.vcpu import Area

FOUND = {"torn": object(), "safe": None}


def row(verdict, expected, variant="upstream", reader="linux-64", at=0x1100, **more):
    area = Area("native", at)
    writer = of_variant(VARIANT[variant])
    question = Question(writer, READER[reader], MODEL["weak"], area, **more)
    return Row(question, "aligned", Answer(7, 1, FOUND[verdict]), expected)


def texts(lines):
    return ["".join(ink.text for ink in line).rstrip() for line in lines]


def cells(rows):
    """The summary's table: (writer, first half of the reader's name) -> cell."""
    _, heads, _, *lines = texts(table.summary(rows, {}))
    lines = lines[: lines.index("")]
    return {
        (line.split()[0], name): cell
        for line in lines
        for name, cell in zip(heads.split(), line.split()[1:], strict=True)
    }


def test_a_cell_is_what_all_its_placements_say():
    rows = [
        row("safe", "safe"),
        row("safe", "safe", at=0x1200),
        row("torn", "torn", reader="naive"),
        row("torn", "torn", variant="xen-va"),
        row("safe", "safe", variant="xen-va", at=0x1200),
    ]
    assert cells(rows) == {
        ("upstream", "linux"): "safe",
        ("upstream", "naive"): "torn",
        ("xen-va", "linux"): "mixed",
        ("xen-va", "naive"): "-",
    }


def test_a_guest_without_the_flag_is_a_writer_of_its_own():
    rows = [row("safe", "safe"), row("torn", "torn", dropped=("flag",))]
    lines = texts(table.summary(rows, {}))
    assert [line.split("  ")[0] for line in lines[3:5]] == ["upstream", "upstream (flag off)"]


def test_each_row_that_is_not_expected_is_there_in_full_and_no_other():
    rows = [
        row("safe", "safe"),
        row("safe", "torn", at=0x1200),
        row("torn", None, reader="naive", at=0x1300),
        row("torn", "torn", reader="state", at=0x1400),
    ]
    lines = texts(table.summary(rows, {}))
    assert cells(rows) == {
        ("upstream", "linux"): "safe!",
        ("upstream", "naive"): "torn!",
        ("upstream", "state"): "torn",
    }
    full = [line for line in lines if " 0x1" in line]
    assert [line.split()[4] for line in full] == ["0x1200", "0x1300"]
    assert full[0].endswith("safe      EXPECTED torn")
    assert full[1].endswith("torn      EXPECTED safe: no table says torn")


@pytest.mark.parametrize(
    ("rows", "used"),
    [
        ([row("safe", "safe"), row("safe", "safe", reader="naive")], set()),
        ([row("safe", "safe"), row("torn", "torn", at=0)], {"mixed"}),
        ([row("safe", "safe"), row("safe", "torn", at=0)], {"!"}),
        ([row("safe", "safe"), row("safe", "safe", "xen-va", "naive")], {"-"}),
    ],
)
def test_a_mark_is_explained_where_it_is_used(rows, used):
    lines = texts(table.summary(rows, {}))
    assert {mark for mark in table.LEGEND if any(x.startswith(f"{mark}: ") for x in lines)} == used


def test_it_says_why_torn_is_no_failure_where_that_is_so():
    assert table.KNOWN in texts(table.in_full([row("torn", "torn")], {}))
    assert table.KNOWN not in texts(table.in_full([row("torn", "safe"), row("torn", None)], {}))


def test_the_last_line_counts_what_was_met_and_what_no_table_says():
    rows = [row("torn", "torn"), row("torn", "safe"), row("torn", None), row("safe", None)]
    last = "4 questions: 1 safe, 3 torn; 2 expected verdicts, 1 not met; "
    last += "2 in no table, 1 of them torn"
    assert texts(table.summary(rows, {}))[-1] == texts(table.in_full(rows, {}))[-1] == last
    assert texts(table.in_full(rows[:1], {}))[-1].startswith("1 question: ")


def test_what_could_not_be_asked_is_counted_with_the_reason():
    rows = [row("safe", "safe"), row("safe", "safe", reader="naive")]
    for lines in (table.summary(rows, {"no page": 3}), table.in_full(rows, {"no page": 3})):
        assert "not asked: 3 questions: no page" in texts(lines)


def test_what_is_left_away_is_in_the_title():
    rows = [row("torn", "torn", dropped=("wmb-set",)), row("safe", "safe", dropped=("wmb-set",))]
    assert texts(table.summary(rows, {}))[0].endswith("; without wmb-set")


def test_every_writer_and_reader_fit_a_terminal():
    rows = [
        row("torn", "safe", variant.name, reader.name, dropped=dropped)
        for variant in VARIANTS
        for reader in READERS
        for dropped in ((), ("flag",))
    ]
    lines = texts(table.summary(rows, {}))
    assert len(lines) > 3 + 2 * len(VARIANTS)
    assert max(map(len, lines[: lines.index("")])) <= 100


@pytest.mark.parametrize(
    ("rows", "tabular"),
    [
        ([row("safe", "safe"), row("torn", "torn", at=0)], False),
        ([row("safe", "safe"), row("torn", "torn", reader="naive")], True),
        ([row("safe", "safe"), row("torn", "torn", dropped=("flag",))], True),
    ],
)
def test_a_summary_needs_two_cells(rows, tabular):
    assert table.is_tabular(rows) is tabular
