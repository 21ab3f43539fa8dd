"""The README's pictures of a terminal, each made from the last command above it.

    python tests/pictures.py            write every picture
    python tests/pictures.py --check    exit 1 and name each that is stale

A picture has its own background, because it follows the mode of the reader's system, and the page
around it may not. It loads nothing, not even a font.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import NamedTuple

HOUSE = Path(__file__).resolve().parent.parent
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
SIZE, LETTER, LINE, EDGE = 14, 8.4, 20, 16  # pixels; each run of letters is fitted to its columns

# The codes that a terminal is sent, and what is drawn.
# fmt: off
PAPER = ("#ffffff", "#16181b")  # light, dark
INK   = ("#1f2328", "#e3e1dc")
INKS = {
    2:  ("#59636e", "#a2a6ad"),
    31: ("#b42318", "#f19a9a"),
    32: ("#116329", "#7ee2a8"),
    33: ("#7d4e00", "#e3b341"),
    34: ("#0550ae", "#8ab8f2"),
    35: ("#8250df", "#d2a8ff"),
    36: ("#0a5d73", "#76d0e0"),
    37: ("#ffffff", "#ffffff"),
    90: ("#59636e", "#a2a6ad"),
}
GROUNDS = {  # behind the letters
    7:  ("#59636e", "#a2a6ad"),
    41: ("#b42318", "#b42318"),
}
FORMS = {1: "font-weight: bold", 4: "text-decoration: underline"}
# fmt: on
_CODES = re.compile(r"\x1b\[([\d;]*)m")
_PICTURE = re.compile(r"!\[[^]]*\]\((?P<path>[^):]+\.svg)\)")


class Run(NamedTuple):
    """Letters of one style, from a column on."""

    column: int
    text: str
    codes: tuple[int, ...]


def wanted(readme: str) -> Iterator[tuple[str, str]]:
    """Yield (path, command) for each picture of a README (ValueError: no command is above it)."""
    command, in_console = "", False
    for line in readme.splitlines():
        if line.startswith("```"):
            in_console = line == "```console"
        elif in_console and line.startswith("$ "):
            command = line.removeprefix("$ ")
        elif found := _PICTURE.match(line):
            if not command:
                raise ValueError(f"{found['path']}: no command is above it")
            yield found["path"], command


def printed(command: str, folder: Path) -> str:
    """Run a command in a shell, as if on a terminal with colours; return what it prints."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "FORCE_COLOR": "1", "LC_ALL": "C.UTF-8"}
    environment.pop("NO_COLOR", None)
    words = ["sh", "-c", command]
    done = subprocess.run(words, cwd=folder, env=environment, stdout=subprocess.PIPE, check=True)
    return done.stdout.decode()


def runs(line: str) -> Iterator[Run]:
    """Yield the runs of a line, without spaces at their ends unless something is behind them."""
    column, codes, place = 0, (), 0
    for found in [*_CODES.finditer(line), None]:
        text = line[place : found.start() if found else None]
        shown = text if set(codes) & GROUNDS.keys() else text.strip(" ")
        if shown:
            yield Run(column + text.index(shown), shown, codes)
        column += len(text)
        if found:
            place = found.end()
            new = tuple(int(code or 0) for code in found[1].split(";"))
            codes = () if new == (0,) else codes + new
            unknown = set(codes) - INKS.keys() - GROUNDS.keys() - FORMS.keys()
            if unknown:
                raise ValueError(f"{line!r}: no picture of code {min(unknown)}")


def svg(command: str, text: str) -> str:
    """Return the picture of a terminal in which a command printed a text."""
    lines = [f"\x1b[1m$ {command}\x1b[0m", *text.splitlines()]
    columns = max(len(_CODES.sub("", line)) for line in lines)
    width, height = round(columns * LETTER + 2 * EDGE), len(lines) * LINE + 2 * EDGE
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        f' width="{width}" height="{height}" role="img">',
        f"<title>{escape(command, quote=False)}</title>",
        *("<style>", *style(), "</style>"),
        f'<rect class="paper" width="{width}" height="{height}" rx="6"/>',
    ]
    for number, line in enumerate(lines):
        for run in runs(line):
            out += drawn(run, number)
    return "\n".join([*out, "</svg>", ""])


def style() -> Iterator[str]:
    """Yield the CSS: what is light, and then what dark mode changes."""
    yield f"text {{ font: {SIZE}px {FONT}; }}"
    yield from (f".c{code} {{ {form}; }}" for code, form in FORMS.items())
    for mode in (0, 1):
        rules = [f".paper {{ fill: {PAPER[mode]}; }}", f"text {{ fill: {INK[mode]}; }}"]
        rules += (f".c{code} {{ fill: {ink[mode]}; }}" for code, ink in INKS.items())
        rules += (f".g{code} {{ fill: {ground[mode]}; }}" for code, ground in GROUNDS.items())
        rules.append(f".c7 {{ fill: {PAPER[mode]}; }}")
        yield from ("@media (prefers-color-scheme: dark) {", *rules, "}") if mode else rules


def drawn(run: Run, line: int) -> Iterator[str]:
    x, y = round(EDGE + run.column * LETTER, 1), EDGE + line * LINE
    wide = round(len(run.text) * LETTER, 1)
    for code in run.codes:
        if code in GROUNDS:
            yield f'<rect class="g{code}" x="{x}" y="{y}" width="{wide}" height="{LINE}"/>'
    names = " ".join(f"c{code}" for code in run.codes)
    letters = escape(run.text, quote=False).replace(" ", "\u00a0")  # SVG drops other spaces
    named = f'class="{names}" ' if names else ""
    yield f'<text {named}x="{x}" y="{y + SIZE}" textLength="{wide}">{letters}</text>'


def main(words: list[str], house: Path = HOUSE) -> int:
    """Write the pictures of a checkout, or check them; return the exit code."""
    code = 0
    for path, command in wanted((house / "README.md").read_text(encoding="utf-8")):
        picture, place = svg(command, printed(command, house)), house / path
        if words != ["--check"]:
            place.write_text(picture, encoding="utf-8")
        elif not place.is_file() or place.read_text(encoding="utf-8") != picture:
            print(f"{path} is stale: python tests/pictures.py makes it anew", file=sys.stderr)
            code = 1
    return code


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit("usage: python tests/pictures.py [--check]")
    sys.exit(main(sys.argv[1:]))
