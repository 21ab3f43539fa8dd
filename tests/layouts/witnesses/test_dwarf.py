"""DWARF of every sort that compilers and kernels make, read by drgn; and what is said without."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runstate_abi.layouts.abi import ABI
from runstate_abi.layouts.model import WitnessError, differences
from runstate_abi.layouts.runstate import RUNSTATE_STRUCTS, claim
from runstate_abi.layouts.witnesses import dwarf

TEXT = """
typedef unsigned long long u64;
struct vcpu_runstate_info { int state; u64 state_entry_time; u64 time[4]; };
struct compat_vcpu_runstate_info { int state; u64 state_entry_time; u64 time[4]; }
    __attribute__((packed));
struct declared;
enum colour { RED = -1, GREEN };
typedef struct {
    _Bool flag; enum colour colour; void *pointer; double number; char name[2][3];
} all_t;
struct nested {
    int zeroth; struct { short first; struct { char second; char third; }; };
    struct { int x; } named; char data[];
};
struct bitfield { int a : 3; int b; };
struct choice { union { int x; u64 y; }; };
struct vcpu_runstate_info native; struct compat_vcpu_runstate_info compat;
typedef struct declared declared_t; declared_t *other;
struct declared *pointer; all_t all; struct nested nested; struct bitfield b; struct choice c;
"""
# What makes DWARF: versions, compressions, and the targets that clang has without any package.
COMMANDS = {
    "gcc, DWARF 4": ("gcc -gdwarf-4 -c", "x86_64"),
    "gcc, DWARF 5": ("gcc -gdwarf-5 -c", "x86_64"),
    "gcc, DWARF 5 of 64 bits": ("gcc -gdwarf-5 -gdwarf64 -c", "x86_64"),
    "gcc, i386": ("gcc -m32 -g -c", "i386"),
    "gcc, linked": ("gcc -g -shared -nostdlib", "x86_64"),
    "gcc, linked and compressed": ("gcc -g -gz -shared -nostdlib", "x86_64"),
    "clang, DWARF 4": ("clang -gdwarf-4 -c", "x86_64"),
    "clang, DWARF 5": ("clang -gdwarf-5 -c", "x86_64"),
    "clang, arm32": ("clang --target=armv7-linux-gnueabihf -g -c", "arm32"),
    "clang, arm64": ("clang --target=aarch64-linux-gnu -g -c", "arm64"),
}


@pytest.fixture
def built(tmp_path):
    """Return a function that compiles TEXT: (command, file name) -> path."""

    def build(command, name="file.o", text=TEXT):
        compiler, *flags = command.split()
        if shutil.which(compiler) is None:
            pytest.skip(f"{compiler}: not installed")
        source = tmp_path / "source.c"
        source.write_text(text)
        subprocess.run([compiler, *flags, source, "-o", tmp_path / name], check=True, cwd=tmp_path)
        return str(tmp_path / name)

    return build


def observed(path, names=RUNSTATE_STRUCTS, abi="x86_64"):
    source = dwarf.opened(path)
    assert source, "no DWARF"
    return dwarf.observe(dwarf.read(source), names, ABI[abi])


@pytest.mark.parametrize("case", COMMANDS)
def test_both_structs_are_read(built, case):
    command, abi = COMMANDS[case]
    path = built(command)
    assert dwarf.opened(path).file.abi == ABI[abi]
    seen = observed(path, abi=abi)
    assert [layout.name for layout in seen.found] == list(RUNSTATE_STRUCTS)
    for layout in seen.found:
        expected = claim(layout.name, abi)
        assert [r[:2] for r in layout.rows] == [r[:2] for r in expected.rows]
        assert layout.size == expected.size
        assert differences(expected, layout, "") == ()


def test_a_wrong_struct_differs(built):
    path = built("gcc -g -c", text=TEXT.replace("int state;", "unsigned state;", 1))
    (layout,) = observed(path, RUNSTATE_STRUCTS[:1]).found
    assert [d.kind for d in differences(claim(layout.name, "x86_64"), layout, "")] == [
        "signedness-mismatch"
    ]


def test_every_kind_of_member_is_read(built):
    (layout,) = observed(built("gcc -g -c"), ["all_t"]).found
    assert [(r.offset, r.declaration, r.type.size, r.type.signed) for r in layout.members] == [
        (0, "flag", 1, False),
        (4, "colour", 4, True),
        (8, "pointer", 8, None),
        (16, "number", 8, None),
        (24, "name[6]", 1, True),
    ]
    assert [r.name for r in layout.members if r.type.floating] == ["number"]


def test_members_of_an_anonymous_struct_are_the_structs_own(built):
    (layout,) = observed(built("gcc -g -c"), ["nested"]).found
    assert [(r.offset, r.name) for r in layout.members] == [
        (0, "zeroth"),
        (4, "first"),
        (6, "second"),
        (7, "third"),
        (8, "named"),
    ]


def test_a_declaration_is_not_found(built):
    names = ("declared", "declared_t", "nosuch", "not a name")
    assert observed(built("gcc -g -c"), names).missing == names


@pytest.mark.parametrize(
    ("name", "why"), [("bitfield", "a bitfield"), ("choice", "anonymous union")]
)
def test_what_a_layout_has_no_word_for_is_refused(built, name, why):
    with pytest.raises(WitnessError, match=rf"file\.o: struct {name}: .*{why}"):
        observed(built("gcc -g -c"), [name])


@pytest.mark.needs("xz")
def test_a_compressed_file_is_inflated(built, tmp_path):
    built("gcc -g -c")
    subprocess.run(["xz", tmp_path / "file.o"], check=True)
    source = dwarf.opened(str(tmp_path / "file.o.xz"))
    assert dwarf.description(source) == "ELF file (ELF64 x86-64, xz)"
    assert [x.size for x in observed(str(tmp_path / "file.o.xz")).found] == [48, 44]


def test_split_dwarf_is_read_with_its_other_half_and_missed_without(built, tmp_path, capfd):
    path = built("gcc -g -gsplit-dwarf -c")
    assert [x.size for x in observed(path).found] == [48, 44]
    (tmp_path / "file.dwo").unlink()
    with pytest.raises(WitnessError, match=r"^\S+file\.o: split DWARF file \S+ not found$"):
        observed(path)
    assert capfd.readouterr().err == ""


def test_a_file_without_dwarf_is_none(built, tmp_path):
    assert dwarf.opened(built("gcc -c")) is None
    assert dwarf.opened(str(tmp_path)) is None
    assert dwarf.opened(str(tmp_path / "nowhere")) is None
    (tmp_path / "text").write_text("text")
    assert dwarf.opened(str(tmp_path / "text")) is None


def test_dwarf_that_was_separated_leaves_none(built, tmp_path):
    path = built("gcc -g -shared -nostdlib", "lib.so")
    subprocess.run(["objcopy", "--only-keep-debug", path, tmp_path / "lib.debug"], check=True)
    subprocess.run(["objcopy", "--strip-debug", path], check=True)
    assert dwarf.opened(path) is None
    assert [x.size for x in observed(str(tmp_path / "lib.debug")).found] == [48, 44]


def test_dwarf_that_drgn_cannot_read_is_one_line(built):
    path = built("gcc -g -gz -c")  # relocatable and compressed: libelf refuses it
    with pytest.raises(WitnessError, match=r"^\S+file\.o: drgn: ") as caught:
        observed(path)
    assert "\n" not in str(caught.value)


def test_the_identity_is_the_build_id_or_the_hash(built):
    with_id = dwarf.opened(built("gcc -g -shared -nostdlib -Wl,--build-id=0xfeedface", "id.so"))
    assert dwarf.identity(with_id) == "build-id feedface"
    without = dwarf.opened(built("gcc -g -c"))
    assert dwarf.identity(without).startswith("sha256 ")


def test_a_file_with_a_build_id_is_read(built):
    path = built("gcc -g -shared -nostdlib -Wl,--build-id=0xfeedface", "id.so")
    assert [x.size for x in observed(path).found] == [48, 44]


def test_without_drgn_the_line_says_what_to_install(built, monkeypatch):
    path = built("gcc -g -c")
    monkeypatch.setitem(sys.modules, "drgn", None)
    with pytest.raises(WitnessError) as caught:
        dwarf.read(dwarf.opened(path))
    assert str(caught.value) == (f"{path}: its DWARF needs drgn: pip install 'runstate-abi[dwarf]'")


# The same changes every time: what drgn's C does with others is not for every run to find out.
@settings(
    max_examples=150,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(changes=st.lists(st.tuples(st.integers(64), st.integers(0, 255)), min_size=1, max_size=9))
def test_no_change_of_its_bytes_does_more_than_fail(built, tmp_path, changes):
    whole = tmp_path / "file.o"
    data = bytearray((whole if whole.exists() else Path(built("gcc -g -c"))).read_bytes())
    for place, value in changes:
        data[64 + place % (len(data) - 64)] = value
    path = tmp_path / "changed.o"
    path.write_bytes(data)
    try:
        source = dwarf.opened(str(path))
        seen = (
            dwarf.observe(dwarf.read(source), RUNSTATE_STRUCTS, ABI["x86_64"]) if source else None
        )
    except WitnessError as error:
        seen = str(error)
    assert "\n" not in str(seen)


@pytest.mark.network
def test_xens_own_dwarf_has_both_structs(debian):
    (path,) = debian.package("sid", "xen-hypervisor-4.20-amd64-dbg", [r"xen-syms.*"])
    seen = observed(str(path))
    assert [(x.name, x.size) for x in seen.found] == [
        ("vcpu_runstate_info", 48),
        ("compat_vcpu_runstate_info", 44),
    ]
    for layout in seen.found:
        assert differences(claim(layout.name, "x86_64"), layout, "") == ()


# Debug kernels of 300 MB, of which 80 are streamed: run by hand, with -m rarely.
RARE = {
    "i386": ("bookworm", "linux-image-686-pae-dbg", "i386", 44),
    "arm32": ("trixie", "linux-image-armmp-dbg", "armhf", 48),
}


@pytest.mark.rarely
@pytest.mark.parametrize("abi", RARE)
def test_a_32_bit_kernels_dwarf_has_the_size_of_its_abi(debian, abi):
    suite, package, architecture, size = RARE[abi]
    # A metapackage depends on the package of a version: linux-image-6.1.0-50-686-pae-dbg.
    names = debian._closure(debian._apt(suite, architecture), package)
    versioned = next(name for name in names if re.match(r"linux-image-\d+\.", name))
    (path,) = debian.package(suite, versioned, [r"vmlinux-.*"], architecture)
    assert dwarf.opened(str(path)).file.abi == ABI[abi]
    (layout,) = observed(str(path), RUNSTATE_STRUCTS[:1], abi).found
    assert layout.size == size
    assert differences(claim(layout.name, abi), layout, "") == ()
