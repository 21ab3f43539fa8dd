"""The renderings read back, each by a parser of its own: tables by caption, cells as plain text."""

import re
from html.parser import HTMLParser

import pytest

from runstate_abi.tools.docs import command as docs

MARKS = re.compile(r"\\fB|\\fR|\\fI|\\:|\\&|\\ |\\(?=[-e*_<>\[\]|\\])|[`*]")


def plain(text):
    """Text without any rendering's marks."""
    return " ".join(MARKS.sub("", text.replace("\\e", "\\")).split())


def markdown(text):
    for found in re.finditer(r"^\*(.+)\*\n\n((?:\|.*\n)+)", text, re.M):
        rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in found[2].splitlines()]
        yield found[1], [rows[0], *rows[2:]]


def rst(text):
    for found in re.finditer(
        r"^\.\. list-table:: (.+)\n((?: +:.*\n)+)\n((?:   .*\n)+)", text, re.M
    ):
        rows = []
        for line in found[3].splitlines():
            if line.startswith("   * -"):
                rows.append([])
            rows[-1].append(line[6:])
        yield found[1], rows


class Tables(HTMLParser):
    """Collects (caption, rows)."""

    def __init__(self):
        super().__init__()
        self.found, self.rows, self.text, self.caption = [], [], None, ""

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self.rows = []
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th", "caption"):
            self.text = ""

    def handle_endtag(self, tag):
        if tag == "table":
            self.found.append((self.caption, self.rows))
        elif tag == "caption":
            self.caption = self.text
        elif tag in ("td", "th"):
            self.rows[-1].append(self.text)

    def handle_data(self, data):
        if self.text is not None:
            self.text += data


def html(text):
    parser = Tables()
    parser.feed(text)
    return parser.found


# A table is tbl's, or a list: paragraphs, or lines, with "header: cell" in each.
def man(text):
    begin = r"^(?:\.PP|\.S[HS] .*)\n"
    table = rf"{begin}(.+)\n\.PP\n\.TS\ntab\(@\) nokeep;\n.*\n.*\.\n((?:.*\n)*?)\.TE"
    for found in re.finditer(table, text, re.M):
        yield found[1], [line.split("@") for line in found[2].splitlines()]
    for found in re.finditer(rf"{begin}(.+)\n\.RS\n((?:.*\n)*?)\.RE", text, re.M):
        parts = found[2].split(".TP\n")[1:] or found[2].splitlines()
        rows = [[line for line in part.splitlines() if line != ".br"] for part in parts]
        yield found[1], [[], *filter(None, rows)]


READERS = {"markdown": markdown, "rst": rst, "html": html, "man": man}


@pytest.fixture(scope="session", params=list(docs.FORMATS))
def form(request):
    """Each rendering in turn."""
    return request.param


@pytest.fixture(scope="session")
def page():
    """Return a function: the whole text of a rendering."""
    made = {}

    def text(form):
        if form not in made:
            made[form] = "\n".join(docs.rendered(form)) + "\n"
        return made[form]

    return text


@pytest.fixture(scope="session")
def read_back(page):
    """Return a function: the tables of a rendering, {caption: rows of plain text, header first}."""

    def tables(form):
        found = READERS[form](page(form))
        return {plain(c): [[plain(cell) for cell in row] for row in rows] for c, rows in found}

    return tables
