"""``runstate judge --family``: the function of a shipped kernel that updates a versioned struct."""

import argparse
import json
from collections.abc import Iterator
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from runstate_abi.layouts.exit_status import DIFFERENT, EQUAL
from runstate_abi.layouts.structs.families import family as family_of
from runstate_abi.tools import output
from runstate_abi.tools.options import family_name, new_parser
from runstate_abi.tools.output import aligned, counted, titled

if TYPE_CHECKING:
    from runstate_abi.writer.witnesses.versions.opened import Opened
    from runstate_abi.writer.witnesses.versions.updates import Event, Update
    from runstate_abi.writer.witnesses.versions.verdict import First, Outcome, Verdict

SCHEMA = "runstate-judge-family/1"
WIDTH = 100
FORMATS = ("text", "json")


def main(argv: list[str], family: str) -> int:
    made = parser(family)
    options = made.parse_args(argv)
    refuse(made, options)
    if options.rules:
        output.write(output.plain(_book(family)))
        return EQUAL
    from runstate_abi.writer.witnesses.versions import opened, rules, verdict

    kernel = opened.opened(options.binaries[0], "".join(options.btf), family)
    seen = verdict.judged(kernel.writer, rules.RULES[family])
    form, _, file = options.format.partition("=")
    shown = _text(kernel, seen, options.verbose) if form == "text" else _json(kernel, seen)
    if file:
        output.deliver(shown, file, None, "")
    else:
        output.write(output.plain(shown))
    return EQUAL if seen.right else DIFFERENT


_SUMMARY = "Is the kernel you ship right in its {family} update? Run it, hold it against the rules."
_EPILOG = """\
The function that updates the guest's struct is run in an emulator: with an even version and an odd
one, which an interrupted update leaves, at several places in a page, in each state that the kernel
may be in. Each update is held against the rules of the struct's version (--rules). No kernel is
booted.

  pvclock     kvm_setup_guest_pvclock(), which writes struct pvclock_vcpu_time_info
  steal_time  record_steal_time(), which writes struct kvm_steal_time; also with a fault at each of
              its accesses to guest memory
  hyperv      has rules alone: kvm_hv_setup_tsc_page() cannot be judged yet

BINARY is kvm.ko (.xz, .zst, .gz), an object that was just compiled, or a .deb of a kernel; FILE is
the vmlinux or vmlinuz it was built with, its raw BTF, or a file with its DWARF.

exit status: 0 right, 1 a rule is broken, 2 wrong usage, 3 cannot judge, with the reason: no such
function, a call that is not known, an access to what is not there
"""
# What judge has for the writer of the runstate area alone.
ELSEWHERE = (
    "against", "profile", "quick", "case", "jobs", "dask", "trace", "entry", "allow",
)  # fmt: skip


def parser(family: str) -> argparse.ArgumentParser:
    made = new_parser("judge", _SUMMARY.format(family=family), _EPILOG)
    add = made.add_argument
    add("binaries", nargs="*", metavar="BINARY", help="kvm.ko[.xz|.zst|.gz], an object, .deb")
    add("--family", type=family_name, metavar="NAME", help="which struct: pvclock, steal_time")
    types = "where its types are: vmlinux, vmlinuz, raw BTF, DWARF"
    add("--btf", metavar="FILE", action="append", default=[], help=types)
    add("--format", metavar="FORMAT[=FILE]", default="text", help="text or json")
    add("--json", dest="format", action="store_const", const="json", help="as --format json")
    verbose = "the steps of an update for each broken rule, and not of the first alone"
    add("-v", "--verbose", action="store_true", help=verbose)
    add("--rules", action="store_true", help="print the rules and stop")
    for name in ELSEWHERE:
        words = ("-j", "--jobs") if name == "jobs" else (f"--{name}",)
        add(*words, dest=name, nargs="*", action="append", help=argparse.SUPPRESS)
    return made


def refuse(made: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Refuse what argparse cannot check: exit status 2 and one line."""
    for name in ELSEWHERE:
        if getattr(options, name) is not None:
            made.error(f"--{name} is for the runstate area's writer alone")
    if options.format.partition("=")[0] not in FORMATS:
        made.error(f"--format {options.format}: with --family there are {', '.join(FORMATS)}")
    if options.rules:
        return
    if not options.binaries:
        made.error("which BINARY?")
    if len(options.binaries) > 1 or _holds_several(options.binaries[0]):
        made.error("with --family it judges one BINARY, and no folder or tarball")
    if len(options.btf) > 1:
        made.error("one --btf for one BINARY")
    if "-" in (*options.binaries, *options.btf):
        made.error("-: judge needs a file: standard input cannot be looked into twice")


def _holds_several(path: str) -> bool:
    from os.path import isdir

    from runstate_abi.layouts.witnesses import packages

    deb = packages.first_bytes(path).startswith(packages.AR_MAGIC)
    return isdir(path) or (packages.is_archive(path) and not deb)


def _book(family: str) -> Iterator[str]:
    from runstate_abi.writer.witnesses.versions.rules import NO_BARRIERS, RULES

    yield f"{family}: {family_of(family).title}"
    yield ""
    yield from aligned([[rule.name, rule.sentence] for rule in RULES[family]])
    yield ""
    yield NO_BARRIERS


def _text(kernel: "Opened", seen: "Verdict", verbose: bool) -> Iterator[str]:
    yield from _head(kernel, seen)
    yield ""
    yield from aligned([_row(one) for one in seen.outcomes])
    yield ""
    broken = [one for one in seen.outcomes if one.first]
    for one in broken if verbose else broken[:1]:
        if one.first:
            yield from _story(one.rule.name, one.first)
            yield ""
    for note in seen.notes:
        yield from wrap(note, WIDTH, subsequent_indent="  ", break_long_words=False)
    yield _verdict(seen)


def _head(kernel: "Opened", seen: "Verdict") -> Iterator[str]:
    named = [kernel.release, f"build-id {kernel.build_id[:12]}" if kernel.build_id else ""]
    yield "  ".join([kernel.path, ", ".join(filter(None, [*named, kernel.compiler]))]).rstrip()
    function, shape = kernel.writer.entry, kernel.writer.shape
    rows = [
        ["function", f"{function.name}, {function.symbol.size} bytes"],
        ["struct", f"{shape.layout.name}, {shape.size} bytes, as claimed here"],
        ["called", f"{counted(len(seen.used), 'function')} played: {', '.join(seen.used)}"],
    ]
    if kernel.patches:
        changes = ", ".join(counted(n, what) for what, n in kernel.patches.items())
        rows.append(["unpatched", f"booting would change {changes}; judged as in the file"])
    rows.append(["asked", f"{counted(seen.updates, 'update')}, family {kernel.family}"])
    yield from titled(rows, WIDTH)


def _row(one: "Outcome") -> list[str]:
    tested = counted(one.tested, "update")
    if one.first is None:
        return ["ok" if one.tested else "-", one.rule.name, tested, one.rule.sentence]
    said = f"{one.broken} of {tested}, first {one.first.update.asked}: {one.first.breach.why}"
    return ["BROKEN", one.rule.name, tested, said]


def _story(rule: str, first: "First") -> Iterator[str]:
    update, (at, why) = first.update, first.breach
    yield f"{rule}: {update.asked}: {why}"
    rows = [
        [f"  {'>' if number == at else ' '} {_event(update, event)}", place]
        for number, (event, place) in enumerate(zip(update.events, update.places, strict=True))
    ]
    if at >= len(update.events):
        rows.append([f"  > {'never returned' if update.ended else 'return'}", ""])
    yield from aligned(rows)


def _event(update: "Update", event: "Event") -> str:
    from runstate_abi.writer.witnesses.versions.updates import CHECK, REFRESH, Call, Fault, Store

    if isinstance(event, Fault):
        return f"fault at access {event.number}"
    if isinstance(event, Call):
        detail = (
            f" {event.size} bytes -> {int(event.result)}" if event.does in (CHECK, REFRESH) else ""
        )
        return f"{event.does}{detail}"
    names = ", ".join(update.shape.names(event))
    if isinstance(event, Store):
        return f"{'copy' if event.copied else 'store'} {event.offset:+d} {event.data.hex()} {names}"
    return f"load {event.offset:+d} {event.size} {names}"


def _verdict(seen: "Verdict") -> str:
    updates = counted(seen.updates, "update")
    if seen.right:
        kept = sum(bool(one.tested) for one in seen.outcomes)
        silent = len(seen.outcomes) - kept
        return f"right: {kept} rules kept in {updates}" + f", {silent} not asked" * bool(silent)
    broken = ", ".join(one.rule.name for one in seen.outcomes if one.broken)
    return f"WRONG: of {updates} some break a rule ({broken})"


def _json(kernel: "Opened", seen: "Verdict") -> Iterator[str]:
    value = {
        "schema": SCHEMA,
        "kernel": kernel.release,
        "build_id": kernel.build_id,
        "function": kernel.writer.entry.name,
        "family": kernel.family,
        "verdict": "right" if seen.right else "broken",
        "updates": seen.updates,
        "rules": [_json_rule(one) for one in seen.outcomes],
        "notes": list(seen.notes),
    }
    yield from json.dumps(value, indent=2).splitlines()


def _json_rule(one: "Outcome") -> dict[str, Any]:
    first = one.first and {
        "update": str(one.first.update.asked),
        "why": one.first.breach.why,
        "at": one.first.place,
    }
    rule = one.rule
    return {
        "name": rule.name,
        "sentence": rule.sentence,
        "tested": one.tested,
        "broken": one.broken,
        "first": first,
    }
