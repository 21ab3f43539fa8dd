"""What the writer's tests share: one vCPU whose bytes all differ, and updates as steps."""

import pytest

from runstate_abi.writer.steps import line
from runstate_abi.writer.variants import VARIANT, prepare, update
from runstate_abi.writer.vcpu import Area, Runstate

VCPU = Runstate(
    1,
    0x1122334455667788,
    (0x0101010101010101, 0x0202020202020202, 0x0303030303030303, 0x0404040404040404),
)


@pytest.fixture
def vcpu():
    """A vCPU that is runnable; every byte of it tells which field it is of."""
    return VCPU


@pytest.fixture
def steps_of():
    """Return a function: the steps of one update (variant name, abi, offset, ...)."""

    def steps(
        variant, abi="native", offset=256, update_flag=True, host="x86_64", vcpu=VCPU, atomic=False
    ):
        return update(VARIANT[variant], vcpu, Area(abi, offset, update_flag, host), atomic)

    return steps


@pytest.fixture
def lines_of(steps_of):
    """Return a function: the canonical lines of one update."""
    return lambda *arguments, **named: [line(step) for step in steps_of(*arguments, **named)]


@pytest.fixture
def prepared():
    """Return a function: caches of a registered area."""
    return lambda variant, area: prepare(VARIANT[variant], area)
