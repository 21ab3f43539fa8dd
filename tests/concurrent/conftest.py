"""Programs of two threads, and what they count."""

import os
import re
import subprocess
from pathlib import Path

import pytest

# A bound for a busy machine, on which one of the two threads may wait long: 5 s are usual.
SECONDS = 90


@pytest.fixture(scope="session")
def program(tmp_path_factory, installed):
    """Return a function: a source here -> the program, skipped where it could not mean anything.

    On one CPU the threads take turns, and on another machine than x86-64 the stores and loads of
    the source are other ones.
    """
    if os.uname().machine != "x86_64" or len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two CPUs of an x86-64 machine")
    installed("gcc")
    folder = tmp_path_factory.mktemp("concurrent")

    def build(source):
        path = folder / Path(source).stem
        command = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", path]
        subprocess.run([*command, Path(__file__).parent / source], check=True)
        return path

    return build


@pytest.fixture(scope="session")
def counts():
    """Return a function: a program, its arguments -> accepted copies, torn ones, updates."""

    def run(*words):
        command = [*map(str, words), str(SECONDS)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        names = re.fullmatch(r"accepts (\d+) torn (\d+) updates (\d+)\n", done.stdout)
        return tuple(map(int, names.groups()))

    return run
