"""Two threads on two CPUs: what the model says must not happen does not, what it says can does."""

import pytest

ACCEPTS, UPDATES, FIRST_TORN = 2_000_000, 20_000, 0
# Where in a page state_entry_time begins: aligned, and in two cache lines.
ALIGNED, LINE = 8, 60


@pytest.fixture(scope="session")
def run(program, counts):
    """Return a function: the writer, an offset, copies to accept -> what was counted."""
    path = program("race.c")
    return lambda mode, offset, accepts: counts(path, mode, offset, accepts, UPDATES)


@pytest.mark.parametrize("offset", [ALIGNED, LINE])
def test_the_byte_store_lets_nothing_torn_be_accepted_two_million_times(run, offset):
    accepts, torn, updates = run("byte", offset, ACCEPTS)
    assert torn == 0
    assert accepts >= ACCEPTS
    assert updates >= UPDATES


def test_without_the_flag_torn_copies_are_accepted(run):
    accepts, torn, _ = run("none", ALIGNED, FIRST_TORN)
    assert torn > 0, f"none of {accepts}"


def test_an_8_byte_set_across_a_cache_line_lets_torn_copies_be_accepted(run):
    accepts, torn, _ = run("eight", LINE, FIRST_TORN)
    assert torn > 0, f"none of {accepts}"
