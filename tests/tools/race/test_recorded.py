"""Recorded stores of a real kernel as the writer of a race."""

import json

import pytest

from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools.cli import main
from runstate_abi.tools.race import command as race


def test_a_real_kernels_recorded_stores_are_safe_exactly_where_it_used_the_flag(answers, data):
    path = data / "kvm" / "kvm_stores_linux6.12.107.jsonl"
    _, rows = answers("--recorded", str(path), "--reader", "linux-64")
    records = [json.loads(line) for line in path.read_text().splitlines()]
    flags = {f"line {n}": r["update_flag"] for n, r in enumerate(records, 1) if "stores" in r}
    assert len(rows) > 100
    for row in rows:
        assert (row["verdict"] == "safe") == bool(flags[row["variant"]]), row["variant"]


@pytest.mark.parametrize(
    ("line_offset", "grain", "verdict"),
    [(56, 32, "torn"), (56, 64, "torn"), (24, 32, "torn"), (24, 64, "safe"), (8, 32, "safe")],
)
def test_a_recorded_set_tears_where_no_machine_makes_it_in_one_piece(
    answers, data, tmp_path, line_offset, grain, verdict
):
    lines = (data / "kvm" / "kvm_stores_linux6.1.192.jsonl").read_text().splitlines()
    record = next(one for one in map(json.loads, lines) if one.get("layout") == "compat")
    path = tmp_path / "moved.jsonl"
    path.write_text(json.dumps(record | {"off": 0x3100 + line_offset}))
    asked = "--recorded", str(path), "--reader", "linux-64", "--grain", str(grain)
    _, rows = answers(*asked)
    assert [row["verdict"] for row in rows] == [verdict]


def test_linux_6_1_as_recorded_never_tears_its_set(answers, data):
    path = data / "kvm" / "kvm_stores_linux6.1.192.jsonl"
    code, rows = answers("--recorded", str(path), "--reader", "linux-64")
    assert (code, len(rows)) == (0, 10)
    assert {row["verdict"] for row in rows} == {"safe"}


def test_a_recording_that_says_something_else_is_refused(tmp_path):
    path = tmp_path / "stores.jsonl"
    path.write_text('{"layout": "native", "off": 0, "update_flag": 1, "stores": [["x", 0]]}\n')
    with pytest.raises(WitnessError, match=r"stores\.jsonl|store"):
        race.main(["--recorded", str(path)])
    path.write_text("[]\n")
    with pytest.raises(WitnessError, match="line 1: the line is not an object"):
        race.main(["--recorded", str(path)])


@pytest.fixture
def cut(data, tmp_path):
    """Return a function: which stores to keep -> the path of a 6.1 record with no others."""

    def write(*kept):
        lines = (data / "kvm" / "kvm_stores_linux6.1.192.jsonl").read_text().splitlines()
        record = json.loads(lines[1])
        stores = [store for index, store in enumerate(record["stores"]) if index in kept]
        path = tmp_path / "cut.jsonl"
        path.write_text(json.dumps(record | {"stores": stores}))
        return str(path)

    return write


@pytest.mark.parametrize("reader", ["linux-64", "naive", "state"])
def test_a_record_that_shows_no_believed_byte_proves_nothing(cut, capsys, reader):
    assert main(["race", "--recorded", cut(0), "--reader", reader]) == 3
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert f"not asked: 1 question: line 1 shows too little for {reader}" in err


def test_what_a_record_does_not_show_is_named(cut, capsys, answers):
    path = cut(0, 2, 6)
    said = "line 1 does not show, and nothing is claimed about: state, time[1] .. time[3]"
    assert main(["race", "--recorded", path, "--reader", "linux-64"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert words.count(said) == 1
    main(["race", "--recorded", path])
    out = capsys.readouterr().out
    assert out.count(said) == 1
    assert "not asked: 1 question: line 1 shows too little for state" in out
    code, rows = answers("--recorded", path, "--reader", "linux-64")
    assert (code, rows[0]["hidden"]) == (0, ["state", "time[1] .. time[3]"])


FIRST = {"layout": "native", "off": 12544, "update_flag": 1, "stores": [["set", 15, "f8"]]}


@pytest.mark.parametrize("place", [-9, -1, 47, 60, 5000, -13000])
def test_a_store_outside_the_area_is_refused_by_its_bytes(tmp_path, place):
    path = tmp_path / "stores.jsonl"
    stores = [*FIRST["stores"], ["astray", place, "f8f8"]]
    path.write_text(json.dumps(FIRST | {"stores": stores}))
    wrong = f"line 1: field 'stores': store 2 is of bytes {place} to {place + 1}, .* 0 to 47"
    with pytest.raises(WitnessError, match=wrong):
        race.main(["--recorded", str(path)])


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("[" * 100_000, "line 1: not JSON that can be read: nested too deeply"),
        ("{", "line 1: not JSON"),
        (json.dumps(FIRST | {"layout": "odd"}), "line 1: field 'layout': \"odd\" is none of"),
        (json.dumps(FIRST | {"off": "x"}), "line 1: field 'off': \"x\" is not a number"),
        (json.dumps(FIRST | {"off": -1}), "line 1: field 'off': -1 is not between"),
        (json.dumps(FIRST | {"stores": 1}), "line 1: field 'stores': 1 is not an array"),
        (json.dumps(FIRST | {"stores": [["f", 8, "zz"]]}), "line 1: store .*'zz'"),
        ('{"off": 0, "stores": []}', "line 1: field 'update_flag' is missing"),
    ],
)
def test_what_is_wrong_is_named_by_file_line_and_field(tmp_path, line, wrong):
    path = tmp_path / "stores.jsonl"
    path.write_text(line)
    with pytest.raises(WitnessError, match=r"stores\.jsonl: " + wrong):
        race.main(["--recorded", str(path)])


def test_a_recording_that_is_no_text_is_one_line(tmp_path):
    path = tmp_path / "stores.jsonl"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(WitnessError, match=r"stores\.jsonl: no text"):
        race.main(["--recorded", str(path)])


@pytest.mark.parametrize("name", ["xen_pv_stores_4.17", "xen_hvm_compat_4.17"])
def test_images_of_memory_are_not_taken_for_stores(data, name):
    with pytest.raises(WitnessError, match="line 2: field 'stores' is missing: this shows images"):
        race.main(["--recorded", str(data / "xen" / f"{name}.jsonl")])
