"""``runstate hexdump --qmp``: one look at a live machine, or look after look.

One look at a running machine may fall into an update, so what it shows is called in flight. Only
what stayed as it was for the whole of a watch is called wrong.
"""

import argparse
import json
import sys
from collections.abc import Generator
from typing import NamedTuple

from runstate_abi.layouts.model import Layout
from runstate_abi.tools.memory import explanation, json_view, lines, qmp
from runstate_abi.tools.memory.area import LARGEST, SHIFT, Area, area, window
from runstate_abi.tools.memory.comparison import compare, deltas, told
from runstate_abi.tools.memory.explanation import CANNOT_TELL, FINE, SOMETHING_WRONG, Place
from runstate_abi.tools.memory.observations import (
    IN_FLIGHT,
    WRONG,
    Observation,
    note,
    observe,
    ordered,
    worst,
)
from runstate_abi.tools.memory.qmp import Look
from runstate_abi.tools.output import Ink, Line


class Tally(NamedTuple):
    """A watch in numbers: looks, and in how many of them something held."""

    looks: int = 0
    flagged: int = 0
    running: int = 0
    changed: int = 0


def main(options: argparse.Namespace) -> int:
    """Look once, or for --watch seconds; return the exit code."""
    first = max(options.gpa - 2 * SHIFT, 0)
    size = options.gpa - first + LARGEST
    seconds = options.watch or 0.0
    lead = options.gpa - first
    seen = qmp.looks(options.qmp, first, size, lead, seconds, options.interval)
    if options.watch is not None:
        return _watch(options, seen)
    look = next(seen)
    seen.close()
    return explanation.explain(options, look.image, Place(options.gpa), _torn(look))


# Nothing can be held against bytes that changed while they were read.
def _torn(look: Look) -> Observation | None:
    if look.stable:
        return None
    text = "it changed whenever it was read: these bytes may be of several updates"
    return note(IN_FLIGHT, text, "order")


def _watch(options: argparse.Namespace, seen: Generator[Look, None, None]) -> int:
    layout: Layout | None = None
    tally = Tally()
    wrong: dict[str, Observation] = {}
    previous: Area | None = None
    for look in seen:
        at = window(look.image, options.gpa)
        # Every time anew: a guest may switch from 32 bits to 64 while somebody watches.
        decision = explanation.decided(options, at, None, None)
        layout = decision.layout or layout
        if layout is None:
            why = "; ".join(decision.reasons)
            print(f"runstate: cannot tell the layout: {why} (give --abi)", file=sys.stderr)
            return CANNOT_TELL
        shown = area(layout, at)
        if previous is not None and previous.layout is not layout:
            previous = None
        found = _observed(look, shown, previous)
        wrong |= {item.text: item for item in found if item.kind == WRONG}
        tally = _counted(tally, look, shown, previous)
        told_of = _told(options, look, shown, previous, found, decision.reasons)
        if not explanation.out(options, told_of):
            break
        sys.stdout.flush()  # Somebody watches.
        previous = shown
    return _end(options, tally, list(wrong.values()))


def _observed(look: Look, shown: Area, previous: Area | None) -> tuple[Observation, ...]:
    torn = _torn(look)
    if torn is not None:
        return (torn,)
    found = observe(shown)
    return told(found, compare(previous.values, shown.values)) if previous is not None else found


def _counted(tally: Tally, look: Look, shown: Area, previous: Area | None) -> Tally:
    changed = previous is not None and previous.data != shown.data
    return Tally(
        tally.looks + 1,
        tally.flagged + shown.values.updating,
        tally.running + look.running,
        tally.changed + changed,
    )


def _told(
    options: argparse.Namespace,
    look: Look,
    shown: Area,
    previous: Area | None,
    found: tuple[Observation, ...],
    reasons: tuple[str, ...],
) -> list[Line]:
    if options.format == "json":
        value = json_view.area(shown, look.image.source, reasons)
        value |= {"seconds": look.seconds, "running": look.running, "stable": look.stable}
        value["observations"] = json_view.observations(found)
        return [(Ink(json.dumps(value)),)]
    state = "running" if look.running else "stopped"
    when = Ink(f"after {look.seconds:.1f} s, guest {state}", "strong")
    if previous is not None and previous.data == shown.data:
        return [(when, Ink(": unchanged"))]
    told: list[Line] = [(when, Ink(f": {shown.abi} at {shown.address:#x}"))]
    columns = explanation.columns(options)
    if previous is None:
        why = [(Ink("  "), Ink(reason, "dim")) for reason in reasons]
        return [
            *told,
            *why,
            *lines.body(shown),
            *lines.observed(found, columns),
        ]
    told += lines.body(shown, _changes(previous, shown))
    told += lines.growth(deltas(previous.values, shown.values), "the look before")
    odd = [item for item in found if item.kind != "normal"]
    return [*told, *lines.observed(odd, columns)]


def _changes(previous: Area, shown: Area) -> frozenset[int]:
    pairs = enumerate(zip(previous.data, shown.data, strict=True))
    return frozenset(offset for offset, (old, new) in pairs if old != new)


# A flag that was set in every look at bytes that never changed, while the guest ran: no update
# takes so long. While it was stopped, nothing could have cleared it.
def _whole(tally: Tally) -> Observation | None:
    if tally.flagged < tally.looks or tally.looks < 2 or tally.changed:
        return None
    text = f"the update flag was set in all {tally.looks} looks, and nothing changed"
    if tally.running < tally.looks:
        return note(IN_FLIGHT, text, "stopped")
    return note(WRONG, f"{text}: no update is in flight, and a guest that reads waits", "stuck")


def _end(options: argparse.Namespace, tally: Tally, wrong: list[Observation]) -> int:
    whole = _whole(tally)
    found = ordered([*wrong, *([whole] if whole else [])])
    kind = worst(found)
    if options.format == "json":
        value = {"summary": tally._asdict(), "observations": json_view.observations(found)}
        explanation.out(options, [(Ink(json.dumps(value)),)])
    else:
        text = f"{tally.looks} looks, {tally.changed} changes, the flag set in {tally.flagged}"
        explanation.out(
            options, [(Ink(text, "strong"),), *lines.observed(found), lines.verdict(kind)]
        )
    return SOMETHING_WRONG if kind == WRONG else FINE
