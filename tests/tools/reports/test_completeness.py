"""What is required must have been compared, and nobody's silence confirms what is declared."""

import pytest

from runstate_abi.layouts.abi import I386, X86_64
from runstate_abi.layouts.findings import Finding, unchecked
from runstate_abi.layouts.model import Layouts
from runstate_abi.layouts.structs.runstate import CLAIMS, COMPAT, NATIVE
from runstate_abi.layouts.witnesses import survey
from runstate_abi.layouts.witnesses.survey import holding
from runstate_abi.tools.reports.coverage import KINDS, absent, coverage, kinds

CLAIMED = {NATIVE.name: NATIVE, COMPAT.name: COMPAT}


@pytest.mark.parametrize(
    ("witness", "expected"),
    [
        ("btf", ("btf",)),
        ("dwarf", ("dwarf",)),
        ("C rule", ("rule",)),
        ("construct", ("construct",)),
        ("gcc -m32", ("cc", "gcc")),
        ("/usr/bin/x86_64-linux-gnu-gcc-12 -O2", ("cc", "gcc")),
        ("clang --target=arm", ("cc", "clang")),
        ("tcc", ("cc",)),
        ("gcc", ("cc", "gcc")),
    ],
)
def test_a_witness_answers_to_its_kinds(witness, expected):
    assert kinds(Finding(witness, "", "")) == expected
    assert set(expected) <= set(KINDS)


def test_what_is_required_and_absent_fails():
    there = Finding("btf", "vmlinux", "x86_64", compared=14)
    (missing,) = absent([there], ["btf", "dwarf", "dwarf"])
    assert (missing.witness, [item.fails for item in missing.not_checked]) == ("dwarf", [True])
    assert absent([there], ["btf"]) == []


def test_a_witness_that_compared_nothing_is_absent():
    assert absent([unchecked("btf", "vmlinux", "no BTF", fails=False)], ["btf"])


def rows(findings):
    return {row.id: row for row in coverage(findings)}


@pytest.mark.host64
def test_the_encodings_and_the_tables_confirm_everything_but_what_is_kvms():
    confirmed = rows(list(survey.encodings()))
    assert [i for i, row in confirmed.items() if not row.confirmed] == []
    assert confirmed["A8"].confirmed == ("conditions [x86_64]", "conditions [i386]")
    assert confirmed["vcpu_runstate_info.time"].confirmed == (
        "construct [x86_64]",
        "ctypes [x86_64]",
        "C rule [8 ABIs]",
    )


def test_nobody_denies_what_is_true_of_another_declaration():
    # Xen's compat struct is aligned to 4, which U2 (KVM's is packed) is not about.
    assert [i for i, row in rows(list(survey.encodings())).items() if row.denied] == []


def test_a_witness_without_the_struct_confirms_nothing_about_it():
    seen = holding("btf", Layouts("btf", "vmlinux", (NATIVE,)), CLAIMED, X86_64)
    confirmed = {i for i, row in rows([seen]).items() if row.confirmed}
    assert "A1" in confirmed
    assert "vcpu_runstate_info.state" in confirmed
    assert not {i for i in confirmed if "compat" in i}
    # A8 is about KVM's own copies and U9 about constants: a layout knows neither.
    assert not confirmed & {"A2", "A3", "A7", "A8", "A12", "U9"}


def test_a_layout_that_differs_denies():
    wrong = COMPAT._replace(name=NATIVE.name)
    seen = holding("btf", Layouts("btf", "vmlinux", (wrong, COMPAT)), CLAIMED, X86_64)
    denied = {i for i, row in rows([seen]).items() if row.denied}
    assert {"A4", "A5", "A6", "vcpu_runstate_info", "vcpu_runstate_info.time"} <= denied
    assert "compat_vcpu_runstate_info.time" not in denied


def test_one_wrong_definition_of_two_denies():
    wrong = COMPAT._replace(name=NATIVE.name)
    seen = holding("btf", Layouts("btf", "x", (NATIVE, wrong, COMPAT)), CLAIMED, X86_64)
    assert rows([seen])["A6"].denied == ("btf [x86_64]",)


def test_a_condition_that_an_abi_does_not_have_is_not_confirmed_by_it():
    claims = CLAIMS["i386"]
    expected = {NATIVE.name: claims.native, COMPAT.name: claims.compat_kvm}
    seen = holding("btf", Layouts("btf", "x", tuple(expected.values())), expected, I386)
    assert not seen.differences
    confirmed = {i for i, row in rows([seen]).items() if row.confirmed or row.denied}
    assert "A3" in confirmed
    assert not confirmed & {"A4", "A5", "A6"}
