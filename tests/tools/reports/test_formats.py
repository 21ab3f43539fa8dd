"""Findings become a verdict in one place, and every format is rendered by its own module."""

import io
import json

import pytest

from runstate_abi.layouts.findings import (
    Finding,
    NotChecked,
    complaint,
    exit_code,
    unchecked,
    unreadable,
)
from runstate_abi.layouts.model import Difference
from runstate_abi.layouts.structs.runstate import NATIVE
from runstate_abi.tools.reports import formats

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
    assert exit_code(findings) == code
    assert json.loads(formats.rendered("json", findings))["exit"] == code


def test_what_could_not_be_read_is_left_to_stderr():
    assert unreadable(NEEDED)
    assert not unreadable(ALLOWED)
    assert complaint(NEEDED) == "vmlinux: truncated"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("form", "folds"), [("text", True), ("coverage", True), ("json", False)])
def test_on_a_terminal_what_is_for_a_person_folds(monkeypatch, form, folds):
    monkeypatch.setenv("COLUMNS", "60")
    findings = [EQUAL, DIFFERENT]
    for stream, wide in ((io.StringIO(), False), (Terminal(), folds)):
        monkeypatch.setattr("sys.stdout", stream)
        formats.deliver(findings, [(form, "-")])
        text = formats.rendered(form, findings)
        assert (stream.getvalue() == text) != wide
        if wide:
            assert max(map(len, stream.getvalue().splitlines())) <= 60
            assert stream.getvalue().split() == text.split()
