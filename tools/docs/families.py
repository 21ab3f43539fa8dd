"""The page of a family of structs: all of it from the family's table, but for its prose.

prose/NAME.family is written by a person: what the structs are for, and who writes and reads them. A
family without that file has a page all the same. protocol.py adds what a struct with a version has.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from textwrap import shorten
from typing import NamedTuple

from runstate_abi.layouts.abi import X86_64
from runstate_abi.layouts.model import Field, Layout
from runstate_abi.layouts.structs.families import Family
from runstate_abi.layouts.structs.family_names import VERSIONED
from runstate_abi.tools.docs import checking, prose
from runstate_abi.tools.docs.drawings import figure, is_hole
from runstate_abi.tools.docs.related import see_also
from runstate_abi.tools.docs.signature import signed
from runstate_abi.tools.rendering.blocks import (
    Block,
    Document,
    Paragraph,
    Section,
    Table,
)

COMPAT_PREFIX = "compat_"
NOT_THERE = "-"
NAMES_MAX = 4  # structs in the summary
HEADING_MAX = 70  # characters


def document(family: Family) -> Document:
    """Return the page of a family."""
    sections = (
        *about(family),
        Section("structs", "The structs", (overview(family),)),
        Section("bytes", "Byte by byte", tuple(_structs(family))),
        *_protocol(family),
        *checking.sections(family),
    )
    summary = f"{_named(family.structs)}: what is where on each ABI."
    pages = see_also(family.name)
    return signed(Document(family.name, _heading(title(family)), summary, sections, pages))


def title(family: Family) -> str:
    """Return the family's title with a capital letter."""
    return family.title[:1].upper() + family.title[1:]


# A browser and a search engine have no room for more: then what follows a comma is left out.
def _heading(words: str) -> str:
    return words if len(words) <= HEADING_MAX else shorten(words.partition(", ")[0], HEADING_MAX)


def about(family: Family) -> tuple[Section, ...]:
    """Return the section that a person wrote; nothing if nobody did (KeyError: a word in it)."""
    place = files("runstate_abi.tools.docs").joinpath("prose", f"{family.name}.family")
    if not place.is_file():
        return ()
    return (prose.section("about", place.read_text(encoding="utf-8"), {}, words(family), {}),)


# What only a struct with a version has: its readers and writers are imported for it alone.
def _protocol(family: Family) -> Iterator[Section]:
    if family.name in VERSIONED:
        from runstate_abi.tools.docs import compared, kinds, parties, protocol

        of_name = (module.pieces(family.name) for module in (parties, compared, kinds))
        made = {name: each for found in of_name for name, each in found.items()}
        yield from protocol.sections(family, words(family), made)


def words(family: Family) -> dict[str, str]:
    """Return what a family's prose may name: ``{struct.size}``, and the offset ``{struct.member}``.

    They are those of x86-64.
    """
    found = {}
    for layout in family.layouts(X86_64.name).values():
        found[f"{layout.name}.size"] = str(layout.size)
        found |= {f"{layout.name}.{row.name}": str(row.offset) for row in layout.rows}
    return found


def overview(family: Family) -> Table:
    """Return a row for each struct: its size and alignment on x86-64, and who declares it."""
    rows = []
    for name in family.structs:
        layouts = declared(family, name)
        alignments = _either(layout.alignment for layout in layouts)
        packed = " (packed)" if name in family.packed else ""
        cells = (sizes(layouts), f"{alignments}{packed}", family.headers.get(name, ""))
        rows.append((f"`{name}`", *cells))
    caption = f"Sizes and alignments in bytes on {X86_64.name}"
    return Table(caption, ("struct", "size", "alignment", "declared in"), tuple(rows))


def declared(family: Family, name: str) -> tuple[Layout, ...]:
    """Return the declarations of a struct in use on x86-64, or on the first ABI that has one."""
    order = sorted(family.claims, key=lambda abi: abi != X86_64.name)
    each = (tuple(x for x in family.claims[abi] if x.name == name) for abi in order)
    return next(filter(None, each))


def sizes(layouts: Sequence[Layout]) -> str:
    """Return the sizes of a struct's declarations, and the ABI if that is not x86-64."""
    abi = layouts[0].abi
    elsewhere = "" if abi == X86_64.name else f" ({abi})"
    return f"{_either(layout.size for layout in layouts)}{elsewhere}"


def _either(numbers: Iterable[int | None]) -> str:
    return " or ".join(dict.fromkeys(map(_number, numbers)))


def _number(value: int | None) -> str:
    return NOT_THERE if value is None else str(value)


def groups(family: Family) -> Iterator[tuple[str, ...]]:
    """Yield the structs, the compat form of one together with it."""
    for name in family.structs:
        native = name.removeprefix(COMPAT_PREFIX)
        if native != name and native in family.structs:
            continue
        compat = f"{COMPAT_PREFIX}{name}"
        yield (name, compat) if compat in family.structs else (name,)


# A struct that differs from one before it in nothing but the names of padding is not drawn again.
def _structs(family: Family) -> Iterator[Section]:
    drawn: dict[tuple[object, ...], str] = {}
    for names in groups(family):
        yield _struct(family, names, drawn)
        for name in names:
            for layout in declared(family, name):
                drawn.setdefault(_shape(layout, padding=False), name)


def _struct(
    family: Family, names: tuple[str, ...], drawn: Mapping[tuple[object, ...], str]
) -> Section:
    heads = ("Native: ", "Compat: ") if len(names) > 1 else ("",)
    blocks: list[Block | Section] = []
    for head, name in zip(heads, names, strict=True):
        blocks += _figures(head, declared(family, name), drawn)
    for name in names:
        found = tuple(tables(family, name))
        if len(found) > 1:
            blocks.append(_several(family, name, len(found)))
        blocks += found
    anchor = f"struct-{names[0].replace('_', '-')}"
    return Section(anchor, f"struct {names[0]}", tuple(blocks))


def _several(family: Family, name: str, count: int) -> Paragraph:
    where = f", by {family.headers[name]}" if name in family.headers else ""
    more = "; see [[traps|Traps]]" if family.notes else ""
    return Paragraph(f"`{name}` is declared in {count} ways{where}{more}.")


# Declarations that differ in types or alignment alone would be the same drawing.
def _figures(
    head: str, layouts: Sequence[Layout], drawn: Mapping[tuple[object, ...], str]
) -> Iterator[Block]:
    distinct = list({_shape(layout): layout for layout in reversed(layouts)}.values())[::-1]
    for number, layout in enumerate(distinct, 1):
        caption = f"{head}`struct {layout.name}` on {layout.abi}"
        which = f", declaration {number} of {len(distinct)}" if len(distinct) > 1 else ""
        other = drawn.get(_shape(layout, padding=False))
        if other is None:
            yield figure(f"{caption}{which}", layout)
        else:
            yield Paragraph(f"{caption}{which}: drawn as `{other}`, above.")


# What of a layout a drawing shows; a column of a table shows its alignment too.
def _shape(layout: Layout, padding: bool = True) -> tuple[object, ...]:
    named = [(row, row.name if padding or not row.padding else "") for row in layout.rows]
    rows = tuple((row.offset, row.size, name, row.count, row.padding) for row, name in named)
    return layout.size, rows


class Column(NamedTuple):
    """The ABIs on which a struct is the same but for its types, and its layout on each of them."""

    abis: tuple[str, ...]
    layouts: tuple[Layout, ...]


def columns(family: Family, name: str) -> Iterator[tuple[Column, ...]]:
    """Yield the columns of a struct's table; where two declarations are in use, of each one's."""
    each = {abi: [x for x in found if x.name == name] for abi, found in family.claims.items()}
    for number in range(max(map(len, each.values()))):
        merged: dict[tuple[object, ...], Column] = {}
        for abi, layouts in each.items():
            if number < len(layouts):
                layout = layouts[number]
                facts = layout.alignment, *_shape(layout)
                same = merged.get(facts, Column((), ()))
                merged[facts] = Column((*same.abis, abi), (*same.layouts, layout))
        yield tuple(merged.values())


def tables(family: Family, name: str) -> Iterator[Table]:
    """Yield the table of a struct: a row for each member, a column for each layout it has."""
    found = list(columns(family, name))
    for number, held in enumerate(found, 1):
        which = f", declaration {number} of {len(found)}" if len(found) > 1 else ""
        yield _table(f"`struct {name}`{which}: offset:size in bytes", held)


def _table(caption: str, held: Sequence[Column]) -> Table:
    layouts = [column.layouts[0] for column in held]
    rows = [_row(name, held) for name in _order(layouts)]
    rows.append(("`sizeof`", *(_number(layout.size) for layout in layouts), ""))
    rows.append(("`_Alignof`", *(_number(layout.alignment) for layout in layouts), ""))
    header = ("member", *(", ".join(column.abis) for column in held), "C type")
    return Table(caption, header, tuple(rows))  # not as numbers: the long headers must fold


# The names of all layouts' rows; one that is not in the first stands behind its predecessor.
def _order(layouts: Sequence[Layout]) -> list[str]:
    order: list[str] = []
    for layout in layouts:
        place = 0
        for row in layout.rows:
            if row.name not in order:
                order.insert(place, row.name)
            place = order.index(row.name) + 1
    return order


def _row(name: str, held: Sequence[Column]) -> tuple[str, ...]:
    each = [[row for x in column.layouts for row in x.rows if row.name == name] for column in held]
    cells = (f"{rows[0].offset}:{rows[0].size}" if rows else NOT_THERE for rows in each)
    found = [row for rows in each for row in rows]
    if is_hole(found[0]):
        return ("(padding)", *cells, "")
    types = ", ".join(dict.fromkeys(f"`{row.type.name}`" for row in found))
    return (_titled(found), *cells, types)


def _titled(found: Sequence[Field]) -> str:
    counts = {row.count for row in found}
    name = found[0].declaration if len(counts) == 1 else f"{found[0].name}[]"
    return f"`{name}`{' (padding)' * found[0].padding}"


# One line has room for a few names.
def _named(structs: Sequence[str]) -> str:
    names = [f"`{name}`" for name in structs]
    if len(names) > NAMES_MAX:
        names[NAMES_MAX - 1 :] = [f"{len(names) - NAMES_MAX + 1} more"]
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
