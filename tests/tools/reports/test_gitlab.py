"""Code quality as GitLab documents it: an array, and what it reads of each issue."""

import json

import jsonschema

from runstate_abi.tools.reports import gitlab

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
    return json.loads(gitlab.render(findings))


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
