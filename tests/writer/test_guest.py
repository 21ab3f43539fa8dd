"""The readers are data: what they load, in which order, and what is left when a step is dropped."""

import pytest

from runstate_abi.writer.guest import COPY, READER, READERS, CannotDrop, Load, ReadBarrier, drop
from runstate_abi.writer.racing.drops import READER_DROPS


def letters(name):
    """The program as letters: t whole, l low, h high, c copy, | a barrier."""
    names = {"entry": "t", "low": "l", "high": "h", "struct": "c", "state": "s"}
    ops = READER[name].program
    return "".join("|" if isinstance(op, ReadBarrier) else names[op.part] for op in ops)


@pytest.mark.parametrize(
    ("name", "program"),
    [
        ("linux-64", "t|c|t"),
        ("linux-32", "hlh|c|hlh"),
        ("fenced-32", "h|l|h|c|h|l|h"),
        ("naive", "c"),
        ("split-lh-lh", "lh|c|lh"),
        ("split-hl-hl", "hl|c|hl"),
        ("split-lh-hl", "lh|c|hl"),
        ("split-hl-lh", "hl|c|lh"),
        ("plain-64", "t|c|t"),
        ("copied-time", "t|c|t"),
        ("state", "s"),
    ],
)
def test_a_reader_loads_in_the_order_of_its_name(name, program):
    assert letters(name) == program


def test_every_reader_has_a_source_and_its_own_name():
    assert all(reader.source and reader.summary for reader in READERS)
    assert len(READER) == len(READERS)


def test_loads_of_one_reader_have_different_names():
    for reader in READERS:
        names = [load.name for load in reader.loads]
        assert len(names) == len(set(names)), reader.name


def test_only_the_readers_that_know_no_protocol_do_not_look_at_the_flag():
    assert [r.name for r in READERS if not r.bit_check] == ["naive", "state"]


def test_only_plain_64_and_the_copies_leave_it_to_the_address_whether_a_load_is_whole():
    torn = {reader.name for reader in READERS for load in reader.loads if not load.whole}
    whole = {reader.name for reader in READERS for load in reader.loads if load.whole}
    assert torn - whole == {"naive", "plain-64", "state"}
    assert not COPY.whole


@pytest.mark.parametrize(
    ("name", "left"),
    [("rmb-copy", "tc|t"), ("rmb-reread", "t|ct"), ("reread", "t|c|"), ("bit-check", "t|c|t")],
)
def test_dropping_a_step_leaves_the_others(name, left):
    dropped = drop(READER["linux-64"], name)
    names = {"entry": "t", "struct": "c"}
    program = "".join(names[op.part] if isinstance(op, Load) else "|" for op in dropped.program)
    assert program == left
    assert dropped.bit_check == (name != "bit-check")


@pytest.mark.parametrize("name", READER_DROPS)
def test_a_reader_without_a_protocol_has_nothing_to_drop(name):
    with pytest.raises(CannotDrop, match=f"naive has no {name}"):
        drop(READER["naive"], name)
