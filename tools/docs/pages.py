"""Several pages in a folder, and the index that links them: all are written, or none is changed."""

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from runstate_abi.layouts.abi import X86_64
from runstate_abi.layouts.model import Layout, WitnessError
from runstate_abi.layouts.structs.families import Family
from runstate_abi.layouts.structs.family_names import RUNSTATE
from runstate_abi.layouts.structs.runstate import COMPAT, NATIVE
from runstate_abi.tools import output
from runstate_abi.tools.docs import families
from runstate_abi.tools.docs.related import COMMANDS
from runstate_abi.tools.rendering.blocks import Document, Section, Table

INDEX = "index"
TITLE = "Structs that a guest and its hypervisor share"
SUMMARY = "A page for each family of structs: what is where, and who asserts it."

Pages = Mapping[str, Sequence[str]]  # file -> its lines

# A link to another page has no mark in blocks.py: it stands between these in a cell.
_OPEN, _CLOSE = "\ue000", "\ue001"
_LINK = re.compile(f"{_OPEN}(.*?){_CLOSE}")
LINKS = {
    "html": r'<a href="\1.html">\1</a>',
    "markdown": r"[\1](\1.md)",
    "rst": r":doc:`\1`",
    "man": r"\\fB\1\\fR(7)",
}


def index(title: str, others: Iterable[Family]) -> Document:
    """Return the page that lists the others; ``title`` is that of runstate's own."""
    rows = [_row(RUNSTATE, title, (_sized(x.name, (x,)) for x in (NATIVE, COMPAT)))]
    for family in others:
        sized = (_sized(name, families.declared(family, name)) for name in family.structs)
        rows.append(_row(family.name, families.title(family), sized))
    header = ("page", "what it is about", "structs")
    caption = f"The pages, with the sizes of the structs on {X86_64.name} in bytes"
    pages = Section("pages", "The pages", (Table(caption, header, tuple(rows)),))
    return Document(INDEX, TITLE, SUMMARY, (pages,), COMMANDS)


def _row(name: str, title: str, sized: Iterable[str]) -> tuple[str, ...]:
    return f"{_OPEN}{name}{_CLOSE}", title, ", ".join(sized)


def _sized(name: str, layouts: Sequence[Layout]) -> str:
    return f"`{name}` {families.sizes(layouts)}"


def linked(lines: Iterable[str], form: str, names: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a rendered index with its links; Sphinx wants a list of the pages too."""
    for line in lines:
        yield _LINK.sub(LINKS[form], line)
    if form == "rst":
        yield from ("", ".. toctree::", "   :hidden:", "")
        yield from (f"   {name}" for name in names)


def is_folder(place: str, suffixes: Iterable[str]) -> bool:
    """Can several pages be in a place? Not in stdout, a file, or what is named like one."""
    if place == "-" or os.path.exists(place):
        return os.path.isdir(place) and place != "-"
    return os.path.splitext(place)[1] not in suffixes


def write(folder: str, pages: Pages) -> None:
    """Write all pages into a folder, which may be new (WitnessError: none is changed)."""
    new = {name: os.path.join(folder, f".{name}.{os.getpid()}") for name in pages}
    try:
        made = _make(folder)
        try:
            for name, lines in pages.items():
                with open(new[name], "w", encoding="utf-8") as file:
                    file.write("\n".join(lines) + "\n")
            for name in pages:
                os.replace(new[name], os.path.join(folder, name))
        finally:
            _clean(new.values(), folder if made else None)
    except OSError as error:
        raise WitnessError(f"{folder}: cannot be written: {error.strerror}") from None


def _make(folder: str) -> bool:
    if os.path.isdir(folder):
        return False
    os.mkdir(folder)
    return True


# After a failure: a folder that has pages is not empty, and stays.
def _clean(paths: Iterable[str], folder: str | None) -> None:
    for path in paths:
        with suppress(OSError):
            os.unlink(path)
    if folder is not None:
        with suppress(OSError):
            os.rmdir(folder)


def check(folder: str, pages: Pages, command: str) -> int:
    """Compare the pages with those in a folder, and say which is stale; return the exit code."""
    if not os.path.isdir(folder):
        raise WitnessError(f"{folder}: cannot be read: no such folder")
    code = 0
    for name, lines in pages.items():
        path = os.path.join(folder, name)
        if os.path.lexists(path):
            code |= output.deliver(lines, "-", path, command)
        else:
            print(f"runstate: {path} is missing: {command} writes it", file=sys.stderr)
            code = 1
    return code
