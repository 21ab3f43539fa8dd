"""A document as GitHub Markdown. Drawings are characters: GitHub shows no SVG inside a text."""

import re
from collections.abc import Iterator

from runstate_abi.tools.rendering import blocks
from runstate_abi.tools.rendering.blocks import Block, Document, Marks, Section, Table


def lines(document: Document) -> Iterator[str]:
    yield from (f"# {_inline(document.title)}", "", _inline(document.summary))
    for depth, part in blocks.parts(document.sections):
        yield ""
        if isinstance(part, Section):
            yield f"##{'#' * depth} {_inline(part.title)}"
        else:
            yield from block_lines(part)


def block_lines(block: Block) -> Iterator[str]:
    match block:
        case blocks.Paragraph(text):
            yield _inline(text)
        case blocks.Bullets():
            yield from (f"{mark} {_inline(item)}" for mark, item in blocks.numbered(block))
        case blocks.Note(label, text):
            yield f"> **{_inline(label)}** {_inline(text)}"
        case blocks.Code(language, code):
            yield from (f"```{language}", *code, "```")
        case Table():
            yield from _table(block)
        case blocks.References(entries):
            yield from (f"- {_escaped(key)}: {_inline(text)}" for key, text in entries)
        case blocks.Figure(caption, _, text):
            yield from (f"*{_inline(caption)}*", "", "```text", *text, "```")


def _table(table: Table) -> Iterator[str]:
    rules = ("--:" if column in table.numeric else "---" for column in range(len(table.header)))
    yield from (f"*{_inline(table.caption)}*", "", _row(table.header), f"| {' | '.join(rules)} |")
    yield from map(_row, table.rows)


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(_inline(cell).replace('|', chr(92) + '|') for cell in cells)} |"


def _inline(text: str) -> str:
    return blocks.inline(text, _MARKS)


def _escaped(text: str) -> str:
    return blocks.escaped(text, r"\`*<>[]")


# The anchor that GitHub makes of a heading.
def _anchor(title: str) -> str:
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


_MARKS: Marks = {
    "": lambda piece: _escaped(piece.text),
    "code": lambda piece: f"`{piece.text}`",
    "emphasis": lambda piece: f"*{_escaped(piece.text)}*",
    "cite": lambda piece: f"\\[{_escaped(piece.text)}\\]",
    "link": lambda piece: f"[{_escaped(piece.text)}](#{_anchor(piece.text)})",
}
