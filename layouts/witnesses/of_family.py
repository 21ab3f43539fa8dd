"""Ask the witnesses about a family of structs besides runstate, a Finding for each."""

import ctypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from runstate_abi.layouts.abi import ABI, Abi
from runstate_abi.layouts.findings import Finding, NotChecked, unchecked
from runstate_abi.layouts.model import (
    STRUCT,
    Layout,
    Layouts,
    Look,
    WitnessError,
)
from runstate_abi.layouts.structs.families import (
    Family,
    by_c_rule,
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
from runstate_abi.layouts.witnesses.family_claims import evaluated, held, inside, unlike
from runstate_abi.layouts.witnesses.survey import judged, not_installed

if TYPE_CHECKING:
    from runstate_abi.layouts.witnesses.compiler import Measurement

# An ABI of which this machine's C compiler, and so ctypes, would make the same.
HOSTS = {"x86_64": (8, 8), "i386": (4, 4)}  # sizeof(long), alignment of a 64-bit integer


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
        yield judged(table, evaluated(every, known, ABI[abi_name]))


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
        key=lambda pair: unlike(pair[1], pair[0].layouts.found[0]),
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
            seen, one, type_ = min(every, key=lambda x: unlike(x[1], x[0].layouts.found[0]))
            yield seen
            yield from _inner(observe, command, type_, one, known, abi)


def asked_of_compilers(
    family: Family, commands: Sequence[str], named: bool, abi: Abi | None
) -> Iterator[Finding]:
    """Yield each compiler's layouts of our declarations; if ``named``, it must exist."""
    from runstate_abi.layouts.witnesses import compiler, probe

    for command in commands:
        if not named and (lacking := not_installed(command)):
            yield lacking._replace(family=family.name)
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
