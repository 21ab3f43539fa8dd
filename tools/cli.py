"""``runstate VERB``: find the verb's module, and turn every failure into one line and an exit code.

A verb is imported only if it is asked for, so that the command starts quickly.
"""

import gc
import importlib
import os
import sys
from typing import NamedTuple

from runstate_abi.layouts.exit_status import EQUAL, INTERNAL, NOT_CHECKED, USAGE

CUT_SHORT = 128 + 13  # what a shell reports for a program that SIGPIPE ended
HELP = ("-h", "--help", "help")


class Verb(NamedTuple):
    """One verb: ``runstate_abi.tools.MODULE`` has ``parser()`` and ``main(argv) -> int``."""

    name: str
    module: str
    summary: str


# fmt: off
VERBS = (
    Verb("show",    "compare.show",   "the structs side by side, a row for every byte"),
    Verb("check",   "check.command",  "compare the layouts with encodings, compilers, kernels"),
    Verb("write",   "write.command",  "one update of the area step by step, by any version of the writer"),
    Verb("judge",   "judge.command",  "run the writer of a shipped kernel, and check it by the rule book"),
    Verb("emit",    "emit",   "the layouts in C, Rust, Zig, Kaitai, poke, gdb ..., with assertions"),
    Verb("diff",    "compare.diff",   "compare two layouts, and explain each shift by its rule"),
    Verb("matrix",  "compare.matrix", "every field on every ABI, as claimed and as each witness has it"),
    Verb("docs",    "docs.command",   "the ABI document: reST, Markdown, HTML, man page"),
    Verb("hexdump", "memory.hexdump", "a runstate area in real memory, explained byte by byte"),
    Verb("race",    "race.command",   "prove that a guest never accepts a torn read, or show how it does"),
    Verb("find",    "memory.find",    "look for runstate areas in a whole memory image"),
)
# fmt: on


_ENDING = """\
runstate help COMMAND, or COMMAND --help, says more; -V prints the version

exit status (the help of each command says more):
  0   everything that was asked for was compared, and agrees
  1   a difference was found
  2   wrong usage
  3   could not check: a file, a type, a tool or debug info is missing or cannot be read
  70  internal error; please report it
race exits 1 if an answer is torn, 0 if all are safe. find exits 0 if there are candidates, 1 if
there is none."""


def main(argv: list[str]) -> int:
    """Run one verb and return its exit code; no exception leaves this function."""
    if sys.stdout is None:
        return _fail("standard output is closed", NOT_CHECKED)
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115 (for as long as the command runs)
    try:
        code = _called(argv)
    except BrokenPipeError:
        code = CUT_SHORT
    except KeyboardInterrupt:
        code = _fail("interrupted", 130)
    except Exception as error:
        code = _explain(error)
    return _flushed(code)


# The reader may have gone (`| head`), or the disk may be full. Python flushes again at exit and
# would complain, so the rest of the output goes to /dev/null. If the reader has gone the exit code
# stays.
def _flushed(code: int) -> int:
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError) and code != NOT_CHECKED:
            return _fail(str(error.strerror), NOT_CHECKED)
    return code


def _called(argv: list[str]) -> int:
    if not argv:
        print(usage(), file=sys.stderr)
        return USAGE
    if argv[0] in HELP and argv[1:] in ([], ["help"]):
        print(usage())
        return EQUAL
    if argv[0] in HELP:
        return _verb([argv[1], "--help"])
    if argv[0] in ("-V", "--version"):
        from importlib.metadata import version

        print(f"runstate {version('runstate-abi')}")
        return EQUAL
    return _verb(argv)


def _verb(argv: list[str]) -> int:
    verb = next((verb for verb in VERBS if verb.name == argv[0]), None)
    if verb is None:
        from runstate_abi.tools.options import nearest

        near = nearest(argv[0], [verb.name for verb in VERBS])
        return _fail(f"no command {argv[0]!r}{near} (try: runstate --help)", USAGE)
    try:
        code: int = importlib.import_module(f"runstate_abi.tools.{verb.module}").main(argv[1:])
    except SystemExit as end:  # argparse's way to end after --help or wrong usage
        return end.code if isinstance(end.code, int) else EQUAL
    return code


def _explain(error: Exception) -> int:
    # By name, because an import would slow down every start of the command.
    if type(error).__name__ == "WitnessError":
        return _fail(str(error), NOT_CHECKED)
    if os.environ.get("RUNSTATE_TRACEBACK"):
        raise error
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror}", NOT_CHECKED)
    what = f"internal error: {type(error).__name__}: {' '.join(str(error).split())}"
    return _fail(f"{what} (set RUNSTATE_TRACEBACK=1 to see where; please report it)", INTERNAL)


def _fail(message: str, code: int) -> int:
    print(f"runstate: {message}", file=sys.stderr)
    return code


def usage() -> str:
    verbs = "\n".join(f"  {verb.name:<9} {verb.summary}" for verb in VERBS)
    return f"usage: runstate COMMAND [ARGUMENT ...]\n\ncommands:\n{verbs}\n\n{_ENDING}"


def run() -> None:
    # A command makes few cycles and ends soon. Garbage collection took an eighth of `check`'s time.
    gc.set_threshold(50_000)
    code = main(sys.argv[1:])
    gc.freeze()
    sys.exit(code)
