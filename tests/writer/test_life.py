"""A cache's life: activate, move, invalidate, switch mode, update, in any order.

The invariant: bytes land at the registered address, or nowhere. With the khva fix nothing breaks
it; without the fix it is broken within the same budget, so the machine has teeth.
"""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.writer.gpc import PFNCACHE_6_1, PFNCACHE_6_1_BROKEN, PFNCACHE_6_12, Caches
from runstate_abi.writer.host import Host
from runstate_abi.writer.memory import Overrun, Window, apply
from runstate_abi.writer.steps import Copy, Store
from runstate_abi.writer.variants import VARIANT, register_two_pages
from runstate_abi.writer.vcpu import SHAPES, Area, Runstate

PAGES = 4
VCPU = Runstate(1, 0x1122334455667788, (1, 2, 3, 4))
places = st.integers(0, 2 * PAGE_SIZE) | st.integers(PAGE_SIZE - 60, PAGE_SIZE - 1)


def machine(update, code):
    """Return a state machine over one version of the update and of the cache."""

    class Life(RuleBasedStateMachine):
        def __init__(self):
            super().__init__()
            self.caches = Caches(Host(), code)
            self.abi, self.registered, self.lost = "native", None, []

        @rule(place=places)
        def register(self, place):
            error = register_two_pages(Area(self.abi, place), self.caches)
            self.registered = None if error else place

        @precondition(lambda self: self.registered is not None)
        @rule(by=st.integers(-64, 64))
        def move_a_little(self, by):
            place = min(max(self.registered + by, 0), 2 * PAGE_SIZE)
            self.register(place)

        @rule(abi=st.sampled_from(sorted(SHAPES)))
        def switch_mode(self, abi):
            self.abi = abi

        @rule(frame=st.integers(0, 2))
        def invalidate(self, frame):
            self.caches.invalidate(frame * PAGE_SIZE)

        @rule()
        def change_memslots(self):
            self.caches.host.generation += 1

        @rule()
        def unregister(self):
            self.caches.gpc1.deactivate_now()
            self.caches.gpc2.deactivate_now()
            self.registered = None

        @rule(atomic=st.booleans(), flag=st.booleans())
        def update(self, atomic, flag):
            window = Window(b"\xa5", PAGES)
            area = Area(self.abi, 0, flag)
            touched = set()
            for step in VARIANT[update].update(VCPU, area, self.caches, atomic):
                if isinstance(step, Store | Copy):
                    start = (step.page - 1) * PAGE_SIZE + step.offset
                    touched.update(range(start, start + len(step.data)))
                try:
                    apply(window, step)
                except Overrun as overrun:
                    self.lost.append(str(overrun))
            self.lost.extend(sorted(touched - self.own()))

        def own(self):
            if self.registered is None:
                return set()
            return set(range(self.registered, self.registered + SHAPES[self.abi].size))

        @invariant()
        def bytes_land_at_the_registered_address_or_nowhere(self):
            assert not self.lost, self.lost[:3]

        @invariant()
        def no_lock_is_held(self):
            assert self.caches.held() == {"gpc1": 0, "gpc2": 0}

    return Life


BUDGET = settings(
    deadline=None,
    max_examples=250,
    stateful_step_count=20,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize(
    ("update", "code"),
    [
        ("reconciled", PFNCACHE_6_1),
        ("two-paths", PFNCACHE_6_1),
        ("linux-6.2", PFNCACHE_6_1),
        ("upstream", PFNCACHE_6_12),
    ],
)
def test_bytes_land_at_the_registered_address_or_nowhere(update, code):
    run_state_machine_as_test(machine(update, code), settings=BUDGET)


@pytest.mark.parametrize("update", ["reconciled", "two-paths", "upstream"])
def test_the_machine_finds_the_khva_bug_when_the_fix_is_off(update):
    with pytest.raises(AssertionError, match=r"outside the mapping|assert not \[\d+"):
        run_state_machine_as_test(machine(update, PFNCACHE_6_1_BROKEN), settings=BUDGET)
