"""The formats that Findings are reported in.

Each is rendered by a module of reports/, which has one function ``render(findings) -> str`` and is
imported when it is asked for.
"""

import sys
from collections.abc import Iterable, Sequence

from runstate_abi.layouts.findings import Finding
from runstate_abi.layouts.model import WitnessError

# What --format takes, and the module of reports/ that renders it.
# fmt: off
FORMATS = {
    "text":   "text",      # one line per witness, for a person
    "json":   "json",      # everything, with a schema version
    "ktap":   "ktap",      # the kernel's test protocol
    "junit":  "junit",     # GitLab, Jenkins
    "sarif":  "sarif",     # code scanning
    "github": "github",    # annotations of a workflow step
    "gitlab": "gitlab",    # code quality
    "md":     "markdown",  # a step's summary, a comment
}
# fmt: on
# What --coverage adds to the text.
COVERAGE = "coverage"


def rendered(form: str, findings: Sequence[Finding]) -> str:
    """Return the findings in one of FORMATS, or COVERAGE; each line ends with a line break."""
    from importlib import import_module

    module = import_module(f"runstate_abi.tools.reports.{FORMATS.get(form, form)}")
    text: str = module.render(findings)
    return text


def deliver(findings: Sequence[Finding], wanted: Iterable[tuple[str, str]]) -> None:
    """Write each (format, file), ``-`` being stdout. WitnessError if one cannot be written."""
    for form, path in wanted:
        text = rendered(form, findings)
        if path == "-":
            sys.stdout.write(text)
            continue
        try:
            with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
        except OSError as error:
            raise WitnessError(f"{path}: cannot write the report: {error.strerror}") from None
