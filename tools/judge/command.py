"""``runstate judge``: is the writer in the kernel you ship right?"""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools.cli import DIFFERENT, EQUAL, NOT_CHECKED
from runstate_abi.tools.judge import options as asking
from runstate_abi.writer.rulebook.requests import Request
from runstate_abi.writer.rules import NEWEST, PROFILE

if TYPE_CHECKING:
    from runstate_abi.tools.judge.verdict import Judged, Verdict

WIDTH = 32


def main(argv: list[str]) -> int:
    """Judge one binary, or two, as the arguments say."""
    parser = asking.parser()
    options = parser.parse_args(argv)
    asking.refuse(parser, options)
    if options.rules:
        from runstate_abi.tools.judge import text

        print("\n".join(text.book(PROFILE[options.profile or NEWEST.name])))
        return EQUAL
    from runstate_abi.tools.judge.verdict import WrongRequest

    try:
        return _trace(options) if options.trace else _judge(options)
    except WrongRequest as error:
        parser.error(str(error))


def _judge(options: argparse.Namespace) -> int:
    from runstate_abi.tools.judge import text, verdict

    form, _, file = options.format.partition("=")
    paths = [path for path in (options.binary, options.against) if path]
    seen: list[verdict.Verdict] = []
    for number, path in enumerate(paths):
        try:
            judged = _opened(options, path, number)
            asked = _requests(options, judged)
            with _Progress(len(asked)) as progress:
                seen.append(verdict.verdict(judged, asked, options.jobs, progress.at))
        except WitnessError as error:
            if form == "text":
                raise
            return _deliver(seen, (path, str(error)), form, file)
    if form != "text" or file:
        return _deliver(seen, None, form, file)
    for one in seen:
        print("\n".join(text.lines(one)))
    if options.against:
        print()
        print("\n".join(text.compared(*seen)))
    return _exit_code(seen)


def _opened(options: argparse.Namespace, path: str, number: int) -> "Judged":
    from runstate_abi.tools.judge import verdict

    btf = options.btf[number] if number < len(options.btf) else ""
    return verdict.opened(path, btf, options.entry, options.profile)


def _requests(options: argparse.Namespace, judged: "Judged") -> Sequence[Request]:
    from runstate_abi.tools.judge import verdict

    asked: Sequence[Request] = options.case or verdict.requests(judged, options.quick)
    verdict.refuse(judged, asked)
    return asked


def _exit_code(seen: Sequence["Verdict"]) -> int:
    same = len({one.tally.prints.contract for one in seen}) == 1
    return EQUAL if same and all(one.right for one in seen) else DIFFERENT


# The formats of `check`: a verdict is a Finding there, and what cannot be judged is one too.
def _deliver(
    seen: Sequence["Verdict"], failed: tuple[str, str] | None, form: str, file: str
) -> int:
    from runstate_abi.tools import report
    from runstate_abi.tools.checking import survey
    from runstate_abi.tools.judge import verdict

    findings = [one for each in seen for one in verdict.findings(each)]
    if failed:
        findings.append(survey.unchecked(verdict.WITNESS, *failed))
        print(f"runstate: {failed[1]}", file=sys.stderr)
    report.deliver(findings, [(form, file or "-")])
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
            sys.stdout.write(canonical(judged.writer.observe(request).steps()))
        else:
            print("# not asked: this writer cannot be")
    return EQUAL


class _Progress:
    """A bar on a terminal's stderr, and nothing anywhere else."""

    def __init__(self, total: int) -> None:
        self._total, self._shown = total, sys.stderr.isatty()

    def __enter__(self) -> "_Progress":
        return self

    def at(self, done: int) -> None:
        """Draw how far it is."""
        if self._shown:
            full = WIDTH * done // self._total
            bar = "#" * full + "." * (WIDTH - full)
            print(f"\rjudging [{bar}] {done}/{self._total}", end="", file=sys.stderr, flush=True)

    def __exit__(self, *_: object) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
