"""The section finder: right on what compilers make, and never more than an error on the rest."""

import struct
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runstate_abi.layouts.abi import ABI
from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.witnesses import elf

NOTE = struct.pack("<III", 4, 4, 3) + b"GNU\0" + b"\xde\xad\xbe\xef"
OTHER_NOTE = struct.pack("<III", 6, 3, 1) + b"Linux\0\0\0" + b"abc\0"

# fmt: off
COMPILERS = (
    #  command                       class  machine  ABI
    ("gcc -m64",                     64,    62,      "x86_64"),
    ("gcc -m32",                     32,    3,       "i386"),
    ("gcc -mx32",                    32,    62,      "x32"),
    ("aarch64-linux-gnu-gcc",        64,    183,     "arm64"),
    ("arm-linux-gnueabihf-gcc",      32,    40,      "arm32"),
    ("clang --target=riscv64-linux", 64,    243,     "riscv64"),
)
# fmt: on


@pytest.fixture
def compiled(tmp_path, installed):
    """Return a function (command, source, *options) -> the bytes of an object."""

    def compile_(command, source, *options):
        installed(command)
        (tmp_path / "unit.c").write_text(source)
        words = [*command.split(), "-c", *options, "-o", tmp_path / "unit.o", tmp_path / "unit.c"]
        subprocess.run(words, check=True)
        return (tmp_path / "unit.o").read_bytes()

    return compile_


ROWS = [
    pytest.param(*row, marks=pytest.mark.x86 if "gcc -m" in row[0] else ()) for row in COMPILERS
]


@pytest.mark.parametrize(("command", "elf_class", "machine", "abi"), ROWS)
def test_an_object_tells_its_class_machine_and_abi(compiled, command, elf_class, machine, abi):
    seen = elf.parse(compiled(command, "int x;"), "unit.o")
    assert (seen.elf_class, seen.machine, seen.abi) == (elf_class, machine, ABI[abi])


def test_a_section_of_an_object_has_the_bytes_that_were_put_there(compiled):
    source = '__attribute__((section("mine"))) const char text[] = "runstate";'
    seen = elf.parse(compiled("gcc", source), "unit.o")
    assert bytes(seen.section("mine")) == b"runstate\0"


@pytest.mark.needs("readelf")
def test_every_section_is_where_readelf_says(tmp_path, compiled):
    data = compiled("gcc", "int a = 1; int f(void) { return a; }", "-g")
    listed = subprocess.run(
        ["readelf", "-SW", tmp_path / "unit.o"], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.replace("[ ", "[").split() for line in listed.splitlines() if "] ." in line]
    seen = elf.parse(data, "unit.o")
    assert len(rows) > 10
    for _, name, kind, _, offset, size, *_ in rows:
        # .group sections and their like may share a name; NOBITS has no bytes.
        if kind != "NOBITS" and [row[1] for row in rows].count(name) == 1:
            start = int(offset, 16)
            assert bytes(seen.section(name)) == data[start : start + int(size, 16)], name


@pytest.mark.parametrize("elf_class", [32, 64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_both_classes_and_both_byte_orders_are_read(make_elf, elf_class, order):
    data = make_elf({"a": b"first", "b": b"second"}, elf_class, order, machine=22)
    seen = elf.parse(data, "file")
    assert (seen.elf_class, seen.machine, bytes(seen.section("b"))) == (elf_class, 22, b"second")
    assert seen.byteorder == {"<": "little", ">": "big"}[order]


def test_a_machine_that_no_abi_has_is_no_abi(make_elf):
    assert elf.parse(make_elf({}, machine=22), "file").abi is None


def test_a_section_that_is_not_there_is_none(make_elf):
    seen = elf.parse(make_elf({".BTF_ids": b"x"}), "file")
    assert seen.section(".BTF") is None
    assert not seen.has(".BTF")


def test_the_end_of_a_name_is_not_the_name(make_elf):
    seen = elf.parse(make_elf({".rela.text": b"r", "x": b"y"}), "file")
    assert seen.section(".text") is None


def test_a_section_left_behind_in_separate_debug_info_is_none(make_elf):
    seen = elf.parse(make_elf({".BTF": b"gone"}, types={".BTF": elf.SHT_NOBITS}), "file")
    assert seen.has(".BTF")
    assert seen.section(".BTF") is None


def test_a_name_that_two_sections_have_is_refused(make_elf):
    data = make_elf({"one": b"1", "two": b"2"}).replace(b"two", b"one")
    with pytest.raises(WitnessError, match="2 sections are called one"):
        elf.parse(data, "file").section("one")


def test_a_compressed_section_is_refused(make_elf):
    data = make_elf({".BTF": b"zzz"}, flags={".BTF": elf.SHF_COMPRESSED})
    with pytest.raises(WitnessError, match=r"file: section .BTF is compressed"):
        elf.parse(data, "file").section(".BTF")


def test_a_file_without_sections_has_none(make_elf):
    data = bytearray(make_elf({}))
    data[0x28:0x30] = bytes(8)  # e_shoff
    assert elf.parse(data, "file").section(".BTF") is None


@pytest.mark.parametrize("name", [".note.gnu.build-id", ".notes"])
def test_the_build_id_is_found_behind_other_notes(make_elf, name):
    seen = elf.parse(make_elf({name: OTHER_NOTE + NOTE}), "file")
    assert elf.build_id(seen) == "deadbeef"


def test_another_note_is_no_build_id(make_elf):
    assert elf.build_id(elf.parse(make_elf({".notes": OTHER_NOTE}), "file")) is None


@pytest.mark.needs("readelf")
def test_the_build_id_is_what_readelf_says(tmp_path, compiled):
    compiled("gcc", "int main(void) { return 0; }")
    out = tmp_path / "unit"
    command = ["gcc", "-Wl,--build-id", "-o", out, tmp_path / "unit.o"]
    subprocess.run(command, check=True)
    said = subprocess.run(["readelf", "-n", out], capture_output=True, text=True, check=True).stdout
    seen = elf.parse(out.read_bytes(), "unit")
    assert elf.build_id(seen) == said.split("Build ID: ")[1].split()[0]


# fmt: off
LIES = (
    #  what                      where  bytes                 the error says
    ("not ELF",                  0,     b"\x7fELG",           "not an ELF file"),
    ("no class",                 4,     b"\x03",              "no known class"),
    ("no byte order",            5,     b"\x00",              "no known class or byte order"),
    ("table behind the end",     0x28,  b"\xff\xff",          "truncated: the section table"),
    ("table far behind the end", 0x28,  b"\xff" * 8,          "truncated: the section table"),
    ("rows of no size",          0x3a,  b"\x00\x00",          "sections of 0 bytes each"),
    ("rows of another size",     0x3a,  b"\x28\x00",          "sections of 40 bytes each"),
    ("no rows",                  0x3c,  b"\x00\x00",          "0 sections"),
    ("too many rows",            0x3c,  b"\xff\xff",          "truncated: the section table"),
    ("names in no section",      0x3e,  b"\x09\x00",          "section 9 has no names"),
    ("names in section 0",       0x3e,  b"\x00\x00",          "section 0 has no names"),
)
# fmt: on


@pytest.mark.parametrize(("at", "lie", "message"), [row[1:] for row in LIES])
def test_a_header_that_lies_is_refused(make_elf, at, lie, message):
    data = bytearray(make_elf({".BTF": b"btf"}))
    data[at : at + len(lie)] = lie
    with pytest.raises(WitnessError, match=f"^file: .*{message}"):
        elf.parse(data, "file")


def test_a_section_behind_the_end_of_the_file_is_refused(make_elf):
    data = bytearray(make_elf({".BTF": b"btf"}))
    data[-2 * 64 + 0x20 : -2 * 64 + 0x28] = struct.pack("<Q", len(data))  # .BTF's sh_size
    with pytest.raises(WitnessError, match="truncated: section 1 ends at"):
        elf.parse(data, "file")


def test_an_elf_file_cut_anywhere_is_refused_or_has_its_section(make_elf):
    data = make_elf({".BTF": b"btf"})
    for size in range(len(data)):
        with pytest.raises(WitnessError):
            elf.parse(data[:size], "file")


@settings(max_examples=300, deadline=10_000)
@given(
    elf_class=st.sampled_from([32, 64]),
    order=st.sampled_from("<>"),
    changes=st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 255)), max_size=6),
)
def test_mutated_elf_raises_nothing_but_witness_errors(make_elf, elf_class, order, changes):
    sections = {".BTF": b"btf", ".notes": OTHER_NOTE + NOTE}
    mutated = bytearray(make_elf(sections, elf_class, order))
    for at, value in changes:
        mutated[at % len(mutated)] = value
    assert complaint(mutated).isprintable()


def complaint(data):
    """Return what a WitnessError says, if there is one; any other exception is the test's."""
    try:
        seen = elf.parse(data, "file")
        elf.build_id(seen)
        for name in (".BTF", ".notes", ".shstrtab"):
            seen.section(name)
    except WitnessError as error:
        return str(error)
    return "read"
