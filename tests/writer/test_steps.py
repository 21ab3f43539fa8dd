"""The vocabulary: canonical text, and reading it back."""

from dataclasses import replace
from hashlib import sha256

import pytest

from replaying.traces import parse, parse_line
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
    barriers,
    canonical,
    digest,
    epochs,
    line,
    memory_text,
    writes,
)

# Written by hand from the format's description: native, offset 256, flag on, state 1.
EXAMPLE = """\
lock gpc1 irqsave
check gpc1 len=48 -> 1
store p1+271 1 91
wmb
store p1+256 4 01000000
store p1+264 8 8877665544332291
copy p1+272 32 0101010101010101020202020202020203030303030303030404040404040404
wmb
store p1+271 1 11
wmb
dirty gfn=+0
unlock gpc1 irqrestore
"""

EVERY_KIND = (
    (IrqSave(), "irq save"),
    (IrqRestore(), "irq restore"),
    (Lock("gpc1", irqsave=True), "lock gpc1 irqsave"),
    (Lock("gpc2"), "lock gpc2"),
    (Unlock("gpc1", irqrestore=True), "unlock gpc1 irqrestore"),
    (Unlock("gpc2"), "unlock gpc2"),
    (TryLock("gpc1", True), "trylock gpc1 -> 1"),
    (TryLock("gpc2", False), "trylock gpc2 -> 0"),
    (Check("gpc1", 48, True), "check gpc1 len=48 -> 1"),
    (Refresh("gpc1", 44, -14), "refresh gpc1 len=44 -> -14"),
    (Activate("gpc2", 4096, 33, 0), "activate gpc2 gpa=4096 len=33 -> 0"),
    (Store(2, 0, b"\x91"), "store p2+0 1 91"),
    (Copy(1, 4085, bytes(11)), "copy p1+4085 11 " + "00" * 11),
    (Barrier(), "wmb"),
    (Dirty(0), "dirty gfn=+0"),
    (Dirty(-3), "dirty gfn=-3"),
)


def test_the_reconciled_update_is_the_example_of_the_format(lines_of):
    assert "".join(f"{one}\n" for one in lines_of("upstream")) == EXAMPLE


@pytest.mark.parametrize(("step", "text"), EVERY_KIND)
def test_each_kind_of_step_has_one_line_and_is_read_back_from_it(step, text):
    assert canonical([step]) == f"{text}\n"
    assert parse_line(text) == step


@pytest.mark.parametrize("step", [step for step, _ in EVERY_KIND], ids=line)
def test_a_step_is_a_value(step):
    assert {step, replace(step)} == {step}


def test_the_example_of_the_format_is_read_back_step_by_step():
    assert canonical(parse(EXAMPLE)) == EXAMPLE


def test_epochs_are_the_writes_between_barriers():
    first, body, clear = epochs(parse(EXAMPLE))
    assert [len(first), len(body), len(clear)] == [1, 3, 1]
    assert clear == (Store(1, 271, b"\x11"),)


def test_what_follows_the_last_barrier_is_an_epoch_and_nothing_is_none():
    assert epochs([Store(1, 0, b"a"), Barrier(), Store(1, 1, b"b")])[-1] == (Store(1, 1, b"b"),)
    assert epochs([Store(1, 0, b"a"), Barrier()]) == ((Store(1, 0, b"a"),),)
    assert epochs([]) == ()


def test_the_memory_text_has_only_what_concerns_memory():
    text = memory_text(parse(EXAMPLE))
    assert text.count("\n") == len(list(writes(parse(EXAMPLE)))) + barriers(parse(EXAMPLE)) == 8
    assert "gpc" not in text


def test_the_digest_is_of_every_line_with_its_line_feed():
    assert digest("wmb\n") == sha256(b"wmb\n").hexdigest()
