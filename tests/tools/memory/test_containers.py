"""Files that hold memory in a form of their own: read at the right address, or refused by name."""

import bz2
import gzip
import itertools
import lzma
import os
import struct
import tracemalloc

import pytest

from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.witnesses import compressed
from runstate_abi.tools import cli
from runstate_abi.tools.memory import containers, sources
from runstate_abi.tools.memory.image import read

ENTRY = 1_000_000_000_000
TIMES = (400_123_456_789, 100_000_000_011, 479_876_543_211, 19_999_999_989)
AREA = struct.pack("<IIQ4Q", 0, 0, ENTRY, *TIMES)
PAGE = bytes(0xBA0) + AREA + bytes(0x1000 - 0xBA0 - len(AREA))
MAGICS = [known.magic for known in containers.CONTAINERS]


def lime(*ranges):
    """A LiME dump of (address, bytes) ranges."""
    return b"".join(
        struct.pack("<IIQQQ", 0x4C694D45, 1, start, start + len(data) - 1, 0) + data
        for start, data in ranges
    )


def core(*segments, process=False):
    """An ELF core of (address, bytes) segments; a process has virtual addresses alone."""
    place = 64 + 56 * len(segments)
    head = b"\x7fELF\2\1\1" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 4, 62, 1, 0, 64, 0, 0, 64, 56, len(segments), 0, 0, 0)
    for address, data in segments:
        where = (address, 0) if process else (0, address)
        head += struct.pack("<IIQQQQQQ", 1, 7, place, *where, len(data), len(data), 0)
        place += len(data)
    return head + b"".join(data for _, data in segments)


@pytest.fixture
def opened(tmp_path):
    def made(content):
        (tmp_path / "x").write_bytes(content)
        return sources.opened(str(tmp_path / "x"))

    return made


@pytest.fixture
def told(tmp_path, capsys):
    def run(verb, content, *options):
        (tmp_path / "x").write_bytes(content)
        code = cli.main([verb, str(tmp_path / "x"), *options])
        return (code, *capsys.readouterr())

    return run


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_lime_is_read_range_by_range_in_any_order(order, opened):
    parts = [(0x1000, b"a" * 4096), (0x10_0000, PAGE), (0x1_0000_0000, PAGE + b"z")]
    seen = opened(lime(*(parts[number] for number in order)))
    assert read(seen, 0x10_0BA0, 48) == read(seen, 0x1_0000_0BA0, 48) == AREA
    assert seen.size == 4096 * 3 + 1


def test_find_and_hexdump_give_the_physical_address_of_lime(told):
    code, out, _ = told("find", lime((0x10_0000, PAGE)))
    assert (code, "0x0000100ba0" in out, "--gpa 0x100ba0" in out) == (0, True, True)
    assert told("hexdump", lime((0x10_0000, PAGE)), "--gpa", "0x100ba0")[0] == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lime((0x1000, PAGE))[:20], "ends inside a header at 0x0"),
        (lime((0x1000, PAGE)) + b"EMiL", "ends inside a header at 0x1020"),
        (lime((0x1000, PAGE)) + bytes(32), "no header of version 1 at 0x1020"),
        (lime((0x1000, PAGE)).replace(b"EMiL\1", b"EMiL\2"), "no header of version 1"),
        (struct.pack("<IIQQQ", 0x4C694D45, 1, 9, 8, 0), "no header of version 1"),
        (lime((0x1000, PAGE))[:32], "no range has any bytes"),
        (lime(*[(1, b"x")] * (containers.RANGES_MOST + 1)), "more than"),
    ],
)
def test_a_lime_dump_that_is_none_is_refused(content, said, told):
    code, out, err = told("find", content)
    assert (code, out) == (3, "")
    assert said in err


def test_a_truncated_dump_says_so_with_and_without_candidates(told):
    for make in (lime, core):
        whole = make((0x1000, PAGE * 2))
        code, _, err = told("find", whole[:-2000])
        assert (code, "truncated: 0x7d0 bytes" in err) == (0, True)
        code, _, err = told("find", make((0x1000, bytes(9000)))[:-2000])
        assert (code, "a part of it is missing" in err) == (3, True)


def test_a_process_core_is_searched_by_virtual_address(told):
    content = core((0x7F00_0000_0000, bytes(4096)), (0x7F00_0010_1000, PAGE), process=True)
    code, out, err = told("find", content)
    assert (code, "0x7f0000101ba0" in out, "addresses are virtual" in err) == (0, True, True)
    assert told("hexdump", content, "--gpa", "0x7f0000101ba0")[0] == 0


@pytest.mark.parametrize("number", range(len(MAGICS)))
@pytest.mark.parametrize("verb", ["find", "hexdump"])
def test_a_container_is_named_and_never_taken_for_raw_memory(number, verb, told):
    known = containers.CONTAINERS[number]
    content = bytes(known.offset) + known.magic + PAGE + PAGE
    code, out, err = told(verb, content, *(["--at", "0"] if verb == "hexdump" else []))
    assert (code, out) == (3, "")
    assert f"this is {known.name}" in err
    assert told("find", content, "--raw")[0] == 0


def zstd(data):
    return pytest.importorskip("zstandard").ZstdCompressor().compress(data)


def lz4(data):
    return pytest.importorskip("lz4.frame").compress(data)


WAYS = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
    "zstd": zstd,
    "lz4": lz4,
}


@pytest.mark.parametrize("pack", list(WAYS.values()), ids=WAYS)
@pytest.mark.parametrize("make", [lime, core])
def test_a_compressed_dump_is_read_as_what_it_is(pack, make, told, opened):
    whole = make((0x2000, PAGE), (0x9000, os.urandom(3 << 20)))
    assert read(opened(pack(whole)), 0x2BA0, 48) == AREA
    code, out, _ = told("find", pack(whole))
    assert (code, "--gpa 0x2ba0" in out) == (0, True)
    # Several streams behind one another are one, as pigz and pixz write them.
    assert read(opened(pack(whole[:999]) + pack(whole[999:])), 0x2BA0, 48) == AREA


@pytest.mark.parametrize("pack", list(WAYS.values()), ids=WAYS)
@pytest.mark.parametrize("lost", [1, 5, 100])
def test_a_compressed_dump_that_ends_early_is_refused(pack, lost, told):
    code, out, err = told("find", pack(core((0x2000, PAGE + os.urandom(5000))))[:-lost])
    assert (code, out) == (3, "")
    assert "truncated" in err or "corrupt" in err


@pytest.mark.parametrize("pack", list(WAYS.values()), ids=WAYS)
def test_a_compressed_paste_is_read_too(pack, opened):
    assert read(opened(pack(AREA.hex(" ").encode())), 0, 48) == AREA


@pytest.mark.parametrize("pack", list(WAYS.values()), ids=WAYS)
def test_what_inflates_without_end_stops_at_the_limit(pack, told, monkeypatch):
    monkeypatch.setattr(compressed, "STREAM_MAX", 4 << 20)
    bomb = pack(bytes(64 << 20))
    tracemalloc.start()
    code, _, err = told("find", bomb)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (code, "inflates to over" in err) == (3, True)
    assert most < 40 << 20


def test_a_compression_that_is_not_read_is_named(told):
    code, _, err = told("find", b"\x89LZO\0\r\n\x1a\n" + PAGE)
    assert (code, "compressed with lzo" in err) == (3, True)


def test_two_bytes_of_gzip_alone_begin_raw_memory(opened):
    assert opened(b"\x1f\x8b\0" + PAGE).kind == "raw"


def test_bytes_that_cannot_be_inflated_are_an_error_of_one_line(told):
    code, _, err = told("find", b"\x1f\x8b\x08" + os.urandom(999))
    assert (code, err.count("\n"), "gzip data" in err) == (3, 1, True)
    gzipped = b"\x1f\x8b\x08"
    with pytest.raises(WitnessError):
        containers.inflated(memoryview(gzipped), containers.compressed_by(gzipped), "x")
