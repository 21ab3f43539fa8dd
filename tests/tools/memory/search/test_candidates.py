"""One candidate judged on its own: each reason for what has it, and for no real area."""
# ruff: noqa: E501

import struct

import pytest

from runstate_abi.layouts.structs.runstate import COMPAT, NATIVE
from runstate_abi.tools.memory.image import Image, Piece
from runstate_abi.tools.memory.search import candidates
from runstate_abi.tools.memory.search.candidates import (
    COPY,
    LIKELY,
    POSSIBLE,
    UNLIKELY,
    Reason,
    candidate,
    lost,
    promoted,
    ranked,
    since,
)

TIMES = (17_774_726_908, 14_363_125_363, 883_004_121, 903_481_496)
BORN = 886_137_219


FLAG = 1 << 63


def dump(times=TIMES, ahead=BORN, state=0, entry=None, front=bytes(64), pad=0, end=bytes(16)):
    entry = sum(times) + ahead if entry is None else entry
    data = front + struct.pack("<II5Q", state, pad, entry, *times) + end
    return Image("dump", "raw", (Piece(0, len(data), memoryview(data)),))


def judged(front=bytes(64), **values):
    return candidate(dump(front=front, **values), len(front) + 8)


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


def test_padding_that_no_writer_leaves_rules_a_candidate_out():
    assert judged(pad=5) is None
    assert judged(pad=5, ahead=0).verdict == POSSIBLE
    assert judged(pad=5, entry=FLAG + sum(TIMES) + BORN).seen.updating


# Which words in front make which layout, and where the other one would begin.
@pytest.mark.parametrize(
    ("front", "state", "pad", "layout", "doubt"),
    [
        (64, 0, 0, NATIVE, 68),  # both could be: the entry time is aligned as native has it
        (60, 0, 0, COMPAT, 60),  # aligned to four bytes only, as compat has it
        (61, 0, 0, NATIVE, 65),  # not aligned at all: the padding is zero
        (64, 0, 3, COMPAT, 64),  # padding that is a state
        (64, 3, 0, NATIVE, 68),
        (64, 4, 0, COMPAT, None),
        (64, 0, 4, NATIVE, None),
        (64, 4, 4, None, None),
    ],
)
def test_the_words_in_front_tell_the_layout(front, state, pad, layout, doubt):
    found = judged(front=bytes(front), state=state, pad=pad, ahead=0)
    assert (found and found.layout, found and found.doubt) == (layout, doubt)


@pytest.mark.parametrize(("size", "layout"), [(7, COMPAT), (4, COMPAT), (3, None)])
def test_a_record_at_the_beginning_has_only_what_is_in_front(size, layout):
    data = bytes(size) + struct.pack("<5Q", sum(TIMES), *TIMES)
    found = candidate(Image("dump", "raw", (Piece(0, len(data), memoryview(data)),)), size)
    assert (found and found.layout) == layout


def test_a_record_that_the_end_cuts_off_is_none():
    assert candidate(dump(end=b""), 72) is not None
    whole = bytes(dump(end=b"").pieces[0].data)[:-1]
    assert candidate(Image("dump", "raw", (Piece(0, len(whole), memoryview(whole)),)), 72) is None


def weights(**changed):
    found = judged(**changed)
    return {reason.text: reason.weight for reason in found.reasons}


HALF = sum(TIMES)
AGE = 1 << 58


@pytest.mark.parametrize(
    ("text", "weight", "changed", "nearly"),
    [
        ("add up to the entry time exactly", 5, {"ahead": 0}, {"ahead": 1}),
        ("the times fit into the entry time", 1, {"ahead": 1}, {"ahead": 0}),
        ("a host is not ready", -4, {"ahead": 9_999_999}, {"ahead": 10_000_000}),
        ("a small part of the entry time", -2, {"entry": 16 * HALF + 16}, {"entry": 16 * HALF}),
        ("are most of the entry time", 1, {"entry": 2 * HALF - 2}, {"entry": 2 * HALF}),
        ("the host would have been up", -4, {"entry": AGE + 1}, {"entry": AGE}),
        ("2 of the four times are not zero", 0, {"times": (5**20, 0, 7**16, 0)}, {}),
        ("4 of the four times are not zero", 2, {}, {"times": (*TIMES[:3], 0)}),
        ("4 of the four times are not zero", 2, {"times": (*TIMES[:3], 1)}, {"times": (*TIMES[:3], 0)}),
        ("no time was ever spent", -1, {"times": (0, *TIMES[1:])}, {"times": (9, *TIMES[1:])}),
        ("the update flag is set", -1, {"entry": FLAG + HALF + BORN}, {}),
        ("the padding is not zero (05 00 00 00)", -1, {"pad": 5, "ahead": 0}, {"ahead": 0}),
        ("two of the times are equal", -4, {"times": (*TIMES[:3], TIMES[0])}, {}),
        ("near each other, as pointers", -4, {"times": (0x7FB6_F8A1_0070, 0x7FB6_F940_4A48, 5, 7)}, {}),
        ("pointers in user space", -2, {"times": (0x7FB6_F8A1_0070, 345_678, 5, 7)}, {}),
        ("two 32-bit numbers", -4, {"times": (*TIMES[:3], (1 << 32) + 4)}, {}),
        ("it reads as text", -6, {"entry": 0x2020_2020_20, "times": (0x2020_2020,) * 4}, {}),
        ("one of the times is round", -1, {"times": (*TIMES[:3], 10**5)}, {"times": (*TIMES[:3], 10**5 + 1)}),
        ("all its time is in one state", -8, {"times": (9**12, 0, 0, 0)}, {"times": (9**12, 0, 0, 1)}),
        ("aligned to 8 bytes", 1, {}, {"front": bytes(60)}),
        ("aligned to 4 bytes", 0, {"front": bytes(60)}, {}),
        ("the entry time is not aligned", -3, {"front": bytes(62)}, {"front": bytes(60)}),
    ],
)  # fmt: skip
def test_each_reason_has_its_weight_up_to_its_edge(text, weight, changed, nearly):
    assert [w for said, w in weights(**changed).items() if text in said] == [weight]
    assert not [said for said in weights(**nearly) if text in said]


POINTER = 0x7FB6_F8A1_0070


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"entry": POINTER * 2, "times": (POINTER, 5, 7, 9**12)}, False),
        ({"entry": POINTER, "times": (0x5000_0000_0123, 5, 7, 9**12)}, False),
        ({"entry": POINTER, "times": (0x5600_0000_0123, 5, 7, 9**12)}, True),
    ],
)
def test_pointers_are_meant_only_if_both_could_be_one(changed, says):
    assert any("pointers in user space" in text for text in weights(**changed)) == says


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [
        (POINTER, POINTER + (1 << 32) - 1, True),
        (POINTER, POINTER + (1 << 32), False),
        (0x5000_0000_0123, 0x5000_0000_0999, False),
        (0x54FF_FFFF_FFFF, 0x5500_0000_0007, False),
        (0x5500_0000_0000, 0x5500_0000_0007, True),
        (0x7FFF_FFFF_FFFF, 0x8000_0000_0007, True),
        (0x8000_0000_0000, 0x8000_0000_0007, False),
    ],
)
def test_times_near_each_other_are_pointers_only_where_programs_are(low, high, says):
    near = {text for text in weights(times=(low, high, 5, 7)) if "near each other" in text}
    assert bool(near) == says


@pytest.mark.parametrize(
    ("byte", "says"), [(0x1F, False), (0x20, True), (0x41, True), (0x7E, True), (0x7F, False)]
)
def test_text_is_made_of_printable_bytes(byte, says):
    entry, *times = (int.from_bytes(bytes([byte]) * size, "little") for size in (5, 4, 4, 4, 4))
    assert any("reads as text" in text for text in weights(entry=entry, times=times)) == says


@pytest.mark.parametrize(("letters", "says"), [(9, True), (8, False)])
def test_one_byte_in_ten_of_a_text_may_be_another(letters, says):
    entry = int.from_bytes(b"abcde"[: letters - 4] + b"\x01", "little")
    found = weights(entry=entry, times=(int.from_bytes(b"fghi", "little"), 0, 0, 0))
    assert any("reads as text" in text for text in found) == says


@pytest.mark.parametrize(
    ("number", "says"),
    [
        ((3 << 32) + (1 << 15) - 1, True),
        ((3 << 32) + (1 << 15), False),
        ((4 << 32) - (1 << 15), True),
        ((4 << 32) - (1 << 15) - 1, False),
        (77, False),
        ((1 << 32) - 5, True),
    ],
)
def test_two_numbers_in_one_are_told_by_the_low_ones_edge(number, says):
    packed = [text for text in weights(times=(*TIMES[:3], number)) if "32-bit numbers" in text]
    assert bool(packed) == says


XENS = 0xFFFF_8300_1BD5_6390
KERNEL = 0xFFFF_8880_0D43_2BA0


@pytest.mark.parametrize(
    ("front", "behind", "verdict", "points_to", "weight"),
    [
        ([XENS], 0, COPY, None, 3),
        ([XENS], KERNEL, COPY, KERNEL, 5),  # the handle is behind: Xen 4.17.5
        ([XENS, KERNEL], 0, COPY, KERNEL, 5),
        ([XENS, KERNEL], KERNEL + 64, COPY, KERNEL, 5),  # the one in front is nearer
        ([XENS, 0xC123_4000, 0], 0, COPY, 0xC123_4000, 5),
        ([XENS, 0, 0, 0, 0, 0], 0, COPY, None, 3),
        ([XENS, 0, 0, 0, 0, 0, 0], 0, POSSIBLE, None, 0),
        ([KERNEL], KERNEL, POSSIBLE, None, 0),
        ([XENS, 9], KERNEL, POSSIBLE, None, 0),
    ],
)
def test_what_stands_around_xens_record(front, behind, verdict, points_to, weight):
    words = struct.pack(f"<{len(front)}Q", *front)
    usual = judged(state=1).weight
    found = judged(front=bytes(64) + words, end=struct.pack("<Q", behind), state=1)
    assert (found.verdict, found.points_to, found.weight - usual) == (verdict, points_to, weight)
    text = f"beside it is a guest's address, {points_to or 0:#x}: where Xen copies it to"
    assert (text in said(found)) is (points_to is not None)


# The first and the last address of a range, and their neighbours.
@pytest.mark.parametrize(
    ("word", "is_xens"),
    [
        (0xFFFF_82BF_FFFF_FFFF, False),
        (0xFFFF_82C0_0000_0000, True),
        (0xFFFF_87FF_FFFF_FFFF, True),
        (0xFFFF_8800_0000_0000, False),
    ],
)
def test_xens_addresses_end_where_its_half_of_the_address_space_does(word, is_xens):
    found = judged(front=bytes(64) + struct.pack("<Q", word))
    assert (found.verdict == COPY) is is_xens


@pytest.mark.parametrize(
    ("word", "is_guests"),
    [
        (0x7FFF_FFFF, False),
        (0x8000_0000, True),
        (0xFFFF_EFFF, True),
        (0xFFFF_F000, False),
        (0xFFFF_87FF_FFFF_FFFF, False),
        (0xFFFF_8800_0000_0000, True),
        (0xFFFF_FFFF_FFFF_EFFF, True),
        (0xFFFF_FFFF_FFFF_F000, False),
    ],
)
def test_a_guests_addresses_end_before_what_looks_like_an_error_code(word, is_guests):
    found = judged(front=bytes(64) + struct.pack("<Q", XENS), end=struct.pack("<Q", word))
    assert found.points_to == (word if is_guests else None)


# Two dumps.
LATER = tuple(time + 10**9 for time in TIMES)
MOVED = "entry time - sum stayed"


@pytest.mark.parametrize(
    ("before", "now", "text", "weight", "verdict"),
    [
        ({}, {"times": LATER}, MOVED, 8, LIKELY),
        ({}, {"times": (TIMES[0] + 1, *TIMES[1:])}, MOVED, 8, LIKELY),
        ({}, {}, "it did not change", 0, POSSIBLE),
        ({"entry": FLAG + HALF}, {"times": LATER}, "in flight", 0, POSSIBLE),
        ({}, {"entry": FLAG + HALF + BORN}, "in flight", 0, POSSIBLE),
        ({"times": LATER}, {}, "did not move", -8, UNLIKELY),
        ({}, {"times": LATER, "ahead": BORN + 1}, "did not move", -8, UNLIKELY),
        ({}, {"times": (*LATER[:3], TIMES[3] - 1)}, "did not move", -8, UNLIKELY),
        ({"state": 1}, {}, "did not move", -8, UNLIKELY),
        ({"end": bytes(16), "front": bytes(8)}, {}, "not in the earlier dump", 0, POSSIBLE),
    ],
)
def test_an_earlier_dump_tells_what_moved_as_an_area(before, now, text, weight, verdict):
    usual = judged(**now)
    found = since(usual, dump(**before))
    assert text in found.reasons[-1].text
    assert (found.reasons[-1].weight, found.verdict) == (weight, verdict)


def test_an_unlikely_candidate_that_moved_stays_unlikely():
    unlikely = judged(times=LATER).because(verdict=UNLIKELY)
    found = since(unlikely, dump())
    assert (found.reasons[-1].weight, found.verdict) == (1, UNLIKELY)


def test_what_was_likely_before_is_not_ruled_out_by_how_it_moved():
    found = since(judged(times=(*LATER[:3], TIMES[3] - 1)), dump(ahead=0))
    assert (found.reasons[-1].weight, found.verdict) == (-2, POSSIBLE)


NONSENSE = (TIMES[0] + 1, TIMES[1] + (1 << 62), TIMES[2] + 1, TIMES[3] + 1)


@pytest.mark.parametrize(
    ("before", "now", "kept"),
    [
        ({"ahead": 0}, {"times": (1, 2, 3, 4), "state": 99}, True),  # a likely one stays
        ({}, {"times": NONSENSE, "entry": HALF + BORN + 9}, True),
        ({}, {"times": NONSENSE, "entry": HALF + BORN + 9, "state": 4}, False),
        ({}, {"times": NONSENSE, "entry": HALF + BORN}, False),  # nothing was updated
        ({}, {"times": (0, 0, TIMES[2], TIMES[3]), "entry": HALF + BORN + 9}, True),
        ({}, {"times": (0, 0, 0, TIMES[3]), "entry": HALF + BORN + 9}, False),
        ({}, {"times": (TIMES[0] - 1, 0, 0, TIMES[3]), "entry": HALF + BORN + 9}, False),
        ({}, {"times": (TIMES[0] + AGE, 0, 0, TIMES[3]), "entry": HALF + BORN + 9}, False),
        ({}, {"times": (TIMES[0] + AGE - 1, 0, 0, TIMES[3]), "entry": HALF + BORN + 9}, True),
        ({"ahead": 744}, {"times": NONSENSE, "entry": HALF + BORN + 9}, True),
        ({"times": (9**12, 0, 0, 0)}, {"times": NONSENSE, "entry": 9**13}, False),  # unlikely
    ],
)
def test_what_was_an_area_stays_one(before, now, kept):
    was = promoted(judged(**before))
    found = lost(was, dump(**now))
    assert (found is not None) == kept
    if found:
        assert found.verdict == was.verdict
        assert found.seen.times == now["times"]
        assert "it was an area in the earlier dump" in found.reasons[0].text
        assert found.weight == was.weight - 1


def test_what_the_later_dump_does_not_hold_is_not_kept():
    assert lost(promoted(judged(ahead=0)), dump(front=b"")) is None


@pytest.mark.parametrize(
    ("weight", "verdict"),
    [(6, LIKELY), (5, POSSIBLE), (0, POSSIBLE), (-1, UNLIKELY), (-9, UNLIKELY)],
)
def test_the_total_of_the_reasons_makes_the_verdict(weight, verdict):
    item = judged()._replace(reasons=(Reason(weight, "it"),))
    assert promoted(item).verdict == verdict
    assert promoted(item._replace(verdict=COPY)).verdict == COPY
    assert promoted(item._replace(verdict=UNLIKELY)).verdict == UNLIKELY


def test_the_best_come_first_and_equals_by_address():
    item = judged()._replace(reasons=(Reason(3, "it"),))
    best = item._replace(address=9, reasons=(Reason(7, "it"),))
    second = item._replace(address=1, verdict=COPY)
    found = ranked([item._replace(address=8), second, item._replace(address=2), best])
    assert [one.address for one in found] == [9, 1, 2, 8]
    assert candidates.VERDICTS == (LIKELY, COPY, POSSIBLE, UNLIKELY)
