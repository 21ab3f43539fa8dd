"""Findings as one JSON object: everything that was seen, and in which files.

Keys may be added within a schema version. None may change its meaning or disappear.
"""

import hashlib
import json
import os
import sys
from collections.abc import Sequence

from runstate_abi.layouts.findings import Finding, exit_code
from runstate_abi.layouts.model import Layout
from runstate_abi.tools.reports import coverage

SCHEMA = "runstate-check/1"


def render(findings: Sequence[Finding]) -> str:
    from importlib.metadata import version

    python = ".".join(map(str, sys.version_info[:3]))
    value = {
        "schema": SCHEMA,
        "producer": {"name": "runstate-abi", "version": version("runstate-abi"), "python": python},
        "witnesses": [_finding(finding) for finding in findings],
        "coverage": [
            {"id": id_, "text": text, "confirmed_by": yes, "denied_by": no}
            for id_, text, yes, no in coverage.coverage(findings)
        ],
        "exit": exit_code(findings),
    }
    return json.dumps(value, indent=2) + "\n"


def _finding(finding: Finding) -> dict[str, object]:
    return {
        "witness": finding.witness,
        **({"family": finding.family} if finding.family else {}),
        "source": finding.source,
        "input": _input(finding.path),
        "btf_base": _input(finding.base),
        "abi": finding.abi or None,
        "abi_assumed": finding.assumed,
        "structs": [_struct(layout) for layout in finding.found],
        "compared": finding.compared,
        "differences": [
            {**d._asdict(), "line": str(d), "code": [line._asdict() for line in d.code]}
            for d in finding.differences
        ],
        "conditions": [
            {"id": e.condition.id, "text": e.condition.text, "holds": e.holds, "why": e.why}
            for e in finding.evaluations
        ],
        "not_recorded": list(finding.unrecorded),
        "not_checked": [item._asdict() for item in finding.not_checked],
        "notes": list(finding.notes),
        "fingerprints": dict(finding.fingerprints),
    }


# The file on the disk, so that a reader can find the same one again. For a file in an archive
# (``a.deb!boot/vmlinuz``) that is the archive.
def _input(path: str) -> dict[str, object] | None:
    if not path:
        return None
    archive, _, member = path.partition("!") if not os.path.exists(path) else (path, "", "")
    try:
        with open(archive, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        return {"path": path, "error": error.strerror}
    inside = {"archive": archive, "member": member} if member else {}
    return {"path": path, **inside, "size": size, "sha256": digest}


def _struct(layout: Layout) -> dict[str, object]:
    return {
        "name": layout.name,
        "size": layout.size,
        "alignment": layout.alignment,
        "members": [
            {
                "name": row.name,
                "type": row.type.name,
                "kind": row.type.kind,
                "offset": row.offset,
                "size": row.size,
                "count": row.count,
            }
            for row in layout.members
        ],
    }
