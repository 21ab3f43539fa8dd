"""Two threads on two CPUs: a reader of the version protocol, and readers that leave a check out."""

import pytest

FIRST_TORN = 0
# As many updates as accepted copies, so that the writer is at work while the reader reads.
SHORT, LONG = 2_000_000, 10_000_000
# Where in a page the struct begins: in one cache line, in two, and with its first word in both.
ALIGNED, TWO_LINES, SPLIT_WORD = 0, 48, 60


@pytest.fixture(scope="session")
def run(program, counts):
    """Return a function: the reader, an offset, copies to accept -> what was counted."""
    path = program("version.c")
    return lambda reader, offset, accepts: counts(path, reader, offset, accepts, accepts)


@pytest.mark.parametrize("count", [SHORT, pytest.param(LONG, marks=pytest.mark.slow)])
@pytest.mark.parametrize("offset", [ALIGNED, TWO_LINES, SPLIT_WORD])
@pytest.mark.parametrize("reader", ["sound", "masked"])
def test_a_reader_that_refuses_odd_versions_accepts_nothing_torn(run, reader, offset, count):
    accepts, torn, updates = run(reader, offset, count)
    assert torn == 0
    assert accepts >= count
    assert updates >= count


@pytest.mark.parametrize("reader", ["no-odd-check", "no-reread", "plain"])
def test_a_reader_that_leaves_a_check_out_accepts_torn_copies(run, reader):
    accepts, torn, _ = run(reader, TWO_LINES, FIRST_TORN)
    assert torn > 0, f"none of {accepts}"
