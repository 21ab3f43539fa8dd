"""Coverage as text and as values: every invariant once, and nobody's silence a yes."""

import json

from runstate_abi.tools.reports import coverage
from runstate_abi.tools.reports import json as as_json


def test_every_invariant_is_a_line_and_the_last_line_counts(findings):
    lines = coverage.render([findings.equal]).splitlines()
    assert lines[1].split()[0] == "A1"
    assert lines[-1].startswith("13 of 34 declared invariants confirmed by somebody; by nobody: A2")


def test_a_denial_is_said(findings):
    wrong = findings.difference._replace(abi="x86_64")
    text = coverage.render([findings.equal._replace(differences=(wrong,))])
    (line,) = [x for x in text.splitlines() if x.startswith("vcpu_runstate_info ")]
    assert line.endswith("DENIED BY gcc [x86_64]; nobody")


def test_the_json_says_the_same(findings):
    values = json.loads(as_json.render([findings.equal]))["coverage"]
    assert len(values) == 34
    by_id = {value["id"]: value for value in values}
    assert by_id["A1"]["confirmed_by"] == ["gcc [x86_64]"]
    assert by_id["A2"]["confirmed_by"] == []
