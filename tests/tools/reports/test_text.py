"""Every line of the text is one that grep finds, and what is not checked is said."""

from runstate_abi.layouts.findings import Finding
from runstate_abi.tools.reports import text


def test_a_difference_stands_on_its_own_line(findings):
    lines = list(text.lines([findings.equal, findings.different]))
    assert "size-mismatch vcpu_runstate_info [i386] spec=44 seen=48 (gcc -m32, 12)" in lines
    assert [line.split()[0] for line in lines[:2]] == ["ok", "DIFFERS"]


def test_the_last_line_counts_everything(findings):
    assert list(text.lines([findings.equal, findings.different, findings.allowed, findings.part]))[
        -1
    ] == (
        "3 witnesses: 35 facts compared, 0 conditions evaluated, 1 difference, "
        "1 not checked, 1 not asked"
    )


def test_what_is_not_checked_is_said(findings):
    lines = list(text.lines([findings.part, findings.allowed]))
    assert "    not checked: struct c: not in it" in lines
    assert any(line.startswith("-") and "not asked: not installed" in line for line in lines)


def test_an_assumed_abi_is_said():
    finding = Finding("btf", "a.btf", "x86_64", assumed=True, compared=1)
    assert "[x86_64, assumed]" in next(text.lines([finding]))


def test_what_could_not_be_read_is_not_in_the_table(findings):
    assert "truncated" not in text.render([findings.equal, findings.needed])
