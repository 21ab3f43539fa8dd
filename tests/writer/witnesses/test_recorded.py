"""Strangers' traces as steps: read as they are, or refused by name."""

import json

import pytest

from runstate_abi.layouts.model import WitnessError
from runstate_abi.writer.memory import Window, play, trace
from runstate_abi.writer.steps import (
    Activate,
    Barrier,
    Check,
    Copy,
    Dirty,
    IrqRestore,
    IrqSave,
    Lock,
    Refresh,
    Store,
    TryLock,
    Unlock,
)
from runstate_abi.writer.witnesses.recorded import (
    changed_runs,
    steps_of_events,
    steps_of_images,
    steps_of_watchpoints,
)


@pytest.mark.parametrize(
    ("event", "step"),
    [
        ({"op": "store", "page": 1, "off": 15, "size": 1, "hex": "80"}, Store(1, 15, b"\x80")),
        ({"op": "memcpy", "page": 2, "off": 0, "size": 2, "hex": "0102"}, Copy(2, 0, b"\1\2")),
        ({"op": "wmb"}, Barrier()),
        ({"op": "read_lock", "gpc": 2}, Lock("gpc2")),
        ({"op": "read_lock_irqsave", "gpc": 1}, Lock("gpc1", irqsave=True)),
        ({"op": "read_unlock", "gpc": 2}, Unlock("gpc2")),
        ({"op": "read_unlock_irqrestore", "gpc": 1}, Unlock("gpc1", irqrestore=True)),
        ({"op": "read_trylock", "gpc": 1, "ret": 0}, TryLock("gpc1", False)),
        ({"op": "check", "gpc": 1, "len": 48, "ret": 1}, Check("gpc1", 48, True)),
        ({"op": "refresh", "gpc": 1, "len": 48, "ret": -14}, Refresh("gpc1", 48, -14)),
        (
            {"op": "activate", "gpc": 2, "gpa": 4096, "len": 1, "ret": 0},
            Activate("gpc2", 4096, 1, 0),
        ),
        ({"op": "mark_dirty", "gfn": 1, "held": [1]}, Dirty(1)),
        ({"op": "local_irq_save"}, IrqSave()),
        ({"op": "local_irq_restore"}, IrqRestore()),
    ],
)
def test_each_event_is_one_step(event, step):
    assert steps_of_events([event]) == (step,)


@pytest.mark.parametrize(
    "event",
    [
        {"op": "xchg"},
        {},
        {"op": "store", "page": 1, "off": 15, "size": 2, "hex": "80"},
        {"op": "store", "page": 1, "off": 15, "size": 1, "hex": "8"},
        {"op": "check", "gpc": 1, "len": 48},
        {"op": "check", "gpc": 1, "len": 48, "ret": 2},
    ],
)
def test_an_event_that_is_no_step_is_refused_and_shown(event):
    with pytest.raises(WitnessError, match=r"^event "):
        steps_of_events([event])


def test_a_store_that_changed_nothing_says_nothing():
    assert steps_of_watchpoints([["f+1", None, ""], ["f+2", 3, "aa"]], 8) == (Copy(1, 11, b"\xaa"),)


def test_a_store_across_the_page_boundary_is_one_write_in_each_page():
    steps = steps_of_watchpoints([["f+1", 14, "0102"]], 4081)
    assert steps == (Copy(1, 4095, b"\1"), Copy(2, 0, b"\2"))


@pytest.mark.parametrize("entry", [["f", 0], ["f", 0, "0"], ["f", None, "00"], 7, ["f", "x", "00"]])
def test_a_watchpoint_entry_that_says_nothing_sensible_is_refused(entry):
    with pytest.raises(WitnessError, match=r"^store "):
        steps_of_watchpoints([entry], 0)


def test_images_are_stores_of_what_changed_between_them():
    images = [bytes(6), bytes([0, 1, 1, 0, 2, 0]), bytes([0, 1, 1, 0, 2, 0])]
    assert steps_of_images(images, 100) == (Copy(1, 101, b"\1\1"), Copy(1, 104, b"\2"))
    window = Window()
    play(window, steps_of_images(images, 100))
    assert window.read(100, 6) == images[-1]


def test_runs_of_changed_bytes_are_found_to_the_end():
    assert list(changed_runs(b"aaaa", b"abba")) == [(1, b"bb")]
    assert list(changed_runs(b"aaaa", b"baab")) == [(0, b"b"), (3, b"b")]
    assert list(changed_runs(b"a", b"a")) == []


def test_a_recorded_trace_of_a_real_kernel_ends_in_its_recorded_bytes(data):
    lines = (data / "kvm" / "kvm_stores_linux6.12.107.jsonl").read_text().splitlines()
    for line in lines[1:]:
        record = json.loads(line)
        offset = record["off"] % 4096
        window = Window(bytes.fromhex(record["poison"]))
        list(trace(window, steps_of_watchpoints(record["stores"], offset)))
        assert window.read(offset, len(record["final"]) // 2).hex() == record["final"]
