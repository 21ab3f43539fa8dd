"""runstate docs: the verb, and the page that is committed; what it says is read in document/."""

from pathlib import Path

import pytest

from runstate_abi.tools.docs import command as docs

GOLDEN = Path(__file__).parents[2] / "golden" / "runstate.md"


def test_the_committed_page_is_what_the_tables_say_today(capsys):
    assert docs.main(["--check", str(GOLDEN)]) == 0
    assert capsys.readouterr().out == ""


def test_a_stale_page_is_exit_1_and_a_short_diff(tmp_path, capsys):
    stale = tmp_path / "runstate.md"
    stale.write_text(
        GOLDEN.read_text().replace("| `sizeof` |  | 48 | 44 |", "| `sizeof` |  | 48 | 48 |")
    )
    assert docs.main(["--check", str(stale)]) == 1
    said = capsys.readouterr()
    assert "-| `sizeof` |  | 48 | 48 |  |" in said.out
    assert "+| `sizeof` |  | 48 | 44 |  |" in said.out
    assert len(said.out.splitlines()) < 10
    assert "is stale: runstate docs --format markdown" in said.err


@pytest.mark.parametrize("form", list(docs.FORMATS))
def test_a_page_that_was_written_is_not_stale(form, tmp_path):
    path = str(tmp_path / "page")
    assert docs.main(["--format", form, "-o", path]) == 0
    assert docs.main(["--format", form, "--check", path]) == 0


@pytest.mark.parametrize(
    ("name", "form"),
    [("a.html", "html"), ("a.md", "markdown"), ("a.rst", "rst"), ("a.7", "man"), ("a", "markdown")],
)
def test_a_file_s_name_says_its_format(name, form, tmp_path):
    path = tmp_path / name
    assert docs.main(["-o", str(path)]) == 0
    assert path.read_text() == "\n".join(docs.rendered(form)) + "\n"
    assert docs.main(["--check", str(path)]) == 0


def test_the_format_that_was_asked_for_wins_over_the_name(tmp_path):
    path = str(tmp_path / "a.html")
    assert docs.main(["--format", "man", "-o", path]) == 0
    assert docs.main(["--format", "man", "--check", path]) == 0
    assert docs.main(["--check", path]) == 1


def test_a_dash_is_stdout(capsys):
    assert docs.main(["--format", "man", "-o", "-"]) == 0
    assert capsys.readouterr().out.startswith("'\\\" t\n.TH RUNSTATE 7")


def test_no_such_format_is_wrong_usage():
    with pytest.raises(SystemExit) as stopped:
        docs.main(["--format", "troff"])
    assert stopped.value.code == 2
