from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools.memory.image import Image, Piece, arranged, available, before, read


def test_bytes_are_read_across_pieces_that_touch(image_of):
    image = image_of((0x1000, b"abcd"), (0x1004, b"efgh"))
    assert read(image, 0x1002, 4) == b"cdef"


def test_a_hole_is_said_with_its_address_and_never_read_as_zero(image_of):
    image = image_of((0x1000, b"abcd"), (0x1008, b"efgh"))
    with pytest.raises(WitnessError, match=r"0x1004 is not in it .*ends at 0x1004.*at 0x1008"):
        read(image, 0x1002, 8)
    assert available(image, 0x1002, 8) == b"cd"


def test_what_stands_before_is_as_long_as_the_memory_there(image_of):
    image = image_of((0x1000, b"abcdefgh"))
    assert before(image, 0x1002, 8) == b"ab"
    assert before(image, 0x1000, 8) == b""


@given(st.lists(st.tuples(st.integers(0, 40), st.binary(min_size=1, max_size=12)), max_size=6))
def test_overlapping_pieces_are_cut_and_every_byte_is_one_of_theirs(pieces):
    made = arranged(Piece(at, len(data), memoryview(data)) for at, data in pieces)
    image = Image("a test", "raw", made)
    assert all(one.end <= two.address for one, two in pairwise(made))
    for address in range(60):
        there = {data[address - at] for at, data in pieces if at <= address < at + len(data)}
        seen = available(image, address, 1)
        assert bool(seen) == bool(there)
        assert not seen or seen[0] in there


@given(st.binary(min_size=1, max_size=5), st.integers(1, 40), st.integers(0, 39))
def test_a_piece_that_repeats_reads_as_what_it_stands_for(data, size, start):
    image = Image("a test", "text", (Piece(0, size, memoryview(data)),))
    whole = (data * size)[:size]
    assert available(image, start, 10) == whole[start : start + 10]
