"""The regression table: what the race checker must answer to each question of `race --all`.

The table is written by hand and is never made from the checker's answers. Where it says nothing,
expected() returns None.
"""

from collections.abc import Iterable
from typing import NamedTuple

from runstate_abi.writer.race import SAFE, TORN
from runstate_abi.writer.racing.ordering import Model, is_whole
from runstate_abi.writer.racing.patterns import A_B_A, EQUAL, INCREASING
from runstate_abi.writer.vcpu import ENTRY_TIME_SIZE, Area

WHOLE = "if whole"  # safe where the eight bytes of state_entry_time are one access, else torn

# How a version puts the flag up, which is what decides; commits are in variants.py.
#   byte   one byte first, then all with the flag, then one byte
#   last   the same, but the entry time is written after the times
#   eight  eight bytes of entry time and flag at once: as good as a byte where they are one access
#   copy   eight bytes, by a copy to user space, which may store them in any order
#   lost   one byte first, and the copy of all takes the flag down again
# fmt: off
SET_BY = {
    "linux-5.14": "copy",   "linux-5.16": "eight",  "linux-6.1":   "eight",
    "split-memcpy": "last", "patch-2of4": "byte",   "two-paths":   "byte",
    "single-path": "byte",  "reconciled": "byte",   "linux-6.2":   "byte",
    "upstream": "byte",     "xen-va": "byte",       "xen-phys":    "eight",
    "embedded-struct": "lost", "split-helper": "byte", "two-hva-caches": "byte", "gpc-lock": "byte",
}

READERS    = ("linux-64", "linux-32", "fenced-32", "naive", "split-lh-lh", "split-hl-hl", "split-lh-hl", "split-hl-lh", "plain-64", "copied-time", "state")
VERDICTS = {
    ("x86-tso", "byte"):  (SAFE, SAFE, SAFE, TORN, TORN, TORN, SAFE, TORN, WHOLE, SAFE, SAFE),
    ("x86-tso", "last"):  (SAFE, SAFE, SAFE, TORN, TORN, SAFE, SAFE, TORN, WHOLE, SAFE, SAFE),
    ("x86-tso", "eight"): (SAFE, SAFE, SAFE, TORN, SAFE, TORN, SAFE, TORN, WHOLE, SAFE, SAFE),
    ("x86-tso", "torn"):  (TORN, TORN, TORN, TORN, TORN, TORN, TORN, TORN, TORN, TORN, SAFE),
    ("weak", "byte"):  (SAFE, TORN, SAFE, TORN, TORN, TORN, TORN, TORN, WHOLE, SAFE, SAFE),
    ("weak", "last"):  (SAFE, TORN, SAFE, TORN, TORN, TORN, TORN, TORN, WHOLE, SAFE, SAFE),
    ("weak", "eight"): (SAFE, TORN, SAFE, TORN, TORN, TORN, TORN, TORN, WHOLE, SAFE, SAFE),
    ("weak", "torn"):  (TORN, TORN, TORN, TORN, TORN, TORN, TORN, TORN, TORN, TORN, SAFE),
}

# What each step is for: the "byte" writers, read by linux-64, without it.
DROPPED = {
    #               x86-tso  weak
    "wmb-set":    (SAFE,    TORN),
    "wmb-body":   (SAFE,    TORN),
    "wmb-clear":  (SAFE,    SAFE),
    "set":        (TORN,    TORN),
    "body-bit":   (TORN,    TORN),
    "flag":       (TORN,    TORN),
    "rmb-copy":   (SAFE,    TORN),
    "rmb-reread": (SAFE,    TORN),
    "reread":     (TORN,    TORN),
    "bit-check":  (TORN,    TORN),
}
BLIND = frozenset(("flag", "reread", "bit-check"))  # of these: without one, whoever writes
# fmt: on


class Asked(NamedTuple):
    """One row of the table: who writes, who reads, where and on what."""

    variant: str
    reader: str
    model: Model
    area: Area
    updates: int = 1
    entry_times: str = INCREASING
    dropped: tuple[str, ...] = ()


def expected(asked: Asked) -> str | None:
    """Return what the answer should be, SAFE or TORN; None if the table does not say."""
    steps = tuple(name for name in asked.dropped if name != "flag")
    known = asked.variant in SET_BY and (asked.model.name, "byte") in VERDICTS
    if not known or asked.reader not in READERS:
        return None
    sure = of_any_writer(asked.reader, asked.entry_times, asked.dropped)
    if sure:
        return sure
    if steps:
        return _without(asked, steps)
    verdict = _verdict(asked)
    # The later updates may all come after the guest's last load: more updates only add executions.
    return verdict if asked.updates == 1 or verdict == TORN or asked.reader == "state" else None


def of_any_writer(reader: str, entry_times: str, dropped: Iterable[str]) -> str | None:
    """Return what the answer should be whoever writes, None if that depends on who does.

    An entry time that is the same again says nothing. Without the flag, or without looking at it,
    nor does one that is read twice within an update; nor does one that is read only before it.
    """
    if entry_times in (EQUAL, A_B_A) or not BLIND.isdisjoint(dropped):
        return SAFE if reader == "state" else TORN
    return None


def _verdict(asked: Asked) -> str:
    whole = is_whole(asked.area.address + asked.area.shape.entry_time, ENTRY_TIME_SIZE, asked.model)
    how = SET_BY[asked.variant]
    if how in ("copy", "lost") or "flag" in asked.dropped or (how == "eight" and not whole):
        how = "torn"
    verdict = VERDICTS[asked.model.name, how][READERS.index(asked.reader)]
    if verdict == WHOLE:
        return SAFE if whole else TORN
    return verdict


# linux-64 is the strictest of those that compare: the loads of any other may come right after each
# other, and be one. So what deceives it deceives them all. And where a barrier is gone, there are
# all the executions that there were with it.
def _without(asked: Asked, steps: tuple[str, ...]) -> str | None:
    if asked.reader == "state":
        return None
    if all(name.startswith(("wmb", "rmb")) for name in steps) and _verdict(asked) == TORN:
        return TORN
    if SET_BY[asked.variant] != "byte":
        return None
    known = {DROPPED[name][("x86-tso", "weak").index(asked.model.name)] for name in steps}
    if TORN in known:
        return TORN
    return SAFE if asked.reader == "linux-64" and len(steps) == 1 and asked.updates <= 2 else None
