"""Both ways of searching, on memory that is full of near misses."""

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runstate_abi.layouts.structs.runstate import XEN_RUNSTATE_UPDATE
from runstate_abi.tools.memory.image import Piece
from runstate_abi.tools.memory.search import finding

WAYS = [False, pytest.param(True, id="plain")] if finding.has_numpy() else [True]
NOW = 34_851_015_448
TIMES = (17_794_740_948, 14_383_659_840, 883_004_121, 903_481_496)


def found(data, plain):
    told = []
    places = list(finding.entries(Piece(0, len(data), memoryview(data)), plain, told.append))
    assert sum(told) == len(data)
    return places


def planted(size, place, noise=b"\0", entry=NOW, times=TIMES, lead=8, state=1, padding=bytes(4)):
    """Memory with an area whose entry time is at ``place``; ``lead`` bytes before, its state."""
    data = bytearray((noise * (size // len(noise) + 1))[:size])
    struct.pack_into("<5Q", data, place, entry, *times)
    data[place - lead : place] = struct.pack("<I", state) + padding[: lead - 4]
    return data


@pytest.mark.parametrize("plain", WAYS)
@pytest.mark.parametrize("offset", range(4096 - 56, 4096 + 17))
def test_an_area_is_found_at_every_byte_and_over_a_page_edge(offset, plain):
    assert offset in found(planted(3 * 4096, offset), plain)


@pytest.mark.parametrize("plain", WAYS)
@pytest.mark.parametrize("lead", [4, 8])
@pytest.mark.parametrize("noise", [b"\xaa", b"\0", b"\xff\0\x01", bytes(range(256))])
def test_an_area_is_found_in_any_surroundings(plain, lead, noise):
    for place in (8, 1000, finding.STRIDE // 4 + 3):
        assert place in found(planted(finding.STRIDE // 4 + 200, place, noise, lead=lead), plain)


@pytest.mark.parametrize("plain", WAYS)
@pytest.mark.parametrize("distance", [-40, -8, -1, 0, 1, 8])
def test_an_area_is_found_where_one_stride_ends_and_the_next_begins(plain, distance):
    place = finding.STRIDE + distance
    assert found(planted(finding.STRIDE + 5000, place), plain).count(place) == 1


@pytest.mark.parametrize("plain", WAYS)
@pytest.mark.parametrize("noise", [b"\0", b"\xaa", b"\x07\0\0"])
def test_an_area_is_found_where_one_block_ends_and_the_next_begins(plain, noise):
    edge = 1 << 20
    for distance in (-49, -48, -41, -40, -9, -8, -7, -1, 0, 1, 7, 8, 9, 64):
        data = planted(edge + 5000, edge + distance, noise)
        assert found(data, plain).count(edge + distance) == 1


@pytest.mark.parametrize("plain", WAYS)
def test_an_area_at_either_end_of_the_memory_is_found(plain):
    assert found(planted(48, 8), plain) == [8]
    assert found(planted(4096, 4096 - 40), plain) == [4096 - 40]


@pytest.mark.parametrize("plain", WAYS)
def test_an_area_whose_first_bytes_are_the_zeros_that_end_a_page_is_found(plain):
    data = planted(3 * 4096, 4094, entry=NOW >> 16 << 16, state=0)
    assert not any(data[:4096])
    assert 4094 in found(data, plain)


@pytest.mark.parametrize("plain", WAYS)
def test_an_area_in_flight_is_found(plain):
    assert 500 in found(planted(4096, 500, entry=NOW | XEN_RUNSTATE_UPDATE), plain)


@pytest.mark.parametrize("plain", WAYS)
@pytest.mark.parametrize("padding", [b"\xde\xad\xbe\xef", b"\4\0\0\0"])
@pytest.mark.parametrize(
    ("times", "flag", "seen"),
    [
        (TIMES, 0, False),
        (TIMES, XEN_RUNSTATE_UPDATE, True),
        ((NOW - 999_999, 999_999, 0, 0), 0, True),
    ],
    ids=["Xen's", "in flight", "KVM's"],
)
def test_padding_is_zero_except_in_flight_and_on_kvm(plain, times, flag, seen, padding):
    data = planted(4096, 512, entry=NOW | flag, times=times, padding=padding)
    assert (512 in found(data, plain)) is seen


@pytest.mark.parametrize("plain", WAYS)
def test_an_area_at_the_beginning_may_be_compat_only(plain):
    assert found(planted(44, 4, lead=4), plain) == [4]
    assert found(planted(47, 7, lead=4), plain) == [7]


@pytest.mark.parametrize("plain", WAYS)
def test_padding_in_front_of_the_memory_is_no_state(plain):
    data = planted(44, 4, entry=NOW | XEN_RUNSTATE_UPDATE, lead=4, state=0xDEADBEEF)
    assert found(data, plain) == []


@pytest.mark.parametrize("plain", WAYS)
def test_numbers_of_no_age_at_the_beginning_are_not_found(plain):
    times = (0x11 << 52 | 0x1234567, 0x1111, 0, 0)
    assert found(planted(44, 4, entry=LONG, times=times, lead=4), plain) == [4]
    assert found(planted(44, 4, entry=LONG | 1 << 60, times=times, lead=4), plain) == []


# Memory in which few places pass the first question, and in which many do.
SURROUNDINGS = pytest.mark.parametrize("noise", [b"\xaa", b"\0"], ids=["full", "empty"])
LONG = 0x0123456789ABCDEF
OLDEST = (1 << 60) - 1
# In flight the times may be twice the entry time, but none of them may be so large.
TOO_LARGE = [(0x1111,) * at + (OLDEST + 0x1234,) + (0x1111,) * (3 - at) for at in range(4)]


@pytest.mark.parametrize("plain", WAYS)
@SURROUNDINGS
@pytest.mark.parametrize(
    "broken",
    [
        {"state": 4, "padding": b"\xaa" * 4},
        {"times": (NOW, NOW, 0, 0)},
        {"times": (NOW - 1, 0, 0, 0)},
        {"times": (0, 0, 0, 0)},
        {"entry": 1 << 61},
        {"entry": 5_000_000, "times": (1_000_001, 1_000_003, 0, 0)},
        {"entry": 0x9ABCDE | XEN_RUNSTATE_UPDATE, "times": (0x1111111, 0x1111, 0, 0)},
        {"times": (255, TIMES[1], 0, 0)},
        {"times": (0x1_0000_1234, 0x1_0000_1234, 0, 0)},
        {"times": (0x1_0000_0012, TIMES[0] & ~0xFF, 0, 0)},
        {"entry": NOW & ~0xFF, "times": (TIMES[0] & ~0xFF, TIMES[1] & ~0xFF, 0, 0)},
        {"entry": LONG, "times": ((LONG >> 20) - 0x1235, 0x1234, 0, 0)},
        *({"entry": OLDEST | XEN_RUNSTATE_UPDATE, "times": large} for large in TOO_LARGE),
    ],
    ids=str,
)
def test_what_breaks_one_rule_of_the_filter_is_not_found(plain, noise, broken):
    assert 512 not in found(planted(4096, 512, noise, **broken), plain)


@pytest.mark.parametrize("plain", WAYS)
@SURROUNDINGS
@pytest.mark.parametrize(
    "kept",
    [
        {"state": 3},
        {"times": (NOW - 257, 257, 0, 0)},
        {"times": (NOW, 0, 0, 0)},
        {"entry": NOW | XEN_RUNSTATE_UPDATE, "times": (NOW, NOW, 0, 0)},
        {"times": (256, 0, 0, TIMES[3])},
        {"entry": 1 << 24 | 0x111111, "times": (1 << 24, 0x1111, 0, 0)},
        {"times": (0x1_0000_1234, TIMES[0], 0, 0)},
        {"times": (0x1_0000_0012, TIMES[0], 0, 0)},
        {"times": (TIMES[0], 0, 0x1_0000_0012, 0)},
        {"entry": NOW & ~0xFF, "times": (TIMES[0] & ~0xFF, TIMES[2], 0, 0)},
        {"entry": LONG, "times": ((LONG >> 20) - 0x1234, 0x1234, 0, 0)},
        {"entry": 0xAB00_0012_3456, "times": (0xAA99_8812_3456, 0x1111, 0, 0)},
        {"entry": 0xAB_0000_0012_3456, "times": (0xAA_9988_7712_3456, 0x1111, 0, 0)},
        {"entry": 0xAB_9988_7712_3456, "times": (0x5500_0012_3457, 0x1111, 0, 0)},
        {"entry": OLDEST | XEN_RUNSTATE_UPDATE, "times": (OLDEST, 0x1111, 0, 0)},
    ],
    ids=str,
)
def test_what_the_filter_just_lets_pass_is_found(plain, noise, kept):
    assert 512 in found(planted(4096, 512, noise, **kept), plain)


@pytest.mark.skipif(not finding.has_numpy(), reason="needs numpy, the extra `scan`")
@pytest.mark.parametrize("seed", range(4))
def test_both_ways_find_the_same_in_memory_full_of_near_misses(seed):
    chance = random.Random(seed)
    small = [0] * 6 + [1, 2, 3, 255, 256, 1 << 24, NOW, NOW // 3, 1 << 40, 1 << 59, 1 << 63]
    words = [
        chance.choice(small) + chance.choice([0, 0, chance.getrandbits(30)]) for _ in range(60_000)
    ]
    data = b"\0" * chance.randrange(8) + struct.pack(
        f"<{len(words)}Q", *(w % (1 << 64) for w in words)
    )
    assert found(data, True) == found(data, False)
    assert len(found(data, True)) > 10


@pytest.mark.skipif(not finding.has_numpy(), reason="needs numpy, the extra `scan`")
@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                b"\0" * 4,
                b"\1\0\0\0",
                b"\xff" * 3,
                b"\x12\x34\x56\7",
                struct.pack("<Q", NOW),
                struct.pack("<Q", 10**9 + 7),
                b"\x80",
            ]
        ),
        min_size=20,
        max_size=60,
    ).map(b"".join)
)
def test_both_ways_find_the_same_in_any_memory(data):
    assert found(data, True) == found(data, False)
