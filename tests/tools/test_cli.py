"""The command itself: its help, its exit codes, and that nobody ever sees a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools import cli
from runstate_abi.tools.compare import show
from runstate_abi.tools.packaging import pages as manual


def runstate(*words, **options):
    command = [str(Path(sys.executable).with_name("runstate")), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


def test_help_names_every_verb_and_exit_code():
    done = runstate("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"  {verb.name} " in done.stdout for verb in cli.VERBS)
    assert all(f"\n  {code} " in done.stdout for code in (0, 1, 2, 3, 70))


def test_help_says_what_the_exit_codes_of_race_mean():
    assert "race exits 1 if an answer is torn" in cli.usage()


@pytest.mark.parametrize("word", ["help", "-h", "--help"])
def test_help_of_a_command_is_the_commands(word):
    assert runstate(word, "write").stdout == runstate("write", "--help").stdout


@pytest.mark.parametrize("words", [["help"], ["help", "help"], ["-h"]])
def test_help_of_nothing_is_the_whole_help(words):
    assert runstate(*words).stdout == cli.usage() + "\n"


def test_help_of_an_unknown_command_is_wrong_usage():
    done = runstate("help", "chekc")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


@pytest.mark.parametrize("verb", [verb.name for verb in cli.VERBS])
def test_every_verb_explains_itself(verb):
    done = runstate(verb, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: runstate {verb}")


def test_the_version_is_the_distributions():
    assert runstate("--version").stdout.startswith("runstate 0.")
    assert runstate("-V").stdout == runstate("--version").stdout


@pytest.mark.parametrize("verb", [verb.name for verb in cli.VERBS])
def test_wrong_usage_of_any_command_is_one_line(verb, capsys):
    assert cli.main([verb, "--no\nsuch"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"runstate {verb}: error: ")
    assert err.endswith(f" (try: runstate {verb} --help)\n")


@pytest.mark.parametrize("verb", cli.VERBS, ids=[verb.name for verb in cli.VERBS])
def test_a_help_is_for_users(verb):
    text = manual.parser_of(verb).format_help()
    assert "``" not in text
    assert "Law of" not in text


def test_no_command_is_wrong_usage():
    done = runstate()
    assert (done.returncode, done.stdout, done.stderr) == (2, "", cli.usage() + "\n")


def test_an_unknown_command_is_wrong_usage_on_one_line():
    done = runstate("chekc")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "no command 'chekc': did you mean check?" in done.stderr


def test_an_uncaught_exception_is_exit_70_and_one_line(monkeypatch, capsys):
    def broken(argv):
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(show, "main", broken)
    assert cli.main(["show"]) == 70
    error = capsys.readouterr().err
    assert error.startswith("runstate: internal error: RuntimeError: two lines (set RUNSTATE_TRACE")
    assert error.count("\n") == 1


def test_a_witness_that_escapes_is_exit_3(monkeypatch, capsys):
    def unreadable(argv):
        raise WitnessError("vmlinux: truncated")

    monkeypatch.setattr(show, "main", unreadable)
    assert cli.main(["show"]) == 3
    assert capsys.readouterr().err == "runstate: vmlinux: truncated\n"


def shell(command):
    whole = command.replace("runstate", str(Path(sys.executable).with_name("runstate")), 1)
    # With buffers, as a user's shell has them: without, a reader may go in the middle of a help.
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", whole], capture_output=True, text=True, env=buffered
    )


@pytest.mark.parametrize("command", ["--help", "show --json", "check --help"])
def test_a_closed_pipe_is_quiet(command):
    done = shell(f"runstate {command} | true")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_reader_that_goes_before_the_answer_is_known_leaves_no_zero(monkeypatch):
    def gone(argv):
        raise BrokenPipeError

    monkeypatch.setattr(show, "main", gone)
    assert cli.main(["show"]) == 141


def test_an_answer_that_is_known_stays_when_the_reader_goes():
    done = shell("runstate diff native compat | true")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_a_closed_output_is_said():
    done = shell("runstate show >&-")
    assert (done.returncode, done.stderr) == (3, "runstate: standard output is closed\n")


@pytest.mark.parametrize(
    "command", ["runstate show", "PYTHONUNBUFFERED=1 runstate show", "runstate docs"]
)
def test_a_full_disk_is_said_once(command):
    done = shell(f"{command} > /dev/full")
    assert (done.returncode, done.stderr) == (3, "runstate: No space left on device\n")


@pytest.mark.parametrize("command", ["hexdump -", "find -"])
def test_a_closed_input_is_no_internal_error(command):
    # Python's own start may have opened something there: what is read then is nobody's memory.
    done = shell(f"runstate {command} <&-")
    assert done.returncode in (1, 2, 3)
    assert done.stderr.count("\n") == 1
