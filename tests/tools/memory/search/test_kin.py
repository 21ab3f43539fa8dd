"""Candidates judged by one another, where a dump holds tables that look like areas."""

import struct

import pytest

from runstate_abi.layouts.structs.runstate import NATIVE
from runstate_abi.tools.memory.area import values
from runstate_abi.tools.memory.image import Image, Piece
from runstate_abi.tools.memory.search import finding
from runstate_abi.tools.memory.search.candidates import (
    COPY,
    LIKELY,
    POSSIBLE,
    UNLIKELY,
    Candidate,
)

BORN = 886_137_219
TIMES = (17_774_726_908, 14_363_125_363, 883_004_121, 903_481_496)


def record(running=0, state=0):
    """A Xen vCPU's area that has run `running` ns longer."""
    times = (TIMES[0] + running, *TIMES[1:])
    return struct.pack("<II5Q", state, 0, BORN + sum(times), *times)


def candidate(address, running=0, verdict=POSSIBLE, ahead=BORN):
    seen = values(NATIVE, record(running))
    return Candidate(address, NATIVE, seen._replace(entry_raw=seen.total + ahead), (), verdict)


def gained(found):
    return [item.weight for item in finding.together(found)]


def test_two_records_of_one_vcpu_speak_for_each_other():
    assert gained([candidate(0x1000), candidate(0x2000, running=5_001)]) == [6, 6]


def test_equal_records_are_no_areas_unless_one_is_the_hypervisors():
    assert gained([candidate(0x1000), candidate(0x2000)]) == [-2, -2]
    assert gained([candidate(0x1000), candidate(0x2000, verdict=COPY)]) == [6, 6]
    assert gained([candidate(0x1000, verdict=COPY)]) == [0]
    assert gained([candidate(0x1000, verdict=COPY), candidate(0x2000, verdict=COPY)]) == [6, 6]


@pytest.mark.parametrize(
    ("changed", "weight"),
    [
        ({}, 6),
        ({"ahead": 1}, 6),
        ({"ahead": 0}, 0),  # KVM's, of which it is true of every one
        ({"verdict": UNLIKELY}, 0),
        ({"verdict": UNLIKELY, "ahead": 0}, 0),
    ],
)
def test_the_difference_speaks_only_where_it_is_a_sign_of_one_vcpu(changed, weight):
    pair = [candidate(0x1000, **changed), candidate(0x2000, running=5_001, **changed)]
    assert gained(pair) == [weight, weight]


@pytest.mark.parametrize("running", [64, 999, 1 << 27])
def test_numbers_that_no_clock_counted_say_nothing(running):
    assert gained([candidate(0x1000), candidate(0x2000, running=running)]) == [0, 0]


@pytest.mark.parametrize(("place", "weight"), [(0, 10), (1, 6), (0xFFF, 6), (0x7000, 10)])
def test_an_area_that_the_hypervisors_record_points_to_weighs_more(place, weight):
    record_ = candidate(0x2000, running=5_001, verdict=COPY)
    pointing = record_._replace(points_to=0xFFFF_8880_0000_0120 + place)
    found = finding.together([candidate(0x1120), pointing])
    assert [item.weight for item in found] == [weight, 6]
    assert ("points here" in found[0].reasons[-1].text) is (weight == 10)


def test_rows_of_a_table_that_counts_up_say_nothing():
    assert set(gained([candidate(0x1000 * n, running=5_001 * n) for n in range(1, 20)])) == {0}
    steps = (0, 1, 2, 3, 7, 5_001)  # Few of them far enough apart to be two states.
    assert set(gained([candidate(0x1000 * (n + 1), running=n) for n in steps])) == {0}


def test_a_table_of_a_hundred_thousand_rows_is_judged_in_one_pass():
    # With every pair looked at, this test would take an hour.
    alike = [candidate(0x1000 * n) for n in range(1, 50_001)]
    counting = [candidate(0x1000 * n, running=n) for n in range(50_001, 100_001)]
    assert set(gained([*alike, *counting])) == {-2, 0}


def test_an_area_behind_more_near_misses_than_are_kept_is_found(monkeypatch):
    monkeypatch.setattr(finding, "MOST", 4)
    # Rows that are all one state's time: looked at, and unlikely.
    rows = b"".join(struct.pack("<II5Q", 2, 0, n, 0, 0, n, 0) for n in range(10**10, 10**10 + 30))
    data = rows + record() + bytes(64) + record(running=77_777) + bytes(64)
    image = Image("dump", "raw", (Piece(0, len(data), memoryview(data)),))
    search = finding.find(image, None, lambda count: None)
    assert [item.address for item in search.found[:2]] == [len(rows), len(rows) + 48 + 64]
    assert {item.verdict for item in search.found[:2]} == {LIKELY}
    assert len(search.found) <= 8
    assert search.dropped > 0
    assert not search.cut


def test_memory_that_is_nothing_but_near_misses_ends_the_search_and_says_so(monkeypatch):
    monkeypatch.setattr(finding, "JUDGED_MOST", 10)
    data = b"".join(struct.pack("<II5Q", 2, 0, n, 0, 0, n, 0) for n in range(10**10, 10**10 + 30))
    image = Image("dump", "raw", (Piece(0, len(data), memoryview(data)),))
    assert finding.find(image, None, lambda count: None).cut
