"""JUnit XML as junitparser reads it, and with the attributes that GitLab and Jenkins count."""

import xml.etree.ElementTree as ElementTree

from junitparser import Failure, JUnitXml, Skipped

from runstate_abi.tools.reports import junit


def cases(findings):
    document = JUnitXml.fromstring(junit.render(findings).encode())
    return [case for suite in document for case in suite]


def test_it_fails_when_the_verdict_does(verdict):
    findings, code = verdict
    failed = [c for c in cases(findings) if any(isinstance(r, Failure) for r in c.result)]
    assert bool(failed) == (code != 0)


def test_the_counts_are_those_of_the_cases(verdict):
    findings, _ = verdict
    document = JUnitXml.fromstring(junit.render(findings).encode())
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


def test_a_skip_says_why(findings):
    _, case = cases([findings.equal, findings.allowed])
    assert [(type(r), r.message) for r in case.result] == [(Skipped, "not installed")]


def test_it_can_be_read_twice_with_the_same_names(findings):
    names = [case.name for case in cases([findings.equal, findings.different])]
    assert names == [case.name for case in cases([findings.equal, findings.different])]
    assert len(set(names)) == len(names)


def test_no_element_is_unknown_to_jenkins(verdict):
    findings, _ = verdict
    tags = {element.tag for element in ElementTree.fromstring(junit.render(findings)).iter()}
    assert tags <= {"testsuites", "testsuite", "testcase", "failure", "skipped", "system-out"}
