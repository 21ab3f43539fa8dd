"""``runstate hexdump --family``: one struct of a family in memory, a row for each of its fields."""

import sys
from argparse import Namespace
from collections.abc import Iterable
from typing import NamedTuple

from runstate_abi.layouts.abi import ABI, PAGE_SIZE, X86_64
from runstate_abi.layouts.model import Layout, WitnessError
from runstate_abi.layouts.structs.families import Family, families, family, flattened
from runstate_abi.layouts.structs.family_names import ALL
from runstate_abi.tools.memory import (
    decoded,
    explanation,
    fields,
    fields_view,
    json_view,
    sources,
    text_view,
)
from runstate_abi.tools.memory import image as memory
from runstate_abi.tools.memory import observations as judged
from runstate_abi.tools.memory.area import AreaBytes, Span
from runstate_abi.tools.memory.explanation import Location
from runstate_abi.tools.memory.image import Image
from runstate_abi.tools.memory.text import STRUCT_KIND
from runstate_abi.tools.options import nearest


class Unclear(ValueError):
    """The command line does not say which struct is meant. The message is one line."""


class Choice(NamedTuple):
    """A struct of a family, why it is that one, and its other declarations."""

    layout: Layout
    reason: str
    others: tuple[Layout, ...] = ()


def largest(name: str) -> int:
    """Return the size of the largest struct of a family, in bytes."""
    return max(layout.size for layouts in family(name).claims.values() for layout in layouts)


def explain(options: Namespace, image: Image, place: Location) -> int:
    """Show the struct at ``place``; return the exit code. Unclear if it is not said which."""
    if image.kind == STRUCT_KIND:
        raise WitnessError(f"{image.source}: {image.kind} is read for runstate alone: paste bytes")
    chosen = family(options.family)
    abi, why = _abi(options, image.machine)
    choice = choose(chosen, abi, options.struct, _given(image, place.address))
    placed = options.at is not None or options.gpa is not None or options.pages
    if not placed and image.kind == sources.KIND and image.size > choice.layout.size:
        has = f"{image.size} bytes, and struct {choice.layout.name} has {choice.layout.size}"
        raise Unclear(f"raw bytes: say where, --at OFFSET ({image.source}: {has})")
    seen = AreaBytes(flat(choice.layout, chosen), _spans(options, image, place, choice.layout.size))
    others = (_otherwise(choice.layout, other) for other in choice.others)
    return _show(options, image, seen, tuple(filter(None, (choice.reason, why, *others))))


def _abi(options: Namespace, machine: str | None) -> tuple[str, str]:
    if options.abi:
        return options.abi, f"{options.abi}: --abi says so"
    if machine is None:
        return X86_64.name, f"{X86_64.name}, which --abi may change"
    if machine not in ABI:
        raise Unclear(f"the memory is of {machine}: give --abi")
    return machine, f"{machine}: the memory's header says so"


# How many bytes a raw file or a text has for the struct. Any part of a machine's memory has many.
def _given(image: Image, address: int) -> int | None:
    most = sum(piece.size for piece in image.pieces)
    return None if image.placed else len(memory.available(image, address, most))


def choose(chosen: Family, abi: str, name: str | None, given: int | None) -> Choice:
    """Choose by the name, or if the family has one struct, or if one has as many bytes as given."""
    claims = chosen.claims.get(abi, ())
    names = tuple(dict.fromkeys(layout.name for layout in claims))
    if not names:
        raise Unclear(f"{chosen.name} has no struct on {abi}")
    if name is not None and name not in names:
        raise Unclear(f"--struct {name}: {chosen.name} has none on {abi}{nearest(name, names)}")
    fit = {layout.name for layout in claims if layout.size == given}
    if name is not None:
        reason = "--struct says so"
    elif len(names) == 1:
        (name,), reason = names, f"{chosen.name} has no other struct on {abi}"
    elif len(fit) == 1:
        (name,), reason = fit, f"no other struct of {chosen.name} has {given} bytes"
    else:
        sized = ", ".join(f"{x} ({_sizes(claims, x)})" for x in names)
        raise Unclear(f"say which struct, --struct NAME: {sized}")
    found = [layout for layout in claims if layout.name == name]
    layout = next((layout for layout in found if layout.size == given), found[0])
    return Choice(layout, reason, tuple(other for other in found if other is not layout))


def _sizes(claims: Iterable[Layout], name: str) -> str:
    sizes = dict.fromkeys(str(layout.size) for layout in claims if layout.name == name)
    return f"{' or '.join(sizes)} bytes"


def _otherwise(layout: Layout, other: Layout) -> str:
    """Return how another declaration of a struct in use differs, "" if in no row."""
    if other.size != layout.size:
        return f"another declaration of it has {other.size} bytes"
    known = {(row.offset, row.declaration, row.type.name) for row in layout.rows}
    differ = [
        row for row in other.rows if (row.offset, row.declaration, row.type.name) not in known
    ]
    rows = ", ".join(f"{row.type.name} {row.declaration} at +{row.offset:#04x}" for row in differ)
    return f"another declaration of it has {rows}" if rows else ""


def flat(layout: Layout, chosen: Family) -> Layout:
    """Return a layout with the rows of the structs in it, which may be another family's."""
    known: dict[str, Layout] = {}
    for one in (chosen, *families(ALL)):
        known = one.layouts(layout.abi) | known
    return flattened(layout, known)


# As many bytes of the struct as there are, at least one (WitnessError).
def _spans(options: Namespace, image: Image, place: Location, size: int) -> tuple[Span, ...]:
    second, other = place.second, image
    if options.second_page:
        name, second = options.second_page
        other = sources.opened(name)
    here = PAGE_SIZE - place.address % PAGE_SIZE
    if second is None or here >= size:
        data = memory.available(image, place.address, size)
        return (Span(place.address, data or memory.read(image, place.address, size)),)
    head = memory.read(image, place.address, here)
    return (Span(place.address, head), Span(second, memory.available(other, second, size - here)))


def _show(options: Namespace, image: Image, seen: AreaBytes, reasons: tuple[str, ...]) -> int:
    for text in image.notes:
        print(f"runstate: {image.source}: {text}", file=sys.stderr)
    missing = seen.layout.size - len(seen.data)
    if missing:
        has = f"{len(seen.data)} of the {seen.layout.size} bytes of struct {seen.layout.name}"
        lacks = f"{missing} are missing, from +{len(seen.data):#04x} on"
        print(f"runstate: {image.source}: {has} at {seen.address:#x}: {lacks}", file=sys.stderr)
    found = fields.rows(seen.layout, seen.data)
    shared = decoded.find(found)
    noted = judged.ordered([*fields.observe(found), *decoded.observe(shared)])
    verdict = judged.worst(noted)
    if options.format == "json":
        value = {
            "schema": json_view.SCHEMA,
            "source": image.source,
            "family": options.family,
            "abi_reasons": list(reasons),
            **fields_view.as_json(seen, found),
            "decoded": decoded.as_json(shared),
            "update_in_progress": any(item.kind == judged.IN_FLIGHT for item in noted),
            "observations": json_view.observations(noted),
            "verdict": verdict,
        }
        explanation.out_json(options, value)
    else:
        lines = [
            *fields_view.heading(seen, image.source, reasons),
            *fields_view.body(seen, found, decoded.meanings(shared), options.all_fields),
            *decoded.lines(shared),
            *text_view.observed(noted, explanation.columns(options)),
            *(() if missing else (text_view.verdict(verdict),)),
        ]
        explanation.out(options, lines)
    if missing:
        return explanation.CANNOT_TELL
    return explanation.SOMETHING_WRONG if verdict == judged.WRONG else explanation.FINE
