"""Two threads on two CPUs: a reader of the version protocol, and readers that leave a check out."""

import os
import re
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "version.c"
# A bound for a busy machine, on which one of the two threads may wait long: less than 1 s is usual.
SECONDS = 90
FIRST_TORN = 0
# As many updates as accepted copies, so that the writer is at work while the reader reads.
SHORT, LONG = 2_000_000, 10_000_000
# Where in a page the struct begins: in one cache line, in two, and with its first word in both.
ALIGNED, TWO_LINES, SPLIT_WORD = 0, 48, 60


@pytest.fixture(scope="session")
def program(tmp_path_factory, installed):
    """The program, built here; skipped where it could not mean anything."""
    if os.uname().machine != "x86_64" or len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two CPUs of an x86-64 machine")
    installed("gcc")
    path = tmp_path_factory.mktemp("versions") / "version"
    command = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", path, SOURCE]
    subprocess.run(command, check=True)
    return path


def run(program, reader, offset, accepts):
    done = subprocess.run(
        [program, reader, str(offset), str(accepts), str(accepts), str(SECONDS)],
        capture_output=True,
        text=True,
        check=True,
    )
    names = re.fullmatch(r"accepts (\d+) torn (\d+) updates (\d+)\n", done.stdout)
    return tuple(map(int, names.groups()))


@pytest.mark.parametrize("count", [SHORT, pytest.param(LONG, marks=pytest.mark.slow)])
@pytest.mark.parametrize("offset", [ALIGNED, TWO_LINES, SPLIT_WORD])
@pytest.mark.parametrize("reader", ["sound", "masked"])
def test_a_reader_that_refuses_odd_versions_accepts_nothing_torn(program, reader, offset, count):
    accepts, torn, updates = run(program, reader, offset, count)
    assert torn == 0
    assert accepts >= count
    assert updates >= count


@pytest.mark.parametrize("reader", ["no-odd-check", "no-reread", "plain"])
def test_a_reader_that_leaves_a_check_out_accepts_torn_copies(program, reader):
    accepts, torn, _ = run(program, reader, TWO_LINES, FIRST_TORN)
    assert torn > 0, f"none of {accepts}"
