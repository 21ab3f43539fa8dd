"""``runstate judge``: does the writer in a kernel binary keep the rules?"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from runstate_abi.layouts.exit_status import DIFFERENT, EQUAL, NOT_CHECKED
from runstate_abi.layouts.findings import MACHINE_CODE, one_line, unchecked
from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools import output
from runstate_abi.tools.options import (
    add_writers,
    count,
    nearest,
    new_parser,
    refuse_families,
    version_family,
)
from runstate_abi.writer.rulebook.requests import Request, parse
from runstate_abi.writer.rules import NEWEST, PROFILE, RULE

if TYPE_CHECKING:
    from runstate_abi.tools.judge.fleet import Row
    from runstate_abi.tools.judge.verdict import Verdict
    from runstate_abi.writer.witnesses.shipped import Judged


def main(argv: list[str]) -> int:
    family = version_family(argv)
    if family:
        from runstate_abi.tools.judge import of_family

        return of_family.main(argv, family)
    made = parser()
    options = made.parse_args(argv)
    refuse_families(made, options)
    refuse(made, options)
    if options.rules:
        from runstate_abi.tools.judge import text

        output.write(output.plain(text.book(PROFILE[options.profile or NEWEST.name])))
        return EQUAL
    from runstate_abi.writer.witnesses.shipped import WrongRequest

    try:
        if options.several:
            return _judge_several(options)
        return _trace(options) if options.trace else _judge(options)
    except WrongRequest as error:
        made.error(str(error))


# A folder, a tarball, several files: whatever may be more than one kernel.
def _are_several(options: argparse.Namespace) -> bool:
    from runstate_abi.layouts.witnesses import packages

    if len(options.binaries) != 1 or options.dask:
        return bool(options.binaries)
    path = options.binaries[0]
    deb = packages.first_bytes(path).startswith(packages.AR_MAGIC)
    return os.path.isdir(path) or (packages.is_archive(path) and not deb)


def _judge_several(options: argparse.Namespace) -> int:
    from runstate_abi.tools import fleet
    from runstate_abi.tools.judge import fleet as kernels

    found, complaints = kernels.chosen(options.binaries)
    rows = [kernels.refusal(path, why) for why, path in complaints]
    asked = kernels.Asked(
        "".join(options.btf),
        options.entry,
        options.profile,
        tuple(options.case or ()),
        options.quick,
        frozenset(options.allow),
        options.verbose,
    )
    if len(found) == 1 and not options.dask:
        rows += kernels.judge_unit(found[0], asked, options.jobs or 1)
    elif found:
        with (
            fleet.executor(options.jobs, options.dask, len(found)) as workers,
            output.Bar(len(found), "kernels") as bar,
        ):
            rows += kernels.judged(found, asked, workers, lambda path: bar.advance(text=path[-40:]))
    _report(rows, *options.format.partition("=")[::2])
    return kernels.exit_status(rows)


def _report(rows: "Sequence[Row]", form: str, file: str) -> None:
    from runstate_abi.tools.judge import fleet as kernels
    from runstate_abi.tools.reports import formats

    refused = [row.refused for row in rows if row.refused]
    told = form == "text" and len(refused) < len(rows)
    if refused and told:
        print(f"runstate: could not judge {len(refused)} of {len(rows)}", file=sys.stderr)
    for why in () if told else refused:
        print(f"runstate: {one_line(why)}", file=sys.stderr)
    if form != "text":
        formats.deliver([one for row in rows for one in row.findings], [(form, file or "-")])
    elif file:
        output.deliver(kernels.lines(rows), file, None, "")
    elif told:
        output.write(output.plain(kernels.lines(rows)))


def _judge(options: argparse.Namespace) -> int:
    from runstate_abi.tools.judge import against, text, verdict

    form, _, file = options.format.partition("=")
    paths = [path for path in (*options.binaries, options.against) if path]
    seen: list[verdict.Verdict] = []
    for number, path in enumerate(paths):
        try:
            judged = _opened(options, path, number)
            asked = _requests(options, judged)
            with output.Bar(len(asked), "judging") as bar:
                allowed = frozenset(options.allow)
                jobs = options.jobs or 1
                seen.append(verdict.verdict(judged, asked, jobs, bar.at, allowed))
        except WitnessError as error:
            if form == "text":
                raise
            return _deliver(seen, (path, str(error)), form, file)
    if form != "text" or file:
        return _deliver(seen, None, form, file)
    shown = [line for one in seen for line in text.lines(one, options.verbose)]
    if options.against:
        shown += ["", *against.compared(seen, asked)]
    output.write(output.plain(shown))
    return _exit_code(seen)


def _opened(options: argparse.Namespace, path: str, number: int) -> "Judged":
    from runstate_abi.writer.witnesses import shipped

    btf = options.btf[number] if number < len(options.btf) else ""
    return shipped.opened(path, btf, options.entry, options.profile)


def _requests(options: argparse.Namespace, judged: "Judged") -> Sequence[Request]:
    from runstate_abi.tools.judge import verdict

    asked: Sequence[Request] = options.case or verdict.requests(judged, options.quick)
    verdict.refuse(judged, asked)
    return asked


def _exit_code(seen: Sequence["Verdict"]) -> int:
    same = len({one.tally.prints.contract for one in seen}) == 1
    return EQUAL if same and all(one.right for one in seen) else DIFFERENT


# The formats of `check`: a verdict is a Finding, and what cannot be judged is one too.
def _deliver(
    seen: Sequence["Verdict"], failed: tuple[str, str] | None, form: str, file: str
) -> int:
    from runstate_abi.tools.judge import verdict
    from runstate_abi.tools.reports import formats

    findings = [one for each in seen for one in verdict.findings(each)]
    if failed:
        findings.append(unchecked(MACHINE_CODE, *failed))
        print(f"runstate: {failed[1]}", file=sys.stderr)
    formats.deliver(findings, [(form, file or "-")])
    if failed:
        return NOT_CHECKED
    return _exit_code(seen)


def _trace(options: argparse.Namespace) -> int:
    from runstate_abi.writer.steps import canonical

    judged = _opened(options, options.binaries[0], 0)
    requests = _requests(options, judged)
    for request in requests:
        if len(requests) > 1:
            print(f"# {request}")
        if judged.writer.takes(request):
            seen = judged.writer.run(request)
            sys.stdout.write(canonical(seen.steps()))
            if seen.lost:
                raise seen.lost
            if seen.ended:
                print(f"# never returned: {seen.ended}")
        else:
            print("# not asked: this writer cannot be")
    return EQUAL


_SUMMARY = "Is the writer in the kernel you ship right? Run it, and hold it against the rules."
_EPILOG = """\
The function that writes the runstate area is run in an emulator at every offset of a page, for both
structs, with and without the update flag, atomic and not, in a state that goes with the offset; and
on every failure path at a few offsets. Each update is held against the rule book. No kernel is
booted.

BINARY is kvm.ko (.xz, .zst, .gz), an xen.o that was just compiled, a .deb of a kernel, or xen-syms;
FILE is the vmlinux or vmlinuz it was built with, its raw BTF, or a file with its DWARF; an xen.o
or a xen-syms may have its own.

Of a folder, a tarball or several BINARYs every kernel is judged, with the vmlinux or vmlinuz that
belongs to it: a row each, the kernels with one contract together, and one verdict. What cannot be
judged is a row too, with the reason; in a folder, what is no kernel is passed over.

What breaks a rule is shown with its source line if there is DWARF (and drgn): in BINARY, in FILE,
or in a .debug file beside BINARY or in /usr/lib/debug, of the same build-id or the same code.

CASE is native or compat, @, the offset in the page, and any of
  flag      the guest asked for XEN_RUNSTATE_UPDATE
  atomic    the new state is runnable: it must not block. Called by the scheduler, interrupts off,
  ioctl     or, with atomic, by RUNSTATE_CURRENT, with interrupts on
and one of
  stale1, stale2    the cache of page 1 or 2 is invalid and has to be refreshed first
  lost1, lost2      the same, and the refresh fails
  busy1, busy2      another CPU holds its lock
  again             cache 1 goes stale while cache 2 is refreshed
  no-slot           no memslot, so no page to mark dirty
  hvm               Xen only: the guest has page tables of its own
as in native@0xff1,flag,atomic or compat@0x100,stale1. One that would change nothing is refused.

A rule that none of the updates puts to the test is "not asked", and counted so. With --allow RULE
its breach is a note, and the exit status that of the other rules.
Barriers are not judged: on x86 smp_wmb() is no instruction. What one is for: race --drop wmb-set.

exit status: 0 right, 1 a rule is broken (or, with --against, the contracts differ), 2 wrong usage,
3 cannot judge, with the reason: a call that is not known, an access to what is not there; of many
kernels 1 if one breaks a rule, else 3 if one cannot be judged
"""


def parser() -> argparse.ArgumentParser:
    made = new_parser("judge", _SUMMARY, _EPILOG)
    add_writers(made)
    add = made.add_argument
    what = "kvm.ko[.xz|.zst|.gz], xen.o, .deb, xen-syms; of several kernels also .tar, folder"
    add("binaries", nargs="*", metavar="BINARY", help=what)
    types = "where its types are: vmlinux, vmlinuz, raw BTF, DWARF (once more for --against)"
    add("--btf", metavar="FILE", action="append", default=[], help=types)
    add("--entry", metavar="NAME", default="", help="the function to call, if it is another one")
    both = "judge this one too, and say whether both write the same"
    add("--against", metavar="BINARY2", help=both)
    profiles = f"{', '.join(PROFILE)} (default: {NEWEST.name}, for Xen xen-va)"
    add("--profile", default="", help=f"which rules hold: {profiles}")
    quick = "only where something changes: boundaries and failures, a second or two"
    add("--quick", action="store_true", help=quick)
    case = "this update alone (repeatable)"
    add("--case", metavar="CASE", action="append", type=_case, help=case)
    jobs = "processes: for several kernels (default: all cores), or for the updates of one (1)"
    add("-j", "--jobs", metavar="N", type=count, help=jobs)
    add("--dask", metavar="ADDRESS", help="a Dask scheduler whose workers see the same files")
    trace = "print each update, step by step, and judge nothing"
    add("--trace", action="store_true", help=trace)
    form = "text, or a report as check writes it: json, junit, sarif, ..."
    add("--format", metavar="FORMAT[=FILE]", default="text", help=form)
    add("--json", dest="format", action="store_const", const="json", help="as --format json")
    allow = "a rule whose breach is a note (repeatable): irqs"
    add("--allow", metavar="RULE", action="append", default=[], help=allow)
    verbose = "every store of an update, and an update for each broken rule"
    add("-v", "--verbose", action="store_true", help=verbose)
    rules = "print the rule book (of --profile) and stop"
    add("--rules", action="store_true", help=rules)
    return made


def _case(text: str) -> Request:
    try:
        return parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def refuse(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Refuse what argparse cannot check: exit status 2 and one line."""
    from runstate_abi.tools.reports.formats import FORMATS

    if options.profile and options.profile not in PROFILE:
        parser.error(f"--profile {options.profile}: there are {', '.join(PROFILE)}")
    for rule in options.allow:
        if rule not in RULE:
            parser.error(f"--allow {rule}: no such rule{nearest(rule, RULE)}")
    if not options.binaries and not options.rules:
        parser.error("which BINARY?")
    if "-" in (*options.binaries, options.against, *options.btf):
        parser.error("-: judge needs a file: standard input cannot be looked into twice")
    if options.jobs is not None and options.jobs < 1:
        parser.error(f"-j {options.jobs}: at least one process")
    options.several = _are_several(options)
    if options.several and (options.against or options.trace):
        parser.error(f"{'--against' if options.against else '--trace'} is for one BINARY")
    if len(options.btf) > (2 if options.against else 1):
        parser.error("one --btf for each binary")
    form = options.format.partition("=")[0]
    if form not in FORMATS:
        parser.error(f"--format {form}: there are {', '.join(FORMATS)}")
