"""``runstate docs``: the ABI document that the runstate area never had, in four renderings."""

from collections.abc import Callable, Iterator
from importlib import import_module
from os.path import splitext

from runstate_abi.tools import arguments, delivery
from runstate_abi.tools.docs.blocks import Document

FORMATS = {
    "html": "one page that needs nothing else; reads well on a phone, and printed",
    "markdown": "for GitHub",
    "rst": "reStructuredText that builds in Linux's and in Xen's tree",
    "man": "a man page, section 7",
}

# A file says by its name what it is.
SUFFIXES = {".html": "html", ".md": "markdown", ".rst": "rst", ".7": "man"}

_DESCRIPTION = "The ABI document that the runstate area never had, in four renderings."
_EPILOG = """\
exit status: 0 printed, written, or as committed; 1 stale (--check), 2 wrong usage,
  3 FILE cannot be read or written
"""


def main(argv: list[str]) -> int:
    """Print the document, write it, or say whether a committed one is stale."""
    formats = "\n".join(f"  {name:<9} {summary}" for name, summary in FORMATS.items())
    parser = arguments.parser("docs", f"{_DESCRIPTION}\n\nformats:\n{formats}", _EPILOG)
    add = parser.add_argument
    add("--format", choices=list(FORMATS), help="default: as FILE is called, else markdown")
    delivery.add_options(parser)
    options = parser.parse_args(argv)
    form = options.format or named(options.check or options.output)
    command = f"runstate docs --format {form}"
    return delivery.deliver(rendered(form), options.output, options.check, command)


def named(path: str) -> str:
    """Return the format that a file's name asks for: Markdown if it asks for none."""
    return SUFFIXES.get(splitext(path)[1], "markdown")


def rendered(form: str) -> Iterator[str]:
    """Yield the lines of one rendering (KeyError: no such format)."""
    from runstate_abi.tools.docs import content

    if form not in FORMATS:
        raise KeyError(form)
    renderer = import_module(f"runstate_abi.tools.docs.{form}")
    lines: Callable[[Document], Iterator[str]] = renderer.lines
    return lines(content.document())
