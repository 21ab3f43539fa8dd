"""Recorded stores of a real kernel as the writer of a race."""

import json

import pytest

from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools import race


def test_a_real_kernels_recorded_stores_are_safe_exactly_where_it_used_the_flag(answers, data):
    path = data / "kvm" / "kvm_stores_linux6.12.107.jsonl"
    _, rows = answers("--recorded", str(path), "--reader", "linux-64")
    records = [json.loads(line) for line in path.read_text().splitlines()]
    flags = {f"line {n}": r["update_flag"] for n, r in enumerate(records, 1) if "stores" in r}
    assert len(rows) > 100
    for row in rows:
        assert (row["verdict"] == "safe") == bool(flags[row["variant"]]), row["variant"]


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
    with pytest.raises(WitnessError, match="line 1: no JSON object"):
        race.main(["--recorded", str(path)])
