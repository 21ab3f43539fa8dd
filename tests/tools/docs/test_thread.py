"""The thread's tables: each command is run, and prints what the document says."""

import shlex

import pytest

from runstate_abi.tools import cli
from runstate_abi.tools.docs import command, prose, thread
from runstate_abi.writer.patches import PATCHES

ROWS = prose.table(command.text("thread.table"), command.words()).rows


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].split(":")[0])
def test_each_row_runs_and_prints_what_it_says(capsys, row):
    _, words, prints = (cell.strip("`") for cell in row)
    program, *argv = shlex.split(words)
    assert program == "runstate"
    cli.main(argv)
    said = capsys.readouterr()
    assert (said.out + said.err).splitlines()[-1] == prints


def test_the_lengths_differ_at_four_offsets_and_where_an_area_crosses():
    rows = {(row[0], row[1]): row[2:] for row in thread.lengths().rows}
    assert rows["48 bytes", "compat"][:2] == ("0 to 4048", "4049 to 4052")
    assert rows["48 bytes", "native"][:2] == ("0 to 4048", "none")
    for length in ("1 byte", "per use"):
        taken, refused, switched = rows[length, "compat"]
        assert (taken, refused) == ("0 to 4095", "none")
        assert switched == (
            "4049 to 4052 cross anew: an update sets the second cache up and writes, "
            "one from the scheduler writes nothing"
        )


def test_every_patch_has_a_row():
    assert [row[0].split()[0] for row in thread.patches().rows] == [one.commit for one in PATCHES]


def test_the_stack_costs_a_copy_of_the_whole_struct():
    rows = {(row[0], row[1]): row[2:] for row in thread.cost().rows}
    assert rows["`upstream`", "native"] == ("5", "46", "0")
    assert rows["`single-path`", "native"] == ("3", "50", "48")
    assert rows["`single-path`", "compat"] == ("3", "46", "44")
