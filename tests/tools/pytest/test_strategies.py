"""What the strategies draw is valid, and reaches the corners that matter."""

import pytest
from hypothesis import HealthCheck, find, given, settings

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.layouts.structs.runstate import XEN_RUNSTATE_UPDATE
from runstate_abi.tools.pytest import strategies
from runstate_abi.writer import variants
from runstate_abi.writer.memory import Window, play
from runstate_abi.writer.vcpu import SHAPES, runstate_of

QUIET = settings(database=None, suppress_health_check=list(HealthCheck), max_examples=200)


@given(strategies.runstates())
def test_a_runstate_is_one_that_a_hypervisor_can_have(runstate):
    assert 0 <= runstate.state < 4
    assert sum(runstate.times) <= runstate.entry_time < XEN_RUNSTATE_UPDATE


@given(strategies.placements())
def test_an_update_of_any_of_them_can_be_read_back(area):
    runstate = runstate_of(area.shape, bytes(area.shape.size))
    window = Window(b"\xa5")
    play(window, variants.update(variants.VARIANT["upstream"], runstate, area))
    assert runstate_of(area.shape, window.read(area.offset, area.shape.size)) == runstate


@pytest.mark.parametrize("abi", SHAPES)
@pytest.mark.parametrize("crossing", [True, False])
def test_both_one_page_and_two_are_drawn(abi, crossing):
    size = SHAPES[abi].size
    assert find(
        strategies.page_offsets(abi),
        lambda offset: (offset + size > PAGE_SIZE) == crossing,
        settings=QUIET,
    ) in range(PAGE_SIZE)


@pytest.mark.parametrize("abi", SHAPES)
@pytest.mark.parametrize("updating", [True, False])
def test_an_image_has_the_flag_if_it_is_asked_for(abi, updating):
    def has_flag(data):
        return bool(runstate_of(SHAPES[abi], data).entry_time & XEN_RUNSTATE_UPDATE)

    @QUIET
    @given(strategies.images(abi, updating))
    def check(data):
        assert len(data) == SHAPES[abi].size
        assert has_flag(data) == updating

    check()
    assert find(strategies.images(abi), lambda data: has_flag(data) == updating, settings=QUIET)


def test_the_abi_that_was_asked_for_is_the_one_that_is_drawn():
    @QUIET
    @given(strategies.placements("compat"))
    def check(area):
        assert area.abi == "compat"

    check()
    for abi in SHAPES:
        assert find(strategies.placements(), lambda area, abi=abi: area.abi == abi, settings=QUIET)


def test_inconsistent_times_are_drawn_where_they_are_asked_for():
    drawn = find(
        strategies.runstates(consistent=False),
        lambda runstate: sum(runstate.times) > runstate.entry_time,
        settings=QUIET,
    )
    assert sum(drawn.times) > drawn.entry_time
