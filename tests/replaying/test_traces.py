"""Canonical text, events and memory images as steps: read as they are, or refused by name."""

import pytest

from replaying.traces import changed_runs, parse, parse_line, steps_of_events, steps_of_images
from runstate_abi.layouts.model import WitnessError
from runstate_abi.writer.memory import Window, play
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


@pytest.mark.parametrize(
    "text",
    [
        "",
        "wmb ",
        "store p1+271 2 9191",
        "store p1+271 1 9",
        "store p1+271 1 9191",
        "store p0+271 1 91",
        "store p1+271 1 9G",
        "STORE p1+271 1 91",
        "copy p1+1 2 00",
        "check gpc1 len=48 -> 2",
        "check gpc1 len=48",
        "lock gpc1 irqrestore",
        "unlock gpc1 irqsave",
        "dirty gfn=0",
        "refresh gpc1 len=48 -> --1",
        "store p1+٣ 1 91",
        "wmb\nwmb",
    ],
)
def test_what_is_no_canonical_line_is_refused_and_named(text):
    with pytest.raises(ValueError, match=r"line of a canonical trace|bytes"):
        parse_line(text)


def test_a_text_is_read_back_step_by_step():
    assert parse("wmb\nirq save\n") == (Barrier(), IrqSave())
    assert parse("") == ()


def test_a_wrong_line_of_a_text_is_named_by_its_number():
    with pytest.raises(ValueError, match=r"^line 3: 'nonsense'"):
        parse("wmb\nwmb\nnonsense\n")


def test_a_text_whose_last_line_has_no_end_is_refused():
    with pytest.raises(ValueError, match="no line end"):
        parse("wmb\nwmb\nirq save"[:11])


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
