"""The plain text of a parser as lines of a man page: paragraphs, rows, commands.

A help text keeps its line breaks and its columns. man fills lines, so each kind of line needs its
own macros: a row ``  name    what it is`` becomes an item of a list, a command stays as it is.
"""

import re
from collections.abc import Iterator

from runstate_abi.tools.rendering import man

WIDE = 73  # what 80 columns leave to a command
_ROW = re.compile(r"(?P<margin> +)(?P<name>\S.*?)(?:  +(?P<text>\S.*))?")
_COMMAND = re.compile(r"(?:^|\| )runstate ")


def laid_out(text: str) -> Iterator[str]:
    """Yield the lines of a description or an epilog."""
    before = "text"  # the kind of the line before
    for line in text.strip("\n").splitlines():
        row = _ROW.fullmatch(line)
        if not line:
            before = "gap"
        elif row is None:
            yield from [".PP"] * (before not in ("text", "head"))
            yield man.unmarked(line)
            before = "head" if line.endswith(":") else "text"
        elif _COMMAND.search(row["name"]):
            yield from _command(row)
            before = "row"
        elif row["text"] is not None:
            yield from (".TP", rf"\fB{man.unmarked(row['name'])}\fR", man.unmarked(row["text"]))
            before = "row"
        else:  # it goes on with what is before it
            yield from [".IP"] * (before == "head")
            yield man.unmarked(row["name"])
            before = "row" if before == "head" else before


def _command(row: re.Match[str]) -> Iterator[str]:
    yield from (".PP", ".nf", *map(man.unmarked, folded(row["name"])), ".fi")
    if row["text"] is not None:
        yield from (".RS 4", man.unmarked(row["text"]), ".RE")


def folded(command: str) -> list[str]:
    """Return a command in lines that a shell takes for one; they break before an option."""
    lines = [""]
    for words in re.split(" (?=--)", command):
        if lines[-1].strip() and len(f"{lines[-1]} {words} \\") > WIDE:
            lines[-1] += " \\"
            lines.append(f"    {words}")
        else:
            lines[-1] += f"{' ' * bool(lines[-1])}{words}"
    return lines


def synopsis(program: str, usage: str) -> Iterator[str]:
    """Yield how to call a program; ``[--abi ABI]`` stays in one line."""
    first, _, verb = program.partition(" ")
    yield rf"\fB{first}{' ' * bool(verb)}{verb}\fR"
    yield re.sub(
        r"\[(?:[^][]|\[[^][]*\])*\]",
        lambda found: found[0].replace(" ", "\\ "),
        man.unmarked(usage.removeprefix(verb).strip()),
    )
