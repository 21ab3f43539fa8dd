"""The matrix as values: a row a fact, a column an ABI or a file, a cell the claim and witnesses."""

import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

from runstate_abi.layouts.abi import ABI, ABIS, Abi, c_layout
from runstate_abi.layouts.findings import Finding, relabelled
from runstate_abi.layouts.model import Layout, WitnessError, compare
from runstate_abi.layouts.structs import runstate
from runstate_abi.layouts.witnesses import survey

if TYPE_CHECKING:
    from runstate_abi.layouts.structs.families import Family

# Xen's uint64_compat_t: a typedef that asks for an alignment of 4, where an ABI lets it.
_XEN_MEMBERS = tuple(
    member._replace(type=member.type._replace(alignment=min(member.type.size, 4)))
    for member in runstate.MEMBERS
)


class Column(NamedTuple):
    """An ABI or a file: its ABI's claims, and what each witness says of one struct of it."""

    title: str
    abi: str
    claims: dict[str, Layout]
    said: tuple[tuple[str, Layout], ...]


class Cell(NamedTuple):
    """A fact on one ABI: the claim, who agrees, who does not (source, value), who cannot say."""

    claim: int | None
    agree: tuple[str, ...]
    differ: tuple[tuple[str, int | None], ...]
    silent: tuple[str, ...]


NOTHING = Cell(None, (), (), ())


class FactRow(NamedTuple):
    """A fact of a struct: ``kind`` is offset, size or alignment, in bytes."""

    struct: str
    kind: str
    member: str
    cells: tuple[Cell, ...]

    @property
    def title(self) -> str:
        """What the row is called: a member's name, ``sizeof``, ``_Alignof``."""
        return self.member or {"size": "sizeof", "alignment": "_Alignof"}[self.kind]


class Grid(NamedTuple):
    """The whole matrix."""

    columns: tuple[Column, ...]
    rows: tuple[FactRow, ...]


def grid(findings: Iterable[Finding], family: "Family | None" = None) -> Grid:
    """Return the matrix of every ABI, and of every file among the findings: runstate's, or that of
    another family.
    """
    name = family.name if family else ""
    findings = [finding for finding in findings if finding.found and finding.family == name]
    if family:
        return _of_family(family, findings)
    columns = [_of_abi(abi, findings) for abi in ABIS]
    for finding in findings:
        if finding.path:
            said = tuple((finding.witness, layout) for layout in finding.found)
            claims = runstate.CLAIMS[finding.abi].by_name()
            columns.append(Column(_title(finding), finding.abi, claims, said))
    facts = [("offset", member.name) for member in runstate.MEMBERS]
    facts[2:2] = [("offset", UPDATE_BYTE)]
    facts += (("size", ""), ("alignment", ""))
    rows = []
    for struct in (runstate.NATIVE.name, runstate.COMPAT.name, runstate.XEN_COMPAT):
        for kind, member in facts:
            cells = tuple(_cell(column, struct, kind, member) for column in columns)
            rows.append(FactRow(struct, kind, member, cells))
    return Grid(tuple(columns), tuple(rows))


def _of_family(family: "Family", findings: Sequence[Finding]) -> Grid:
    from runstate_abi.layouts.structs.families import by_c_rule
    from runstate_abi.layouts.witnesses.family_claims import claims_for

    columns = []
    for abi in ABIS:
        claims = family.layouts(abi.name)
        said = [("C rule", x) for x in by_c_rule(claims.values(), family.packed, abi)]
        for finding in findings:
            if finding.abi == abi.name and not finding.path:
                said += ((finding.witness, layout) for layout in finding.found)
        columns.append(Column(abi.name, abi.name, claims, tuple(said)))
    for finding in findings:
        if finding.path:
            said = [(finding.witness, layout) for layout in finding.found]
            claims = claims_for(family, finding.found, ABI[finding.abi])
            columns.append(Column(_title(finding), finding.abi, claims, tuple(said)))
    rows = []
    for struct in family.structs:
        every = (x for one in family.claims.values() for x in one if x.name == struct)
        names = dict.fromkeys(row.name for layout in every for row in layout.members)
        facts = [*(("offset", name) for name in names), ("size", ""), ("alignment", "")]
        for kind, member in facts:
            cells = tuple(_cell(column, struct, kind, member) for column in columns)
            rows.append(FactRow(struct, kind, member, cells))
    return Grid(tuple(columns), tuple(rows))


def _title(finding: Finding) -> str:
    return f"{finding.path} [{finding.abi}{' assumed' if finding.assumed else ''}]"


# Every ABI has one witness at least: the C rule, which needs nothing but an ABI's alignments.
def _of_abi(abi: Abi, findings: Sequence[Finding]) -> Column:
    said = [
        ("C rule", c_layout(runstate.NATIVE.name, runstate.MEMBERS, abi)),
        ("C rule", c_layout(runstate.COMPAT.name, runstate.MEMBERS, abi, packed=True)),
        ("C rule", c_layout(runstate.XEN_COMPAT, _XEN_MEMBERS, abi)),
    ]
    for finding in findings:
        if finding.abi == abi.name and not finding.path:
            said += ((finding.witness, layout) for layout in finding.found)
    return Column(abi.name, abi.name, runstate.CLAIMS[abi.name].by_name(), tuple(said))


UPDATE_BYTE = "update byte"


def _cell(column: Column, struct: str, kind: str, member: str) -> Cell:
    claimed = column.claims.get(struct)
    claim = _value(claimed, kind, member) if claimed else None
    agree, differ, silent = [], [], []
    for source, layout in column.said:
        if layout.name != struct:
            continue
        seen = _value(layout, kind, member)
        if seen is None and claim is None:
            continue  # a member that is another ABI's
        if seen == claim:
            agree.append(source)
        elif seen is None and kind == "alignment":
            silent.append(source)
        else:
            differ.append((source, seen))
    return Cell(claim, tuple(agree), tuple(differ), tuple(silent))


# None: the witness has no such member, or does not record alignments.
def _value(layout: Layout, kind: str, member: str) -> int | None:
    if kind == "size":
        return layout.size
    if kind == "alignment":
        return layout.alignment
    try:
        return runstate.update_byte(layout) if member == UPDATE_BYTE else layout.offsetof(member)
    except KeyError:
        return None


def joined(grids: Sequence[Grid]) -> Grid:
    """Return several families' grids as one: their rows, and the columns of all."""
    columns: dict[str, Column] = {}
    for column in (column for one in grids for column in one.columns):
        same = columns.get(column.title)
        said = (*same.said, *column.said) if same else column.said
        claims = {**same.claims, **column.claims} if same else column.claims
        columns[column.title] = column._replace(claims=claims, said=said)
    rows = []
    for one in grids:
        titles = [column.title for column in one.columns]
        for row in one.rows:
            cells = dict(zip(titles, row.cells, strict=True))
            every = tuple(cells.get(title, NOTHING) for title in columns)
            rows.append(row._replace(cells=every))
    return Grid(tuple(columns.values()), tuple(rows))


def compared(found: Grid) -> int:
    """Return how many times a witness and a claim were compared."""
    return sum(len(cell.agree) + len(cell.differ) for row in found.rows for cell in row.cells)


def unasked(found: Grid) -> int:
    """Return how many claims no witness says anything of."""
    cells = (cell for row in found.rows for cell in row.cells)
    return sum(cell.claim is not None and not cell.agree and not cell.differ for cell in cells)


def cell_text(cell: Cell) -> str:
    """Return ``8 =3``: 3 agree; ``8 !12``: one says 12; ``8 ?``: nobody says; ``-``: not there."""
    if cell.claim is None and not cell.differ:
        return "-"
    text = "-" if cell.claim is None else str(cell.claim)
    for value in dict.fromkeys(value for _, value in cell.differ):
        text += f" !{'absent' if value is None else value}"
    if cell.agree:
        text += f" ={len(cell.agree)}"
    return text if cell.agree or cell.differ else f"{text} ?"


def differences(found: Grid) -> Iterator[str]:
    """Yield a line for each disagreement, as `check` words it."""
    for column in found.columns:
        for source, layout in column.said:
            if layout.name not in column.claims:
                continue
            for difference in compare(column.claims[layout.name], layout, source).differences:
                place = "" if column.title == column.abi else f"{column.title}: "
                yield f"{place}{difference}"


# What Zig calls the ABIs of layouts/abi.py.
# fmt: off
TARGETS = {
    "x86_64":       "x86_64-linux-gnu",
    "i386":         "x86-linux-gnu",
    "x32":          "x86_64-linux-gnux32",
    "arm64":        "aarch64-linux-gnu",
    "arm32":        "arm-linux-gnueabihf",
    "riscv64":      "riscv64-linux-gnu",
    "x86_64-windows": "x86_64-windows-gnu",
    "i386-windows": "x86-windows-gnu",
}
# fmt: on


def asked_of_zig(families: "Sequence[Family | None]" = (None,)) -> Iterator[Finding]:
    """Yield what Zig's clang makes of our declarations for each ABI (WitnessError: no Zig)."""
    if find_spec("ziglang") is None:
        raise WitnessError("ziglang: not installed (pip install 'runstate-abi[cross]')")
    for triple in TARGETS.values():
        command = f"{shlex.quote(sys.executable)} -m ziglang cc -target {triple}"
        for finding in asked_of_compilers([command], True, families):
            # The command line begins with a path of this machine: the report must not have it.
            yield relabelled(finding, {command: f"zig cc -target {triple}"})


def asked_of_compilers(
    commands: Sequence[str], named: bool, families: "Sequence[Family | None]"
) -> Iterator[Finding]:
    """Yield what compilers make of the declarations of families; None is runstate."""
    for family in families:
        if family is None:
            yield from survey.asked_of_compilers(commands, named, None)
        else:
            from runstate_abi.layouts.witnesses import of_family

            yield from of_family.asked_of_compilers(family, commands, named, None)
