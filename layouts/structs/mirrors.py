"""Structs that a person declared: which claim each mirrors, and what its members are called there.

Both are options of the command: ``--struct info=native``, ``--member time=running,runnable,...``.
"""

from collections.abc import Iterable
from typing import NamedTuple

from runstate_abi.layouts.model import Field, Layout, LayoutError
from runstate_abi.layouts.structs.runstate import COMPAT, MEMBERS, NATIVE, RUNSTATE_STRUCTS

CLAIM_NAMES = {"native": NATIVE.name, "compat": COMPAT.name} | {n: n for n in RUNSTATE_STRUCTS}
Names = tuple[str, ...]


class Mirrors(NamedTuple):
    """``structs`` are (name there, claim's name), all of RUNSTATE_STRUCTS where none is given.

    ``members`` are (claim's member, its names there): an array may be several members there.
    ``signs`` are the members whose sign may differ.
    """

    structs: tuple[tuple[str, str], ...] = ()
    members: tuple[tuple[str, Names], ...] = ()
    signs: Names = ()

    def claimed(self, claim: Layout) -> Layout:
        """Return a claim with the members' names there (LayoutError: two of one name)."""
        names, rows = dict(self.members), list[Field]()
        for row in claim.rows:
            there = names.get(row.name, (row.name,))
            each = row.count // len(there)
            places = range(row.offset, row.end, each * row.type.size)
            parts = zip(places, there, strict=True)
            rows += (row._replace(offset=at, name=name, count=each) for at, name in parts)
        return claim._replace(rows=tuple(rows))

    def named_as_claimed(self, seen: Layout) -> Layout:
        """Return what was seen with the claim's names, as far as its members are those."""
        rows = list(seen.rows)
        for member, names in self.members:
            parts = [row for row in rows if row.name in names]
            if len(parts) == len(names) and len({row.type for row in parts}) == 1:
                whole = parts[0]._replace(name=member, count=sum(row.count for row in parts))
                at = rows.index(parts[0])
                if rows[at : at + len(parts)] == parts:
                    rows[at : at + len(parts)] = [whole]
        return seen._replace(rows=tuple(rows))


AS_CLAIMED = Mirrors()


def struct(text: str) -> tuple[str, str]:
    """Return (name there, claim's name) of ``NAME[=CLAIM]`` (LayoutError: no such claim).

    A name is a tag, ``struct tag``, a typedef, ``typeof(...)`` or ``namespace::tag``; NAME alone is
    the claim's own, ``native`` and ``compat`` for short.
    """
    name, equals, claimed = text.rpartition("=")
    if not equals or claimed.endswith(")"):
        name, claimed = text, text.removeprefix("struct ").rpartition("::")[2]
        name = CLAIM_NAMES.get(name, name)
    if name and claimed not in CLAIM_NAMES and _in_a_family(claimed):
        return name, claimed
    if not name or claimed not in CLAIM_NAMES:
        ways = " or ".join(f"{name}={claim}" for claim in RUNSTATE_STRUCTS)
        others = "or a struct of another family (runstate show --family all)"
        raise LayoutError(f"--struct {text}: say which struct it mirrors: {ways}, {others}")
    return name, CLAIM_NAMES[claimed]


# Another family's struct is a claim by its own name.
def _in_a_family(name: str) -> bool:
    from runstate_abi.layouts.structs.families import of_struct

    return of_struct(name) is not None


def member(text: str) -> tuple[str, Names]:
    """Return (claim's member, its names there) of ``MEMBER=NAME,...`` (LayoutError)."""
    claimed, _, listed = text.partition("=")
    names = tuple(name.strip() for name in listed.split(","))
    counts = {one.name: one.count for one in MEMBERS}
    if claimed not in counts:
        raise LayoutError(f"--member {text}: no member {claimed!r}: there are {', '.join(counts)}")
    if not all(names) or counts[claimed] % len(names):
        elements = f"{counts[claimed]} element{'s'[: counts[claimed] > 1]}"
        raise LayoutError(f"--member {text}: {len(names)} names for {elements}")
    return claimed, names


def sign(text: str) -> str:
    """Return the member of ``sign:MEMBER`` (LayoutError)."""
    what, _, name = text.partition(":")
    if what != "sign" or name not in (one.name for one in MEMBERS):
        wanted = ", ".join(f"sign:{one.name}" for one in MEMBERS)
        raise LayoutError(f"--allow {text}: there are {wanted}")
    return name


def mirrors(structs: Iterable[str], members: Iterable[str], allowed: Iterable[str]) -> Mirrors:
    """Return what the options ``--struct``, ``--member`` and ``--allow`` say (LayoutError)."""
    renamed = tuple(map(member, members))
    found = Mirrors(tuple(map(struct, structs)), renamed, tuple(map(sign, allowed)))
    if len(dict(renamed)) < len(renamed):
        raise LayoutError("--member: a member is named twice")
    found.claimed(NATIVE)
    return found
