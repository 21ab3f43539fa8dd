"""Observations on an area: what is wrong, what is in flight, and what is normal but looks odd.

Nothing normal may be called wrong. Each observation names the fact behind it, and both causes if
there are two. Two readings of one area show more: how each time grew, and which rules hold between
them. But a reading during an update proves nothing wrong.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from runstate_abi.layouts.structs.runstate import RUNSTATES, update_byte
from runstate_abi.tools.memory.area import AreaBytes, Values, state_name

WRONG, IN_FLIGHT, NORMAL = "wrong", "in-flight", "normal"
CLASSES = (WRONG, IN_FLIGHT, NORMAL)
WRAP = 1 << 64
HALF = 1 << 63
NS_PER_TENTH = 100_000_000
OFFLINE = next(known.value for known in RUNSTATES if known.name == "offline")


# The facts behind the observations. Each has a source, or was seen in a run.
# fmt: off
FACTS = {
    "states":    "xen/include/public/vcpu.h: RUNSTATE_* are 0 to 3",
    "flag":      "Xen commit 2529c850ea (in 4.8): the flag is set before an update and cleared after it; a reader retries while it is set",
    "masked":    "Linux commit 5ec3289b31ab (in v6.2) and Xen set the flag's byte first, the other seven follow: until then they are the old time's (seen with write watchpoints on Linux 6.12)",
    "order":     "the stores of an update come in any order between its barriers, so its parts may be old or new",
    "kvm-sum":   "KVM keeps sum(time) == state_entry_time modulo 2^64: RUNSTATE_DATA that breaks it is refused with EINVAL",
    "xen-sum":   "Xen starts state_entry_time at the vCPU's creation and the times at 0, so the difference is that moment, for ever; an idle vCPU's is 0",
    "bins":      "each time is a part of the age that state_entry_time counts (Xen and KVM account one interval to one state)",
    "wrapped":   "KVM accounted a clock that went backwards before the repair that Linux 7.3.4 has and 7.2.13 has not; the sum cannot show it",
    "snapshot":  "VCPUOP_get_runstate_info, and registering an area for a vCPU that does not run, add the time so far to time[state] and leave state_entry_time alone",
    "kvm-pad":   "KVM's update of an area in one page never writes bytes 4..7, across two pages it writes zeros there; Xen writes zeros",
    "mode":      "a vCPU that went from 32-bit to 64-bit leaves the low half of the old entry time there",
    "stale":     "Xen copies a PV area through the guest's page tables: while the vCPU is preempted in user mode it cannot, and catches up later",
    "unflagged": "KVM without KVM_XEN_ATTR_TYPE_RUNSTATE_UPDATE_FLAG (QEMU never sets it) and Xen without the VM assist update an area without any sign",
    "new":       "KVM writes state 0 and zeros when the area is registered before the first KVM_RUN",
    "same-time": "KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_ADJUST with a delta of 0, and a clock that does not advance, change an area without a new state_entry_time",
    "migration": "live migration makes a new vCPU, whose times begin at 0 (Linux commit 5e25f5db6abb exists for that)",
    "monotonic": "a hypervisor only adds to a time; Xen begins at 0 again where it makes the vCPU anew, at a migration or a restore (Linux commit 5e25f5db6abb exists for that)",
    "qemu":      "QEMU 10.0 migrates the area's address and no times: KVM then writes zeros, and its first update books the whole kvmclock as offline",
    "stuck":     "an update takes microseconds; Linux before commit a795cd43c5b5 could return after a fault with the flag set, and a guest then spins in xen_get_runstate_snapshot()",
    "stopped":   "while the machine is stopped, nothing can finish an update",
}
# fmt: on


class Observation(NamedTuple):
    """What was seen, its class, and the fact behind it."""

    kind: str
    text: str
    fact: str


def note(kind: str, text: str, *facts: str) -> Observation:
    return Observation(kind, text, "; ".join(FACTS[fact] for fact in facts))


def observe(area: AreaBytes) -> tuple[Observation, ...]:
    """Return what one reading of an area shows."""
    seen = area.values
    found = _flag(area, seen)
    if not state_name(seen.state):
        text = f"state is {seen.state:#x}, which is not a RUNSTATE_* value"
        first = note(IN_FLIGHT, f"{text}: this update may be the area's first", "states", "order")
        found.append(first if seen.updating else note(WRONG, text, "states"))
    found += (*_bins(seen), *_sum(seen))
    if any(seen.padding):
        padding = seen.padding.hex(" ")
        text = f"the padding is {padding}, not zero: left as it was before the update"
        found.append(note(NORMAL, text, "kvm-pad", "mode"))
    return ordered(found)


def ordered(found: list[Observation]) -> tuple[Observation, ...]:
    return tuple(sorted(found, key=lambda observation: CLASSES.index(observation.kind)))


def worst(found: tuple[Observation, ...]) -> str:
    return min((item.kind for item in found), key=CLASSES.index, default=NORMAL)


def _flag(area: AreaBytes, seen: Values) -> list[Observation]:
    if not seen.updating:
        text = "the update flag is clear: no update is in progress, if the writer uses the flag"
        return [note(NORMAL, text, "unflagged")] if seen.entry else []
    offset = update_byte(area.layout)
    place = f"byte +{offset:#04x} at {area.address_of(offset):#x} is {area.data[offset]:#04x}"
    entry = f"the entry time without the flag, {words(seen.entry)}, may never have existed"
    return [
        note(IN_FLIGHT, f"XEN_RUNSTATE_UPDATE is set ({place}): an update is in progress", "flag"),
        note(IN_FLIGHT, entry, "masked"),
    ]


def _bins(seen: Values) -> list[Observation]:
    found = []
    for index, time in enumerate(seen.times):
        if time <= seen.entry:
            continue
        text = f"{_bin(index)} is larger than the entry time by {words(time - seen.entry)}"
        if seen.updating:
            found.append(note(IN_FLIGHT, text, "order"))
        elif index == OFFLINE == seen.state and not any(seen.times[:OFFLINE]) and time < HALF:
            found.append(note(NORMAL, f"{text}: the vCPU has not run yet", "snapshot"))
        elif time >= HALF:
            signed = f"{_bin(index)} is {words(time - WRAP)} as a signed number"
            found.append(note(WRONG, f"{signed}: time was taken from it", "bins", "wrapped"))
        else:
            found.append(note(WRONG, text, "bins"))
    return found


def _sum(seen: Values) -> list[Observation]:
    if seen.updating or max(seen.times) > seen.entry:
        return []
    if not seen.entry:
        return [note(NORMAL, "every time is 0: registered, and not updated yet", "new")]
    offset = seen.entry - seen.total
    if offset == 0:
        text = "the times add up to the entry time, as on KVM"
        return [note(NORMAL, text, "xen-sum", "kvm-sum")]
    if offset < 0:
        text = (
            f"the times add up to {words(-offset)} more than the entry time, though the flag is "
            "clear: an update caught half done, or a copy that counts the time so far"
        )
        return [note(IN_FLIGHT, text, "unflagged", "snapshot")]
    created = f"the entry time is {words(offset)} ahead of the sum of the times: on Xen the vCPU's "
    created += "creation time, the same in every dump; on KVM it would be 0"
    stale = (
        f"a Xen PV guest's area may be stale: it says {state_name(seen.state)} as of the last "
        "update, and the vCPU may have gone on. To know: a later dump (--before), another vCPU "
        "that says running on the same CPU, or Xen's own record, if find sees one that is newer"
    )
    sums = note(NORMAL, created, "xen-sum", "kvm-sum")
    return [sums, note(NORMAL, stale, "stale")] if state_name(seen.state) else [sums]


def _bin(index: int) -> str:
    return f"time[{index}] {RUNSTATES[index].name}"


_SHORT = (("ms", 1_000_000), ("us", 1_000), ("ns", 1))


def words(ns: int) -> str:
    """Return a time in ns as ``1 d 02:03:04.5`` or ``886.1 ms``, truncated."""
    if ns < 0:
        return f"-{words(-ns)}"
    if ns < 10 * NS_PER_TENTH:
        name, unit = next((short for short in _SHORT if ns >= short[1]), _SHORT[-1])
        whole, rest = divmod(ns * 10 // unit, 10)
        return f"{whole}.{rest} {name}" if rest else f"{whole} {name}"
    tenths = ns // NS_PER_TENTH
    seconds, tenth = divmod(tenths, 10)
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    clock = f"{hour:02}:{minute:02}:{second:02}.{tenth}"
    return f"{days} d {clock}" if days else clock


class Share(NamedTuple):
    """The part of the time between two readings that was spent in one state: ns, and a fraction."""

    name: str
    delta: int
    part: float


class Deltas(NamedTuple):
    """What changed between two readings, in ns."""

    entry: int
    times: tuple[int, ...]
    states: tuple[int, int]
    offsets: tuple[int, int]  # entry - sum(time) of each, modulo 2^64


def deltas(earlier: Values, later: Values) -> Deltas:
    """Return the change of each number between two readings."""
    pairs = zip(earlier.times, later.times, strict=True)
    return Deltas(
        later.entry - earlier.entry,
        tuple(new - old for old, new in pairs),
        (earlier.state, later.state),
        (offset(earlier), offset(later)),
    )


def offset(seen: Values) -> int:
    """Return state_entry_time - sum(time) in ns, modulo 2^64: constant for one vCPU."""
    return (seen.entry - seen.total) % WRAP


def shares(moved: Deltas) -> tuple[Share, ...]:
    """Return each state's part of the growth of the times; a time that shrank has none."""
    grown = [max(delta, 0) for delta in moved.times]
    total = sum(grown) or 1
    return tuple(
        Share(known.name, delta, growth / total)
        for known, delta, growth in zip(RUNSTATES, moved.times, grown, strict=True)
    )


def told(alone: Iterable[Observation], both: Sequence[Observation]) -> tuple[Observation, ...]:
    """Return the observations of one and of two readings; of two on one fact, the latter's."""
    known = {item.fact for item in both}
    if any(item.fact == STUCK.fact for item in both):
        known.add(FACTS["flag"])  # one reading takes it for an update in progress
    return ordered([*both, *(item for item in alone if item.fact not in known)])


SECOND = 10**9  # ns
STUCK = note(
    WRONG,
    "the flag is set in both dumps, so no update is in flight. Either the writer stopped halfway "
    "or never clears it, and a guest that reads waits; or the machine was stopped within an "
    "update, before both dumps; or this is no area",
    "stuck",
)


def compare(earlier: Values, later: Values, dumps: bool = False) -> tuple[Observation, ...]:
    """Return what two readings show together; ``dumps``: they are not two readings of a watch."""
    moved = deltas(earlier, later)
    flagged = earlier.updating and later.updating
    if dumps and flagged and (earlier == later or abs(moved.entry) >= SECOND):
        return (STUCK,)
    if earlier == later and later.updating:
        text = "nothing changed, and the flag is set in both dumps: an update that was stopped, or "
        return (note(IN_FLIGHT, f"{text}one that left it set", "stuck", "stopped"),)
    if earlier == later:
        name = state_name(later.state) or "its state"
        text = f"nothing changed: the vCPU stayed {name} all the time, or the area is stale. It is "
        text += "stale if Xen's own copy is newer (find), or another vCPU ran on its CPU"
        return (note(NORMAL, text, "stale"),)
    if earlier.updating or later.updating:
        when, kind = ("later", IN_FLIGHT) if later.updating else ("earlier", NORMAL)
        text = f"the {when} dump is in flight: neither growth nor sum can be held against it"
        if later.entry < earlier.entry:
            text += "; the entry time went backwards (are the dumps in order?)"
        return (note(kind, text, "order"),)
    if not later.entry and not any(later.times):
        text = "every time is 0 again: registered anew on a vCPU whose times begin at 0, as after "
        text += "a reset or a migration by QEMU; or it is not the same area"
        return (note(NORMAL, text, "new", "qemu"),)
    found = [*_backwards(earlier, later, moved), *_constant(earlier, later, moved)]
    if not moved.entry:
        text = "the area changed, and its entry time did not"
        found.append(note(NORMAL, text, "same-time"))
    if moved.entry > 0 and not any(item.kind == WRONG for item in found):
        text = f"it was updated between the dumps, and is not stale as of {words(later.entry)}"
        found.append(note(NORMAL, text, "stale"))
    return ordered(found)


def _backwards(earlier: Values, later: Values, moved: Deltas) -> list[Observation]:
    all_back = moved.entry < 0 and all(delta <= 0 for delta in moved.times)
    if all_back and moved.offsets[0] != moved.offsets[1]:
        text = (
            "all of it went back together: a new vCPU after a migration or a restore, or it is "
            "not the same vCPU, or the dumps are out of order"
        )
        return [note(NORMAL, text, "migration")]
    names = ["state_entry_time", *(f"time[{x.value}] {x.name}" for x in RUNSTATES)]
    steps = zip(names, (moved.entry, *moved.times), strict=True)
    why, facts = "", ["monotonic"]
    if all_back:
        # KVM's sum is the entry time on every host. Xen's differs by when the vCPU was created.
        anew = "was the machine migrated or restored between the dumps, or are they out of order?"
        why = f" ({'are the dumps in order?' if moved.offsets[0] else anew})"
    elif moved.offsets == (0, 0) and later.times[OFFLINE] >= earlier.entry:
        why = " (offline has the whole clock, as after a migration by QEMU; else another vCPU's?)"
        facts.append("qemu")
    back = [(name, delta) for name, delta in steps if delta < 0]
    return [note(WRONG, f"{x} went backwards by {words(-ns)}{why}", *facts) for x, ns in back]


def _constant(earlier: Values, later: Values, moved: Deltas) -> list[Observation]:
    old, new = moved.offsets
    if old != new and moved.entry < 0 and max(moved.times) <= 0:
        return []  # a new vCPU: see _backwards()
    if old == new:
        place = "0, as on KVM" if old == 0 else f"{words(old)}, as on Xen"
        text = f"entry time - sum is constant: {place}"
        return [note(NORMAL, text, "xen-sum", "kvm-sum")]
    drift = (new - old + WRAP // 2) % WRAP - WRAP // 2
    # The reading with the larger sum may be a copy that counts the time so far.
    copy = earlier if drift > 0 else later
    if copy.state == OFFLINE and copy.times[OFFLINE] >= abs(drift):
        text = f"entry time - sum moved by {words(drift)}: an offline vCPU's area counts it so far"
        return [note(NORMAL, text, "snapshot")]
    text = (
        f"entry time - sum(time) moved by {words(drift)}: one of the dumps is torn, or a copy made "
        "by VCPUOP_get_runstate_info, or they are of two vCPUs"
    )
    return [note(WRONG, text, "xen-sum", "kvm-sum", "snapshot")]
