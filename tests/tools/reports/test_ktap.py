"""KTAP by the kernel's rules (Documentation/dev-tools/ktap.rst), and by a TAP parser."""

import re

import pytest
from tap.parser import Parser

from runstate_abi.tools.reports import ktap

RESULT = re.compile(
    r"(?P<verdict>ok|not ok) (?P<number>\d+)(?: (?P<text>[^#]*))?(?:# (?P<rest>.*))?"
)


def parsed(text):
    """What ktap.rst says of each line: [(ok, description, directive, reason)], or ValueError."""
    version, plan, *lines = text.splitlines()
    if version != "KTAP version 1":
        raise ValueError(version)
    (planned,) = re.fullmatch(r"1\.\.(\d+)", plan).groups()
    found = []
    for line in lines:
        if line.startswith("# "):
            continue
        match = RESULT.fullmatch(line)
        if not match or int(match["number"]) != len(found) + 1:
            raise ValueError(line)
        directive, _, reason = (match["rest"] or "").partition(" ")
        found.append((match["verdict"] == "ok", match["text"].strip(), directive, reason))
    if len(found) != int(planned):
        raise ValueError(plan)
    return found


def test_the_rules_refuse_what_they_should():
    for text in (
        "TAP version 13\n1..0\n",
        "KTAP version 1\n1..2\nok 1 a\n",
        "KTAP version 1\n1..1\nok 2 a\n",
        "KTAP version 1\n1..1\nfine 1 a\n",
    ):
        with pytest.raises(ValueError):  # noqa: PT011  # each has a message of its own
            parsed(text)


def test_it_fails_when_the_verdict_does(verdict):
    findings, code = verdict
    assert all(ok for ok, *_ in parsed(ktap.render(findings))) == (code == 0)


def test_a_tap_parser_reads_the_same(verdict):
    findings, _ = verdict
    # A TAP parser does not know the kernel's version line; everything else is TAP 13.
    text = ktap.render(findings).replace("KTAP version 1", "TAP version 13")
    seen = [x for x in Parser().parse_text(text) if x.category == "test"]
    assert [(x.ok, x.skip) for x in seen] == [
        (ok, directive == "SKIP") for ok, _, directive, _ in parsed(ktap.render(findings))
    ]
    assert "unknown" not in {x.category for x in Parser().parse_text(text)}


def test_a_skip_says_why(findings):
    (_, skipped) = parsed(ktap.render([findings.equal, findings.allowed]))
    assert skipped == (True, "clang", "SKIP", "not installed")


def test_the_diagnostics_stand_before_their_result(findings):
    lines = ktap.render([findings.different]).splitlines()
    assert lines[2:4] == [f"# {findings.difference}", "not ok 1 gcc -m32 layouts [i386]"]
