"""A document as one HTML page that needs nothing else: no script, no font, no picture beside it.

Law of this file: it writes down what the blocks say and adds nothing but the list of contents.
Looks are style.css's.
"""

from collections.abc import Iterator
from html import escape
from importlib.resources import files

from runstate_abi.tools.rendering import drawing
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
    plain,
    spans,
)


def lines(document: Document) -> Iterator[str]:
    """Yield the lines of the page."""
    yield from _head(plain(document.title), plain(document.summary))
    yield '<a class="skip" href="#text">To the text</a>'
    yield '<div class="page">'
    yield "<header>"
    yield f"<h1>{_inline(document.title)}</h1>"
    yield f'<p class="summary">{_inline(document.summary)}</p>'
    yield "</header>"
    yield from _contents(document)
    yield '<main id="text">'
    for section in document.sections:
        yield from _section(section, 2)
    yield from ("</main>", "</div>", "</body>", "</html>")


def page(title: str, summary: str, blocks: tuple[Block, ...]) -> Iterator[str]:
    """Yield a page of a few blocks, without sections or contents."""
    yield from _head(title, summary)
    yield '<div class="page">'
    yield from (
        "<main>",
        f"<h1>{_inline(title)}</h1>",
        f'<p class="summary">{_inline(summary)}</p>',
    )
    for block in blocks:
        yield from block_lines(block)
    yield from ("</main>", "</div>", "</body>", "</html>")


def _head(title: str, summary: str) -> Iterator[str]:
    style = files("runstate_abi.tools.rendering").joinpath("style.css").read_text(encoding="utf-8")
    yield from ("<!DOCTYPE html>", '<html lang="en">', "<head>", '<meta charset="utf-8">')
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(title)}</title>"
    yield f'<meta name="description" content="{escape(summary)}">'
    yield from ("<style>", *style.splitlines(), drawing.style(), "</style>", "</head>", "<body>")


def _contents(document: Document) -> Iterator[str]:
    yield '<nav aria-label="Contents">'
    yield from ("<details open>", "<summary>Contents</summary>", "<ol>")
    for section in document.sections:
        yield f'<li><a href="#{section.name}">{_inline(section.title)}</a></li>'
    yield from ("</ol>", "</details>", "</nav>")


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
    """Yield the lines of one block."""
    match block:
        case Paragraph(text):
            yield f"<p>{_inline(text)}</p>"
        case Bullets(items, ordered):
            tag = "ol" if ordered else "ul"
            yield f"<{tag}>"
            yield from (f"<li>{_inline(item)}</li>" for item in items)
            yield f"</{tag}>"
        case Note(label, text):
            heading = f"<strong>{_inline(label)}</strong>"
            yield f'<div class="note"><p>{heading} {_inline(text)}</p></div>'
        case Code(_, code):
            # A line by itself after <pre> would be part of the text.
            body = escape("\n".join(code), quote=False)
            yield f'<pre tabindex="0"><code>{body}</code></pre>'
        case Table():
            yield from _table(block)
        case References(entries):
            yield "<dl>"
            yield from (
                f'<dt id="{_source(key)}">{key}</dt><dd>{_inline(text)}</dd>'
                for key, text in entries
            )
            yield "</dl>"
        case Figure(caption, svg, _, drawn):
            said = f"{caption} {drawn}".rstrip()
            yield from ("<figure>", f"<figcaption>{_inline(said)}</figcaption>")
            yield from (*svg, "</figure>")


# A table may be wider than a phone: then it scrolls by itself, by keyboard too.
def _table(table: Table) -> Iterator[str]:
    label = escape(plain(table.caption))
    yield f'<section class="wide" aria-label="{label}" tabindex="0">'
    yield "<table>" if table.row_heads else '<table class="sides">'
    yield from (f"<caption>{_inline(table.caption)}</caption>", "<thead>")
    heads = (
        f'<th scope="col"{_number(table, column)}>{_inline(text)}</th>'
        for column, text in enumerate(table.header)
    )
    yield from (f"<tr>{''.join(heads)}</tr>", "</thead>", "<tbody>")
    for row in table.rows:
        cells = (_cell(table, column, text) for column, text in enumerate(row))
        yield f"<tr>{''.join(cells)}</tr>"
    yield from ("</tbody>", "</table>", "</section>")


def _cell(table: Table, column: int, text: str) -> str:
    number = _number(table, column)
    if column == 0 and table.row_heads:
        return f'<th scope="row"{number}>{_inline(text)}</th>'
    return f"<td{number}>{_inline(text)}</td>"


def _number(table: Table, column: int) -> str:
    return ' class="number"' if column in table.numeric else ""


def _inline(text: str) -> str:
    return "".join(_span(span) for span in spans(text))


def _span(span: Span) -> str:
    text = escape(span.text, quote=False)
    match span.mark:
        case "code":
            return f"<code>{text}</code>"
        case "emphasis":
            return f"<em>{text}</em>"
        case "cite":
            return f'<a class="cite" href="#{_source(text)}">[{text}]</a>'
        case "link":
            return f'<a href="#{span.target}">{text}</a>'
    return text


def _source(key: str) -> str:
    return f"source-{key.replace('.', '-')}"
