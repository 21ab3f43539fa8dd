"""Findings as JUnit XML: what GitLab (``reports: junit``) and Jenkins show.

A suite is a witness of one source, a case one of its results. A skipped case was not asked (see
NotChecked); whatever could not be checked is a failure.
"""

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence

from runstate_abi.layouts.findings import Finding
from runstate_abi.tools.reports.results import Outcome, Result, counted, results


def render(findings: Sequence[Finding]) -> str:
    """Return the document, declaration included."""
    found = results(findings)
    suites: dict[tuple[str, str], list[Result]] = {}
    for result in found:
        suites.setdefault((result.witness, result.path or result.source), []).append(result)
    # Jenkins' schema has no count of the skipped for the whole.
    counts = {name: count for name, count in _counts(found).items() if name != "skipped"}
    root = ElementTree.Element("testsuites", {"name": "runstate check", **counts})
    for (witness, source), members in suites.items():
        root.append(_suite(f"{witness} {source}".strip(), members))
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'


def _suite(name: str, members: Sequence[Result]) -> ElementTree.Element:
    suite = ElementTree.Element("testsuite", {"name": _printable(name), **_counts(members)})
    for result in members:
        suite.append(_case(result))
    return suite


def _counts(found: Sequence[Result]) -> dict[str, str]:
    return {
        "tests": str(len(found)),
        "failures": str(sum(result.failed for result in found)),
        "errors": "0",
        "skipped": str(counted(found, Outcome.NOT_ASKED)),
        "time": "0",
    }


def _case(result: Result) -> ElementTree.Element:
    names = {"classname": _printable(f"runstate.{result.witness}"), "name": _printable(result.name)}
    case = ElementTree.Element("testcase", {**names, "time": "0"})
    text = _printable("\n".join(result.lines))
    if result.failed:
        message = {"type": result.rule, "message": _printable(result.lines[0])}
        ElementTree.SubElement(case, "failure", message).text = text
    elif result.outcome is Outcome.NOT_ASKED:
        ElementTree.SubElement(case, "skipped", {"message": text})
    if result.source:
        ElementTree.SubElement(case, "system-out").text = _printable(result.source)
    return case


# XML 1.0 has no way to say most control characters, and a path may have any of them.
def _printable(text: str) -> str:
    return "".join(c if c in "\n\t" or c.isprintable() else ascii(c)[1:-1] for c in text)
