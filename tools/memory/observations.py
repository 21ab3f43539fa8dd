"""What is wrong with an area, what is in flight, and what is normal though it looks odd.

Law of this file: normal is never called wrong. Every observation names the fact that it rests on,
and what could have two causes says both.
"""

from typing import NamedTuple

from runstate_abi.layouts.structs.runstate import RUNSTATES, update_byte
from runstate_abi.tools.memory.area import Area, Values, state_name
from runstate_abi.tools.memory.durations import words
from runstate_abi.tools.memory.facts import FACTS

WRONG, IN_FLIGHT, NORMAL = "wrong", "in-flight", "normal"
CLASSES = (WRONG, IN_FLIGHT, NORMAL)
WRAP = 1 << 64
HALF = 1 << 63
OFFLINE = next(known.value for known in RUNSTATES if known.name == "offline")


class Observation(NamedTuple):
    """One thing to know: its class, what was seen, and the fact that it rests on."""

    kind: str
    text: str
    fact: str


def note(kind: str, text: str, *facts: str) -> Observation:
    """Return an observation that rests on the named FACTS."""
    return Observation(kind, text, "; ".join(FACTS[fact] for fact in facts))


def observe(area: Area) -> tuple[Observation, ...]:
    """Return what one look at an area shows, wrong before in-flight before normal."""
    seen = area.values
    found = [*_flag(area, seen), *_state(seen), *_bins(seen), *_sum(seen), *_padding(seen)]
    return ordered(found)


def ordered(found: list[Observation]) -> tuple[Observation, ...]:
    """Return the observations, each class after the one that matters more."""
    return tuple(sorted(found, key=lambda observation: CLASSES.index(observation.kind)))


def worst(found: tuple[Observation, ...]) -> str:
    """Return the class that matters most among the observations."""
    return min((item.kind for item in found), key=CLASSES.index, default=NORMAL)


def _flag(area: Area, seen: Values) -> list[Observation]:
    if not seen.updating:
        text = "the update flag is clear: no update is in progress, if the writer uses the flag"
        return [note(NORMAL, text, "unflagged")] if seen.entry else []
    offset = update_byte(area.layout)
    place = f"byte +{offset:#04x} at {area.address_of(offset):#x} is {area.data[offset]:#04x}"
    return [
        note(IN_FLIGHT, f"XEN_RUNSTATE_UPDATE is set ({place}): an update is in progress", "flag"),
        note(
            IN_FLIGHT,
            f"the entry time without the flag, {words(seen.entry)}, may never have existed",
            "masked",
        ),
    ]


def _state(seen: Values) -> list[Observation]:
    if state_name(seen.state):
        return []
    text = f"state is {seen.state:#x}, which is not a RUNSTATE_* value"
    if seen.updating:
        return [note(IN_FLIGHT, f"{text}: this update may be the area's first", "states", "order")]
    return [note(WRONG, text, "states")]


def _bins(seen: Values) -> list[Observation]:
    found = []
    for index, time in enumerate(seen.times):
        if time <= seen.entry:
            continue
        text = f"{_bin(index)} is larger than the entry time by {words(time - seen.entry)}"
        if seen.updating:
            found.append(note(IN_FLIGHT, text, "order"))
        elif _never_ran(seen) and index == OFFLINE:
            found.append(note(NORMAL, f"{text}: the vCPU has not run yet", "snapshot"))
        elif time >= HALF:
            signed = f"{_bin(index)} is {words(time - WRAP)} as a signed number"
            found.append(note(WRONG, f"{signed}: time was taken from it", "bins", "wrapped"))
        else:
            found.append(note(WRONG, text, "bins"))
    return found


def _never_ran(seen: Values) -> bool:
    others = (time for index, time in enumerate(seen.times) if index != OFFLINE)
    return seen.state == OFFLINE and not any(others) and seen.times[OFFLINE] < HALF


def _sum(seen: Values) -> list[Observation]:
    if seen.updating or max(seen.times) > seen.entry:
        return []
    if not seen.entry:
        return [note(NORMAL, "every time is 0: registered, and not updated yet", "new")]
    offset = seen.entry - seen.total
    if offset == 0:
        text = "the times add up to the entry time, as on KVM"
        return [note(NORMAL, text, "xen-sum", "kvm-sum")]
    if offset > 0:
        return _ahead(seen, offset)
    text = (
        f"the times add up to {words(-offset)} more than the entry time, though the flag is clear: "
        "an update caught half done, or a copy that counts the time so far"
    )
    return [note(IN_FLIGHT, text, "unflagged", "snapshot")]


def _ahead(seen: Values, offset: int) -> list[Observation]:
    created = f"the entry time is {words(offset)} ahead of the sum of the times: on Xen the vCPU's "
    stale = (
        f"a Xen PV guest's area may be stale: it says {state_name(seen.state)} as of the last "
        "update, and the vCPU may have gone on. To know: a later dump (--before), another vCPU "
        "that says running on the same CPU, or Xen's own record, if find sees one that is newer"
    )
    sums = note(
        NORMAL,
        f"{created}creation time, the same in every dump; on KVM it would be 0",
        "xen-sum",
        "kvm-sum",
    )
    return [sums, note(NORMAL, stale, "stale")] if state_name(seen.state) else [sums]


def _padding(seen: Values) -> list[Observation]:
    if not any(seen.padding):
        return []
    text = f"the padding is {seen.padding.hex(' ')}, not zero: left as it was before the update"
    return [note(NORMAL, text, "kvm-pad", "mode")]


def _bin(index: int) -> str:
    return f"time[{index}] {RUNSTATES[index].name}"
