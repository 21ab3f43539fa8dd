"""What the hypervisor knows and where it must write it."""

from dataclasses import FrozenInstanceError

import pytest

from runstate_abi.layouts import constructs, ctypes_structs
from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.writer.vcpu import (
    FLAG,
    SHAPES,
    Area,
    Runstate,
    Split,
    field_at,
    flagged,
    image,
    place_of,
    runs,
    runstate_of,
    split,
    unflagged,
)

NATIVE, COMPAT = SHAPES["native"], SHAPES["compat"]


def test_the_flag_is_the_highest_bit_of_its_byte():
    assert flagged(0).to_bytes(8, "little") == bytes([*[0] * 7, FLAG])


def test_a_runstate_is_a_value():
    one, same = (Runstate(0, 10, (1, 2, 3, 4)) for _ in range(2))
    assert {one: "it"}[same] == "it"
    with pytest.raises(FrozenInstanceError):
        one.state = 1


@pytest.mark.parametrize(
    ("shape", "offset", "expected"),
    [
        (NATIVE, 0, Split(48, 0)),
        (NATIVE, 4047, Split(48, 0)),
        (NATIVE, 4048, Split(48, 0)),
        (NATIVE, 4049, Split(47, 1)),
        (NATIVE, 4080, Split(16, 32)),
        (NATIVE, 4081, Split(15, 33)),
        (NATIVE, 4095, Split(1, 47)),
        (COMPAT, 4051, Split(44, 0)),
        (COMPAT, 4052, Split(44, 0)),
        (COMPAT, 4053, Split(43, 1)),
        (COMPAT, 4084, Split(12, 32)),
        (COMPAT, 4085, Split(11, 33)),
        (COMPAT, 4095, Split(1, 43)),
    ],
)
def test_the_split_at_each_named_boundary(shape, offset, expected):
    assert split(offset, shape.size) == expected
    assert split(0xC0001000 + offset, shape.size) == expected


def test_there_are_184_ways_to_split_with_and_without_the_flag():
    ways = {(a, split(o, s.size).first) for a, s in SHAPES.items() for o in range(PAGE_SIZE)}
    assert 2 * len(ways) == 184


@pytest.mark.parametrize(
    ("state", "entry_time", "times"),
    [
        (1 << 32, 0, (0, 0, 0, 0)),
        (-1, 0, (0, 0, 0, 0)),
        (0, 1 << 64, (0, 0, 0, 0)),
        (0, 0, (0, 0, 0)),
        (0, 0, (0, 0, 0, -1)),
    ],
)
def test_values_that_do_not_fit_are_refused(state, entry_time, times):
    with pytest.raises(ValueError, match="bit number"):
        Runstate(state, entry_time, times)


def test_values_that_just_fit_are_taken():
    top = (1 << 64) - 1
    assert Runstate((1 << 32) - 1, top, (top,) * 4).state == 0xFFFFFFFF


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("both", 0), "abi 'both'"),
        (("compat", -1), "address -1"),
        (("compat", 0, True, "arm64"), "host 'arm64'"),
        (("native", 0, True, "i386"), "no 64-bit guests"),
    ],
)
def test_an_area_that_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Area(*arguments)


def test_an_area_that_can_be_is_taken():
    assert Area("compat", 0xC0001FF5, False, "i386").offset == 0xFF5


@pytest.mark.host64
@pytest.mark.parametrize(
    ("abi", "name"), [("native", "vcpu_runstate_info"), ("compat", "compat_vcpu_runstate_info")]
)
def test_construct_and_ctypes_read_the_image_as_it_was_meant(vcpu, abi, name):
    written = image(SHAPES[abi], vcpu, vcpu.entry_time)
    parsed = constructs.parse(name, written)
    overlay = ctypes_structs.STRUCTS[name].from_buffer(bytearray(written))
    for seen in (parsed["state"], overlay.state):
        assert seen == vcpu.state
    for seen in (parsed["state_entry_time"], overlay.state_entry_time):
        assert seen == vcpu.entry_time
    for seen in (parsed["time"], list(overlay.time)):
        assert tuple(seen) == vcpu.times


def test_an_image_is_read_back(vcpu):
    for shape in (NATIVE, COMPAT):
        assert runstate_of(shape, image(shape, vcpu, vcpu.entry_time)) == vcpu


def test_bytes_of_another_length_are_not_read():
    with pytest.raises(ValueError, match="47 bytes where struct vcpu_runstate_info has 48"):
        runstate_of(NATIVE, bytes(47))


def test_the_flag_is_the_top_bit_and_nothing_else():
    assert flagged(1) == 1 << 63 | 1
    assert unflagged(flagged(1)) == 1
    assert NATIVE.update_byte == 15
    assert COMPAT.update_byte == 11


@pytest.mark.parametrize(
    ("abi", "offset", "name"),
    [
        ("native", 0, "state byte 0"),
        ("native", 3, "state byte 3"),
        ("native", 4, "pad_04"),
        ("native", 14, "state_entry_time byte 6"),
        ("native", 15, "state_entry_time byte 7 (the update byte)"),
        ("native", 16, "time[0] byte 0"),
        ("native", 47, "time[3] byte 7"),
        ("native", 48, "a byte outside the struct (offset +48)"),
        ("native", -1, "a byte outside the struct (offset -1)"),
        ("compat", 11, "state_entry_time byte 7 (the update byte)"),
        ("compat", 4, "state_entry_time byte 0"),
    ],
)
def test_a_byte_is_named(abi, offset, name):
    assert field_at(SHAPES[abi], offset).startswith(name)


def test_runs_are_of_consecutive_numbers():
    assert [*runs([1, 2, 4, 6, 7])] == [[1, 2], [4], [6, 7]]


def test_a_byte_of_its_own_has_no_number():
    assert field_at(NATIVE, 5) == "pad_04[1]"


@pytest.mark.parametrize(
    ("offset", "size", "name"),
    [
        (0, 4, "state"),
        (1, 1, "state byte 1"),
        (1, 2, "state bytes 1..2"),
        (8, 8, "state_entry_time"),
        (15, 1, "state_entry_time byte 7"),
        (23, 9, "time[0] byte 7 .. time[1]"),
        (16, 32, "time[0] .. time[3]"),
        (20, 8, "time[0] bytes 4..7 .. time[1] bytes 0..3"),
        (0, 48, "state .. time[3]"),
    ],
)
def test_bytes_are_named_as_c_has_them(offset, size, name):
    assert place_of(SHAPES["native"].layout, offset, size) == name
