"""Strangers' traces as steps: read as they are, or refused by name."""

import json

import pytest

from runstate_abi.layouts.model import WitnessError
from runstate_abi.writer.memory import Window, trace
from runstate_abi.writer.steps import Copy
from runstate_abi.writer.witnesses.recorded import steps_of_watchpoints


def test_a_store_that_changed_nothing_says_nothing():
    assert steps_of_watchpoints([["f+1", None, ""], ["f+2", 3, "aa"]], 8) == (Copy(1, 11, b"\xaa"),)


def test_a_store_across_the_page_boundary_is_one_write_in_each_page():
    steps = steps_of_watchpoints([["f+1", 14, "0102"]], 4081)
    assert steps == (Copy(1, 4095, b"\1"), Copy(2, 0, b"\2"))


@pytest.mark.parametrize("entry", [["f", 0], ["f", 0, "0"], ["f", None, "00"], 7, ["f", "x", "00"]])
def test_a_watchpoint_entry_that_says_nothing_sensible_is_refused(entry):
    with pytest.raises(WitnessError, match=r"^store "):
        steps_of_watchpoints([entry], 0)


def test_a_recorded_trace_of_a_real_kernel_ends_in_its_recorded_bytes(data):
    lines = (data / "kvm" / "kvm_stores_linux6.12.107.jsonl").read_text().splitlines()
    for line in lines[1:]:
        record = json.loads(line)
        offset = record["off"] % 4096
        window = Window(bytes.fromhex(record["poison"]))
        list(trace(window, steps_of_watchpoints(record["stores"], offset)))
        assert window.read(offset, len(record["final"]) // 2).hex() == record["final"]
