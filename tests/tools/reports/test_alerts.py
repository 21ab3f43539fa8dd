"""GitHub's commands, GitLab's issues and SARIF: valid, and they lead somewhere."""

import json
import re
from pathlib import Path

import jsonschema
import pytest

from runstate_abi.layouts.model import Difference
from runstate_abi.layouts.structs import runstate
from runstate_abi.tools.reports import alerts

COMMAND = re.compile(r"::(?P<kind>error|notice)(?: (?P<properties>[^:]*))?::(?P<message>.*)")


@pytest.fixture(autouse=True)
def outside_github(monkeypatch):
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


def commands(findings):
    """The commands as the runner reads them: [(kind, properties, message)]."""
    read = []
    for line in alerts.github(findings).splitlines():
        match = COMMAND.fullmatch(line)
        assert match, line
        pairs = [pair.split("=", 1) for pair in match["properties"].split(",")]
        read.append(
            (match["kind"], {n: unescaped(v) for n, v in pairs}, unescaped(match["message"]))
        )
    return read


def unescaped(text):
    for code, character in (("%0A", "\n"), ("%0D", "\r"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(code, character)
    return text


def test_there_is_an_error_when_the_verdict_fails(verdict):
    findings, code = verdict
    assert any(kind == "error" for kind, *_ in commands(findings)) == (code != 0)


def test_witnesses_that_disagree_about_a_struct_share_one(findings):
    wrong = findings.different._replace(found=findings.equal.found)
    (only,) = commands([wrong, wrong._replace(witness="clang -m32")])
    assert only[1]["title"] == "runstate check: vcpu_runstate_info differs"
    assert [line.split(" ")[0] for line in only[2].splitlines()] == ["gcc", "clang"]


def test_the_file_is_named_as_it_was_given(findings):
    names = {"a,b:c%d.ko": "a,b:c%d.ko"}
    for path, shown in names.items():
        ((_, properties, _),) = commands([findings.different._replace(path=path)])
        assert properties["file"] == shown


def test_there_are_no_more_than_ten(findings):
    many = [
        findings.needed._replace(not_checked=(findings.part.not_checked[0]._replace(what=f"s{n}"),))
        for n in range(25)
    ]
    read = commands(many)
    assert len(read) == 10
    assert read[-1][2] == "and 16 more: see the step's summary"


def test_a_skip_is_a_notice(findings):
    ((kind, _, message),) = commands([findings.equal, findings.allowed])
    assert (kind, message) == ("notice", "clang: not installed")


def test_the_summary_is_added_to(findings, tmp_path, monkeypatch):
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    alerts.github([findings.different])
    assert summary.read_text().startswith("before\n### runstate check: there are differences\n")


# docs.gitlab.com, "Code Quality report format": what GitLab requires.
SCHEMA = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["description", "check_name", "fingerprint", "severity", "location"],
        "properties": {
            "description": {"type": "string", "minLength": 1},
            "check_name": {"type": "string", "minLength": 1},
            "fingerprint": {"type": "string", "minLength": 32},
            "severity": {"enum": ["info", "minor", "major", "critical", "blocker"]},
            "location": {
                "type": "object",
                "required": ["path", "lines"],
                "properties": {
                    "path": {"type": "string", "pattern": "^[^/]"},
                    "lines": {
                        "type": "object",
                        "required": ["begin"],
                        "properties": {"begin": {"type": "integer", "minimum": 1}},
                    },
                },
            },
        },
    },
}


def issues(findings):
    return json.loads(alerts.gitlab(findings))


def test_it_is_what_gitlab_reads(verdict):
    findings, code = verdict
    jsonschema.validate(issues(findings), SCHEMA)
    assert bool(issues(findings)) == (code != 0)


def test_fingerprints_differ_and_outlive_a_build(findings):
    again = findings.different._replace(
        source="gcc -m32, 13",
        differences=(findings.difference._replace(source="gcc -m32, 13"),),
    )
    first, second = issues([findings.different]), issues([again])
    assert [i["fingerprint"] for i in first] == [i["fingerprint"] for i in second]
    both = issues([findings.different, findings.needed])
    assert len({i["fingerprint"] for i in both}) == 2


@pytest.fixture(scope="module")
def validator(data):
    schema = json.loads((data / "sarif" / "sarif-2.1.0-rtm.5.json").read_text())
    return jsonschema.Draft4Validator(schema)


def run_of(findings):
    (run,) = json.loads(alerts.sarif(findings))["runs"]
    return run


def test_it_is_valid_against_the_schema(verdict, validator):
    findings, _ = verdict
    assert [e.message for e in validator.iter_errors(json.loads(alerts.sarif(findings)))] == []


def test_the_validator_refuses_what_it_should(validator, findings):
    log = json.loads(alerts.sarif([findings.different]))
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
    assert place["artifactLocation"]["uriBaseId"] == alerts.CLAIMS_BASE


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
    assert str(Path(runstate.__file__).parent.parent) not in alerts.sarif(findings)
