import contextlib
import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools.memory import elfcore
from runstate_abi.tools.memory.image import available, read

PAGE = 4096


def core(segments, elf_class=64, machine=62, kind=4, phnum=None, sections=()):
    """Make an ELF core: segments are (paddr, data, memsz); headers first, then the data."""
    wide = elf_class == 64
    header, entry = (64, 56) if wide else (52, 32)
    offset = header + entry * len(segments)
    table, body = b"", b""
    for paddr, data, memsz in segments:
        place = offset + len(body)
        fields = (place, 0, paddr, len(data), memsz)
        table += (
            struct.pack("<II5QQ", 1, 0, *fields, 0)
            if wide
            else struct.pack("<I5III", 1, *fields, 0, 0)
        )
        body += data
    count = len(segments) if phnum is None else phnum
    form = "<HHIQQQIHHHHHH" if wide else "<HHIIIIIHHHHHH"
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1, 1]) + bytes(9)
    rest = struct.pack(form, kind, machine, 1, 0, header, 0, 0, header, entry, count, 0, 0, 0)
    return ident + rest + table + body


def image(data):
    return elfcore.image(memoryview(data), "core")


@pytest.mark.parametrize(("elf_class", "machine", "abi"), [(64, 62, "x86_64"), (32, 3, "i386")])
def test_memory_is_found_by_its_physical_address(elf_class, machine, abi):
    seen = image(core([(0x5000, b"abcd", 4), (0x9000, b"efgh", 4)], elf_class, machine))
    assert (read(seen, 0x9001, 2), seen.machine) == (b"fg", abi)


def test_a_real_core_of_qemu_holds_the_page_that_was_dumped(data):
    seen = image((data / "pages" / "xen417_busy.elfcore").read_bytes())
    assert [(p.address, p.size) for p in seen.pieces] == [(0x175F4000, PAGE)]


def test_the_real_core_and_the_real_page_of_one_moment_are_equal(data):
    seen = image((data / "pages" / "xen417_inflight.elfcore").read_bytes())
    page = (data / "pages" / "xen417_inflight_cpu0.page.bin").read_bytes()
    assert read(seen, 0x175F4000, PAGE) == page


def test_memory_that_a_header_promises_and_the_file_lacks_is_a_hole():
    seen = image(core([(0x5000, b"abcd", 0x1000)]))
    assert available(seen, 0x5000, 100) == b"abcd"
    assert "0xffc bytes of memory were not dumped" in seen.notes[0]


def xen_core(pages, section=".xen_pfn"):
    """Make what libxc's dump-core makes: no program headers; pages are (frame, 4096 bytes)."""
    names = b"\0.shstrtab\0.xen_pages\0.xen_pfn\0.xen_p2m\0"
    body = b"".join(data for _, data in pages)
    pair = "<QQ" if section == ".xen_p2m" else "<Q"
    frames = b"".join(
        struct.pack(pair, *((pfn, pfn + 7) if section == ".xen_p2m" else (pfn,)))
        for pfn, _ in pages
    )
    parts = [(b"", 0), (names, 3), (body, 1), (frames, 1)]
    offset, headers, blob = 64 + 64 * 4, b"", b""
    for (data, kind), name in zip(
        parts, (b"", b".shstrtab", b".xen_pages", section.encode()), strict=True
    ):
        place = names.index(name + b"\0") if name else 0
        row = (place, kind, 0, 0, offset + len(blob) if kind else 0, len(data), 0, 0, 1, 0)
        headers += struct.pack("<IIQQQQIIQQ", *row)
        blob += data
    ident = b"\x7fELF\2\1\1" + bytes(9)
    rest = struct.pack("<HHIQQQIHHHHHH", 4, 62, 1, 0, 0, 64, 0, 64, 0, 0, 64, 4, 1)
    return ident + rest + headers + blob


@pytest.mark.parametrize("section", [".xen_pfn", ".xen_p2m"])
def test_pages_of_a_xen_dump_lie_at_their_frames(section):
    pages = [(9, b"9" * PAGE), (3, b"3" * PAGE), (4, b"4" * PAGE)]
    seen = image(xen_core(pages, section))
    assert read(seen, 0x3FFE, 4) == b"3344"
    assert read(seen, 0x9000, 1) == b"9"
    assert (len(seen.pieces), seen.kind) == (2, "Xen dump-core")


def test_a_page_without_a_frame_is_left_out_and_said():
    seen = image(xen_core([(3, b"3" * PAGE), ((1 << 64) - 1, b"x" * PAGE)]))
    assert seen.size == PAGE
    assert "1 of its pages" in seen.notes[0]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x7fELF", "no known class"),
        (core([])[:40], "not a whole ELF header"),
        (core([(0, b"a", 1)], kind=2), "no memory dump"),
        (core([(0, b"a", 1)], phnum=3000), "truncated: the program headers"),
        (core([(0, b"", 1)]), "no PT_LOAD"),
        (core([((1 << 64) - 1, b"ab", 2)]), "beyond 2\\^64"),
        (core([]), "neither program headers nor a section .xen_pages"),
        (core([(0, b"a", 1)], phnum=0xFFFF), "no section 0"),
    ],
)
def test_a_core_that_lies_is_refused_in_one_line(data, said):
    with pytest.raises(WitnessError, match=said) as caught:
        image(data)
    assert "\n" not in str(caught.value)


def test_a_size_that_reaches_beyond_the_file_gives_what_the_file_has():
    data = bytearray(core([(0x1000, b"abcd", 4)]))
    struct.pack_into("<Q", data, 64 + 32, 1 << 62)  # p_filesz
    assert available(image(bytes(data)), 0x1000, 10) == b"abcd"


WHOLE = [core([(0x1000, b"abcd" * 30, 120)]), xen_core([(1, bytes(PAGE)), (2, bytes(PAGE))])]
DAMAGE = st.lists(st.tuples(st.integers(4, 400), st.integers(0, 255)), max_size=12)


@given(st.sampled_from(WHOLE), st.integers(4, 2 * PAGE), DAMAGE)
def test_a_damaged_core_is_read_or_refused_and_nothing_else(whole, length, damage):
    data = bytearray(whole[:length])
    for place, value in damage:
        if place < len(data):
            data[place] = value
    with contextlib.suppress(WitnessError):
        available(image(bytes(data)), 0x1000, 48)


def test_headers_by_the_thousand_in_random_order_are_read_in_a_moment():
    places = list(range(1, 5001))
    random.Random(1).shuffle(places)
    seen = image(core([(place * 0x2000, bytes([place % 256]) * 8, 8) for place in places]))
    assert read(seen, 4321 * 0x2000, 1)[0] == 4321 % 256
