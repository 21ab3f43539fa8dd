"""Findings as annotations of a GitHub workflow step: one for each struct, ten at most.

GitHub shows no more than ten of a kind for a step, so all witnesses that disagree about a struct
share one annotation, and the last of ten says how many there were. ``--format github`` also adds
the Markdown report to the step's summary, where there is one.
"""

import os
from collections.abc import Sequence

from runstate_abi.layouts.findings import Finding
from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools.reports import markdown
from runstate_abi.tools.reports.claims import line_in
from runstate_abi.tools.reports.results import Outcome, Result, results

ANNOTATIONS_MAX = 10
LINES_MAX = 20


def render(findings: Sequence[Finding]) -> str:
    """Return the workflow commands, one a line, and add to $GITHUB_STEP_SUMMARY."""
    _summarise(findings)
    found = results(findings)
    groups: dict[str, list[Result]] = {}
    for result in found:
        if result.failed:
            groups.setdefault(result.subject or result.witness, []).append(result)
    lines = [_annotation(subject, members) for subject, members in groups.items()]
    if len(lines) > ANNOTATIONS_MAX:
        rest = len(lines) - ANNOTATIONS_MAX + 1
        more = f"::error title=runstate check::and {rest} more: see the step's summary"
        lines[ANNOTATIONS_MAX - 1 :] = [more]
    skipped = [r for r in found if r.outcome is Outcome.NOT_ASKED]
    if skipped:
        text = "\n".join(f"{r.name}: {'; '.join(r.lines)}" for r in skipped)
        lines.append(f"::notice title=runstate check%3A {len(skipped)} not asked::{_message(text)}")
    return "".join(f"{line}\n" for line in lines)


def _annotation(subject: str, members: Sequence[Result]) -> str:
    texts = [f"{result.name}: {line}" for result in members for line in result.lines]
    if len(texts) > LINES_MAX:
        texts[LINES_MAX - 1 :] = [f"and {len(texts) - LINES_MAX + 1} more lines"]
    first = next((result for result in members if result.path), members[0])
    file, line = first.path, 1
    if file and first.differences:
        line = line_in(file, first.differences[0], first.names)
    what = "differs" if members[0].differences else "not checked"
    properties = [f"file={_property(os.path.relpath(file))},line={line}"] if file else []
    properties.append(f"title={_property(f'runstate check: {subject} {what}')}")
    return f"::error {','.join(properties)}::{_message(chr(10).join(texts))}"


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")


def _summarise(findings: Sequence[Finding]) -> None:
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if not path:
        return
    try:
        with open(path, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(markdown.render(findings))
    except OSError as error:
        raise WitnessError(f"{path}: cannot add the summary: {error.strerror}") from None
