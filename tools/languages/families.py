"""The structs of other families than runstate, as every language is given them.

A type that no family has (a pointer, a handle) is an unsigned integer here, because it is a number
of another address space. A member through a path (``u.hcall.input``) is in a struct of its own.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from textwrap import wrap
from typing import NamedTuple

from runstate_abi.layouts.model import INTEGER, STRUCT, Field, Layout, Scalar
from runstate_abi.layouts.structs.families import families, of_struct, struct_type
from runstate_abi.layouts.structs.family_names import ALL
from runstate_abi.tools.languages.promises import of_bytes, sentence, widest


class Struct(NamedTuple):
    """A claim, as it is declared: ``parts`` are its structs without paths, inner ones first."""

    claim: Layout
    parts: tuple[Layout, ...]
    origin: str  # the headers that declare it, and what is an integer only here


class Content(NamedTuple):
    """What one emitted file has."""

    name: str  # of the family, or ALL
    abi: str
    structs: tuple[Struct, ...]  # inner ones first, also those of other families
    about: tuple[str, ...]  # lines for the comment at the top

    @property
    def with_runstate(self) -> bool:
        """Is runstate's own output to come first?"""
        return self.name == ALL

    @property
    def parts(self) -> Iterator[tuple[str, Layout]]:
        """Each struct to declare, in order, and what to say about it."""
        for struct in self.structs:
            for part in struct.parts[:-1]:
                yield f"inside struct {struct.claim.name}, perhaps one member of a union", part
            yield struct.origin, struct.parts[-1]


def content(name: str, abi: str, word: str) -> Content:
    """Return the content of ``emit WORD --family NAME --abi ABI``, without structs if none is."""
    found: dict[str, Layout] = {}
    notes: list[str] = []
    for family in families(name):
        claims = family.layouts(abi)
        for claim in claims.values():
            _add(claim, abi, found)
        if claims:
            notes += (sentence(family.title), *(f"- {note}" for note in family.notes))
    structs = tuple(map(_struct, found.values()))
    command = f"runstate emit {word} --family {name} --abi {abi}"
    made = f"Made by `{command}` from its tables: do not edit."
    lines = (line for text in (made, *notes) for line in wrap(text, 92, subsequent_indent="  "))
    return Content(name, abi, structs, tuple(lines))


def _add(claim: Layout, abi: str, found: dict[str, Layout]) -> None:
    for row in claim.rows:
        name = row.type.name.removeprefix("struct ")
        owner = of_struct(name) if row.type.kind == STRUCT else None
        if owner:
            _add(owner.layouts(abi)[name], abi, found)
    found.setdefault(claim.name, claim)


def _struct(claim: Layout) -> Struct:
    plain = claim._replace(rows=tuple(map(_plain, claim.rows)))
    family = of_struct(claim.name)
    origin = family.headers.get(claim.name, "") if family else ""
    pairs = zip(claim.rows, plain.rows, strict=True)
    others = [f"{row.name} is {row.type.name} there" for row, here in pairs if row != here]
    return Struct(plain, tuple(_parts(plain)), "; ".join(filter(None, (origin, *others))))


def _plain(row: Field) -> Field:
    kind, name = row.type.kind, row.type.name.removeprefix("struct ")
    if kind == INTEGER or (kind == STRUCT and of_struct(name)):
        return row
    return row._replace(type=Scalar(f"uint{row.type.size * 8}_t", row.type.size, None))


def _parts(layout: Layout, inside: bool = False) -> Iterator[Layout]:
    """Yield a layout without paths; before it, what its paths go through, as ``NAME_u``."""
    rows: list[Field] = []
    for name, group in _groups(layout.rows, inside):
        if not name:
            rows += group
            continue
        inner = _inner(layout, name, group)
        yield from _parts(inner, inside=True)
        rows.append(Field(group[0].offset, name, struct_type(inner)))
    yield layout._replace(rows=tuple(rows))


# A hole among the members of a group belongs to it. So does one right behind it, the longer
# alternatives of a union; inside a group it is the outer one's.
def _groups(rows: Iterable[Field], inside: bool) -> Iterator[tuple[str, list[Field]]]:
    rows, names = list(rows), list[str]()
    for row in rows:
        name, dot, _ = row.name.partition(".")
        hole = row.padding and row.name.startswith("pad_") and not (inside and row == rows[-1])
        names.append(name if dot else names[-1] if hole and names else "")
    for name, pairs in groupby(zip(names, rows, strict=True), key=lambda pair: pair[0]):
        yield name, [row for _, row in pairs]


def _inner(layout: Layout, name: str, group: list[Field]) -> Layout:
    start, size = group[0].offset, group[-1].end - group[0].offset
    rows = tuple(
        row._replace(offset=row.offset - start, name=row.name.removeprefix(f"{name}."))
        for row in group
    )
    alignment = min(layout.alignment or 1, widest(rows))
    while start % alignment or size % alignment:
        alignment //= 2
    return Layout(f"{layout.name}_{name}", layout.abi, size, alignment, rows)


def described(struct: Layout, origin: str) -> str:
    """Return a sentence about a struct that is declared."""
    text = f"{of_bytes(struct.size)}, aligned to {struct.alignment}"
    return f"{text}: {origin}" if origin else text
