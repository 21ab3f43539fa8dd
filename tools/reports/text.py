"""Findings as text: one line per witness, then each difference on its own line."""

from collections.abc import Iterator, Sequence

from runstate_abi.layouts.findings import Finding, one_line, unreadable
from runstate_abi.layouts.structs.runstate import COMPAT, NATIVE, XEN_COMPAT
from runstate_abi.tools.output import aligned


def render(findings: Sequence[Finding]) -> str:
    """Return the table. What could not be read at all is left to stderr."""
    return "".join(f"{line}\n" for line in lines(findings))


def lines(findings: Sequence[Finding]) -> Iterator[str]:
    readable = [finding for finding in findings if not unreadable(finding)]
    table = [
        [_mark(f), f.witness, f.abi and f"[{f.abi}{', assumed' * f.assumed}]", _summary(f)]
        for f in readable
    ]
    for line, finding in zip(aligned(table), readable, strict=True):
        yield one_line(line)
        yield from (one_line(str(difference)) for difference in finding.differences)
        yield from (one_line(f"    note: {note}") for note in finding.notes)
        for item in finding.not_checked:
            if item.what != finding.witness:
                yield one_line(f"    {item.told}: {item.what}: {item.why}")
    if readable:
        yield ""
        yield _total(findings)


_SHORT = {NATIVE.name: "native", COMPAT.name: "compat", XEN_COMPAT: "Xen's compat"}


def _mark(finding: Finding) -> str:
    if finding.differences:
        return "DIFFERS"
    if any(item.fails for item in finding.not_checked):
        return "missing"
    return "ok" if finding.compared or finding.evaluations else "-"


def _summary(finding: Finding) -> str:
    whole = (x for x in finding.found if "." not in x.name)  # not a struct in a struct
    names = dict.fromkeys(f"{_SHORT.get(x.name, x.name)} {x.size}" for x in whole)
    parts = [": ".join(filter(None, (finding.family, ", ".join(names))))]
    if finding.compared:
        parts.append(f"{finding.compared} compared, {len(finding.differences)} differ")
    if finding.evaluations:
        true = sum(e.holds is True for e in finding.evaluations)
        parts.append(f"{true} of {len(finding.evaluations)} conditions hold")
    if finding.unrecorded:
        parts.append(f"{', '.join(finding.unrecorded)} not recorded")
    own = [item for item in finding.not_checked if item.what == finding.witness]
    parts += [f"{item.told}: {item.why}" for item in own]
    summary = "; ".join(part for part in parts if part)
    return f"{summary}  ({finding.source})" if finding.source else summary


def _total(findings: Sequence[Finding]) -> str:
    asked = sum(bool(f.compared or f.evaluations) for f in findings)
    compared = sum(f.compared for f in findings)
    conditions = sum(e.holds is not None for f in findings for e in f.evaluations)
    differing = sum(len(f.differences) for f in findings)
    unchecked = [item for f in findings for item in f.not_checked]
    failing = sum(item.fails for item in unchecked)
    others = sum(item.told == "not asked" for item in unchecked)
    counts = (
        _counted(compared, "fact compared", "facts compared"),
        _counted(conditions, "condition evaluated", "conditions evaluated"),
        _counted(differing, "difference", "differences"),
        f"{failing} not checked" + (f", {others} not asked" if others else ""),
    )
    return f"{_counted(asked, 'witness', 'witnesses')}: {', '.join(counts)}"


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
