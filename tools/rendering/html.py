"""A document as one HTML page that loads nothing. The style is in style.css.

Each table and drawing has an address of its own, made of its caption.
"""

import re
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files

from runstate_abi.tools.player import markup
from runstate_abi.tools.rendering import blocks, drawing, links
from runstate_abi.tools.rendering.blocks import Block, Document, Marks, Section, Table, plain

VERDICTS = {
    "safe": ("safe",),
    "torn": ("torn", "torn, in bytes"),
    "refused": ("refused", "not allowed"),
}
END = ("</main>", "</div>", "</body>", "</html>")


def lines(document: Document) -> Iterator[str]:
    yield from _head(plain(document.title), plain(document.summary))
    yield from ('<a class="skip" href="#text">To the text</a>', '<div class="page">', "<header>")
    yield from _titles(_inline(document.title), _inline(document.summary))
    yield from ("</header>", '<nav aria-label="Contents">', "<details open>")
    yield from ("<summary>Contents</summary>", "<ol>")
    for section in document.sections:
        yield f'<li><a href="#{section.name}">{_inline(section.title)}</a></li>'
    yield from ("</ol>", "</details>", "</nav>", '<main id="text">')
    for section in document.sections:
        yield from _section(section, 2)
    yield from END


def page(title: str, summary: str, blocks: tuple[Block, ...]) -> Iterator[str]:
    """Yield a page of a few blocks, without sections or contents."""
    yield from _head(title, summary)
    yield from ('<div class="page">', "<main>", *_titles(_inline(title), _inline(summary)))
    for block in blocks:
        yield from block_lines(block)
    yield from END


def _head(title: str, summary: str) -> Iterator[str]:
    style = files("runstate_abi.tools.rendering").joinpath("style.css").read_text(encoding="utf-8")
    yield from ("<!DOCTYPE html>", '<html lang="en">', "<head>", '<meta charset="utf-8">')
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(title)}</title>"
    yield f'<meta name="description" content="{escape(summary)}">'
    yield from ("<style>", *style.splitlines(), *markup.style(), drawing.style(), "</style>")
    yield from ("</head>", "<body>")


def _titles(title: str, summary: str) -> Iterator[str]:
    yield from (f"<h1>{title}</h1>", f'<p class="summary">{summary}</p>')


def _section(section: Section, level: int) -> Iterator[str]:
    yield f'<section aria-labelledby="{section.name}">'
    yield f'<h{level} id="{section.name}">{_inline(section.title)}</h{level}>'
    for block in section.blocks:
        if isinstance(block, Section):
            yield from _section(block, level + 1)
        else:
            yield from block_lines(block)
    yield "</section>"


def block_lines(block: Block) -> Iterator[str]:
    match block:
        case blocks.Paragraph(text):
            yield f"<p>{_inline(text)}</p>"
        case blocks.Bullets(items, ordered):
            tag = "ol" if ordered else "ul"
            yield from (f"<{tag}>", *(f"<li>{_inline(item)}</li>" for item in items), f"</{tag}>")
        case blocks.Note(label, text):
            strong = f"<strong>{_inline(label)}</strong>"
            yield f'<div class="note"><p>{strong} {_inline(text)}</p></div>'
        case blocks.Code(_, code):
            # A line break after <pre> would be part of the text.
            body = _escaped("\n".join(code))
            yield f'<pre tabindex="0"><code>{body}</code></pre>'
        case Table():
            yield from _table(block)
        case blocks.References(entries):
            yield "<dl>"
            for key, text in entries:
                yield f'<dt id="{_source(key)}">{key}</dt><dd>{_inline(text)}</dd>'
            yield "</dl>"
        case blocks.Player(caption, data):
            yield from markup.lines(caption, data)
        case blocks.Figure(caption, svg, _, drawn):
            said, place = _inline(f"{caption} {drawn}".rstrip()), address(caption)
            yield f'<figure id="{place}">'
            yield from (f"<figcaption>{said}{_here(place)}</figcaption>", *svg, "</figure>")


# A table may be wider than a phone. Then it scrolls, and shadows at its sides say so; tabindex lets
# a keyboard scroll it.
def _table(table: Table) -> Iterator[str]:
    label, place = escape(plain(table.caption)), address(table.caption)
    yield f'<section class="wide" id="{place}" aria-label="{label}" tabindex="0">'
    yield "<table>" if table.row_heads else '<table class="sides">'
    yield from (f"<caption>{_inline(table.caption)}{_here(place)}</caption>", "<thead>")
    columns = range(len(table.header))
    named = [table.row_heads and not column for column in columns]  # the cells that name a row
    yield _row(table, table.header, ['th scope="col"' for _ in columns])
    yield from ("</thead>", "<tbody>")
    for row in table.rows:
        yield _row(table, row, ['th scope="row"' if head else "td" for head in named])
    yield from ("</tbody>", "</table>", "</section>")


def _row(table: Table, cells: Sequence[str], tags: Sequence[str]) -> str:
    numbers = [' class="number"' * (column in table.numeric) for column in range(len(cells))]
    each = zip(tags, numbers, cells, strict=True)
    made = (f"<{tag}{n or _verdict(x)}>{_cell(x)}</{tag.split()[0]}>" for tag, n, x in each)
    return f"<tr>{''.join(made)}</tr>"


# A long name may be broken behind an underscore: columns are narrow on a phone.
def _cell(text: str) -> str:
    return _LONG_NAME.sub(lambda found: found[0].replace("_", "_<wbr>"), _inline(text))


_LONG_NAME = re.compile(r"\b[a-zA-Z]\w*_\w{8,}\b(?![^<]*>)")


# A cell that is a verdict stands out by its weight and its colour.
def _verdict(cell: str) -> str:
    return next((f' class="{name}"' for name, said in VERDICTS.items() if cell in said), "")


def _inline(text: str) -> str:
    return blocks.inline(text, _MARKS)


def address(caption: str) -> str:
    """Return the place of a table or a drawing in its page."""
    return f"at-{'-'.join(re.findall(r'[a-z0-9]+', plain(caption).lower()))[:60].rstrip('-')}"


def _here(place: str) -> str:
    return f'<a class="here" href="#{place}" aria-label="a link to this"></a>'


# A text, with links to the public sources of what it names.
def _sourced(text: str) -> str:
    return "".join(
        f'<a class="source" href="{escape(to)}">{_escaped(piece)}</a>' if to else _escaped(piece)
        for piece, to in links.linked(text)
    )


def _escaped(text: str) -> str:
    return escape(text, quote=False)


def _source(key: str) -> str:
    return f"source-{key.replace('.', '-')}"


_MARKS: Marks = {
    "": lambda piece: _sourced(piece.text),
    "code": lambda piece: f"<code>{_sourced(piece.text)}</code>",
    "emphasis": lambda piece: f"<em>{_escaped(piece.text)}</em>",
    "cite": lambda piece: f'<a class="cite" href="#{_source(piece.text)}">[{piece.text}]</a>',
    "link": lambda piece: f'<a href="#{piece.target}">{_escaped(piece.text)}</a>',
}
