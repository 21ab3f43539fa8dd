"""DWARF of every sort that compilers and kernels make."""

import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runstate_abi.layouts.abi import ABI, X86_64
from runstate_abi.layouts.model import WitnessError, differences
from runstate_abi.layouts.structs.runstate import NATIVE, RUNSTATE_STRUCTS, claim
from runstate_abi.layouts.witnesses import compressed, dwarf, elf, kernels, survey
from runstate_abi.layouts.witnesses.kernels import identity

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
    "gcc, relocatable and compressed": ("gcc -g -gz -c", "x86_64"),
    "gcc, DWARF 2": ("gcc -gdwarf-2 -gstrict-dwarf -c", "x86_64"),
    "gcc, i386, DWARF 4": ("gcc -m32 -gdwarf-4 -c", "i386"),
    "gcc, types in units of their own": (
        "gcc -g -fdebug-types-section -shared -nostdlib",
        "x86_64",
    ),
    "gcc, split, DWARF 4": ("gcc -gdwarf-4 -gsplit-dwarf -c", "x86_64"),
    "gcc, split, DWARF 5": ("gcc -gdwarf-5 -gsplit-dwarf -c", "x86_64"),
    "clang, split, DWARF 5": ("clang -gdwarf-5 -gsplit-dwarf -c", "x86_64"),
    "clang, linked": ("clang -g -shared -nostdlib", "x86_64"),
    "clang, relocatable and compressed": ("clang -g -gz -c", "x86_64"),
    "clang, riscv64": ("clang --target=riscv64-linux-gnu -g -c", "riscv64"),
    "gcc, linked and compressed": ("gcc -g -gz -shared -nostdlib", "x86_64"),
    "clang, DWARF 4": ("clang -gdwarf-4 -c", "x86_64"),
    "clang, DWARF 5": ("clang -gdwarf-5 -c", "x86_64"),
    "clang, arm32": ("clang --target=armv7-linux-gnueabihf -g -c", "arm32"),
    "clang, arm64": ("clang --target=aarch64-linux-gnu -g -c", "arm64"),
}


@pytest.fixture
def built(tmp_path, installed):
    """Return a function that compiles TEXT: (command, file name) -> path."""

    def build(command, name="file.o", text=TEXT):
        installed(command)
        compiler, *flags = command.split()
        source = tmp_path / "source.c"
        source.write_text(text)
        subprocess.run([compiler, *flags, source, "-o", tmp_path / name], check=True, cwd=tmp_path)
        return str(tmp_path / name)

    return build


def observed(path, names=RUNSTATE_STRUCTS, abi="x86_64"):
    source = dwarf.opened(path)
    assert source, "no DWARF"
    return dwarf.observe(source, names, ABI[abi])


@pytest.mark.host64
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


@pytest.mark.host64
def test_a_wrong_struct_differs(built):
    path = built("gcc -g -c", text=TEXT.replace("int state;", "unsigned state;", 1))
    (layout,) = observed(path, RUNSTATE_STRUCTS[:1]).found
    assert [d.kind for d in differences(claim(layout.name, "x86_64"), layout, "")] == [
        "signedness-mismatch"
    ]


@pytest.mark.host64
def test_every_kind_of_member_is_read(built):
    (layout,) = observed(built("gcc -g -c"), ["all_t"]).found
    assert [(r.offset, r.declaration, r.type.size, r.type.signed) for r in layout.members] == [
        (0, "flag", 1, False),
        (4, "colour", 4, True),
        (8, "pointer", 8, None),
        (16, "number", 8, None),
        (24, "name[6]", 1, True),
    ]
    assert [r.name for r in layout.members if r.type.kind == "floating"] == ["number"]


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


@pytest.mark.host64
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


@pytest.mark.host64
def test_dwarf_that_was_separated_leaves_none(built, tmp_path):
    path = built("gcc -g -shared -nostdlib", "lib.so")
    subprocess.run(["objcopy", "--only-keep-debug", path, tmp_path / "lib.debug"], check=True)
    subprocess.run(["objcopy", "--strip-debug", path], check=True)
    assert dwarf.opened(path) is None
    assert [x.size for x in observed(str(tmp_path / "lib.debug")).found] == [48, 44]


NATIVE_TEXT = """
typedef unsigned long long u64;
struct vcpu_runstate_info { int state; u64 state_entry_time; u64 time[4]; } PACKED;
struct vcpu_runstate_info VARIABLE;
"""


@pytest.mark.host64
@pytest.mark.parametrize("compiler", ["gcc -g -c", "clang -gdwarf-5 -c", "clang -gdwarf-4 -c"])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_every_definition_is_found_in_whatever_order(built, tmp_path, compiler, order):
    parts = [
        built(f"{compiler} -DVARIABLE=v{n} -DPACKED={packed}", f"{n}.o", NATIVE_TEXT)
        for n, packed in enumerate(["", "__attribute__((packed))", ""])
    ]
    whole = str(tmp_path / "whole.o")
    chosen = [parts[n] for n in order] + parts[2:]
    subprocess.run(["gcc", "-r", "-nostdlib", *chosen, "-o", whole], check=True)
    assert sorted(x.size for x in observed(whole, RUNSTATE_STRUCTS[:1]).found) == [44, 48]


# What C++ and GCC's byte orders make of the native struct, and what differs then.
# fmt: off
LANGUAGES = {
    "namespace a { namespace b { struct S { int state; u64 state_entry_time; u64 time[4]; }; } } "
    "a::b::S it;": [],
    "struct base { int state; }; struct S : base { u64 state_entry_time; u64 time[4]; }; S it;": [],
    "class S { int state; u64 state_entry_time; u64 time[4]; static int other; }; S it;": [],
    "enum class E : unsigned { A }; enum class F : u64 { B }; "
    "struct S { E state; F state_entry_time; F time[4]; }; S it;": ["signedness unsigned"],
    "struct S { int state; u64 &state_entry_time; u64 time[4]; }; extern S it; S *next = &it + 1;":
        ["type pointer"],
    "struct S { int state; u64 state_entry_time; int base_t::*time[4]; }; S it;": ["type pointer"],
    "struct S { int state; u64 state_entry_time; double time[4]; }; S it;": ["type floating"],
    "struct S { int state; u64 state_entry_time; base_t time[4]; }; S it;": ["type struct"],
    "struct S { int state; u64 state_entry_time; union { u64 ns; } time[4]; }; S it;":
        ["type union"],
}
# fmt: on


@pytest.mark.parametrize("text", LANGUAGES)
@pytest.mark.parametrize("compiler", ["g++", "clang"])
def test_a_struct_of_cplusplus_is_read(built, compiler, text):
    text = f"typedef unsigned long long u64; struct base_t {{ u64 ns; }};\n{text}"
    (layout,) = observed(built(f"{compiler} -x c++ -g -c", text=text), ["S"]).found
    claimed = claim(RUNSTATE_STRUCTS[0], "x86_64")
    seen = [
        f"{d.kind.removesuffix('-mismatch')} {d.seen}" for d in differences(claimed, layout, "")
    ]
    assert seen == LANGUAGES[text.partition("\n")[2]]


@pytest.mark.host64
def test_the_other_byte_order_is_told(built):
    text = TEXT.replace(
        "struct vcpu_runstate_info {",
        'struct __attribute__((scalar_storage_order("big-endian"))) vcpu_runstate_info {',
    )
    native, compat = observed(built("gcc -g -c", text=text)).found
    seen = [(d.member, d.seen) for d in differences(claim(native.name, "x86_64"), native, "")]
    assert seen == [(row.name, "big-endian") for row in native.members]
    assert {row.type.kind for row in compat.members} == {"integer"}


def test_a_big_endian_machines_integers_are_big_endian(built):
    for layout in observed(built("clang --target=aarch64_be-linux-gnu -g -c")).found:
        assert {row.type.kind for row in layout.members} == {"big-endian"}


def test_bytes_amid_an_entry_that_look_like_one_are_not_believed(built):
    # The name is the first string, at offset 0: four zero bytes are everywhere.
    names = observed(built("gcc -g -c", text="struct a { int b; } a;"), ["a"])
    assert [x.size for x in names.found] == [4]


def test_the_identity_is_the_build_id_or_the_hash(built):
    with_id = dwarf.opened(built("gcc -g -shared -nostdlib -Wl,--build-id=0xfeedface", "id.so"))
    assert identity(with_id.path, elf.build_id(with_id.file)) == "build-id feedface"
    without = dwarf.opened(built("gcc -g -c"))
    assert identity(without.path, elf.build_id(without.file)).startswith("sha256 ")


@pytest.mark.host64
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
        seen = dwarf.observe(source, RUNSTATE_STRUCTS, ABI["x86_64"]) if source else None
    except WitnessError as error:
        seen = str(error)
    assert "\n" not in str(seen)


@pytest.mark.needs("gcc")
def test_a_compat_struct_aligned_as_xen_does_is_right(tmp_path):
    text = "typedef unsigned long long u __attribute__((aligned(4)));\n"
    text += "struct compat_vcpu_runstate_info { int state; u state_entry_time, time[4]; } "
    (tmp_path / "a.c").write_text(text + "__attribute__((aligned(4))) a;\n")
    subprocess.run(["gcc", "-m64", "-g", "-c", "a.c", "-o", "a.o"], cwd=tmp_path, check=True)
    allowed = frozenset({"vcpu_runstate_info"})
    (finding,) = kernels.asked_of_files([str(tmp_path / "a.o")], kernels.Settings(allowed=allowed))
    assert [layout.alignment for layout in finding.found] == [4]
    assert (finding.differences, finding.compared) == ((), 14)


@pytest.mark.network
def test_xens_own_dwarf_has_both_structs(debian):
    (path,) = debian.package("sid", "xen-hypervisor-4.20-amd64-dbg", [r"xen-syms.*"])
    seen = observed(str(path))
    assert [(x.name, x.size) for x in seen.found] == [
        ("vcpu_runstate_info", 48),
        ("compat_vcpu_runstate_info", 44),
    ]
    claims = survey.claims_for(seen.found, X86_64)
    assert claims["compat_vcpu_runstate_info"].alignment == 4
    for layout in seen.found:
        assert differences(claims[layout.name], layout, "") == ()


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


def test_a_number_is_found_where_another_match_overlaps_it():
    # A table of string offsets: its length, its version 5, padding, then the offsets 0 and 7.
    table = struct.pack("<IHHII", 12, 5, 0, 0, 7)
    assert 8 in compressed.starts(struct.pack("<I", 0), table)


# What dwz makes of two files: entries that both have are moved to a third.
SHARED = """
typedef unsigned long long u64;
struct {name} {{ int state; u64 state_entry_time; u64 time[4]; }} {name}_{number};
struct pad {{ struct {name} *it; char text[128]; unsigned long a_long_name, another_name; }}
    p{number};
"""


@pytest.mark.needs("gcc", "dwz")
@pytest.mark.parametrize("flags", [["-g"], ["-gdwarf-4"]])
@pytest.mark.parametrize("options", [[], ["-5"]])
def test_what_dwz_moved_to_another_file_is_found(tmp_path, flags, options):
    for number in (1, 2):
        (tmp_path / f"{number}.c").write_text(SHARED.format(name=NATIVE.name, number=number))
        command = ["gcc", *flags, "-shared", "-fPIC", f"{number}.c", "-o", f"{number}.so"]
        subprocess.run(command, cwd=tmp_path, check=True)
    subprocess.run(["dwz", *options, "-m", "common", "1.so", "2.so"], cwd=tmp_path, check=True)

    def asked():
        source = dwarf.opened(str(tmp_path / "1.so"))
        return dwarf.observe(source, (NATIVE.name,), X86_64)

    (layout,) = asked().found
    assert differences(NATIVE, layout, "") == ()
    (tmp_path / "common").rename(tmp_path / "moved")
    with pytest.raises(WitnessError, match=r"supplementary file common \(dwz\) not found"):
        asked()
    shutil.copy(tmp_path / "2.so", tmp_path / "common")
    with pytest.raises(WitnessError, match="is not the file that dwz made with it"):
        asked()
