"""What a document is made of, as values: the renderings only write it down.

Text has four marks: `code`, *emphasis*, [^key] for a citation, and [[name|words]] for a link to a
section. Everything else is itself.

Law of this file: types, and the reading of the marks. It knows no rendering and no fact.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Text that flows."""

    text: str


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list; ``ordered`` if the items follow each other."""

    items: tuple[str, ...]
    ordered: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """A paragraph that the reader must not miss; ``label`` says why in a word or two."""

    label: str
    text: str


@dataclass(frozen=True, slots=True)
class Code:
    """Lines as they are: a program, a header, a recording."""

    language: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under a header; ``numeric`` are the columns that hold numbers.

    ``caption`` is one line that says what the table shows. ``row_heads``: the first cell of each
    row is its name.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()
    row_heads: bool = True

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(f"{self.caption}: {row} has not the header's columns")


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing: SVG for who can show it, and the same in characters for who cannot.

    ``drawn``: what the caption goes on to say where the SVG is shown, such as its colours.
    """

    caption: str
    svg: tuple[str, ...]
    text: tuple[str, ...]
    drawn: str = ""


@dataclass(frozen=True, slots=True)
class References:
    """What is cited: (key, text) pairs."""

    entries: tuple[tuple[str, str], ...]


Block = Paragraph | Bullets | Note | Code | Table | Figure | References


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands under it; ``name`` is its anchor."""

    name: str
    title: str
    blocks: tuple["Block | Section", ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A whole document: ``summary`` is one line, for a man page and a search engine."""

    name: str
    title: str
    summary: str
    sections: tuple[Section, ...]


class Span(NamedTuple):
    """A piece of text: ``mark`` is "", "code", "emphasis", "cite" or "link" (to ``target``)."""

    mark: str
    text: str
    target: str = ""


_MARKED = re.compile(
    r"`(?P<code>[^`]+)`"
    r"|(?<![\w*])\*(?=\S)(?P<emphasis>[^*`]+?)(?<=\S)\*(?![\w*])"
    r"|\[\^(?P<cite>[\w.-]+)\]"
    r"|\[\[(?P<target>[a-z-]+)\|(?P<link>[^\]]+)\]\]"
)


def spans(text: str) -> Iterator[Span]:
    """Cut a text at its marks."""
    reached = 0
    for found in _MARKED.finditer(text):
        if found.start() > reached:
            yield Span("", text[reached : found.start()])
        mark = str(found.lastgroup)
        yield Span(mark, found[mark], found["target"] or "")
        reached = found.end()
    if reached < len(text):
        yield Span("", text[reached:])


def plain(text: str) -> str:
    """Return a text without its marks."""
    return "".join(span.text for span in spans(text))


def parts(sections: Iterable[Section], depth: int = 0) -> Iterator[tuple[int, Section | Block]]:
    """Yield sections and their blocks in the order of the text, each with its depth: 0 is top."""
    for section in sections:
        yield depth, section
        for block in section.blocks:
            if isinstance(block, Section):
                yield from parts((block,), depth + 1)
            else:
                yield depth, block
