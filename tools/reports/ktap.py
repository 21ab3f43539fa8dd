"""Findings as KTAP, the kernel's test protocol: what kselftest and kunit.py read.

Documentation/dev-tools/ktap.rst: a version line, a plan, a line for each result with the
diagnostics right before it; a description has no ``#``, and SKIP carries its reason.
"""

from collections.abc import Iterator, Sequence

from runstate_abi.layouts.findings import Finding
from runstate_abi.tools.reports.results import Outcome, Result, results


def render(findings: Sequence[Finding]) -> str:
    """Return KTAP version 1."""
    return "".join(f"{line}\n" for line in _lines(results(findings)))


def _lines(found: Sequence[Result]) -> Iterator[str]:
    yield "KTAP version 1"
    yield f"1..{len(found)}"
    for number, result in enumerate(found, 1):
        if result.outcome is Outcome.NOT_ASKED:
            yield f"ok {number} {_description(result)} # SKIP {_one_line('; '.join(result.lines))}"
            continue
        yield from (f"# {_one_line(line)}" for line in result.lines)
        verdict = "not ok" if result.failed else "ok"
        yield f"{verdict} {number} {_description(result)}"


def _description(result: Result) -> str:
    return _one_line(result.name).replace("#", "_")


def _one_line(text: str) -> str:
    return " ".join(text.split())
