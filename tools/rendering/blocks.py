"""The parts of a document as values. Each rendering writes them in its own markup.

Text has four marks: `code`, *emphasis*, [^key] for a citation, and [[name|words]] for a link to a
section.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class Paragraph(NamedTuple):
    text: str


class Bullets(NamedTuple):
    items: tuple[str, ...]
    ordered: bool = False


class Note(NamedTuple):
    """A paragraph that is set off from the text."""

    label: str  # one or two words before it
    text: str


class Code(NamedTuple):
    """Lines that are printed unchanged: a program, a header, a recording."""

    language: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under a header. ValueError if a row has not as many cells as the header."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()  # the columns that hold numbers
    row_heads: bool = True  # the first cell of each row is its name

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(f"{self.caption}: {row} has not the header's columns")


class Figure(NamedTuple):
    """A drawing as SVG, and as characters for renderings that cannot show SVG."""

    caption: str
    svg: tuple[str, ...]
    text: tuple[str, ...]
    drawn: str = ""  # continues the caption where the SVG is shown: it explains the colours


class Player(NamedTuple):
    """A figure that is stepped through. Only a page shows it: other renderings leave it out."""

    caption: str
    data: Mapping[str, Any]  # of tools/player/data.py


class References(NamedTuple):
    entries: tuple[tuple[str, str], ...]  # (key, text)


Block = Paragraph | Bullets | Note | Code | Table | Figure | Player | References


class Section(NamedTuple):
    """A heading and what is under it; ``name`` is its anchor."""

    name: str
    title: str
    blocks: tuple["Block | Section", ...]


class Document(NamedTuple):
    """A whole document; ``summary`` is one line, for a man page and a search engine."""

    name: str
    title: str
    summary: str
    sections: tuple[Section, ...]
    see_also: tuple[str, ...] = ()  # man pages, "pahole(1)": only a man page names them


class Marked(NamedTuple):
    mark: str  # "", "code", "emphasis", "cite" or "link" (to ``target``)
    text: str
    target: str = ""


Marks = Mapping[str, Callable[[Marked], str]]  # how a rendering writes a piece of text, by its mark

_MARKED = re.compile(
    r"`(?P<code>[^`]+)`"
    r"|(?<![\w*])\*(?=\S)(?P<emphasis>[^*`]+?)(?<=\S)\*(?![\w*])"
    r"|\[\^(?P<cite>[\w.-]+)\]"
    r"|\[\[(?P<target>[a-z-]+)\|(?P<link>[^\]]+)\]\]"
)
# Markdown and reST read these underscores as markup, those inside a word not.
_EDGE_UNDERSCORES = re.compile(r"(?<![A-Za-z0-9_])_+|_+(?![A-Za-z0-9_])")


def marked(text: str) -> Iterator[Marked]:
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
    return "".join(marks[piece.mark](piece) for piece in marked(text))


def plain(text: str) -> str:
    return "".join(piece.text for piece in marked(text))


def escaped(text: str, special: str) -> str:
    """Put a backslash before special characters, and before underscores at the edge of a word."""
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
