"""Replay what a real Xen wrote: areas at their registration and after an update.

Law of this file: the values are the hypervisor's clock, so they are taken from the bytes. All else
is held against the model: padding, what lies outside, and that the entry time minus all
times is one constant of the vCPU.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from replaying.accounting import origin
from replaying.fields import known
from replaying.outcomes import Case, differ, differ_bytes
from replaying.recordings import (
    MARGIN,
    area_of,
    differ_split,
    plausible,
    poison_of,
    struct_in,
    window_of,
    written,
)
from runstate_abi.layouts.abi import U64
from runstate_abi.writer.variants import VARIANT
from runstate_abi.writer.vcpu import TIME_COUNT, Shape, runstate_of
from runstate_abi.writer.witnesses.recorded import Malformed, Record, number, truth

XEN = VARIANT["xen-va"]

# fmt: off
AREA = frozenset((
    "layout", "update_flag", "off", "len1", "len2", "poison", "outside",
    "first", "last", "at_register", "after_update",
))
# fmt: on


def area(record: Record) -> Iterator[str]:
    """Two windows of one area: Xen writes it when it is registered, and at the next update."""
    known(record, AREA)
    here = area_of(record, truth(record, "update_flag"))
    poison = poison_of(record)
    yield from differ_split(record, here)
    registered = window_of(record, "at_register")
    updated = window_of(record, "after_update")
    for name, window in (("at_register", registered), ("after_update", updated)):
        vcpu = runstate_of(here.shape, struct_in(window, here.shape))
        yield from plausible(name, vcpu)
        seen = written(XEN, vcpu, here, poison)
        yield from differ_bytes(name, window, seen, here.shape, MARGIN)
    yield from _later(here.shape, registered, updated)
    yield from _extent(record, here.shape, updated, poison)


def _later(shape: Shape, registered: bytes, updated: bytes) -> Iterator[str]:
    first = runstate_of(shape, struct_in(registered, shape))
    second = runstate_of(shape, struct_in(updated, shape))
    if second.entry_time <= first.entry_time:
        yield f"state_entry_time {second.entry_time} is not later than {first.entry_time}"
    yield from differ("state_entry_time - sum(time)", origin(first), origin(second))
    for index in range(TIME_COUNT):
        if second.times[index] < first.times[index]:
            yield f"time[{index}] {second.times[index]} went back from {first.times[index]}"


def _extent(record: Record, shape: Shape, window: bytes, poison: bytes) -> Iterator[str]:
    changed = [index - MARGIN for index, byte in enumerate(window) if byte != poison[0]]
    inside = [index for index in changed if 0 <= index < shape.size]
    yield from differ("first", number(record, "first", 0, U64), inside[0] if inside else None)
    yield from differ("last", number(record, "last", 0, U64), inside[-1] if inside else None)
    outside = len(changed) - len(inside)
    yield from differ("bytes changed outside", number(record, "outside", 0, U64), outside)


def area_origin(record: Record) -> int | None:
    """Return the entry time minus all times, None if the record cannot be read."""
    try:
        here = area_of(record, False)
        struct = struct_in(window_of(record, "after_update"), here.shape)
    except Malformed:
        return None
    return origin(runstate_of(here.shape, struct))


def one_origin(cases: Sequence[Case], origins: Sequence[int | None]) -> Iterator[Case]:
    """Yield the cases, with a difference for one whose vCPU was born at another time than most."""
    counted = Counter(one for one in origins if one is not None)
    usual = counted.most_common(1)[0][0] if counted else None
    for case, one in zip(cases, origins, strict=True):
        if one is None or one == usual:
            yield case
        else:
            line = f"state_entry_time - sum(time) is {one}, and {usual} in the other cases"
            yield Case(case.name, (*case.differences, line))
