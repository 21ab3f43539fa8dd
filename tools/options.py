"""Shared by the command lines of all verbs: the parser, numbers, --format, suggestions."""

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NoReturn

from runstate_abi.layouts.exit_status import USAGE
from runstate_abi.layouts.structs.family_names import ALL, MODULES, RUNSTATE, VERSIONED


def new_parser(verb: str, description: str, epilog: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of ``runstate VERB``; description and epilog keep their line breaks."""
    made = argparse.ArgumentParser(
        prog=f"runstate {verb}", description=description, epilog=epilog, formatter_class=_Formatter
    )
    # argparse's own error() prints every option before the error.
    made.error = partial(_refuse, made.prog)  # type: ignore[method-assign]
    return made


def number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not a number (hexadecimal needs 0x)") from None


def address(text: str) -> int:
    value = number(text)
    if not 0 <= value < 1 << 64:
        raise argparse.ArgumentTypeError(f"{text} is not a 64-bit number")
    return value


def count(text: str) -> int:
    """Return the count in an argument: 0 or more."""
    value = number(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is less than 0")
    return value


def add_format(parser: argparse.ArgumentParser, *choices: str) -> None:
    """Add --format, whose default is the first of ``choices``, and --json for --format json."""
    add = parser.add_argument
    add("--format", choices=choices, default=choices[0], help=f"how to print ({choices[0]})")
    add("--json", dest="format", action="store_const", const="json", help="as --format json")


def add_mirrors(parser: argparse.ArgumentParser) -> None:
    """Add --struct and --member, which structs/mirrors.py reads."""
    which = "your own struct, and which it mirrors: native, compat, or any family's (repeatable)"
    names = "what runstate's is called there: time=running,runnable,blocked,offline (repeatable)"
    add = parser.add_argument
    add("--struct", dest="structs", action="append", metavar="NAME[=CLAIM]", help=which)
    add("--member", dest="members", action="append", metavar="MEMBER=NAME,...", help=names)


def add_writers(parser: argparse.ArgumentParser) -> None:
    """Add --family to a verb about writers: each family that has some has options of its own."""
    names = f"{', '.join(VERSIONED[:-1])} or {VERSIONED[-1]}"
    text = f"whose writers: {names}, each with a --help of its own (default: {RUNSTATE})"
    parser.add_argument("--family", type=family_name, default=RUNSTATE, metavar="NAME", help=text)


def add_family(parser: argparse.ArgumentParser, default: str | None = RUNSTATE) -> None:
    """Add --family, whose value is a name of structs/families.py or ``all``."""
    names = ", ".join((RUNSTATE, *MODULES))
    text = f"which structs: {names}, or {ALL} (default: {RUNSTATE})"
    parser.add_argument("--family", type=family_name, default=default, metavar="NAME", help=text)


def version_family(argv: Sequence[str]) -> str:
    """Return the family that --family names, if a version guards its structs, else ""."""
    asked = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    asked.add_argument("--family", default="")
    try:
        name = asked.parse_known_args(argv)[0].family
    except argparse.ArgumentError:
        return ""
    return name if name in VERSIONED else ""


def refuse_families(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Exit with status 2 where a verb that is about a writer was asked for another family."""
    if options.family != RUNSTATE:
        parser.error(f"--family {options.family}: no writer of this family yet, only {RUNSTATE}'s")


def family_name(text: str) -> str:
    """Return the name of a family, or ``all``."""
    names = (RUNSTATE, *MODULES, ALL)
    if text not in names:
        raise argparse.ArgumentTypeError(f"no family {text!r}{nearest(text, names)}")
    return text


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``: did you mean NAME?``, or all known names if none is similar."""
    import difflib

    names = list(known)
    near = difflib.get_close_matches(word, names, 1, cutoff=0.5)
    return f": did you mean {near[0]}?" if near else f": there are {', '.join(names)}"


# The message quotes arguments. A line break in one must not make two lines.
def _refuse(command: str, message: str) -> NoReturn:
    line = message if message.isprintable() else ascii(message)[1:-1]
    print(f"{command}: error: {line} (try: {command} --help)", file=sys.stderr)
    sys.exit(USAGE)


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """A formatter that is cheap to make, because argparse makes one at every add_argument().

    Without a width argparse imports shutil, and with it three compression libraries. Since Python
    3.14 it loads dataclasses and inspect for its colours, which takes 25 ms; this one does so when
    it formats.
    """

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_width())

    def _set_color(self, *asked: Any, **options: Any) -> None:
        self._asked = (asked, options)

    def __getattr__(self, name: str) -> Any:
        if name not in ("_theme", "_decolor") or "_asked" not in self.__dict__:
            raise AttributeError(name)
        asked, options = self.__dict__.pop("_asked")
        super()._set_color(*asked, **options)  # type: ignore[misc]
        return getattr(self, name)


def _width() -> int:
    try:
        return int(os.environ["COLUMNS"]) - 2
    except (KeyError, ValueError):
        pass
    try:
        return os.get_terminal_size().columns - 2
    except OSError:
        return 78
