"""``runstate docs``: the ABI document that the runstate area never had, in four renderings."""

import argparse
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.resources import files
from os.path import splitext

from runstate_abi.layouts.conditions import STAGES, conditions_of
from runstate_abi.layouts.structs.runstate import COMPAT, NATIVE, update_byte
from runstate_abi.tools import output
from runstate_abi.tools.docs import deceptions, placements, prose, sources, structs, thread, updates
from runstate_abi.tools.docs.sources import REFERENCES
from runstate_abi.tools.options import new_parser
from runstate_abi.tools.rendering.blocks import Block, Document, References

FORMATS = {
    "html": "one page without other files; also for phones and for printing",
    "markdown": "for GitHub",
    "rst": "reStructuredText that builds in Linux's and in Xen's tree",
    "man": "a man page, section 7",
}

SUFFIXES = {".html": "html", ".md": "markdown", ".rst": "rst", ".7": "man"}

_DESCRIPTION = "The ABI document that the runstate area never had, in four renderings."
_EPILOG = """\
exit status: 0 printed, written, or FILE is up to date; 1 FILE is stale (--check),
  2 wrong usage, 3 FILE cannot be read or written
"""


def main(argv: list[str]) -> int:
    """Print the document, write it, or check whether a committed one is current."""
    options = parser().parse_args(argv)
    suffix = splitext(options.check or options.output)[1]
    form = options.format or SUFFIXES.get(suffix, "markdown")
    command = f"runstate docs --format {form}"
    return output.deliver(rendered(form), options.output, options.check, command)


def parser() -> argparse.ArgumentParser:
    formats = "\n".join(f"  {name:<9} {summary}" for name, summary in FORMATS.items())
    made = new_parser("docs", f"{_DESCRIPTION}\n\nformats:\n{formats}", _EPILOG)
    add = made.add_argument
    add("--format", choices=list(FORMATS), help="default: by the name of FILE, else markdown")
    output.add_delivery(made)
    return made


def rendered(form: str) -> Iterator[str]:
    renderer = import_module(f"runstate_abi.tools.rendering.{form}")
    lines: Callable[[Document], Iterator[str]] = renderer.lines
    return lines(document())


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


def document() -> Document:
    pieces: dict[str, tuple[Block, ...]] = {}
    with output.Bar(len(MODULES), "writing") as bar:
        for module in MODULES:
            pieces |= module.pieces()
            bar.advance()
    pieces |= {name: (prose.table(text(f"{name}.table"), words()),) for name in TABLES}
    pieces["sources-list"] = (References(REFERENCES + updates.references()),)
    texts = {name: text(f"{name}.txt") for name in SECTIONS}
    titles = {name: prose.title_of(one) for name, one in texts.items()}
    sections = tuple(prose.section(n, one, pieces, words(), titles) for n, one in texts.items())
    return Document(
        "runstate",
        "The Xen runstate area",
        "What `vcpu_runstate_info` is, byte by byte; how hypervisors write it; how a guest reads "
        "it safely.",
        sections,
    )


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
