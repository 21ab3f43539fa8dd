"""The man pages: what man and mandoc make of them on a terminal of 80 columns, date, SEE ALSO."""

import os
import re
import subprocess

import pytest

from runstate_abi.layouts.structs.family_names import MODULES, RUNSTATE
from runstate_abi.tools.docs import command
from runstate_abi.tools.rendering import man
from runstate_abi.tools.rendering.blocks import (
    Bullets,
    Code,
    Document,
    Paragraph,
    Section,
    Table,
)

PAGES = (RUNSTATE, *MODULES)
COLUMNS = 80
DAY = "1700000000"  # 2023-11-14, in UTC


@pytest.fixture(autouse=True)
def no_day(monkeypatch):
    """A machine that builds packages has the variable set."""
    monkeypatch.delenv(man.EPOCH, raising=False)


@pytest.fixture
def written(tmp_path):
    """Return a function that writes lines to a file for a program to read."""

    def write(lines):
        path = tmp_path / "page.7"
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


def shown(path):
    """A page as man shows it."""
    environment = {**os.environ, "MANWIDTH": str(COLUMNS), "LC_ALL": "C.UTF-8", "MANPAGER": "cat"}
    words = ["man", "-l", path]
    return subprocess.run(words, capture_output=True, text=True, env=environment).stdout


def by_mandoc(path):
    words = ["mandoc", "-Tutf8", "-O", f"width={COLUMNS}", path]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return re.sub(".\b", "", done.stdout)


@pytest.mark.needs("man")
@pytest.mark.parametrize("family", PAGES)
def test_man_shows_no_line_wider_than_80_columns(written, family):
    text = shown(written(command.rendered("man", family)))
    assert [line for line in text.splitlines() if len(line) > COLUMNS] == []
    assert "SEE ALSO" in text


@pytest.mark.needs("mandoc")
@pytest.mark.parametrize("family", PAGES)
def test_mandoc_shows_no_line_wider_than_80_columns(written, family):
    text = by_mandoc(written(command.rendered("man", family)))
    assert [line for line in text.splitlines() if len(line) > COLUMNS] == []
    assert "SEE ALSO" in text


@pytest.mark.needs("groff")
@pytest.mark.parametrize("family", PAGES)
def test_groff_has_no_warning(written, tool, family):
    path = written(command.rendered("man", family))
    for width in (78, 80):
        words = ("groff", "-ww", "-man", "-t", "-Tutf8", f"-rLL={width}n", path)
        assert subprocess.run(words, capture_output=True, text=True).stderr == ""


@pytest.mark.needs("mandoc")
@pytest.mark.parametrize("family", PAGES)
def test_mandoc_has_no_warning(written, tool, monkeypatch, family):
    monkeypatch.setenv(man.EPOCH, DAY)  # it warns of a page without a date
    tool("mandoc", "-Tlint", "-Wwarning", written(command.rendered("man", family)))


def the_title(lines):
    (title,) = (line for line in lines if line.startswith(".TH "))
    return title


def test_the_date_is_that_of_the_source_in_utc(monkeypatch):
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    for seconds, day in ((DAY, "2023-11-14"), ("0", "1970-01-01"), ("86399", "1970-01-01")):
        monkeypatch.setenv(man.EPOCH, seconds)
        assert f' 7 "{day}" ' in the_title(command.rendered("man"))


def test_a_page_has_no_date_if_none_is_given(monkeypatch):
    assert ' 7 "" ' in the_title(command.rendered("man"))
    monkeypatch.setenv(man.EPOCH, "")
    assert ' 7 "" ' in the_title(command.rendered("man"))


@pytest.mark.parametrize("wrong", ["yesterday", "-1", "1e9", "1_0", " 5", "1.5", "9" * 15])
@pytest.mark.parametrize("words", [[], ["--family", "all", "-o", "pages"]])
def test_a_wrong_date_is_refused_and_nothing_is_written(
    monkeypatch, runstate, tmp_path, words, wrong
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(man.EPOCH, wrong)
    code, out, err = runstate("docs", "--format", "man", *words)
    assert (code, out, list(tmp_path.iterdir())) == (2, "", [])
    assert f"{man.EPOCH}: {wrong!r} is no number of seconds since 1970" in err


def test_other_renderings_have_no_date(monkeypatch, runstate):
    monkeypatch.setenv(man.EPOCH, "yesterday")
    code, _, err = runstate("docs", "--family", "uapi", "--format", "markdown", "-o", os.devnull)
    assert (code, err) == (0, "")


@pytest.mark.parametrize("family", PAGES)
def test_see_also_is_last_and_names_the_commands_and_the_other_pages(family):
    lines = list(command.rendered("man", family))
    assert lines.count(".SH SEE ALSO") == 1
    named = lines[lines.index(".SH SEE ALSO") + 1 :]
    found = [re.fullmatch(r"\.BR (\S+) (\(\d\))(,?)", line).groups() for line in named]
    pages = [name.replace("\\-", "-") + section for name, section, _ in found]
    others = [f"{name}(7)" for name in PAGES if name != family]
    assert pages == ["pahole(1)", "runstate(1)", "runstate-docs(1)", *others]
    assert [comma for _, _, comma in found] == [",", *[","] * (len(found) - 2), ""]


def document(*blocks, title="Part", pages=("ls(1)",)):
    return Document("page", "Title", "It.", (Section("part", title, blocks),), pages)


def test_a_document_that_has_see_also_gets_no_second_one():
    lines = list(man.lines(document(Paragraph("Text."), title="See also")))
    assert lines.count(".SH SEE ALSO") == 1
    assert ".BR ls (1)" not in lines


def test_a_document_that_names_no_page_has_no_see_also():
    assert ".SH SEE ALSO" not in man.lines(document(Paragraph("Text."), pages=()))


ROW = ("A name", "word " * 30)
BLOCKS = (
    *(Paragraph("Before."), Bullets(("one " * 40, "two")), Paragraph("after bullets")),
    *(Bullets(("one " * 40,) * 11, ordered=True), Paragraph("after numbers")),
    *(Table("caption", ("x", "y"), (ROW, ROW)), Paragraph("after a list")),
    *(Table("caption", ("x", "y"), (ROW, ROW), row_heads=False), Paragraph("after a plain list")),
    *(Table("caption", ("x", "y"), (("a", "b"),)), Paragraph("after a table")),
    *(Code("c", ("code",)), Paragraph("after code")),
)


@pytest.mark.needs("man")
def test_what_follows_a_list_stands_where_the_text_before_it_stood(written):
    text = shown(written(man.lines(document(*BLOCKS))))
    (before,) = re.findall("^( *)Before", text, re.M)
    after = re.findall("^( *)after", text, re.M)
    assert after == [before] * 6
    assert re.findall("^( *)code", text, re.M) == [before + "  "]


@pytest.mark.needs("man")
def test_the_items_of_a_list_hang_behind_their_marks(written):
    text = shown(written(man.lines(document(*BLOCKS))))
    for mark in ("•", "1.", "11."):
        first, second = re.search(rf"^( +{re.escape(mark)} +)one.*\n( +)one", text, re.M).groups()
        assert len(first) == len(second), mark


# A word, and where it may be broken.
# fmt: off
WORDS = (
    ("vcpu_sleep_nosync_locked(),",     "vcpu_sleep_nosync_locked(),"),
    ("(36a85200643e),",                 "(36a85200643e),"),
    ("-EOPNOTSUPP",                     "-EOPNOTSUPP"),
    ("--reader-object",                 "--reader- object"),
    ("xen/include/public/vcpu.h:",      "xen/ include/ public/ vcpu.h:"),
    ("<running,runnable>,",             "<running, runnable>,"),
    ("0123456789" * 5,                  f"{'0123456789' * 4} 0 1 2 3 4 5 6 7 8 9"),
    ("a-b",                             "a-b"),
)
# fmt: on


@pytest.mark.parametrize(("word", "broken"), WORDS)
def test_a_word_is_broken_after_a_mark_and_no_bracket_or_sign_stands_alone(word, broken):
    wide = Table("caption", ("x", "y"), (("name", f"{word} {'word ' * 30}"),))
    (line,) = (line for line in man.block_lines(wide) if line.startswith("y: "))
    assert line[3:].split(" ")[0].replace("\\:", " ").replace("\\-", "-") == broken


@pytest.mark.parametrize("family", PAGES)
def test_no_line_of_code_is_wider_than_a_page_has_room_for(family):
    lines = list(command.rendered("man", family))
    begins = [index for index, line in enumerate(lines) if line == ".nf"]
    assert begins
    for begin in begins:
        for line in lines[begin + 1 : lines.index(".fi", begin)]:
            plain = line.replace("\\-", "-").replace("\\e", "\\").removeprefix("\\&")
            assert len(plain) <= man.CODE_WIDE, line
