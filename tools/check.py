"""``runstate check``: hold the layouts against encodings, compilers and kernels' debug info."""

import argparse
import os
import sys
from collections.abc import Iterator

from runstate_abi.layouts.abi import ABI, X86_64
from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.runstate import RUNSTATE_STRUCTS
from runstate_abi.tools import arguments, report, survey
from runstate_abi.tools.survey import Finding

HERE_BTF = ("/sys/kernel/btf/vmlinux", "/sys/kernel/btf/kvm")

_EPILOG = """\
Without FILE: the encodings written by hand, the C layout rule, the kernel's BUILD_BUG_ON
conditions, every compiler found (gcc and clang, -m64 and -m32) and this machine's kernel.
What the machine does not offer is listed as not checked.

With FILE: those files, a vmlinux or vmlinuz and its kvm.ko together (vmlinuz kvm.ko.xz).
A struct that a file should have and lacks is "could not check", exit 3, unless --allow-missing.
"""


def main(argv: list[str]) -> int:
    """Ask the witnesses that the arguments name and print what they say."""
    parser = _parser()
    options = parser.parse_args(argv)
    _refuse(parser, options)
    findings = list(_findings(options))
    for finding in findings:
        _talk(finding)
    if options.json:
        print(report.as_json(findings))
    else:
        for line in report.text(findings):
            print(line)
    return report.exit_code(findings)


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser("check", str(__doc__), _EPILOG)
    add = parser.add_argument
    add("files", nargs="*", metavar="FILE", help="vmlinux, vmlinuz, kvm.ko[.xz|.zst|.gz], raw BTF")
    add("--btf-base", metavar="FILE", help="the kernel that a module's split BTF belongs to")
    add("--abi", choices=list(ABI), help="the ABI of files that do not say (default: x86_64)")
    add(
        "--allow-missing",
        metavar="NAME",
        action="append",
        default=[],
        help="a struct or a witness that need not be there (repeatable)",
    )
    add("--cc", metavar="COMMAND", action="append", help="a compiler: 'gcc -m32' (repeatable)")
    add("--header", metavar="FILE", help="measure structs of this C header with --cc")
    add(
        "--struct",
        dest="structs",
        metavar="NAME[=CLAIM]",
        action="append",
        help=f"a struct of the header, and which of {' or '.join(RUNSTATE_STRUCTS)} it mirrors",
    )
    add("--json", action="store_true", help="one JSON object")
    return parser


# What argparse cannot say: exit status 2 and one line.
def _refuse(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if bool(options.structs) != bool(options.header):
        parser.error("--header FILE and --struct NAME go together")
    for text in options.structs or ():
        name, claim = _mirrored(text)
        if claim not in RUNSTATE_STRUCTS:
            choices = " or ".join(f"{name}={struct}" for struct in RUNSTATE_STRUCTS)
            parser.error(f"--struct {text}: say which struct it mirrors: {choices}")


def _findings(options: argparse.Namespace) -> Iterator[Finding]:
    abi = ABI[options.abi] if options.abi else None
    if options.header:
        yield from _of_header(options, options.cc or ["gcc"])
    elif options.cc:
        yield from survey.asked_of_compilers(options.cc, named=True, abi=abi)
    if options.files:
        yield from _of_files(options.files, options, fails=True)
    if options.files or options.header or options.cc:
        return
    yield from survey.encodings()
    yield from survey.asked_of_compilers(survey.compilers_here(), named=False, abi=abi)
    yield from _of_this_kernel(options)


def _of_header(options: argparse.Namespace, commands: list[str]) -> Iterator[Finding]:
    abi = ABI[options.abi] if options.abi else None
    mirrored = [_mirrored(text) for text in options.structs]
    for command in commands:
        try:
            yield survey.asked_of_header(command, options.header, mirrored, abi)
        except WitnessError as error:
            yield survey.unchecked(command, options.header, str(error))


def _mirrored(text: str) -> tuple[str, str]:
    name, _, claim = text.partition("=")
    return name, claim or name


def _of_this_kernel(options: argparse.Namespace) -> Iterator[Finding]:
    paths = [path for path in HERE_BTF if os.path.exists(path)]
    if not paths:
        why = "no such file: a kernel without CONFIG_DEBUG_INFO_BTF"
        yield survey.unchecked("btf", HERE_BTF[0], why, fails=False)
        return
    yield from _of_files(paths, options, fails=False)


def _of_files(paths: list[str], options: argparse.Namespace, fails: bool) -> Iterator[Finding]:
    from runstate_abi.tools import kernels

    allowed = frozenset(options.allow_missing) if fails else frozenset((*RUNSTATE_STRUCTS, "btf"))
    abi = ABI[options.abi] if options.abi else X86_64
    question = kernels.Question(abi, bool(options.abi), options.btf_base, allowed)
    yield from kernels.asked_of_files(paths, question)


# What could not be read at all is said on stderr, once, as a line; the table leaves it out.
def _talk(finding: Finding) -> None:
    if report.unreadable(finding):
        print(f"runstate: could not check {report.complaint(finding)}", file=sys.stderr)
