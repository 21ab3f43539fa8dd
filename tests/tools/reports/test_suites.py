"""KTAP and JUnit XML as their parsers read them: KTAP by the kernel's rules, JUnit as CI counts."""

import re
import xml.etree.ElementTree as ElementTree

import pytest
from junitparser import Failure, JUnitXml, Skipped
from tap.parser import Parser

from runstate_abi.tools.reports import suites

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


def test_ktap_it_fails_when_the_verdict_does(verdict):
    findings, code = verdict
    assert all(ok for ok, *_ in parsed(suites.ktap(findings))) == (code == 0)


def test_a_tap_parser_reads_the_same(verdict):
    findings, _ = verdict
    # A TAP parser does not know the kernel's version line; everything else is TAP 13.
    text = suites.ktap(findings).replace("KTAP version 1", "TAP version 13")
    seen = [x for x in Parser().parse_text(text) if x.category == "test"]
    assert [(x.ok, x.skip) for x in seen] == [
        (ok, directive == "SKIP") for ok, _, directive, _ in parsed(suites.ktap(findings))
    ]
    assert "unknown" not in {x.category for x in Parser().parse_text(text)}


def test_ktap_a_skip_says_why(findings):
    (_, skipped) = parsed(suites.ktap([findings.equal, findings.allowed]))
    assert skipped == (True, "clang", "SKIP", "not installed")


def test_the_diagnostics_stand_before_their_result(findings):
    lines = suites.ktap([findings.different]).splitlines()
    assert lines[2:4] == [f"# {findings.difference}", "not ok 1 gcc -m32 layouts [i386]"]


def cases(findings):
    document = JUnitXml.fromstring(suites.junit(findings).encode())
    return [case for suite in document for case in suite]


def test_junit_it_fails_when_the_verdict_does(verdict):
    findings, code = verdict
    failed = [c for c in cases(findings) if any(isinstance(r, Failure) for r in c.result)]
    assert bool(failed) == (code != 0)


def test_the_counts_are_those_of_the_cases(verdict):
    findings, _ = verdict
    document = JUnitXml.fromstring(suites.junit(findings).encode())
    declared = counts(document)
    document.update_statistics()
    assert declared == counts(document)


def counts(document):
    suites = [(s.tests, s.failures, s.errors, s.skipped) for s in document]
    return document.tests, document.failures, document.errors, suites


def test_a_failure_has_its_lines_and_its_kind(findings):
    (case,) = cases([findings.different])
    (failure,) = case.result
    assert (failure.type, failure.text) == ("size-mismatch", str(findings.difference))


def test_junit_a_skip_says_why(findings):
    _, case = cases([findings.equal, findings.allowed])
    assert [(type(r), r.message) for r in case.result] == [(Skipped, "not installed")]


def test_it_can_be_read_twice_with_the_same_names(findings):
    names = [case.name for case in cases([findings.equal, findings.different])]
    assert names == [case.name for case in cases([findings.equal, findings.different])]
    assert len(set(names)) == len(names)


def test_no_element_is_unknown_to_jenkins(verdict):
    findings, _ = verdict
    tags = {element.tag for element in ElementTree.fromstring(suites.junit(findings)).iter()}
    assert tags <= {"testsuites", "testsuite", "testcase", "failure", "skipped", "system-out"}
