import io
import sys

import pytest

from runstate_abi.tools import output
from runstate_abi.tools.output import Ink

LINES = [(Ink("plain "), Ink("flag", "flag"), Ink(" both", "time1 changed"))]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def _no_wishes(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


def written(choice, stream):
    output.write(LINES, choice, stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("choice", "stream", "env", "colour"),
    [
        ("auto", io.StringIO, {}, False),
        ("auto", Terminal, {}, True),
        ("auto", Terminal, {"NO_COLOR": "1"}, False),
        ("auto", Terminal, {"TERM": "dumb"}, False),
        ("auto", io.StringIO, {"FORCE_COLOR": "1"}, True),
        ("auto", io.StringIO, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ("always", io.StringIO, {"NO_COLOR": "1"}, True),
        ("never", Terminal, {"FORCE_COLOR": "1"}, False),
    ],
)
def test_colour_is_where_it_is_wanted(choice, stream, env, colour, monkeypatch):
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert ("\x1b[" in written(choice, stream())) == colour


def test_without_colour_there_is_the_text_and_nothing_else():
    assert written("never", io.StringIO()) == "plain flag both\n"


def test_every_style_is_one_that_rich_knows():
    from rich.style import Style

    for name, text in output.STYLES.items():
        assert Style.parse(text), name


def drawn(monkeypatch, stream):
    """What a bar that is half done and whole writes to standard error."""
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(output, "BAR_EVERY_S", 0)
    with output.Bar(100, "searching") as bar:
        bar.advance(50)
        bar.advance(50, "found")
    return stream.getvalue()


def test_a_bar_is_for_terminals(monkeypatch):
    monkeypatch.setattr(output, "BAR_AFTER_S", 0)
    assert drawn(monkeypatch, io.StringIO()) == ""
    text = drawn(monkeypatch, Terminal())
    assert "searching" in text
    assert " 50%" in text
    assert "found" in text
    assert "100%" in text


def test_a_bar_waits_for_what_takes_long(monkeypatch):
    assert drawn(monkeypatch, Terminal()) == ""


WIDE = (Ink("  a word ", "dim"), Ink("and many more words that do not fit", "state"))


def test_a_line_that_is_too_wide_goes_on_further_in_on_a_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    stream = Terminal()
    output.write([WIDE], "never", stream)
    assert stream.getvalue() == ("  a word and many\n    more words that\n    do not fit\n")


def test_nothing_is_folded_in_a_file_and_no_command_anywhere(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    file, stream = io.StringIO(), Terminal()
    output.write([WIDE], "never", file)
    output.write([(Ink("runstate hexdump a-file --gpa 0x1000", "command"),)], "never", stream)
    assert file.getvalue() == "  a word and many more words that do not fit\n"
    assert stream.getvalue() == "runstate hexdump a-file --gpa 0x1000\n"


def test_a_word_longer_than_the_terminal_is_cut_and_nothing_is_lost(monkeypatch):
    monkeypatch.setenv("COLUMNS", "8")
    stream = Terminal()
    output.write([(Ink("x" * 30),)], "never", stream)
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) == 8
    assert "".join(line.strip() for line in lines) == "x" * 30
