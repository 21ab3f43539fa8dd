"""A document as GitHub Markdown.

Law of this file: it writes down what the blocks say and adds nothing. Drawings are shown in
characters: GitHub shows no SVG that is part of the text.
"""

import re
from collections.abc import Iterator

from runstate_abi.tools.rendering.blocks import (
    Block,
    Bullets,
    Code,
    Document,
    Figure,
    Note,
    Paragraph,
    References,
    Section,
    Span,
    Table,
    parts,
    spans,
)


def lines(document: Document) -> Iterator[str]:
    """Yield the lines of the page."""
    yield f"# {_inline(document.title)}"
    yield from ("", _inline(document.summary))
    for depth, part in parts(document.sections):
        yield ""
        if isinstance(part, Section):
            yield f"##{'#' * depth} {_inline(part.title)}"
        else:
            yield from block_lines(part)


def block_lines(block: Block) -> Iterator[str]:
    """Yield the lines of one block."""
    match block:
        case Paragraph(text):
            yield _inline(text)
        case Bullets(items, ordered):
            for number, item in enumerate(items, 1):
                yield f"{f'{number}.' if ordered else '-'} {_inline(item)}"
        case Note(label, text):
            yield f"> **{_inline(label)}** {_inline(text)}"
        case Code(language, code):
            yield from (f"```{language}", *code, "```")
        case Table():
            yield from _table(block)
        case References(entries):
            yield from (f"- {_escaped(key)}: {_inline(text)}" for key, text in entries)
        case Figure(caption, _, text):
            yield from (f"*{_inline(caption)}*", "", "```text", *text, "```")


def _table(table: Table) -> Iterator[str]:
    yield from (f"*{_inline(table.caption)}*", "")
    yield _row(table.header)
    rules = ("--:" if column in table.numeric else "---" for column in range(len(table.header)))
    yield f"| {' | '.join(rules)} |"
    yield from map(_row, table.rows)


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(_inline(cell).replace('|', chr(92) + '|') for cell in cells)} |"


def _inline(text: str) -> str:
    return "".join(_span(span) for span in spans(text))


def _span(span: Span) -> str:
    match span.mark:
        case "code":
            return f"`{span.text}`"
        case "emphasis":
            return f"*{_escaped(span.text)}*"
        case "cite":
            return f"\\[{_escaped(span.text)}\\]"
        case "link":
            return f"[{_escaped(span.text)}](#{_anchor(span.text)})"
    return _escaped(span.text)


# What GitHub makes of a heading.
def _anchor(title: str) -> str:
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


# An underscore within a word marks nothing.
def _escaped(text: str) -> str:
    text = re.sub(r"([\\`*<>\[\]])", r"\\\1", text)
    edges = r"(?<![A-Za-z0-9_])_+|_+(?![A-Za-z0-9_])"
    return re.sub(edges, lambda found: r"\_" * len(found[0]), text)
