"""Output for people: text on a terminal or in a file, tables, and progress bars.

Colours, bars and folding are for terminals. A pipe or a file gets plain text, and rich is not
imported for it.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, TextIO

from runstate_abi.layouts.model import WitnessError

if TYPE_CHECKING:
    from rich.progress import Progress

    from runstate_abi.layouts.model import Element

CHOICES = ("auto", "always", "never")
DIFF_LINES = 20
BAR_AFTER_S, BAR_EVERY_S = 0.25, 0.1


class Ink(NamedTuple):
    """Text and the name of its style; "" is plain."""

    text: str
    style: str = ""


Line = tuple[Ink, ...]

# fmt: off
STYLES = {
    "dim":       "dim",
    "strong":    "bold",
    "command":   "bold",
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


def style_of(element: "Element") -> str:
    """Return the style of an element's bytes: ``state``, ``padding``, ``entry``, ``time2``."""
    if element.row.padding:
        return "padding"
    if element.row.count > 1:
        return f"time{element.number}"
    return "entry" if element.size == 8 else "state"


def counted(number: int, what: str) -> str:
    """Return ``3 updates``, ``1 update``."""
    return f"{number} {what}{'s' * (number != 1)}"


def titled(rows: Iterable[Sequence[str]], columns: int) -> Iterator[str]:
    """Yield (name, text) pairs, each text wrapped behind its name."""
    from textwrap import wrap

    pairs = list(rows)
    width = max(len(name) for name, _ in pairs)
    for name, said in pairs:
        yield from wrap(
            said, columns, initial_indent=f"  {name:<{width}}  ",
            subsequent_indent=" " * (width + 4), break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip


def plain(texts: Iterable[str]) -> Iterator[Line]:
    return ((Ink(text),) for text in texts)


def coloured(choice: str, stream: TextIO) -> bool:
    """Decide on colour: the option, NO_COLOR, FORCE_COLOR, TERM, the terminal."""
    if choice != "auto":
        return choice == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return os.environ.get("TERM") != "dumb" and stream.isatty()


def write(lines: Iterable[Line], choice: str = "auto", stream: TextIO | None = None) -> bool:
    """Write the lines; return False if the reader has gone (`| head`), which is no error."""
    out = stream or sys.stdout
    try:
        wide = columns(out)
        if wide:
            lines = (part for line in lines for part in _folded(line, wide))
        out.writelines(_rendered(lines, coloured(choice, out)))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        return False
    return True


def columns(stream: TextIO) -> int | None:
    """Return the width of the terminal that ``stream`` writes to, None if it is no terminal."""
    if not stream.isatty():
        return None
    try:
        return int(os.environ.get("COLUMNS") or os.get_terminal_size(stream.fileno()).columns)
    except (OSError, ValueError):
        return None


# A line that is too wide for the terminal continues, indented, in the next one. A command is not
# folded, so that it can be copied. The filling of a rule is cut off.
def _folded(line: Line, wide: int) -> Iterator[Line]:
    text = "".join(ink.text for ink in line).rstrip()
    if line and line[0].style in ("line", "page"):
        text = text[: max(wide, len(text.rstrip(" -=")))]
    if len(text) <= wide or any(ink.style == "command" for ink in line):
        yield _cut(line, 0, len(text))
        return
    begin = len(text) - len(text.lstrip())
    inner = min(begin + 2, wide // 2)
    start, room = 0, wide
    while len(text) - start > room:
        end = text.rfind(" ", max(start, begin) + 1, start + room + 1)
        end = start + room if end < 0 else end
        yield (Ink(" " * (wide - room)), *_cut(line, start, end))
        start, room = end + len(text[end:]) - len(text[end:].lstrip()), max(wide - inner, 1)
    yield (Ink(" " * inner), *_cut(line, start, len(text)))


def _cut(line: Line, start: int, end: int) -> Line:
    place, kept = 0, []
    for text, style in line:
        kept.append(Ink(text[max(start - place, 0) : max(end - place, 0)], style))
        place += len(text)
    return tuple(kept)


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


def aligned(rows: Sequence[Sequence[str]], gap: int = 2) -> Iterator[str]:
    """Yield a line for each row, columns aligned; a row's last cell does not widen its column."""
    widths: list[int] = []
    for row in rows:
        widths += [0] * (len(row) - len(widths))
        for column, cell in enumerate(row[:-1]):
            widths[column] = max(widths[column], len(cell))
    for row in rows:
        padded = (cell.ljust(widths[column] + gap) for column, cell in enumerate(row))
        yield "".join(padded).rstrip()


class Bar:
    """A progress bar on standard error, if that is a terminal: ``with Bar(total) as bar``.

    It appears after a quarter of a second. It uses no thread, so that a command may fork.
    """

    def __init__(self, total: int, text: str = "") -> None:
        self.total, self.text, self.done = total, text, 0
        shown = sys.stderr is not None and sys.stderr.isatty()
        self._next = time.monotonic() + BAR_AFTER_S if shown else float("inf")
        self._drawn: Progress | None = None

    def __enter__(self) -> "Bar":
        return self

    def advance(self, count: int = 1, text: str = "") -> None:
        self.at(self.done + count, text)

    def at(self, done: int, text: str = "") -> None:
        """Show that ``done`` of the total are done, and what the command works on."""
        self.done, self.text = done, text or self.text
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + BAR_EVERY_S
            self._draw()

    def _draw(self) -> None:
        if self._drawn is None:
            from rich.console import Console
            from rich.progress import Progress

            console = Console(file=sys.stderr)
            self._drawn = Progress(console=console, transient=True, auto_refresh=False)
            self._drawn.add_task(self.text, total=self.total)
            self._drawn.start()
        task = self._drawn.task_ids[0]
        self._drawn.update(task, completed=self.done, description=self.text, refresh=True)

    def __exit__(self, *_: object) -> None:
        if self._drawn is not None:
            self._drawn.stop()


def add_delivery(parser: argparse.ArgumentParser) -> None:
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("-o", "--output", metavar="FILE", default="-", help="default: - (stdout)")
    choice.add_argument("--check", metavar="FILE", help="exit 1 and a short diff if FILE is stale")


def deliver(lines: Iterable[str], output: str, check: str | None, command: str) -> int:
    """Print the text, write it, or compare it with a file; return the exit code.

    ``command`` is the command that makes it, for the message that the file is outdated.
    """
    text = "\n".join(lines) + "\n"
    if check is not None:
        committed = _read(check)
        if committed == text:
            return 0
        print(*short_diff(committed, text, check, command), sep="\n")
        print(f"runstate: {check} is stale: {command} gives another text", file=sys.stderr)
        return 1
    if output == "-":
        sys.stdout.write(text)
    else:
        save(output, text)
    return 0


def save(path: str, text: str, mode: str = "w") -> None:
    """Write a text file, or add to it with mode "a" (WitnessError)."""
    try:
        with open(path, mode, encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError as error:
        raise WitnessError(f"{path}: cannot be written: {error.strerror}") from None


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
    import difflib

    texts = old.splitlines(), new.splitlines()
    found = list(difflib.unified_diff(*texts, old_name, new_name, n=1, lineterm=""))
    yield from found[:DIFF_LINES] or ["the line ends differ"]
    if len(found) > DIFF_LINES:
        yield f"... and {len(found) - DIFF_LINES} lines more"
