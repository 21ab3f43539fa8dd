"""The race checker against the table of expected verdicts, for every question of `race --all`."""

import re
from collections import Counter
from dataclasses import replace

import pytest

from agreement import verdicts
from agreement.verdicts import Asked, expected, of_any_writer
from runstate_abi.tools.race.rows import Wanted, rows
from runstate_abi.writer.guest import READERS
from runstate_abi.writer.racing import patterns
from runstate_abi.writer.racing.drops import flag_stores
from runstate_abi.writer.racing.ordering import MEASURED_GRAIN, MODELS
from runstate_abi.writer.steps import Store
from runstate_abi.writer.variants import VARIANT, VARIANTS, update
from runstate_abi.writer.vcpu import Area, Runstate


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


# Class of SET_BY -> what flag_stores() has to say of each of its versions.
SAID = {
    "byte": r"up by (a copy of )?one byte, and down by (a copy of )?one byte",
    "last": r"up by one byte, read, changed and written back, and down by one byte",
    "eight": r"up by eight bytes, and down by eight bytes(, read, changed and written back)?",
    "copy": r"up by a copy of eight bytes, and down by a copy of eight bytes",
    "lost": r"up by one byte, and down by a copy of 48 bytes, which is not the last store",
}


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_code_is_classified_as_the_table_has_its_source(variant):
    area = Area("native", 0x1100)
    steps = update(variant, Runstate(1, 0, (0, 0, 0, 0)), area)
    said = SAID[verdicts.SET_BY[variant.name]]
    assert re.fullmatch(f"the flag goes {said}", flag_stores(steps, area))


def test_a_flag_that_never_goes_up_or_stays_up_is_said():
    area, vcpu = Area("native", 0x1100), Runstate(1, 0, (0, 0, 0, 0))
    steps = update(VARIANT["upstream"], vcpu, area)
    up = next(n for n, step in enumerate(steps) if isinstance(step, Store))
    down = max(n for n, step in enumerate(steps) if isinstance(step, Store))
    assert flag_stores(steps[:down], area) == "the flag goes up by one byte, and stays up"
    swapped = (Store(1, 0x100, bytes(4)), *steps[up:])
    assert flag_stores(swapped, area).startswith(
        "the flag goes up by one byte, after other stores, and"
    )
    off = replace(area, update_flag=False)
    assert flag_stores(update(VARIANT["upstream"], vcpu, off), off) == "the flag never goes up"
