"""Which questions there are, and that the expected verdicts are about the same ones."""

import pytest

from runstate_abi.writer import verdicts
from runstate_abi.writer.guest import READERS
from runstate_abi.writer.placements import placements
from runstate_abi.writer.variants import VARIANTS

PAIR = ["--variant", "upstream", "--reader", "linux-64"]


@pytest.mark.parametrize(
    ("name", "verdict"),
    [("wmb-set", "torn"), ("wmb-clear", "safe"), ("reread", "torn"), ("flag", "torn")],
)
def test_drop_says_what_a_step_is_for(answers, name, verdict):
    _, rows = answers(*PAIR, "--model", "weak", "--abi", "native", "--at", "0", "--drop", name)
    assert [row["verdict"] for row in rows] == [verdict]
    assert rows[0]["dropped"] == [name]


def test_a_table_leaves_out_what_a_version_does_not_have(answers):
    _, rows = answers("--drop", "body-bit", "--reader", "linux-64", "--at", "0")
    names = {row["variant"] for row in rows}
    assert "upstream" in names
    assert not names & {"linux-6.1", "linux-5.14", "split-memcpy"}


def test_rows_and_expected_verdicts_cover_each_other():
    assert set(verdicts.SET_BY) == {variant.name for variant in VARIANTS}
    assert tuple(reader.name for reader in READERS) == verdicts.READERS


def test_every_split_of_a_page_is_asked_about(answers):
    _, rows = answers(*PAIR, "--model", "x86-tso")
    for abi, size in (("native", 48), ("compat", 44)):
        splits = {row["at"] for row in rows if row["abi"] == abi and row["at"] % 4096 > 4096 - size}
        assert splits == {0x2000 - inside for inside in range(1, size)}
        kinds = [place.kind for place in placements(abi)]
        assert kinds[:4] == ["aligned", "half-line", "line", "page"]
