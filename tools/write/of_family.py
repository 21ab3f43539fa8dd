"""``runstate write --family``: one update of a struct that a version guards, step by step."""

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.layouts.exit_status import DIFFERENT, EQUAL
from runstate_abi.layouts.model import Layout
from runstate_abi.tools import output
from runstate_abi.tools.options import add_format, address, family_name, nearest, new_parser, number
from runstate_abi.tools.output import aligned
from runstate_abi.tools.write.family_update import (
    Refused,
    Written,
    fields_of,
    in_flight,
    version,
    write,
)
from runstate_abi.writer.guard import guard_of
from runstate_abi.writer.steps import Store, Write, line
from runstate_abi.writer.versions.parties import VersionWriter
from runstate_abi.writer.versions.writers import WRITERS

SCHEMA = "runstate-write-family/1"
LIST_SCHEMA = "runstate-writers-family/1"
AT = 0x1100  # a cache line in the guest's second page
PADDING_MAX = 8  # bytes at the end of the struct that are shown

_SUMMARY = "One update of a struct with a version, step by step, by any of its public writers."
_EPILOG = """\
The default output is the canonical trace: one line a step, page-relative addresses, bytes in memory
order. Under each store is the struct as it is after it, a member a group, | where page 2 begins,
.. for much padding at its end, and its version. In --format table that is one row a step, and row 0
is what the struct held before.

A member that --set does not name has its number in each of its bytes: 11 11 .., 22 22 .., 33 33 ...
The version is the writer's: it makes an odd one even, and leaves the next even one; Hyper-V's
sequence is counted by 1 and is never 0.

examples:
  runstate write --family pvclock --list
  runstate write --family pvclock --variant xen-time-va --at 0xff0
  runstate write --family pvclock --variant xen-wallclock --set sec=0x6a000000 --set nsec=5
  runstate write --family steal_time --variant kvm-riscv32-steal --format table
  runstate write --family hyperv --old 01000000 --json

exit status: 0 done, 1 the writer does not take the struct there, or what it holds, 2 wrong usage
"""


def main(argv: list[str], family: str) -> int:
    made = parser(family)
    options = made.parse_args(argv)
    if options.list:
        return _list(family, options.format == "json")
    if options.output != "-" and options.format != "html":
        made.error("-o: the page of --format html")
    writer = _chosen(made, options)
    values = _values(made, writer.layout, options.set or ())
    try:
        written = write(writer, options.at, _old(made, writer.layout, options.old), values)
    except Refused as refused:
        print(f"runstate write: {refused}", file=sys.stderr)
        return DIFFERENT
    if options.format == "html":
        from runstate_abi.tools.write import player

        page = player.of_family(written, family, _text(written, family))
        return output.deliver(page, options.output, None, "")
    lines = {"json": _json, "table": _table, "text": _text}[options.format](written, family)
    output.write(output.plain(lines))
    return EQUAL


def parser(family: str) -> argparse.ArgumentParser:
    made = new_parser("write", _SUMMARY, _EPILOG)
    add = made.add_argument
    add("--family", type=family_name, metavar="NAME", help=f"{family}: whose structs")
    first = WRITERS[family][0].name
    add("--variant", metavar="WRITER", default=first, help=f"who writes, see --list ({first})")
    add("--at", metavar="ADDRESS", type=address, default=AT, help=f"where the struct is ({AT:#x})")
    old = "the struct before, from its first byte on; what is missing is 0 (all 0)"
    add("--old", metavar="HEX", type=_hex, default=b"", help=old)
    new = "what a member becomes: steal=0x100 (repeatable)"
    add("--set", metavar="MEMBER=NUMBER", type=_assignment, action="append", help=new)
    add_format(made, "text", "table", "json", "html")
    page = "where the page of --format html goes (default: -, stdout)"
    add("-o", "--output", metavar="FILE", default="-", help=page)
    add("--list", action="store_true", help="the writers and where they come from")
    return made


def _hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not hex digits") from None


def _assignment(text: str) -> tuple[str, int]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text} is not MEMBER=NUMBER")
    return name, number(value)


def _chosen(made: argparse.ArgumentParser, options: argparse.Namespace) -> VersionWriter:
    known = {one.name: one for one in WRITERS[options.family]}
    if options.variant not in known:
        made.error(f"--variant {options.variant}: no such writer{nearest(options.variant, known)}")
    return known[options.variant]


def _old(made: argparse.ArgumentParser, layout: Layout, given: bytes) -> bytes:
    if len(given) > layout.size:
        made.error(f"--old: {len(given)} bytes, and struct {layout.name} has {layout.size}")
    return given.ljust(layout.size, b"\0")


# What --set says; exits with one line if a member is not there, or too short for its number.
def _values(
    made: argparse.ArgumentParser, layout: Layout, pairs: list[tuple[str, int]] | tuple[()]
) -> dict[str, int]:
    word = guard_of(layout).name(layout)
    rows = {row.name: row for row in layout.members if row.name != word}
    for name, value in pairs:
        if name == word:
            made.error(f"--set {name}: the writer counts it (--old says from where)")
        if name not in rows:
            made.error(f"--set {name}: not a member of {layout.name}{nearest(name, rows)}")
        bits = 8 * rows[name].size
        lowest = -(1 << bits - 1) if rows[name].type.signed else 0
        if not lowest <= value < 1 << bits:
            made.error(f"--set {name}={value}: it has {bits} bits")
    return dict(pairs)


def _text(written: Written, family: str) -> Iterator[str]:
    for moment in written.moments:
        yield line(moment.step)
        if isinstance(moment.step, Write):
            struct = written.struct(moment)
            yield f"    {_grouped(written, struct)}  {version(written.layout, struct)}"


def _table(written: Written, family: str) -> Iterator[str]:
    first = (_grouped(written, written.before), version(written.layout, written.before))
    rows = [("#", "step", "struct", "version"), ("0", "", *first)]
    for count, moment in enumerate(written.moments, 1):
        if isinstance(moment.step, Write):
            struct = written.struct(moment)
            shown = (_grouped(written, struct), version(written.layout, struct))
            rows.append((str(count), _brief(moment.step), *shown))
        else:
            rows.append((str(count), line(moment.step), "", ""))
    yield from aligned(rows)


# The bytes of a step are in the struct beside it.
def _brief(step: Write) -> str:
    kind = "store" if isinstance(step, Store) else "copy"
    return f"{kind} p{step.page}+{step.offset} {len(step.data)}"


# The struct as hex, a member a group, a | where page 2 begins. Much padding at its end is "..".
def _grouped(written: Written, struct: bytes) -> str:
    edge, said = PAGE_SIZE - written.place.offset, ""
    starts = {element.offset for element in written.layout.elements()}
    last = written.layout.members[-1].end
    end = last if written.layout.size - last > PADDING_MAX else written.layout.size
    for offset, byte in enumerate(struct[:end]):
        gap = "|" if offset == edge else " " if offset in starts and offset else ""
        said += f"{gap}{byte:02x}"
    return said if end == written.layout.size else f"{said} .."


def _json(written: Written, family: str) -> Iterator[str]:
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "family": family,
        "variant": written.writer.name,
        "source": written.writer.source,
        "struct": written.layout.name,
        "at": written.place.address,
        "steps": list(_steps(written)),
        "bytes": written.after.hex(),
        "barriers": [one.hex() for one in written.snapshots],
    }
    yield from json.dumps(document, indent=2).splitlines()


def _steps(written: Written) -> Iterator[dict[str, Any]]:
    for moment in written.moments:
        one: dict[str, Any] = {"step": line(moment.step)}
        if isinstance(moment.step, Write):
            struct = written.struct(moment)
            one["field"] = fields_of(written, moment.step)
            one |= {"struct": struct.hex(), "in_flight": in_flight(written.layout, struct)}
        yield one


def _list(family: str, in_json: bool) -> int:
    writers = WRITERS[family]
    if in_json:
        listed = [
            {"name": x.name, "struct": x.layout.name, "summary": x.summary, "source": x.source}
            for x in writers
        ]
        print(json.dumps({"schema": LIST_SCHEMA, "family": family, "writers": listed}, indent=2))
    else:
        rows = [(one.name, one.layout.name, one.summary, one.source) for one in writers]
        output.write(output.plain(aligned(rows)))
    return EQUAL
