"""Where the four times come from."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replaying.accounting import kvm_account, origin, total, xen_account
from runstate_abi.layouts.abi import U64
from runstate_abi.writer.vcpu import BLOCKED, OFFLINE, RUNNABLE, RUNNING, Runstate

ZERO = Runstate(RUNNING, 0, (0, 0, 0, 0))


@pytest.mark.parametrize("state", [RUNNING, RUNNABLE, BLOCKED, OFFLINE])
def test_the_time_goes_to_the_state_that_is_left(state):
    before = Runstate(state, 100, (25, 25, 25, 25))
    after = kvm_account(before, RUNNING, 160)
    assert after.times[state] == 85
    assert (after.state, after.entry_time) == (RUNNING, 160)


def test_a_vcpu_that_was_never_accounted_was_offline():
    assert kvm_account(ZERO, RUNNING, 70).times == (0, 0, 0, 70)


def test_a_running_vcpu_that_waited_for_a_cpu_was_runnable_meanwhile():
    after = kvm_account(Runstate(RUNNING, 100, (100, 0, 0, 0)), RUNNABLE, 160, stolen=10)
    assert after.times == (150, 10, 0, 0)


def test_waiting_is_no_steal_for_a_vcpu_that_did_not_run():
    after = kvm_account(Runstate(BLOCKED, 100, (0, 0, 100, 0)), RUNNING, 160, stolen=10)
    assert after.times == (0, 0, 160, 0)


def test_a_clock_that_goes_back_makes_one_time_huge_and_the_sum_still_right():
    after = kvm_account(Runstate(RUNNING, 100, (100, 0, 0, 0)), RUNNING, 90)
    assert after.times[RUNNING] == 90
    stolen = kvm_account(Runstate(RUNNING, 100, (0, 100, 0, 0)), RUNNING, 90)
    assert stolen.times[RUNNING] == U64 - 9
    assert total(stolen) == stolen.entry_time


def test_the_newest_accounting_changes_the_state_only_if_the_clock_went_back():
    before = Runstate(RUNNING, 100, (0, 100, 0, 0))
    after = kvm_account(before, BLOCKED, 90, clamps=True)
    assert after == Runstate(BLOCKED, 100, (0, 100, 0, 0))


def test_the_newest_accounting_steals_no_more_than_there_was():
    before = Runstate(RUNNING, 100, (100, 0, 0, 0))
    assert kvm_account(before, RUNNING, 110, stolen=50, clamps=True).times == (100, 10, 0, 0)
    assert kvm_account(before, RUNNING, 110, stolen=50).times == (60, 50, 0, 0)


SEQUENCE = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, U64), st.integers(0, U64)), max_size=8
)


@settings(deadline=None, database=None)
@given(SEQUENCE, st.booleans())
def test_kvms_entry_time_is_the_sum_of_the_times_whatever_the_clock_does(changes, clamps):
    vcpu = ZERO
    for state, now, stolen in changes:
        vcpu = kvm_account(vcpu, state, now, stolen, clamps)
        assert vcpu.entry_time == total(vcpu)
        assert origin(vcpu) == 0


@settings(deadline=None, database=None)
@given(st.integers(0, 1 << 62), SEQUENCE)
def test_xens_entry_time_minus_the_times_is_the_birth_of_the_vcpu(birth, changes):
    vcpu = Runstate(RUNNING, birth, (0, 0, 0, 0))
    for state, now, _ in changes:
        vcpu = xen_account(vcpu, state, now)
        assert origin(vcpu) == birth


def test_xen_books_nothing_if_the_state_stays():
    before = Runstate(BLOCKED, 100, (0, 0, 1, 0))
    assert xen_account(before, BLOCKED, 500) == before


def test_xen_changes_the_state_but_not_the_entry_time_if_no_time_passed():
    before = Runstate(BLOCKED, 100, (0, 0, 1, 0))
    assert xen_account(before, RUNNING, 100) == Runstate(RUNNING, 100, (0, 0, 1, 0))
    assert xen_account(before, RUNNING, 101) == Runstate(RUNNING, 101, (0, 0, 2, 0))
