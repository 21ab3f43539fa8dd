"""The kernel's conditions: their number in each version, and that each of them can fail."""

import re

import pytest

from runstate_abi.layouts import conditions
from runstate_abi.layouts.conditions import (
    CONDITIONS,
    KVM_SIZES,
    STAGES,
    UNASSERTED,
    conditions_of,
    evaluate,
    evaluate_all,
)
from runstate_abi.layouts.model import Field, Scalar, tiled
from runstate_abi.layouts.structs.runstate import COMPAT, INT, NATIVE, UINT64, claim

U32, U64, S64 = (Scalar("u32", 4, False), UINT64, Scalar("s64", 8, True))
CLAIMED = {NATIVE.name: NATIVE, COMPAT.name: COMPAT}
ALL = {condition.id: condition for condition in (*CONDITIONS, *UNASSERTED)}


def _changed(layout, size=None, alignment=None, **members):
    rows = [members.get(row.name, row) for row in layout.members]
    size = size or max(row.end for row in rows)
    return {layout.name: tiled(layout.name, "x86_64", size, alignment, rows)}


STATE, ENTRY, TIME = (lambda at, t=INT: Field(at, "state", t)), "state_entry_time", "time"

# For each condition, layouts that break it: what a careless edit of a header would make.
BROKEN = {
    "A1": _changed(NATIVE, state=STATE(4)),
    "A2": _changed(COMPAT, state=STATE(44)),
    "A3": _changed(COMPAT, size=48),
    "A4": _changed(COMPAT, state_entry_time=Field(12, ENTRY, U64), time=Field(20, TIME, U64, 4)),
    "A5": _changed(NATIVE, time=Field(24, TIME, U64, 4)),
    "A6": _changed(NATIVE, size=56),
    "A7": _changed(NATIVE, state=STATE(4)),
    "A8": _changed(NATIVE, state=STATE(0, S64)),
    "A9": _changed(COMPAT, state=STATE(0, Scalar("short", 2, True))),
    "A10": _changed(NATIVE, state_entry_time=Field(8, ENTRY, U32)),
    "A11": _changed(COMPAT, state_entry_time=Field(4, ENTRY, U32)),
    "A13": _changed(NATIVE, time=Field(24, TIME, U64, 4)),
    "A14": _changed(COMPAT, time=Field(16, TIME, U64, 4)),
    "A15": _changed(COMPAT, time=Field(12, TIME, U64, 5)),
    "A16": _changed(NATIVE, time=Field(16, TIME, U64, 5)),
    "U1": _changed(NATIVE, alignment=4),
    "U2": _changed(COMPAT, alignment=4),
    "U3": _changed(NATIVE, state=STATE(0, U32)),
    "U4": _changed(COMPAT, state=STATE(0, U32)),
    "U5": _changed(NATIVE, state_entry_time=Field(8, ENTRY, S64)),
    "U6": _changed(COMPAT, state_entry_time=Field(4, ENTRY, S64)),
    "U7": _changed(NATIVE, time=Field(16, TIME, U32, 8)),
    "U8": _changed(COMPAT, time=Field(12, TIME, U32, 8)),
    "U10": _changed(NATIVE, time=Field(16, TIME, U64, 5)),
}


def test_every_condition_but_the_constants_has_a_layout_that_breaks_it():
    assert set(ALL) - set(BROKEN) == {"A12", "U9"}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_layout_breaks_its_condition(name):
    assert evaluate(ALL[name], CLAIMED).holds is True
    assert evaluate(ALL[name], CLAIMED | BROKEN[name]).holds is False


@pytest.mark.parametrize(
    ("name", "constant", "value"),
    [("A12", "XEN_RUNSTATE_UPDATE", 1 << 62), ("U9", "RUNSTATE_blocked", 3)],
)
def test_a_wrong_constant_breaks_its_condition(monkeypatch, name, constant, value):
    assert evaluate(ALL[name], CLAIMED).holds is True
    monkeypatch.setitem(conditions._CONSTANTS, constant, value)
    assert evaluate(ALL[name], CLAIMED).holds is False


@pytest.mark.parametrize(
    ("condition", "member"), [("A8", "current_runstate"), ("A16", "runstate_times")]
)
def test_kvms_own_copy_counts(condition, member):
    assert evaluate(ALL[condition], CLAIMED, KVM_SIZES | {member: 64}).holds is False


def test_each_version_has_as_many_conditions_as_its_source():
    counts = [len(conditions_of(stage)) for stage in range(len(STAGES))]
    assert counts == [stage.conditions for stage in STAGES] == [12, 14, 15, 16]


def test_an_i386_kernel_does_not_compile_the_x86_64_conditions():
    layouts = {name: claim(name, "i386") for name in CLAIMED}
    evaluations = evaluate_all(CONDITIONS, layouts, "i386")
    assert [e.condition.id for e in evaluations] == [
        c.id for c in CONDITIONS if c.id not in ("A4", "A5", "A6")
    ]
    assert all(e.holds for e in evaluations)
    assert not any(evaluate(ALL[name], layouts).holds for name in ("A4", "A5", "A6"))


NOT_CHECKED = {
    "a struct is missing": ("A1", {COMPAT.name: COMPAT}, KVM_SIZES, "no struct vcpu_runstate_info"),
    "KVM's copy is missing": ("A8", CLAIMED, {}, "no struct kvm_vcpu_xen with a member"),
    "no alignment": ("U1", _changed(NATIVE), KVM_SIZES, "alignment of struct .* is not recorded"),
    "a member is missing": (
        "A5",
        CLAIMED | {NATIVE.name: tiled(NATIVE.name, "x86_64", 48, 8, NATIVE.members[:2])},
        KVM_SIZES,
        "struct vcpu_runstate_info has no member time",
    ),
    "no signedness": (
        "U3",
        _changed(NATIVE, state=STATE(0, INT._replace(signed=None))),
        KVM_SIZES,
        "signedness of .* is not recorded",
    ),
}


@pytest.mark.parametrize("case", NOT_CHECKED)
def test_what_nobody_reported_is_not_checked_and_never_true(case):
    name, layouts, kvm_sizes, why = NOT_CHECKED[case]
    evaluation = evaluate(ALL[name], layouts, kvm_sizes)
    assert evaluation.holds is None
    assert re.search(why, evaluation.why)


def test_a_text_with_anything_but_arithmetic_is_refused():
    condition = CONDITIONS[0]._replace(text="__import__('os') != 0")
    with pytest.raises(ValueError, match="not a condition"):
        evaluate(condition, CLAIMED)


def test_only_the_three_of_config_x86_64_are_left_out_elsewhere():
    marked = {c.id for c in (*CONDITIONS, *UNASSERTED) if c.x86_64_only}
    assert marked == {"A4", "A5", "A6"}


def test_each_condition_came_with_the_version_that_the_source_says():
    """Read in Linux 5.14, 5.17, the patch of 19 Nov 2022, and 6.2."""
    since = {condition.id: condition.since for condition in CONDITIONS}
    first = [3, 4, 5, 7, 8, 9, 10, 11, 13, 14, 15, 16]
    assert since == {f"A{number}": 0 for number in first} | {"A1": 1, "A2": 1, "A12": 2, "A6": 3}


def test_what_nobody_asserts_came_with_no_version():
    assert {condition.since for condition in UNASSERTED} == {0}
