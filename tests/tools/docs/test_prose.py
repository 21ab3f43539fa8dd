"""Reading the prose: each mark becomes its block, and what nobody makes is an error."""

import pytest

from runstate_abi.tools.docs import prose
from runstate_abi.tools.rendering.blocks import (
    Bullets,
    Code,
    Note,
    Paragraph,
    Section,
    marked,
    plain,
)

TEXT = """# A title

First line
second line with {n.size} bytes.

- one
  goes on
- two

{{program}}

! Careful: it bites.

## A part

1. a
2. b
"""


def section(text, pieces=None, words=None):
    made = {"program": (Code("c", ("int x;",)),)} if pieces is None else pieces
    numbers = {"n.size": "48"} if words is None else words
    return prose.section("name", text, made, numbers, {"other": "Another section"})


def test_each_mark_becomes_its_block():
    assert section(TEXT) == Section(
        "name",
        "A title",
        (
            Paragraph("First line second line with 48 bytes."),
            Bullets(("one goes on", "two")),
            Code("c", ("int x;",)),
            Note("Careful.", "it bites."),
            Section("name-a-part", "A part", (Bullets(("a", "b"), ordered=True),)),
        ),
    )


@pytest.mark.parametrize("text", ["# T\n\n{{nobody}}", "# T\n\n{no.word}", "# T\n\n[[nowhere]]"])
def test_what_nobody_makes_is_an_error(text):
    with pytest.raises(KeyError):
        section(text)


def test_a_link_has_the_title_of_its_section():
    (paragraph,) = section("# T\n\nsee [[other]].").blocks
    found = [span for span in marked(paragraph.text) if span.mark == "link"]
    assert [(span.text, span.target) for span in found] == [("Another section", "other")]


def test_a_table_is_paragraphs_of_cells():
    table = prose.table(
        "# Caption\na | b | c\n\nx\n| {n.size}\n|\n\ny\n| two\nlines\n| 3\n", {"n.size": "48"}
    )
    assert table.header == ("a", "b", "c")
    assert table.rows == (("x", "48", ""), ("y", "two lines", "3"))


def test_a_row_with_a_cell_too_few_is_refused():
    with pytest.raises(ValueError, match="has not the header's columns"):
        prose.table("# Caption\na | b\n\nx\n", {})


# fmt: off
MARKED = (
    ("`int *x` is code",    [("code", "int *x"), ("", " is code")]),
    ("a *b c* d",           [("", "a "), ("emphasis", "b c"), ("", " d")]),
    ("2 * 3 * 4",           [("", "2 * 3 * 4")]),
    ("RUNSTATE_* and x*y*", [("", "RUNSTATE_* and x*y*")]),
    ("so it is [^time.c]",  [("", "so it is "), ("cite", "time.c")]),
    ("time[4] [a]",         [("", "time[4] [a]")]),
)
# fmt: on


@pytest.mark.parametrize(("text", "expected"), MARKED)
def test_text_is_cut_at_its_marks(text, expected):
    assert [(span.mark, span.text) for span in marked(text)] == expected
    assert plain(text) == "".join(part for _, part in expected)
