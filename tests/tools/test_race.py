"""``runstate race``: what it prints, exits with, exports, and reads."""

import json
import os
from pathlib import Path

import pytest

from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools import race
from runstate_abi.tools.cli import main
from runstate_abi.tools.racing import export
from runstate_abi.tools.racing import rows as asking
from runstate_abi.writer import verdicts
from runstate_abi.writer.execution import Event, replay
from runstate_abi.writer.guest import READERS
from runstate_abi.writer.placements import placements
from runstate_abi.writer.variants import VARIANTS

GOLDEN = Path(__file__).parent.parent / "golden"
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
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("race.txt", ["--expected"]), ("race_linux-6.1.txt", COUNTEREXAMPLE), ("race_proof.txt", ONE)],
)
def test_the_output_is_the_golden_file(capsys, name, arguments):
    _, out = run(capsys, *arguments)
    text = "\n".join([f"$ runstate race {' '.join(arguments)}", *out]) + "\n"
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDENS"):
        path.write_text(text)
    assert text == path.read_text()


def test_a_proof_exits_0_and_says_how_many_states(capsys):
    code, out = run(capsys, *ONE)
    assert code == 0
    assert out[0].startswith("safe: ")
    assert "states" in out[1]


def test_a_torn_answer_that_is_expected_exits_0(capsys):
    code, out = run(capsys, *COUNTEREXAMPLE)
    assert code == 0
    assert out[0].startswith("torn: ")


def test_a_torn_answer_that_no_table_expects_exits_1(capsys):
    arguments = [*ONE, "--updates", "2", "--reader", "split-lh-hl"]
    code, out = run(capsys, *arguments)
    assert code == 1
    assert out[0].startswith("torn: ")


def test_an_answer_that_is_not_the_expected_one_is_marked_and_exits_1(capsys, monkeypatch):
    monkeypatch.setattr(asking, "expected", lambda asked: "torn")
    code, out = run(capsys, *ONE)
    assert code == 1
    assert any(line.startswith("EXPECTED torn") for line in out)
    code, out = run(capsys, *PAIR, "--model", "weak", "--abi", "native")
    assert code == 1
    assert all("EXPECTED torn" in line for line in out[1:4])


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
    ("name", "verdict"),
    [("wmb-set", "torn"), ("wmb-clear", "safe"), ("reread", "torn"), ("flag", "torn")],
)
def test_drop_says_what_a_step_is_for(capsys, name, verdict):
    _, rows = as_json(
        capsys, *PAIR, "--model", "weak", "--abi", "native", "--at", "0", "--drop", name
    )
    assert [row["verdict"] for row in rows] == [verdict]
    assert rows[0]["dropped"] == [name]


def test_a_table_leaves_out_what_a_version_does_not_have(capsys):
    _, rows = as_json(capsys, "--drop", "body-bit", "--reader", "linux-64", "--at", "0")
    names = {row["variant"] for row in rows}
    assert "upstream" in names
    assert not names & {"linux-6.1", "linux-5.14", "split-memcpy"}


def test_equal_entry_times_are_torn_and_expected_to_be(capsys):
    code, out = run(capsys, *ONE, "--equal-entry-time")
    assert (code, out[0][:5]) == (0, "torn:")


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


@pytest.mark.parametrize(
    "arguments",
    [
        ["--drop", "nothing"],
        ["--export", "litmus"],
        ["--entry-times", "a-b-a"],
        ["--equal-entry-time", "--entry-times", "different"],
        ["--recorded", "x", "--variant", "upstream"],
        ["--kernel", "x", "--model", "weak"],
        ["--at", "-1"],
        ["--updates", "4"],
    ],
)
def test_wrong_usage_exits_2(arguments):
    with pytest.raises(SystemExit) as error:
        race.main(arguments)
    assert error.value.code == 2


def test_rows_and_expected_verdicts_cover_each_other(capsys):
    assert set(verdicts.SET_BY) == {variant.name for variant in VARIANTS}
    assert tuple(reader.name for reader in READERS) == verdicts.READERS


def test_every_split_of_a_page_is_asked_about(capsys):
    _, rows = as_json(capsys, *PAIR, "--model", "x86-tso")
    for abi, size in (("native", 48), ("compat", 44)):
        splits = {row["at"] for row in rows if row["abi"] == abi and row["at"] % 4096 > 4096 - size}
        assert splits == {0x2000 - inside for inside in range(1, size)}
        kinds = [place.kind for place in placements(abi)]
        assert kinds[:4] == ["aligned", "half-line", "line", "page"]


def test_the_default_table_meets_every_expected_verdict(capsys):
    code, out = run(capsys)
    assert code == 0
    assert out[-1] == ("21560 questions: 7505 safe, 14055 torn; 21560 expected verdicts, 0 not met")


# Recorded stores of a real kernel.


def test_a_real_kernels_recorded_stores_are_safe_exactly_where_it_used_the_flag(capsys, data):
    path = data / "kvm" / "kvm_stores_linux6.12.107.jsonl"
    _, rows = as_json(capsys, "--recorded", str(path), "--reader", "linux-64")
    records = [json.loads(line) for line in path.read_text().splitlines()]
    flags = {f"line {n}": r["update_flag"] for n, r in enumerate(records, 1) if "stores" in r}
    assert len(rows) > 100
    for row in rows:
        assert (row["verdict"] == "safe") == bool(flags[row["variant"]]), row["variant"]


def test_linux_6_1_as_recorded_never_tears_its_set(capsys, data):
    path = data / "kvm" / "kvm_stores_linux6.1.192.jsonl"
    code, rows = as_json(capsys, "--recorded", str(path), "--reader", "linux-64")
    assert (code, len(rows)) == (0, 10)
    assert {row["verdict"] for row in rows} == {"safe"}


def test_a_recording_that_says_something_else_is_refused(tmp_path):
    path = tmp_path / "stores.jsonl"
    path.write_text('{"layout": "native", "off": 0, "update_flag": 1, "stores": [["x", 0]]}\n')
    with pytest.raises(WitnessError, match=r"stores\.jsonl|store"):
        race.main(["--recorded", str(path)])
    path.write_text("[]\n")
    with pytest.raises(WitnessError, match="line 1: no JSON object"):
        race.main(["--recorded", str(path)])


# The code of a shipped kernel.


@pytest.mark.network
def test_the_code_of_a_shipped_kernel_is_safe_with_the_flag_and_torn_without(capsys, debian):
    pytest.importorskip("unicorn")
    kernel, module = debian.kernel("trixie", "linux-image-amd64", [r"vmlinuz.*", r"kvm\.ko\.xz"])
    arguments = ["--kernel", str(module), "--btf", str(kernel), "--reader", "linux-64"]
    code, rows = as_json(capsys, *arguments)
    assert code == 0
    assert len(rows) == 2 * 3 + 47 + 43
    assert {row["verdict"] for row in rows} == {"safe"}
    _, rows = as_json(capsys, *arguments, "--drop", "flag")
    assert {row["verdict"] for row in rows} == {"torn"}


def test_a_kernel_that_is_none_is_one_line(capsys, tmp_path):
    path = tmp_path / "kvm.ko"
    path.write_bytes(b"not a kernel module at all")
    assert main(["race", "--kernel", str(path)]) == 3
    assert capsys.readouterr().err.count("\n") == 1


# Exports.


def test_exports_carry_the_verdict_and_are_as_many_as_they_must_be(tmp_path):
    made = dict(export.files("litmus"))
    assert len(made) >= 300
    for words in ("Expect: Never", "Expect: Sometimes"):
        assert sum(words in text for text in made.values()) > 60
    assert race.main(["--export", "cbmc", "-o", str(tmp_path)]) == 0
    programs = [path.read_text() for path in tmp_path.iterdir()]
    assert len(programs) >= 24
    assert all("Expect: VERIFICATION" in text for text in programs)


def test_an_export_into_what_is_no_folder_is_one_line(tmp_path):
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(WitnessError, match="cannot be written"):
        race.main(["--export", "cbmc", "-o", str(path)])
