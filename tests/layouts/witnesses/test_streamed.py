"""The BTF of a kernel that is being inflated: found by its header, and no more is inflated."""

import struct
from itertools import product

import pytest

from runstate_abi.layouts.abi import I386, X86_64
from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.witnesses import streamed
from runstate_abi.layouts.witnesses.btf import Btf
from runstate_abi.layouts.witnesses.compressed import PIECE
from runstate_abi.layouts.witnesses.streamed import HEADERS_MOST, TRIES_MOST

NOTE = struct.pack("<III", 4, 4, 3) + b"GNU\0" + b"\xde\xad\xbe\xef"
OF_VDSO = struct.pack("<III", 4, 4, 3) + b"GNU\0" + b"\1\2\3\4"  # in a segment that is loaded
SEGMENTS = {NOTE: 4, OF_VDSO: 1}
BTF_HEADER = struct.Struct("<HBBIIIII")
EM_386, EM_X86_64 = 3, 62


def kernel(*parts, bits=64, machine=EM_X86_64):
    """Return an ELF file of these parts; a part of notes has a program header."""
    head, row = (64, 56) if bits == 64 else (52, 32)
    count = sum(part in SEGMENTS for part in parts)
    at, rows = head + row * count, b""
    for part in parts:
        if part in SEGMENTS:
            kind, size = SEGMENTS[part], len(part)
            rows += (
                struct.pack("<IIQQQQQQ", kind, 4, at, 0, 0, size, size, 4)
                if bits == 64
                else struct.pack("<IIIIIIII", kind, at, 0, 0, size, size, 4, 4)
            )
        at += len(part)
    ident = b"\x7fELF" + bytes((bits // 32, 1, 1)).ljust(12, b"\0")
    word = "Q" if bits == 64 else "I"
    form = f"<HHI{word}{word}{word}IHHHHHH"
    fields = 2, machine, 1, 0, head, 0, 0, head, row, count, 0, 0, 0
    return ident + struct.pack(form, *fields) + rows + b"".join(parts)


def pieces(data, size, counted=None):
    for start in range(0, len(data), size):
        if counted is not None:
            counted.append(size)
        yield data[start : start + size]


@pytest.mark.parametrize(
    ("begin", "size"),
    [
        (bytes(17), 1),
        *product((bytes(17), bytes(PIECE - 200), bytes(3 * PIECE - 3)), (999, PIECE, 1 << 26)),
        (bytes(PIECE - 120 - len(NOTE) - 2), PIECE),  # cut in the magic number
        (bytes(PIECE - 120 - 9), PIECE),  # and in the notes
    ],
    ids=lambda one: str(one if isinstance(one, int) else len(one)),
)
def test_btf_is_found_wherever_it_lies_in_whatever_pieces(large, begin, size):
    data = kernel(begin, NOTE, large, bytes(5))
    found = streamed.kernel(pieces(data, size), "vmlinuz")
    assert found == (X86_64, "deadbeef", large)


def test_what_follows_the_btf_is_not_inflated(large):
    counted = []
    data = kernel(NOTE, large, bytes(8 * PIECE))
    assert streamed.kernel(pieces(data, 4096, counted), "vmlinuz").btf == large
    assert sum(counted) <= len(large) + 2 * PIECE


def test_notes_behind_the_btf_are_waited_for(large):
    data = kernel(large, bytes(2 * PIECE), NOTE, bytes(PIECE))
    assert streamed.kernel(pieces(data, PIECE), "vmlinuz") == (X86_64, "deadbeef", large)


def test_a_kernel_without_notes_has_no_build_id(large):
    assert streamed.kernel([kernel(OF_VDSO, large)], "vmlinuz").build_id is None


def test_a_kernel_of_32_bits_has_its_own_abi(large):
    found = streamed.kernel([kernel(NOTE, large, bits=32, machine=EM_386)], "vmlinuz")
    assert found == (I386, "deadbeef", large)


def header(types, strings):
    return BTF_HEADER.pack(0xEB9F, 1, 0, 24, 0, types, types, strings)


# What begins like BTF and is none: too large, too small, cut off, with strings that do not end.
DECOYS = {
    "nothing behind it": lambda large: header(4, 1),
    "larger than any": lambda large: header(1 << 30, 1),
    "as large as a kernel's, and not whole": lambda large: header(200 << 20, 1),
    "no strings": lambda large: header(400_000, 8) + b"x" * 400_008,
    "its header is damaged": lambda large: large[:4] + b"\xff" + large[5:24],
    "big-endian, and nothing": lambda large: b"\xeb\x9f\1\0" + bytes(20),
    "its end is not its own": lambda large: large[:-1] + b"x",
}


@pytest.mark.parametrize("name", DECOYS)
def test_what_only_begins_like_btf_is_passed_over(large, name):
    data = kernel(DECOYS[name](large), NOTE, large, bytes(100))
    for size in (4096, 1 << 26):
        assert streamed.kernel(pieces(data, size), "vmlinuz") == (X86_64, "deadbeef", large)


def test_what_claims_more_than_any_kernel_has_is_not_waited_for(large):
    counted = []
    data = kernel(header(1 << 30, 1), large, bytes(8 * PIECE))
    assert streamed.kernel(pieces(data, 4096, counted), "vmlinuz").btf == large
    assert sum(counted) <= len(large) + 2 * PIECE


def test_small_btf_is_of_a_program_in_the_kernel(runstate_btf, large):
    small = runstate_btf()
    small.runstate()
    assert streamed.kernel([kernel(small.build(), large)], "vmlinuz").btf == large
    assert streamed.kernel([kernel(small.build())], "vmlinuz") is None


@pytest.mark.parametrize("data", [b"", b"MZ" + bytes(1000), kernel(b"x")], ids=("", "MZ", "ELF"))
def test_where_there_is_no_btf_there_is_none(data):
    assert streamed.kernel([data], "vmlinuz") is None


@pytest.mark.parametrize(("bits", "machine"), [(64, 21), (64, EM_386)])
def test_a_kernel_of_no_known_abi_is_left_to_its_section_table(large, bits, machine):
    assert streamed.kernel([kernel(NOTE, large, bits=bits, machine=machine)], "vmlinuz") is None


def test_a_big_endian_kernel_is_left_to_its_section_table(large):
    data = bytearray(kernel(NOTE, large))
    data[5] = 2  # EI_DATA
    assert streamed.kernel([bytes(data)], "vmlinuz") is None


# Every place costs time, and every large one a copy: a hostile kernel may have only so many.
@pytest.mark.parametrize(
    ("decoy", "most"),
    [(header(4, 1), HEADERS_MOST), (header(400_000, 8) + b"x" * 400_008, TRIES_MOST)],
    ids=["small", "large"],
)
def test_only_so_many_places_are_looked_at(monkeypatch, large, decoy, most):
    counted, tried = [], []
    monkeypatch.setattr(streamed, "Btf", lambda blob: tried.append(blob) or Btf(blob))
    inside = kernel(decoy * (most - 1), large, bytes(8 * PIECE))
    assert streamed.kernel(pieces(inside, 4096), "vmlinuz").btf == large
    tried.clear()
    beyond = kernel(decoy * most, large, bytes(8 * PIECE))
    assert streamed.kernel(pieces(beyond, 4096, counted), "vmlinuz") is None
    assert len(tried) <= TRIES_MOST
    assert sum(counted) <= len(beyond) - 6 * PIECE


def test_a_damaged_header_is_an_error():
    with pytest.raises(WitnessError, match="no known class or byte order"):
        streamed.kernel([b"\x7fELF" + bytes(100)], "vmlinuz")


def test_no_more_than_the_limit_is_inflated(monkeypatch):
    monkeypatch.setattr(streamed, "LIMIT", 4 * PIECE)
    counted = []
    with pytest.raises(WitnessError, match="vmlinuz: it inflates to over 4194304 bytes"):
        streamed.kernel(pieces(kernel(bytes(64 * PIECE)), PIECE, counted), "vmlinuz")
    assert len(counted) <= 6
