"""``runstate judge``: does the writer in a kernel binary keep the rules?"""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from runstate_abi.layouts.exit_status import DIFFERENT, EQUAL, NOT_CHECKED
from runstate_abi.layouts.findings import MACHINE_CODE, unchecked
from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools import output
from runstate_abi.tools.options import count, nearest, new_parser
from runstate_abi.writer.rulebook.requests import Request, parse
from runstate_abi.writer.rules import NEWEST, PROFILE, RULE

if TYPE_CHECKING:
    from runstate_abi.tools.judge.verdict import Verdict
    from runstate_abi.writer.witnesses.shipped import Judged


def main(argv: list[str]) -> int:
    made = parser()
    options = made.parse_args(argv)
    refuse(made, options)
    if options.rules:
        from runstate_abi.tools.judge import text

        output.write(output.plain(text.book(PROFILE[options.profile or NEWEST.name])))
        return EQUAL
    from runstate_abi.writer.witnesses.shipped import WrongRequest

    try:
        return _trace(options) if options.trace else _judge(options)
    except WrongRequest as error:
        made.error(str(error))


def _judge(options: argparse.Namespace) -> int:
    from runstate_abi.tools.judge import against, text, verdict

    form, _, file = options.format.partition("=")
    paths = [path for path in (options.binary, options.against) if path]
    seen: list[verdict.Verdict] = []
    for number, path in enumerate(paths):
        try:
            judged = _opened(options, path, number)
            asked = _requests(options, judged)
            with output.Bar(len(asked), "judging") as bar:
                allowed = frozenset(options.allow)
                seen.append(verdict.verdict(judged, asked, options.jobs, bar.at, allowed))
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

    judged = _opened(options, options.binary, 0)
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
3 cannot judge, with the reason: a call that is not known, an access to what is not there
"""


def parser() -> argparse.ArgumentParser:
    made = new_parser("judge", _SUMMARY, _EPILOG)
    add = made.add_argument
    add("binary", nargs="?", metavar="BINARY", help="kvm.ko[.xz|.zst|.gz], xen.o, .deb, xen-syms")
    types = "where its types are: vmlinux, vmlinuz, raw BTF, DWARF (once more for --against)"
    add("--btf", metavar="FILE", action="append", default=[], help=types)
    add("--entry", metavar="NAME", default="", help="the function to call, if it is another one")
    both = "judge this one too, and say whether both write the same"
    add("--against", metavar="BINARY2", help=both)
    profiles = f"{', '.join(PROFILE)} (default: {NEWEST.name}, for Xen xen-va)"
    add("--profile", default="", help=f"which rules hold: {profiles}")
    quick = "only where something changes: boundaries and failures, half a second"
    add("--quick", action="store_true", help=quick)
    case = "this update alone (repeatable)"
    add("--case", metavar="CASE", action="append", type=_case, help=case)
    add("-j", "--jobs", metavar="N", type=count, default=1, help="processes (default: 1)")
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
    if options.binary is None and not options.rules:
        parser.error("which BINARY?")
    if "-" in (options.binary, options.against, *options.btf):
        parser.error("-: judge needs a file: standard input cannot be looked into twice")
    if options.jobs < 1:
        parser.error(f"-j {options.jobs}: at least one process")
    if len(options.btf) > (2 if options.against else 1):
        parser.error("one --btf for each binary")
    form = options.format.partition("=")[0]
    if form not in FORMATS:
        parser.error(f"--format {form}: there are {', '.join(FORMATS)}")
