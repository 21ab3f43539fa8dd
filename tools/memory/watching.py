"""``runstate hexdump --qmp``: read an area of a live QEMU over QMP, once or repeatedly.

A running machine changes memory while it is read. So each look reads until two readings in a row
are equal, and says so if they never are. A single look may still be during an update, so what is
odd in it is called in flight. Only what stayed the same for a whole watch is called wrong. The
machine is not changed: a stopped one stays stopped. The extra `live` is the library qemu.qmp.
"""

import asyncio
import json
import sys
import time
from argparse import Namespace
from collections import Counter
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


def main(options: Namespace) -> int:
    """Look once, or for --watch seconds; return the exit code."""
    seen = looks(options)
    if options.watch is not None:
        return _watch(options, seen)
    look = next(seen)
    seen.close()
    return explanation.explain(options, look.image, Location(options.gpa), _torn(look))


def looks(options: Namespace) -> Generator[Look, None, None]:
    """Yield looks at the area at --gpa for --watch seconds, at least one (WitnessError)."""
    try:
        from qemu.qmp import QMPClient, QMPError
    except ImportError:
        raise WitnessError("--qmp needs qemu.qmp: pip install 'runstate-abi[live]'") from None
    client: Any = QMPClient("runstate")
    with asyncio.Runner() as runner:

        def run(work: Any) -> Any:
            try:
                return runner.run(asyncio.wait_for(work, PATIENCE))
            except (QMPError, OSError, EOFError, TimeoutError) as error:
                reason = " ".join(str(error).split()) or type(error).__name__
                raise WitnessError(f"QMP {options.qmp}: {reason}") from None

        host, colon, port = options.qmp.rpartition(":")
        tcp = colon and port.isdigit() and "/" not in options.qmp
        run(client.connect((host, int(port)) if tcp else options.qmp))
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


# The bytes in front of the area help to decide its layout, but the area may be at the beginning or
# end of memory. QEMU prints nothing of a line of eight bytes that goes beyond the end of memory. So
# less is asked for until it answers.
async def _look(client: Any, source: str, address: int, now: float) -> Look:
    running = (await client.execute("query-status"))["running"]
    front = min(2 * SHIFT, address)
    for before, size in ((front, LARGEST), (0, LARGEST), (0, SMALLEST)):
        begin, end = address - before, address + size
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


def _watch(options: Namespace, seen: Generator[Look, None, None]) -> int:
    layout: Layout | None = None
    tally = Counter(looks=0, flagged=0, running=0, changed=0)
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
        torn = _torn(look)
        found = (torn,) if torn else observations.observe(shown)
        if not torn and previous is not None:
            found = told(found, compare(previous.values, shown.values))
        wrong |= {item.text: item for item in found if item.kind == observations.WRONG}
        changed = previous is not None and previous.data != shown.data
        flagged = shown.values.updating
        tally.update(looks=1, flagged=flagged, running=look.running, changed=changed)
        text = _told(options, look, shown, previous, found, decision.reasons)
        if not explanation.out(options, text):
            break
        sys.stdout.flush()  # a person is watching
        previous = shown
    return _end(options, tally, list(wrong.values()))


def _told(
    options: Namespace,
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


def _end(options: Namespace, tally: Counter[str], wrong: list[Observation]) -> int:
    looks, whole = tally["looks"], []
    if tally["flagged"] == looks > 1 and not tally["changed"]:
        text = f"the update flag was set in all {looks} looks, and nothing changed"
        if tally["running"] < looks:
            whole = [observations.note(observations.IN_FLIGHT, text, "stopped")]
        else:
            # No update takes as long as a watch, unless the guest was stopped.
            text += ": no update is in flight, and a guest that reads waits"
            whole = [observations.note(observations.WRONG, text, "stuck")]
    found = observations.ordered([*wrong, *whole])
    kind = observations.worst(found)
    if options.format == "json":
        value = {"summary": dict(tally), "observations": json_view.observations(found)}
        explanation.out_json(options, value, None)
    else:
        text = "{looks} looks, {changed} changes, the flag set in {flagged}".format_map(tally)
        summary = [(Ink(text, "strong"),), *text_view.observed(found), text_view.verdict(kind)]
        explanation.out(options, summary)
    return SOMETHING_WRONG if kind == observations.WRONG else FINE
