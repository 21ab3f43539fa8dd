"""What a list of Findings comes to: the verdict, and the formats it can be said in.

Law of this file: exit_code() is the one place where Findings become a verdict; each renderer is a
module of reports/ with one function, ``render(findings) -> str``, imported when it is asked for.
"""

import sys
from collections.abc import Iterable, Sequence

from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools.checking.survey import Finding

EQUAL, DIFFERENT, NOT_CHECKED = 0, 1, 3

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


def exit_code(findings: Sequence[Finding]) -> int:
    """Return 1 if anything differs, else 3 if something could not be checked, else 0.

    Nothing compared at all is "could not check" too.
    """
    if any(finding.differences for finding in findings):
        return DIFFERENT
    if any(item.fails for finding in findings for item in finding.not_checked):
        return NOT_CHECKED
    return EQUAL if any(f.compared or f.evaluations for f in findings) else NOT_CHECKED


def unreadable(finding: Finding) -> bool:
    """Tell whether a witness that had to be asked could not be asked at all."""
    own = [item for item in finding.not_checked if item.what == finding.witness]
    return not finding.compared and any(item.fails for item in own)


def complaint(finding: Finding) -> str:
    """Return why, on one line, beginning with the source or the witness."""
    why = "; ".join(item.why for item in finding.not_checked)
    name = finding.source or finding.witness
    return why if why.startswith(name) else f"{name}: {why}"


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
