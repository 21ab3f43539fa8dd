"""What a VMM may ask, what is refused, and what of it reaches guest memory."""

import pytest

from replaying.ioctls import (
    STATE_UNCHANGED,
    Vm,
    adjust,
    enter_state,
    finish,
    get_address,
    set_address,
    set_current,
    set_data,
    set_long_mode,
    set_update_flag,
)
from runstate_abi.layouts.abi import PAGE_SIZE, U64
from runstate_abi.writer.host import EFAULT, EINVAL, ENOENT, EOPNOTSUPP, INVALID_GPA
from runstate_abi.writer.memory import Window, play
from runstate_abi.writer.steps import Copy, Store, TryLock
from runstate_abi.writer.variants import VARIANT
from runstate_abi.writer.vcpu import (
    BLOCKED,
    OFFLINE,
    RUNNABLE,
    RUNNING,
    SHAPES,
    Runstate,
    runstate_of,
)

NOTHING = (0, 0, 0, 0)


def vm(variant="upstream", at=256, clock=1000, **named):
    made = Vm(VARIANT[variant], clock=clock, **named)
    if at is not None:
        assert finish(set_address(made, at))[0] == 0
    return made


def wrote(steps):
    return any(isinstance(step, Store | Copy) for step in steps)


def test_an_address_is_written_at_once_since_6_2_and_not_before():
    for name, at_once in (
        ("upstream", True),
        ("linux-6.2", True),
        ("linux-6.1", False),
        ("linux-5.16", False),
    ):
        error, steps = finish(set_address(Vm(VARIANT[name], long_mode=True), 256))
        assert (error, wrote(steps)) == (0, at_once)


def test_the_first_write_says_running_and_all_zero():
    window = Window(b"\xa5")
    play(window, finish(set_address(Vm(), 256))[1])
    shape = SHAPES["compat"]
    assert runstate_of(shape, window.read(256, shape.size)) == Runstate(RUNNING, 0, NOTHING)


@pytest.mark.parametrize("at", [0, 1, 4048, 4049, 4095])
def test_any_alignment_and_a_page_boundary_are_fine(at):
    assert finish(set_address(Vm(long_mode=True), at))[0] == 0


@pytest.mark.parametrize("spoilt", ["missing", "read_only"])
@pytest.mark.parametrize("frame", [0, 1])
def test_each_page_needs_a_slot_that_can_be_written(spoilt, frame):
    made = Vm(long_mode=True)
    getattr(made.caches.host, spoilt).add(frame)
    assert finish(set_address(made, PAGE_SIZE - 1)) == (-EFAULT, ())
    assert not made.active
    assert not made.caches.gpc2.active


@pytest.mark.parametrize("name", ["linux-5.16", "linux-6.1"])
def test_old_kernels_refuse_to_cross_a_page(name):
    assert finish(set_address(Vm(VARIANT[name]), 4048))[0] == 0
    assert finish(set_address(Vm(VARIANT[name]), 4049))[0] == -EINVAL


@pytest.mark.parametrize("name", ["upstream", "linux-6.1", "linux-5.16"])
def test_all_ones_take_the_area_away_and_nothing_is_written_then(name):
    made = vm(name)
    assert get_address(made) == 256
    assert finish(set_address(made, INVALID_GPA)) == (0, ())
    assert get_address(made) == -ENOENT
    assert finish(set_current(made, BLOCKED)) == (0, ())


def test_without_scheduler_information_there_is_no_runstate():
    made = Vm(sched_info=False)
    for ioctl in (
        set_address(made, 0),
        set_current(made, 0),
        set_data(made, 0, 0, NOTHING),
        adjust(made, 0, 0, NOTHING),
    ):
        assert finish(ioctl) == (-EOPNOTSUPP, ())
    assert set_update_flag(made, True) == -EOPNOTSUPP


def test_a_state_is_entered_and_written():
    made = vm()
    error, steps = finish(set_current(made, BLOCKED))
    assert (error, wrote(steps)) == (0, True)
    assert (made.vcpu.state, made.vcpu.entry_time) == (BLOCKED, 1000)


@pytest.mark.parametrize("name", ["linux-5.14", "linux-5.16", "linux-6.1", "split-memcpy"])
def test_up_to_6_1_a_vmm_only_books_and_the_next_change_of_kvms_own_writes(name):
    made = vm(name)
    assert finish(set_current(made, BLOCKED)) == (0, ())
    assert made.vcpu == Runstate(BLOCKED, 1000, (0, 0, 0, 1000))
    made.clock = 1500
    assert finish(adjust(made, OFFLINE, 0, NOTHING)) == (0, ())
    assert made.vcpu == Runstate(OFFLINE, 1500, (0, 0, 500, 1000))
    assert wrote(enter_state(made, RUNNING))


def test_a_state_that_is_none_changes_nothing():
    made = vm()
    before = made.vcpu
    assert finish(set_current(made, OFFLINE + 1)) == (-EINVAL, ())
    assert made.vcpu == before


def test_data_replaces_everything_and_writes_nothing():
    made = vm()
    assert finish(set_data(made, BLOCKED, 10, (1, 2, 3, 4))) == (0, ())
    assert made.vcpu == Runstate(BLOCKED, 10, (1, 2, 3, 4))


@pytest.mark.parametrize(
    ("state", "entry_time", "times"),
    [
        (4, 0, NOTHING),
        (0, 11, (1, 2, 3, 4)),
        (0, 1001, (1001, 0, 0, 0)),
    ],
    ids=["no state", "not the sum", "in the future"],
)
def test_data_that_cannot_be_is_refused(state, entry_time, times):
    made = vm()
    before = made.vcpu
    assert finish(set_data(made, state, entry_time, times)) == (-EINVAL, ())
    assert made.vcpu == before


def test_data_may_have_times_that_wrap_to_the_entry_time():
    assert finish(set_data(vm(), 0, 4, (5, U64, 0, 0)))[0] == 0


def test_an_adjustment_adds_and_writes_once():
    made = vm()
    finish(set_data(made, BLOCKED, 10, (1, 2, 3, 4)))
    error, steps = finish(adjust(made, STATE_UNCHANGED, 5, (5, 0, U64, 1)))
    assert (error, wrote(steps)) == (0, True)
    assert made.vcpu == Runstate(BLOCKED, 15, (6, 2, 2, 5))


def test_6_1_does_not_write_an_adjustment_that_keeps_the_state():
    made = vm("linux-6.1", long_mode=True)
    assert finish(adjust(made, STATE_UNCHANGED, 0, NOTHING)) == (0, ())


def test_an_adjustment_with_a_state_enters_it():
    made = vm()
    finish(set_data(made, BLOCKED, 10, (1, 2, 3, 4)))
    finish(adjust(made, RUNNING, 0, NOTHING))
    assert made.vcpu == Runstate(RUNNING, 1000, (1, 2, 993, 4))


@pytest.mark.parametrize(
    ("state", "entry_delta", "deltas"),
    [
        (4, 0, NOTHING),
        (STATE_UNCHANGED, 1, NOTHING),
        (STATE_UNCHANGED, 991, (991, 0, 0, 0)),
    ],
    ids=["no state", "not the sum", "in the future"],
)
def test_an_adjustment_that_cannot_be_is_refused(state, entry_delta, deltas):
    made = vm()
    finish(set_data(made, BLOCKED, 10, (1, 2, 3, 4)))
    assert finish(adjust(made, state, entry_delta, deltas)) == (-EINVAL, ())
    assert made.vcpu == Runstate(BLOCKED, 10, (1, 2, 3, 4))


def test_an_adjustment_may_go_to_the_clock_but_not_beyond():
    made = vm()
    finish(set_data(made, BLOCKED, 10, (1, 2, 3, 4)))
    assert finish(adjust(made, STATE_UNCHANGED, 990, (990, 0, 0, 0)))[0] == 0


def test_becoming_runnable_is_written_without_sleeping():
    made = vm()
    steps = tuple(enter_state(made, RUNNABLE))
    assert any(isinstance(step, TryLock) for step in steps)
    assert not any(isinstance(step, TryLock) for step in enter_state(made, RUNNING))


def test_steal_is_what_the_thread_waited_since_the_last_time():
    made = vm(clock=1000)
    tuple(enter_state(made, RUNNING))
    made.clock, made.run_delay = 1100, 30
    tuple(enter_state(made, RUNNING))
    assert made.vcpu.times == (70, 30, 0, 1000)
    made.clock = 1200
    tuple(enter_state(made, RUNNING))
    assert made.vcpu.times == (170, 30, 0, 1000)


def test_a_guest_that_becomes_64_bit_gets_the_longer_struct_at_the_next_update():
    made = vm(at=4052)
    window = Window(b"\xa5")
    assert set_long_mode(made, True) == 0
    assert window.read(4052, 48) == b"\xa5" * 48
    play(window, finish(set_current(made, BLOCKED))[1])
    shape = SHAPES["native"]
    assert runstate_of(shape, window.read(4052, shape.size)) == made.vcpu


def test_a_guest_that_becomes_32_bit_keeps_four_stale_bytes_behind_the_struct():
    made = vm(long_mode=True)
    window = Window(b"\xa5")
    play(window, finish(set_current(made, BLOCKED))[1])
    before = window.read(256 + 44, 4)
    set_long_mode(made, False)
    play(window, finish(set_current(made, RUNNING))[1])
    assert window.read(256 + 44, 4) == before != b"\xa5" * 4


def test_a_32_bit_host_has_no_64_bit_guests():
    made = Vm(host="i386")
    assert set_long_mode(made, True) == -EINVAL
    assert set_long_mode(made, False) == 0
    assert made.abi == "compat"


def test_the_flag_is_used_from_the_next_update_on():
    made = vm()
    before = [step for step in finish(set_current(made, 0))[1] if isinstance(step, Store)]
    assert set_update_flag(made, True) == 0
    after = [step for step in finish(set_current(made, 0))[1] if isinstance(step, Store)]
    assert len(after) == len(before) + 2


def test_a_kernel_without_the_switch_does_not_know_the_attribute():
    assert set_update_flag(Vm(VARIANT["linux-6.1"]), True) == -ENOENT


def test_xen_is_no_vm_of_kvms():
    with pytest.raises(ValueError, match="Xen has no ioctls"):
        Vm(VARIANT["xen-va"])


# Section "For VMM authors" of runstate docs: each step of a restore, and what it is for.
SAVED = (OFFLINE, 1000, (500, 200, 100, 200))


def restored(*left_out, order=("clock", "mode", "flag", "data", "address")):
    """A VM after a restore, what RUNSTATE_DATA returned, and the bytes of the area at 256."""
    made, window, returned = Vm(), Window(b"\xa5"), 0
    for step in order:
        if step in left_out:
            continue
        match step:
            case "clock":
                made.clock = 1500
            case "mode":
                set_long_mode(made, True)
            case "flag":
                set_update_flag(made, True)
            case "data":
                returned, _ = finish(set_data(made, *SAVED))
            case "address":
                play(window, finish(set_address(made, 256))[1])
    return made, returned, window


def native(window):
    return runstate_of(SHAPES["native"], window.read(256, SHAPES["native"].size))


def test_a_restore_in_order_gives_the_area_back_and_books_the_downtime_as_offline():
    made, returned, window = restored()
    assert (returned, native(window)) == (0, Runstate(*SAVED))
    steps = tuple(enter_state(made, RUNNING))
    play(window, steps)
    assert native(window) == Runstate(RUNNING, 1500, (500, 200, 100, 700))
    assert next(step for step in steps if isinstance(step, Store)).data[-1] & 0x80


def test_each_step_of_a_restore_that_is_left_out_does_what_the_document_says():
    assert restored("clock")[1] == -EINVAL
    compat = restored("mode")[2]
    assert runstate_of(SHAPES["compat"], compat.read(256, SHAPES["compat"].size)).times == SAVED[2]
    unflagged, _, window = restored("flag")
    assert not unflagged.update_flag
    for _, _, window in (
        restored("data"),
        restored(order=("clock", "mode", "flag", "address", "data")),
    ):
        assert native(window) == Runstate(RUNNING, 0, NOTHING)
    made, _, window = restored("data")
    play(window, enter_state(made, RUNNING))
    assert native(window) == Runstate(RUNNING, 1500, (0, 0, 0, 1500))
    assert not any(restored("address")[2].read(256, 8).replace(b"\xa5", b""))


def test_an_adjustment_books_a_downtime_that_the_clock_has_reached():
    made, _, window = restored()
    assert finish(adjust(made, STATE_UNCHANGED, 501, (0, 0, 0, 501)))[0] == -EINVAL
    error, steps = finish(adjust(made, STATE_UNCHANGED, 500, (0, 0, 0, 500)))
    play(window, steps)
    assert (error, native(window)) == (0, Runstate(OFFLINE, 1500, (500, 200, 100, 700)))


def test_runnable_by_an_ioctl_is_written_as_the_scheduler_writes():
    for state, tried in ((RUNNABLE, True), (BLOCKED, False)):
        for ioctl in (set_current(vm(), state), adjust(vm(), state, 0, NOTHING)):
            error, steps = finish(ioctl)
            assert (error, any(isinstance(step, TryLock) for step in steps)) == (0, tried)


def test_a_reset_takes_the_area_away_and_leaves_the_times():
    made, _, _ = restored()
    assert finish(set_address(made, INVALID_GPA)) == (0, ())
    assert (get_address(made), made.vcpu) == (-ENOENT, Runstate(*SAVED))
    assert not wrote(tuple(enter_state(made, RUNNING)))
