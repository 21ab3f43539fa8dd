"""One answer in words: what it says of a reader without one of its steps, and how wide it is."""

import re

import pytest

from runstate_abi.tools.cli import main

ONE = ["--variant", "upstream", "--reader", "linux-64", "--model", "x86-tso"]
ONE += ["--abi", "native", "--at", "0x1000"]


@pytest.fixture
def words(capsys):
    """Return a function: arguments -> the paragraphs of the answer, their lines joined."""

    def ask(*arguments):
        main(["race", *ONE, *arguments])
        return [" ".join(part.split()) for part in capsys.readouterr().out.split("\n\n")]

    return ask


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("bit-check", "Its two reads of state_entry_time were equal, 14 14 14 14 14 14 14 a4 "),
        ("reread", "Its one read of state_entry_time was 14 14 14 14 14 14 14 14 "),
    ],
)
def test_what_a_reader_without_a_step_did_is_told(words, name, said):
    first, *_ = words("--drop", name)
    assert said in first
    assert bool(re.search(", and the flag was (clear|set):", first)) == (name != "bit-check")


def test_sentences_and_assumptions_fit_a_terminal(capsys):
    main(["race", *ONE, "--reader", "linux-32", "--model", "weak", "--updates", "2"])
    above, _ = capsys.readouterr().out.split("\n\n", 1)
    assert len(above.splitlines()) > 6
    assert max(map(len, above.splitlines())) <= 100
