"""The command itself: its help, its exit codes, and that nobody ever sees a traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools import cli, show


def runstate(*words, **options):
    command = [str(Path(sys.executable).with_name("runstate")), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


def test_help_names_every_verb_and_exit_code():
    done = runstate("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"  {verb.name} " in done.stdout for verb in cli.VERBS)
    assert all(f"{code} " in done.stdout for code in (0, 1, 2, 3, 70))


@pytest.mark.parametrize("verb", [verb.name for verb in cli.VERBS])
def test_every_verb_explains_itself(verb):
    done = runstate(verb, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: runstate {verb}")


def test_the_version_is_the_distributions():
    assert runstate("--version").stdout.startswith("runstate 0.")


def test_no_command_is_wrong_usage():
    assert runstate().returncode == 2


def test_an_unknown_command_is_wrong_usage_on_one_line():
    done = runstate("chekc")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "no command 'chekc'" in done.stderr


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
    return subprocess.run(["bash", "-o", "pipefail", "-c", whole], capture_output=True, text=True)


@pytest.mark.parametrize("command", ["--help", "show --json", "check --help"])
def test_a_closed_pipe_is_quiet(command):
    done = shell(f"runstate {command} | true")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_closed_output_is_said():
    done = shell("runstate show >&-")
    assert (done.returncode, done.stderr) == (3, "runstate: standard output is closed\n")


def test_a_full_disk_is_said():
    done = shell("runstate show > /dev/full")
    assert (done.returncode, done.stderr) == (3, "runstate: No space left on device\n")


@pytest.mark.parametrize("command", ["hexdump -", "find -", "replay -"])
def test_a_closed_input_is_no_internal_error(command):
    done = shell(f"runstate {command} <&-")
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
