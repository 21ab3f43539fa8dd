"""Explain one area for ``runstate hexdump``: read it, decide its layout, judge it, and show it."""

import json
import sys
from argparse import Namespace
from collections.abc import Iterator
from typing import Any, NamedTuple

from runstate_abi.layouts.model import Layout, WitnessError
from runstate_abi.tools import output
from runstate_abi.tools.memory import area, decision, json_view, observations, sources, text_view
from runstate_abi.tools.memory import image as memory
from runstate_abi.tools.memory.area import AreaBytes, Excerpt
from runstate_abi.tools.memory.decision import Decision
from runstate_abi.tools.memory.image import Image
from runstate_abi.tools.memory.observations import Observation
from runstate_abi.tools.memory.text import STRUCT_KIND
from runstate_abi.tools.output import Ink, Line

FINE, SOMETHING_WRONG, CANNOT_TELL = 0, 1, 3


class Location(NamedTuple):
    """Where an area begins, and where its other page is if that is not the next one."""

    address: int
    second: int | None = None


def explain(
    options: Namespace, image: Image, place: Location, torn: Observation | None = None
) -> int:
    """Show the area at ``place`` in the view that the options ask for; return the exit code.

    ``torn`` is given if the bytes changed while they were read. It replaces all observations.
    """
    if image.kind == STRUCT_KIND and options.abi == "compat" and not place.address:
        place = Location(area.SHIFT)  # the text reader put the numbers where native has them
    seen = _excerpt(options, image, place)
    earlier = None
    if options.before:
        name, address = options.before
        there = place if address is None else Location(address)
        earlier = _excerpt(options, sources.asked(name, options), there)
    for text in image.notes:
        print(f"runstate: {image.source}: {text}", file=sys.stderr)
    if not options.abi and decision.short_of_native(seen):
        raise WitnessError(area.missing(image.source, seen.address, len(seen.data)))
    answer = decided(options, seen, earlier, image.machine)
    if not options.abi:
        answer = decision.doubted(answer, seen, _near(image, seen))
    if answer.layout is None:
        return _undecided(options, image, seen, answer)
    shown = area.read_as(answer.layout, seen)
    place_of_other = decision.rival(shown, seen.before)
    if image.machine in (None, "x86_64") and not options.abi and place_of_other is not None:
        # It is decided for this address, but the guest may have registered the other.
        other = next(name for name in area.LAYOUTS if name != shown.abi)
        reason = f"{other} at {place_of_other:#x} reads the same, if that is the address"
        others = ((area.LAYOUTS[other], place_of_other),)
        answer = Decision(answer.layout, (*answer.reasons, reason), others)
    if options.pages_view:
        second = shown.spans[1].address if len(shown.spans) > 1 else None
        return pages(options, shown.layout, Location(shown.address, second))
    return _show(options, image.source, shown, answer, earlier, torn)


def _excerpt(options: Namespace, image: Image, place: Location) -> Excerpt:
    if options.second_page:
        name, offset = options.second_page
        return area.excerpt(image, place.address, offset, sources.opened(name))
    return area.excerpt(image, place.address, place.second)


def decided(
    options: Namespace, seen: Excerpt, earlier: Excerpt | None, machine: str | None
) -> Decision:
    """Decide the layout: by --abi, by the bytes, or by those of an earlier dump."""
    if options.abi:
        return Decision(area.LAYOUTS[options.abi], (options.abi_reason,))
    answer = decision.decide(seen, machine)
    if answer.layout is None and earlier is not None:
        other = decision.decide(earlier, machine)
        if other.layout is not None:
            return Decision(other.layout, ("decided by the earlier dump", *other.reasons))
    return answer


# The areas at the aligned addresses before and after one that is not aligned.
def _near(image: Image, seen: Excerpt) -> Iterator[Excerpt]:
    slip = seen.address % area.SHIFT
    places = (seen.address - slip, seen.address - slip + area.SHIFT) if slip else ()
    for place in places:
        if len(memory.available(image, place, area.SMALLEST)) == area.SMALLEST:
            yield area.excerpt(image, place)


def _show(
    options: Namespace,
    source: str,
    shown: AreaBytes,
    answer: Decision,
    earlier: Excerpt | None,
    torn: Observation | None,
) -> int:
    found = observations.observe(shown) if torn is None else (torn,)
    old = area.read_as(_layout_of(options, shown.layout, earlier), earlier) if earlier else None
    moved = observations.deltas(old.values, shown.values) if old else None
    if old is not None:
        found = observations.told(found, observations.compare(old.values, shown.values, dumps=True))
        if old.layout is not shown.layout:
            text = f"it was {old.abi} in the earlier dump: the guest switched its mode"
            mode = observations.note(observations.NORMAL, text, "mode")
            found = observations.told(found, (mode,))
    verdict = observations.worst(found)
    if options.format == "json":
        value = json_view.area(shown, source, answer.reasons)
        value["same_bytes_at"] = next((address for _, address in answer.others), None)
        if old is not None and moved is not None:
            value["before"] = json_view.growth(old.values, moved, options.before[0])
        value["observations"] = json_view.observations(found)
        value["verdict"] = verdict
        # With --percpu there is one area for each CPU, and one line for each area.
        out_json(options, value, None if options.percpu else 2)
    else:
        growth = text_view.growth(moved, options.before[0]) if moved else ()
        steal = text_view.steal(shown.values, verdict)
        wrong = verdict == observations.WRONG
        lines = [
            *text_view.heading(shown, source, answer.reasons),
            *(steal if wrong else ()),
            *text_view.body(shown),
            *growth,
            *(() if wrong else steal),
            *text_view.observed(found, columns(options)),
            text_view.verdict(verdict),
        ]
        out(options, lines)
    return SOMETHING_WRONG if verdict == observations.WRONG else FINE


# An earlier dump may be from before the guest switched its mode. Then only its own layout fits it.
def _layout_of(options: Namespace, later: Layout, earlier: Excerpt) -> Layout:
    other = next(layout for layout in area.LAYOUTS.values() if layout is not later)
    if options.abi or len(earlier.data) < other.size:
        return later
    fits = {x: decision.standing(area.values(x, earlier.data)) for x in (later, other)}
    return other if fits[other] >= decision.ORDERED > fits[later] else later


def _undecided(options: Namespace, image: Image, seen: Excerpt, answer: Decision) -> int:
    readings = [
        area.read_as(layout, seen if address == seen.address else area.excerpt(image, address))
        for layout, address in answer.others
    ]
    if not readings:
        size, layouts = len(seen.data), area.LAYOUTS.values()
        readings = [area.read_as(layout, seen) for layout in layouts if layout.size <= size]
    if options.format == "json":
        values = [json_view.area(x, image.source, ()) for x in readings]
        out_json(options, json_view.undecided(values, image.source, answer.reasons))
    else:
        shown: list[Line] = []
        for reading in readings:
            shown += [*text_view.heading(reading, image.source, ()), *text_view.body(reading)]
        out(options, shown)
    why = "; ".join(answer.reasons)
    print(f"runstate: cannot tell what is there: {why} (give --abi)", file=sys.stderr)
    return CANNOT_TELL


def pages(options: Namespace, layout: Layout, place: Location) -> int:
    """Draw which field of the area at ``place`` is in which page; return the exit code."""
    from runstate_abi.tools.memory import pages_view

    held = pages_view.pages(layout, place.address, place.second)
    if options.format == "json":
        out_json(options, pages_view.as_json(layout, held, place.address))
    elif options.pages_view == "svg":
        from runstate_abi.tools.rendering import drawing

        title = pages_view.heading(layout, held, place.address)
        picture = drawing.document(title, pages_view.lanes(held))
        out(options, [(Ink(line),) for line in picture.splitlines()])
    else:
        out(options, list(pages_view.lines(layout, held, place.address)))
    return FINE


def columns(options: Namespace) -> int | None:
    """Return the width of the terminal that is written to, None if the output goes elsewhere."""
    return None if options.output not in (None, "-") else output.columns(sys.stdout)


def out_json(options: Namespace, value: Any, indent: int | None = 2) -> bool:
    return out(options, [(Ink(json.dumps(value, indent=indent)),)])


def out(options: Namespace, text: list[Line]) -> bool:
    """Write lines to --output or standard output; return whether there is still a reader."""
    if not options.output or options.output == "-":
        return output.write(text, options.color)
    try:
        with open(options.output, "w", encoding="utf-8") as file:
            return output.write(text, options.color, file)
    except OSError as error:
        raise WitnessError(f"{options.output}: {error.strerror}") from None
