"""``runstate find``: look for runstate areas in a whole memory image, as search/ does it."""

import argparse
import json
import sys
from collections.abc import Iterator
from shlex import quote
from typing import Any

from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.structs.runstate import COMPAT
from runstate_abi.tools import output
from runstate_abi.tools.memory import json_view, sources
from runstate_abi.tools.memory.area import abi_of, state_name
from runstate_abi.tools.memory.image import Image
from runstate_abi.tools.memory.observations import words
from runstate_abi.tools.memory.search import finding
from runstate_abi.tools.memory.search.candidates import LIKELY, UNLIKELY, Candidate
from runstate_abi.tools.options import add_format, count, new_parser
from runstate_abi.tools.output import Ink, Line

FOUND, NOTHING = 0, 1
SCHEMA = "runstate-find/1"

DESCRIPTION = """\
Look for runstate areas at every byte of a memory image: raw memory, an ELF core (of a process too,
by virtual addresses), a LiME dump, any of them compressed, or pasted text. Candidates come best
first, each with its reasons; "since" is the state_entry_time, by the host's clock. An earlier dump
of the same machine (--before) helps most. Native at A and compat at A+4 read the same and are one
candidate. An area in two pages that are not neighbours is not found; hexdump --pages shows it."""
EPILOG = """\
Each reason has a weight, and the total of a candidate is their sum. From 6 on it is likely, which
takes an earlier dump, a copy of Xen's, or times that add up as on KVM. It is unlikely below 0 or if
a reason rules it out. A hypervisor copy is Xen's own record of a vCPU, with a pointer of Xen's in
front of it. The first 20 candidates are printed with their reasons; --json has all.

exit status: 0 candidates were found, 1 none was, 2 wrong usage, 3 the image could not be read, or
  not all of it and nothing was found"""
WORTH_NUMPY = 64 << 20  # bytes: a search takes seconds without it
EXPLAINED, UNLIKELY_EXPLAINED = 20, 5  # the first so many are printed with their reasons
STYLES = {LIKELY: "normal", UNLIKELY: "dim"}


def main(argv: list[str]) -> int:
    options = parser().parse_args(argv)
    image = sources.asked(options.image, options)
    earlier = sources.asked(options.before, options) if options.before else None
    if image.size >= WORTH_NUMPY and not finding.has_numpy():
        text = "without numpy the search is some 20 times slower: pip install 'runstate-abi[scan]'"
        print(f"runstate: {text}", file=sys.stderr)
    for one in filter(None, (image, earlier)):
        for text in one.notes:
            print(f"runstate: {one.source}: {text}", file=sys.stderr)
    with output.Bar(image.size + (earlier.size if earlier else 0), "searching") as bar:
        search = finding.find(image, earlier, bar.advance)
    if not search.found and image.partial:
        raise WitnessError(f"{image.source}: nothing was found in it, and a part of it is missing")
    _print(options, image, search)
    return FOUND if search.found else NOTHING


def parser() -> argparse.ArgumentParser:
    made = new_parser("find", DESCRIPTION, EPILOG)
    add = made.add_argument
    add("image", metavar="IMAGE", help="image, core or text; - is standard input")
    add("--before", metavar="IMAGE2", help="an earlier dump of the same memory")
    sources.add_options(made)
    add("--limit", type=count, default=20, metavar="N", help="show at most N; 0 shows all (20)")
    add_format(made, "text", "json")
    add("--color", choices=output.CHOICES, default="auto", help="auto: on a terminal")
    return made


def _print(options: argparse.Namespace, image: Image, search: finding.Search) -> None:
    shown = search.found[: options.limit or None]
    if options.format == "json":
        value = {
            "schema": SCHEMA,
            "source": image.source,
            "searched": search.searched,
            "complete": not search.cut,
            "dropped": search.dropped,
            "count": len(search.found),
            "candidates": [as_json(item) for item in shown],
        }
        print(json.dumps(value, indent=2))
        return
    # Options that hexdump needs to read the same image.
    carried = f" --before {quote(options.before)}" if options.before not in (None, "-") else ""
    carried += " --raw" if options.raw else ""
    carried += f" --base {options.base:#x}" if options.base else ""
    carried += f" --text {options.text}" if options.text else ""
    output.write(table(shown, image, options.base, carried), options.color)
    print(f"runstate: {_summary(options, search, len(shown))}", file=sys.stderr)


def _summary(options: argparse.Namespace, search: finding.Search, shown: int) -> str:
    found, likely = len(search.found), sum(item.verdict == LIKELY for item in search.found)
    text = f"{found} candidate{'s' * (found != 1)} in {search.searched} bytes, {likely} likely"
    if search.dropped:
        text += f"; {search.dropped} less likely ones not kept"
    if search.cut:
        text += ", and the search ended before the image: it is full of them"
    if shown < found:
        text += f"; {shown} shown (--limit)"
    if found and not likely and not options.before:
        text += "; an earlier dump (--before) tells areas from what only looks like one"
    return text


def table(found: list[Candidate], image: Image, base: int = 0, carried: str = "") -> Iterator[Line]:
    """Yield a line for each candidate, and for the first ones their reasons and a command.

    ``base`` is the address of a raw image's first byte; ``carried`` are more options of the
    command.
    """
    option = "--gpa" if image.placed else "--at"
    name = "-" if image.source == "standard input" else quote(image.source)
    for number, item in enumerate(found, 1):
        yield (
            Ink(f"{number:>3} "),
            Ink(f"{item.verdict:<16}", STYLES.get(item.verdict, "in-flight")),
            Ink(f"{item.address:#012x}  {abi_of(item.layout):<7} "),
            Ink(f"{state_name(item.seen.state) or '?':<9}", "state"),
            Ink(f"since {words(item.seen.entry)}"),
            Ink("  UPDATE=1" if item.seen.updating else "", "flag"),
            Ink(f"  total {item.weight:+d}", "dim"),
        )
        if number > (UNLIKELY_EXPLAINED if item.verdict == UNLIKELY else EXPLAINED):
            continue
        for reason in item.reasons:
            yield (Ink(f"      {reason.weight:+3d}  {reason.text}", "dim"),)
        if item.doubt is not None:
            other = "compat" if abi_of(item.layout) == "native" else "native"
            yield (Ink(f"           {other} at {item.doubt:#x} reads the same", "dim"),)
        place = item.address - (base if option == "--at" else 0)
        # If both layouts fit, hexdump takes native.
        abi = " --abi compat" if item.doubt is not None and item.layout is COMPAT else ""
        command = f"           runstate hexdump {name} {option} {place:#x}{abi}{carried}"
        yield (Ink(command, "command"),)


def as_json(item: Candidate) -> dict[str, Any]:
    """Return one candidate; ``address`` is where its layout begins."""
    return {
        "verdict": item.verdict,
        "weight": item.weight,
        "address": item.address,
        "abi": abi_of(item.layout),
        "same_bytes_at": item.doubt,
        "fields": json_view.fields(item.seen),
        "padding": item.seen.padding.hex(),
        "update_in_progress": item.seen.updating,
        "points_to": item.points_to,
        "reasons": [{"weight": reason.weight, "text": reason.text} for reason in item.reasons],
    }
