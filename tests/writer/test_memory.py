"""Guest memory: pages that are not neighbours, and the only place where a step does anything."""

import pytest

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.writer.memory import (
    Overrun,
    Window,
    apply,
    play,
    snapshots,
    stored,
    trace,
)
from runstate_abi.writer.steps import Barrier, Copy, Dirty, Lock, Store


def test_a_write_at_the_very_end_of_a_page_stays_inside():
    window = Window()
    apply(window, Copy(1, PAGE_SIZE - 3, b"abc"))
    assert window.read(PAGE_SIZE - 4, 5) == b"\0abc\0"


def test_a_write_past_the_end_of_a_page_is_an_overrun_that_names_the_bytes():
    window = Window()
    with pytest.raises(
        Overrun, match=r"^3 bytes outside the mapping of page 1, at p1\+4096: 636465"
    ):
        apply(window, Copy(1, PAGE_SIZE - 2, b"abcde"))


def test_a_write_behind_the_end_of_a_page_writes_nothing():
    window = Window(b"\xa5")
    with pytest.raises(Overrun, match=r"^2 bytes outside the mapping of page 1, at p1\+4100: 6162"):
        apply(window, Copy(1, PAGE_SIZE + 4, b"ab"))
    assert bytes(window.data) == b"\xa5" * len(window.data)


def test_an_overrun_of_page_1_never_reaches_page_2():
    window = Window(b"\xa5")
    with pytest.raises(Overrun):
        apply(window, Copy(1, PAGE_SIZE - 2, b"abcde"))
    assert window.page(2) == b"\xa5" * PAGE_SIZE


def test_an_overrun_has_written_what_was_inside():
    window = Window()
    with pytest.raises(Overrun) as overrun:
        apply(window, Copy(1, PAGE_SIZE - 2, b"abcde"))
    assert window.read(PAGE_SIZE - 2, 2) == b"ab"
    assert (overrun.value.page, overrun.value.offset) == (1, PAGE_SIZE)
    assert overrun.value.data == b"cde"


@pytest.mark.parametrize("step", [Store(1, -1, b"a"), Store(3, 0, b"a"), Store(0, 0, b"a")])
def test_a_write_where_no_page_is_is_an_overrun_and_changes_nothing(step):
    window = Window()
    with pytest.raises(Overrun):
        apply(window, step)
    assert window.data == bytes(2 * PAGE_SIZE)


def test_steps_that_write_nothing_change_nothing():
    window = Window(b"\x5a")
    play(window, [Lock("gpc1"), Barrier(), Dirty(0)])
    assert window.data == b"\x5a" * 2 * PAGE_SIZE


def test_page_2_is_what_the_guest_sees_behind_page_1():
    window = Window()
    play(window, [Copy(1, PAGE_SIZE - 1, b"a"), Copy(2, 0, b"b")])
    assert window.read(PAGE_SIZE - 1, 2) == b"ab"


def test_a_read_modify_write_keeps_the_bits_that_memory_has():
    window = Window(b"\x25")
    played = apply(window, Store(1, 7, b"\x80", keep=b"\x7f"))
    assert window.read(7, 1) == b"\xa5"
    assert played == Store(1, 7, b"\xa5")


@pytest.mark.parametrize(("page", "seen"), [(1, 0xA1), (2, 0x92)])
def test_a_read_modify_write_reads_the_page_that_it_writes(page, seen):
    window = Window()
    play(window, [Store(1, 7, b"\x21"), Store(2, 7, b"\x12")])
    apply(window, Store(page, 7, b"\x80", keep=b"\x7f"))
    assert window.page(page)[7] == seen


def test_what_a_store_would_put_into_memory_depends_on_memory_only_if_it_reads():
    window = Window(b"\xff")
    assert stored(window, Store(1, 0, b"\x01")) == b"\x01"
    assert stored(window, Store(1, 0, b"\x01", keep=b"\xf0")) == b"\xf1"


def test_a_fill_pattern_is_repeated_from_the_first_page_on():
    window = Window(bytes.fromhex("deadbeef01"))
    assert window.read(0, 3) == bytes.fromhex("deadbe")
    assert window.page(2)[:3] == bytes.fromhex("adbeef")  # 4096 = 1 modulo 5


def test_memory_needs_something_to_be_filled_with():
    with pytest.raises(ValueError, match="at least one byte"):
        Window(b"")


def test_a_trace_has_the_memory_after_each_step_and_tells_barriers():
    moments = list(trace(Window(), [Store(1, 0, b"a"), Barrier(), Store(1, 1, b"b"), Barrier()]))
    assert [one.memory[:2] for one in moments] == [b"a\0", b"a\0", b"ab", b"ab"]
    assert [one.at_barrier for one in moments] == [False, True, False, True]
    assert [one.barriers for one in moments] == [0, 1, 1, 2]
    assert snapshots(moments, 0, 2) == (b"a\0", b"ab")


def test_a_mask_that_is_shorter_than_its_store_is_refused():
    with pytest.raises(ValueError, match="shorter"):
        stored(Window(), Store(1, 0, b"\x01\x02", keep=b"\xf0"))
