"""The race checker against the table of expected verdicts, for every question of `race --all`."""

from collections import Counter

import pytest

from agreement import verdicts
from agreement.verdicts import Asked, expected, of_any_writer
from runstate_abi.tools.race.rows import Wanted, rows
from runstate_abi.writer.guest import READERS
from runstate_abi.writer.racing import patterns
from runstate_abi.writer.racing.ordering import MEASURED_GRAIN, MODELS
from runstate_abi.writer.variants import VARIANTS
from runstate_abi.writer.vcpu import Area


def answered(**named):
    """[(row, the expected verdict or None)] for questions that the options narrow down."""
    everything = dict.fromkeys(("variant", "reader", "model", "abi", "at"))
    circumstances = {"updates": 1, "entry_times": patterns.INCREASING, "dropped": ()}
    wanted = Wanted(**{**everything, **circumstances, "grain": MEASURED_GRAIN, **named})
    return [(row, expected(asked(row.question))) for row in rows(wanted, Counter())]


def asked(question):
    return Asked(
        question.writer.name, question.reader.name, question.model, question.area,
        question.updates, question.entry_times, question.dropped,
    )  # fmt: skip


def test_the_table_has_every_writer_and_reader():
    assert set(verdicts.SET_BY) == {variant.name for variant in VARIANTS}
    assert tuple(reader.name for reader in READERS) == verdicts.READERS


def test_every_verdict_is_the_expected_one():
    found = answered()
    assert {row.verdict for row, _ in found} == {"safe", "torn"}
    assert [row for row, wanted in found if row.verdict != wanted] == []


# Each of these deceives every reader that believes more than state.
@pytest.mark.parametrize(
    "circumstance",
    [
        {"entry_times": "a-b-a", "updates": 2, "variant": "xen-phys"},
        {"entry_times": "a-b-a", "updates": 2, "dropped": ("wmb-set",), "variant": "upstream"},
        {"dropped": ("bit-check",)},
        {"dropped": ("reread",), "updates": 2, "variant": "upstream"},
        {"dropped": ("flag",), "updates": 2, "variant": "upstream"},
        {"dropped": ("set",), "variant": "upstream"},
        {"dropped": ("body-bit", "wmb-clear"), "variant": "upstream"},
        {"dropped": ("wmb-set",), "model": "weak", "variant": "upstream"},
        {"entry_times": "equal", "dropped": ("rmb-copy",)},
    ],
    ids=str,
)
def test_what_is_known_to_tear_tears(circumstance):
    found = answered(abi="compat", at=0x1000, **circumstance)
    assert sum(row.verdict == "torn" for row, _ in found) > 5
    assert [row for row, wanted in found if row.verdict != (wanted or "safe")] == []


def test_what_is_not_known_to_tear_is_not_expected_to():
    readers = {"linux-64": "safe", "linux-32": None, "state": None}
    for reader, verdict in readers.items():
        question = Asked("upstream", reader, MODELS[0], Area("native", 0x1000))
        assert expected(question._replace(dropped=("wmb-clear",))) == verdict
        assert expected(question._replace(dropped=("set", "wmb-set"))) != "safe"
    assert of_any_writer("linux-64", patterns.INCREASING, ("set",)) is None
    assert of_any_writer("state", patterns.A_B_A, ()) == "safe"
    eight = Asked("linux-6.1", "linux-64", MODELS[1], Area("native", 0x1000))
    assert expected(eight._replace(dropped=("wmb-set",))) is None
