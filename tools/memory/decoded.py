"""The clocks and steal times among the rows of a struct, each with what its numbers mean together.

They are recognised by their members, so it does not matter in which struct, and of whose header,
they are: ``vcpu_info[3].time``, ``wc``, or the wc_version, wc_sec and wc_nsec of Xen's shared_info.
"""
# ruff: noqa: E501

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from runstate_abi.tools.memory import clock_rules, clocks, fields
from runstate_abi.tools.memory.fields import Row
from runstate_abi.tools.memory.observations import Observation, ordered, words
from runstate_abi.tools.output import Ink, Line

LABEL_WIDE = 11  # as wide as text_view.py's labels
MIXED = " (an update was in progress: it may be of two updates)"
INVALID = " (the page is not valid)"


class Found(NamedTuple):
    """One clock or steal time: the rows with its numbers, by the names that RULES have."""

    kind: str
    path: str  # of the struct that it is, "" if that is the whole struct shown
    rows: Mapping[str, Row]

    @property
    def numbers(self) -> dict[str, int]:
        found = {name: row.value or 0 for name, row in self.rows.items()}
        if self.kind == "wall_clock":
            found["seconds"] = found["sec"] + (found.get("sec_hi", 0) << 32)
        if self.kind == "time_info":
            found.setdefault("flags", 0)  # the declaration up to Xen's interface 0x040600
        return found

    @property
    def zero(self) -> bool:
        return not any(row.value for row in self.rows.values())

    @property
    def updating(self) -> bool:
        return self.numbers.get("version", 0) % 2 == 1

    @property
    def settled(self) -> bool:
        """May its numbers be held against each other?"""
        valid = self.kind != "tsc_page" or self.rows["sequence"].value != 0
        return valid and not self.updating


# The kind, then each member that it must have, and the name of that one's number.
# fmt: off
STEAL = {"flags": "flags", "steal": "steal", "preempted": "preempted"}
KINDS: tuple[tuple[str, dict[str, str]], ...] = (
    ("time_info",      {"version": "version", "system_time": "system_time", "tsc_to_system_mul": "mul", "tsc_shift": "shift"}),
    ("wall_clock",     {"version": "version", "sec": "sec", "nsec": "nsec"}),
    ("wall_clock",     {"wc_version": "version", "wc_sec": "sec", "wc_nsec": "nsec"}),
    ("kvm_steal_time", {"version": "version", **STEAL}),
    ("sbi_sta",        {"sequence": "version", **STEAL}),
    ("stolen_time",    {"revision": "revision", "attributes": "attributes", "stolen_time": "steal"}),
    ("tsc_page",       {"tsc_sequence": "sequence", "tsc_scale": "scale", "tsc_offset": "offset"}),
)
# fmt: on


def find(rows: Iterable[Row]) -> tuple[Found, ...]:
    """Return the clocks and steal times of which every number is there."""
    numbers = {row.path: row for row in rows if not row.padding}
    groups: dict[str, dict[str, Row]] = {}
    for path, row in numbers.items():
        inner, _, member = path.rpartition(".")
        groups.setdefault(inner, {})[member] = row
    return tuple(_matching(groups, numbers))


def _matching(groups: Mapping[str, dict[str, Row]], every: Mapping[str, Row]) -> Iterator[Found]:
    for path, group in groups.items():
        for kind, members in KINDS:
            if not members.keys() <= group.keys():
                continue
            rows = {name: group[member] for member, name in members.items()}
            rows |= _optional(kind, path, group, every)
            if not any(row.missing for row in rows.values()):
                yield Found(kind, path, rows)


# The flags of a time info, and the upper seconds of a wall clock. The first place that is there
# counts: Linux on Arm declares them twice, and only those inside of `wc` are what Xen writes.
def _optional(
    kind: str, path: str, group: Mapping[str, Row], every: Mapping[str, Row]
) -> dict[str, Row]:
    if kind == "time_info":
        return {name: group[name] for name in ("flags",) if name in group}
    if kind != "wall_clock":
        return {}
    outer = path if "wc_version" in group else path.rpartition(".")[0]
    inside = f"{outer}." if outer else ""
    places = (f"{path}.sec_hi".removeprefix("."), f"{inside}wc_sec_hi", f"{inside}arch.wc_sec_hi")
    there = [every[place] for place in places if place in every]
    return {"sec_hi": there[0]} if there else {}


class Decoded(NamedTuple):
    """What the numbers of one clock or steal time say."""

    rows: dict[str, str]  # what to write behind a number, by the number's name
    line: tuple[str, str] | None  # what several numbers say together: a label and a text
    values: dict[str, Any]  # for scripts


def decode(found: Found) -> Decoded:
    """Decode one clock or steal time."""
    return DECODERS[found.kind](found, found.numbers)


def _time_info(found: Found, numbers: dict[str, int]) -> Decoded:
    ns = clocks.signed(numbers["system_time"])
    khz = clocks.tsc_khz(numbers["mul"], numbers["shift"])
    flags = list(clocks.names(numbers["flags"], clocks.TIME_FLAGS))
    told = f"{khz:,} kHz" if khz is not None else "no frequency"
    line = f"{told}, from tsc_to_system_mul and tsc_shift, as Linux's pvclock_tsc_khz() has it"
    rows = {"system_time": clocks.ns_words(ns), "flags": " | ".join(flags)}
    return Decoded(rows, ("TSC", line), {"system_time_ns": ns, "tsc_khz": khz, "flags": flags})


def _wall_clock(found: Found, numbers: dict[str, int]) -> Decoded:
    seconds, nsec = clocks.signed(numbers["seconds"]), numbers["nsec"]
    date = clocks.utc(seconds, nsec)
    told = (
        clocks.date_words(date) if date else f"no date ({seconds:,} s and {nsec:,} ns after 1970)"
    )
    line = f"{told}, when the system time was 0"
    return Decoded({}, ("wall clock", line), {"seconds": seconds, "nsec": nsec, "utc": date})


def _steal(found: Found, numbers: dict[str, int]) -> Decoded:
    ns = clocks.signed(numbers["steal"])
    rows, values = {"steal": clocks.ns_words(ns)}, {"steal_ns": ns}
    if found.kind == "stolen_time":
        return Decoded(rows, None, values)
    preempted = numbers["preempted"]
    names = ["preempted"] if preempted else []
    if found.kind == "kvm_steal_time":
        names = list(clocks.names(preempted, clocks.PREEMPTED_FLAGS))
    told = {"preempted": " | ".join(names) or "not preempted"}
    return Decoded(rows | told, None, values | {"preempted": names})


def _tsc_page(found: Found, numbers: dict[str, int]) -> Decoded:
    khz, offset = clocks.reference_khz(numbers["scale"]), numbers["offset"]
    told = f"{khz:,} kHz" if khz is not None else "no frequency"
    ns = offset * clocks.TICK
    rows = {"offset": f"{offset:,} x {clocks.TICK} ns  {words(ns)}"}
    values = {"valid": numbers["sequence"] != 0, "tsc_khz": khz, "tsc_offset_ns": ns}
    return Decoded(rows, ("TSC", f"{told}, from tsc_scale"), values)


DECODERS: dict[str, Callable[[Found, dict[str, int]], Decoded]] = {
    "time_info": _time_info,
    "wall_clock": _wall_clock,
    "kvm_steal_time": _steal,
    "sbi_sta": _steal,
    "stolen_time": _steal,
    "tsc_page": _tsc_page,
}


def meanings(found: Iterable[Found]) -> dict[int, str]:
    """Return what to write behind a number, by its offset."""
    return {
        one.rows[name].offset: text
        for one in found
        if not one.zero
        for name, text in decode(one).rows.items()
        if name in one.rows and text
    }


def lines(found: Iterable[Found]) -> Iterator[Line]:
    """Yield what several numbers say together; what is the same in several structs once."""
    paths: dict[tuple[str, str], list[str]] = {}
    for one in found:
        line = None if one.zero else decode(one).line
        if line:
            doubt = MIXED if one.updating else "" if one.settled else INVALID
            paths.setdefault((line[0], line[1] + doubt), []).append(one.path)
    for (label, text), where in paths.items():
        named = fields.listed([path for path in where if path])
        told = f"{text}: {named}" if named else text
        yield (Ink(f"{label:<{LABEL_WIDE}}"), Ink(told, "strong"))


def as_json(found: Iterable[Found]) -> list[dict[str, Any]]:
    """Return each clock and steal time that is not zero; times in ns, frequencies in kHz."""
    return [
        {
            "path": one.path,
            "kind": one.kind,
            "update_in_progress": one.updating,
            **decode(one).values,
        }
        for one in found
        if not one.zero
    ]


def observe(found: Iterable[Found]) -> tuple[Observation, ...]:
    """Return what is wrong with the clocks and steal times, and which were never written."""
    seen: list[Observation] = []
    zero: dict[str, list[str]] = {}
    for one in found:
        if one.zero:
            zero.setdefault(one.kind, []).append(one.path)
        elif one.settled:
            seen += clock_rules.judge(one.kind, one.path, one.numbers)
    for kind, paths in zero.items():
        seen.append(clock_rules.unwritten(kind, fields.listed([path for path in paths if path])))
    return ordered(seen)
