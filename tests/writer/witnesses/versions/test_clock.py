"""Updates of a guest's clock by writers of our own: good ones, one for each rule's breach."""

import re

import pytest

from runstate_abi.layouts.model import WitnessError
from runstate_abi.writer.witnesses.versions.rules import PVCLOCK
from runstate_abi.writer.witnesses.versions.updates import Load, Store

FAMILY, SOURCES = "pvclock", ("pvclock", "steal_time")


@pytest.mark.parametrize(
    "defines",
    [(), ("OLD",), ("CALLS_MEMCPY",), ("BACKWARDS",), ("OLD", "BACKWARDS")],
    ids=" ".join,
)
@pytest.mark.parametrize("flags", [("-O0",), ("-O2",)])
def test_a_right_writer_breaks_no_rule_and_each_is_tested(
    version_writer, verdict_on, defines, flags
):
    seen = verdict_on(FAMILY, version_writer(FAMILY, *defines, flags=flags))
    assert {one.rule.name: one.first for one in seen.outcomes if one.broken} == {}
    assert [one.rule for one in seen.outcomes] == list(PVCLOCK)
    assert all(0 < one.tested <= seen.updates for one in seen.outcomes)


@pytest.mark.parametrize("family", SOURCES)
def test_clangs_code_is_right_too(version_writer, verdict_on, installed, family):
    installed("clang")
    assert verdict_on(family, version_writer(family, compiler="clang")).right


@pytest.mark.parametrize("family", SOURCES)
def test_types_may_come_from_dwarf(version_writer, verdict_on, family):
    pytest.importorskip("drgn")
    writer = version_writer(family, btf=False, flags=("-g",))
    assert writer.types.kind == "DWARF"
    assert verdict_on(family, writer).right


# What a writer does wrong -> the rules that it breaks.
BROKEN = {
    "NO_ODD": {"odd-first"},
    "PLAIN_ADD": {"odd-first", "window", "even-last", "final"},
    "OWN_VERSION": {"odd-first", "window", "even-last", "final"},
    "TWO_HALVES": {"odd-first", "window", "even-last"},
    "DATA_FIRST": {"odd-first"},
    "EVEN_BODY": {"window"},
    "NO_EVEN": {"even-last", "final"},
    "DATA_LAST": {"window", "even-last"},
    "FORGETS_STOPPED": {"final"},
    "KEEPS_ALL_FLAGS": {"final"},
    "SWAPPED": {"final"},
    "TOO_LONG": {"outside"},
    "FIRST_BYTE_OF_CACHE": {"final", "outside"},
    "NO_LOCK": {"locks"},
    "NO_CHECK": {"final", "locks", "outside", "refused"},
    "SHORT_CHECK": {"locks"},
    "REFRESH_UNDER_LOCK": {"locks"},
    "NO_UNLOCK": {"locks", "irqs"},
    "IRQS_ON": {"irqs"},
    "IRQS_STAY_OFF": {"irqs"},
    "NO_DIRTY": {"dirty"},
    "DIRTY_FIRST": {"dirty"},
    "WRONG_FRAME": {"dirty"},
    "WRONG_VM": {"dirty"},
    "WRITES_REFUSED": {"refused"},
    "ENDLESS": {"ends"},
    "CLOBBERS": {"caller"},
}


@pytest.mark.parametrize("define", BROKEN)
def test_a_broken_writer_breaks_its_rule(version_writer, broken_by, define):
    assert broken_by(FAMILY, version_writer(FAMILY, define)) >= BROKEN[define]


def test_each_rule_is_broken_by_some_writer():
    assert set().union(*BROKEN.values()) == {rule.name for rule in PVCLOCK}


def test_a_request_that_is_served_and_not_written_is_a_breach(version_writer, broken_by):
    assert broken_by(FAMILY, version_writer(FAMILY, "OLD", "DROPS_REQUEST")) == {"final"}


def test_a_request_that_is_left_to_the_caller_is_none(version_writer):
    """Newer kernels serve it in the caller, for the kvmclock alone."""
    writer = version_writer(FAMILY)
    asked = next(one for one in writer.requests() if one.stopped and not one.flags)
    update = writer.run(asked)
    assert update.after == update.expected
    assert not update.after[29] & 2


def test_it_notes_a_flag_that_gets_to_other_clocks(version_writer, verdict_on):
    leaking = verdict_on(FAMILY, version_writer(FAMILY, "OLD", "LEAKS_STOPPED"))
    assert leaking.right
    assert any("24c166378026" in note for note in leaking.notes)
    assert not any("24c1" in note for note in verdict_on(FAMILY, version_writer(FAMILY)).notes)


def test_both_an_even_and_an_odd_version_are_asked_about(version_writer):
    versions = {one.version for one in version_writer(FAMILY).requests()}
    assert {version & 1 for version in versions} == {0, 1}
    assert max(versions) == 0xFFFF_FFFF


def test_an_update_is_recorded_access_by_access(version_writer):
    writer = version_writer(FAMILY)
    asked = next(writer.requests())
    update = writer.run(asked, places=True)
    stores = [event for event in update.events if isinstance(event, Store)]
    assert [len(store.data) for store in stores] == [4, 8, 8, 8, 8, 4]
    assert [int.from_bytes(stores[n].data, "little") for n in (0, -1)] == [7, 8]
    assert sum(isinstance(event, Load) for event in update.events) == 2
    assert len(update.places) == len(update.events)
    *inside, last = update.places
    assert all(re.fullmatch(r"kvm_setup_guest_pvclock\+0x\w+", place) for place in inside)
    assert last == "(tail call)"


@pytest.mark.parametrize(
    ("defines", "why"),
    [
        (("UNKNOWN_CALL",), r"it calls unknown_call, .* from kvm_setup_guest_pvclock\+0x"),
        (("STRANGE_PARAMETER",), r"kvm_setup_guest_pvclock\(\) takes ref_hv_clock, .*, whatever"),
        (("kvm_setup_guest_pvclock=other",), r"no function kvm_setup_guest_pvclock"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_what_cannot_be_judged_says_why(version_writer, verdict_on, defines, why):
    with pytest.raises(WitnessError, match=why):
        verdict_on(FAMILY, version_writer(FAMILY, *defines))


def test_a_breach_outranks_what_cannot_be_followed(version_writer, verdict_on):
    writer = version_writer(FAMILY, "NO_DIRTY")
    run, asked = writer.run, []

    def sometimes(request, places=False):
        asked.append(request)
        if len(asked) == 9:
            raise WitnessError("x.ko: cannot judge: it is lost")
        return run(request, places)

    writer.run = sometimes
    seen = verdict_on(FAMILY, writer)
    assert not seen.right
    assert any("1 update could not be followed" in note for note in seen.notes)
