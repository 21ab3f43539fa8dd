"""Which questions there are, and that the expected verdicts are about the same ones."""

from collections import Counter

import pytest

from runstate_abi.tools.cli import main
from runstate_abi.tools.racing.rows import Wanted, rows, writers
from runstate_abi.writer.guest import READERS
from runstate_abi.writer.racing import patterns, verdicts
from runstate_abi.writer.racing.ordering import MEASURED_GRAIN, MODELS
from runstate_abi.writer.racing.placements import placements
from runstate_abi.writer.variants import VARIANTS, Refused
from runstate_abi.writer.vcpu import SHAPES, Area

PAIR = ["--variant", "upstream", "--reader", "linux-64"]


@pytest.mark.parametrize(
    ("name", "verdict"),
    [("wmb-set", "torn"), ("wmb-clear", "safe"), ("reread", "torn"), ("flag", "torn")],
)
def test_drop_says_what_a_step_is_for(answers, name, verdict):
    _, found = answers(*PAIR, "--model", "weak", "--abi", "native", "--at", "0", "--drop", name)
    assert [row["verdict"] for row in found] == [verdict]
    assert found[0]["dropped"] == [name]


def test_a_table_leaves_out_what_a_version_does_not_have(answers):
    _, found = answers("--drop", "body-bit", "--reader", "linux-64", "--at", "0")
    names = {row["variant"] for row in found}
    assert "upstream" in names
    assert not names & {"linux-6.1", "linux-5.14", "split-memcpy"}


def test_rows_and_expected_verdicts_cover_each_other():
    assert set(verdicts.SET_BY) == {variant.name for variant in VARIANTS}
    assert tuple(reader.name for reader in READERS) == verdicts.READERS


def test_every_split_of_a_page_is_asked_about(answers):
    _, found = answers(*PAIR, "--model", "x86-tso")
    for abi, size in (("native", 48), ("compat", 44)):
        splits = {
            row["at"] for row in found if row["abi"] == abi and row["at"] % 4096 > 4096 - size
        }
        assert splits == {0x2000 - inside for inside in range(1, size)}
        kinds = [place.kind for place in placements(abi)]
        assert kinds[:4] == ["aligned", "half-line", "line", "page"]


def test_what_cannot_be_asked_is_counted_and_nothing_is_lost():
    left_out = Counter()
    wanted = Wanted(None, None, None, None, 0xFF1, 1, patterns.INCREASING, (), MEASURED_GRAIN)
    answered = sum(1 for _ in rows(wanted, left_out))
    models = [model for model in MODELS if not model.recorded]
    each = len(READERS) * len(models) * len(SHAPES)
    assert answered + sum(left_out.values()) == writers(None) * each
    names = {why.split(":")[0] for why in left_out}
    assert names == {"linux-5.14", "linux-5.16", "linux-6.1", "xen-phys"}


def test_a_question_that_stands_alone_and_cannot_be_asked_is_refused():
    wanted = Wanted("linux-6.1", None, None, None, 0xFF1, 1, patterns.INCREASING, (), 32)
    with pytest.raises(Refused):
        list(rows(wanted, Counter()))


# The matrix of what is known: each of these deceives every reader that believes more than state.
@pytest.mark.parametrize(
    "circumstance",
    [
        ["--entry-times", "a-b-a", "--updates", "2", "--variant", "xen-phys"],
        ["--entry-times", "a-b-a", "--updates", "2", "--drop", "wmb-set", "--variant", "upstream"],
        ["--drop", "bit-check"],
        ["--drop", "reread", "--updates", "2", "--variant", "upstream"],
        ["--drop", "flag", "--updates", "2", "--variant", "upstream"],
        ["--drop", "set", "--variant", "upstream"],
        ["--drop", "body-bit", "--drop", "wmb-clear", "--variant", "upstream"],
        ["--drop", "wmb-set", "--model", "weak", "--variant", "upstream"],
        ["--equal-entry-time", "--drop", "rmb-copy"],
    ],
)
def test_what_is_known_to_tear_is_expected_of_every_reader(capsys, circumstance):
    assert main(["race", "--abi", "compat", "--at", "0x1000", *circumstance]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert "0 not met" in last
    torn = int(last.split(" torn")[0].split()[-1])
    assert torn > 5
    assert "in no table" not in last or last.endswith("0 of them torn")


def test_what_is_not_known_to_tear_is_not_expected_to():
    readers = {"linux-64": "safe", "linux-32": None, "state": None}
    for reader, verdict in readers.items():
        asked = verdicts.Asked("upstream", reader, MODELS[0], Area("native", 0x1000))
        assert verdicts.expected(asked._replace(dropped=("wmb-clear",))) == verdict
        assert verdicts.expected(asked._replace(dropped=("set", "wmb-set"))) != "safe"
    assert verdicts.of_any_writer("linux-64", patterns.INCREASING, ("set",)) is None
    assert verdicts.of_any_writer("state", patterns.A_B_A, ()) == "safe"
    eight = verdicts.Asked("linux-6.1", "linux-64", MODELS[1], Area("native", 0x1000))
    assert verdicts.expected(eight._replace(dropped=("wmb-set",))) is None
