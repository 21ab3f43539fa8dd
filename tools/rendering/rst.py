"""A document as reStructuredText that builds in Linux's tree (Sphinx 3.4) and in Xen's.

So it uses no extension, no directive newer than list-table and code-block, and no picture.
"""

import re
from collections.abc import Iterable, Iterator

from runstate_abi.tools.rendering import blocks
from runstate_abi.tools.rendering.blocks import Block, Document, Marks, Section, Table

UNDERLINES = "=-~"


def lines(document: Document) -> Iterator[str]:
    title = _inline(document.title)
    rule = "=" * len(title)
    yield from (".. SPDX-License-Identifier: MIT", "", rule, title, rule)
    yield from ("", _inline(document.summary))
    for depth, part in blocks.parts(document.sections):
        yield ""
        if isinstance(part, Section):
            title = _inline(part.title)
            yield from (title, UNDERLINES[depth] * len(title))
        else:
            yield from block_lines(part)


def block_lines(block: Block) -> Iterator[str]:
    match block:
        case blocks.Paragraph(text):
            yield _inline(text)
        case blocks.Bullets():
            yield from (f"{mark} {_inline(item)}" for mark, item in blocks.numbered(block))
        case blocks.Note(label, text):
            yield from (".. note::", "", f"   **{_inline(label)}** {_inline(text)}")
        case blocks.Code(language, code):
            yield from (f".. code-block:: {language}", "", *_indented(code))
        case Table():
            yield from _table(block)
        case blocks.References(entries):
            yield from (f":{_escaped(key)}: {_inline(text)}" for key, text in entries)
        case blocks.Figure(caption, _, text):
            # The caption is emphasis, and reST has no mark inside a mark.
            yield from (f"*{_escaped(blocks.plain(caption))}*", "")
            yield from (".. code-block:: none", "", *_indented(text))


def _table(table: Table) -> Iterator[str]:
    yield from (f".. list-table:: {_inline(table.caption)}", "   :header-rows: 1")
    if table.row_heads:
        yield "   :stub-columns: 1"
    yield ""
    for row in (table.header, *table.rows):
        for column, cell in enumerate(row):
            yield f"   {' ' if column else '*'} - {_inline(cell)}".rstrip()


def _indented(text: Iterable[str]) -> Iterator[str]:
    return (f"   {line}".rstrip().expandtabs(8) for line in text)


# reST needs white space or punctuation around its marks. If there is none, `\ ` takes its place. It
# is not printed.
def _inline(text: str) -> str:
    found = ""
    for piece in blocks.marked(text):
        written = _MARKS[piece.mark](piece)
        if found and piece.mark and re.search(r"[\w)]$", found):
            found += "\\ "
        elif found and not piece.mark and re.search(r"[`*]$", found) and re.match(r"\w", written):
            written = f"\\ {written}"
        found += written
    return found


def _escaped(text: str) -> str:
    return blocks.escaped(text, r"\`*|")


_MARKS: Marks = {
    "": lambda piece: _escaped(piece.text),
    "code": lambda piece: f"``{piece.text}``",
    "emphasis": lambda piece: f"*{_escaped(piece.text)}*",
    "cite": lambda piece: f"[{_escaped(piece.text)}]",
    "link": lambda piece: f"`{piece.text}`_",
}
