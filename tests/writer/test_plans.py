"""The fast path says what the generator says, for every split and all values."""

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from runstate_abi.writer.memory import Window, play, snapshots, trace
from runstate_abi.writer.plans import (
    Plans,
    apply_plan,
    canonical_at,
    leave,
    pack,
    plan_of,
    snapshots_of,
    struct_format,
)
from runstate_abi.writer.steps import canonical
from runstate_abi.writer.variants import VARIANT, VARIANTS, Refused, update
from runstate_abi.writer.vcpu import PAGE_SIZE, SHAPES, Area, Runstate

NAMES = [one.name for one in VARIANTS]
# These read guest memory back: no values say what they write.
WITHOUT = {"linux-6.1", "split-memcpy"}
PLANS = {name: Plans(VARIANT[name]) for name in NAMES}
NUMBER = st.integers(0, (1 << 64) - 1)


def steps_at(name, vcpu, area):
    """The steps of an update; an example that this version refuses does not count."""
    try:
        return update(VARIANT[name], vcpu, area)
    except Refused:
        reject()


@settings(deadline=None, database=None, max_examples=400)
@given(
    st.sampled_from(sorted(set(NAMES) - WITHOUT)),
    st.sampled_from(sorted(SHAPES)),
    st.integers(0, PAGE_SIZE - 1) | st.integers(PAGE_SIZE - 60, PAGE_SIZE - 1),
    st.booleans(),
    st.builds(Runstate, st.integers(0, (1 << 32) - 1), NUMBER, st.tuples(*[NUMBER] * 4)),
)
def test_a_plan_makes_the_generators_bytes_text_and_snapshots(name, abi, offset, flag, vcpu):
    area = Area(abi, offset, flag)
    steps = steps_at(name, vcpu, area)
    plan = PLANS[name].at(abi, offset, flag)
    assert plan is not None
    assert canonical_at(PLANS[name], vcpu, area) == canonical(steps)
    slow = Window(b"\xa5")
    seen = snapshots(trace(slow, steps), offset, area.shape.size)
    packed = pack(plan, vcpu)
    memories = [bytearray(Window(b"\xa5").data) for _ in range(3)]
    assert tuple(snapshots_of(plan, memories[0], offset, packed)) == seen
    apply_plan(plan, memories[1], offset, packed)
    leave(plan, memories[2], offset, vcpu)
    assert all(memory == slow.data for memory in memories)


@pytest.mark.parametrize("name", sorted(WITHOUT))
def test_a_version_that_reads_memory_back_has_no_plan_and_its_text_is_the_generators(name, vcpu):
    area = Area("native", 256)
    assert PLANS[name].at("native", 256, True) is None
    assert canonical_at(PLANS[name], vcpu, area) == canonical(update(VARIANT[name], vcpu, area))


def test_stray_stack_of_a_32_bit_host_has_no_plan():
    area = Area("compat", 4085, True, "i386")
    assert plan_of(VARIANT["two-paths"], area) is None
    assert plan_of(VARIANT["reconciled"], area) is not None


def test_all_placements_of_the_newest_version_need_184_plans():
    plans = Plans(VARIANT["upstream"])
    for abi in SHAPES:
        for flag in (True, False):
            for offset in range(PAGE_SIZE):
                assert plans.at(abi, offset, flag) is not None
    assert len(plans.found) == 184


def test_the_struct_modules_format_is_made_from_the_table():
    assert struct_format(SHAPES["native"]) == "<1I4x1Q4Q"
    assert struct_format(SHAPES["compat"]) == "<1I1Q4Q"


def test_a_plan_of_a_refused_area_is_refused():
    with pytest.raises(Refused):
        plan_of(VARIANT["linux-5.16"], Area("native", 4081))


def test_a_plan_does_what_was_played_at_a_named_boundary(vcpu):
    plan, window = PLANS["upstream"].at("compat", 4085, True), Window(b"\xa5")
    play(window, update(VARIANT["upstream"], vcpu, Area("compat", 4085)))
    memory = bytearray(Window(b"\xa5").data)
    leave(plan, memory, 4085, vcpu)
    assert memory == window.data
