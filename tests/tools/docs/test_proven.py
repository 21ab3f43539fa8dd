"""Verdicts of an earlier run: used for the same program alone, and never by --check or --prove."""

import json

import pytest

from runstate_abi.tools import cli
from runstate_abi.tools.docs import deceptions, proven
from runstate_abi.writer.racing.patterns import A_B_A

QUESTION = deceptions.asked(deceptions.THE_64, deceptions.X86, deceptions.NATIVE)
OTHERS = {
    "reader": QUESTION._replace(reader=deceptions.THE_32),
    "model": QUESTION._replace(model=deceptions.WEAK),
    "area": QUESTION._replace(area=deceptions.COMPAT),
    "updates": QUESTION._replace(updates=2),
    "entry times": QUESTION._replace(entry_times=A_B_A),
    "dropped": QUESTION._replace(dropped=("flag",)),
    "writer": QUESTION._replace(writer=deceptions.XEN_VA),
}


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "runstate-abi" / "proven"


@pytest.fixture
def searched():
    return []


@pytest.fixture
def ask(searched):
    def ask(question, says="safe"):
        def proved(question):
            searched.append(question)
            return says

        return proven.verdict(question, proved)

    return ask


def test_what_is_proven_is_searched_for_once(ask, searched, folder):
    for _ in range(2):
        with proven.kept():
            assert ask(QUESTION, "torn") == "torn"
    assert searched == [QUESTION]
    assert len(list(folder.iterdir())) == 1


def test_outside_every_question_is_searched_for(ask, searched, folder):
    with proven.kept():
        ask(QUESTION)
    assert ask(QUESTION, "torn") == "torn"
    assert searched == [QUESTION, QUESTION]


@pytest.mark.parametrize("part", OTHERS)
def test_another_question_has_its_own_verdict(ask, searched, part):
    with proven.kept():
        ask(QUESTION)
        assert ask(OTHERS[part], "torn") == "torn"
    assert searched == [QUESTION, OTHERS[part]]


def test_no_address_is_in_what_names_a_question():
    assert "0x" not in repr((QUESTION.writer.name, *QUESTION[1:]))


def test_another_program_proves_anew(ask, searched, monkeypatch, tmp_path):
    (tmp_path / "room").mkdir()
    module = tmp_path / "room" / "module.py"
    monkeypatch.setattr(proven, "ROOMS", (*proven.ROOMS, tmp_path / "room"))
    for text in ("1", "1", "2"):
        module.write_text(text)
        with proven.kept():
            ask(QUESTION)
    assert len(searched) == 2


def test_the_program_is_the_layouts_the_writer_and_the_page():
    names = {path.name for room in proven.ROOMS for path in room.rglob("*.py")}
    assert {"runstate.py", "interleaving.py", "deceptions.py", "guest.py"} <= names


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": "perhaps"}', "\xff", "[" * 100_000])
def test_what_cannot_be_read_is_proven_anew(ask, searched, folder, text):
    with proven.kept():
        ask(QUESTION)
    (path,) = folder.iterdir()
    path.write_text(text, encoding="latin-1")
    with proven.kept():
        ask(QUESTION)
    assert len(searched) == 2


def test_without_a_folder_every_run_searches(ask, searched, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    for _ in range(2):
        with proven.kept():
            ask(QUESTION)
    assert len(searched) == 2


# With a lie in the place of each verdict it shows where they come from.
def test_docs_uses_what_is_kept_and_to_check_or_to_prove_is_to_search(
    monkeypatch, tmp_path, folder, capsys
):
    monkeypatch.setattr(deceptions, "_proved", lambda question: "torn")
    cli.main(["docs"])
    proved = capsys.readouterr().out
    (path,) = folder.iterdir()
    known = json.loads(path.read_text())
    assert set(known.values()) == {"torn"}
    assert len(known) >= 100
    path.write_text(json.dumps(dict.fromkeys(known, "torn, in bytes")))
    page = tmp_path / "page.md"
    page.write_text(proved)
    assert cli.main(["docs", "--check", str(page)]) == 0
    cli.main(["docs", "--prove"])
    assert capsys.readouterr().out.endswith(proved)
    cli.main(["docs"])
    assert capsys.readouterr().out != proved
