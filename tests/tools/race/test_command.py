"""``runstate race``: what it prints and exits with."""

import json
import os
from pathlib import Path

import pytest

from agreement.execution import replay
from runstate_abi.tools.cli import main
from runstate_abi.writer.racing.execution import Event

GOLDEN = Path(__file__).parents[2] / "golden"
PAIR = ["--variant", "upstream", "--reader", "linux-64"]
ONE = [*PAIR, "--model", "x86-tso", "--abi", "native", "--at", "0x1000"]
COUNTEREXAMPLE = [
    *("--variant", "linux-6.1", "--reader", "linux-64", "--model", "x86-tso"),
    *("--abi", "compat", "--at", "0x1038"),
]
KEYS = [
    "variant",
    "reader",
    "model",
    "abi",
    "at",
    "updates",
    "dropped",
    "hidden",
    "verdict",
    "states",
    "trace",
]


def run(capsys, *arguments):
    """The exit code and the lines of standard output."""
    code = main(["race", *arguments])
    return code, capsys.readouterr().out.splitlines()


def as_json(capsys, *arguments):
    code = main(["race", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)["answers"]


def assert_golden(name, lines):
    text = "\n".join(lines) + "\n"
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDENS"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("race_linux-6.1.txt", COUNTEREXAMPLE), ("race_proof.txt", ONE)],
)
def test_the_output_is_the_golden_file(capsys, name, arguments):
    _, out = run(capsys, *arguments)
    assert_golden(name, [f"$ runstate race {' '.join(arguments)}".rstrip(), *out])


@pytest.mark.slow
def test_all_is_one_page_and_exits_1_for_its_torn_rows(capsys):
    code, out = run(capsys, "--all")
    assert code == 1
    assert out[-1] == "42592 questions: 13295 safe, 29297 torn"
    assert_golden("race_summary.txt", ["$ runstate race --all", *out])


def test_without_options_what_ships_is_asked_and_is_safe(capsys):
    code, out = run(capsys)
    assert code == 0
    assert out[-1] == "146 questions: 146 safe, 0 torn"


def test_a_proof_exits_0_and_says_how_many_states(capsys):
    code, out = run(capsys, *ONE)
    assert code == 0
    assert out[0].startswith("safe: ")
    assert "states" in out[1]


@pytest.mark.parametrize(
    "arguments", [COUNTEREXAMPLE, [*ONE, "--drop", "set"], [*PAIR, "--entry-times", "equal"]]
)
def test_a_torn_answer_exits_1(capsys, arguments):
    code, out = run(capsys, *arguments)
    assert code == 1
    assert any("torn" in line for line in out)
    assert main(["race", *arguments, "--json"]) == 1


def test_many_answers_are_a_summary_and_their_rows_an_option(capsys):
    arguments = ["--reader", "naive", "--model", "weak", "--abi", "native", "--at", "0x1100"]
    _, summary = run(capsys, *arguments)
    _, rows = run(capsys, *arguments, "--rows")
    assert summary[1].split() == ["naive"]
    assert rows[0].split()[:3] == ["writer", "reader", "model"]
    assert sum("0x1100" in line for line in summary) == 0
    assert sum("0x1100" in line for line in rows) > 10
    assert rows[-1] == summary[-1]


def test_one_answer_is_a_row_too_if_asked_for(capsys):
    _, out = run(capsys, *ONE, "--rows")
    assert out[1].split()[:3] == ["upstream", "linux-64", "x86-tso"]


def test_the_json_is_a_list_of_rows_with_these_keys(capsys):
    code, rows = as_json(capsys, *ONE)
    assert code == 0
    assert [list(row) for row in rows] == [KEYS]
    assert rows[0]["verdict"] == "safe"
    assert rows[0]["trace"] == []
    assert rows[0]["at"] == 0x1000


def test_the_trace_of_a_torn_row_replays_to_the_accepted_image(capsys):
    _, rows = as_json(capsys, *COUNTEREXAMPLE)
    before, *events, accepted = rows[0]["trace"]
    made = tuple(
        Event(
            number if event["by"] == "host" else -1,
            event["what"],
            event["offset"],
            bytes.fromhex(event["bytes"]),
        )
        for number, event in enumerate(events)
    )
    copied = replay(bytes.fromhex(before["bytes"]), made)
    assert bytes(copied.values()) == bytes.fromhex(accepted["bytes"])


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--variant", "linux-6.1", "--reader", "linux-64", "--drop", "body-bit", "--at", "0"], 2),
        (["--variant", "linux-6.1", "--reader", "linux-64", "--at", "0xff1"], 3),
        (["--recorded", "nowhere.jsonl"], 3),
    ],
)
def test_what_cannot_be_asked_is_not_answered(capsys, arguments, code):
    assert main(["race", *arguments]) == code
    assert capsys.readouterr().out == ""
