"""``runstate hexdump`` as a person and as a script use it."""

import itertools
import json
import os
import re
import struct
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools import cli
from runstate_abi.tools.memory.area import LAYOUTS, excerpt, read_as
from runstate_abi.tools.memory.sources import raw_image

SPLITS = [
    (abi, offset) for abi, known in LAYOUTS.items() for offset in range(4097 - known.size, 4096)
]
GPA = "0x175f4ba0"


@pytest.fixture(scope="session")
def pages(data):
    return data / "pages"


@pytest.fixture
def run(capsys):
    """Return a function: the exit code, standard output and standard error of one command."""

    def ran(*argv):
        try:
            code = cli.main(["hexdump", *map(str, argv)])
        except SystemExit as left:
            code = left.code
        told = capsys.readouterr()
        return code, told.out, told.err

    return ran


def value(told):
    code, out, err = told
    assert err == ""
    return code, json.loads(out)


def test_the_page_in_flight_is_explained_byte_by_byte(run, pages):
    code, out, err = run(pages / "xen417_inflight.elfcore", "--gpa", GPA, "--color", "never")
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0].endswith("at 0x175f4ba0: native vcpu_runstate_info, 48 bytes, little-endian")
    assert lines[2] == ("  compat at 0x175f4ba4 reads the same, if that is the address")
    assert lines[3:11] == [
        "0x175f4ba0  +0x00  00 00 00 00               state             0  running",
        "0x175f4ba4  +0x04  00 00 00 00               pad_04            zero",
        "0x175f4ba8  +0x08  18 4b 48 1d 08 00 00[80]  state_entry_time  34,851,015,448 ns"
        "  00:00:34.8  UPDATE=1",
        "0x175f4bb0  +0x10  d4 32 a6 24 04 00 00 00   time[0] running   17,794,740,948 ns"
        "  00:00:17.7",
        "0x175f4bb8  +0x18  40 3b 55 59 03 00 00 00   time[1] runnable  14,383,659,840 ns"
        "  00:00:14.3",
        "- - - - 64-byte line 0x175f4bc0 - - - - - - - - - - - - - - - - - - - - - - -",
        "0x175f4bc0  +0x20  d9 92 a1 34 00 00 00 00   time[2] blocked      883,004,121 ns  883 ms",
        "0x175f4bc8  +0x28  98 08 da 35 00 00 00 00   time[3] offline      903,481,496 ns"
        "  903.4 ms",
    ]
    assert lines[-1] == "verdict: in flight: a reader must retry, and so must you"


def test_a_page_without_a_place_in_it_is_asked_where_and_nothing_is_assumed(run, pages):
    code, out, err = run(pages / "xen417_busy_d1_cpu0.page.bin")
    assert (code, out) == (2, "")
    assert "raw bytes: say where, --at OFFSET" in err
    assert len(err.splitlines()) == 1


def test_an_address_with_a_slip_ends_with_3_and_names_the_right_one(run, pages):
    code, out, err = run(pages / "xen417_busy.elfcore", "--gpa", "0x175f4ba1")
    assert code == 3
    assert "native at 0x175f4ba0 is aligned, its times 16777216 times smaller" in err
    assert "at 0x175f4ba0: native" in out
    assert run(pages / "xen417_busy.elfcore", "--gpa", "0x175f4ba1", "--abi", "compat")[0] == 0


def test_the_earlier_dump_may_have_the_area_at_another_place(run, pages):
    earlier = pages / "xen417_busy_d1_cpu0.page.bin"
    argv = (pages / "xen417_busy.elfcore", "--gpa", GPA, "--json", "--before")
    seen = value(run(*argv, f"{earlier}:0xba0"))[1]
    assert seen["before"]["delta"]["state_entry_time"] == 34_810_466_931 - 30_300_450_388
    assert run(*argv, earlier)[0] == 3


def test_what_was_stolen_is_said_as_linux_counts_it(run, pages):
    page = (pages / "xen417_busy.elfcore", "--gpa", GPA)
    stolen = 14_363_125_363 + 903_481_496
    assert (
        f"as Linux counts it: {stolen:,} ns  00:00:15.2, 45.0% of the four times" in run(*page)[1]
    )
    seen = value(run(*page, "--json"))[1]
    assert (seen["steal"], seen["verdict"]) == (stolen, "normal")


@pytest.mark.parametrize("typed", ["175f4ba0", "0x", "-1", "1e3"])
def test_a_number_that_is_none_is_refused_in_words(run, pages, typed):
    code, out, err = run(pages / "xen417_busy.elfcore", f"--gpa={typed}")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "is not a number (hexadecimal needs 0x)" in err or "is not a 64-bit number" in err


def test_a_guest_that_switched_its_mode_between_the_dumps_is_not_wrong(run, tmp_path):
    times = (17_774_726_908, 14_363_125_363, 883_004_121, 903_481_496)
    later = (times[0] + 7_654_321, *times[1:])
    compat = struct.pack("<I5Q", 1, 886_137_219 + sum(times), *times)
    native = struct.pack("<I4s5Q", 1, compat[4:8], 886_137_219 + sum(later), *later)
    for name, area in (("before", compat), ("after", native)):
        (tmp_path / name).write_bytes(b"\xaa" * 256 + area + b"\xaa" * 64)
    argv = (tmp_path / "after", "--at", 256, "--before", tmp_path / "before")
    code, seen = value(run(*argv, "--json"))
    assert (code, seen["verdict"]) == (0, "normal")
    assert seen["before"]["delta"]["time"] == [7_654_321, 0, 0, 0]
    assert "it was compat in the earlier dump: the guest switched its mode" in run(*argv)[1]


def test_text_that_is_no_dump_is_not_taken_for_memory(run, tmp_path):
    path = tmp_path / "x.h"
    path.write_text("unsigned char page[] = {\n  0x00, 0x00, 0x00, 0x00,\n};\n" * 9)
    code, out, err = run(path, "--at", 0)
    assert (code, out) == (3, "")
    assert "text, but of no form known here" in err
    assert run(path, "--at", 0, "--abi", "native", "--raw")[0] == 1


def test_memory_of_zeros_is_not_said_to_be_old(run, tmp_path):
    path = tmp_path / "zeros"
    path.write_bytes(bytes(256))
    code, _, err = run(path, "--at", 64)
    assert (code, "every time is 0" in err) == (3, True)


@pytest.mark.parametrize(
    "words",
    [
        ["--watch", "1", "--interval", "nan"],
        ["--watch", "nan"],
        ["some.elfcore"],
        ["--watch", "1", "--before", "x"],
        ["--watch", "1", "--pages-view", "text"],
        ["--drgn"],
    ],
)
def test_options_that_a_live_machine_does_not_know_are_refused(run, words):
    code, out, err = run("--qmp", "/nonexistent", "--gpa", GPA, *words)
    assert (code, out, len(err.splitlines())) == (2, "", 1)


def test_json_names_the_other_reading_of_the_same_bytes(run, pages):
    page = pages / "xen417_busy_d1_cpu0.page.bin"
    assert value(run(page, "--at", "0xba0", "--json"))[1]["same_bytes_at"] == 0xBA4
    assert (
        value(run(page, "--at", "0xba0", "--abi", "native", "--json"))[1]["same_bytes_at"] is None
    )


def test_json_says_what_scripts_rely_on(run, pages):
    code, seen = value(run(pages / "xen417_inflight_cpu0.page.bin", "--at", "0xba0", "--json"))
    assert code == 0
    assert seen["abi"] == "native"
    assert seen["address"] == 0xBA0
    assert seen["fields"] == {
        "state": 0,
        "state_entry_time": 34_851_015_448,
        "time": [17_794_740_948, 14_383_659_840, 883_004_121, 903_481_496],
    }
    assert (seen["padding"], seen["update_in_progress"]) == ("00000000", True)
    assert {o["class"] for o in seen["observations"]} == {"in-flight"}
    assert all(set(o) == {"class", "text", "fact"} for o in seen["observations"])


def test_a_core_and_the_page_it_holds_say_the_same(run, pages):
    keys = ("abi", "fields", "padding", "update_in_progress", "bytes")
    core = value(run(pages / "xen417_busy.elfcore", "--gpa", GPA, "--json"))[1]
    inside = value(run(pages / "xen417_busy.elfcore", "--raw", "--at", 0x790 + 0xBA0, "--json"))[1]
    assert [core[key] for key in keys] == [inside[key] for key in keys]


def test_every_golden_of_both_abis_is_read_with_its_values(run, data, tmp_path):
    path = tmp_path / "image"
    records = (data / "kvm" / "kvm_golden_linux6.12.107.jsonl").read_text().splitlines()
    expected = {k: int(v, 16) for k, v in json.loads(records[0])["meta"]["values_hex_u64"].items()}
    for line in records[1::5]:
        record = json.loads(line)
        if "win" not in record:
            continue
        at = 4096 + record["off"] % 4096
        path.write_bytes(b"\x55" * (at - 8) + bytes.fromhex(record["win"]) + b"\x55" * 64)
        code, seen = value(run(path, "--at", at, "--json"))
        assert (code, seen["abi"]) == (0, record["layout"])
        assert seen["fields"]["state_entry_time"] == expected["state_entry_time"]
        times = [expected[f"time_{n}"] for n in ("running", "runnable", "blocked", "offline")]
        assert seen["fields"]["time"] == times
        assert seen["fields"]["state"] == record["state"]


@pytest.mark.parametrize(("abi", "offset"), SPLITS)
def test_an_area_in_two_pages_far_apart_is_put_together(run, tmp_path, abi, offset):
    layout = LAYOUTS[abi]
    area = bytes(range(1, layout.size + 1))
    here = 4096 - offset
    image = bytearray(b"\xee" * 4096 * 4)
    image[0x1000 + offset : 0x2000] = area[:here]
    image[0x3000 : 0x3000 + layout.size - here] = area[here:]
    path = tmp_path / "image"
    path.write_bytes(image)
    common = ("--abi", abi, "--json")
    at = 0x1000 + offset
    together = value(run(path, "--pages", "0x1000,0x3000", "--at", offset, *common))[1]
    apart = value(run(path, "--at", at, "--second-page", f"{path}:0x3000", *common))[1]
    assert together["bytes"] == apart["bytes"] == area.hex()
    seen = excerpt(raw_image(memoryview(bytes(image)), "image"), at, 0x3000)
    assert sum(len(span.data) for span in seen.spans) == max(one.size for one in LAYOUTS.values())
    edge = [(e["offset"], e["address"]) for e in together["edges"] if e["page"]]
    assert edge == [(here, 0x3000)]


@pytest.mark.parametrize(("here", "there"), [(49, 0), (48, 0), (47, 1), (1, 47)])
def test_the_second_page_is_read_for_what_the_first_does_not_hold(image_of, here, there):
    image = image_of((0x2000 - here, bytes(here)), (0x3000, bytes(64)))
    seen = excerpt(image, 0x2000 - here, 0x3000)
    first = (0x2000 - here, min(here, 48))
    second = (0x3000, there)
    assert [(one.address, len(one.data)) for one in seen.spans] == [first, second][
        : 1 + bool(there)
    ]


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (0, "a test: 44 bytes at 0x1000 wanted, but 0x1000 is not in it (it holds no memory)"),
        (1, "a test: 1 of 48 bytes at 0x1000: 47 are missing at its end"),
        (43, "a test: 43 of 48 bytes at 0x1000: 5 are missing at its end"),
    ],
)
def test_an_area_whose_end_is_missing_says_how_much(image_of, size, said):
    image = image_of(*[(0x1000, bytes(size))] * bool(size))
    with pytest.raises(WitnessError) as caught:
        excerpt(image, 0x1000)
    how = " (compat has 44: --abi compat)" * bool(size)
    assert str(caught.value) == said + how
    assert len(excerpt(image_of((0x1000, bytes(44))), 0x1000).data) == 44


@pytest.mark.parametrize(("size", "fits"), [(44, ["compat"]), (47, ["compat"]), (48, [*LAYOUTS])])
def test_an_area_is_read_as_what_its_bytes_suffice_for(window_of, size, fits):
    for abi, layout in LAYOUTS.items():
        if abi in fits:
            assert read_as(layout, window_of(bytes(size))).data == bytes(layout.size)
            continue
        with pytest.raises(WitnessError, match=f"^{size} bytes at 0x1000: native needs 48$"):
            read_as(layout, window_of(bytes(size)))


def test_a_second_page_must_hold_at_least_the_rest_of_compat(image_of):
    def read(size):
        return excerpt(image_of((0x1FF0, bytes(16)), (0x3000, bytes(size))), 0x1FF0, 0x3000)

    assert len(read(28).data) == 44
    with pytest.raises(WitnessError, match="the second page holds 27 bytes, too few"):
        read(27)
    said = "32 bytes at 0x3000 wanted, but 0x3000 is not in it"
    with pytest.raises(WitnessError, match=f"^a test: {said}"):
        read(0)
    pages = image_of((0x1000, bytes(0x3000)))
    other = image_of((0, bytes(0x3000)))._replace(source="other")
    with pytest.raises(WitnessError, match=f"^other: {said}"):
        excerpt(pages, 0x1FF0, 0x3000, other)


@pytest.mark.parametrize(("abi", "offset"), SPLITS)
def test_the_page_edge_is_ruled_where_it_falls(run, tmp_path, abi, offset):
    layout = LAYOUTS[abi]
    path = tmp_path / "image"
    path.write_bytes(b"\xaa" * offset + bytes(range(layout.size)) + bytes(100))
    _, out, _ = run(path, "--at", offset, "--abi", abi)
    before, rule, after = out.partition("===== page ends: ")
    assert rule
    here = 4096 - offset
    assert after.startswith(f"{here} bytes in it, {layout.size - here} in the next, 0x1000")
    cells = re.compile(r"^0x[0-9a-f]{8}  \+0x[0-9a-f]{2} (.{24,26})", re.M)
    shown = [[int(b, 16) for b in re.findall("[0-9a-f]{2}", row)] for row in cells.findall(before)]
    assert list(itertools.chain(*shown)) == list(range(here))
    shown = [[int(b, 16) for b in re.findall("[0-9a-f]{2}", row)] for row in cells.findall(after)]
    assert list(itertools.chain(*shown)) == list(range(here, layout.size))


def test_what_is_wrong_ends_with_1(run, tmp_path):
    path = tmp_path / "wrong"
    path.write_bytes(struct.pack("<II5Q", 7, 0, 100, 30, 30, 30, 10))
    code, out, _ = run(path, "--abi", "native")
    assert (code, "wrong      state is 0x7" in out) == (1, True)
    # What Linux makes of it comes first.
    assert out.index("steal      runnable") < out.index("+0x00")


def test_what_cannot_be_told_ends_with_3_and_shows_both_readings(run, pages):
    page = pages / "xen417_busy_d1_cpu0.page.bin"
    code, out, err = run(page, "--at", "0xba4")
    assert (code, out.count("bytes, little-endian")) == (3, 2)
    assert "native at 0xba0 reads the same" in err
    _, out, _ = run(page, "--at", "0xba4", "--json")
    seen = json.loads(out)
    assert seen["abi"] is None
    assert [(r["abi"], r["address"]) for r in seen["readings"]] == [
        ("native", 0xBA0),
        ("compat", 0xBA4),
    ]


def test_two_dumps_show_growth_shares_and_the_constant(run, pages):
    new, old = (pages / f"xen417_busy_d{n}_cpu0.page.bin" for n in (2, 1))
    code, out, _ = run(new, "--at", "0xba0", "--before", old)
    assert code == 0
    assert "entry time +1,500,004,762 ns  00:00:01.5" in out
    assert re.search(r"time\[0\] running +\+750,005,770 ns  750 ms +50.0% #{15}\n", out)
    assert "entry time - sum is constant: 886.1 ms, as on Xen" in out
    seen = value(run(new, "--at", "0xba0", "--before", old, "--json"))[1]
    assert seen["before"]["delta"]["time"] == [750_005_770, 749_998_992, 0, 0]
    assert sum(seen["before"]["share"]) == pytest.approx(1)


def test_dumps_in_the_wrong_order_are_noticed(run, pages):
    new, old = (pages / f"xen417_busy_d{n}_cpu0.page.bin" for n in (2, 1))
    code, out, _ = run(old, "--at", "0xba0", "--before", new)
    assert (code, "are the dumps in order?" in out) == (1, True)
    assert "backwards" in out


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["{core}"], "say where: --gpa"),
        (["{core}", "--at", "5"], "--raw --at OFFSET"),
        (["{core}", "--gpa", "5", "--at", "5"], "give one"),
        (["{core}", "--gpa", "0x1ffffffffffffffff"], "not a 64-bit number"),
        (["{core}", "--gpa", "-1"], "not a 64-bit number"),
        (["{core}", "--watch", "1"], "--watch needs --qmp"),
        (["--qmp", "x"], "--qmp needs --gpa"),
        (["--qmp", "x", "--gpa", "0", "--watch", "-1"], "are seconds"),
        (["--qmp", "x", "--gpa", "0", "--watch", "1", "--interval", "0"], "are seconds"),
        (["{core}", "--drgn"], "--drgn needs --gpa"),
        (["{core}", "--percpu", "--gpa", "0"], "finds the addresses itself"),
        (["--pages-view", "text"], "needs --abi"),
        (["{core}", "--gpa", "0", "--second-page", "nocolon"], "FILE:OFFSET wanted"),
        (["{core}", "--pages", "1"], "two addresses"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_right(run, pages, argv, said):
    code, out, err = run(*(a.format(core=pages / "xen417_busy.elfcore") for a in argv))
    assert (code, out) == (2, "")
    assert said in err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["{core}", "--gpa", "0x1000"], "0x1000 is not in it"),
        (["{core}", "--gpa", "0xffffffffffffffff"], "is not in it"),
        (["{core}", "--raw", "--at", "0x8000000000000000"], "is not in it"),
        (["/nonexistent"], "No such file"),
        (["/"], "Is a directory"),
        (["{core}", "--gpa", "0x175f4ba0", "-o", "/nonexistent/x"], "No such file"),
    ],
)
def test_memory_that_is_not_there_ends_with_3_and_one_line(run, pages, argv, said):
    code, out, err = run(*(a.format(core=pages / "xen417_busy.elfcore") for a in argv))
    assert (code, out, err.count("\n")) == (3, "", 1)
    assert said in err


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    """A script that is the command: what is installed may not be on this PATH."""
    path = tmp_path_factory.mktemp("bin") / "runstate"
    path.write_text(f"#!{sys.executable}\nfrom runstate_abi.tools.cli import run\nrun()\n")
    path.chmod(0o755)
    return str(path)


def test_text_on_standard_input_is_understood(program, pages):
    page = (pages / "xen417_busy_d1_cpu0.page.bin").read_bytes()
    lines = (
        f"{at:08x}: {page[at : at + 16].hex(' ', 2)}  ................"
        for at in range(0xB80, 0xC00, 16)
    )
    done = subprocess.run(
        [program, "hexdump", "--at", "0xba0", "--json"],
        input="\n".join(lines).encode(),
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["fields"]["state_entry_time"] == 30_300_450_388


def test_a_pipe_that_is_closed_is_no_trouble(program, pages):
    core = str(pages / "xen417_busy.elfcore")
    shell = f"{program} hexdump {core} --gpa {GPA} | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1


@pytest.mark.host64
def test_a_terabyte_with_a_hole_is_read_at_its_end_in_a_moment(run, tmp_path):
    path = tmp_path / "sparse"
    area = struct.pack("<II5Q", 0, 0, 100, 30, 30, 30, 10)
    with path.open("wb") as file:
        file.truncate(1 << 40)
        file.seek((1 << 40) - len(area))
        file.write(area)
    code, seen = value(run(path, "--at", hex((1 << 40) - 48), "--abi", "native", "--json"))
    assert (code, seen["fields"]["state_entry_time"]) == (0, 100)


def test_a_gigabyte_of_one_line_takes_no_memory_to_speak_of(program, tmp_path):
    path = tmp_path / "line"
    with path.open("wb") as file:
        file.write(b"00000000: 4141 4141 4141 ")
        file.truncate(1 << 30)
    limited = f"ulimit -v {3 << 20}; ulimit -t 5; exec {program} hexdump {path} --at 0"
    done = subprocess.run(["bash", "-c", limited], capture_output=True, text=True, timeout=20)
    assert done.returncode in (0, 1, 3)
    assert "Traceback" not in done.stderr


@settings(max_examples=150, deadline=10_000)
@given(st.binary(max_size=300), st.integers(0, 1 << 64), st.booleans())
def test_random_bytes_end_in_an_exit_code_and_at_most_one_line(tmp_path_factory, data, at, head):
    path = tmp_path_factory.getbasetemp() / "random"
    path.write_bytes((b"\x7fELF\2\1\1" if head else b"") + data)
    errors, out = path.with_suffix(".err"), path.with_suffix(".out")
    with errors.open("w") as err, out.open("w") as told:
        saved, sys.stdout, sys.stderr = (sys.stdout, sys.stderr), told, err
        try:
            code = cli.main(["hexdump", str(path), "--gpa", str(min(at, (1 << 64) - 1))])
        finally:
            sys.stdout, sys.stderr = saved
    assert code in (0, 1, 3)
    assert errors.read_text().count("\n") <= 1
    assert "internal error" not in errors.read_text()


def test_the_view_of_the_pages_needs_no_memory(run):
    code, out, _ = run("--pages-view", "text", "--abi", "compat", "--at", "0xfec")
    assert code == 0
    assert "20 in the first page, 24 in the second" in out
    assert "update byte +0x0b at 0xff7" in out


def test_the_picture_goes_into_a_file(run, tmp_path):
    path = tmp_path / "split.svg"
    argv = ("--pages-view", "svg", "--abi", "native", "--at", "0xff1", "-o", path)
    assert run(*argv) == (0, "", "")
    assert path.read_text().startswith("<svg ")


def test_the_view_of_the_pages_is_json_too(run):
    _, seen = value(run("--pages-view", "text", "--abi", "native", "--at", "0xff1", "--json"))
    assert [page["size"] for page in seen["pages"]] == [15, 33]
    assert [page["update_byte"] for page in seen["pages"]] == [None, 0x1000]


def test_nothing_heavy_is_loaded_where_there_is_no_colour(pages):
    code = (
        "import sys; from runstate_abi.tools import cli;"
        f"cli.main(['hexdump', {str(pages / 'xen417_busy.elfcore')!r}, '--gpa', '{GPA}']);"
        "print(*[m for m in sys.modules if m in ('rich', 'numpy', 'drgn', 'qemu', 'asyncio')],"
        "file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
    )
    assert done.stderr.strip() == ""
