"""What is asked without files: the encodings, the rule, the conditions, the compilers."""

import shutil
from types import SimpleNamespace

import pytest

from runstate_abi.layouts import constructs, ctypes_structs
from runstate_abi.layouts.findings import Finding
from runstate_abi.layouts.model import Field, Layouts
from runstate_abi.layouts.structs.mirrors import Mirrors
from runstate_abi.layouts.structs.runstate import COMPAT, NATIVE, claim
from runstate_abi.layouts.witnesses import header as headers
from runstate_abi.layouts.witnesses import kernels, survey
from runstate_abi.layouts.witnesses.survey import X86_64, holding, judged

CLAIMED = {NATIVE.name: NATIVE, COMPAT.name: COMPAT}


def by_witness():
    return {(f.witness, f.abi): f for f in survey.encodings()}


@pytest.mark.host64
def test_three_encodings_and_the_conditions_are_compared():
    asked = by_witness()
    assert list(asked) == [
        ("construct", "x86_64"),
        ("ctypes", "x86_64"),
        ("C rule", "8 ABIs"),
        ("conditions", "x86_64"),
        ("conditions", "i386"),
    ]
    assert [f.compared for f in asked.values()] == [26, 28, 8 * 28, 0, 0]
    assert [len(f.evaluations) for f in asked.values()] == [0, 0, 0, 26, 23]
    assert not any(f.differences or f.not_checked for f in asked.values())


@pytest.mark.host64
@pytest.mark.parametrize(
    ("module", "witness"), [(constructs, "construct"), (ctypes_structs, "ctypes")]
)
def test_an_encoding_that_drifts_differs(monkeypatch, module, witness):
    monkeypatch.setitem(module.STRUCTS, NATIVE.name, module.STRUCTS[COMPAT.name])
    asked = by_witness()
    assert asked[witness, "x86_64"].differences
    others = [f for f in asked.values() if f.witness != witness]
    assert not any(f.differences for f in others)


@pytest.mark.host64
def test_a_table_that_drifts_differs_for_every_encoding(monkeypatch):
    wrong = COMPAT._replace(name=NATIVE.name)
    monkeypatch.setattr(survey, "NATIVE", wrong)
    monkeypatch.setattr(survey, "claim", lambda n, a: wrong if n == NATIVE.name else claim(n, a))
    asked = by_witness()
    assert all(f.differences for f in asked.values() if f.abi != "i386")


def test_an_encoding_that_this_machine_cannot_express_is_not_asked(monkeypatch):
    monkeypatch.setattr("ctypes.alignment", lambda _: 4)
    finding = by_witness()["ctypes", ""]
    assert finding.compared == 0
    assert [item.told for item in finding.not_checked] == ["not asked"]


def test_every_definition_is_compared():
    other = COMPAT._replace(name=NATIVE.name)
    seen = Layouts("btf", "kvm.ko", (NATIVE, other))
    finding = holding("btf", seen, CLAIMED, X86_64)
    assert finding.compared == 28
    assert {d.kind for d in finding.differences} == {
        "size-mismatch",
        "alignment-mismatch",
        "offset-mismatch",
    }


def test_another_abis_layout_is_recognised():
    seen = Layouts("btf", "file.o", (claim(NATIVE.name, "i386")._replace(abi="x86_64"),))
    assert holding("btf", seen, CLAIMED, X86_64).notes == (
        "struct vcpu_runstate_info here is what it is on i386 (see --abi)",
    )


def test_a_member_in_the_place_of_padding_is_equal_and_named():
    u32 = NATIVE.members[0].type
    rows = (*NATIVE.rows[:1], Field(4, "flags", u32), *NATIVE.rows[2:])
    finding = holding("btf", Layouts("btf", "x.o", (NATIVE._replace(rows=rows),)), CLAIMED, X86_64)
    assert finding.differences == ()
    assert finding.notes == (
        "struct vcpu_runstate_info has a member flags at offset 4, size 4, where the claim has "
        "padding: equal by bytes",
    )


def test_padding_that_is_called_as_the_claim_calls_it_is_not_worth_a_note():
    rows = tuple(row._replace(padding=False) for row in NATIVE.rows)
    finding = holding("btf", Layouts("btf", "x.o", (NATIVE._replace(rows=rows),)), CLAIMED, X86_64)
    assert (finding.differences, finding.notes) == ((), ())


# Structs that are not the claim's: what they are must not depend on who is asked.
BODIES = (
    "int state; u64 entered; u64 time[4];",
    "int state; u64 time[4];",
    "int state; u64 state_entry_time; u64 time;",
    "int state; u64 state_entry_time; u64 time[5];",
    "int state; u64 state_entry_time; u64 time[];",
    "int state; unsigned flags; u64 state_entry_time; u64 time[4]; char tail;",
    "int state[2]; u64 state_entry_time; int time[2][4];",
    "_Bool state; u64 state_entry_time; u64 time[4];",
    "char nothing;",
)


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("command", ["gcc", "clang"])
def test_a_compiler_says_what_btf_and_dwarf_say(body, command, kernel_object, installed, tmp_path):
    installed(command)
    struct = f"struct {NATIVE.name} {{ {body} }};"
    binary = kernel_object("kernel", [struct], keep_dwarf=True)
    btf, dwarf = kernels.asked_of_files([binary], kernels.Settings())
    header = tmp_path / "mine.h"
    header.write_text(f"typedef unsigned long long u64;\n{struct}\n")
    compiled = survey.asked_of_source(
        headers.observe, command, str(header), Mirrors(((NATIVE.name, NATIVE.name),)), None
    )
    said = [
        ([str(d._replace(source="")) for d in f.differences if "alignment" not in d.kind], f.notes)
        for f in (btf, dwarf, compiled)
    ]
    assert said[0][0]
    assert said[0] == said[1] == said[2]


@pytest.mark.parametrize(
    ("machine", "commands"),
    [
        ("x86_64", ("gcc -m64", "gcc -m32", "clang -m64", "clang -m32")),
        ("i686", ("gcc -m64", "gcc -m32", "clang -m64", "clang -m32")),
        ("aarch64", ("gcc", "clang")),
    ],
)
def test_only_compilers_of_x86_hosts_are_asked_for_64_and_32_bits(monkeypatch, machine, commands):
    monkeypatch.setattr(survey.os, "uname", lambda: SimpleNamespace(machine=machine))
    assert survey.compilers_here() == commands


@pytest.mark.needs("gcc")
def test_members_that_nobody_can_name_are_not_recorded(tmp_path, monkeypatch):
    header = tmp_path / "mine.h"
    header.write_text("struct mine { int state; unsigned long long state_entry_time, time[4]; };")
    asked = (headers.observe, "gcc", str(header), Mirrors((("mine", NATIVE.name),)), None)
    assert survey.asked_of_source(*asked).unrecorded == ()
    monkeypatch.setattr(headers, "DEBUG_INFO", ())
    assert survey.asked_of_source(*asked).unrecorded == ("other members",)


def test_a_layout_of_no_abi_is_not_explained_away():
    seen = Layouts("btf", "file.o", (NATIVE._replace(rows=NATIVE.rows[:3], size=16),))
    finding = holding("btf", seen, CLAIMED, X86_64)
    assert finding.differences
    assert finding.notes == ()


def test_a_false_condition_is_a_difference_with_its_numbers():
    seen = {NATIVE.name: NATIVE, COMPAT.name: NATIVE._replace(name=COMPAT.name)}
    evaluations = survey.evaluate_what_is_there(seen.values(), "x86_64", {})
    finding = judged(Finding("btf", "kvm.ko", "x86_64"), evaluations)
    assert (
        "condition-false A3 [x86_64] spec=BUILD_BUG_ON(sizeof(struct compat_vcpu_runstate_info)"
        " != 0x2c) seen=48 != 0x2c (kvm.ko)"
    ) in map(str, finding.differences)


def test_a_condition_that_was_not_evaluated_is_not_checked():
    evaluations = survey.evaluate_what_is_there(CLAIMED.values(), "x86_64", {})
    finding = judged(Finding("btf", "kvm.ko", "x86_64"), evaluations)
    assert [item.what for item in finding.not_checked] == [
        "condition A8",
        "condition A9",
        "condition A16",
    ]
    assert all(item.fails for item in finding.not_checked)


def test_conditions_need_both_structs():
    assert survey.evaluate_what_is_there([NATIVE], "x86_64", {}) == ()


def test_a_compiler_that_is_not_installed_is_not_checked(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    (finding,) = survey.asked_of_compilers(["gcc -m64"], named=False, abi=None)
    assert [(item.why, item.fails) for item in finding.not_checked] == [("not installed", False)]


def test_a_compiler_that_was_named_must_be_there():
    (finding,) = survey.asked_of_compilers(["nosuch-cc"], named=True, abi=None)
    assert [item.fails for item in finding.not_checked] == [True]


@pytest.mark.parametrize(
    ("machine", "commands"),
    [
        ("x86_64", ("gcc -m64", "gcc -m32", "clang -m64", "clang -m32")),
        ("aarch64", ("gcc", "clang")),
    ],
)
def test_compilers_are_asked_for_both_widths_on_x86(monkeypatch, machine, commands):
    monkeypatch.setattr(survey.os, "uname", lambda: SimpleNamespace(machine=machine))
    assert survey.compilers_here() == commands
