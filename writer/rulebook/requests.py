"""Requests: the updates that a writer is asked to make, so that it can be judged.

They cover every offset in a page, both structs, the flag asked for or not, atomic or not. The
boundaries and the failures are listed by name, because random offsets miss them: a writer that uses
the wrong page for the update byte is wrong at 2 of 16384 placements. The vCPU's state depends on
the offset, so not every state is tried at every offset.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import product
from typing import NamedTuple

from runstate_abi.layouts.abi import PAGE_SIZE, U64
from runstate_abi.layouts.structs.runstate import XEN_RUNSTATE_UPDATE
from runstate_abi.writer.host import EFAULT
from runstate_abi.writer.vcpu import (
    BLOCKED,
    OFFLINE,
    RUNNABLE,
    RUNNING,
    SHAPES,
    Area,
    Runstate,
    Shape,
    split,
)


class Scenario(NamedTuple):
    """What goes wrong with the caches. A number is a cache's: 1 or 2."""

    name: str
    stale: int = 0  # its check fails until it is refreshed or activated, which returns ``error``
    error: int = 0
    busy: int = 0  # another CPU holds its write lock, which only a trylock notices
    again: bool = False  # the first cache becomes stale while the second is activated
    no_slot: bool = False  # no memslot, so there is no page to mark dirty


# fmt: off
FINE = Scenario("")
SCENARIOS = (
    FINE,
    Scenario("stale1",   stale=1),
    Scenario("lost1",    stale=1, error=-EFAULT),
    Scenario("busy1",    busy=1),
    Scenario("stale2",   stale=2),
    Scenario("lost2",    stale=2, error=-EFAULT),
    Scenario("busy2",    busy=2),
    Scenario("again",    stale=2, again=True),
    Scenario("no-slot",  no_slot=True),
)
# fmt: on
HVM = Scenario("hvm")  # no failure: Xen copies to a guest with its own page tables
SCENARIO = {scenario.name: scenario for scenario in (*SCENARIOS, HVM)}


@dataclass(frozen=True, slots=True)
class Request:
    """One update to be made over memory filled with ``fill``.

    ``offset`` is the area's in page 1. ``atomic``: the new state is runnable, and the writer may
    not block. It is called so by the scheduler, with interrupts off, and where ``ioctl``, with them
    on, by RUNSTATE_CURRENT or RUNSTATE_ADJUST (since 5ec3289b31ab).
    """

    abi: str
    offset: int
    flag: bool
    atomic: bool
    vcpu: Runstate
    fill: bytes = b"\xa5"
    scenario: Scenario = FINE
    ioctl: bool = False

    @property
    def irqs_off(self) -> bool:
        """Are interrupts off when the writer is called?"""
        return self.atomic and not self.ioctl

    @property
    def area(self) -> Area:
        return _area(self.abi, self.offset, self.flag)

    def __str__(self) -> str:
        """``native@0xff1,flag,atomic,stale1``: what --case takes."""
        words = [f"{self.abi}@{self.offset:#x}"]
        words += ["flag"] * self.flag + ["atomic"] * self.atomic + ["ioctl"] * self.ioctl
        return ",".join(words + [self.scenario.name] * bool(self.scenario.name))


# Cached because one update asks for it several times.
@lru_cache(maxsize=1)
def _area(abi: str, offset: int, flag: bool) -> Area:
    return Area(abi, offset, flag)


# All bytes of a struct differ from each other and from the fill pattern, so that a missing or
# misplaced byte shows.
_ENTRY_TIMES = (0x7877767574737271, 0x0807060504030201)
_TIMES = (
    (0x1817161514131211, 0x1F1E1D1C1B1A1910, 0x2827262524232221, 0x292B2D2F31333537),
    (0x4847464544434241, 0x5857565554535251, 0x6867666564636261, 0x3736353433323130),
)
_FILLS = (b"\xa5", b"\x5a")
_STATES = (RUNNING, BLOCKED, OFFLINE)
BOTH = (True, False)


def request(abi: str, offset: int, flag: bool, atomic: bool, scenario: Scenario = FINE) -> Request:
    """Return the request at a place. The offset selects one of a few runstates."""
    number = offset % (2 * len(_STATES))
    state = RUNNABLE if atomic else _STATES[number % len(_STATES)]
    vcpu = _runstate(state, number & 1)
    return Request(abi, offset, flag, atomic, vcpu, _FILLS[number & 1], scenario)


@cache
def _runstate(state: int, which: int) -> Runstate:
    return Runstate(state, _ENTRY_TIMES[which], _TIMES[which])


def boundaries(shape: Shape) -> Iterator[int]:
    """Yield the offsets where something changes: every split, the exact fit, a few more."""
    yield from (0, 1, PAGE_SIZE // 16)
    yield from range(PAGE_SIZE - shape.size - 1, PAGE_SIZE)


def failures(shape: Shape) -> Iterator[tuple[int, Scenario]]:
    """Yield (offset, scenario): in one page, split, split before the update byte."""
    update_byte_in_page_2 = PAGE_SIZE - shape.update_byte
    first_split = PAGE_SIZE - shape.size + 1
    for offset in (PAGE_SIZE // 16, first_split, update_byte_in_page_2, PAGE_SIZE - 1):
        is_split = bool(split(offset, shape.size).second)
        for scenario in SCENARIOS[1:]:
            if is_split or 2 not in (scenario.stale, scenario.busy):
                yield offset, scenario


def quick() -> Iterator[Request]:
    """Yield the boundaries, the failures and the odd values, each atomic and not."""
    yield from _quick()
    yield from _by_ioctl()


def _quick() -> Iterator[Request]:
    for (abi, shape), flag, atomic in product(SHAPES.items(), (True, False), (False, True)):
        for offset in boundaries(shape):
            yield request(abi, offset, flag, atomic)
        for offset, scenario in failures(shape):
            # Only a trylock notices that a lock is busy.
            if atomic or not scenario.busy:
                yield request(abi, offset, flag, atomic, scenario)
        for vcpu, fill in product(_odd(atomic), (b"\x00", b"\xff")):
            for offset in (PAGE_SIZE // 16, PAGE_SIZE - shape.update_byte):
                yield Request(abi, offset, flag, atomic, vcpu, fill)


# Last, so that the fingerprints of the updates before do not depend on them.
def _by_ioctl() -> Iterator[Request]:
    for (abi, shape), flag in product(SHAPES.items(), BOTH):
        places = [(offset, FINE) for offset in boundaries(shape)]
        for offset, scenario in (*places, *failures(shape)):
            yield replace(request(abi, offset, flag, True, scenario), ioctl=True)


# All zeros, all ones, and the update flag in the entry time itself, which should not occur.
def _odd(atomic: bool) -> Iterator[Runstate]:
    state = RUNNABLE if atomic else RUNNING
    yield Runstate(state, 0, (0, 0, 0, 0))
    yield Runstate(state, U64 & ~XEN_RUNSTATE_UPDATE, (U64, U64, U64, U64))
    yield Runstate(state, _ENTRY_TIMES[0] | XEN_RUNSTATE_UPDATE, _TIMES[0])


def everything() -> Iterator[Request]:
    """Yield quick()'s requests and then every offset, each atomic and not."""
    yield from _quick()
    for abi, flag, atomic, offset in product(SHAPES, BOTH, BOTH, range(PAGE_SIZE)):
        yield request(abi, offset, flag, atomic)
    yield from _by_ioctl()


def without_caches(boundaries_only: bool = False) -> Iterator[Request]:
    """Yield the requests that make sense for Xen, for PV and for HVM guests."""
    for (abi, shape), flag, kind in product(SHAPES.items(), (True, False), (FINE, HVM)):
        for offset in boundaries(shape) if boundaries_only else range(PAGE_SIZE):
            yield request(abi, offset, flag, False, kind)
        for vcpu, fill in product(_odd(False), (b"\x00", b"\xff")):
            yield Request(abi, PAGE_SIZE // 16, flag, False, vcpu, fill, kind)


_CASE = re.compile(r"(?P<abi>\w+)@(?P<offset>0x[0-9a-fA-F]+|\d+)(?P<words>(,[\w-]+)*)")


def parse(text: str) -> Request:
    """Return the request that ``native@0xff1,flag,atomic,stale1`` names (ValueError)."""
    found = _CASE.fullmatch(text)
    if not found or found["abi"] not in SHAPES:
        raise ValueError(
            f"{text!r} is not {' or '.join(SHAPES)}@OFFSET[,flag][,atomic][,ioctl][,SCENARIO]"
        )
    offset = int(found["offset"], 0)
    if offset >= PAGE_SIZE:
        raise ValueError(f"{text!r}: an offset in a page is below {PAGE_SIZE}")
    words = found["words"].split(",")[1:]
    scenarios = [word for word in words if word not in ("flag", "atomic", "ioctl")]
    if len(scenarios) > 1 or any(word not in SCENARIO for word in scenarios):
        known = ", ".join(name for name in SCENARIO if name)
        raise ValueError(f"{text!r}: the scenarios are {known}")
    scenario = SCENARIO[scenarios[0]] if scenarios else FINE
    asked = request(found["abi"], offset, "flag" in words, "atomic" in words, scenario)
    asked = replace(asked, ioctl="ioctl" in words)
    why = _impossible(asked)
    if why:
        raise ValueError(f"{text!r}: {why}")
    return asked


# Why a scenario would change nothing, "" if it would change something.
def _impossible(asked: Request) -> str:
    scenario = asked.scenario
    if asked.ioctl and not asked.atomic:
        return "ioctl is for atomic: every other update is made by one"
    if scenario.busy and not asked.atomic:
        return f"{scenario.name} is for atomic: who may wait for a lock does not notice"
    if (
        2 in (scenario.stale, scenario.busy)
        and not split(asked.offset, asked.area.shape.size).second
    ):
        return f"{scenario.name} is for two pages, and this area is in one"
    return ""
