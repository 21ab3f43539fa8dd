"""A document as reStructuredText that builds in Linux's tree (Sphinx 3.4) and in Xen's.

Law of this file: no extension, no directive newer than list-table and code-block, no picture
beside the text. It writes down what the blocks say and adds nothing.
"""

import re
from collections.abc import Iterable, Iterator

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

UNDERLINES = "=-~"


def lines(document: Document) -> Iterator[str]:
    """Yield the lines of the page."""
    yield from (".. SPDX-License-Identifier: MIT", "")
    title = _inline(document.title)
    yield from ("=" * len(title), title, "=" * len(title), "", _inline(document.summary))
    for depth, part in parts(document.sections):
        yield ""
        if isinstance(part, Section):
            title = _inline(part.title)
            yield from (title, UNDERLINES[depth] * len(title))
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
            yield from (".. note::", "", f"   **{_inline(label)}** {_inline(text)}")
        case Code(language, code):
            yield from (f".. code-block:: {language}", "")
            yield from _indented(code)
        case Table():
            yield from _table(block)
        case References(entries):
            yield from (f":{_escaped(key)}: {_inline(text)}" for key, text in entries)
        case Figure(caption, _, text):
            yield from (f"*{_escaped_all(caption)}*", "", ".. code-block:: none", "")
            yield from _indented(text)


def _table(table: Table) -> Iterator[str]:
    yield f".. list-table:: {_inline(table.caption)}"
    yield "   :header-rows: 1"
    if table.row_heads:
        yield "   :stub-columns: 1"
    yield ""
    for row in (table.header, *table.rows):
        for column, cell in enumerate(row):
            yield f"   {' ' if column else '*'} - {_inline(cell)}".rstrip()


def _indented(text: Iterable[str]) -> Iterator[str]:
    return (f"   {line}".rstrip().expandtabs(8) for line in text)


# Marks want white space or punctuation around them; `\ ` is neither seen nor printed.
def _inline(text: str) -> str:
    found = ""
    for span in spans(text):
        piece = _span(span)
        if found and span.mark and re.search(r"[\w)]$", found):
            found += "\\ "
        elif found and not span.mark and re.search(r"[`*]$", found) and re.match(r"\w", piece):
            piece = f"\\ {piece}"
        found += piece
    return found


def _span(span: Span) -> str:
    match span.mark:
        case "code":
            return f"``{span.text}``"
        case "emphasis":
            return f"*{_escaped(span.text)}*"
        case "cite":
            return f"[{_escaped(span.text)}]"
        case "link":
            return f"`{span.text}`_"
    return _escaped(span.text)


# A caption is all emphasis, and there is no mark within a mark.
def _escaped_all(text: str) -> str:
    return _escaped("".join(span.text for span in spans(text)))


def _escaped(text: str) -> str:
    text = re.sub(r"([\\`*|])", r"\\\1", text)
    # An underscore at the edge of a word makes it a reference.
    edges = r"(?<![A-Za-z0-9_])_+|_+(?![A-Za-z0-9_])"
    return re.sub(edges, lambda found: r"\_" * len(found[0]), text)
