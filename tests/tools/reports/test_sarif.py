"""SARIF 2.1.0: valid against its schema, with rules and locations that lead somewhere."""

import json
from pathlib import Path

import jsonschema
import pytest

from runstate_abi.layouts.model import Difference
from runstate_abi.layouts.structs import runstate
from runstate_abi.tools.reports import sarif


@pytest.fixture(scope="module")
def validator(data):
    schema = json.loads((data / "sarif" / "sarif-2.1.0-rtm.5.json").read_text())
    return jsonschema.Draft4Validator(schema)


def run_of(findings):
    (run,) = json.loads(sarif.render(findings))["runs"]
    return run


def test_it_is_valid_against_the_schema(verdict, validator):
    findings, _ = verdict
    assert [e.message for e in validator.iter_errors(json.loads(sarif.render(findings)))] == []


def test_the_validator_refuses_what_it_should(validator, findings):
    log = json.loads(sarif.render([findings.different]))
    log["runs"][0]["results"][0]["level"] = "fatal"
    assert not validator.is_valid(log)


def test_there_are_results_when_the_verdict_fails(verdict):
    findings, code = verdict
    run = run_of(findings)
    assert bool(run["results"]) == (code != 0)
    assert run["invocations"][0]["exitCode"] == code
    assert {r["level"] for r in run["results"]} <= {"error"}


def test_every_result_has_a_rule_and_a_location(verdict):
    findings, _ = verdict
    run = run_of(findings)
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert result["locations"]


def test_the_location_is_the_witness_and_the_related_one_the_claim(findings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kvm.ko").touch()
    moved = Difference("offset-mismatch", "vcpu_runstate_info", "time", "x86_64", "16", "24", "x")
    finding = findings.different._replace(path=str(tmp_path / "kvm.ko"), differences=(moved,))
    (result,) = run_of([finding])["results"]
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == {"uri": "kvm.ko"}
    claim = result["relatedLocations"][0]["physicalLocation"]
    assert claim["artifactLocation"]["uri"] == "layouts/structs/runstate.py"
    line = Path(runstate.__file__).read_text().splitlines()[claim["region"]["startLine"] - 1]
    assert line.split() == ["Field(0x10,", '"time",', "UINT64,", "4),"]


def test_a_compilers_result_is_at_the_claim(findings):
    (result,) = run_of([findings.different])["results"]
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uriBaseId"] == sarif.CLAIMS_BASE


def test_what_was_skipped_is_a_note_and_no_alert(findings):
    run = run_of([findings.equal, findings.allowed])
    assert run["results"] == []
    (note,) = run["invocations"][0]["toolExecutionNotifications"]
    assert note["message"]["text"] == "not asked: clang: not installed"


def test_an_alert_is_the_same_in_the_next_build(findings):
    def prints(source):
        moved = findings.difference._replace(source=source)
        finding = findings.different._replace(source=source, differences=(moved,))
        return [r["partialFingerprints"] for r in run_of([finding])["results"]]

    assert prints("gcc, 12") == prints("gcc, 13")


def test_where_the_package_is_installed_is_not_told(verdict):
    findings, _ = verdict
    (base,) = run_of(findings)["originalUriBaseIds"].values()
    assert list(base) == ["description"]
    assert str(Path(runstate.__file__).parent.parent) not in sarif.render(findings)
