"""Updates without one of their steps, to show what the step is for; and how they store the flag.

The update itself shows which step is meant: the set is the first store after which the guard's word
says that an update is in flight, the clear is the last store after which it says so no more.
"""

from collections.abc import Collection
from dataclasses import replace

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.writer.guest import CannotDrop
from runstate_abi.writer.steps import Barrier, Copy, Step, Steps, Write
from runstate_abi.writer.vcpu import Area
from runstate_abi.writer.versions.place import Place

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


# The same of a word that is odd while an update is in flight, or 0.
VERSION_DROPS = {
    "wmb-set": "the barrier between the odd version and the body",
    "wmb-body": "the barrier between the body and the even version",
    "wmb-clear": "the barrier after the even version",
    "set": "the store that makes the version odd (of Hyper-V's page: 0)",
    "body-odd": "the odd version in the body",
}
VERSION_READER_DROPS = {
    "rmb-copy": "the barrier between the version and the members",
    "rmb-reread": "the barrier between the members and the version again",
    "reread": "reading the version again",
    "odd-check": "looking whether the version is odd",
    "zero-check": "of Hyper-V's page: looking whether it is 0",
}
_BODY = ("body-bit", "body-odd")


def without(steps: Steps, area: Area | Place, name: str) -> Steps:
    """Return the steps of one update without one of WRITER_DROPS (CannotDrop).

    "flag" is no step and changes nothing here: Area.update_flag says whether the guest asked for
    it.
    """
    if name == "flag":
        return steps
    found = set() if name in _BODY and not area.shape.guard.bit else _meant(steps, area, name)
    if not found:
        raise CannotDrop(f"this update has no {name}: {(WRITER_DROPS | VERSION_DROPS)[name]}")
    if name in _BODY:
        return tuple(
            _unflagged(step, area) if index in found else step for index, step in enumerate(steps)
        )
    return tuple(step for index, step in enumerate(steps) if index not in found)


# The indexes of the steps that a name stands for.
def _meant(steps: Steps, area: Area | Place, name: str) -> set[int]:
    flags = [_flag_of(step, area) for step in steps]
    ups = [index for index, flag in enumerate(flags) if flag]
    if not ups:
        return set()
    set_ = ups[0]
    clear = max((i for i, flag in enumerate(flags) if flag is False and i > set_), default=None)
    if name == "set":
        return {set_}
    if name in _BODY:
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


# Does a step store the guard's bit set (True) or clear (False)? None: it stores another byte.
def _flag_of(step: Step, area: Area | Place) -> bool | None:
    if not isinstance(step, Write):
        return None
    place = _place(step, area)
    return area.shape.guard.is_up(step.data[place]) if 0 <= place < len(step.data) else None


def _place(step: Write, area: Area | Place) -> int:
    start = (step.page - 1) * PAGE_SIZE + step.offset
    return area.offset + area.shape.guard.place(area.shape.layout) - start


def _unflagged(step: Step, area: Area | Place) -> Step:
    assert isinstance(step, Write)
    data = bytearray(step.data)
    data[_place(step, area)] &= ~area.shape.guard.bit
    return replace(step, data=bytes(data))
