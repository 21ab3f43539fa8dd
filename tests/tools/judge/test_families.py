"""``runstate judge --family``: what it prints, its exit codes, and what it refuses."""

import json

import pytest

from runstate_abi.tools.judge.of_family import ELSEWHERE, SCHEMA
from runstate_abi.writer.witnesses.versions.rules import NO_BARRIERS, RULES

SOURCES = {"pvclock": "clock_writer.c", "steal_time": "steal_writer.c"}


@pytest.fixture
def object_of(c_writer):
    """Return a function (family, *defines) -> path of a compiled writer."""
    return lambda family, *defines: c_writer(*defines, source=SOURCES[family])


@pytest.mark.parametrize("family", SOURCES)
def test_a_right_writer_exits_0_with_a_line_for_each_rule(judge, object_of, family):
    code, out, err = judge(object_of(family), "--family", family)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    rows = [line.split()[:4] for line in lines if line.startswith("ok ")]
    assert [row[1] for row in rows] == [rule.name for rule in RULES[family]]
    assert all(int(row[2]) > 0 and row[3] == "updates" for row in rows)
    assert lines[-1].startswith(f"right: {len(rows)} rules kept in ")
    assert lines[-2] == NO_BARRIERS


def test_it_says_what_was_judged(judge, object_of):
    path = object_of("pvclock")
    _, out, _ = judge(path, "--family", "pvclock")
    first, *head = out.splitlines()[:6]
    assert first.startswith(path)
    assert "GCC" in first
    said = {line.split()[0]: line.split(maxsplit=1)[1] for line in head}
    assert said["function"].startswith("kvm_setup_guest_pvclock, ")
    assert said["struct"] == "pvclock_vcpu_time_info, 32 bytes, as claimed here"
    assert said["called"].startswith("5 functions played: _raw_read_lock_irqsave, ")


def test_a_broken_rule_exits_1_with_the_update_and_the_instruction(judge, object_of):
    code, out, _ = judge(object_of("pvclock", "EVEN_BODY"), "--family", "pvclock")
    assert code == 1
    (row,) = [line for line in out.splitlines() if line.startswith("BROKEN")]
    assert row.split()[1] == "window"
    assert "first version 0x6, arch.pv_time at 0x20: the version is " in row
    (bad,) = [line for line in out.splitlines() if line.startswith("  >")]
    assert bad.startswith("  > store +0 ")
    assert "version, pad0" in bad
    assert "kvm_setup_guest_pvclock+0x" in bad
    assert out.splitlines()[-1].startswith("WRONG: ")


def test_what_is_missing_at_the_end_is_marked_at_the_return(judge, object_of):
    _, out, _ = judge(object_of("steal_time", "NO_DIRTY"), "--family", "steal_time")
    assert "  > return" in out.splitlines()


def test_of_several_broken_rules_one_is_told_and_all_if_asked(judge, object_of):
    path = object_of("steal_time", "NO_EVEN")
    shown = [judge(path, "--family", "steal_time", *more)[1] for more in ([], ["-v"])]
    assert [text.count("  > ") for text in shown] == [1, 2]


def test_a_fault_that_leaves_the_version_odd_is_told_and_no_breach(judge, object_of):
    code, out, _ = judge(object_of("steal_time"), "--family", "steal_time")
    assert code == 0
    assert "a fault at access 4, 5 or 6 of an update to guest memory leaves the version odd" in out


@pytest.mark.parametrize(
    ("family", "define", "verdict"),
    [
        ("pvclock", "BACKWARDS", "right"),
        ("pvclock", "NO_ODD", "broken"),
        ("steal_time", "BY_NUMBER", "right"),
        ("steal_time", "NO_EVEN", "broken"),
    ],
)
def test_as_json_it_says_the_same(judge, object_of, family, define, verdict):
    code, out, err = judge(object_of(family, define), "--family", family, "--json")
    value = json.loads(out)
    assert (code, err) == (int(verdict == "broken"), "")
    assert (value["schema"], value["family"], value["verdict"]) == (SCHEMA, family, verdict)
    assert [rule["name"] for rule in value["rules"]] == [rule.name for rule in RULES[family]]
    broken = [rule for rule in value["rules"] if rule["broken"]]
    assert bool(broken) == (verdict == "broken")
    for rule in broken:
        assert set(rule["first"]) == {"update", "why", "at"}
        assert 0 < rule["broken"] <= rule["tested"] <= value["updates"]
    assert NO_BARRIERS in value["notes"]


def test_a_report_goes_to_a_file(judge, object_of, tmp_path):
    file = tmp_path / "verdict.json"
    command = ("--family", "pvclock", "--format", f"json={file}")
    assert judge(object_of("pvclock"), *command) == (0, "", "")
    assert json.loads(file.read_text())["schema"] == SCHEMA


@pytest.mark.parametrize("family", RULES)
def test_the_rules_of_each_family_are_printed(judge, family):
    code, out, err = judge("--rules", "--family", family)
    assert (code, err) == (0, "")
    for rule in RULES[family]:
        (line,) = [line for line in out.splitlines() if line.startswith(f"{rule.name} ")]
        assert line.endswith(rule.sentence)


def test_hyperv_has_rules_and_no_emulation(judge, object_of):
    path = object_of("pvclock")
    what = "no emulation of kvm_hv_setup_tsc_page(): not built"
    expected = (3, "", f"runstate: {path}: cannot judge: {what}\n")
    assert judge(path, "--family", "hyperv") == expected


@pytest.mark.parametrize("family", ["vcpu_info", "uapi", "all"])
def test_other_families_have_no_writer(judge, family):
    code, out, err = judge("x.ko", "--family", family)
    assert (code, out) == (2, "")
    assert f"--family {family}: no writer of this family yet" in err


@pytest.mark.parametrize("option", ELSEWHERE)
def test_what_is_for_the_runstate_area_alone_is_refused(judge, option):
    code, out, err = judge("x.ko", "--family", "pvclock", f"--{option}", "y")
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert f"--{option} is for the runstate area's writer alone" in line


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((), "which BINARY?"),
        (("a.ko", "b.ko"), "one BINARY"),
        (("tests",), "one BINARY"),
        (("-",), "judge needs a file"),
        (("a.ko", "--btf", "a", "--btf", "b"), "one --btf"),
        (("a.ko", "--format", "sarif"), "there are text, json"),
        (("a.ko", "--nonsense"), "unrecognized arguments"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_wrong_usage_exits_2_with_one_line(judge, words, why, tmp_path, monkeypatch):
    (tmp_path / "tests").mkdir()
    monkeypatch.chdir(tmp_path)
    code, out, err = judge(*words, "--family", "steal_time")
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert why in line


@pytest.mark.parametrize("as_what", [(), ("--json",)])
@pytest.mark.parametrize(
    ("family", "define", "why"),
    [
        ("pvclock", "UNKNOWN_CALL", "it calls unknown_call, which is not known here, from kvm_"),
        (
            "pvclock",
            "kvm_setup_guest_pvclock=other",
            "no function kvm_setup_guest_pvclock (not kvm.ko?)",
        ),
        ("steal_time", "record_steal_time=other", "no function record_steal_time"),
        ("steal_time", 'KIND="5"', "a fault of kind 5, which is not known here, at record_steal"),
    ],
)
def test_what_cannot_be_judged_exits_3_with_one_line(
    judge, object_of, family, define, why, as_what
):
    code, out, err = judge(object_of(family, define), "--family", family, *as_what)
    assert (code, out) == (3, "")
    (line,) = err.splitlines()
    assert why in line


def test_a_function_under_another_name_says_which(judge, object_of, tmp_path, tool):
    """What a compiler calls a copy with fewer parameters, or parameters by value."""
    renamed = tmp_path / "renamed.o"
    name = "kvm_setup_guest_pvclock"
    tool("objcopy", f"--redefine-sym={name}={name}.isra.0", object_of("pvclock"), renamed)
    code, _, err = judge(renamed, "--family", "pvclock")
    assert code == 3
    assert f"only {name}.isra.0, whose parameters the debug info does not say" in err


def test_the_runstate_areas_writer_is_still_the_default(judge, c_writer):
    for more in ([], ["--family", "runstate"]):
        _, out, _ = judge(c_writer(), "--quick", *more)
        assert "kvm_xen_update_runstate_guest" in out
