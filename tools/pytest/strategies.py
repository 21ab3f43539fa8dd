"""Hypothesis strategies for runstates, where they lie, and their bytes (extra ``hypothesis``).

from runstate_abi.tools.pytest.strategies import placements, runstates

@given(runstates(), placements("compat"))
def test_my_writer(runstate, area): ...
"""

from typing import TYPE_CHECKING

from runstate_abi.layouts.abi import PAGE_SIZE, U64
from runstate_abi.layouts.structs.runstate import RUNSTATES, XEN_RUNSTATE_UPDATE
from runstate_abi.writer.vcpu import SHAPES, TIME_COUNT, Area, Runstate, flagged, image

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

LAST_TIME = XEN_RUNSTATE_UPDATE - 1  # ns; above it is the flag


def runstates(consistent: bool = True) -> "SearchStrategy[Runstate]":
    """Draw what a hypervisor knows of a vCPU: one of the four states, and times in ns.

    ``consistent`` times add up to no more than the entry time, as they do for a vCPU that has
    existed since its host's clock began; otherwise each is any 64-bit number.
    """
    from hypothesis import strategies as st

    states = st.sampled_from([name.value for name in RUNSTATES])
    if not consistent:
        times = st.tuples(*[st.integers(0, U64)] * TIME_COUNT)
        return st.builds(Runstate, states, st.integers(0, LAST_TIME), times)
    parts = st.tuples(*[st.integers(0, LAST_TIME // TIME_COUNT)] * TIME_COUNT)
    later = st.integers(0, LAST_TIME // TIME_COUNT)

    def added(state: int, times: tuple[int, int, int, int], later: int) -> Runstate:
        return Runstate(state, min(sum(times) + later, LAST_TIME), times)

    return st.builds(added, states, parts, later)


def page_offsets(abi: str) -> "SearchStrategy[int]":
    """Draw where in its page an area begins, every second time where it crosses into the next."""
    from hypothesis import strategies as st

    crossing = st.integers(PAGE_SIZE - SHAPES[abi].size, PAGE_SIZE - 1)
    return st.one_of(crossing, st.integers(0, PAGE_SIZE - 1))


def placements(abi: str | None = None) -> "SearchStrategy[Area]":
    """Draw a guest's area: native or compat (or the one given), anywhere, flagged or not."""
    from hypothesis import strategies as st

    names = list(SHAPES) if abi is None else [abi]
    return st.sampled_from(names).flatmap(
        lambda name: st.builds(Area, st.just(name), page_offsets(name), st.booleans())
    )


def images(abi: str, updating: bool | None = None) -> "SearchStrategy[bytes]":
    """Draw the bytes of a whole struct, padding zero; ``updating`` says whether the flag is up."""
    from hypothesis import strategies as st

    flags = st.booleans() if updating is None else st.just(updating)

    def made(runstate: Runstate, updating: bool) -> bytes:
        entry_time = flagged(runstate.entry_time) if updating else runstate.entry_time
        return image(SHAPES[abi], runstate, entry_time)

    return st.builds(made, runstates(), flags)
