"""The whole search: which way an image is searched, what it keeps, and what it tells."""

import random
import struct

import pytest

from runstate_abi.layouts.structs.runstate import COMPAT, NATIVE
from runstate_abi.tools.memory import sources
from runstate_abi.tools.memory.area import Values
from runstate_abi.tools.memory.image import Image, Piece
from runstate_abi.tools.memory.search import finding
from runstate_abi.tools.memory.search.candidates import LIKELY, UNLIKELY, Candidate, Reason


@pytest.mark.parametrize(
    ("size", "installed", "plain"),
    [
        (finding.PLAIN_MOST, True, True),
        (finding.PLAIN_MOST + 1, True, False),
        (finding.PLAIN_MOST + 1, False, True),
    ],
)
def test_numpy_is_loaded_only_for_an_image_that_is_worth_it(monkeypatch, size, installed, plain):
    ways = []
    monkeypatch.setattr(finding, "has_numpy", lambda: installed)
    monkeypatch.setattr(finding, "entries", lambda piece, way, progress: ways.append(way) or ())
    finding.find(sources.raw_image(memoryview(bytes(size)), "zeros"), None, lambda count: None)
    assert ways == [plain]


def test_fifty_thousand_are_kept_and_two_million_judged():
    assert (finding.MOST, finding.JUDGED_MOST) == (50_000, 2_000_000)


def judged(address, entry=10**12, times=(1, 2, 3, 4), weight=0, verdict=LIKELY):
    seen = Values(0, entry, times, b"")
    return Candidate(address, NATIVE, seen, (Reason(weight, "a reason"),), verdict)


def said(item):
    return [reason.text for reason in item.reasons[1:]]


@pytest.mark.parametrize("first", [0, 400])
def test_of_candidates_in_a_chain_each_is_held_against_the_better_of_those_before(first):
    """The first ends before the last begins, and the one between them is better than both."""
    chain = [judged(first, weight=1), judged(first + 40, weight=9), judged(first + 80, weight=5)]
    alone = [judged(first - 100)] if first else []
    for number, item in enumerate(chain):
        chain[number] = item._replace(seen=item.seen._replace(state=number + 1))
    *_, one, best, last = finding.together([*alone, *chain])
    text = f"it overlaps a better candidate, at {first + 40:#x}"
    assert [item.verdict for item in (one, best, last)] == [UNLIKELY, LIKELY, UNLIKELY]
    assert (said(one), said(best), said(last)) == ([text], [], [text])
    assert (one.weight, best.weight, last.weight) == (1 - 8, 9, 5 - 8)


# Both are 10^11 ns ahead of their sums.
@pytest.mark.parametrize(
    ("apart", "kin"),
    [(999, False), (1000, True), (4095, True), (4096, False), (8192, False), (6144, True)],
)
def test_two_records_of_one_vcpu_are_some_time_apart_and_not_a_round_one(apart, kin):
    times = (10**9, 10**9, 10**9, 10**9)
    was = judged(0, sum(times) + 10**11, times)
    now = judged(100, sum(times) + apart + 10**11, (times[0] + apart, *times[1:]))
    found = finding.together([was, now])
    assert [bool(said(item)) for item in found] == [kin, kin]


def test_the_older_of_two_records_is_stale_and_weighs_what_it_did():
    times = (10**9, 10**9, 10**9, 10**9)
    was = judged(0, sum(times) + 10**11, times)
    now = judged(100, sum(times) + 5000 + 10**11, (times[0] + 5000, *times[1:]))
    older, newer = finding.together([was, now])
    assert said(older)[1:] == ["stale: 0x64 is 5 us newer"]
    assert said(newer)[1:] == []
    assert older.weight == newer.weight == 6


APART = 128  # bytes from one area to the next
CHANCE = random.Random(1)
# Areas of one host: the later ones are younger, and so their reasons weigh less.
AREAS = [
    struct.pack("<II5Q", 0, 0, sum(times) + 1 + CHANCE.randrange(1 << 34, 1 << 35), *times)
    for times in [tuple(CHANCE.randrange(1 << 33, 1 << 35) for _ in range(4)) for _ in range(9)]
]


def searched(*areas, front=b"\0" * 16, earlier=None):
    told = []
    memory = [
        front + b"".join(area.ljust(APART, b"\0") for area in one) for one in (areas, earlier or ())
    ]
    images = [sources.raw_image(memoryview(one), "memory") for one in memory]
    found = finding.find(images[0], images[1] if earlier is not None else None, told.append)
    return found, told


@pytest.mark.parametrize(
    ("count", "kept"), [(1, 1), (6, 6), (7, 3), (9, 5)]
)  # 7 become 3, and two more follow
def test_of_more_than_twice_as_many_as_are_kept_the_best_are(monkeypatch, count, kept):
    monkeypatch.setattr(finding, "MOST", 3)
    found, _ = searched(*AREAS[:count])
    everything, _ = searched_with(monkeypatch, 100, AREAS[:count])
    assert len(everything.found) == count
    assert (len(found.found), found.dropped, found.cut) == (kept, count - kept, False)
    assert not searched(*AREAS[:count])[0].cut


def searched_with(monkeypatch, most, areas):
    monkeypatch.setattr(finding, "MOST", most)
    return searched(*areas)


@pytest.mark.parametrize(("count", "cut"), [(3, False), (4, True), (5, True)])
def test_a_search_ends_with_so_many_candidates_and_says_so(monkeypatch, count, cut):
    monkeypatch.setattr(finding, "JUDGED_MOST", 4)
    found, _ = searched(*AREAS[:count])
    assert (len(found.found), found.dropped, found.cut) == (min(count, 4), 0, cut)


def test_what_only_the_earlier_dump_has_is_found_and_is_none_that_was_dropped():
    times = struct.unpack("<II5Q", AREAS[0])[3:]
    kvms = struct.pack("<II5Q", 0, 0, sum(times), *times)
    now = struct.pack("<II5Q", 9, 9, *range(1, 6))
    found, _ = searched(now, earlier=[kvms])
    assert [one.seen.times for one in found.found] == [(2, 3, 4, 5)]
    assert (found.dropped, found.searched) == (0, 16 + APART)


def test_an_area_under_another_layout_is_not_lost():
    times = tuple(time + 1000 for time in struct.unpack("<II5Q", AREAS[0])[3:])
    was = struct.pack("<II5Q", 9, 0, sum(times), *times)  # compat: what is in front is no state
    now = struct.pack("<II5Q", 1, 0, sum(times), *times)
    found, _ = searched(now, earlier=[was])
    assert [(one.address, one.layout) for one in found.found] == [(16, NATIVE)]
    found, _ = searched(was, earlier=[was])
    assert [(one.address, one.layout) for one in found.found] == [(20, COMPAT)]


def test_one_large_piece_is_searched_to_its_end():
    found, _ = searched(AREAS[0], front=b"\0" * (3 << 20))
    assert [one.address for one in found.found] == [3 << 20]


def test_progress_is_told_every_16_mib():
    told, size = [], (16 << 20) + 1
    piece = Piece(0, size, memoryview(bytes(size)))
    assert list(finding.entries(piece, True, told.append)) == []
    assert told == [16 << 20, 1]


@pytest.mark.parametrize("at", [*range(4096 - 49, 4096 + 2), 8192 - 8])
def test_a_stride_ends_anywhere_and_progress_adds_up(monkeypatch, at):
    monkeypatch.setattr(finding, "STRIDE", 4096)
    found, told = searched(AREAS[0], front=b"\0" * at)
    # At a multiple of four it is taken for compat four bytes on, where the entry time is the same.
    assert [one.address + one.layout.offsetof("state_entry_time") for one in found.found] == [
        at + 8
    ]
    assert told == [4096] * ((at + APART) // 4096) + [(at + APART) % 4096]


@pytest.mark.parametrize(
    ("first", "gap", "seen"),
    [(104, 0, True), (104, 8, False), (1 << 20, 0, True), ((1 << 20) + 8, 0, False)],
)
def test_small_neighbouring_pieces_are_searched_as_one(first, gap, seen):
    data = b"\0" * (first - 24) + AREAS[0] + b"\0" * 50
    pieces = tuple(
        Piece(0x1000 + start + gap * bool(start), len(part), memoryview(part))
        for start, part in ((0, data[:first]), (first, data[first:]))
    )
    found = finding.find(Image("two", "text", pieces), None, lambda count: None)
    assert [one.address for one in found.found] == [0x1000 + first - 24] * seen
