"""``runstate VERB``: find the verb's module, and keep every failure to one line and one exit code.

Law of this file: no verb is imported until it is asked for. Starting the command must cost little.
"""

import gc
import importlib
import os
import sys
from typing import NamedTuple

EQUAL, DIFFERENT, USAGE, NOT_CHECKED, INTERNAL = 0, 1, 2, 3, 70


class Verb(NamedTuple):
    """One verb: ``runstate_abi.tools.MODULE`` has ``main(argv) -> int``."""

    name: str
    module: str
    summary: str


VERBS = (
    Verb("show", "show", "the structs side by side: every byte a row"),
    Verb("check", "check", "hold the layouts against encodings, compilers, kernels"),
    Verb("write", "write", "one update of the area, step by step, in any of its versions"),
    Verb("replay", "replay", "do what was recorded, and say N of N"),
    Verb("judge", "judge", "is the writer in a shipped kernel right? run it and see"),
    Verb("emit", "emit", "the layouts in C, Rust, Zig, Kaitai, poke, gdb ..., with assertions"),
    Verb("diff", "diff", "two layouts, each shift with the rule that explains it"),
    Verb("matrix", "matrix", "every field on every ABI, by the claim and by every witness"),
    Verb("docs", "docs", "the ABI document: reST, Markdown, HTML, man page"),
    Verb("hexdump", "hexdump", "a runstate area in real memory, explained byte by byte"),
    Verb("race", "race", "can a guest accept what was never true? a proof, or how"),
    Verb("find", "find", "look for runstate areas in a whole memory image"),
)


def main(argv: list[str]) -> int:
    """Run one verb and return its exit code; no exception leaves this function."""
    if sys.stdout is None:
        return _fail("standard output is closed", NOT_CHECKED)
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115 (for as long as the command runs)
    try:
        code = _called(argv)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader has gone (`| head`). Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EQUAL
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except Exception as error:
        return _explain(error)


def _called(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return EQUAL if argv else USAGE
    if argv[0] == "--version":
        return _version()
    verb = next((verb for verb in VERBS if verb.name == argv[0]), None)
    if verb is None:
        names = ", ".join(verb.name for verb in VERBS)
        return _fail(f"no command {argv[0]!r}: there are {names}", USAGE)
    code: int = importlib.import_module(f"runstate_abi.tools.{verb.module}").main(argv[1:])
    return code


def _explain(error: Exception) -> int:
    # WitnessError, by name: importing it here would make every start pay for it.
    if type(error).__name__ == "WitnessError":
        return _fail(str(error), NOT_CHECKED)
    if os.environ.get("RUNSTATE_TRACEBACK"):
        raise error
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror}", NOT_CHECKED)
    one_line = " ".join(str(error).split())
    return _fail(
        f"internal error: {type(error).__name__}: {one_line} "
        "(set RUNSTATE_TRACEBACK=1 to see where; please report it)",
        INTERNAL,
    )


def _fail(message: str, code: int) -> int:
    print(f"runstate: {message}", file=sys.stderr)
    return code


def _version() -> int:
    from importlib.metadata import version

    print(f"runstate {version('runstate-abi')}")
    return EQUAL


def usage() -> str:
    """Return the help text: the verbs and the exit codes."""
    verbs = "\n".join(f"  {verb.name:<9} {verb.summary}" for verb in VERBS)
    return (
        "usage: runstate COMMAND [ARGUMENT ...]\n\n"
        f"commands (runstate COMMAND --help says more):\n{verbs}\n\n"
        "--version says which this is\n\n"
        "exit status: 0 all compared and equal, 1 a difference, 2 wrong usage,\n"
        "  3 could not check (a type, tool or debug info is missing), 70 internal error"
    )


def run() -> None:
    """Entry point of the ``runstate`` command."""
    # A command makes few cycles and ends soon: collecting garbage during its imports and once more
    # at its end was an eighth of what `check` took.
    gc.set_threshold(50_000)
    code = main(sys.argv[1:])
    gc.freeze()
    sys.exit(code)
