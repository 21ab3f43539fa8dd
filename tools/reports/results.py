"""Findings as test results: what a CI system counts, shows and links to.

A witness becomes one result for each struct it describes, one for the kernel's conditions and one
for each thing that could not be checked. Without a failing result the exit status is 0.
"""

import os
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import NamedTuple

from runstate_abi.layouts.exit_status import EQUAL
from runstate_abi.layouts.findings import MACHINE_CODE, Finding, exit_code
from runstate_abi.layouts.model import Difference


class Status(Enum):
    """The outcome of a result. UNCHECKED fails, NOT_ASKED does not (see NotChecked)."""

    PASSED = "passed"
    DIFFERS = "differs"
    UNCHECKED = "not checked"
    NOT_ASKED = "not asked"


class Result(NamedTuple):
    """One result. ``path`` and ``names`` are the Finding's."""

    witness: str
    subject: str  # a struct's name, ``conditions``, or what was not checked
    abi: str
    source: str
    path: str
    status: Status
    lines: tuple[str, ...] = ()  # why it is not PASSED
    differences: tuple[Difference, ...] = ()  # those behind ``lines``
    names: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """A name that is the same in the next run: no versions, no build-ids."""
        file = os.path.basename(self.path)
        abi = f"[{self.abi}]" if self.abi else ""
        subject = "" if self.subject == self.witness else self.subject
        return " ".join(part for part in (self.witness, file, subject, abi) if part)

    @property
    def sentence(self) -> str:
        return f"{self.name}: {'; '.join(self.lines)}"

    @property
    def place(self) -> str:
        """The folder of its file, relative to here: two files may have one name."""
        return os.path.dirname(os.path.relpath(self.path)) if self.path else ""

    @property
    def failed(self) -> bool:
        return self.status in (Status.DIFFERS, Status.UNCHECKED)

    @property
    def rule(self) -> str:
        return self.differences[0].kind if self.differences else "not-checked"


CONDITIONS = "conditions"


def command(findings: Sequence[Finding]) -> str:
    """Return the name of the command that found this, for a title."""
    judged = any(finding.witness == MACHINE_CODE for finding in findings)
    return "runstate judge" if judged else "runstate check"


def results(findings: Sequence[Finding]) -> list[Result]:
    """Return the results of all findings; one that fails if the verdict does and none else did."""
    found = [result for finding in findings for result in _of_finding(finding)]
    if exit_code(findings) != EQUAL and not any(result.failed for result in found):
        why = ("nothing was compared",)
        found.append(Result("runstate", "comparison", "", "", "", Status.UNCHECKED, why))
    return found


def counted(found: Sequence[Result], status: Status) -> int:
    return sum(result.status is status for result in found)


def _of_finding(finding: Finding) -> Iterator[Result]:
    subjects = dict.fromkeys(layout.name for layout in finding.found)
    if finding.evaluations:
        subjects[CONDITIONS] = None
    if not subjects and (finding.compared or finding.differences):
        subjects[finding.about or "layouts"] = None
    # A difference about something without a result of its own goes to the first result.
    belonging: dict[str, list[Difference]] = {subject: [] for subject in subjects}
    for difference in finding.differences:
        subject = CONDITIONS if difference.kind == "condition-false" else difference.struct
        belonging.get(subject, belonging[next(iter(subjects))]).append(difference)
    for subject, differences in belonging.items():
        status = Status.DIFFERS if differences else Status.PASSED
        notes = [f"note: {note}" for note in finding.notes] if differences else []
        place = (finding.witness, subject, finding.abi, finding.source, finding.path)
        lines = (*map(str, differences), *notes)
        yield Result(*place, status, lines, tuple(differences), finding.names)
    for item in finding.not_checked:
        subject = "" if item.what == finding.witness else item.what
        status = Status.UNCHECKED if item.fails else Status.NOT_ASKED
        source = finding.source or finding.witness
        path = finding.path or (finding.source if os.path.exists(finding.source) else "")
        yield Result(finding.witness, subject, finding.abi, source, path, status, (item.why,))
