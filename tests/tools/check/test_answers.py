"""Answers are kept by content: the same bytes are not read again, and anything else is."""

import json
import os
import shutil
from pathlib import Path

import pytest

from runstate_abi.layouts.abi import I386, X86_64
from runstate_abi.layouts.findings import Finding, NotChecked
from runstate_abi.layouts.model import Difference
from runstate_abi.layouts.structs import runstate
from runstate_abi.layouts.structs.runstate import COMPAT, NATIVE
from runstate_abi.layouts.witnesses import survey
from runstate_abi.layouts.witnesses.kernels import Settings
from runstate_abi.tools.check import fleet as answers_module
from runstate_abi.tools.check.fleet import Answers, relabelled
from runstate_abi.tools.kept import default_folder

SETTINGS = Settings()


@pytest.fixture
def kernel(tmp_path):
    path = tmp_path / "vmlinux"
    path.write_bytes(b"kernel")
    os.utime(path, (1e9, 1e9))
    return str(path)


@pytest.fixture
def answers(tmp_path):
    return Answers(str(tmp_path / "cache"))


def finding(path):
    """A Finding with something in every field."""
    claims = {NATIVE.name: NATIVE, COMPAT.name: COMPAT}
    evaluations = survey.evaluate_what_is_there(claims.values(), "x86_64", {})
    difference = Difference("size-mismatch", "s", "", "x86_64", "1", "2", f"{path}: ELF")
    return Finding(
        "btf", f"{path}: ELF", "x86_64", True, (NATIVE, COMPAT), 26, (difference,),
        ("alignment",), evaluations, (NotChecked("x", f"not in {path}", True),), ("a note",), path,
    )  # fmt: skip


def test_an_answer_comes_back_as_it_was(answers, kernel):
    key = answers.key([kernel], SETTINGS)
    answers.put(key, [kernel], [finding(kernel)])
    assert answers.get(key, [kernel]) == [finding(kernel)]


def test_the_same_bytes_elsewhere_have_the_same_answer_about_their_own_path(answers, kernel):
    answers.put(answers.key([kernel], SETTINGS), [kernel], [finding(kernel)])
    other = f"{kernel}.copy"
    shutil.copy(kernel, other)
    assert answers.get(answers.key([other], SETTINGS), [other]) == [finding(other)]


def test_a_name_that_makes_it_a_tarball_is_another_question(answers, kernel):
    shutil.copy(kernel, f"{kernel}.tar")
    assert answers.key([f"{kernel}.tar"], SETTINGS) != answers.key([kernel], SETTINGS)


def test_other_bytes_and_other_questions_have_none(answers, kernel, tmp_path):
    keys = {answers.key([kernel], SETTINGS)}
    keys.add(answers.key([kernel], SETTINGS._replace(abi=I386)))
    keys.add(answers.key([kernel], SETTINGS._replace(abi=X86_64)))
    keys.add(answers.key([kernel], SETTINGS._replace(allowed=frozenset(["btf"]))))
    keys.add(answers.key([kernel], SETTINGS._replace(btf_base=kernel)))
    keys.add(answers.key([kernel, kernel], SETTINGS))
    (tmp_path / "vmlinux").write_bytes(b"other!")
    keys.add(answers.key([kernel], SETTINGS))
    assert len(keys) == 7


@pytest.mark.parametrize("file", ["layouts/new.py", "check/goldens.py", "fleet.py"])
def test_a_changed_file_of_the_program_asks_again(answers, kernel, monkeypatch, tmp_path, file):
    house = [tmp_path / old.name for old in answers_module.ROOMS]
    for old, new in zip(answers_module.ROOMS, house, strict=True):
        shutil.copytree(old, new, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(answers_module, "ROOMS", tuple(house))
    shared = [shutil.copy(old, tmp_path) for old in answers_module.MODULES]
    monkeypatch.setattr(answers_module, "MODULES", tuple(map(Path, shared)))
    key = Answers(str(answers.folder)).key([kernel], SETTINGS)
    assert key == answers.key([kernel], SETTINGS)
    with open(tmp_path / file, "a") as changed:
        changed.write("# changed\n")
    assert Answers(str(answers.folder)).key([kernel], SETTINGS) != key


def test_a_changed_claim_asks_again(answers, kernel, monkeypatch):
    key = answers.key([kernel], SETTINGS)
    wrong = runstate.CLAIMS["x86_64"]._replace(native=COMPAT)
    monkeypatch.setitem(runstate.CLAIMS, "x86_64", wrong)
    assert Answers(str(answers.folder)).key([kernel], SETTINGS) != key


def test_a_file_that_has_been_hashed_is_not_read_again(answers, kernel, monkeypatch):
    monkeypatch.setattr(answers_module, "SETTLED_S", -1)
    first = answers.hash(kernel)
    assert (answers.folder / "hashes").is_dir()
    monkeypatch.setattr("hashlib.file_digest", None)
    assert answers.hash(kernel) == first


def test_a_file_that_was_just_written_is_hashed_again(answers, tmp_path):
    path = tmp_path / "new"
    path.write_bytes(b"1")
    answers.hash(str(path))
    assert not (answers.folder / "hashes").exists()


def test_a_file_that_is_not_there_has_no_key(answers, tmp_path):
    assert answers.key([str(tmp_path / "nowhere")], SETTINGS) is None


BROKEN = [
    "",
    "{",
    "[]",
    '["", 1]',
    '["Finding"]',
    '["nosuch", 1]',
    '["", ["Layout", 1]]',
    "[[",
    "1",
]


@pytest.mark.parametrize("text", BROKEN)
def test_an_answer_that_cannot_be_read_is_none(answers, kernel, text):
    key = answers.key([kernel], SETTINGS)
    answers.put(key, [kernel], [finding(kernel)])
    (answers.folder / "answers" / key).write_text(text)
    assert answers.get(key, [kernel]) is None


def test_an_answer_is_data_and_no_more(answers, kernel):
    key = answers.key([kernel], SETTINGS)
    answers.put(key, [kernel], [finding(kernel)])
    json.loads((answers.folder / "answers" / key).read_text())


def test_a_folder_that_cannot_be_written_is_no_error(kernel):
    answers = Answers("/proc/nowhere")
    key = answers.key([kernel], SETTINGS)
    answers.put(key, [kernel], [finding(kernel)])
    assert answers.get(key, [kernel]) is None


def test_the_folder_is_the_users_cache(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_folder() == "/somewhere/runstate-abi"


def test_a_path_that_begins_another_is_not_taken_for_it():
    seen = relabelled(finding("/tmp/10"), {"/tmp/1": "one", "/tmp/10": "ten"})
    assert (seen.path, seen.source) == ("ten", "ten: ELF")
