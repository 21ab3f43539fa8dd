"""Findings as GitLab's code quality report: an array of issues, each with a stable fingerprint.

What was allowed to be absent is no issue; the other formats say it.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence

from runstate_abi.layouts.findings import Finding
from runstate_abi.tools.reports.claims import Place, line_in, place_of
from runstate_abi.tools.reports.results import Result, results


def render(findings: Sequence[Finding]) -> str:
    """Return the JSON array; an empty one when nothing fails."""
    issues = [issue for result in results(findings) for issue in _issues(result)]
    return json.dumps(issues, indent=2) + "\n"


def _issues(result: Result) -> Iterator[dict[str, object]]:
    for difference in result.differences:
        stable = f"{result.place} {result.name} {str(difference).partition(' (')[0]}"
        place = place_of(difference)
        if result.path:
            place = Place(
                os.path.relpath(result.path), line_in(result.path, difference, result.names)
            )
        yield _issue(difference.kind, str(difference), stable, place)
    if result.failed and not result.differences:
        text = f"{result.name}: {'; '.join(result.lines)}"
        # Relative: GitLab shows it beside the files of the merge request.
        path = os.path.relpath(result.path) if result.path else "layouts/structs/runstate.py"
        yield _issue("not-checked", text, f"{result.place} {text}", Place(path, 1))


def _issue(kind: str, text: str, stable: str, place: Place) -> dict[str, object]:
    return {
        "type": "issue",
        "check_name": kind,
        "description": text,
        "categories": ["Compatibility"],
        "severity": "critical",
        "fingerprint": hashlib.sha256(os.fsencode(f"{kind} {stable}")).hexdigest(),
        "location": {"path": place.file, "lines": {"begin": place.line}},
    }
