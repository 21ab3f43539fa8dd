"""What witnesses found of a family's structs, held against its claims."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from runstate_abi.layouts import conditions
from runstate_abi.layouts.abi import Abi
from runstate_abi.layouts.findings import Finding, NotChecked
from runstate_abi.layouts.model import STRUCT, Layout, Layouts, Look, compare, paths
from runstate_abi.layouts.structs.families import Family, inner_claims, known_structs
from runstate_abi.layouts.witnesses.survey import holding, judged

T = TypeVar("T")


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
    return min(claims, key=lambda x: (unlike(x, seen), len(names ^ {r.name for r in x.rows})))


def unlike(claim: Layout, seen: Layout) -> int:
    """Return how much speaks against this being the declaration of what was seen; 0 is nothing.

    A member in a part of a claim's padding is no difference, and no sign that this is the claim.
    """
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
    return judged(finding, evaluated(asked, by_name, abi))


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


def evaluated(
    asked: Iterable[conditions.Condition], layouts: Mapping[str, Layout], abi: Abi
) -> Iterator[conditions.Evaluation]:
    """Evaluate the conditions of which every struct is there; what is not recorded is not known."""
    for condition in asked:
        if conditions.structs_of(condition) <= layouts.keys():
            yield from conditions.evaluate_all((condition,), layouts, abi.name, {})
