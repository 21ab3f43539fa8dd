import pytest

from runstate_abi.layouts.structs.runstate import XEN_RUNSTATE_UPDATE
from runstate_abi.tools.memory.area import LAYOUTS, AreaBytes, Span
from runstate_abi.tools.memory.observations import FACTS, observe, words, worst

NOW = 10_000_000_000
DAY = 86_400_000_000_000


def said(area, kind):
    return " / ".join(item.text for item in observe(area) if item.kind == kind)


def test_nothing_that_a_hypervisor_left_is_called_wrong(goldens):
    for abi, offset, image in goldens:
        layout = LAYOUTS[abi]
        area = AreaBytes(layout, (Span(0x7000 + offset, image[8 : 8 + layout.size]),))
        assert said(area, "wrong") == "", (abi, offset)


def test_nothing_caught_between_two_stores_with_the_flag_set_is_called_wrong(mid_updates):
    flagged = 0
    for abi, image in mid_updates:
        area = AreaBytes(LAYOUTS[abi], (Span(0x7000, image),))
        if area.values.updating:
            flagged += 1
            assert worst(observe(area)) == "in-flight"
    assert flagged > 300


def test_no_real_page_is_called_wrong(real_pages, area_of):
    assert {worst(observe(area_of(r))) for r in real_pages} == {"normal", "in-flight"}


def test_the_page_stopped_in_an_update_is_in_flight_and_says_which_byte(real_pages, area_of):
    record = next(r for r in real_pages if "inflight" in r["file"])
    assert "byte +0x0f at 0xbaf is 0x80" in said(area_of(record), "in-flight")
    assert "may never have existed" in said(area_of(record), "in-flight")


def test_every_busy_page_may_be_stale_and_that_is_normal(real_pages, area_of):
    busy = [r for r in real_pages if "busy" in r["file"]]
    assert len(busy) == 8
    assert all("stale" in said(area_of(r), "normal") for r in busy)


@pytest.mark.parametrize("state", [4, 0xAAAAAAAA])
def test_a_state_that_does_not_exist_is_wrong(make, state):
    assert "not a RUNSTATE_* value" in said(
        make(state=state, entry=NOW, times=(NOW, 0, 0, 0)), "wrong"
    )


@pytest.mark.parametrize("index", range(4))
def test_a_time_larger_than_the_entry_time_is_wrong_and_named(make, index):
    times = [1, 1, 1, 1]
    times[index] = NOW + 5
    assert f"time[{index}]" in said(make(entry=NOW, times=times), "wrong")


def test_a_clock_that_went_backwards_is_said_as_a_negative_time(make):
    # KVM's sum still holds modulo 2^64, and hides it.
    times = (NOW + 5_000_000, (1 << 64) - 5_000_000, 0, 0)
    assert "-5 ms as a signed number" in said(make(entry=NOW, times=times), "wrong")


def test_a_vcpu_that_never_ran_may_count_more_than_its_entry_time(make):
    area = make(state=3, entry=NOW, times=(0, 0, 0, 5 * NOW))
    assert said(area, "wrong") == ""
    assert "has not run yet" in said(area, "normal")


@pytest.mark.parametrize(
    "odd",
    [
        {"state": 0xAAAAAAAA, "times": (1, 2, 3, 4)},
        {"times": (2 * NOW, 0, 0, 0)},
        {"times": (NOW, NOW, NOW, NOW)},
    ],
)
def test_while_the_flag_is_set_nothing_is_wrong(make, odd):
    area = make(entry=NOW | XEN_RUNSTATE_UPDATE, **odd)
    assert worst(observe(area)) == "in-flight"


def test_padding_that_is_not_zero_is_normal(make):
    area = make(entry=NOW, times=(NOW, 0, 0, 0), padding=0xDEADBEEF)
    assert "ef be ad de" in said(area, "normal")
    assert worst(observe(area)) == "normal"


def test_times_that_add_up_to_more_are_a_copy_or_a_torn_look_and_not_wrong(make):
    area = make(entry=NOW, times=(NOW // 2, NOW // 2, 1000, 0))
    assert "1 us more" in said(area, "in-flight")


@pytest.mark.parametrize(
    ("times", "text"),
    [
        ((NOW, 0, 0, 0), "the times add up to the entry time, as on KVM"),
        ((NOW - 1, 0, 0, 0), "is 1 ns ahead of the sum of the times"),
        ((NOW, 1, 0, 0), "the times add up to 1 ns more than the entry time"),
        ((NOW + 1, 0, 0, 0), "is larger than the entry time by 1 ns"),
        (((1 << 64) - 1, 0, 0, 0), "time[0] running is -1 ns as a signed number"),
        ((0, 0, 0, (1 << 63) - 1), "the vCPU has not run yet"),
        ((0, 0, 0, 1 << 63), "as a signed number"),
    ],
)
def test_what_one_nanosecond_more_or_less_is(make, times, text):
    assert text in " / ".join(one.text for one in observe(make(state=3, entry=NOW, times=times)))


def test_an_area_just_registered_is_normal(make):
    assert "registered" in said(make(), "normal")


def test_nothing_is_said_of_a_state_that_does_not_exist_but_that(make):
    numbers = {"entry": NOW, "times": (NOW // 2, 5, 6, 7)}
    assert "stale" in said(make(**numbers), "normal")
    assert "stale" not in said(make(state=9, **numbers), "normal")


def test_every_observation_names_its_fact(make, real_pages, area_of):
    for area in [make(), make(state=9), *(area_of(r) for r in real_pages)]:
        for item in observe(area):
            assert any(fact in item.fact for fact in FACTS.values())


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 ns"),
        (1, "1 ns"),
        (999, "999 ns"),
        (1_000, "1 us"),
        (999_999, "999.9 us"),
        (1_000_000, "1 ms"),
        (999_999_999, "999.9 ms"),
        (1_500, "1.5 us"),
        (883_004_121, "883 ms"),
        (1_000_000_000, "00:00:01.0"),
        (59_999_999_999, "00:00:59.9"),
        (DAY - 1, "23:59:59.9"),
        (DAY, "1 d 00:00:00.0"),
        (3 * DAY + 14_706_700_000_000, "3 d 04:05:06.7"),
        (-1_500, "-1.5 us"),
    ],
)
def test_a_time_is_said_as_a_person_would(ns, text):
    assert words(ns) == text


def test_the_largest_time_is_said_in_days():
    assert words((1 << 64) - 1).startswith("213503 d ")
