"""How guests read the area: each reader as data, a list of loads and read barriers.

A reader's retry loop is not modelled: whether it accepts depends on the loads of one round alone,
so what it can accept in one round is all that it can ever accept. racing/ordering.py says which of
the loads may be reordered or torn.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple


class Load(NamedTuple):
    """One load of ``part``: "entry", its half "low" or "high", "state", "time", or "struct".

    ``read`` numbers the readings of state_entry_time, which are compared; 0 is a load of the data.
    ``whole``: the guest's code guarantees one access (an aligned load). Otherwise it is one access
    only where the address makes it so, and a copy of the struct never is.
    """

    name: str
    part: str
    read: int
    whole: bool = True


class ReadBarrier(NamedTuple):
    """rmb(): loads before it are made before loads after it. ``drop``: its name for --drop."""

    drop: str


Op = Load | ReadBarrier

COPY = Load("copy", "struct", 0, whole=False)
RMB_COPY, RMB_REREAD = ReadBarrier("rmb-copy"), ReadBarrier("rmb-reread")


@dataclass(frozen=True, slots=True)
class Reader:
    """One way to read: ``program`` in program order.

    It accepts if all loads of the same part of state_entry_time gave the same value and, where
    ``bit_check``, XEN_RUNSTATE_UPDATE is clear in it. ``uses`` are the members it then believes,
    from the copy.
    """

    name: str
    program: tuple[Op, ...]
    summary: str
    source: str
    bit_check: bool = True
    uses: tuple[str, ...] = ("state", "time")

    @property
    def loads(self) -> tuple[Load, ...]:
        """The loads in program order."""
        return tuple(op for op in self.program if isinstance(op, Load))


# Entry time; rmb; copy; rmb; entry time again. "t": one load of it; "lh": the low half, then the
# high one.
def _twice(first: str, second: str, whole: bool = True) -> tuple[Op, ...]:
    return (*_read(first, 1, whole), RMB_COPY, COPY, RMB_REREAD, *_read(second, 2, whole))


_PARTS = {"t": "entry", "l": "low", "h": "high"}


def _read(letters: str, read: int, whole: bool) -> tuple[Load, ...]:
    def name(index: int, letter: str) -> str:
        return f"{letter}{read}" + "'" * letters[:index].count(letter)

    return tuple(
        Load(name(index, letter), _PARTS[letter], read, whole)
        for index, letter in enumerate(letters)
    )


# A barrier between loads that follow each other.
def _fenced(program: tuple[Op, ...]) -> tuple[Op, ...]:
    fenced: list[Op] = []
    for op in program:
        if fenced and isinstance(op, Load) and isinstance(fenced[-1], Load):
            fenced.append(ReadBarrier("rmb-half"))
        fenced.append(op)
    return tuple(fenced)


_LINUX = "Linux drivers/xen/time.c, xen_get_runstate_snapshot_cpu_delta() (read in 5.14 to 7.3)"
_GET64 = "Linux drivers/xen/time.c, get64() of a 32-bit guest (read in 5.14 to 7.3)"
_STOLEN = "Linux drivers/xen/time.c, xen_vcpu_stolen() (read in 5.14 to 7.3)"
_MADE = "no guest known: what the others' orders are for"

# fmt: off
READERS = (
    Reader("linux-64",    _twice("t", "t"),            "one aligned 64-bit load, copy, one again",         _LINUX),
    Reader("linux-32",    _twice("hlh", "hlh"),        "high, low, high until both highs agree; copy; again", _GET64),
    Reader("fenced-32",   _fenced(_twice("hlh", "hlh")), "linux-32 with a barrier between the halves: the loop of runstate docs", "the loop that runstate docs and runstate emit c-reader give a 32-bit guest"),
    Reader("naive",       (COPY,),                     "a copy and no protocol",                            "a guest that knows nothing of the flag", bit_check=False),
    Reader("split-lh-lh", _twice("lh", "lh"),          "two halves: low then high, low then high",          _MADE),
    Reader("split-hl-hl", _twice("hl", "hl"),          "two halves: high then low, high then low",          _MADE),
    Reader("split-lh-hl", _twice("lh", "hl"),          "two halves: low then high, high then low",          _MADE),
    Reader("split-hl-lh", _twice("hl", "lh"),          "two halves: high then low, low then high",          _MADE),
    Reader("plain-64",    _twice("t", "t", False),     "linux-64, its load whole only where the address makes it so", "linux-64 at an address that Linux's own alignment never gives"),
    Reader("copied-time", _twice("t", "t"),            "linux-64, but it believes the copy's entry time",   _LINUX + ": *res is the copy", uses=("state", "state_entry_time", "time")),
    Reader("state",       (Load("state", "state", 0, whole=False),), "one load of state alone",             _STOLEN, bit_check=False, uses=("state",)),
)
# fmt: on

READER = {reader.name: reader for reader in READERS}


class CannotDrop(ValueError):
    """There is no step of this name: the message says where."""


def drop(reader: Reader, name: str) -> Reader:
    """Return the reader without one step: rmb-copy, rmb-reread, reread or bit-check."""
    program = reader.program
    if name == "reread":
        program = tuple(op for op in program if not (isinstance(op, Load) and op.read > 1))
    elif name != "bit-check":
        program = tuple(
            op for op in program if not (isinstance(op, ReadBarrier) and op.drop == name)
        )
    bit_check = reader.bit_check and name != "bit-check"
    if (program, bit_check) == (reader.program, reader.bit_check):
        raise CannotDrop(f"reader {reader.name} has no {name}")
    return replace(reader, program=program, bit_check=bit_check)
