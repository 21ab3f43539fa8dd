"""Cases of updates, answered line by line."""

import io
import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from replaying.cases import main, reply_to

HERE = Path(__file__).parent
DATA = HERE.parent / "data"
CASE = {
    "abi": "native",
    "offset": 256,
    "update_flag": True,
    "atomic": False,
    "state": 1,
    "state_entry_time": "0x1122334455667788",
    "time": [1, 2, 3, 4],
    "fill": "a5",
    "variant": "upstream",
}
ANSWERS = {"bytes", "barriers", "canonical", "mem_sha256", "full_sha256", "epoch_sha256"}


@pytest.fixture
def run(capsys):
    """Return a function: exit code, stdout, stderr of the program."""

    def run(source):
        code = main(str(source))
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_it_is_a_program():
    command = [sys.executable, str(HERE / "cases.py"), "-"]
    done = subprocess.run(command, input=json.dumps(CASE), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(json.loads(done.stdout)) == ANSWERS


def cases_of(*records):
    return "".join(one if isinstance(one, str) else json.dumps(one) + "\n" for one in records)


@pytest.fixture
def answered(tmp_path, run):
    """Return a function: exit code, the answers, stderr, for lines of cases."""

    def answered(text):
        path = tmp_path / "cases"
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        code, out, err = run(path)
        return code, [json.loads(line) for line in out.splitlines()], err

    return answered


def test_a_case_is_answered_with_bytes_text_and_digests(answered):
    code, (reply,), err = answered(cases_of(CASE))
    assert (code, err, set(reply)) == (0, "", ANSWERS)
    assert reply["bytes"] == reply["barriers"][-1]
    assert reply["barriers"][0] == "a5" * 15 + "91" + "a5" * 32
    assert reply["full_sha256"] == sha256(reply["canonical"].encode()).hexdigest()
    joined = bytes.fromhex("".join(reply["barriers"]))
    assert reply["epoch_sha256"] == sha256(joined).hexdigest()


def test_every_vector_of_the_oracle_is_answered_with_its_digests(answered):
    names = {
        "upstream_6_12": "upstream",
        "post_seed": "reconciled",
        "pre_seed": "two-paths",
        "paolo": "single-path",
        "posted_2of4": "patch-2of4",
    }
    vectors = json.loads((DATA / "oracle/vectors_public.json").read_text())["cases"]
    asked, wanted = [], []
    for case in vectors:
        first = case["expect"]["upstream_6_12"]
        for key, expected in case["expect"].items():
            asked.append(
                {name: case[name] for name in CASE if name in case} | {"variant": names[key]}
            )
            full = expected if isinstance(expected, dict) else first
            wanted.append(
                [
                    first[n] if full[n] == "=upstream_6_12" else full[n]
                    for n in ("mem_sha256", "full_sha256")
                ]
            )
    code, replies, err = answered(cases_of(*asked))
    assert (code, err, len(replies)) == (0, "", 432)
    assert [[one["mem_sha256"], one["full_sha256"]] for one in replies] == wanted


def test_a_case_of_the_oracle_can_be_asked_as_it_is(answered):
    case = json.loads((DATA / "oracle/vectors_public.json").read_text())["cases"][16]
    code, (reply,), _ = answered(cases_of(case | {"variant": "upstream"}))
    assert (code, reply["id"]) == (0, case["id"])
    assert reply["full_sha256"] == case["expect"]["upstream_6_12"]["full_sha256"]


def test_numbers_are_integers_or_strings(answered):
    _, replies, _ = answered(
        cases_of(CASE, CASE | {"offset": "0x100", "state": "1", "time": ["1", "0x2", 3, "4"]})
    )
    assert replies[0] == replies[1]


def test_one_bad_line_is_named_and_the_others_are_still_answered(answered):
    code, replies, err = answered(cases_of(CASE, CASE | {"abi": "both"}, "\n", "{\n", CASE))
    assert code == 1
    assert replies[0] == replies[3]
    assert replies[1] == {"error": "line 2: field 'abi': \"both\" is none of native, compat"}
    assert replies[2]["error"].startswith("line 4: not JSON")
    assert [line.split(": ")[2] for line in err.splitlines()] == ["line 2", "line 4"]


def test_a_line_that_is_no_utf_8_costs_no_other_its_answer(answered):
    code, replies, err = answered(cases_of(CASE, "\udcff\n", CASE))
    assert code == 1
    assert replies[0] == replies[2]
    assert replies[1] == {"error": "line 2: not UTF-8: byte 0xff"}
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("end", ["\u2028", "\x85"])
def test_what_only_unicode_calls_a_line_end_is_part_of_a_string(answered, end):
    line = json.dumps(CASE | {"id": f"one{end}case"}, ensure_ascii=False) + "\n"
    code, (reply,), err = answered(line)
    assert (code, reply["id"], err) == (0, f"one{end}case", "")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"offset": 4096}, "field 'offset': 4096 is not between 0 and 4095"),
        ({"offset": 1.5}, "field 'offset': 1.5 is not an integer"),
        ({"offset": True}, "field 'offset': true is not an integer"),
        ({"state": -1}, "field 'state'"),
        ({"state": "one"}, "field 'state': \"one\" is not a number"),
        ({"state_entry_time": 1 << 64}, "field 'state_entry_time'"),
        ({"time": [1, 2, 3]}, "field 'time': 3 values, not 4"),
        ({"time": 7}, "field 'time': 7 is not an array"),
        ({"time": [1, 2, 3, None]}, "field 'time': null is not an integer"),
        ({"update_flag": "yes"}, "field 'update_flag': \"yes\" is neither true nor false"),
        ({"atomic": 2}, "field 'atomic': 2 is neither true nor false"),
        ({"fill": ""}, "field 'fill' is empty"),
        ({"fill": "a"}, "field 'fill': \"a\" is not hex digits"),
        ({"fill": "a5 a5"}, "is not hex digits"),
        ({"variant": "linux-9"}, "field 'variant'"),
        ({"abi": ["native"]}, "field 'abi'"),
        ({"host": "i386"}, "a 32-bit host has no 64-bit guests"),
        ({"update_flga": True}, "field 'update_flga' is unknown"),
        ({"len1": 47}, "field 'len1': 47, and it is 48"),
        ({"variant": "linux-6.1", "offset": 4049}, "registering the area fails with -EINVAL"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_field_that_is_wrong_is_named(fields, message):
    reply = reply_to(json.dumps(CASE | fields).encode())
    assert set(reply) == {"error"}
    assert message in reply["error"]


@pytest.mark.parametrize("name", ["abi", "offset", "state", "state_entry_time", "time", "variant"])
def test_a_field_that_is_missing_is_named(name):
    record = {key: value for key, value in CASE.items() if key != name}
    assert reply_to(json.dumps(record).encode()) == {"error": f"field '{name}' is missing"}


def test_what_has_a_default_may_be_left_out():
    short = {
        name: CASE[name]
        for name in ("abi", "offset", "state", "state_entry_time", "time", "variant")
    }
    assert reply_to(json.dumps(short).encode()) == reply_to(json.dumps(CASE).encode())


@pytest.mark.parametrize("line", ["7", "null", "[]", '{"abi": 1, "abi": 2}', "[" * 100000])
def test_a_line_that_is_no_record_is_an_error(line):
    assert set(reply_to(line.encode())) == {"error"}


def test_cases_may_come_from_stdin(run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(CASE).encode())))
    code, out, _ = run("-")
    assert (code, set(json.loads(out))) == (0, ANSWERS)


def test_a_file_of_cases_that_is_missing_could_not_be_checked(run, tmp_path):
    code, out, err = run(tmp_path / "none")
    assert (code, out) == (3, "")
    assert len(err.splitlines()) == 1
