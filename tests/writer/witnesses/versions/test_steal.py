"""Updates of a guest's steal time by writers of our own: good ones, one for each rule's breach."""

import subprocess

import pytest

from runstate_abi.layouts.model import WitnessError
from runstate_abi.writer.witnesses.versions.rules import STEAL_TIME
from runstate_abi.writer.witnesses.versions.steal import (
    BAD,
    DISABLED,
    LOST,
    MOVED,
    NO_SLOT,
    OLD_SLOTS,
    PREEMPTED,
    UNSLOTTED,
    StealRequest,
)
from runstate_abi.writer.witnesses.versions.updates import Call, Fault, Store

FAMILY = "steal_time"


@pytest.mark.parametrize("defines", [(), ("BY_NUMBER",), ("IN_HALVES",)], ids=" ".join)
@pytest.mark.parametrize("flags", [("-O1",), ("-O2",)])
def test_a_right_writer_breaks_no_rule_and_each_is_tested(
    version_writer, verdict_on, defines, flags
):
    seen = verdict_on(FAMILY, version_writer(FAMILY, *defines, flags=flags))
    assert {one.rule.name: one.first for one in seen.outcomes if one.broken} == {}
    assert [one.rule for one in seen.outcomes] == list(STEAL_TIME)
    assert all(0 < one.tested <= seen.updates for one in seen.outcomes)


# What a writer does wrong -> the rules that it breaks.
BROKEN = {
    "NO_ODD": {"odd-first"},
    "PLAIN_ADD": {"odd-first", "window", "even-last", "final"},
    "EVEN_EARLY": {"window", "even-last"},
    "NO_EVEN": {"even-last", "final"},
    "FLAGS_TOO": {"final"},
    "NO_LAST": {"final"},
    "KEEPS_OWN_NOTE": {"final"},
    "PLAIN_PREEMPTED": {"preempted"},
    "KEEPS_PREEMPTED": {"preempted", "final"},
    "NO_FLUSH": {"preempted"},
    "OUTSIDE": {"outside"},
    "ANY_SLOTS": {"cache", "outside", "refused"},
    "ANY_ADDRESS": {"cache", "outside"},
    "SHORT_SETUP": {"cache"},
    "UNCAUGHT": {"faults"},
    "GOES_ON": {"faults"},
    "NO_DIRTY": {"dirty"},
    "NOT_ENABLED": {"refused"},
    "BUG": {"ends"},
    "CLOBBERS": {"caller"},
}


@pytest.mark.parametrize("define", BROKEN)
def test_a_broken_writer_breaks_its_rule(version_writer, broken_by, define):
    assert broken_by(FAMILY, version_writer(FAMILY, define)) >= BROKEN[define]


def test_each_rule_is_broken_by_some_writer():
    assert set().union(*BROKEN.values()) == {rule.name for rule in STEAL_TIME}


@pytest.mark.parametrize("fault", range(1, 7))
def test_a_fault_ends_an_update_where_it_is(version_writer, fault):
    writer = version_writer(FAMILY)
    update = writer.run(StealRequest(6, 0x40, PREEMPTED, fault=fault))
    at = next(at for at, one in enumerate(update.events) if isinstance(one, Fault))
    assert update.events[at].number == fault
    assert not any(isinstance(one, Store) for one in update.events[at:])
    # preempted, the version, then: the version is odd; steal, its store, the version again.
    assert update.last_version == (7 if fault > 3 else 6)


def test_a_fault_that_leaves_the_version_odd_is_a_note_and_no_breach(version_writer, verdict_on):
    seen = verdict_on(FAMILY, version_writer(FAMILY))
    assert seen.right
    assert seen.notes[0].startswith("a fault at access 4, 5 or 6 of an update")


def test_time_that_a_fault_loses_is_a_note(version_writer, verdict_on):
    seen = verdict_on(FAMILY, version_writer(FAMILY))
    assert any(note.startswith("a fault at access 5 loses") for note in seen.notes)


def test_a_fixup_sets_registers_as_its_entry_says(version_writer):
    """BY_NUMBER reads steal in the older form, in which a register gets an error."""
    update = version_writer(FAMILY, "BY_NUMBER").run(StealRequest(6, fault=4))
    assert [type(one).__name__ for one in update.events[-2:]] == ["Fault", "Call"]


def test_a_fault_of_an_unknown_kind_cannot_be_judged(version_writer, verdict_on):
    writer = version_writer(FAMILY, 'KIND="5"')
    with pytest.raises(WitnessError, match=r"a fault of kind 5, .* at record_steal_time\+0x"):
        verdict_on(FAMILY, writer)


@pytest.mark.parametrize("cache", [OLD_SLOTS, MOVED, BAD, NO_SLOT])
def test_a_stale_cache_is_set_up_anew_and_the_new_page_is_written(version_writer, cache):
    update = version_writer(FAMILY).run(StealRequest(6, 0x40, cache=cache))
    assert isinstance(update.events[0], Call)
    assert update.after == update.expected


@pytest.mark.parametrize("cache", [LOST, UNSLOTTED, DISABLED])
def test_what_cannot_be_reached_keeps_its_bytes(version_writer, cache):
    asked = StealRequest(6, 0x40, cache=cache)
    update = version_writer(FAMILY).run(asked)
    assert asked.refused
    assert update.after == asked.before


def test_a_damaged_exception_table_cannot_be_judged(c_writer, tmp_path):
    from runstate_abi.writer.witnesses.versions.opened import opened

    file = tmp_path / "damaged.o"
    table = tmp_path / "table"
    table.write_bytes(bytes(13))
    command = ["objcopy", f"--update-section=__ex_table={table}"]
    command += ["--remove-relocations=__ex_table", c_writer(source="steal_writer.c"), file]
    subprocess.run(command, check=True)
    with pytest.raises(WitnessError, match="__ex_table is damaged"):
        opened(str(file), "", FAMILY)
