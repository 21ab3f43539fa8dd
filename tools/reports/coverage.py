"""The coverage of the claims: every declared invariant, and which witnesses confirmed it.

A witness confirms a condition if its own numbers make it true, and a row of a layout if it was
compared without a difference. A witness that says nothing is never counted as a yes.
"""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

from runstate_abi.layouts.conditions import (
    CONDITIONS,
    UNASSERTED,
    Condition,
    applies,
    evaluate,
    structs_of,
)
from runstate_abi.layouts.findings import Finding, unchecked
from runstate_abi.layouts.model import INTEGER, Layout
from runstate_abi.layouts.structs.runstate import COMPAT, NATIVE
from runstate_abi.tools.output import aligned

# What --require takes, and in words what it needs.
# fmt: off
KINDS = {
    "construct":  "the Construct definitions",
    "ctypes":     "the ctypes structures",
    "rule":       "the C layout rule",
    "conditions": "the kernel's conditions on the tables",
    "cc":         "any compiler",
    "gcc":        "gcc",
    "clang":      "clang",
    "btf":        "a file with BTF",
    "dwarf":      "a file with DWARF",
    "golden":     "a golden file",
}
# fmt: on


def kinds(finding: Finding) -> tuple[str, ...]:
    """Return the words of KINDS that a Finding answers to: ``gcc -m32`` is gcc, and cc."""
    name = {"C rule": "rule"}.get(finding.witness, finding.witness)
    if name in KINDS and name not in ("cc", "gcc", "clang"):
        return (name,)
    program = finding.witness.split()[0].rpartition("/")[2] if finding.witness.split() else ""
    # x86_64-linux-gnu-gcc-12 is a gcc, clang-16 a clang.
    return ("cc", *(known for known in ("gcc", "clang") if known in program.split("-")))


def absent(findings: Sequence[Finding], require: Sequence[str]) -> list[Finding]:
    """Return one failing Finding for each required kind of witness that compared nothing."""
    asked = {k for f in findings if f.compared or f.evaluations for k in kinds(f)}
    why = "required (--require {}), and nothing was compared with {}"
    lacking = [kind for kind in dict.fromkeys(require) if kind not in asked]
    return [unchecked(kind, "", why.format(kind, KINDS[kind])) for kind in lacking]


class Confirmation(NamedTuple):
    """A declared condition or row, and the witnesses, with ABI, for and against it."""

    id: str
    text: str
    confirmed: tuple[str, ...]
    denied: tuple[str, ...]


def coverage(findings: Sequence[Finding]) -> list[Confirmation]:
    """Return every declared invariant with its witnesses: the conditions, then every row."""
    names = dict.fromkeys(finding.family for finding in findings) or ("",)
    those = ((name, [f for f in findings if f.family == name]) for name in names)
    return [row for name, found in those for row in _of_family(name, found)]


# The conditions of a family and its layouts on x86-64.
def _declared(family: str) -> tuple[tuple[Condition, ...], tuple[Layout, ...]]:
    if not family:
        return (*CONDITIONS, *UNASSERTED), (NATIVE, COMPAT)
    from runstate_abi.layouts.structs import families

    found = families.family(family)
    return (*found.conditions, *found.unasserted), tuple(found.layouts("x86_64").values())


def _of_family(family: str, findings: Sequence[Finding]) -> list[Confirmation]:
    conditions, layouts = _declared(family)
    verdicts = [(_name(f), _conditions(f, conditions)) for f in findings]
    rows = [
        _confirmation(c.id, c.sentence, [(name, said.get(c.id)) for name, said in verdicts])
        for c in conditions
    ]
    for layout in layouts:
        for member in ("", *(row.name for row in layout.members)):
            place = f"{layout.name}.{member}" if member else layout.name
            seen = [(_name(f), _row(f, layout.name, member)) for f in findings]
            rows.append(_confirmation(place, _row_text(layout, member), seen))
    return rows


def _confirmation(id_: str, text: str, verdicts: Sequence[tuple[str, bool | None]]) -> Confirmation:
    yes, no = (
        tuple(dict.fromkeys(name for name, holds in verdicts if holds is wanted))
        for wanted in (True, False)
    )
    return Confirmation(id_, text, yes, no)


def _name(finding: Finding) -> str:
    return f"{finding.witness} [{finding.abi}]" if finding.abi else finding.witness


# What a witness says about each condition: its own evaluations, else the evaluation on its layouts.
# No layout can answer sizeof(vx->...).
def _conditions(finding: Finding, conditions: Sequence[Condition]) -> dict[str, bool | None]:
    said = {e.condition.id: e.holds for e in finding.evaluations}
    for condition in conditions:
        if condition.id not in said and applies(condition, finding.abi):
            holds = _on_layouts(condition, finding.found)
            # Xen's and ctypes' compat struct is aligned to 4 and was compared with that claim.
            said[condition.id] = None if holds is False and not finding.differences else holds
    return said


def _on_layouts(condition: Condition, found: Sequence[Layout]) -> bool | None:
    if "struct " not in condition.text:
        return None  # a matter of constants, which no layout shows
    names = sorted(structs_of(condition))
    definitions = [[x for x in found if x.name == name] for name in names]
    every = ({x.name: x for x in chosen} for chosen in product(*definitions))
    answers = [evaluate(condition, layouts, {}).holds for layouts in every]
    if not answers or None in answers:
        return False if False in answers else None
    return all(answers)


def _row(finding: Finding, struct: str, member: str) -> bool | None:
    if finding.witness in ("golden", "conditions"):
        return None
    named = any(layout.name == struct for layout in finding.found)
    # The C rule computes the layouts of all ABIs and keeps none.
    if not named and not (finding.compared and not finding.found):
        return None
    return not any(d.struct == struct and d.member == member for d in finding.differences)


def _row_text(layout: Layout, member: str) -> str:
    if not member:
        return f"{layout.size} bytes on x86_64, alignment {layout.alignment}"
    row = layout.field(member)
    sign = "signed" if row.type.signed else "unsigned"
    kind = sign if row.type.kind == INTEGER else row.type.kind
    return f"at {row.offset:#04x}, {row.count} of {row.type.size} bytes, {kind}"


def render(findings: Sequence[Finding]) -> str:
    """Return one line per invariant, and a count of those that nobody confirmed."""
    rows = coverage(findings)
    nobody = [row.id for row in rows if not row.confirmed]
    count = f"{len(rows) - len(nobody)} of {len(rows)} declared invariants confirmed by somebody"

    def said(row: Confirmation) -> str:
        denied = f"DENIED BY {', '.join(row.denied)}; " if row.denied else ""
        return f"{denied}{', '.join(row.confirmed) or 'nobody'}"

    table = aligned([[row.id, row.text, said(row)] for row in rows])
    lines = ("", *table, "", count + (f"; by nobody: {', '.join(nobody)}" if nobody else ""))
    return "".join(f"{line}\n" for line in lines)
