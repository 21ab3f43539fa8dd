"""``runstate docs``: the ABI document that the runstate area never had, in four renderings."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from importlib import import_module
from importlib.resources import files
from os.path import splitext
from typing import TYPE_CHECKING

from runstate_abi.layouts.conditions import STAGES, conditions_of
from runstate_abi.layouts.structs.family_names import ALL, RUNSTATE
from runstate_abi.layouts.structs.runstate import COMPAT, NATIVE, update_byte
from runstate_abi.tools import output
from runstate_abi.tools.docs import (
    deceptions,
    placements,
    prose,
    proven,
    sources,
    structs,
    thread,
    updates,
)
from runstate_abi.tools.docs.related import see_also
from runstate_abi.tools.docs.signature import signed
from runstate_abi.tools.docs.sources import REFERENCES
from runstate_abi.tools.options import add_family, new_parser
from runstate_abi.tools.rendering import man
from runstate_abi.tools.rendering.blocks import Block, Document, References

if TYPE_CHECKING:
    from runstate_abi.layouts.structs.families import Family

FORMATS = {
    "html": "one page without other files; also for phones and for printing",
    "markdown": "for GitHub",
    "rst": "reStructuredText that builds in Linux's and in Xen's tree",
    "man": "a man page, section 7",
}

SUFFIXES = {".html": "html", ".md": "markdown", ".rst": "rst", ".7": "man"}

_DESCRIPTION = "The ABI document that the runstate area never had, in four renderings."
_EPILOG = """\
With --family NAME: the page of another family of structs. With --family all: a page for each and
an index, so -o and --check name a folder; -o makes it, if it is not there.

What the race checker has proven is kept in ~/.cache/runstate-abi for the next run of the same
program; --prove and --check search anew.

exit status: 0 printed, written, or FILE is up to date; 1 FILE is stale (--check),
  2 wrong usage, 3 FILE cannot be read or written
"""


def main(argv: list[str]) -> int:
    """Print the document, write it, or check whether a committed one is current."""
    made = parser()
    options = made.parse_args(argv)
    with nullcontext() if options.prove or options.check is not None else proven.kept():
        return _delivered(made, options)


def _delivered(made: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    if options.family == ALL:
        return _several(made, options)
    suffix = splitext(options.check or options.output)[1]
    form = options.format or SUFFIXES.get(suffix, "markdown")
    which = "" if options.family == RUNSTATE else f" --family {options.family}"
    command = f"runstate docs{which} --format {form}"
    _refuse_wrong_date(made, form)
    lines = rendered(form, options.family)
    return output.deliver(lines, options.output, options.check, command)


def _several(made: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    from runstate_abi.tools.docs import pages

    folder = options.output if options.check is None else options.check
    if not pages.is_folder(folder, SUFFIXES):
        option = "-o" if options.check is None else "--check"
        made.error(f"--family {ALL}: several pages, so it needs {option} FOLDER, not {folder}")
    form = options.format or "markdown"
    _refuse_wrong_date(made, form)
    found = all_pages(form)
    if options.check is None:
        pages.write(folder, found)
        return 0
    return pages.check(folder, found, f"runstate docs --family {ALL} --format {form}")


# Only a man page has a date.
def _refuse_wrong_date(made: argparse.ArgumentParser, form: str) -> None:
    if form == "man":
        try:
            man.date()
        except ValueError as error:
            made.error(str(error))


def parser() -> argparse.ArgumentParser:
    formats = "\n".join(f"  {name:<9} {summary}" for name, summary in FORMATS.items())
    made = new_parser("docs", f"{_DESCRIPTION}\n\nformats:\n{formats}", _EPILOG)
    add = made.add_argument
    add("--format", choices=list(FORMATS), help="default: by the name of FILE, else markdown")
    add_family(made)
    output.add_delivery(made)
    add("--prove", action="store_true", help="search anew for every verdict, as --check does")
    return made


def rendered(form: str, family: str = RUNSTATE) -> Iterator[str]:
    """Return the lines of the page of a family."""
    if family == RUNSTATE:
        return _lines(form, document(form))
    from runstate_abi.layouts.structs import families

    return _of_family(form, families.family(family))


def _of_family(form: str, family: "Family") -> Iterator[str]:
    from runstate_abi.tools.docs import families

    return _lines(form, families.document(family))


def _lines(form: str, document: Document) -> Iterator[str]:
    renderer = import_module(f"runstate_abi.tools.rendering.{form}")
    lines: Callable[[Document], Iterator[str]] = renderer.lines
    return lines(document)


def all_pages(form: str) -> dict[str, list[str]]:
    """Return the lines of every family's page and of the index, by the names of their files."""
    from runstate_abi.layouts.structs.families import families
    from runstate_abi.tools.docs import pages

    others, own = families(ALL), document(form)
    found = {RUNSTATE: list(_lines(form, own))}
    found |= {family.name: list(_of_family(form, family)) for family in others}
    index = _lines(form, pages.index(own.title, others))
    found[pages.INDEX] = list(pages.linked(index, form, tuple(found)))
    suffix = next(suffix for suffix, name in SUFFIXES.items() if name == form)
    return {f"{name}{suffix}": lines for name, lines in found.items()}


# The files of prose/, in the order of the document.
SECTIONS = (
    *("area", "layouts", "abis", "states", "times", "update", "reading", "wrong", "padding"),
    *("pages", "asserts", "checks", "history", "registration", "vmm", "sources"),
)
TABLES = (
    *("invariants", "widths", "readers", "xen-calls", "kvm-calls", "qemu-calls", "versions"),
    *("witnesses", "thread", "vmm-writes", "vmm-restore"),
)
MODULES = (structs, updates, placements, deceptions, prose, thread)


def document(form: str = "markdown") -> Document:
    """Return runstate's own page. Only ``html`` has the figure that is stepped through."""
    pieces: dict[str, tuple[Block, ...]] = {"player": ()}
    with output.Bar(len(MODULES), "writing") as bar:
        for module in MODULES:
            pieces |= module.pieces()
            bar.advance()
    if form == "html":
        from runstate_abi.tools.docs import figure

        pieces |= figure.pieces()
    pieces |= {name: (prose.table(text(f"{name}.table"), words()),) for name in TABLES}
    pieces["sources-list"] = (References(REFERENCES + updates.references()),)
    texts = {name: text(f"{name}.txt") for name in SECTIONS}
    titles = {name: prose.title_of(one) for name, one in texts.items()}
    sections = tuple(prose.section(n, one, pieces, words(), titles) for n, one in texts.items())
    summary = (
        "What `vcpu_runstate_info` is, byte by byte; how hypervisors write it; how a guest reads "
        "it safely."
    )
    title = "The Xen runstate area"
    return signed(Document("runstate", title, summary, sections, see_also(RUNSTATE)))


def text(name: str) -> str:
    place = files("runstate_abi.tools.docs").joinpath("prose", name)
    return place.read_text(encoding="utf-8")


def words() -> dict[str, str]:
    (hole,) = NATIVE.padding
    return {
        "native.update_byte": str(update_byte(NATIVE)),
        "compat.update_byte": str(update_byte(COMPAT)),
        "native.size": str(NATIVE.size),
        "native.pad": str(hole.size),
        "native.pad_first": str(hole.offset),
        "native.pad_last": str(hole.end - 1),
        "stages": "; ".join(
            f"`{stage.name}` ({len(conditions_of(index))} of them: {stage.source})"
            for index, stage in enumerate(STAGES)
        ),
        **placements.words(),
        **sources.words(),
        **deceptions.words(),
    }
