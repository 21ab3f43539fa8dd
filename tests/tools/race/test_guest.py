"""A guest's compiled reader: what is told of it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from runstate_abi.tools.cli import main

README = Path(__file__).parents[3] / "README.md"
GCC = "12"  # which compiler the README shows


def told(capsys, path, function, *more):
    code = main(["race", "--reader-object", f"{path}:{function}", *more])
    return code, capsys.readouterr().out


# The wrong line, from the number of it that its comment gives.
def line_of(data, function):
    lines = (data / "readers" / "readers.c").read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if re.search(rf"\b{function}\(.*\)$", line))
    return next(n for n in range(start, len(lines)) if "/* wrong" in lines[n]) + 1


@pytest.mark.parametrize("function", ["late_time", "early_state"])
def test_a_table_ends_with_the_first_torn_answer_and_its_line(capsys, guest_code, data, function):
    pytest.importorskip("drgn")
    code, out = told(capsys, guest_code("gcc", "-O1", "-g"), function)
    assert code == 1
    table, _, words = out.partition("\n\ntorn: ")
    assert table.endswith("13 questions: 0 safe, 13 torn")
    assert words.startswith(f"{function} accepts from upstream what was never true\n")
    loaded = r"\) is loaded (after its last|before its first) load"
    assert re.search(rf"readers\.c:{line_of(data, function)}{loaded}", " ".join(words.split()))
    end = "  - native at 0x1100; all of the execution: --variant upstream --at 0x1100"
    assert words.splitlines()[-1] == end


def test_a_table_of_safe_answers_ends_with_their_number(capsys, guest_code):
    code, out = told(capsys, guest_code("gcc", "-O1", "-g"), "sound")
    assert code == 0
    assert out.endswith("\n13 questions: 13 safe, 0 torn\n")


def test_json_has_the_answers_and_no_words(capsys, guest_code):
    code, out = told(capsys, guest_code("gcc", "-O1", "-g"), "late_time", "--json")
    assert code == 1
    assert {one["reader"] for one in json.loads(out)["answers"]} == {"late_time"}


def test_a_signature_that_was_guessed_is_said(capsys, guest_code):
    for flags, said in ((("-O1",), True), (("-O1", "-g"), False)):
        assert main(["race", "--reader-object", f"{guest_code('gcc', *flags)}:calls"]) == 3
        hint = "without debug info it is taken for 'int f(const void *area, void *result)'"
        assert (hint in capsys.readouterr().err) == said


def test_without_memory_it_is_not_followed_and_not_torn(guest_code):
    """The engine would end the process with 1, which is torn."""
    words = [sys.executable, "-m", "runstate_abi", "race"]
    words += ["--reader-object", f"{guest_code('gcc', '-O1', '-g')}:sound"]
    limited = ["sh", "-c", 'ulimit -v 1048576; exec "$@"', "sh", *words]
    done = subprocess.run(limited, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (3, "")
    assert ": the emulator needs 1040 MiB of address space" in done.stderr


def test_a_recording_is_not_read_by_code(capsys, guest_code):
    words = ["--reader-object", f"{guest_code('gcc', '-O1')}:sound", "--recorded", "x"]
    assert main(["race", *words]) == 2
    assert "no --reader-object" in capsys.readouterr().err


def test_the_readme_shows_what_is_printed(capsys, guest_code):
    """But for the code's addresses, which are the compiler's."""
    pytest.importorskip("drgn")
    version = subprocess.run(["gcc", "-dumpversion"], capture_output=True, text=True).stdout
    if version.partition(".")[0].strip() != GCC:
        pytest.skip(f"gcc {version.strip()} is newer or older than {GCC}, and moves other loads")
    section = README.read_text().partition("/^void plain/,/^}/p")[2].partition("```")[0]
    source, rest = section.partition("\n")[2].split("$ gcc", 1)
    text = (README.parent / "tests" / "data" / "readers" / "readers.c").read_text()
    assert source in text
    code, out = told(capsys, guest_code("gcc", "-g", "-O1"), "plain")
    assert code == 0
    assert out.splitlines()[-1] in rest.splitlines()
    code, out = told(capsys, guest_code("gcc", "-g", "-O2"), "plain")
    assert code == 1
    shown, printed = (
        re.sub(r"\+0x[0-9a-f]+ *", "", " ".join(words[words.index("\ntorn:") :].split()))
        for words in (rest, out)
    )
    assert shown == printed
