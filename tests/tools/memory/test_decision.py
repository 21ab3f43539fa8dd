import struct

import pytest

from runstate_abi.layouts.structs.runstate import COMPAT, NATIVE
from runstate_abi.tools.memory.area import LAYOUTS, abi_of, read_as, values
from runstate_abi.tools.memory.decision import (
    EXACT,
    FITS,
    FLAGGED,
    NONE,
    ORDERED,
    SMALL,
    Decision,
    decide,
    doubted,
    rival,
    short_of_native,
    standing,
)

NOW = 34_851_015_448
TIMES = (17_794_740_948, 14_383_659_840, 883_004_121, 903_481_496)


def packed(abi, state=0, entry=NOW, times=TIMES):
    head = struct.pack("<II", state, 0) if abi == "native" else struct.pack("<I", state)
    return head + struct.pack("<5Q", entry, *times) + bytes(8)


def decided(window):
    layout = decide(window).layout
    return layout and abi_of(layout)


FLAG = 1 << 63
ONE = (1, 0, 0, 0)


@pytest.mark.parametrize(
    ("state", "entry", "times", "expected"),
    [
        (0, NOW, (NOW - 3, 1, 1, 1), EXACT),
        (4, NOW, (FLAG, FLAG, NOW, 0), EXACT),  # the sum wraps, as a time below 0 makes it
        (4, NOW, (FLAG, NOW, 0, 0), NONE),
        (0, NOW | FLAG, (NOW, 0, 0, 0), EXACT),
        (0, NOW | FLAG, (NOW | FLAG, 0, 0, 0), EXACT),
        (3, NOW, (NOW - 1, 0, 0, 0), ORDERED),
        (0, 0xFF_FFFF, ONE, ORDERED),
        (0, (1 << 32) + 0x100_0000, ONE, ORDERED),
        (0, (1 << 60) - 1, ONE, ORDERED),
        (4, NOW | FLAG, ONE, FLAGGED),
        (4, NOW, ONE, SMALL),
        (0, NOW, (NOW, 1, 0, 0), SMALL),
        (0, (1 << 32) + 0xFF_FFFF, ONE, NONE),  # as read four bytes off: no low word is large
        (0, (1 << 60) + 0x100_0000, ONE, NONE),
        (0, 0, (0, 0, 0, 0), NONE),
    ],
)
def test_how_well_times_agree_changes_at_these_numbers(state, entry, times, expected):
    assert standing(values(NATIVE, packed("native", state, entry, times)[:48])) == expected


@pytest.mark.parametrize(("more", "layout"), [(0, NATIVE), (1, None)])
def test_a_reading_is_doubted_if_its_times_are_more_than_128_times_as_large(
    more, layout, window_of
):
    seen = window_of(packed("native", entry=128 * NOW + more), 0x1001)
    near = [window_of(packed("native"), 0x1000)]
    answer = doubted(Decision(NATIVE, ("asked",)), seen, near)
    assert answer.layout is layout
    why = "native at 0x1000 is aligned, its times 128 times smaller"
    assert answer.reasons == ("asked", why)[: 1 + more]


def test_every_state_that_a_hypervisor_left_is_told_from_its_bytes(goldens, window_of):
    told = [
        (abi, decided(window_of(image[8:56], 0x7000 + offset, image[:8])))
        for abi, offset, image in goldens
    ]
    assert [pair for pair in told if pair[0] != pair[1]] == []


def test_every_real_page_is_native(real_pages, open_page):
    from runstate_abi.tools.memory.area import excerpt

    for record in real_pages:
        seen = excerpt(open_page(record["path"]), record["area_offset"])
        assert decided(seen) == "native", record["file"]


@pytest.mark.parametrize("abi", ["native", "compat"])
@pytest.mark.parametrize("state", [1, 2, 3])
def test_the_times_alone_decide_where_one_reading_makes_sense(abi, state, window_of):
    assert decided(window_of(packed(abi, state), before=b"\xaa" * 4)) == abi


def test_compat_after_what_may_be_a_state_cannot_be_told_from_native_earlier(window_of):
    seen = window_of(packed("compat"), address=0x1004, before=b"\0\0\0\0")
    answer = decide(seen)
    assert answer.layout is None
    assert "native at 0x1000 reads the same" in answer.reasons[-1]


@pytest.mark.parametrize(
    ("before", "address", "state"),
    [
        (b"\xaa\xaa\xaa\xaa", 0x1004, 0),  # no state
        (b"\4\0\0\0", 0x1004, 0),  # the first number that is none
        (b"\0\0\0\0", 0x1000, 0),  # native would lie at 0xffc, which no compiler does
        (b"\0\0\0\0", 0x1004, 2),  # native's padding would be 2
    ],
)
def test_compat_is_told_where_native_earlier_is_ruled_out(before, address, state, window_of):
    assert decided(window_of(packed("compat", state), address, before)) == "compat"


def test_an_area_of_zeros_cannot_be_told(window_of):
    assert decided(window_of(bytes(48))) is None


def test_44_bytes_can_only_be_compat(window_of):
    assert decided(window_of(packed("compat")[:44])) == "compat"


@pytest.mark.parametrize("uptime", [40_000_000, 3_000_000_000, 90_000_000_000, 10**16])
@pytest.mark.parametrize("abi", ["native", "compat"])
def test_young_and_old_machines_are_told_alike(abi, uptime, window_of):
    times = (uptime // 2 + 7, uptime // 3 + 1, 0, uptime - uptime // 2 - uptime // 3 - 8)
    seen = window_of(packed(abi, 1, uptime, times), before=b"\xaa" * 4)
    assert decided(seen) == abi


@pytest.mark.parametrize("wrong", [{"state": 7}, {"times": (NOW + 1, 0, 0, 0)}])
def test_a_broken_area_is_still_read_under_its_own_layout(wrong, window_of):
    assert decided(window_of(packed("native", **wrong))) == "native"


def test_one_time_that_is_nonsense_does_not_hide_the_layout(window_of):
    wrong = (TIMES[0], 5 * 10**18, *TIMES[2:])
    assert decided(window_of(packed("native", times=wrong), before=b"\xaa" * 4)) == "native"
    assert decided(window_of(packed("compat", times=wrong), before=b"\xaa" * 4)) == "compat"


# Native has four times that make sense. Compat has one for each low half that is small.
@pytest.mark.parametrize(
    ("small", "expected"), [(1, "native"), (2, "native"), (3, None), (4, None)]
)
def test_two_more_numbers_must_make_sense_in_one_layout_than_in_the_other(
    small, expected, window_of
):
    numbers = [(7 << 32) + (5 if index < small else 0x7FFF_FFFF) for index in range(5)]
    numbers[0] |= 1 << 60
    numbers[1] = 1 if small > 1 else numbers[1]
    assert (
        decided(window_of(packed("native", entry=numbers[0], times=numbers[1:])[:48])) == expected
    )


@pytest.mark.parametrize("slip", [-3, -2, -1, 1, 2, 3])
def test_an_address_that_slipped_by_a_byte_is_not_believed(slip, window_of):
    memory = b"\0" * 16 + packed("native") + b"\0" * 16
    seen = window_of(memory[16 + slip :], 0x1000 + slip, memory[: 16 + slip])
    near = [window_of(memory[16 + at :], 0x1000 + at, memory[: 16 + at]) for at in (-4, 0, 4)]
    decision = doubted(Decision(COMPAT, ("asked",)), seen, near)
    assert decision.layout is None
    assert decision.others[0] == (NATIVE, 0x1000)


@pytest.mark.parametrize("slip", [-3, -2, -1, 1, 2, 3])
def test_an_area_that_really_is_at_an_odd_address_is_believed(slip, window_of):
    memory = b"\0" * 16 + packed("native") + b"\0" * 16
    seen = window_of(memory[16:], 0x1000, memory[:16])
    near = [window_of(memory[16 + slip :], 0x1000 + slip, memory[: 16 + slip])]
    decision = Decision(NATIVE, ("asked",))
    assert doubted(decision, seen, near) == decision


@pytest.mark.parametrize(
    ("abi", "size", "short"),
    [
        ("native", 43, False),
        ("native", 44, True),
        ("native", 47, True),
        ("native", 48, False),
        ("compat", 44, False),
        ("compat", 47, False),
        (None, 44, False),  # zeros: both fit alike, and compat has as many bytes
        (None, 45, True),
    ],
)
def test_native_without_its_last_bytes_is_not_taken_for_compat(abi, size, short, window_of):
    data = packed(abi) if abi else bytes(48)
    assert short_of_native(window_of(data[:size])) is short


def test_the_fits_are_told_apart_best_first():
    assert list(FITS) == sorted({EXACT, ORDERED, FLAGGED, SMALL, NONE}, reverse=True)
    assert len(FITS) == 5


def test_a_32_bit_machines_area_is_compat_whatever_is_in_front(window_of):
    seen = window_of(packed("compat"), 0x1004, bytes(4))
    assert decided(seen) is None
    assert decide(seen, "i386").layout is COMPAT


def test_the_other_reading_is_named_where_both_fit_and_only_there(window_of):
    def place(abi, data, before=b""):
        seen = window_of(data, 0x1000, before)
        return rival(read_as(LAYOUTS[abi], seen), before)

    assert place("native", packed("native")) == 0x1004
    assert place("native", packed("native")[:4] + b"\xa5" * 4 + packed("native")[8:]) is None
    assert place("native", packed("native", 3)) == 0x1004
    assert place("native", packed("native", 4)) is None
    assert place("compat", packed("compat"), bytes(4)) == 0xFFC
    assert place("compat", packed("compat"), bytes(3)) is None
    assert place("compat", packed("compat", 3), b"\4\0\0\0" + bytes(4)) == 0xFFC
    assert place("compat", packed("compat", 4), bytes(4)) is None
    assert place("compat", packed("compat"), b"\xa5" * 4) is None
    assert place("compat", packed("compat", entry=(8 << 32) + 2)) is None


@pytest.mark.parametrize(
    ("machine", "abi"), [("i386", "compat"), ("arm64", "native"), ("x86_64", None), (None, None)]
)
def test_the_elf_machine_decides_only_where_the_bytes_do_not(machine, abi, window_of):
    layout = decide(window_of(bytes(48)), machine).layout
    assert (layout and abi_of(layout)) == abi
