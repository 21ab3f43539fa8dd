"""Results fail exactly when the verdict does, and every difference is in one of them."""

from runstate_abi.layouts.model import Difference
from runstate_abi.tools.reports.results import Status, results


def test_something_fails_exactly_when_the_verdict_does(verdict):
    findings, code = verdict
    assert any(result.failed for result in results(findings)) == (code != 0)


def test_every_difference_is_in_one_result(verdict):
    findings, _ = verdict
    expected = [d for finding in findings for d in finding.differences]
    assert [d for result in results(findings) for d in result.differences] == expected


def test_a_difference_of_no_struct_that_was_found_is_not_lost(findings):
    stray = Difference("golden-mismatch", "other", "", "i386", "a", "b", "x")
    finding = findings.equal._replace(differences=(stray,))
    (result,) = results([finding])
    assert (result.status, result.differences) == (Status.DIFFERS, (stray,))


def test_a_struct_and_the_conditions_are_results_of_their_own(findings):
    condition = Difference("condition-false", "A3", "", "x86_64", "a", "b", "x")
    evaluations = (object(),)
    finding = findings.equal._replace(differences=(condition,), evaluations=evaluations)
    assert [(r.subject, r.failed) for r in results([finding])] == [
        ("vcpu_runstate_info", False),
        ("conditions", True),
    ]


def test_a_name_is_the_same_whatever_the_version(findings):
    (result,) = results([findings.equal])
    assert result.name == "gcc vcpu_runstate_info [x86_64]"


def test_what_is_allowed_is_not_asked_and_what_is_not_fails(findings):
    outcomes = [r.status for r in results([findings.equal, findings.allowed, findings.needed])]
    assert outcomes == [Status.PASSED, Status.NOT_ASKED, Status.UNCHECKED]
