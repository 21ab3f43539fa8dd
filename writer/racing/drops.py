"""Updates without one of their steps, to show what the step is for; and how they store the flag.

The update itself shows which step is meant: the set is the first store that sets the flag, the
clear is the last store that clears it.
"""

from collections.abc import Collection
from dataclasses import replace

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.writer.guest import CannotDrop
from runstate_abi.writer.steps import Barrier, Copy, Step, Steps, Write
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

    "flag" is no step and changes nothing here: Area.update_flag says whether the guest asked for
    it.
    """
    if name == "flag":
        return steps
    found = _meant(steps, area, name)
    if not found:
        raise CannotDrop(f"this update has no {name}: {WRITER_DROPS[name]}")
    if name == "body-bit":
        return tuple(
            _unflagged(step, area) if index in found else step for index, step in enumerate(steps)
        )
    return tuple(step for index, step in enumerate(steps) if index not in found)


# The indexes of the steps that a name stands for.
def _meant(steps: Steps, area: Area, name: str) -> set[int]:
    flags = [_flag_of(step, area) for step in steps]
    ups = [index for index, flag in enumerate(flags) if flag]
    if not ups:
        return set()
    set_ = ups[0]
    clear = max((i for i, flag in enumerate(flags) if flag is False and i > set_), default=None)
    if name == "set":
        return {set_}
    if name == "body-bit":
        return {i for i in ups if set_ < i and (clear is None or i < clear)}
    if clear is None:
        return set()
    barriers = [i for i, step in enumerate(steps) if isinstance(step, Barrier)]
    between = [i for i in barriers if set_ < i < clear]
    if name == "wmb-clear":
        return {i for i in barriers if i > clear}
    return set(between[:1] if name == "wmb-set" else between[-1:])


COUNTS = {1: "one byte", 8: "eight bytes"}


def flag_stores(steps: Steps, area: Area, read: Collection[int] = ()) -> str:
    """Return in words how an update puts the flag up and takes it down.

    ``read`` are the indexes of the stores of what was just read from the same place.
    """
    flags = [_flag_of(step, area) for step in steps]
    ups = [index for index, flag in enumerate(flags) if flag]
    if not ups:
        return "the flag never goes up"
    downs = [index for index, flag in enumerate(flags) if flag is False and index > ups[0]]
    writes = [index for index, step in enumerate(steps) if isinstance(step, Write)]
    late = "" if ups[0] == writes[0] else ", after other stores"
    said = f"the flag goes up by {_width(steps, ups[0], read)}{late}"
    if not downs:
        return f"{said}, and stays up"
    # All that is stored while the flag is down is stored unprotected.
    early = "" if downs == writes[-1:] else ", which is not the last store"
    return f"{said}, and down by {_width(steps, downs[0], read)}{early}"


def _width(steps: Steps, index: int, read: Collection[int]) -> str:
    step = steps[index]
    assert isinstance(step, Write)
    size = len(step.data)
    said = COUNTS.get(size, f"{size} bytes")
    if isinstance(step, Copy):
        return f"a copy of {said}"
    changed = index in read or any(getattr(step, "keep", b""))
    return f"{said}, read, changed and written back" if changed else said


# Does a step store the flag set (True) or clear (False)? None: it stores another byte.
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
    data = bytearray(step.data)
    data[_place(step, area)] &= ~FLAG
    return replace(step, data=bytes(data))
