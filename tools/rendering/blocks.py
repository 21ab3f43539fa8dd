"""What a document is made of, as values; each rendering writes them down in its own markup.

Text has four marks: `code`, *emphasis*, [^key] for a citation, and [[name|words]] for a link to a
section.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple


class Paragraph(NamedTuple):
    """Text that flows."""

    text: str


class Bullets(NamedTuple):
    """A list, numbered if ``ordered``."""

    items: tuple[str, ...]
    ordered: bool = False


class Note(NamedTuple):
    """A paragraph that stands out; ``label`` says why in a word or two."""

    label: str
    text: str


class Code(NamedTuple):
    """Lines as they are: a program, a header, a recording."""

    language: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under a header; the columns ``numeric`` hold numbers.

    ``row_heads``: the first cell of each row is its name. ValueError if a row has not as many cells
    as the header.
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


class Figure(NamedTuple):
    """A drawing as SVG, and as characters for renderings that cannot show SVG.

    ``drawn`` continues the caption where the SVG is shown; it explains the colours.
    """

    caption: str
    svg: tuple[str, ...]
    text: tuple[str, ...]
    drawn: str = ""


class References(NamedTuple):
    """What is cited: (key, text) pairs."""

    entries: tuple[tuple[str, str], ...]


Block = Paragraph | Bullets | Note | Code | Table | Figure | References


class Section(NamedTuple):
    """A heading and what stands under it; ``name`` is its anchor."""

    name: str
    title: str
    blocks: tuple["Block | Section", ...]


class Document(NamedTuple):
    """A whole document; ``summary`` is one line, for a man page and a search engine."""

    name: str
    title: str
    summary: str
    sections: tuple[Section, ...]


class Marked(NamedTuple):
    """A piece of text: ``mark`` is "", "code", "emphasis", "cite" or "link" (to ``target``)."""

    mark: str
    text: str
    target: str = ""


# How a rendering writes a piece of text, by its mark.
Marks = Mapping[str, Callable[[Marked], str]]

_MARKED = re.compile(
    r"`(?P<code>[^`]+)`"
    r"|(?<![\w*])\*(?=\S)(?P<emphasis>[^*`]+?)(?<=\S)\*(?![\w*])"
    r"|\[\^(?P<cite>[\w.-]+)\]"
    r"|\[\[(?P<target>[a-z-]+)\|(?P<link>[^\]]+)\]\]"
)
_EDGE_UNDERSCORES = re.compile(r"(?<![A-Za-z0-9_])_+|_+(?![A-Za-z0-9_])")


def marked(text: str) -> Iterator[Marked]:
    """Split a text at its marks."""
    reached = 0
    for found in _MARKED.finditer(text):
        if found.start() > reached:
            yield Marked("", text[reached : found.start()])
        mark = str(found.lastgroup)
        yield Marked(mark, found[mark], found["target"] or "")
        reached = found.end()
    if reached < len(text):
        yield Marked("", text[reached:])


def inline(text: str, marks: Marks) -> str:
    """Return a text in a rendering's markup."""
    return "".join(marks[piece.mark](piece) for piece in marked(text))


def plain(text: str) -> str:
    """Return a text without its marks."""
    return "".join(piece.text for piece in marked(text))


def escaped(text: str, special: str) -> str:
    """Return text with a backslash before each special character and each underscore of an edge.

    Markdown and reST read an underscore at the edge of a word as markup, and none inside a word.
    """
    text = re.sub(f"([{re.escape(special)}])", r"\\\1", text)
    return _EDGE_UNDERSCORES.sub(lambda found: r"\_" * len(found[0]), text)


def numbered(bullets: Bullets) -> Iterator[tuple[str, str]]:
    """Yield (number and point, or "-"; text) for each item of a list."""
    for number, item in enumerate(bullets.items, 1):
        yield (f"{number}." if bullets.ordered else "-"), item


def parts(sections: Iterable[Section], depth: int = 0) -> Iterator[tuple[int, Section | Block]]:
    """Yield sections and their blocks in the order of the text, each with its depth: 0 is top."""
    for section in sections:
        yield depth, section
        for block in section.blocks:
            if isinstance(block, Section):
                yield from parts((block,), depth + 1)
            else:
                yield depth, block
