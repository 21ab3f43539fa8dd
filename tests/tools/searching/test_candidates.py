"""One candidate judged on its own: each reason for what has it, and for no real area."""

import struct

import pytest

from runstate_abi.tools.memory.image import Image, Piece
from runstate_abi.tools.searching.candidates import candidate

TIMES = (17_774_726_908, 14_363_125_363, 883_004_121, 903_481_496)
BORN = 886_137_219


def judged(times=TIMES, ahead=BORN, state=0, entry=None, front=bytes(64)):
    entry = sum(times) + ahead if entry is None else entry
    data = front + struct.pack("<II5Q", state, 0, entry, *times) + bytes(16)
    return candidate(Image("dump", "raw", (Piece(0, len(data), memoryview(data)),)), len(front) + 8)


def said(found):
    return " / ".join(reason.text for reason in found.reasons)


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("two of the times are equal", {"times": (*TIMES[:3], TIMES[0])}),
        ("0x100000004 is two 32-bit numbers", {"times": (*TIMES[:3], (1 << 32) + 4)}),
        ("0x3fffffff0 is two 32-bit numbers", {"times": (*TIMES[:3], (1 << 34) - 16)}),
        ("one of the times is round", {"times": (*TIMES[:3], 4_000_000)}),
        ("it reads as text: gpe0", {"entry": int.from_bytes(b"gpe02", "little"),
                                    "times": tuple(int.from_bytes(x, "little") for x in
                                                   (b"00:00", b"26", b"tty3", b"hvc0"))}),
        ("the host would have been up for", {"ahead": 1 << 59}),
        ("a host is not ready for a vCPU 744 ns after", {"ahead": 744}),
        ("near each other, as pointers are", {"times": (0x7FB6_F8A1_0070, 0x7FB6_F940_4A48, 5, 7)}),
        ("would be pointers in user space", {"times": (0x7FB6_F8A1_0070, 345_678, 5, 7)}),
        ("no time was ever spent", {"times": (TIMES[0], 0, *TIMES[2:]), "state": 1}),
        ("a small part of the entry time", {"ahead": 10**13 + 7}),
    ],
)  # fmt: skip
def test_what_no_clock_makes_weighs_less(text, changed):
    usual, odd = judged(), judged(**changed)
    assert text in said(odd)
    assert text not in said(usual)
    assert odd.weight < usual.weight


def test_real_areas_have_none_of_these(real_pages, open_page):
    for record in real_pages:
        if record["what"].startswith(("per-CPU", "dom0", "Xen heap")):
            found = candidate(open_page(record["path"]), record["area_offset"] + 8)
            assert not [r for r in found.reasons if r.weight < -1], record["file"]


@pytest.mark.parametrize("gap", range(4))
def test_xens_own_record_is_known_by_the_pointers_in_front(gap):
    words = [0xFFFF_8300_1BD5_6390, 0xFFFF_8880_0D43_2BA0, *[0] * gap]
    found = judged(front=bytes(64) + struct.pack(f"<{len(words)}Q", *words))
    assert (found.verdict, found.points_to) == ("hypervisor copy", words[1])


@pytest.mark.parametrize("word", [1, 0xFFFF_8300_0000_0000 - (1 << 45), 0x7FFF_F000_1000])
def test_other_words_in_front_are_no_sign_of_xen(word):
    words = struct.pack("<QQ", 0xFFFF_8300_1BD5_6390, word)
    assert judged(front=bytes(64) + words).verdict != "hypervisor copy"
    assert judged(front=bytes(72) + struct.pack("<Q", word)).verdict != "hypervisor copy"
