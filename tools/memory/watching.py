"""``runstate hexdump --qmp``: read an area of a live QEMU over QMP, once or repeatedly.

A running machine changes memory while it is read. So each look reads until two readings in a row
are equal, and says so if they never are. A single look may still be during an update, so what is
odd in it is called in flight. Only what stayed the same for a whole watch is called wrong. The
machine is not changed: a stopped one stays stopped. The extra `live` is the library qemu.qmp.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Generator
from typing import Any, NamedTuple

from runstate_abi.layouts.model import Layout, WitnessError
from runstate_abi.tools.memory import explanation, json_view, observations, text_view
from runstate_abi.tools.memory.area import LARGEST, SHIFT, SMALLEST, AreaBytes, excerpt, read_as
from runstate_abi.tools.memory.explanation import CANNOT_TELL, FINE, SOMETHING_WRONG, Location
from runstate_abi.tools.memory.image import Image, read
from runstate_abi.tools.memory.observations import Observation, compare, deltas, told
from runstate_abi.tools.memory.text import pasted
from runstate_abi.tools.output import Ink, Line

TRIES = 8
PATIENCE = 10.0  # seconds for an answer


class Look(NamedTuple):
    image: Image
    seconds: float  # after the first look
    running: bool  # the guest was running
    stable: bool  # two readings in a row were equal


class Tally(NamedTuple):
    """The counts of a watch: looks, and in how many of them something was so."""

    looks: int = 0
    flagged: int = 0
    running: int = 0
    changed: int = 0


def main(options: argparse.Namespace) -> int:
    """Look once, or for --watch seconds; return the exit code."""
    seen = looks(options)
    if options.watch is not None:
        return _watch(options, seen)
    look = next(seen)
    seen.close()
    return explanation.explain(options, look.image, Location(options.gpa), _torn(look))


def looks(options: argparse.Namespace) -> Generator[Look, None, None]:
    """Yield looks at the area at --gpa for --watch seconds, at least one (WitnessError)."""
    try:
        from qemu.qmp import QMPClient, QMPError
    except ImportError:
        raise WitnessError(
            "--qmp needs the library qemu.qmp: pip install 'runstate-abi[live]'"
        ) from None
    client: Any = QMPClient("runstate")
    with asyncio.Runner() as runner:

        def run(work: Any) -> Any:
            try:
                return runner.run(asyncio.wait_for(work, PATIENCE))
            except (QMPError, OSError, EOFError, TimeoutError) as error:
                reason = " ".join(str(error).split()) or type(error).__name__
                raise WitnessError(f"QMP {options.qmp}: {reason}") from None

        run(client.connect(_socket(options.qmp)))
        try:
            begun = time.monotonic()
            while True:
                now = time.monotonic() - begun
                yield run(_look(client, f"QMP {options.qmp}", options.gpa, now))
                left = (options.watch or 0.0) - (time.monotonic() - begun)
                if left <= 0:
                    return
                time.sleep(min(options.interval, left))
        finally:
            run(client.disconnect())


# A path, or HOST:PORT.
def _socket(name: str) -> str | tuple[str, int]:
    host, colon, port = name.rpartition(":")
    return (host, int(port)) if colon and port.isdigit() and "/" not in name else name


# The bytes in front of the area help to decide its layout, but the area may be at the beginning or
# end of memory. QEMU prints nothing of a line of eight bytes that goes beyond the end of memory. So
# less is asked for until it answers.
async def _look(client: Any, source: str, address: int, now: float) -> Look:
    running = (await client.execute("query-status"))["running"]
    first = max(address - 2 * SHIFT, 0)
    for begin, end in (
        (first, address + LARGEST),
        (address, address + LARGEST),
        (address, address + SMALLEST),
    ):
        last = await _printed(client, begin, end - begin)
        if "Cannot access" not in last:
            break
    stable = False
    for _ in range(TRIES):
        again = await _printed(client, begin, end - begin)
        stable, last = again == last, again
        if stable:
            break
    data = memoryview(last.encode())
    if not pasted.is_text(data):
        said = " ".join(last.split())[:80]
        raise WitnessError(f"{source}: no memory at {begin:#x}: the monitor says {said!r}")
    image = pasted.image(data, source)
    read(image, address, SMALLEST)
    return Look(image, now, running, stable)


async def _printed(client: Any, address: int, size: int) -> str:
    command = f"xp /{size}xb {address:#x}"
    return str(await client.execute("human-monitor-command", {"command-line": command}))


# Bytes that changed while they were read may be from several updates: no rule applies to them.
def _torn(look: Look) -> Observation | None:
    if look.stable:
        return None
    text = "it changed whenever it was read: these bytes may be of several updates"
    return observations.note(observations.IN_FLIGHT, text, "order")


def _watch(options: argparse.Namespace, seen: Generator[Look, None, None]) -> int:
    layout: Layout | None = None
    tally = Tally()
    wrong: dict[str, Observation] = {}
    previous: AreaBytes | None = None
    for look in seen:
        at = excerpt(look.image, options.gpa)
        # Decided each time, because a guest may switch from 32 to 64 bits during the watch.
        decision = explanation.decided(options, at, None, None)
        layout = decision.layout or layout
        if layout is None:
            why = "; ".join(decision.reasons)
            print(f"runstate: cannot tell the layout: {why} (give --abi)", file=sys.stderr)
            return CANNOT_TELL
        shown = read_as(layout, at)
        if previous is not None and previous.layout is not layout:
            previous = None
        found = _observed(look, shown, previous)
        wrong |= {item.text: item for item in found if item.kind == observations.WRONG}
        tally = Tally(
            tally.looks + 1,
            tally.flagged + shown.values.updating,
            tally.running + look.running,
            tally.changed + (previous is not None and previous.data != shown.data),
        )
        if not explanation.out(
            options, _told(options, look, shown, previous, found, decision.reasons)
        ):
            break
        sys.stdout.flush()  # a person is watching
        previous = shown
    return _end(options, tally, list(wrong.values()))


def _observed(look: Look, shown: AreaBytes, previous: AreaBytes | None) -> tuple[Observation, ...]:
    torn = _torn(look)
    if torn is not None:
        return (torn,)
    found = observations.observe(shown)
    return told(found, compare(previous.values, shown.values)) if previous is not None else found


def _told(
    options: argparse.Namespace,
    look: Look,
    shown: AreaBytes,
    previous: AreaBytes | None,
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
    text: list[Line] = [(when, Ink(f": {shown.abi} at {shown.address:#x}"))]
    if previous is None:
        text += [(Ink("  "), Ink(reason, "dim")) for reason in reasons]
        text += text_view.body(shown)
    else:
        pairs = enumerate(zip(previous.data, shown.data, strict=True))
        text += text_view.body(shown, frozenset(at for at, (old, new) in pairs if old != new))
        text += text_view.growth(deltas(previous.values, shown.values), "the look before")
        found = tuple(item for item in found if item.kind != observations.NORMAL)
    return [*text, *text_view.observed(found, explanation.columns(options))]


# No update takes as long as a watch. But if the guest was stopped, nothing could have ended one.
def _whole(tally: Tally) -> list[Observation]:
    if tally.flagged < tally.looks or tally.looks < 2 or tally.changed:
        return []
    text = f"the update flag was set in all {tally.looks} looks, and nothing changed"
    if tally.running < tally.looks:
        return [observations.note(observations.IN_FLIGHT, text, "stopped")]
    return [
        observations.note(
            observations.WRONG,
            f"{text}: no update is in flight, and a guest that reads waits",
            "stuck",
        )
    ]


def _end(options: argparse.Namespace, tally: Tally, wrong: list[Observation]) -> int:
    found = observations.ordered([*wrong, *_whole(tally)])
    kind = observations.worst(found)
    if options.format == "json":
        value = {"summary": tally._asdict(), "observations": json_view.observations(found)}
        explanation.out_json(options, value, None)
    else:
        text = f"{tally.looks} looks, {tally.changed} changes, the flag set in {tally.flagged}"
        summary = [(Ink(text, "strong"),), *text_view.observed(found), text_view.verdict(kind)]
        explanation.out(options, summary)
    return SOMETHING_WRONG if kind == observations.WRONG else FINE
