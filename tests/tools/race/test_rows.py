"""Which questions there are."""

from collections import Counter

import pytest

from runstate_abi.tools.race.rows import Wanted, placements, rows, shipped, writers
from runstate_abi.writer.guest import READERS
from runstate_abi.writer.racing import patterns
from runstate_abi.writer.racing.ordering import MEASURED_GRAIN, MODELS
from runstate_abi.writer.variants import Refused
from runstate_abi.writer.vcpu import SHAPES

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
    assert names == {"linux-5.16", "linux-6.1", "xen-phys"}


def test_a_question_that_stands_alone_and_cannot_be_asked_is_refused():
    wanted = Wanted("linux-6.1", None, None, None, 0xFF1, 1, patterns.INCREASING, (), 32)
    with pytest.raises(Refused):
        list(rows(wanted, Counter()))


def test_what_ships_is_safe_at_every_placement():
    wanted = Wanted(None, None, None, None, None, 1, patterns.INCREASING, (), MEASURED_GRAIN)
    found = list(shipped(wanted, Counter()))
    asked = {(r.question.reader.name, r.question.model.name, r.question.area.abi) for r in found}
    assert asked == {
        ("linux-64", "x86-tso", "native"),
        ("linux-64", "weak", "native"),
        ("linux-32", "x86-tso", "compat"),
    }
    assert {row.writer for row in found} == {"upstream"}
    assert {row.verdict for row in found} == {"safe"}
    places = [row.question.area.address for row in found if row.question.area.abi == "compat"]
    assert places == [place.address for place in placements("compat")]
