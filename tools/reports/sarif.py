"""Findings as SARIF 2.1.0, for code scanning: rules by kind, locations in the witness's file.

Where the witness is no file (a compiler), the location is the claim's own source line, which every
difference also has as a related location.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from runstate_abi.layouts.findings import NOT_CHECKED, Finding, exit_code
from runstate_abi.layouts.model import Difference
from runstate_abi.tools.reports.claims import line_in, place_of
from runstate_abi.tools.reports.results import Outcome, Result, results

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
# Where that is on the machine that made the report says nothing elsewhere; SARIF lets such a base
# be described and have no URI.
CLAIMS_BASE = "RUNSTATE_ABI"
CLAIMS_BASE_IS = "where the Python package runstate_abi is installed"

# fmt: off
RULES = {
    "size-mismatch":         "A struct is not as long as the ABI says.",
    "alignment-mismatch":    "A struct is not aligned as the ABI says.",
    "offset-mismatch":       "A member is not where the ABI says.",
    "element-size-mismatch": "A member, or an element of it, is not as wide as the ABI says.",
    "count-mismatch":        "An array has not as many elements as the ABI says.",
    "type-mismatch":         "A member is no little-endian integer, and the ABI has one there.",
    "missing-member":        "A member of the ABI is absent.",
    "extra-member":          "There is a member that the ABI does not have.",
    "condition-false":       "One of the kernel's own BUILD_BUG_ON conditions is violated.",
    "rule-broken":           "An update of the runstate area breaks a rule of the rule book.",
    "golden-mismatch":       "What is seen is not what the golden file has.",
    "not-checked":           "Something that had to be checked could not be.",
}
# fmt: on


def render(findings: Sequence[Finding]) -> str:
    """Return one SARIF log with one run."""
    from importlib.metadata import version

    found = results(findings)
    code = exit_code(findings)
    run = {
        "tool": {
            "driver": {
                "name": "runstate-abi",
                "version": version("runstate-abi"),
                "rules": [
                    {"id": rule, "shortDescription": {"text": text}} for rule, text in RULES.items()
                ],
            }
        },
        "invocations": [
            {
                "executionSuccessful": code != NOT_CHECKED,
                "exitCode": code,
                "toolExecutionNotifications": [_skip(r) for r in found if not _said(r)],
            }
        ],
        "originalUriBaseIds": {CLAIMS_BASE: {"description": {"text": CLAIMS_BASE_IS}}},
        "results": [item for result in found for item in _results(result)],
    }
    log = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=2) + "\n"


def _said(result: Result) -> bool:
    return result.outcome is not Outcome.NOT_ASKED


# What was allowed to be absent is said, and is no alert.
def _skip(result: Result) -> dict[str, object]:
    text = f"{result.name}: {'; '.join(result.lines)}"
    return {"level": "note", "message": {"text": f"not asked: {text}"}}


def _results(result: Result) -> Iterator[dict[str, object]]:
    for difference in result.differences:
        claim = _claim(difference)
        located = [claim]
        if result.path:
            located = [_file(result.path, line_in(result.path, difference, result.names))]
        yield {
            **_result(difference.kind, str(difference), result),
            "locations": located,
            "relatedLocations": [{**claim, "message": {"text": "what the ABI says"}}],
        }
    if result.outcome is Outcome.UNCHECKED:
        text = f"{result.name}: {'; '.join(result.lines)}"
        claims: dict[str, object] = {
            "physicalLocation": _claims_file("layouts/structs/runstate.py", 1)
        }
        located = [_file(result.path)] if result.path else [claims]
        yield {**_result("not-checked", text, result), "locations": located}


def _result(rule: str, text: str, result: Result) -> dict[str, object]:
    # The same alert in the next run, whatever the build-id: the text up to its source.
    what = text.partition(" (")[0] if result.differences else ""
    stable = f"{rule} {result.place} {result.name} {what}"
    return {
        "ruleId": rule,
        "ruleIndex": list(RULES).index(rule),
        "level": "error",
        "kind": "fail",
        "message": {"text": text},
        "partialFingerprints": {"runstate/v1": hashlib.sha256(os.fsencode(stable)).hexdigest()},
    }


# A file below the current folder is named relative to it, as a repository's is.
def _file(path: str, line: int = 1) -> dict[str, object]:
    path = path.partition("!")[0] if not os.path.exists(path) else path
    absolute = os.path.abspath(path)
    inside = os.path.relpath(absolute)
    uri = quote(os.fsencode(inside)) if not inside.startswith("..") else Path(absolute).as_uri()
    place = {"artifactLocation": {"uri": uri}, "region": {"startLine": line}}
    return {"physicalLocation": place}


def _claim(difference: Difference) -> dict[str, object]:
    return {"physicalLocation": _claims_file(*place_of(difference))}


def _claims_file(file: str, line: int) -> dict[str, object]:
    return {
        "artifactLocation": {"uri": file, "uriBaseId": CLAIMS_BASE},
        "region": {"startLine": line},
    }
