"""Text that looks like a mark of some rendering comes through each of them as it is."""

import html as html_library
import os
import re
import subprocess

import pytest

from runstate_abi.tools.rendering import html, man, markdown, rst
from runstate_abi.tools.rendering.blocks import (
    Bullets,
    Code,
    Document,
    Note,
    Paragraph,
    Section,
    Table,
)

# fmt: off
NASTY = (
    "a < b && c > d",
    r"a back\slash and \fB and \\",
    "2 * 3 * 4 and RUNSTATE_* and *p",
    "a|b | c",
    "name_ and _name and __name__ and a_b",
    "array[4] [link](place) [key]_",
    ".SH is no heading",
    "'quoted' at the start",
    "it's - well -- a 'matter' of \"taste\"",
    "one (two)s",
    "<b>bold</b> and a*b*c",
    "|sub| and `",
)
# fmt: on
CODE = ("if (a < b && *p)", "\treturn 'x' \\ 2;", ".not a macro", "``double`` |ticks|")


def document():
    cells = tuple((text, text) for text in NASTY)
    blocks = (
        *map(Paragraph, NASTY),
        Bullets(NASTY),
        Note("Look.", NASTY[1]),
        Code("c", CODE),
        Table("A caption: a_ * b", ("x_", "y"), cells),
        Paragraph("`code_` and `*p`s and re`x` and *words* (`x`)."),
    )
    return Document("nasty", "A * title", "A summary.", (Section("part", "Part", blocks),))


def flat(text):
    return " ".join(text.split())


def of_html():
    text = re.sub(r"(?s)<style>.*</style>", "", "\n".join(html.lines(document())))
    return html_library.unescape(re.sub(r"<[^>]*>", " ", text).replace("&nbsp;", " "))


def of_markdown():
    library = pytest.importorskip("markdown_it", reason="markdown-it-py: not installed")
    made = library.MarkdownIt("gfm-like", {"linkify": False}).render(
        "\n".join(markdown.lines(document()))
    )
    return html_library.unescape(re.sub(r"</?[a-z][^>]*>", " ", made))


def of_rst():
    core = pytest.importorskip("docutils.core", reason="docutils: not installed")
    settings = {"report_level": 2, "halt_level": 2, "syntax_highlight": "none"}
    text = "\n".join(rst.lines(document()))
    tree = core.publish_doctree(text, settings_overrides=settings)
    return tree.astext()


def of_man():
    words = ["man", "-l", "--warnings", "-"]
    text = "\n".join(man.lines(document())) + "\n"
    environment = {**os.environ, "MANWIDTH": "120", "LC_ALL": "C.UTF-8", "MANPAGER": "cat"}
    done = subprocess.run(words, input=text, capture_output=True, text=True, env=environment)
    assert done.stderr == ""
    return done.stdout.replace("’", "'").replace("‘", "'")


@pytest.mark.parametrize("shown", [of_html, of_markdown, of_rst, of_man])
def test_nasty_text_comes_through(tool, shown):
    if shown is of_man:
        tool("man", "--version")
    text = flat(shown())
    for nasty in NASTY:
        # In paragraph, list and twice in the table.
        assert text.count(flat(nasty)) >= 4, nasty
    for line in CODE:
        assert flat(line) in text, line
    assert "code_" in text
    assert "A caption: a_ * b" in text
    marked = text[text.rindex("code_") :]
    assert re.sub(r"\s", "", marked).startswith("code_and*psandrexandwords(x).")
