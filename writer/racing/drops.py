"""What each step of an update is for: the same update without it.

Law of this file: steps in, fewer steps out. Which step is meant is read off the update itself: the
set is the first store that puts the flag up, the clear is the last one that takes it down.
"""

from collections.abc import Sequence
from dataclasses import replace

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.writer.guest import CannotDrop
from runstate_abi.writer.steps import Barrier, Step, Steps, Store, Write
from runstate_abi.writer.vcpu import FLAG, Area

# fmt: off
WRITER_DROPS = {
    "wmb-set":    "the barrier between the set and the body",
    "wmb-body":   "the barrier between the body and the clear",
    "wmb-clear":  "the barrier after the clear",
    "set":        "the store that puts the flag up",
    "body-bit":   "the flag in the body's state_entry_time",
    "flag":       "all of it: the guest did not ask for the flag",
}
READER_DROPS = {
    "rmb-copy":   "the barrier between state_entry_time and the copy",
    "rmb-reread": "the barrier between the copy and state_entry_time again",
    "reread":     "reading state_entry_time again",
    "bit-check":  "looking at the flag",
}
# fmt: on


def without(steps: Steps, area: Area, name: str) -> Steps:
    """Return the steps of one update without one of WRITER_DROPS (CannotDrop).

    "flag" is not a step but the area's, see Area.update_flag: there is nothing to do here.
    """
    if name == "flag":
        return steps
    found = _barrier(steps, area, name) if name.startswith("wmb") else _flagged(steps, area, name)
    if not found:
        raise CannotDrop(f"this update has no {name}: {WRITER_DROPS[name]}")
    if name == "body-bit":
        return tuple(
            _unflagged(step, area) if index in found else step for index, step in enumerate(steps)
        )
    return tuple(step for index, step in enumerate(steps) if index not in found)


def _barrier(steps: Steps, area: Area, name: str) -> set[int]:
    set_, clear = _set_and_clear(steps, area)
    if set_ is None or clear is None:
        return set()
    between = [i for i, step in enumerate(steps) if isinstance(step, Barrier)]
    if name == "wmb-set":
        return set([i for i in between if set_ < i < clear][:1])
    if name == "wmb-body":
        return set([i for i in between if set_ < i < clear][-1:])
    return {i for i in between if i > clear}


def _flagged(steps: Steps, area: Area, name: str) -> set[int]:
    set_, clear = _set_and_clear(steps, area)
    if set_ is None:
        return set()
    if name == "set":
        return {set_}
    last = len(steps) if clear is None else clear
    return {i for i, step in enumerate(steps[:last]) if i > set_ and _flag_of(step, area)}


def _set_and_clear(steps: Sequence[Step], area: Area) -> tuple[int | None, int | None]:
    flags = [_flag_of(step, area) for step in steps]
    set_ = next((i for i, flag in enumerate(flags) if flag), None)
    clear = next((i for i in reversed(range(len(flags))) if flags[i] is False), None)
    if set_ is not None and clear is not None and clear < set_:
        clear = None
    return set_, clear


# Whether a step stores the flag up (True) or down (False), None if it does not touch that byte.
def _flag_of(step: Step, area: Area) -> bool | None:
    if not isinstance(step, Write):
        return None
    place = _place(step, area)
    return bool(step.data[place] & FLAG) if 0 <= place < len(step.data) else None


def _place(step: Write, area: Area) -> int:
    start = (step.page - 1) * PAGE_SIZE + step.offset
    return area.offset + area.shape.update_byte - start


def _unflagged(step: Step, area: Area) -> Step:
    assert isinstance(step, Write)
    place = _place(step, area)
    data = bytearray(step.data)
    data[place] &= ~FLAG
    if isinstance(step, Store):
        return replace(step, data=bytes(data))
    return replace(step, data=bytes(data))
