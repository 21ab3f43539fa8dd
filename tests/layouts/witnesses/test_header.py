"""A struct of the user's own, whatever it looks like: measured, or refused in one line."""

import re

import pytest

from runstate_abi.layouts.model import WitnessError, compare
from runstate_abi.layouts.structs.runstate import CLAIMS, NATIVE
from runstate_abi.layouts.witnesses import compiler, header, prelude, probe

U64 = "typedef unsigned long long u64;\n"
RIGHT = "struct mine { int state; u64 state_entry_time; u64 time[4]; };"

# What a user's struct may be instead, and what differs then: kind, member, what is seen.
# fmt: off
OTHERS = {
    "int state; u64 state_entry_time; u64 time[4];": "",
    "int state; u64 time[4];":
        "size 40; offset time 8; missing-member state_entry_time absent",
    "int state; u64 entered; u64 time[4];":
        "missing-member state_entry_time absent; extra-member entered offset 8 size 8",
    "int state; u64 state_entry_time; u64 time;":
        "size 24; count time 1",
    "int state; u64 state_entry_time; u64 time[5];":
        "size 56; count time 5",
    "int state; u64 state_entry_time; u64 time[];":
        "size 16; missing-member time absent",
    "int state; u64 state_entry_time; u64 time[0];":
        "size 16; missing-member time absent",
    "int state[1]; u64 state_entry_time; u64 time[2][2];": "",
    "int state[2]; u64 state_entry_time; u64 time[4];":
        "count state 2",
    "unsigned state; u64 state_entry_time; u64 time[4];":
        "signedness state unsigned",
    "int state; u64 state_entry_time; double time[4];":
        "type time floating",
    "float state; u64 state_entry_time; u64 time[4];":
        "type state floating",
    "enum { A, B = -1 } state; u64 state_entry_time; const volatile u64 time[4];": "",
    "_Bool state; u64 state_entry_time; u64 time[4];":
        "element-size state 1; signedness state unsigned",
    "_Atomic int state; _Atomic u64 state_entry_time; u64 time[4];": "",
    "int state; u64 state_entry_time; u64 time[4]; int more;":
        "size 56; extra-member more offset 48 size 4",
    "int state; unsigned flags; u64 state_entry_time; u64 time[4];": "",
    "int state; u64 state_entry_time; struct { u64 ns; } time[4];":
        "type time struct",
    "int state; u64 state_entry_time; union { u64 ns; } time[4];":
        "type time union",
    "int state; u64 state_entry_time; u64 *time[4];":
        "type time pointer",
    "int state; void (*state_entry_time)(void); u64 time[4];":
        "type state_entry_time pointer",
    "int state; u64 state_entry_time; float _Complex time[4];":
        "type time floating",
    "enum { A, B = -1 } state; enum { C = 1ull << 40 } state_entry_time; __WCHAR_TYPE__ time[8];":
        "element-size time 4; count time 8; signedness time signed",
    "int state; u64 state_entry_time; char time __attribute__((vector_size(16)));":
        "size 32; alignment 16; element-size time 16; count time 1; type time no number",
    "char nothing;":
        "size 1; alignment 1; missing-member state absent; missing-member time absent; "
        "missing-member state_entry_time absent; extra-member nothing offset 0 size 1",
}
# fmt: on
COMMANDS = ("gcc -m64", "clang -m64", "g++ -m64", "clang++ -m64")


@pytest.fixture
def command(request, installed):
    """A command line whose compiler is installed: CI installs them all."""
    installed(request.param)
    return request.param


@pytest.fixture
def mine(tmp_path):
    """Return a function that writes a header of this text and returns its path."""

    def write(text, before=U64):
        path = tmp_path / "mine.h"
        path.write_text(f"{before}{text}\n")
        return str(path)

    return write


def seen_in(path, command, name="mine"):
    observed = header.observe(path, name, NATIVE, command)
    (layout,) = observed.layouts.found
    claim = CLAIMS[observed.abi.name].native
    differing = compare(claim, layout, command).differences
    words = [(d.kind.removesuffix("-mismatch"), d.member, d.seen) for d in differing]
    return sorted(" ".join(filter(None, each)) for each in words), observed


def lines(text):
    return sorted(filter(None, text.split("; ")))


# _Bool and _Atomic are C's alone.
ASKED = [
    (c, b) for c in COMMANDS for b in OTHERS if "++" not in c or not re.search("_Bool|_Atomic", b)
]


@pytest.mark.parametrize(("command", "body"), ASKED, indirect=["command"])
def test_whatever_the_struct_is_it_is_measured(command, body, mine):
    differing, observed = seen_in(mine(f"struct mine {{ {body} }};"), command)
    assert (differing, observed.unrecorded) == (lines(OTHERS[body]), ())


@pytest.mark.parametrize("command", COMMANDS, indirect=True)
def test_without_a_reader_of_debug_info_only_names_are_missing(command, mine, monkeypatch):
    monkeypatch.setattr(header, "DEBUG_INFO", ())
    differing, observed = seen_in(mine("struct mine { int state; u64 entered, time; };"), command)
    assert differing == lines("count time 1; missing-member state_entry_time absent; size 24")
    assert observed.unrecorded == ("other members",)


# The other compilers, the cross ones among them: i386 has no hole, and the two of Windows make no
# ELF file, so that nobody reads their debug info.
SHORTER = "size 16; offset time 8; count time 1; missing-member state_entry_time absent"
# fmt: off
ELSEWHERE = {
    "gcc -m32":                            f"{SHORTER}; extra-member entered offset 4 size 4",
    "aarch64-linux-gnu-gcc":               SHORTER,
    "arm-linux-gnueabihf-gcc":             SHORTER,
    "clang --target=riscv64-linux-gnu":    SHORTER,
    "clang --target=i686-pc-windows-msvc": SHORTER,
    "clang --target=i686-w64-windows-gnu": SHORTER,
}
# fmt: on


@pytest.mark.parametrize("command", ELSEWHERE, indirect=True)
def test_a_cross_compiler_is_asked_the_same(command, mine):
    differing, observed = seen_in(mine("struct mine { int state, entered; u64 time; };"), command)
    unknown = observed.abi.name == "i386-windows"
    assert differing == lines(ELSEWHERE[command])
    assert observed.unrecorded == (("other members",) if unknown else ())


# What a user's own command line brings along, and what must not turn into a missing member.
FLAGS = (
    "gcc -Wall -Wextra -Werror",
    "gcc -std=c99 -pedantic-errors -Wall -Wextra -Werror",
    "gcc -g3 -O2 -fshort-enums -fPIC",
    "clang -Weverything -Werror",
    "clang -std=c99 -pedantic-errors -Wall -Wextra -Werror",
)


@pytest.mark.parametrize("command", FLAGS, indirect=True)
def test_strict_flags_make_nothing_else_missing(command, mine):
    path = mine("struct mine { int state; unsigned fill; u64 state_entry_time; u64 times[4]; };")
    differing, _ = seen_in(path, command)
    missing = [text for text in differing if text.startswith("missing-member")]
    assert missing == ["missing-member time absent"]


@pytest.mark.parametrize("command", COMMANDS, indirect=True)
@pytest.mark.parametrize("name", ["mine", "struct mine", "mine_t"])
def test_a_tag_and_a_typedef_are_found(command, name, mine):
    path = mine(f"typedef {RIGHT.replace('state;', 'state, flags;')[:-1]} mine_t;")
    differing, observed = seen_in(path, command, name)
    assert (differing, observed.unrecorded) == ([], ())
    assert "flags" in [row.name for row in observed.layouts.found[0].members]


NOT_THERE = "finds no struct mine and no mine in it"
REFUSED = {
    "it does not parse": ("struct mine { int state int; };", "does not compile: /"),
    "an error of its own": (f"#error no\n{RIGHT}", "mine.h:2:"),
    "the struct is only declared": ("struct mine;", NOT_THERE),
    "there is no such struct": ("struct other { int state; };", NOT_THERE),
    "it is an integer": ("typedef int mine;", "mine is no struct"),
    "it is a union": ("typedef union { int state; } mine;", "mine is a union"),
    "a member is a bitfield": (
        "struct mine { int state : 2; u64 state_entry_time, time[4]; };",
        "mine.h: struct mine: member state is a bitfield",
    ),
    "a member is a bitfield and another missing": (
        "struct mine { int state; u64 state_entry_time : 63; };",
        "member state_entry_time is a bitfield",
    ),
    "members share their bytes": (
        "struct mine { union { int state; u64 state_entry_time; }; u64 time[4]; };",
        "overlaps the row before it",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("command", COMMANDS, indirect=True)
def test_what_cannot_be_measured_is_one_line(command, case, mine):
    text, message = REFUSED[case]
    with pytest.raises(WitnessError) as refusal:
        seen_in(mine(text), command)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_compiler_that_cannot_be_run_finds_nothing_missing(mine):
    with pytest.raises(WitnessError, match="cannot run nosuch-cc"):
        seen_in(mine(RIGHT), "nosuch-cc")


def test_a_compiler_that_refuses_our_own_struct_is_no_witness(mine, monkeypatch):
    # As if it did not know an expression that the questions are made of.
    monkeypatch.setattr(probe, "CONTROL", ("nosuch_builtin_(struct rs_control)",))
    with pytest.raises(WitnessError):
        seen_in(mine("struct mine { int state; };"), "gcc")


def test_what_the_questions_cannot_measure_is_not_missing(mine, monkeypatch):
    macros = probe.C.macros.replace("array_(x)[0]", "array_(x).nosuch")
    monkeypatch.setattr(probe, "C", probe.C._replace(macros=macros))
    with pytest.raises(WitnessError, match="does not compile"):
        seen_in(mine(RIGHT), "gcc")


@pytest.mark.parametrize("command", ["gcc"], indirect=True)
def test_a_struct_that_is_right_is_compiled_once_and_once_for_names(command, mine, monkeypatch):
    commands = []
    compiled = compiler.compiled

    def counted(unit, command, stage=("-c",)):
        commands.append(" ".join((command, *stage)))
        return compiled(unit, command, stage)

    for module in (compiler, prelude):
        monkeypatch.setattr(module, "compiled", counted)
    assert seen_in(mine(RIGHT), command)[0] == []
    # The second looks for a macro behind the struct that is none.
    assert commands == ["gcc -c", "gcc -E -P", "gcc -gbtf -c"]


@pytest.mark.host64
@pytest.mark.parametrize("command", ["gcc"], indirect=True)
def test_another_type_of_the_same_name_is_not_taken_for_it(command, mine):
    # In the debug info the typedef's struct comes first, and its members would fit.
    other = "typedef struct { int state, hole; } mine;\n"
    path = mine(f"{other}{RIGHT[:-2]} mine *link; }};")
    differing, observed = seen_in(path, command)
    assert differing == lines("size 56; extra-member link offset 48 size 8")
    assert "hole" not in [row.name for row in observed.layouts.found[0].rows]
