"""Two threads on two CPUs: what the model says must not happen does not, what it says can does."""

import os
import re
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "race.c"
# Bounds for a busy machine, on which one of the two threads may wait long: 5 s are usual.
SECONDS = 90
ACCEPTS, UPDATES, FIRST_TORN = 2_000_000, 20_000, 0
# Where in a page state_entry_time begins: aligned, and in two cache lines.
ALIGNED, LINE = 8, 60


@pytest.fixture(scope="session")
def program(tmp_path_factory, installed):
    """The program, built here; skipped where it could not mean anything."""
    if os.uname().machine != "x86_64" or len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two CPUs of an x86-64 machine")
    installed("gcc")
    path = tmp_path_factory.mktemp("concurrent") / "race"
    command = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", path, SOURCE]
    subprocess.run(command, check=True)
    return path


def run(program, mode, offset, accepts):
    done = subprocess.run(
        [program, mode, str(offset), str(accepts), str(UPDATES), str(SECONDS)],
        capture_output=True,
        text=True,
        check=True,
    )
    names = re.fullmatch(r"accepts (\d+) torn (\d+) updates (\d+)\n", done.stdout)
    return tuple(map(int, names.groups()))


@pytest.mark.parametrize("offset", [ALIGNED, LINE])
def test_the_byte_store_lets_nothing_torn_be_accepted_two_million_times(program, offset):
    accepts, torn, updates = run(program, "byte", offset, ACCEPTS)
    assert torn == 0
    assert accepts >= ACCEPTS
    assert updates >= UPDATES


def test_without_the_flag_torn_copies_are_accepted(program):
    accepts, torn, _ = run(program, "none", ALIGNED, FIRST_TORN)
    assert torn > 0, f"none of {accepts}"


def test_an_8_byte_set_across_a_cache_line_lets_torn_copies_be_accepted(program):
    accepts, torn, _ = run(program, "eight", LINE, FIRST_TORN)
    assert torn > 0, f"none of {accepts}"
