"""Findings as text and as JSON.

Law of this file: it renders and decides nothing; exit_code() is the one place where a list of
Findings becomes a verdict.
"""

import os
import sys
from collections.abc import Iterator, Sequence

from runstate_abi.layouts.model import Layout
from runstate_abi.layouts.runstate import COMPAT, NATIVE
from runstate_abi.tools.survey import Finding
from runstate_abi.tools.tables import aligned

SCHEMA = "runstate-check/1"

EQUAL, DIFFERENT, NOT_CHECKED = 0, 1, 3


def exit_code(findings: Sequence[Finding]) -> int:
    """Return 1 if anything differs, else 3 if something could not be checked, else 0.

    Nothing compared at all is "could not check" too.
    """
    if any(finding.differences for finding in findings):
        return DIFFERENT
    if any(item.fails for finding in findings for item in finding.not_checked):
        return NOT_CHECKED
    return EQUAL if any(f.compared or f.evaluations for f in findings) else NOT_CHECKED


def text(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield the table, one line per witness, each difference on a line of its own under it."""
    readable = [finding for finding in findings if not unreadable(finding)]
    table = [[_mark(f), f.witness, _abi(f), _summary(f)] for f in readable]
    for line, finding in zip(aligned(table), readable, strict=True):
        yield line
        yield from map(str, finding.differences)
        yield from (f"    note: {note}" for note in finding.notes)
        for item in finding.not_checked:
            if item.what != finding.witness:
                yield f"    not checked: {item.what}: {item.why}"
    if readable:
        yield ""
        yield _total(findings)


def unreadable(finding: Finding) -> bool:
    """Tell whether a witness that had to be asked could not be asked at all."""
    own = [item for item in finding.not_checked if item.what == finding.witness]
    return not finding.compared and any(item.fails for item in own)


def complaint(finding: Finding) -> str:
    """Return why, on one line, beginning with the source or the witness."""
    why = "; ".join(item.why for item in finding.not_checked)
    name = finding.source or finding.witness
    return why if why.startswith(name) else f"{name}: {why}"


# The words of the commands for the structs: the size is in bytes.
_SHORT = {NATIVE.name: "native", COMPAT.name: "compat", f"xen_{COMPAT.name}": "Xen's compat"}


def _mark(finding: Finding) -> str:
    if finding.differences:
        return "DIFFERS"
    if any(item.fails for item in finding.not_checked):
        return "missing"
    return "ok" if finding.compared or finding.evaluations else "-"


def _abi(finding: Finding) -> str:
    if not finding.abi:
        return ""
    return f"[{finding.abi}, assumed]" if finding.assumed else f"[{finding.abi}]"


def _summary(finding: Finding) -> str:
    parts = [", ".join(dict.fromkeys(f"{_SHORT[x.name]} {x.size}" for x in finding.found))]
    if finding.compared:
        parts.append(f"{finding.compared} compared, {len(finding.differences)} differ")
    if finding.evaluations:
        true = sum(e.holds is True for e in finding.evaluations)
        parts.append(f"{true} of {len(finding.evaluations)} conditions hold")
    if finding.unrecorded:
        parts.append(f"{', '.join(finding.unrecorded)} not recorded")
    own = [item.why for item in finding.not_checked if item.what == finding.witness]
    parts += [f"not checked: {why}" for why in own]
    summary = "; ".join(part for part in parts if part)
    return f"{summary}  ({finding.source})" if finding.source else summary


def _total(findings: Sequence[Finding]) -> str:
    asked = sum(bool(f.compared or f.evaluations) for f in findings)
    compared = sum(f.compared for f in findings)
    conditions = sum(e.holds is not None for f in findings for e in f.evaluations)
    differing = sum(len(f.differences) for f in findings)
    unchecked = [item for f in findings for item in f.not_checked]
    failing = sum(item.fails for item in unchecked)
    counts = (
        _counted(compared, "fact compared", "facts compared"),
        _counted(conditions, "condition evaluated", "conditions evaluated"),
        _counted(differing, "difference", "differences"),
        f"{len(unchecked)} not checked" + (f" ({failing} of them had to be)" if failing else ""),
    )
    return f"{_counted(asked, 'witness', 'witnesses')}: {', '.join(counts)}"


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def as_json(findings: Sequence[Finding]) -> str:
    """Return the findings as one JSON object, with what produced it."""
    import json
    from importlib.metadata import version  # dearer to import than a kernel's BTF is to read

    return json.dumps(
        {
            "schema": SCHEMA,
            "producer": {
                "name": "runstate-abi",
                "version": version("runstate-abi"),
                "python": ".".join(map(str, sys.version_info[:3])),
            },
            "witnesses": [_finding(finding) for finding in findings],
            "exit": exit_code(findings),
        },
        indent=2,
    )


def _finding(finding: Finding) -> dict[str, object]:
    return {
        "witness": finding.witness,
        "source": finding.source,
        "input": _input(finding.path),
        "abi": finding.abi or None,
        "abi_assumed": finding.assumed,
        "structs": [_struct(layout) for layout in finding.found],
        "compared": finding.compared,
        "differences": [{**d._asdict(), "line": str(d)} for d in finding.differences],
        "conditions": [
            {"id": e.condition.id, "text": e.condition.text, "holds": e.holds, "why": e.why}
            for e in finding.evaluations
        ],
        "not_recorded": list(finding.unrecorded),
        "not_checked": [item._asdict() for item in finding.not_checked],
        "notes": list(finding.notes),
    }


# The file itself, as it lies on the disk: what a reader needs to find the same one again.
def _input(path: str) -> dict[str, object] | None:
    import hashlib

    if not path:
        return None
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return {"path": path, "size": os.fstat(file.fileno()).st_size, "sha256": digest}
    except OSError as error:
        return {"path": path, "error": error.strerror}


def _struct(layout: Layout) -> dict[str, object]:
    return {
        "name": layout.name,
        "size": layout.size,
        "alignment": layout.alignment,
        "members": [
            {
                "name": row.name,
                "type": row.type.name,
                "offset": row.offset,
                "size": row.size,
                "count": row.count,
            }
            for row in layout.members
        ],
    }
