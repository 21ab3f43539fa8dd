"""What people see: stdout, stderr and exit code of about 60 commands, as golden text.

A file of tests/golden/commands/ holds commands behind ``$ ``, each followed by what it printed and,
in brackets, how it exited. ``RUNSTATE_RECORD=1 python -m pytest tests/test_commands.py`` writes the
files anew from the commands in them; ``git diff`` is then the review.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILES = sorted((HERE / "golden" / "commands").glob("*.txt"))

# What differs between machines and not between versions of the program.
UNSTEADY = (
    (re.compile(r"\b\d+(\.\d+)? (s|MB/s)\b"), "N s"),  # how long it took
    (re.compile(r"(?m)^runstate \d+\.\d+\S*$"), "runstate VERSION"),
    (re.compile(r'"python": "[\d.]+\w*"'), '"python": "VERSION"'),
    # argparse quotes the choices up to Python 3.11 and no longer.
    (re.compile(r"\(choose from [^)]*\)"), lambda found: found[0].replace("'", "")),
)


def commands(text):
    """Return the commands of a golden file, and the comment lines that each begins with."""
    found, comment = [], []
    for line in text.splitlines():
        if line.startswith("# "):
            comment.append(line)
        elif line.startswith("$ "):
            found.append((tuple(comment), line[2:]))
            comment = []
    return found


def said(command):
    """Run one command in the folder of test data: its text in a golden file."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "COLUMNS": "80", "LC_ALL": "C.UTF-8"}
    environment["SOURCE_DATE_EPOCH"] = ""  # the date of a man page
    done = subprocess.run(
        ["sh", "-c", command], cwd=HERE / "data", env=environment, capture_output=True, text=True,
        stdin=subprocess.DEVNULL, timeout=120,
    )  # fmt: skip
    errors = "".join(f"stderr: {line}\n" for line in done.stderr.splitlines())
    text = f"{done.stdout}{errors}[exit {done.returncode}]\n"
    for pattern, replacement in UNSTEADY:
        text = pattern.sub(replacement, text)
    # A line that begins like a command or a comment would be read as one.
    return "".join(
        f"  {line}" if line.startswith(("$ ", "# ")) else line for line in text.splitlines(True)
    )


def recorded(path):
    """Return a golden file made anew from the commands in it."""
    blocks = (
        "".join(f"{line}\n" for line in comment) + f"$ {command}\n{said(command)}"
        for comment, command in commands(path.read_text())
    )
    return "\n".join(blocks)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_commands_say_what_they_said(path):
    now = recorded(path)
    if os.environ.get("RUNSTATE_RECORD"):
        path.write_text(now)
    assert now == path.read_text()


# argparse writes "-o FILE, --output FILE" up to Python 3.12 and "-o, --output FILE" since.
def steady(text):
    return " ".join(re.sub(r"(-\w) [A-Z][A-Z0-9:=,]*, --", r"\1, --", text).split())


def test_help_says_what_it_said():
    from runstate_abi.tools import cli

    path = HERE / "golden" / "help.txt"
    verbs = [verb.name for verb in cli.VERBS]
    lines = ["runstate --help", *(f"runstate {verb} --help" for verb in verbs)]
    now = "\n".join(f"$ {line}\n{said(line)}" for line in lines)
    if os.environ.get("RUNSTATE_RECORD"):
        path.write_text(now)
    assert steady(now) == steady(path.read_text())
