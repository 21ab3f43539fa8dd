"""Ask the witnesses about a family of structs besides runstate, a Finding for each."""

import ctypes
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar

from runstate_abi.layouts import conditions
from runstate_abi.layouts.abi import ABI, Abi
from runstate_abi.layouts.findings import Finding, NotChecked, unchecked
from runstate_abi.layouts.model import (
    STRUCT,
    Layout,
    Layouts,
    Look,
    WitnessError,
    compare,
    paths,
)
from runstate_abi.layouts.structs.families import (
    Family,
    by_c_rule,
    inner_claims,
    known_structs,
    members,
)
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

T = TypeVar("T")

# An ABI of which this machine's C compiler, and so ctypes, would make the same.
HOSTS = {"x86_64": (8, 8), "i386": (4, 4)}  # sizeof(long), alignment of a 64-bit integer


def inside(family: Family) -> dict[str, Look]:
    """Return where a witness must look inside the structs of a family."""
    found: dict[str, Look] = {}
    for abi, layouts in family.claims.items():
        known = known_structs(abi)
        for layout in layouts:
            found[layout.name] = _joined(found.get(layout.name), _look(layout, known))
    return {name: look for name, look in found.items() if look != Look()}


def _look(layout: Layout, known: Mapping[str, tuple[Layout, ...]]) -> Look:
    structs: dict[str, Look] = {}
    for row in layout.members:
        inner = known.get(row.type.name.removeprefix("struct "))
        if row.type.kind == STRUCT and inner:
            structs[row.name] = _look(inner[0], known)
    return Look(paths(row.name for row in layout.members), structs)


def _joined(one: Look | None, other: Look) -> Look:
    if one is None:
        return other
    structs = {name: _joined(one.structs.get(name), look) for name, look in other.structs.items()}
    return Look(one.paths | other.paths, {**one.structs, **structs})


def claims_for(family: Family, found: Iterable[Layout], abi: Abi) -> dict[str, Layout]:
    """Return the claims by name, those of structs in structs too (``shared_info.wc``).

    Of two declarations in use, the one that fits what was found.
    """
    seen = {layout.name: layout for layout in found}
    ways: dict[str, tuple[Layout, ...]] = {}
    for claim in family.claims.get(abi.name, ()):
        ways[claim.name] = (*ways.get(claim.name, ()), claim)
    best = {name: _best(claims, seen.get(name)) for name, claims in ways.items()}
    known = known_structs(abi.name)
    for claim in tuple(best.values()):
        inner = inner_claims(claim, known)
        best |= {path: _best(claims, seen.get(path)) for path, claims in inner.items()}
    return best


def _best(claims: Sequence[Layout], seen: Layout | None) -> Layout:
    if seen is None:
        return claims[0]
    names = {row.name for row in seen.rows}
    return min(claims, key=lambda x: (_unlike(x, seen), len(names ^ {r.name for r in x.rows})))


# A member in a part of a claim's padding is no difference, and no sign that this is the claim.
def _unlike(claim: Layout, seen: Layout) -> int:
    whole = {(pad.offset, pad.end) for pad in claim.padding}
    hidden = [r for r in seen.members if claim.hides(r) and (r.offset, r.end) not in whole]
    return len(compare(claim, seen, "").differences) + 2 * len(hidden)


def held(
    family: Family,
    witness: str,
    seen: Layouts,
    abi: Abi,
    assumed: bool = False,
    looks_inside: bool = False,
) -> Finding:
    """Compare what a witness found with the claims, and evaluate the conditions on it.

    ``looks_inside``: it tells of a struct that is a member what is in it, or says that it does not.
    """
    findings = []
    for found in _apart(seen.found):
        one = seen._replace(found=found)
        findings.append(_held(family, witness, one, abi, assumed, looks_inside))
    return _merged(findings) if findings else _held(family, witness, seen, abi, assumed, False)


# Two definitions of one name may be two declarations in use: each is compared with its own.
def _apart(found: Iterable[Layout]) -> list[tuple[Layout, ...]]:
    apart: list[list[Layout]] = []
    for layout in found:
        free = (one for one in apart if layout.name not in {x.name for x in one})
        place = next(free, None)
        if place is None:
            place = []
            apart.append(place)
        place.append(layout)
    return [tuple(one) for one in apart]


def _merged(findings: Sequence[Finding]) -> Finding:
    if len(findings) == 1:
        return findings[0]
    merged = findings[0]
    for one in findings[1:]:
        merged = merged._replace(
            found=merged.found + one.found,
            compared=merged.compared + one.compared,
            differences=_each(merged.differences, one.differences),
            unrecorded=_each(merged.unrecorded, one.unrecorded),
            evaluations=_each(merged.evaluations, one.evaluations),
            not_checked=_each(merged.not_checked, one.not_checked),
            notes=_each(merged.notes, one.notes),
        )
    return merged


def _each(first: tuple[T, ...], second: tuple[T, ...]) -> tuple[T, ...]:
    return tuple(dict.fromkeys((*first, *second)))


def _held(
    family: Family, witness: str, seen: Layouts, abi: Abi, assumed: bool, looks_inside: bool
) -> Finding:
    claims = claims_for(family, seen.found, abi)
    signed = frozenset(
        (claim.name, row.name)
        for claim in claims.values()
        for row in claim.members
        if row.type.signed
    )
    finding = holding(witness, seen, claims, abi, assumed, signed=signed)
    unclaimed = {x.name for x in seen.found if x.name not in claims}
    # Of an empty struct, as Arm's are, there is nothing to claim.
    missing = tuple(
        NotChecked(f"struct {x.name}", f"there is no claim of it on {abi.name}", True)
        if x.size
        else NotChecked(f"struct {x.name}", "it is empty here: nothing to compare", False)
        for x in seen.found
        if x.name in unclaimed
    )
    there = {layout.name for layout in seen.found}
    nested = (
        f"what is in {path}"
        for path in claims
        if looks_inside and path not in there and path.rpartition(".")[0] in there
    )
    first = family.layouts(abi.name)
    notes = (_declaration(first[x.name], claims[x.name]) for x in seen.found if x.name in first)
    finding = finding._replace(
        family=family.name,
        not_checked=missing,
        unrecorded=(*finding.unrecorded, *nested),
        notes=(*finding.notes, *filter(None, notes)),
    )
    by_name = {x.name: _named(x, claims[x.name]) for x in finding.found}
    asked = [c for c in family.conditions if _is_about(c, claims)]
    return judged(finding, _evaluated(asked, by_name, abi))


def _declaration(first: Layout, chosen: Layout) -> str:
    before, after = ({row.name for row in layout.members} for layout in (first, chosen))
    lacks, has = sorted(before - after), sorted(after - before)
    if not lacks and not has:
        return ""
    words = [
        f"without {', '.join(lacks)}" if lacks else "",
        f"with {', '.join(has)}" if has else "",
    ]
    return f"struct {first.name}: compared with the declaration {' and '.join(filter(None, words))}"


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
                observe(struct, name, abi_name, looked.get(name, Look()).paths)
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
    looks = {k: v for family in settings.families for k, v in inside(family).items()}
    looked = {name: looks[claim] for name, claim in claimed.items() if claim in looks}
    seen = [layout for info in infos for layout in info.observe([*claimed], abi, looked).found]
    found = tuple(dict.fromkeys(_as_claimed(layout, claimed) for layout in seen))
    source = "; ".join(f"{x.path}: {x.kind}, {identity(x.path, x.build_id)}" for x in infos)
    assumed = infos[0].abi is None and settings.abi is None
    for family in settings.families:
        own = tuple(x for x in found if x.name.partition(".")[0] in family.structs)
        finding = held(family, witness, Layouts(witness, infos[0].path, own), abi, assumed, True)
        finding = finding._replace(source=source, path=infos[-1].path)
        yield _with_missing(finding, family, files, abi, settings)


# ``mine.time`` is ``vcpu_info.time`` if mine is a vcpu_info.
def _as_claimed(layout: Layout, claimed: Mapping[str, str]) -> Layout:
    name, dot, path = layout.name.partition(".")
    return layout._replace(name=f"{claimed[name]}{dot}{path}")


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
    seen = [
        one
        for name, claimed in structs
        for one in _measured(family, partial(observe, path), command, name, claimed, abi)
    ]
    found = tuple(layout for one in seen for layout in one.layouts.found)
    names = ", ".join(name for name, _ in structs)
    layouts = Layouts("compiler", f"{path}: {names}; {seen[0].layouts.source}", found)
    finding = held(family, command, layouts, seen[0].abi, looks_inside=True)
    return finding._replace(
        path=path,
        names=tuple((claimed, name) for name, claimed in structs),
        unrecorded=tuple(
            dict.fromkeys((*finding.unrecorded, *(x for one in seen for x in one.unrecorded)))
        ),
        notes=tuple(dict.fromkeys((*finding.notes, *(x.note for x in seen if x.note)))),
    )


# A struct by its claim's members, and the structs in it.
def _measured(
    family: Family,
    observe: "Callable[..., Measurement]",
    command: str,
    name: str,
    claimed: str,
    abi: Abi | None,
) -> "Iterator[Measurement]":
    first = next(x for one in family.claims.values() for x in one if x.name == claimed)
    claim = family.layouts("x86_64").get(claimed, first)
    seen = observe(name, claim, command, abi)
    # Known only now is which ABI it is; of several declarations the one that fits.
    ways = {members(x): x for x in family.claims.get(seen.abi.name, ()) if x.name == claimed}
    every = [seen] if members(claim) in ways or not ways else []
    every += (observe(name, x, command, abi) for key, x in ways.items() if key != members(claim))
    seen, claim = min(
        ((one, x) for one in every for x in ways.values() or (claim,)),
        key=lambda pair: _unlike(pair[1], pair[0].layouts.found[0]),
    )
    yield seen
    spelled = name if name.startswith(("struct ", "class ")) or "(" in name else f"struct {name}"
    yield from _inner(observe, command, spelled, claim, known_structs(seen.abi.name), abi)


# None where a compiler does not take the type: then it is said that this was not looked into.
def _inner(
    observe: "Callable[..., Measurement]",
    command: str,
    spelled: str,
    claim: Layout,
    known: Mapping[str, tuple[Layout, ...]],
    abi: Abi | None,
) -> "Iterator[Measurement]":
    for row in claim.members:
        inner = known.get(row.type.name.removeprefix("struct "))
        if row.type.kind != STRUCT or not inner:
            continue
        path = f"{claim.name}.{row.name}"
        every = []
        for one in {members(x): x._replace(name=path) for x in inner}.values():
            for index in ("[0]", ""):  # Arm's vcpu_info[1] is an array of one
                type_ = f"__typeof__((({spelled} *)0)->{row.name}{index})"
                with suppress(WitnessError):
                    every.append((observe(type_, one, command, abi), one, type_))
        if every:
            seen, one, type_ = min(every, key=lambda x: _unlike(x[1], x[0].layouts.found[0]))
            yield seen
            yield from _inner(observe, command, type_, one, known, abi)


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
