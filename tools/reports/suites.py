"""Findings as test suites: KTAP (kselftest, kunit.py) and JUnit XML (GitLab, Jenkins).

What was not asked (see NotChecked) is a skipped test; what could not be checked is a failed one.
"""

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence

from runstate_abi.layouts.findings import Finding, spaced
from runstate_abi.tools.reports.results import Result, Status, command, counted, results


def ktap(findings: Sequence[Finding]) -> str:
    """Return KTAP version 1, as in Documentation/dev-tools/ktap.rst.

    The diagnostics of a result come before it, a description has no ``#``, SKIP has its reason.
    """
    found = results(findings)
    lines = ["KTAP version 1", f"1..{len(found)}"]
    for number, result in enumerate(found, 1):
        description = spaced(result.name).replace("#", "_")
        if result.status is Status.NOT_ASKED:
            lines.append(f"ok {number} {description} # SKIP {spaced('; '.join(result.lines))}")
            continue
        lines += (f"# {spaced(line)}" for line in result.lines)
        lines.append(f"{'not ok' if result.failed else 'ok'} {number} {description}")
    return "".join(f"{line}\n" for line in lines)


def junit(findings: Sequence[Finding]) -> str:
    """Return the JUnit document: a suite is a witness of one source, a case one of its results."""
    found = results(findings)
    suites: dict[tuple[str, str], list[Result]] = {}
    for result in found:
        suites.setdefault((result.witness, result.path or result.source), []).append(result)
    # Jenkins' schema has no count of the skipped for the whole.
    counts = {name: count for name, count in _counts(found).items() if name != "skipped"}
    root = ElementTree.Element("testsuites", {"name": command(findings), **counts})
    for (witness, source), members in suites.items():
        names = {"name": _printable(f"{witness} {source}".strip())}
        suite = ElementTree.SubElement(root, "testsuite", {**names, **_counts(members)})
        suite.extend(map(_case, members))
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'


def _counts(found: Sequence[Result]) -> dict[str, str]:
    return {
        "tests": str(len(found)),
        "failures": str(sum(result.failed for result in found)),
        "errors": "0",
        "skipped": str(counted(found, Status.NOT_ASKED)),
        "time": "0",
    }


def _case(result: Result) -> ElementTree.Element:
    names = {"classname": _printable(f"runstate.{result.witness}"), "name": _printable(result.name)}
    case = ElementTree.Element("testcase", {**names, "time": "0"})
    text = _printable("\n".join(result.lines))
    if result.failed:
        message = {"type": result.rule, "message": _printable(result.lines[0])}
        ElementTree.SubElement(case, "failure", message).text = text
    elif result.status is Status.NOT_ASKED:
        ElementTree.SubElement(case, "skipped", {"message": text})
    if result.source:
        ElementTree.SubElement(case, "system-out").text = _printable(result.source)
    return case


# XML 1.0 cannot express most control characters, and a path may have any of them.
def _printable(text: str) -> str:
    return "".join(c if c in "\n\t" or c.isprintable() else ascii(c)[1:-1] for c in text)
