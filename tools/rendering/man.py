"""A document as a man page of section 7.

Law of this file: man(7) macros and tbl(1), nothing that needs groff alone. It writes down what the
blocks say and adds nothing. Drawings are shown in characters.
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
    plain,
    spans,
)

# A wider table is a list: tbl breaks cells into lines, but not without complaints.
TABLE_WIDE, GAP = 70, 3
WORD_WIDE = 8  # a longer word of a list may be broken where it has a mark, and at last anywhere


def lines(document: Document) -> Iterator[str]:
    """Yield the lines of the page."""
    yield "'\\\" t"
    yield f'.TH {document.name.upper()} 7 "" "runstate\\-abi" "{_escaped(document.title)}"'
    yield from (".ad l", ".nh", ".SH NAME")
    yield f"{document.name} \\- {_escaped(plain(document.summary)).rstrip('.')}"
    for depth, part in parts(document.sections):
        if not isinstance(part, Section):
            yield from block_lines(part)
        elif depth == 0:
            yield f".SH {_inline(part.title.upper())}"
        else:
            yield f".SS {_inline(part.title)}"


def block_lines(block: Block) -> Iterator[str]:
    """Yield the lines of one block."""
    match block:
        case Paragraph(text):
            yield from (".PP", _line(text))
        case Bullets(items, ordered):
            for number, item in enumerate(items, 1):
                yield from (f".IP {f'{number}.' if ordered else chr(92) + '(bu'} 4", _line(item))
        case Note(label, text):
            yield from (".PP", f"\\fB{_inline(label)}\\fR {_inline(text)}")
        case Code(_, code):
            yield from _literal(code)
        case Table():
            yield from _table(block)
        case References(entries):
            for key, text in entries:
                yield from (".TP", _line(key), _guarded(_inline(text, breakable=True)))
        case Figure(caption, _, text):
            yield from (".PP", _line(caption))
            yield from _literal(text)


def _literal(text: Iterable[str]) -> Iterator[str]:
    yield from (".PP", ".in +2n", ".nf")
    yield from (_guarded(_escaped(line.expandtabs(4))) for line in text)
    yield from (".fi", ".in")


def _table(table: Table) -> Iterator[str]:
    yield from (".PP", _line(table.caption))
    columns = zip(table.header, *table.rows, strict=True)
    longest = [max(len(plain(cell)) for cell in column) for column in columns]
    if sum(longest) + GAP * (len(longest) - 1) > TABLE_WIDE:
        yield from _list(table)
        return
    yield from (".PP", ".TS", "tab(@);", " ".join("lb" for _ in longest))
    yield f"{' '.join('l' for _ in longest)}."
    for row in (table.header, *table.rows):
        yield "@".join(_guarded(_inline(cell)) for cell in row)
    yield ".TE"


# A row is a paragraph: its first cell, and the others each with its header. If the first cell is
# no name, it has its header as well.
def _list(table: Table) -> Iterator[str]:
    yield ".RS"
    for row in table.rows:
        cells = list(zip(table.header, row, strict=True))
        if table.row_heads:
            yield from (".TP", _line(cells.pop(0)[1]))
        for head, cell in cells:
            if cell:
                text = _inline(f"{head}: {cell}" if head else cell, breakable=True)
                yield from (_guarded(text), ".br")
    yield ".RE"


def _line(text: str) -> str:
    return _guarded(_inline(text))


def _inline(text: str, breakable: bool = False) -> str:
    return "".join(_span(span, breakable) for span in spans(text))


# Bold is what one types, as in every man page.
def _span(span: Span, breakable: bool) -> str:
    text = _broken(span.text) if breakable else _escaped(span.text)
    match span.mark:
        case "code":
            return f"\\fB{text}\\fR"
        case "emphasis":
            return f"\\fI{text}\\fR"
        case "cite":
            return f"[{text}]"
        case "link":
            return f"\\(lq{text.upper()}\\(rq"
    return text


def _broken(text: str) -> str:
    return " ".join(map(_breakable, text.split(" ")))


def _breakable(word: str) -> str:
    if len(word) <= WORD_WIDE:
        return _escaped(word)
    parts = re.findall(r"[^_(,.@/\[-]{1,12}[_(,.@/\[-]?|.", word)
    return "\\:".join(map(_escaped, parts))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\e").replace("-", "\\-")


# A line that begins with a control character would be a request.
def _guarded(text: str) -> str:
    return f"\\&{text}" if text[:1] in (".", "'") else text
