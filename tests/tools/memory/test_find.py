"""``runstate find`` on images made of real pages, as a person would use it."""

import json
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from runstate_abi.tools import cli
from runstate_abi.tools.memory import find
from runstate_abi.tools.memory.search import finding

WAYS = ["numpy", "plain"] if finding.has_numpy() else ["plain"]


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    """The search with numpy, and as it is where numpy is not installed."""
    monkeypatch.setattr(finding, "has_numpy", lambda: request.param == "numpy")


@pytest.fixture(scope="session")
def records(data):
    found = json.loads((data / "pages" / "pages.json").read_text())
    return [{**r, "path": data / "pages" / r["file"]} for r in found if "area_offset" in r]


@pytest.fixture
def compose(records, tmp_path):
    """Return a function: real pieces of one dump in an image, each at its offset in a page."""

    def made(kind, dump, spread=3):
        chosen = [r for r in records if kind in r["file"] and r["dump"] == dump]
        image, places = bytearray(), {}
        for record in sorted(chosen, key=lambda r: int(r["maddr"], 16)):
            piece = record["path"].read_bytes()
            start = (int(record["maddr"], 16) - record["area_offset"]) % 4096
            places[len(image) + start + record["area_offset"]] = record["what"]
            image += (bytes(start) + piece).ljust(spread * 4096, b"\0")
        path = tmp_path / f"{kind}{dump}.img"
        path.write_bytes(image)
        return str(path), places

    return made


def ranks(capsys, *argv):
    code = cli.main(["find", "--json", "--limit", "0", *argv])
    value = json.loads(capsys.readouterr().out)
    assert code == (0 if value["candidates"] else 1)
    return {item["address"]: (rank, item) for rank, item in enumerate(value["candidates"])}


def by_kind(places, found):
    kinds = ("dom0", "Xen heap", "false")
    last = len(found)
    return {
        kind: [found.get(p, (last,))[0] for p, what in places.items() if what.startswith(kind)]
        for kind in kinds
    }


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("dump", [2, 3])
def test_guests_areas_come_before_copies_and_copies_before_false_positives(
    compose, capsys, way, earlier, dump
):
    path, places = compose("idle", dump)
    before = ["--before", compose("idle", dump - 1)[0]] if earlier else []
    of = by_kind(places, ranks(capsys, path, *before))
    assert [len(of[kind]) for kind in of] == [2, 4, 2]
    assert max(of["dom0"]) < min(of["Xen heap"]) < max(of["Xen heap"]) < min(of["false"])


def test_what_no_hypervisor_leaves_is_no_candidate(compose, capsys):
    # Rows of Linux's array of struct page: padding that is not zero, as KVM leaves it, and a sum
    # that is not the entry time, as on Xen.
    path, places = compose("xen4177", 1)
    page = next(place for place, what in places.items() if "struct page" in what)
    found = ranks(capsys, path)
    assert not [place for place in found if page - 464 <= place < page + 304]


@pytest.mark.parametrize(
    ("xen", "dump", "earlier"), [("xen4177", 1, 0), ("xen4177", 2, 1), ("xen4203", 1, 0)]
)
def test_a_xen_that_keeps_the_guests_address_in_front_is_understood_too(
    compose, capsys, xen, dump, earlier
):
    path, places = compose(xen, dump)
    before = ["--before", compose(xen, earlier)[0]] if earlier else []
    found = ranks(capsys, path, *before)
    of = by_kind(places, found)
    assert [sorted(of[kind]) for kind in ("dom0", "Xen heap")] == [[0, 1], [2, 3, 4, 5]]
    copies = [item for _, item in found.values() if item["verdict"] == "hypervisor copy"]
    pointers = [copy["points_to"] % 4096 for copy in copies if copy["points_to"]]
    assert pointers == [0xBA0, 0xBA0]


def test_verdicts_say_what_each_is(compose, capsys):
    path, places = compose("idle", 1)
    words = {"dom0": "likely", "Xen ": "hypervisor copy", "fals": "unlikely"}
    found = ranks(capsys, path)
    for place, what in places.items():
        assert found[place][1]["verdict"] == words[what[:4]], what


def test_the_values_found_are_those_in_the_page(records, capsys, way):
    for record in records:
        if "false" in record["what"]:
            continue
        found = ranks(capsys, str(record["path"]))
        assert record["area_offset"] in found, record["file"]
        item = found[record["area_offset"]][1]
        raw = record["path"].read_bytes()
        entry, *times = struct.unpack_from("<5Q", raw, record["area_offset"] + 8)
        assert item["fields"]["time"] == times
        assert item["fields"]["state_entry_time"] == entry & ~(1 << 63)
        assert item["update_in_progress"] == bool(entry >> 63)
        assert item["abi"] == "native"
        assert item["same_bytes_at"] == record["area_offset"] + 4


def test_busy_areas_are_first_and_proved_by_an_earlier_dump(compose, capsys):
    path, places = compose("busy", 3)
    found = ranks(capsys, path, "--before", compose("busy", 1)[0])
    assert sorted(found[place][0] for place in places) == [0, 1]
    assert all(found[place][1]["verdict"] == "likely" for place in places)


def test_a_copy_that_is_newer_says_that_the_area_is_stale(compose, capsys, tmp_path):
    path, places = compose("idle", 2)
    image = bytearray(Path(path).read_bytes())
    area = next(p for p, what in places.items() if what == "dom0 xen_runstate cpu0")
    entry, *times = struct.unpack_from("<5Q", image, area + 8)
    struct.pack_into("<5Q", image, area + 8, entry - 10**6, times[0] - 10**6, *times[1:])
    stale = tmp_path / "stale.img"
    stale.write_bytes(image)
    reasons = ranks(capsys, str(stale))[area][1]["reasons"]
    assert any("stale" in r["text"] and "1 ms newer" in r["text"] for r in reasons)


def test_an_area_that_moved_as_no_area_does_is_unlikely(compose, capsys, tmp_path):
    path, places = compose("busy", 3)
    other, _ = compose("busy", 1)
    image = bytearray(Path(other).read_bytes())
    place = next(iter(places))
    (entry,) = struct.unpack_from("<Q", image, place + 8)
    struct.pack_into("<Q", image, place + 8, entry + 1)
    before = tmp_path / "moved.img"
    before.write_bytes(image)
    assert ranks(capsys, path, "--before", str(before))[place][1]["verdict"] == "unlikely"


def test_an_elf_core_is_searched_by_physical_address(data, capsys):
    found = ranks(capsys, str(data / "pages" / "xen417_busy.elfcore"))
    assert next(iter(found)) == 0x175F4BA0


def test_compat_after_poison_is_found_as_compat(data, capsys, tmp_path):
    record = json.loads((data / "xen" / "xen_hvm_compat_4.17.jsonl").read_text().splitlines()[5])
    path = tmp_path / "compat.img"
    path.write_bytes(b"\xaa" * 997 + bytes.fromhex(record["after_update"]) + b"\xaa" * 900)
    found = ranks(capsys, str(path))
    assert (found[997 + 8][1]["abi"], found[997 + 8][0]) == ("compat", 0)


def test_an_area_that_begins_in_a_squeezed_run_is_found(capsys, tmp_path):
    # State and padding are the end of lines of zeros that the text says once.
    numbers = struct.pack("<5Q", 9_123_456_789, 3_123_456_787, 2_987_654_321, 1_357_924_681, 17**7)
    rows = [numbers[at : at + 16].ljust(16, b"\xee") for at in (0, 16, 32)]
    lines = [f"{0x100 + 16 * n:08x}  {row.hex(' ')}" for n, row in enumerate(rows)]
    path = tmp_path / "squeezed.txt"
    path.write_text("\n".join(["00000000  " + bytes(16).hex(" "), "*", *lines, "00000130"]))
    assert 0xF8 in ranks(capsys, str(path))


def test_what_overlaps_a_better_candidate_is_unlikely(data, capsys):
    found = ranks(capsys, str(data / "pages" / "xen417_busy_d1_cpu0.page.bin"))
    inside = [item for place, (_, item) in found.items() if 0xBA0 < place < 0xBD0]
    assert inside
    assert {item["verdict"] for item in inside} == {"unlikely"}


def test_half_a_core_without_an_area_is_not_a_core_without_areas(data, capsys, tmp_path):
    path = tmp_path / "half.elfcore"
    path.write_bytes((data / "pages" / "xen417_busy.elfcore").read_bytes()[:3000])
    assert cli.main(["find", str(path)]) == 3
    assert "nothing was found in it, and a part of it is missing" in capsys.readouterr().err


def test_text_of_a_page_is_searched_too(data, capsys, tmp_path):
    page = (data / "pages" / "xen417_busy_d1_cpu0.page.bin").read_bytes()
    lines = [f"{at:08x}  {page[at : at + 16].hex(' ')}" for at in range(0, 4096, 16)]
    squeezed = [
        line if line[8:] != lines[max(i - 1, 0)][8:] or i == 0 else "*"
        for i, line in enumerate(lines)
    ]
    text = "\n".join(
        [*(x for i, x in enumerate(squeezed) if x != "*" or squeezed[i - 1] != "*"), "00001000"]
    )
    path = tmp_path / "page.txt"
    path.write_text(text)
    assert 0xBA0 in ranks(capsys, str(path))


def test_each_candidate_comes_with_its_reasons_and_the_command_that_explains_it(compose, capsys):
    path, _ = compose("busy", 1)
    assert cli.main(["find", path]) == 0
    out = capsys.readouterr().out
    command = re.search(r"runstate hexdump \S+ --at 0xba0$", out, re.MULTILINE)
    assert "+1  the entry time is aligned to 8 bytes" in out
    assert cli.main(command.group().split()[1:]) == 0


@pytest.mark.parametrize("kind", ["busy", "idle"])
def test_a_guest_whose_times_are_nonsense_now_is_not_lost(compose, capsys, tmp_path, kind):
    before, _ = compose(kind, 1)
    path, places = compose(kind, 3)
    image = bytearray(Path(path).read_bytes())
    areas = [place for place, what in places.items() if what.startswith(("dom0", "per-CPU"))]
    for place in areas:
        (stolen,) = struct.unpack_from("<Q", image, place + 24)
        struct.pack_into("<Q", image, place + 24, stolen + (1 << 62))
    nonsense = tmp_path / "nonsense.img"
    nonsense.write_bytes(image)
    assert not set(areas) & ranks(capsys, str(nonsense)).keys()
    found = ranks(capsys, str(nonsense), "--before", before)
    assert areas
    for place in areas:
        rank, item = found[place]
        assert rank < len(places)
        assert item["verdict"] in ("likely", "possible")
        assert item["fields"]["time"][1] > 1 << 62


@pytest.mark.parametrize("options", [[], ["--base", "0x100000"], ["--raw"]])
def test_the_command_that_explains_keeps_the_earlier_dump(compose, capsys, options):
    path, _ = compose("busy", 3)
    assert cli.main(["find", path, "--before", compose("busy", 1)[0], *options]) == 0
    command = re.search(r"runstate hexdump (.*)$", capsys.readouterr().out, re.MULTILINE)
    assert cli.main(["hexdump", *command[1].split()]) == 0
    shown = capsys.readouterr().out
    assert "time[0] running" in shown
    assert "since " in shown


def test_many_candidates_are_a_line_each_behind_the_first(capsys, tmp_path):
    image = bytearray(350 * 4096)
    for number in range(350):
        times = [(number + 3) * prime for prime in (10_000_019, 20_000_003, 7_000_003, 5_000_011)]
        record = struct.pack("<II5Q", 0, 0, sum(times) + 887_654_321 + number, *times)
        image[number * 4096 + 64 : number * 4096 + 112] = record
    path = tmp_path / "many.img"
    path.write_bytes(image)
    assert cli.main(["find", str(path), "--limit", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    heads = [line for line in lines if " total " in line]
    assert len(heads) >= 350
    assert len(lines) < len(heads) + 20 * 10


def test_more_against_than_for_a_candidate_is_unlikely(compose, capsys):
    path, _ = compose("idle", 2)
    for _, item in ranks(capsys, path).values():
        total = sum(reason["weight"] for reason in item["reasons"])
        assert item["verdict"] in ("unlikely", "hypervisor copy") or total >= 0
    assert cli.main(["find", path]) == 0
    out = capsys.readouterr().out
    for head in re.findall(r"^ +\d+ possible .* total ([+-]\d+)$", out, re.MULTILINE):
        assert int(head) >= 0


def test_help_says_what_is_not_found(capsys):
    assert cli.main(["find", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "An area in two pages that are not neighbours is not found" in said


def test_memory_without_an_area_ends_with_1(tmp_path, capsys):
    path = tmp_path / "zeros"
    path.write_bytes(bytes(100_000))
    assert cli.main(["find", str(path)]) == 1
    assert "0 candidates in 100000 bytes" in capsys.readouterr().err


def test_a_missing_file_is_one_line_and_3(capsys):
    assert cli.main(["find", "/nonexistent"]) == 3
    assert capsys.readouterr().err == "runstate: /nonexistent: No such file or directory\n"


def test_without_numpy_it_says_so_and_finds_the_same(compose, tmp_path):
    path, _ = compose("busy", 1)
    with open(path, "r+b") as file:
        file.truncate(find.WORTH_NUMPY)
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['numpy'] = None\n")
    code = "from runstate_abi.tools import cli; import sys; sys.exit(cli.main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "find", "--json", path],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, "without numpy" in done.stderr) == (0, True)
    assert json.loads(done.stdout)["candidates"][0]["address"] == 0xBA0
