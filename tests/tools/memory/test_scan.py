"""Both ways of searching, on memory that is full of near misses."""

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runstate_abi.layouts.runstate import XEN_RUNSTATE_UPDATE
from runstate_abi.tools.memory import scan
from runstate_abi.tools.memory.image import Piece

WAYS = [False, pytest.param(True, id="plain")] if scan.has_numpy() else [True]
NOW = 34_851_015_448
TIMES = (17_794_740_948, 14_383_659_840, 883_004_121, 903_481_496)


def found(data, plain):
    told = []
    places = list(scan.entries(Piece(0, len(data), memoryview(data)), plain, told.append))
    assert sum(told) == len(data)
    return places


def planted(size, place, noise=b"\0", entry=NOW, times=TIMES, lead=8, state=1):
    """Memory with an area whose entry time is at ``place``; ``lead`` bytes before, its state."""
    data = bytearray((noise * (size // len(noise) + 1))[:size])
    struct.pack_into("<5Q", data, place, entry, *times)
    struct.pack_into("<I", data, place - lead, state)
    return data


@pytest.mark.parametrize("plain", WAYS)
@pytest.mark.parametrize("offset", range(4096 - 48, 4096 + 9))
def test_an_area_is_found_at_every_byte_and_over_a_page_edge(offset, plain):
    assert offset in found(planted(3 * 4096, offset), plain)


@pytest.mark.parametrize("plain", WAYS)
@pytest.mark.parametrize("lead", [4, 8])
@pytest.mark.parametrize("noise", [b"\xaa", b"\0", b"\xff\0\x01", bytes(range(256))])
def test_an_area_is_found_in_any_surroundings(plain, lead, noise):
    for place in (8, 1000, scan.STRIDE // 4 + 3):
        assert place in found(planted(scan.STRIDE // 4 + 200, place, noise, lead=lead), plain)


@pytest.mark.parametrize("plain", WAYS)
@pytest.mark.parametrize("distance", [-40, -8, -1, 0, 1, 8])
def test_an_area_is_found_where_one_stride_ends_and_the_next_begins(plain, distance):
    place = scan.STRIDE + distance
    assert found(planted(scan.STRIDE + 5000, place), plain).count(place) == 1


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
@pytest.mark.parametrize(
    "broken",
    [
        {"state": 4},
        {"times": (NOW, NOW, 0, 0)},
        {"times": (NOW - 1, 0, 0, 0)},
        {"times": (0, 0, 0, 0)},
        {"entry": 1 << 61},
        {"entry": 5_000_000, "times": (1_000_001, 1_000_003, 0, 0)},
        {"times": (255, TIMES[1], 0, 0)},
    ],
    ids=str,
)
def test_what_breaks_one_rule_of_the_filter_is_not_found(plain, broken):
    assert 512 not in found(planted(4096, 512, b"\xaa", **broken), plain)


@pytest.mark.skipif(not scan.has_numpy(), reason="needs numpy, the extra `scan`")
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


@pytest.mark.skipif(not scan.has_numpy(), reason="needs numpy, the extra `scan`")
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
