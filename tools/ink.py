"""Styled lines onto a stream: in colour on a terminal, as plain text anywhere else.

Law of this file: the only place that knows about terminals, and rich is imported only to colour.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from typing import TextIO

from runstate_abi.tools.memory.lines import Line

CHOICES = ("auto", "always", "never")

# fmt: off
STYLES = {
    "dim":       "dim",
    "strong":    "bold",
    "state":     "bold green",
    "padding":   "dim reverse",
    "entry":     "yellow",
    "time0":     "cyan",
    "time1":     "magenta",
    "time2":     "blue",
    "time3":     "bright_black",
    "flag":      "bold white on red",
    "changed":   "underline",
    "line":      "dim",
    "page":      "bold reverse",
    "wrong":     "bold red",
    "in-flight": "bold yellow",
    "normal":    "green",
}
# fmt: on


def coloured(choice: str, stream: TextIO) -> bool:
    """Tell whether to colour: the option, NO_COLOR, FORCE_COLOR, TERM, the terminal."""
    if choice != "auto":
        return choice == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return os.environ.get("TERM") != "dumb" and stream.isatty()


def write(lines: Iterable[Line], choice: str = "auto", stream: TextIO | None = None) -> bool:
    """Write each line, in colour or not; tell whether there is still a reader.

    A reader that has gone (`| head`) changes no answer: what is left to write goes nowhere.
    """
    out = stream or sys.stdout
    try:
        out.writelines(_rendered(lines, coloured(choice, out)))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        return False
    return True


def _rendered(lines: Iterable[Line], in_colour: bool) -> Iterator[str]:
    if not in_colour:
        yield from ("".join(ink.text for ink in line).rstrip() + "\n" for line in lines)
        return
    from rich.style import Style

    styles = {name: Style.parse(text) for name, text in STYLES.items()}
    for line in lines:
        for text, names in line:
            mixed = sum((styles[name] for name in names.split()), Style.null())
            yield mixed.render(text) if names else text
        yield "\n"
