"""A document as a man page of section 7, in man(7) macros and tbl(1). Drawings are characters.

Only requests that every man program understands are used, not those of groff alone.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

from runstate_abi.tools.rendering import blocks
from runstate_abi.tools.rendering.blocks import Block, Document, Marks, Section, Table, plain

# A wider table becomes a list: tbl would break the cells, but with warnings.
TABLE_WIDE, GAP = 70, 3
CODE_WIDE = 71  # what 80 columns leave to code: no line of it is folded here
WORD_WIDE = 8  # in a list, a longer word may be broken after a mark inside it
RUN_WIDE = 40  # a word without a mark is broken anywhere after so many characters
EPOCH = "SOURCE_DATE_EPOCH"


def date() -> str:
    """Return the day that SOURCE_DATE_EPOCH names, "" if it is not set (ValueError: it names none).

    Like Sphinx and argparse-manpage, and as its specification asks, this refuses a wrong value.
    Without the variable there is no date, so that the same source always gives the same page.
    """
    seconds = os.environ.get(EPOCH, "")
    if not seconds:
        return ""
    try:
        if re.fullmatch("[0-9]+", seconds):
            return datetime.fromtimestamp(int(seconds), UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        pass  # a year that has more than four digits
    raise ValueError(f"{EPOCH}: {seconds!r} is no number of seconds since 1970")


def see_also(pages: Iterable[str]) -> Iterator[str]:
    """Yield the section that names other man pages; nothing if there are none."""
    listed = list(pages)
    if listed:
        yield ".SH SEE ALSO"
    for index, page in enumerate(listed, 1):
        name, _, section = page.partition("(")
        comma = "," * (index < len(listed))
        yield f".BR {_escaped(name)} ({section}{comma}"


def lines(document: Document) -> Iterator[str]:
    name, title = document.name, _escaped(document.title)
    yield from ("'\\\" t", f'.TH {name.upper()} 7 "{date()}" "runstate\\-abi" "{title}"')
    yield from (".ad l", ".nh", ".SH NAME")
    yield f"{name} \\- {_escaped(plain(document.summary)).rstrip('.')}"
    parts = list(blocks.parts(document.sections))
    yield from _without_idle(line for part in parts for line in _part(*part))
    titles = {part.title.lower() for _, part in parts if isinstance(part, Section)}
    if "see also" not in titles:
        yield from see_also(document.see_also)


def _part(depth: int, part: Section | Block) -> Iterator[str]:
    if not isinstance(part, Section):
        yield from block_lines(part)
    elif depth == 0:
        yield f".SH {_inline(part.title.upper())}"
    else:
        yield f".SS {_inline(part.title)}"


# A heading begins a paragraph by itself: mandoc warns of a second beginning.
def _without_idle(found: Iterable[str]) -> Iterator[str]:
    headed = False
    for line in found:
        if not (headed and line == ".PP"):
            yield line
        headed = line.startswith((".SH ", ".SS "))


def block_lines(block: Block) -> Iterator[str]:
    match block:
        case blocks.Paragraph(text):
            yield from (".PP", _line(text))
        case blocks.Bullets():
            for mark, item in blocks.numbered(block):
                yield from (f".IP {mark if block.ordered else chr(92) + '(bu'} 4", _line(item))
        case blocks.Note(label, text):
            yield from (".PP", f"\\fB{_inline(label)}\\fR {_inline(text)}")
        case blocks.Code(_, code):
            yield from _literal(code)
        case Table():
            yield from _table(block)
        case blocks.References(entries):
            for key, text in entries:
                yield from (".TP", _line(key), _line(text, _BREAKABLE))
        case blocks.Figure(caption, _, text):
            yield from (".PP", _line(caption), *_literal(text))


def _literal(text: Iterable[str]) -> Iterator[str]:
    yield from (".PP", ".in +2n", ".nf")
    yield from (unmarked(line.expandtabs(4)) for line in text)
    yield from (".fi", ".in")


def _table(table: Table) -> Iterator[str]:
    yield from (".PP", _line(table.caption))
    columns = zip(table.header, *table.rows, strict=True)
    longest = [max(len(plain(cell)) for cell in column) for column in columns]
    if sum(longest) + GAP * (len(longest) - 1) > TABLE_WIDE:
        yield from _list(table)
        return
    # Without nokeep groff warns of a table at the end of a page, and what is before it decides.
    # mandoc knows the option too.
    yield from (".PP", ".TS", "tab(@) nokeep;", " ".join("lb" for _ in longest))
    yield f"{' '.join('l' for _ in longest)}."
    for row in (table.header, *table.rows):
        yield "@".join(map(_line, row))
    yield ".TE"


# A row becomes a paragraph: its first cell, then each other cell after its header. If the first
# cell is not the row's name, it has its header too.
def _list(table: Table) -> Iterator[str]:
    yield ".RS"
    for row in table.rows:
        cells = list(zip(table.header, row, strict=True))
        if table.row_heads:
            yield from (".TP", _line(cells.pop(0)[1]))
        for head, cell in cells:
            if cell:
                yield from (_line(f"{head}: {cell}" if head else cell, _BREAKABLE), ".br")
    yield ".RE"


def _inline(text: str) -> str:
    return blocks.inline(text, _MARKS)


def _line(text: str, marks: Marks | None = None) -> str:
    return _guarded(blocks.inline(text, marks or _MARKS))


def unmarked(text: str) -> str:
    """Return text without marks as a line of a page."""
    return _guarded(_escaped(text))


# A line that begins with a control character would be a request.
def _guarded(text: str) -> str:
    return f"\\&{text}" if text[:1] in (".", "'") else text


def _escaped(text: str) -> str:
    return text.replace("\\", "\\e").replace("-", "\\-")


# Between two letters or digits, behind a mark: so neither a sign nor a bracket stands alone.
_BREAK = re.compile(rf"(?<=\w[,@/-])(?=\w)|(?<=\w{{{RUN_WIDE}}})(?=\w)")


def _breakable(text: str) -> str:
    return " ".join(
        "\\:".join(map(_escaped, _BREAK.split(word))) if len(word) > WORD_WIDE else _escaped(word)
        for word in text.split(" ")
    )


# Bold is what the user types, as in every man page.
def _marks(written: Callable[[str], str]) -> Marks:
    return {
        "": lambda piece: written(piece.text),
        "code": lambda piece: f"\\fB{written(piece.text)}\\fR",
        "emphasis": lambda piece: f"\\fI{written(piece.text)}\\fR",
        "cite": lambda piece: f"[{written(piece.text)}]",
        "link": lambda piece: f"\\(lq{written(piece.text).upper()}\\(rq",
    }


_MARKS, _BREAKABLE = _marks(_escaped), _marks(_breakable)
