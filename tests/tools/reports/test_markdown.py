"""Markdown that a Markdown parser reads as a table, and that never exceeds what GitHub takes."""

import pytest
from markdown_it import MarkdownIt

from runstate_abi.tools.reports import markdown

HEADINGS = {0: "all compared and equal", 1: "there are differences", 3: "could be checked"}


def tokens(text):
    return MarkdownIt().enable("table").parse(text)


def test_the_heading_is_the_verdict(verdict):
    findings, code = verdict
    assert HEADINGS[code] in markdown.render(findings).splitlines()[0]


def test_every_result_is_a_row_of_the_table(verdict):
    findings, _ = verdict
    rows = [t for t in tokens(markdown.render(findings)) if t.type == "tr_open"]
    from runstate_abi.tools.reports.results import results

    assert len(rows) == 1 + len(results(findings))


def test_a_name_cannot_add_a_column(findings):
    text = markdown.render([findings.equal._replace(source="a|b|c `d` <e> *f*")])
    cells = [t for t in tokens(text) if t.type == "td_open"]
    assert len(cells) == 5
    (shown,) = [t.content for t in tokens(text) if t.type == "inline" and "d" in t.content][-1:]
    assert shown == "a|b|c \\`d\\` &lt;e> \\*f\\*"


def test_a_failure_comes_first_and_has_its_line(findings):
    text = markdown.render([findings.equal, findings.different])
    first = text.splitlines()[6]
    assert first.startswith("| **differs** | gcc -m32 |")
    assert f"\n{findings.difference}\n" in text


@pytest.mark.parametrize("count", [1, 20000])
def test_it_is_never_too_long_and_says_what_was_left_out(findings, count):
    text = markdown.render([findings.equal] * count + [findings.different])
    assert len(text.encode()) < 1 << 20
    assert ("lines were left out." in text) == (count > 1)
    assert "| **differs** |" in text
