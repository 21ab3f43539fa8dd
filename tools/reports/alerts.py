"""Findings as alerts: GitHub's annotations, GitLab's code quality issues, SARIF 2.1.0.

Each alert points to a line of the file that was read. If the witness is no file (a compiler), it
points to the source line of the claim.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from runstate_abi.layouts.exit_status import NOT_CHECKED
from runstate_abi.layouts.findings import Finding, exit_code
from runstate_abi.layouts.model import Difference
from runstate_abi.tools import output
from runstate_abi.tools.reports import markdown
from runstate_abi.tools.reports.claims import SourceLine, line_in, place_of
from runstate_abi.tools.reports.results import Result, Status, command, results

ANNOTATIONS_MAX = 10  # GitHub shows at most ten annotations of a kind for a step
LINES_MAX = 20

SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
# The absolute path on the machine that made the report says nothing elsewhere. SARIF allows a base
# that has a description and no URI.
CLAIMS_BASE = "RUNSTATE_ABI"
CLAIMS_BASE_IS = "where the Python package runstate_abi is installed"
CLAIMS_FILE = SourceLine("layouts/structs/runstate.py", 1)

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


def github(findings: Sequence[Finding]) -> str:
    """Return a workflow step's commands, one for each struct; append to $GITHUB_STEP_SUMMARY."""
    if path := os.environ.get("GITHUB_STEP_SUMMARY"):
        output.save(path, markdown.render(findings), "a")
    found = results(findings)
    groups: dict[str, list[Result]] = {}
    for result in found:
        if result.failed:
            groups.setdefault(result.subject or result.witness, []).append(result)
    title = command(findings)
    lines = [_annotation(title, subject, members) for subject, members in groups.items()]
    if len(lines) > ANNOTATIONS_MAX:
        rest = len(lines) - ANNOTATIONS_MAX + 1
        more = f"::error title={title}::and {rest} more: see the step's summary"
        lines[ANNOTATIONS_MAX - 1 :] = [more]
    skipped = [result for result in found if result.status is Status.NOT_ASKED]
    if skipped:
        text = _message("\n".join(result.sentence for result in skipped))
        lines.append(f"::notice title={title}%3A {len(skipped)} not asked::{text}")
    return "".join(f"{line}\n" for line in lines)


def _annotation(title: str, subject: str, members: Sequence[Result]) -> str:
    texts = [f"{result.name}: {line}" for result in members for line in result.lines]
    if len(texts) > LINES_MAX:
        texts[LINES_MAX - 1 :] = [f"and {len(texts) - LINES_MAX + 1} more lines"]
    first = next((result for result in members if result.path), members[0])
    properties = []
    if first.path:
        place = SourceLine(first.path, 1)
        if first.differences:
            place = _place(first, first.differences[0])
        properties = [f"file={_property(os.path.relpath(place.file))},line={place.line}"]
    what = "differs" if members[0].differences else "not checked"
    if first.rule == "rule-broken":
        what = "is broken"
    properties.append(f"title={_property(f'{title}: {subject} {what}')}")
    return f"::error {','.join(properties)}::{_message(chr(10).join(texts))}"


# The line of source code if it is known, else the line of the file that was read.
def _place(result: Result, difference: Difference) -> SourceLine:
    if difference.code:
        return SourceLine(difference.code[0].file, difference.code[0].line)
    return SourceLine(result.path, line_in(result.path, difference, result.names))


# What was seen, without what changes from run to run: its source, and the line of code.
def _stable(difference: Difference) -> str:
    return str(difference._replace(code=())).partition(" (")[0]


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")


def gitlab(findings: Sequence[Finding]) -> str:
    """Return an array of issues, empty if nothing fails. What was not asked is no issue."""
    issues = [issue for result in results(findings) for issue in _issues(result)]
    return json.dumps(issues, indent=2) + "\n"


def _issues(result: Result) -> Iterator[dict[str, object]]:
    # Relative: GitLab shows it beside the files of the merge request.
    path = os.path.relpath(result.path) if result.path else ""
    for difference in result.differences:
        stable = f"{result.place} {result.name} {_stable(difference)}"
        place = place_of(difference)
        if path:
            place = _place(result, difference)
            place = place._replace(file=os.path.relpath(place.file))
        yield _issue(difference.kind, str(difference), stable, place)
    if result.failed and not result.differences:
        place = SourceLine(path, 1) if path else CLAIMS_FILE
        yield _issue("not-checked", result.sentence, f"{result.place} {result.sentence}", place)


def _issue(kind: str, text: str, stable: str, place: SourceLine) -> dict[str, object]:
    return {
        "type": "issue",
        "check_name": kind,
        "description": text,
        "categories": ["Compatibility"],
        "severity": "critical",
        "fingerprint": _fingerprint(f"{kind} {stable}"),
        "location": {"path": place.file, "lines": {"begin": place.line}},
    }


# The same alert has the same fingerprint in the next run, whatever the build-id.
def _fingerprint(stable: str) -> str:
    return hashlib.sha256(os.fsencode(stable)).hexdigest()


def sarif(findings: Sequence[Finding]) -> str:
    from importlib.metadata import version

    found = results(findings)
    code = exit_code(findings)
    skipped = [result for result in found if result.status is Status.NOT_ASKED]
    driver = {
        "name": "runstate-abi",
        "version": version("runstate-abi"),
        "rules": [{"id": rule, "shortDescription": {"text": text}} for rule, text in RULES.items()],
    }
    invocation = {
        "executionSuccessful": code != NOT_CHECKED,
        "exitCode": code,
        "toolExecutionNotifications": [
            {"level": "note", "message": {"text": f"not asked: {result.sentence}"}}
            for result in skipped
        ],
    }
    run = {
        "tool": {"driver": driver},
        "invocations": [invocation],
        "originalUriBaseIds": {CLAIMS_BASE: {"description": {"text": CLAIMS_BASE_IS}}},
        "results": [item for result in found for item in _sarif_results(result)],
    }
    log = {"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=2) + "\n"


def _sarif_results(result: Result) -> Iterator[dict[str, object]]:
    for difference in result.differences:
        claim = _claimed(place_of(difference))
        located = claim
        if result.path:
            located = _in_file(*_place(result, difference))
        callers = [
            {**_in_file(code.file, code.line), "message": {"text": f"from {code.function}"}}
            for code in difference.code[1:]
        ]
        yield {
            **_sarif_result(difference.kind, str(difference), result, _stable(difference)),
            "locations": [located],
            "relatedLocations": [{**claim, "message": {"text": "what the ABI says"}}, *callers],
        }
    if result.status is Status.UNCHECKED:
        located = _in_file(result.path) if result.path else _claimed(CLAIMS_FILE)
        yield {**_sarif_result("not-checked", result.sentence, result), "locations": [located]}


def _sarif_result(rule: str, text: str, result: Result, what: str = "") -> dict[str, object]:
    return {
        "ruleId": rule,
        "ruleIndex": list(RULES).index(rule),
        "level": "error",
        "kind": "fail",
        "message": {"text": text},
        "partialFingerprints": {
            "runstate/v1": _fingerprint(f"{rule} {result.place} {result.name} {what}")
        },
    }


# A file below the current folder is named relative to it, as in a repository.
def _in_file(path: str, line: int = 1) -> dict[str, object]:
    path = path.partition("!")[0] if not os.path.exists(path) else path
    absolute = os.path.abspath(path)
    inside = os.path.relpath(absolute)
    uri = quote(os.fsencode(inside)) if not inside.startswith("..") else Path(absolute).as_uri()
    place = {"artifactLocation": {"uri": uri}, "region": {"startLine": line}}
    return {"physicalLocation": place}


def _claimed(place: SourceLine) -> dict[str, object]:
    where = {
        "artifactLocation": {"uri": place.file, "uriBaseId": CLAIMS_BASE},
        "region": {"startLine": place.line},
    }
    return {"physicalLocation": where}
