"""Findings as Markdown: for a step's summary, a merge request's comment, an issue.

GitHub refuses a summary of more than 1 MiB. A report that is too long loses its end, with the
results that passed, and says how many lines it lost.
"""

from collections.abc import Iterator, Sequence

from runstate_abi.layouts.exit_status import DIFFERENT, EQUAL
from runstate_abi.layouts.findings import Finding, exit_code
from runstate_abi.tools.reports.results import Result, Status, command, counted, results

SIZE_MAX = 900 << 10  # bytes; a step may have written something before

VERDICTS = {EQUAL: "all compared and equal", DIFFERENT: "there are differences"}
MARKS = {
    Status.PASSED: "ok",
    Status.DIFFERS: "**differs**",
    Status.UNCHECKED: "**not checked**",
    Status.NOT_ASKED: "not asked",
}


ESCAPED = str.maketrans(
    {"|": "\\|", "\n": " ", "\r": " ", "<": "&lt;", "*": "\\*", "_": "\\_", "`": "\\`"}
)


def render(findings: Sequence[Finding]) -> str:
    found = results(findings)
    verdict = VERDICTS.get(exit_code(findings), "not everything could be checked")
    counts = ", ".join(f"{counted(found, status)} {status.value}" for status in Status)
    head = [f"### {command(findings)}: {verdict}", "", counts, ""]
    # Failures first: they must survive the limit.
    rows = sorted(found, key=lambda result: not result.failed)
    lines = [*head, "| | witness | what | ABI | source |", "|---|---|---|---|---|"]
    for row in rows:
        cells = (x.translate(ESCAPED) for x in (row.witness, row.subject, row.abi, row.source))
        lines.append(f"| {MARKS[row.status]} | {' | '.join(cells)} |")
    lines += _details(rows)
    size = 0
    kept: list[str] = []
    for line in lines:
        size += len(line.encode(errors="backslashreplace")) + 1
        if size > SIZE_MAX:
            fence = ["```"] if "```text" in kept else []
            kept += [*fence, "", f"{len(lines) - len(kept)} lines were left out."]
            break
        kept.append(line)
    return "".join(f"{line}\n" for line in kept)


def _details(rows: Sequence[Result]) -> Iterator[str]:
    said = [row for row in rows if row.lines]
    if not said:
        return
    yield from ("", "```text")
    for row in said:
        for line in row.lines:
            prefix = "" if row.differences else f"{row.status.value}: {row.name}: "
            yield f"{prefix}{line}".replace("```", "'''")
    yield "```"
