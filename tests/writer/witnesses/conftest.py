"""Writers of our own in C, opened; and what of a run can be compared with other sources."""

from dataclasses import replace

import pytest

from replaying.traces import steps_of_events
from runstate_abi.writer.rulebook.evidence import ledger
from runstate_abi.writer.rulebook.requests import Request
from runstate_abi.writer.steps import (
    Activate,
    Barrier,
    Copy,
    IrqRestore,
    IrqSave,
    Lock,
    Refresh,
    Store,
    Unlock,
)
from runstate_abi.writer.vcpu import Runstate


@pytest.fixture(scope="session")
def writer(c_writer):
    """Return a function that opens a compiled writer, ready to be asked."""
    from runstate_abi.writer.witnesses.machine_code import KvmWriter
    from runstate_abi.writer.witnesses.shipped import open_code, open_types

    def open_(*defines, entry="", **how):
        file = open_code(c_writer(*defines, **how))
        return KvmWriter(file, open_types(file, ""), entry)

    return open_


# What of a run can be compared with the model's and with recordings of the source.


def _bare(steps):
    """The calls alone; whose instructions turn interrupts off is not the source's business."""
    for step in steps:
        if isinstance(step, Lock):
            yield Lock(step.cache)
        elif isinstance(step, Unlock):
            yield Unlock(step.cache)
        elif isinstance(step, Refresh | Activate):
            yield replace(step, inner=())
        elif not isinstance(step, Store | Copy | Barrier | IrqSave | IrqRestore):
            yield step


def _epochs(evidence):
    landed = ledger(evidence).landed
    if not landed:
        return ()
    if not evidence.area.update_flag:
        return (landed[-1].after,)
    return landed[0].after, landed[-1].before, landed[-1].after


def _of_vector(case):
    vcpu = Runstate(
        case["state"],
        int(case["state_entry_time"], 16),
        tuple(int(time, 16) for time in case["time"]),
    )
    return Request(
        case["abi"], case["offset"], case["update_flag"], case["atomic"], vcpu,
        bytes.fromhex(case["fill"]),
    )  # fmt: skip


def _missed(writer, case):
    """Which of (bytes at every barrier, bytes afterwards, calls) of a vector the writer misses."""
    seen = writer.run(_of_vector(case))
    expected = case["expect"]["upstream_6_12"]

    def struct(window):
        one, two = bytes.fromhex(window["p1"])[16:], bytes.fromhex(window["p2"])[16:]
        return one[: case["len1"]] + two[: case["len2"]]

    calls = [list(_bare(s)) for s in (seen.steps(), steps_of_events(expected["trace"]))]
    checks = {
        "snapshots": tuple(map(struct, expected["snapshots"])) == _epochs(seen.book().evidence),
        "after": struct(expected["after"]) == seen.after and not seen.changed,
        "calls": calls[0] == calls[1],
    }
    return [name for name, agrees in checks.items() if not agrees]


@pytest.fixture(scope="session")
def calls_of():
    """Return a function: steps -> the calls among them, whoever turned interrupts off."""
    return lambda steps: list(_bare(steps))


@pytest.fixture(scope="session")
def epochs_of():
    """Return a function: evidence -> the struct's bytes where a barrier makes them visible."""
    return _epochs


@pytest.fixture(scope="session")
def missed():
    """Return a function: (writer, vector) -> what of the vector the writer does otherwise."""
    return _missed
