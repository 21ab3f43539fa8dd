import itertools

import pytest

from runstate_abi.layouts.structs.runstate import XEN_RUNSTATE_UPDATE
from runstate_abi.tools.memory.observations import compare, deltas, observe, shares, told, worst

NOW = 10_000_000_000
OLD = {"entry": NOW, "times": (4 * 10**9, 3 * 10**9, 10**9, 10**9)}  # created at 1 s


def pair(make, **new):
    return make(**OLD).values, make(**{**OLD, **new}).values


def kinds(earlier, later):
    return worst(compare(earlier, later))


def test_real_dumps_of_one_area_never_contradict_each_other(real_pages, area_of):
    by_place = {}
    for record in real_pages:
        if "false positive" not in record["what"]:
            by_place.setdefault(record["maddr"] + record["what"][:4], []).append(record)
    compared = 0
    for records in by_place.values():
        for one, other in itertools.pairwise(records):
            found = compare(area_of(one).values, area_of(other).values)
            assert worst(found) in ("normal", "in-flight"), (one["file"], other["file"])
            compared += 1
    assert compared >= 16


def test_a_constant_difference_is_normal_and_said(make):
    found = compare(*pair(make, entry=NOW + 6, times=(4 * 10**9 + 5, 3 * 10**9 + 1, 10**9, 10**9)))
    assert {item.kind for item in found} == {"normal"}
    assert "constant: 00:00:01.0" in found[0].text


def test_what_one_look_and_two_say_of_the_same_fact_is_said_once(make, area_of):
    moved = {"entry": NOW + 6, "times": (4 * 10**9 + 5, 3 * 10**9 + 1, 10**9, 10**9)}
    earlier, later = make(**OLD), make(**moved)
    both = compare(earlier.values, later.values)
    said = [item.text for item in told(observe(later), both)]
    assert sum("ahead of the sum" in text or "is constant" in text for text in said) == 1
    assert any("is not stale as of 00:00:10.0" in text for text in said)
    assert not any("may be stale" in text for text in said)
    assert any("the update flag is clear" in text for text in said)


def test_an_entry_time_that_alone_went_back_is_one_thing_that_is_said(make):
    (only,) = compare(*pair(make, entry=NOW - 1))
    assert (only.kind, "all of it went back together" in only.text) == ("normal", True)


def test_an_earlier_dump_in_flight_does_not_make_the_later_one_so(make):
    flagged = {**OLD, "entry": NOW | XEN_RUNSTATE_UPDATE}
    (only,) = compare(make(**flagged).values, make(**{**OLD, "entry": NOW + 1}).values)
    assert (only.kind, "in order?" in only.text) == ("normal", False)
    (only,) = compare(make(**flagged).values, make(**{**OLD, "entry": NOW - 1}).values)
    assert "(are the dumps in order?)" in only.text
    (only,) = compare(make(**OLD).values, make(**flagged).values)
    assert only.kind == "in-flight"


def test_a_flag_that_is_set_in_two_equal_looks_of_a_watch_is_not_called_normal(make):
    flagged = {**OLD, "entry": NOW | XEN_RUNSTATE_UPDATE}
    (only,) = compare(make(**flagged).values, make(**flagged).values)
    assert (only.kind, "left it set" in only.text) == ("in-flight", True)


def test_a_flag_that_is_set_in_two_dumps_is_not_in_flight(make):
    flagged = make(**{**OLD, "entry": NOW | XEN_RUNSTATE_UPDATE})
    for later, kind in ((NOW, "wrong"), (NOW + 10**9, "wrong"), (NOW + 10**9 - 1, "in-flight")):
        other = make(**{**OLD, "entry": later | XEN_RUNSTATE_UPDATE})
        found = told(observe(other), compare(flagged.values, other.values, dumps=True))
        assert worst(found) == kind
        in_progress = [item for item in found if "an update is in progress" in item.text]
        assert bool(in_progress) == (kind == "in-flight")
    (only,) = compare(flagged.values, flagged.values, dumps=True)
    assert "the machine was stopped" in only.text
    assert "no area" in only.text
    (only,) = compare(flagged.values, make(**{**OLD, "entry": NOW + 10**9}).values, dumps=True)
    assert only.kind == "normal"


def test_an_area_that_did_not_move_says_how_to_know_whether_it_is_stale(make):
    (only,) = compare(make(**OLD).values, make(**OLD).values)
    assert only.kind == "normal"
    assert "Xen's own copy is newer" in only.text


def test_a_difference_that_moved_is_wrong(make):
    found = compare(*pair(make, entry=NOW + 5, times=(4 * 10**9 + 9, 3 * 10**9, 10**9, 10**9)))
    assert found[0].kind == "wrong"
    assert "moved by -4 ns" in found[0].text


@pytest.mark.parametrize("back", [5, 1])
def test_a_time_that_went_backwards_is_wrong_and_named(make, back):
    times = (4 * 10**9 + 5 + back, 3 * 10**9, 10**9 - back, 10**9)
    found = [i.text for i in compare(*pair(make, entry=NOW + 5, times=times)) if i.kind == "wrong"]
    assert f"time[2] blocked went backwards by {back} ns" in found


def test_dumps_in_the_wrong_order_are_asked_about(make):
    found = compare(
        *reversed(pair(make, entry=NOW + 5, times=(4 * 10**9 + 5, 3 * 10**9, 10**9, 10**9)))
    )
    assert "are the dumps in order?" in found[0].text


def test_a_new_vcpu_after_a_migration_is_normal(make):
    assert kinds(*pair(make, entry=10**9, times=(10**8, 0, 0, 0))) == "normal"


def test_a_migration_by_qemu_says_what_it_looks_like_and_what_else_it_could_be(make):
    old = make(entry=NOW, times=(4 * 10**9, 3 * 10**9, 2 * 10**9, 10**9)).values
    (only,) = compare(old, make().values)
    assert (only.kind, "a migration by QEMU" in only.text) == ("normal", True)
    booked = make(entry=NOW + 5, times=(4, 0, 0, NOW + 1)).values
    wrong = [item.text for item in compare(old, booked) if item.kind == "wrong"]
    assert len(wrong) == 3
    assert all("as after a migration by QEMU; else another vCPU's?" in text for text in wrong)
    less = make(entry=NOW + 5, times=(6, 0, 0, NOW - 1)).values
    assert not any("QEMU; else" in item.text for item in compare(old, less))


def test_a_dump_in_flight_proves_nothing(make):
    assert kinds(*pair(make, entry=(NOW + 5) | XEN_RUNSTATE_UPDATE)) == "in-flight"


def test_an_offline_vcpus_area_may_count_the_time_so_far(make):
    old = make(state=3, entry=NOW, times=(10**9, 0, 0, 8 * 10**9 + 10**6)).values
    new = make(state=0, entry=NOW + 10**9, times=(10**9, 0, 0, 9 * 10**9)).values
    assert kinds(old, new) == "normal"


@pytest.mark.parametrize(
    "new", [{"times": (4 * 10**9 + 5, 3 * 10**9 - 5, 10**9, 10**9)}, {"state": 1}]
)
def test_an_entry_time_that_stays_while_the_rest_changes_is_named(make, new):
    said = " ".join(item.text for item in compare(*pair(make, **new)))
    assert "its entry time did not" in said
    assert "it was updated" not in said


def test_nothing_changed_is_normal(make):
    assert kinds(*pair(make)) == "normal"


def test_shares_are_parts_of_what_grew(make):
    moved = deltas(*pair(make, entry=NOW + 4, times=(4 * 10**9 + 3, 3 * 10**9 + 1, 10**9, 10**9)))
    assert [share.part for share in shares(moved)] == [0.75, 0.25, 0, 0]
    assert moved.entry == 4
