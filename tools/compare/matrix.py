"""``runstate matrix``: every field on every ABI, by the claim and by every witness."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from runstate_abi.layouts.abi import ABI
from runstate_abi.layouts.exit_status import DIFFERENT, EQUAL, NOT_CHECKED
from runstate_abi.layouts.findings import Finding, complaint, unreadable
from runstate_abi.layouts.structs.family_names import ALL, RUNSTATE
from runstate_abi.layouts.structs.runstate import COMPAT, NATIVE, XEN_COMPAT
from runstate_abi.layouts.witnesses import survey
from runstate_abi.tools.compare import grid
from runstate_abi.tools.compare.grid import FactRow, Grid
from runstate_abi.tools.options import add_family, add_format, new_parser
from runstate_abi.tools.output import aligned
from runstate_abi.tools.rendering.blocks import Block, Bullets, Table

if TYPE_CHECKING:
    from runstate_abi.layouts.structs.families import Family

SCHEMA = "runstate-matrix/1"
NO_BREAK = "\u00a0"
FORMATS = ("text", "markdown", "html", "json")
TITLES = {
    NATIVE.name: f"struct {NATIVE.name}",
    COMPAT.name: f"struct {COMPAT.name}, packed as KVM has it",
    XEN_COMPAT: f"struct {COMPAT.name}, aligned to 4 as Xen has it",
}
LEGEND = "8 =3: claimed, and 3 witnesses agree; 8 !12: one says 12; 8 ?: nobody says"

_DESCRIPTION = "Every field on every ABI, by the claim and by every witness."
_EPILOG = """\
Without --cc and --zig: the gcc and clang found here, for the host's own ABI (on x86: with -m64 and
-m32). So another host has other columns filled; --zig fills every one on any host.
FILE: a kernel, its modules, or raw BTF; each is a column. The C layout rule is asked everywhere.
KVM's struct is in kvm.ko when KVM is a module: name it beside its kernel. A struct that none of
the files has could not be asked: exit 3, unless --allow-missing.

exit status: 0 no witness disagrees, 1 one does, 2 wrong usage, 3 could not ask one
"""


def main(argv: list[str]) -> int:
    """Ask the witnesses and print the matrix."""
    options = parser().parse_args(argv)
    wanted = _families(options.family)
    findings = list(_findings(options, wanted))
    for finding in findings:
        if unreadable(finding):
            print(f"runstate: could not check {complaint(finding)}", file=sys.stderr)
    grids = [grid.grid(findings, family) for family in wanted]
    found = grids[0] if len(grids) == 1 else grid.joined(grids)
    printed = {"text": as_text, "markdown": markdown, "html": html, "json": as_json}
    print("\n".join(printed[options.format](found, findings)))
    return exit_code(found, findings)


def parser() -> argparse.ArgumentParser:
    made = new_parser("matrix", _DESCRIPTION, _EPILOG)
    add = made.add_argument
    add("files", nargs="*", metavar="FILE", help="a column of its own")
    add("--cc", metavar="COMMAND", action="append", default=[], help="'gcc -m32' (repeatable)")
    add("--zig", action="store_true", help="every ABI, by the clang of the extra 'cross'")
    abis = f"the ABI of files that do not say (default: x86_64): {', '.join(ABI)}"
    add("--abi", choices=list(ABI), metavar="ABI", help=abis)
    add("--btf-base", metavar="FILE", help="the kernel that a module's split BTF belongs to")
    missing = "a struct or a witness that need not be there (repeatable)"
    add("--allow-missing", metavar="NAME", action="append", default=[], help=missing)
    add_family(made)
    add_format(made, *FORMATS)
    return made


# None is runstate.
def _families(name: str) -> "list[Family | None]":
    if name == RUNSTATE:
        return [None]
    from runstate_abi.layouts.structs.families import families

    return [*([None] if name == ALL else []), *families(name)]


def _findings(options: argparse.Namespace, wanted: "Sequence[Family | None]") -> Iterator[Finding]:
    if options.cc:
        yield from grid.asked_of_compilers(options.cc, True, wanted)
    elif not options.zig:
        yield from grid.asked_of_compilers(survey.compilers_here(), False, wanted)
    if options.zig:
        yield from grid.asked_of_zig(wanted)
    if options.files:
        from runstate_abi.layouts.witnesses import kernels

        abi, allowed = ABI.get(options.abi), frozenset(options.allow_missing)
        families = tuple(family for family in wanted if family)
        settings = kernels.Settings(
            abi, options.btf_base, allowed, families=families, runstate=None in wanted
        )
        yield from kernels.asked_of_files(options.files, settings)


def exit_code(found: Grid, findings: Sequence[Finding]) -> int:
    """Return 1 if a witness disagrees, else 3 if one could not be asked, else 0."""
    if any(grid.differences(found)):
        return DIFFERENT
    failed = any(item.fails for finding in findings for item in finding.not_checked)
    return NOT_CHECKED if failed or not grid.compared(found) else EQUAL


def as_text(found: Grid, findings: Sequence[Finding]) -> Iterator[str]:
    """Yield the matrix as aligned text, then who said what."""
    rows: list[list[str]] = []
    for table in tables(found):
        rows += [["", *table.header[1:]]] if not rows else []
        rows += [[table.caption], *([f"  {row[0].strip('`')}", *row[1:]] for row in table.rows)]
    yield from aligned(rows)
    yield ""
    yield LEGEND
    yield from _witnesses(findings)
    yield from grid.differences(found)
    yield _verdict(found)


# A compiler is asked about each family, and is one witness.
def _witnesses(findings: Sequence[Finding]) -> Iterator[str]:
    said = ["C rule [every ABI]: layouts/abi.py"]
    for finding in findings:
        if finding.found:
            said.append(f"{finding.witness} [{finding.abi}]: {finding.source}")
        said += (f"not asked: {item.what}: {item.why}" for item in finding.not_checked)
    yield from dict.fromkeys(said)


def _verdict(found: Grid) -> str:
    different = sum(1 for _ in grid.differences(found))
    return (
        f"{grid.compared(found)} comparisons, {different} disagreements, "
        f"{grid.unasked(found)} cells by the claim alone"
    )


def tables(found: Grid) -> Iterator[Table]:
    """Yield a table for each struct."""
    header = ("", *(column.title.rsplit("/", 1)[-1] for column in found.columns))
    for struct in dict.fromkeys(row.struct for row in found.rows):
        rows = tuple(
            (f"`{row.title}`", *map(grid.cell_text, row.cells))
            for row in found.rows
            if row.struct == struct
        )
        yield Table(TITLES.get(struct, f"struct {struct}"), header, rows)


def _blocks(found: Grid, findings: Sequence[Finding]) -> tuple[Block, ...]:
    lines = (LEGEND, *_witnesses(findings), *grid.differences(found), _verdict(found))
    return (*tables(found), Bullets(lines))


def markdown(found: Grid, findings: Sequence[Finding]) -> Iterator[str]:
    from runstate_abi.tools.rendering import markdown as renderer

    for block in _blocks(found, findings):
        yield from renderer.block_lines(block)
        yield ""


def html(found: Grid, findings: Sequence[Finding]) -> Iterator[str]:
    from runstate_abi.tools.rendering import html as renderer

    blocks = tuple(
        _unbroken(one) if isinstance(one, Table) else one for one in _blocks(found, findings)
    )
    summary = "Offsets and sizes in bytes: what is claimed, and what every witness says."
    title = "The structs that a guest shares, on every ABI"
    if {row.struct for row in found.rows} == set(TITLES):
        title = "The runstate structs on every ABI"
    return renderer.page(title, summary, blocks)


# A claim and its witnesses stay on one line.
def _unbroken(table: Table) -> Table:
    rows = (tuple(cell.replace(" ", NO_BREAK) for cell in row) for row in table.rows)
    return Table(table.caption, table.header, tuple(rows))


def as_json(found: Grid, findings: Sequence[Finding]) -> Iterator[str]:
    value = {
        "schema": SCHEMA,
        "columns": [{"title": column.title, "abi": column.abi} for column in found.columns],
        "rows": [_row_json(row) for row in found.rows],
        "compared": grid.compared(found),
        "differences": list(grid.differences(found)),
        "not_checked": [item._asdict() for f in findings for item in f.not_checked],
        "exit": exit_code(found, findings),
    }
    return iter(json.dumps(value, indent=2).splitlines())


def _row_json(row: FactRow) -> dict[str, object]:
    cells = []
    for claim, agree, differ, silent in row.cells:
        others = [{"witness": witness, "value": value} for witness, value in differ]
        told = {"claim": claim, "agree": agree, "differ": others, "not_recorded": silent}
        cells.append(told)
    return {"struct": row.struct, "kind": row.kind, "member": row.member or None, "cells": cells}
