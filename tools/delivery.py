"""A text that is made: printed, written to a file, or compared with the one that is committed.

Law of this file: it knows nothing of what the text says. ``-`` is stdin and stdout.
"""

import argparse
import difflib
import sys
from collections.abc import Iterable, Iterator

from runstate_abi.layouts.model import WitnessError

DIFF_LINES = 20


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add -o and --check."""
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("-o", "--output", metavar="FILE", default="-", help="default: - (stdout)")
    choice.add_argument("--check", metavar="FILE", help="exit 1 and a short diff if FILE is stale")


def deliver(lines: Iterable[str], output: str, check: str | None, command: str) -> int:
    """Print, write or compare the text; ``command`` is what makes it. Returns the exit code."""
    text = "\n".join(lines) + "\n"
    if check is not None:
        return _compare(text, check, command)
    if output == "-":
        sys.stdout.write(text)
        return 0
    try:
        with open(output, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        raise WitnessError(f"{output}: cannot be written: {error.strerror}") from None
    return 0


def _compare(text: str, path: str, command: str) -> int:
    committed = _read(path)
    if committed == text:
        return 0
    for line in short_diff(committed, text, path, command):
        print(line)
    print(f"runstate: {path} is stale: {command} gives another text", file=sys.stderr)
    return 1


def _read(path: str) -> str:
    try:
        if path == "-":
            return sys.stdin.read()
        with open(path, encoding="utf-8", newline="") as file:
            return file.read()
    except OSError as error:
        raise WitnessError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise WitnessError(f"{path}: is not UTF-8 text") from None


def short_diff(old: str, new: str, old_name: str, new_name: str) -> Iterator[str]:
    """Yield the first lines of a unified diff, and how many more there are."""
    found = list(
        difflib.unified_diff(
            old.splitlines(), new.splitlines(), old_name, new_name, n=1, lineterm=""
        )
    )
    # The same lines, and yet not the same text.
    yield from found[:DIFF_LINES] or ["the line ends differ"]
    if len(found) > DIFF_LINES:
        yield f"... and {len(found) - DIFF_LINES} lines more"
