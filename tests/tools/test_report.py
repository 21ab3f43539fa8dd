"""Findings become a verdict in one place, and every line of the text is one that grep finds."""

import json

import pytest

from runstate_abi.layouts.model import Difference
from runstate_abi.layouts.runstate import NATIVE
from runstate_abi.tools import report
from runstate_abi.tools.survey import Finding, NotChecked, unchecked

EQUAL = Finding("gcc", "gcc, 12", "x86_64", found=(NATIVE,), compared=14)
DIFFERENCE = Difference("size-mismatch", NATIVE.name, "", "i386", "44", "48", "gcc -m32, 12")
DIFFERENT = Finding("gcc -m32", "gcc -m32, 12", "i386", compared=14, differences=(DIFFERENCE,))
ALLOWED = unchecked("clang", "", "not installed", fails=False)
NEEDED = unchecked("btf", "vmlinux", "vmlinux: truncated")
PART = Finding(
    "btf", "vmlinux", "x86_64", compared=7, not_checked=(NotChecked("struct c", "not in it", True),)
)

VERDICTS = {
    "equal": ([EQUAL], 0),
    "equal, and one that is not needed": ([EQUAL, ALLOWED], 0),
    "a difference": ([EQUAL, DIFFERENT], 1),
    "a difference outweighs what could not be checked": ([DIFFERENT, NEEDED], 1),
    "a witness that is needed": ([EQUAL, NEEDED], 3),
    "a struct that is needed": ([EQUAL, PART], 3),
    "nothing": ([], 3),
    "nothing compared": ([ALLOWED], 3),
}


@pytest.mark.parametrize("case", VERDICTS)
def test_the_verdict(case):
    findings, code = VERDICTS[case]
    assert report.exit_code(findings) == code
    assert json.loads(report.as_json(findings))["exit"] == code


def test_a_difference_stands_on_its_own_line():
    lines = list(report.text([EQUAL, DIFFERENT]))
    assert "size-mismatch vcpu_runstate_info [i386] spec=44 seen=48 (gcc -m32, 12)" in lines
    assert [line.split()[0] for line in lines[:2]] == ["ok", "DIFFERS"]


def test_the_last_line_counts_everything():
    assert list(report.text([EQUAL, DIFFERENT, ALLOWED, PART]))[-1] == (
        "3 witnesses: 35 facts compared, 0 conditions evaluated, 1 difference, "
        "2 not checked (1 of them had to be)"
    )


def test_what_is_not_checked_is_said():
    lines = list(report.text([PART, ALLOWED]))
    assert "    not checked: struct c: not in it" in lines
    assert any(line.startswith("-") and "not checked: not installed" in line for line in lines)


def test_what_could_not_be_read_is_left_to_stderr():
    assert report.unreadable(NEEDED)
    assert not report.unreadable(ALLOWED)
    assert report.complaint(NEEDED) == "vmlinux: truncated"
    assert not any("truncated" in line for line in report.text([EQUAL, NEEDED]))


def test_an_assumed_abi_is_said():
    finding = Finding("btf", "a.btf", "x86_64", assumed=True, compared=1)
    assert "[x86_64, assumed]" in next(report.text([finding]))


def test_json_names_its_producer_and_every_difference(tmp_path):
    path = tmp_path / "vmlinux.btf"
    path.write_bytes(b"abc")
    seen = json.loads(report.as_json([DIFFERENT._replace(path=str(path))]))
    assert seen["schema"] == "runstate-check/1"
    assert set(seen["producer"]) == {"name", "version", "python"}
    (witness,) = seen["witnesses"]
    assert witness["differences"][0]["line"] == str(DIFFERENCE)
    assert witness["input"] == {
        "path": str(path),
        "size": 3,
        "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    }
