"""The coverage of the claims: every declared invariant, and which witnesses confirmed it."""

from collections.abc import Iterator, Sequence

from runstate_abi.layouts.findings import Finding
from runstate_abi.tools.checking.completeness import Confirmation, coverage, unconfirmed
from runstate_abi.tools.tables import aligned


def render(findings: Sequence[Finding]) -> str:
    """Return one line per invariant, and a count of those that nobody confirmed."""
    return "".join(f"{line}\n" for line in _lines(coverage(findings)))


def _lines(rows: Sequence[Confirmation]) -> Iterator[str]:
    yield ""
    yield from aligned([[row.declared.id, row.declared.text, _witnesses(row)] for row in rows])
    yield ""
    nobody = list(unconfirmed(rows))
    count = len(rows) - len(nobody)
    yield f"{count} of {len(rows)} declared invariants confirmed by somebody" + (
        f"; by nobody: {', '.join(nobody)}" if nobody else ""
    )


def _witnesses(row: Confirmation) -> str:
    denied = f"DENIED BY {', '.join(row.denied)}; " if row.denied else ""
    return f"{denied}{', '.join(row.confirmed) or 'nobody'}"


def values(findings: Sequence[Finding]) -> list[dict[str, object]]:
    """Return the same for the JSON report."""
    return [
        {
            "id": row.declared.id,
            "text": row.declared.text,
            "confirmed_by": list(row.confirmed),
            "denied_by": list(row.denied),
        }
        for row in coverage(findings)
    ]
