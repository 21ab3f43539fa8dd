"""Ask the witnesses about a family of structs besides runstate, a Finding for each."""

import ctypes
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from runstate_abi.layouts import conditions
from runstate_abi.layouts.abi import ABI, Abi
from runstate_abi.layouts.findings import Finding, NotChecked, unchecked
from runstate_abi.layouts.model import STRUCT, Layout, Layouts, WitnessError, compare, paths
from runstate_abi.layouts.structs.families import Family, by_c_rule, members
from runstate_abi.layouts.witnesses.debug_info import (
    DebugInfo,
    Settings,
    abi_of,
    identity,
    of_no_abi,
)
from runstate_abi.layouts.witnesses.survey import holding, judged

if TYPE_CHECKING:
    from runstate_abi.layouts.witnesses.compiler import Measurement

# An ABI of which this machine's C compiler, and so ctypes, would make the same.
HOSTS = {"x86_64": (8, 8), "i386": (4, 4)}  # sizeof(long), alignment of a 64-bit integer


def inside(family: Family) -> dict[str, frozenset[str]]:
    """Return which members of which structs a witness must look into."""
    every = (layout for layouts in family.claims.values() for layout in layouts)
    found: dict[str, frozenset[str]] = {}
    for layout in every:
        found[layout.name] = found.get(layout.name, frozenset()) | paths(
            row.name for row in layout.members
        )
    return {name: those for name, those in found.items() if those}


def claims_for(family: Family, found: Iterable[Layout], abi: Abi) -> dict[str, Layout]:
    """Return the claims by name. Of two declarations in use, the one that fits what was found."""
    seen = {layout.name: layout for layout in found}
    best: dict[str, Layout] = {}
    for claim in family.claims.get(abi.name, ()):
        before, layout = best.get(claim.name), seen.get(claim.name)
        if before and (not layout or _unlike(before, layout) <= _unlike(claim, layout)):
            continue
        best[claim.name] = claim
    return best


def _unlike(claim: Layout, seen: Layout) -> int:
    return len(compare(claim, seen, "").differences)


def held(family: Family, witness: str, seen: Layouts, abi: Abi, assumed: bool = False) -> Finding:
    """Compare what a witness found with the claims, and evaluate the conditions on it."""
    claims = claims_for(family, seen.found, abi)
    finding = holding(witness, seen, claims, abi, assumed)._replace(family=family.name)
    # Of an empty struct, as Arm's are, there is nothing to claim.
    unclaimed = {x.name for x in seen.found if x.name not in claims and x.size}
    finding = finding._replace(
        not_checked=tuple(
            NotChecked(f"struct {name}", f"there is no claim of it on {abi.name}", True)
            for name in sorted(unclaimed)
        )
    )
    by_name = {x.name: _named(x, claims[x.name]) for x in finding.found}
    asked = [c for c in family.conditions if _is_about(c, claims)]
    return judged(finding, _evaluated(asked, by_name, abi))


# KVM asserts of its own declarations: of Xen's, which has other members, it asserts nothing.
def _is_about(condition: conditions.Condition, claims: Mapping[str, Layout]) -> bool:
    return conditions.evaluate(condition, claims, {}).holds is not None


# A compiler and Construct do not name the type of a member that is a struct: it is the claim's.
def _named(seen: Layout, claim: Layout) -> Layout:
    names = {row.name: row.type.name for row in claim.rows if row.type.kind == STRUCT}
    rows = (
        row._replace(type=row.type._replace(name=names.get(row.name, row.type.name)))
        for row in seen.rows
    )
    return seen._replace(rows=tuple(rows))


# Those of which the source has every struct; a number that it does not record is "not known".
def _evaluated(
    asked: Iterable[conditions.Condition], layouts: Mapping[str, Layout], abi: Abi
) -> Iterator[conditions.Evaluation]:
    for condition in asked:
        if conditions.structs_of(condition) <= layouts.keys():
            yield from conditions.evaluate_all((condition,), layouts, abi.name, {})


def encodings(family: Family) -> Iterator[Finding]:
    """Yield what the encodings written by hand and the C rule say, and the conditions."""
    name = family.encodings
    try:
        module = import_module(name)
    except ImportError as error:
        yield unchecked("construct", name, str(error))._replace(family=family.name)
        return
    from runstate_abi.layouts import constructs, ctypes_structs

    file = f"layouts/encodings/{name.rpartition('.')[2]}.py"
    for witness, made, observe in (
        ("construct", module.CONSTRUCTS, constructs.layout_of),
        ("ctypes", module.CTYPES, ctypes_structs.layout_of),
    ):
        for abi_name, structs in made.items():
            if witness == "ctypes" and HOSTS[abi_name] != _host():
                why = f"this machine's compiler does not lay out structs as {abi_name}'s does"
                yield unchecked(witness, file, why, fails=False)._replace(family=family.name)
                continue
            looked = inside(family)
            found = tuple(
                observe(struct, name, abi_name, looked.get(name, frozenset()))
                for name, struct in structs.items()
            )
            finding = held(family, witness, Layouts(witness, file, found), ABI[abi_name])
            lacking = {x.name for x in family.claims[abi_name]} - structs.keys()
            missing = [
                NotChecked(f"struct {name}", f"{file} has no {witness} definition of it", True)
                for name in sorted(lacking if abi_name == "x86_64" else ())
            ]
            yield finding._replace(not_checked=(*finding.not_checked, *missing))
    yield c_rule(family)
    for abi_name in ("x86_64", "i386"):
        table = Finding("conditions", family.file, abi_name, family=family.name)
        every = (*family.conditions, *family.unasserted)
        known = family.layouts(abi_name)
        yield judged(table, _evaluated(every, known, ABI[abi_name]))


def _host() -> tuple[int, int]:
    return ctypes.sizeof(ctypes.c_long), ctypes.alignment(ctypes.c_uint64)


def c_rule(family: Family) -> Finding:
    """Lay out each struct by each ABI's C rule, and compare: one Finding."""
    findings = []
    for abi_name in family.claims:
        claims, abi = family.layouts(abi_name), ABI[abi_name]
        found = tuple(by_c_rule(claims.values(), family.packed, abi))
        findings.append(held(family, "", Layouts("C rule", "layouts/abi.py", found), abi))
    return Finding(
        "C rule",
        "layouts/abi.py",
        f"{len(findings)} ABIs",
        compared=sum(finding.compared for finding in findings),
        differences=tuple(d for finding in findings for d in finding.differences),
        family=family.name,
    )


def asked_of_files(
    infos: Sequence[DebugInfo], files: Sequence[str], settings: Settings
) -> Iterator[Finding]:
    """Yield a Finding for each family and kind of debug info: what the files together say of it.

    Every struct of every family is looked up once in each file. Files of different ABIs, such as
    two objects, are asked apart.
    """
    apart: dict[tuple[str, str], list[DebugInfo]] = {}
    for info in infos:
        if why := of_no_abi(info, settings):
            yield settings.unchecked(info.path, why, info.witness)
        else:
            apart.setdefault((info.witness, abi_of(info, settings).name), []).append(info)
    for (witness, _), those in apart.items():
        try:
            yield from _asked(those, files, settings)
        except WitnessError as error:
            yield settings.unchecked(those[0].path, str(error), witness)


def _asked(
    infos: Sequence[DebugInfo], files: Sequence[str], settings: Settings
) -> Iterator[Finding]:
    witness, abi = infos[0].witness, abi_of(infos[0], settings)
    every = [name for family in settings.families for name in family.structs]
    claimed = dict(settings.others or zip(every, every, strict=True))
    paths_of = {k: v for family in settings.families for k, v in inside(family).items()}
    looked = {name: paths_of[claim] for name, claim in claimed.items() if claim in paths_of}
    seen = [layout for info in infos for layout in info.observe([*claimed], abi, looked).found]
    found = tuple(dict.fromkeys(x._replace(name=claimed[x.name]) for x in seen))
    source = "; ".join(f"{x.path}: {x.kind}, {identity(x.path, x.build_id)}" for x in infos)
    assumed = infos[0].abi is None and settings.abi is None
    for family in settings.families:
        own = tuple(layout for layout in found if layout.name in family.structs)
        finding = held(family, witness, Layouts(witness, infos[0].path, own), abi, assumed)
        finding = finding._replace(source=source, path=infos[-1].path)
        yield _with_missing(finding, family, files, abi, settings)


# A kernel's structs of a family; where it has none at all, it was built without.
def _with_missing(
    finding: Finding, family: Family, files: Sequence[str], abi: Abi, settings: Settings
) -> Finding:
    there = {layout.name for layout in finding.found}
    expected = family.in_kernels.get(abi.name, ())
    if settings.others:
        expected = tuple(claim for _, claim in settings.others if claim in family.structs)
    lacking = [name for name in expected if name not in there]
    missing = [
        NotChecked(
            f"struct {name}",
            f"not in {', '.join(files)}",
            not {name, family.name} & settings.allowed,
        )
        for name in lacking
    ]
    if not expected and not there:
        why = f"a kernel of {abi.name} has no struct of it"
        missing = [NotChecked(f"family {family.name}", why, False)]
    return finding._replace(not_checked=(*finding.not_checked, *missing))


def asked_of_source(
    family: Family,
    observe: "Callable[..., Measurement]",
    command: str,
    path: str,
    structs: Sequence[tuple[str, str]],
    abi: Abi | None,
) -> Finding:
    """Return a compiler's layouts of (name there, claim's name) in a header or a Rust file.

    ``observe`` is header.py's or rust.py's (WitnessError).
    """
    seen = []
    for name, claimed in structs:
        first = next(x for one in family.claims.values() for x in one if x.name == claimed)
        claim = family.layouts("x86_64").get(claimed, first)
        seen.append(observe(path, name, claim, command, abi))
        own = family.layouts(seen[-1].abi.name).get(claimed)
        if own and members(own) != members(claim):  # known only now is which ABI it is
            seen[-1] = observe(path, name, own, command, abi)
    found = tuple(layout for one in seen for layout in one.layouts.found)
    names = ", ".join(name for name, _ in structs)
    layouts = Layouts("compiler", f"{path}: {names}; {seen[0].layouts.source}", found)
    finding = held(family, command, layouts, seen[0].abi)
    return finding._replace(
        path=path,
        names=tuple((claimed, name) for name, claimed in structs),
        unrecorded=tuple(
            dict.fromkeys((*finding.unrecorded, *(x for one in seen for x in one.unrecorded)))
        ),
        notes=tuple(dict.fromkeys((*finding.notes, *(x.note for x in seen if x.note)))),
    )


def asked_of_compilers(
    family: Family, commands: Sequence[str], named: bool, abi: Abi | None
) -> Iterator[Finding]:
    """Yield each compiler's layouts of our declarations; if ``named``, it must exist."""
    from runstate_abi.layouts.witnesses import compiler, probe

    for command in commands:
        if not named and shutil.which(command.split()[0]) is None:
            yield unchecked(command, "", "not installed", False)._replace(family=family.name)
            continue
        declared = compiler.TYPES + compiler.MORE_TYPES + family.declarations
        try:
            target = compiler.observe(probe.Unit(declared, ()), command, abi).abi
            claims = family.layouts(target.name)
            subjects = tuple(
                probe.Subject(f"struct {name}", name, members(claim))
                for name, claim in claims.items()
            )
            if not subjects:
                why = f"no struct of this family on {target.name}"
                yield unchecked(command, "", why, False)._replace(family=family.name)
                continue
            seen = compiler.observe(probe.Unit(declared, subjects), command, abi)
        except WitnessError as error:
            why = str(error).removeprefix(f"{command}: ")
            yield unchecked(command, "", why)._replace(family=family.name)
            continue
        yield held(family, command, seen.layouts, target)
