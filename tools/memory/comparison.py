"""Compare two looks at one area: how each time grew, and which rules hold between them.

A look that fell into an update proves nothing wrong.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from runstate_abi.layouts.structs.runstate import RUNSTATES
from runstate_abi.tools.memory import observations
from runstate_abi.tools.memory.area import Values, state_name
from runstate_abi.tools.memory.observations import Observation, note, ordered, words


class Share(NamedTuple):
    """How much of the time between two looks went to one state: ns, and a part of 1."""

    name: str
    delta: int
    part: float


class Deltas(NamedTuple):
    """What changed between two looks, in ns; ``offsets`` are entry - sum(time), modulo 2^64."""

    entry: int
    times: tuple[int, ...]
    states: tuple[int, int]
    offsets: tuple[int, int]


def deltas(earlier: Values, later: Values) -> Deltas:
    """Return how far each number moved from one look to the next."""
    pairs = zip(earlier.times, later.times, strict=True)
    return Deltas(
        later.entry - earlier.entry,
        tuple(new - old for old, new in pairs),
        (earlier.state, later.state),
        (offset(earlier), offset(later)),
    )


def offset(seen: Values) -> int:
    """Return state_entry_time - sum(time) in ns, modulo 2^64: constant for one vCPU."""
    return (seen.entry - seen.total) % observations.WRAP


def shares(moved: Deltas) -> tuple[Share, ...]:
    """Return the part of each state in what the times grew by; times that shrank have none."""
    grown = [max(delta, 0) for delta in moved.times]
    total = sum(grown) or 1
    return tuple(
        Share(known.name, delta, growth / total)
        for known, delta, growth in zip(RUNSTATES, moved.times, grown, strict=True)
    )


def told(alone: Iterable[Observation], both: Sequence[Observation]) -> tuple[Observation, ...]:
    """Return what one look and what two show; of observations on one fact, that of two looks."""
    known = {item.fact for item in both}
    if any(item.fact == STUCK.fact for item in both):
        known.add(observations.FACTS["flag"])  # one look takes it for an update in progress
    return ordered([*both, *(item for item in alone if item.fact not in known)])


SECOND = 10**9  # ns
STUCK = note(
    observations.WRONG,
    "the flag is set in both dumps, so no update is in flight. Either the writer stopped halfway "
    "or never clears it, and a guest that reads waits; or the machine was stopped within an "
    "update, before both dumps; or this is no area",
    "stuck",
)


def compare(earlier: Values, later: Values, dumps: bool = False) -> tuple[Observation, ...]:
    """Return what two looks, the earlier first, show together.

    ``dumps``: they are two dumps, and not looks of a watch, which knows what a flag that stays
    set means.
    """
    moved = deltas(earlier, later)
    flagged = earlier.updating and later.updating
    if dumps and flagged and (earlier == later or abs(moved.entry) >= SECOND):
        return (STUCK,)
    if earlier == later and later.updating:
        text = (
            "nothing changed, and the flag is set in both dumps: an update that was stopped, or "
            "one that left it set"
        )
        return (note(observations.IN_FLIGHT, text, "stuck", "stopped"),)
    if earlier == later:
        name = state_name(later.state) or "its state"
        text = (
            f"nothing changed: the vCPU stayed {name} all the time, or the area is stale. It is "
            "stale if Xen's own copy is newer (find), or another vCPU ran on its CPU"
        )
        return (note(observations.NORMAL, text, "stale"),)
    if earlier.updating or later.updating:
        when, kind = (
            ("later", observations.IN_FLIGHT)
            if later.updating
            else ("earlier", observations.NORMAL)
        )
        text = f"the {when} dump is in flight: neither growth nor sum can be held against it"
        if later.entry < earlier.entry:
            text += "; the entry time went backwards (are the dumps in order?)"
        return (note(kind, text, "order"),)
    if not later.entry and not any(later.times):
        text = (
            "every time is 0 again: registered anew on a vCPU whose times begin at 0, as after a "
        )
        text += "reset or a migration by QEMU; or it is not the same area"
        return (note(observations.NORMAL, text, "new", "qemu"),)
    found = [*_backwards(earlier, later, moved), *_constant(earlier, later, moved)]
    if not moved.entry:
        text = "the area changed, and its entry time did not"
        found.append(note(observations.NORMAL, text, "same-time"))
    if moved.entry > 0 and not any(item.kind == observations.WRONG for item in found):
        text = f"it was updated between the dumps, and is not stale as of {words(later.entry)}"
        found.append(note(observations.NORMAL, text, "stale"))
    return ordered(found)


def _backwards(earlier: Values, later: Values, moved: Deltas) -> list[Observation]:
    if _made_anew(moved):
        text = "all of it went back together: a new vCPU after a migration or a restore, or it is "
        text += "not the same vCPU, or the dumps are out of order"
        return [note(observations.NORMAL, text, "migration")]
    names = ["state_entry_time", *(f"time[{x.value}] {x.name}" for x in RUNSTATES)]
    steps = zip(names, (moved.entry, *moved.times), strict=True)
    why, facts = "", ["monotonic"]
    if _all_back(moved):
        # KVM's sum is the entry time on every host. Xen's differs by when the vCPU was created.
        anew = "was the machine migrated or restored between the dumps, or are they out of order?"
        why = f" ({'are the dumps in order?' if moved.offsets[0] else anew})"
    elif moved.offsets == (0, 0) and later.times[observations.OFFLINE] >= earlier.entry:
        why = " (offline has the whole clock, as after a migration by QEMU; else another vCPU's?)"
        facts.append("qemu")
    return [
        note(
            observations.WRONG,
            f"{name} went backwards by {words(-delta)}{why}",
            *facts,
        )
        for name, delta in steps
        if delta < 0
    ]


def _all_back(moved: Deltas) -> bool:
    return moved.entry < 0 and all(delta <= 0 for delta in moved.times)


def _made_anew(moved: Deltas) -> bool:
    return _all_back(moved) and moved.offsets[0] != moved.offsets[1]


def _constant(earlier: Values, later: Values, moved: Deltas) -> list[Observation]:
    old, new = moved.offsets
    if _made_anew(moved):
        return []
    if old == new:
        place = "0, as on KVM" if old == 0 else f"{words(old)}, as on Xen"
        return [
            note(
                observations.NORMAL, f"entry time - sum is constant: {place}", "xen-sum", "kvm-sum"
            )
        ]
    drift = (new - old + observations.WRAP // 2) % observations.WRAP - observations.WRAP // 2
    # The look with the larger sum may be the copy that counts the time so far.
    copy = earlier if drift > 0 else later
    if copy.state == observations.OFFLINE and copy.times[observations.OFFLINE] >= abs(drift):
        text = f"entry time - sum moved by {words(drift)}: an offline vCPU's area counts it so far"
        return [note(observations.NORMAL, text, "snapshot")]
    text = (
        f"entry time - sum(time) moved by {words(drift)}: one of the dumps is torn, or a copy made "
        "by VCPUOP_get_runstate_info, or they are of two vCPUs"
    )
    return [note(observations.WRONG, text, "xen-sum", "kvm-sum", "snapshot")]
