"""The formats of a report. The module of a format is imported only if it is asked for."""

import sys
from collections.abc import Iterable, Sequence

from runstate_abi.layouts.findings import Finding
from runstate_abi.tools import output

# What --format takes: the module of reports/, and its function ``(findings) -> str``.
# fmt: off
FORMATS = {
    "text":   ("text",     "render"),  # one line per witness, for a person
    "json":   ("json",     "render"),  # everything, with a schema version
    "ktap":   ("suites",   "ktap"),    # the kernel's test protocol
    "junit":  ("suites",   "junit"),   # GitLab, Jenkins
    "sarif":  ("alerts",   "sarif"),   # code scanning
    "github": ("alerts",   "github"),  # annotations of a workflow step
    "gitlab": ("alerts",   "gitlab"),  # code quality
    "md":     ("markdown", "render"),  # a step's summary, a comment
}
# fmt: on
# What --coverage adds to the text: no format that --format takes.
COVERAGE = "coverage"


def rendered(form: str, findings: Sequence[Finding]) -> str:
    """Return the findings in one of FORMATS, or COVERAGE; each line ends with a line break."""
    from importlib import import_module

    module, function = FORMATS.get(form, (COVERAGE, "render"))
    text: str = getattr(import_module(f"runstate_abi.tools.reports.{module}"), function)(findings)
    return text


def deliver(findings: Sequence[Finding], wanted: Iterable[tuple[str, str]]) -> None:
    """Write each (format, file); ``-`` is stdout, and folded on a terminal (WitnessError)."""
    for form, path in wanted:
        text = rendered(form, findings)
        if path == "-" and form in ("text", COVERAGE) and output.columns(sys.stdout):
            output.write(output.plain(text.splitlines()), "never")
        elif path == "-":
            sys.stdout.write(text)
        else:
            output.save(path, text)
