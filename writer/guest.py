"""How guests read the area. Each reader is a list of loads and read barriers.

The retry loop of a reader is not modelled. Whether a reader accepts depends only on the loads of
one iteration, so the loop adds no values. racing/ordering.py says which loads may be reordered or
torn.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple


class Measured(NamedTuple):
    """A load of machine code: ``size`` bytes from ``start`` on, and what the code does with them.

    Bytes are numbered by their offsets in the struct. ``compared`` must be equal in all loads that
    compare them. ``flag``: it refuses a set XEN_RUNSTATE_UPDATE. ``believed`` reach the result.
    """

    start: int
    size: int
    compared: tuple[int, ...]
    flag: bool
    believed: tuple[int, ...]
    same: bool = False  # made by the instruction of the load before it, in any order with that
    copied: bool = False  # made by memcpy(), which loads its bytes in any order
    masked: bool = False  # the guard's bit is cleared in it before it is compared
    acquires: bool = False  # a load-acquire: it is made before the loads behind it


class Load(NamedTuple):
    name: str
    # "entry", the guard's word, or its half "low" or "high"; "struct", or "measured"; a member's
    # name, with ".low" or ".high" for a half of it
    part: str
    read: int  # which reading of the guard's word this is, from 1; 0: a load of the data
    # True: the C code guarantees a single access (an aligned load). False: a single access only
    # if the address is aligned; a copy of the struct never is one.
    whole: bool = True
    measured: Measured | None = None


class ReadBarrier(NamedTuple):
    """rmb(): loads before it are made before loads after it. ``drop`` is its name for --drop."""

    drop: str


Op = Load | ReadBarrier

COPY = Load("copy", "struct", 0, whole=False)
RMB_COPY, RMB_REREAD = ReadBarrier("rmb-copy"), ReadBarrier("rmb-reread")


@dataclass(frozen=True, slots=True)
class Reader:
    """One way to read the area.

    A reader accepts if all loads of the same part of the guard's word returned the same value and,
    with ``bit_check``, it does not say that an update is in flight.
    """

    name: str
    program: tuple[Op, ...]  # in program order
    summary: str
    source: str
    bit_check: bool = True
    uses: tuple[str, ...] = ("state", "time")  # members it then takes from the copy
    # It clears the guard's bit in its first reading and compares the others with that, instead of
    # looking at the bit.
    masks: bool = False
    checks: tuple[int, ...] = ()  # the readings in which it looks at the bit; empty: in all

    @property
    def loads(self) -> tuple[Load, ...]:
        return tuple(op for op in self.program if isinstance(op, Load))


# What a reader leaves out if it does not look at the guard's bit, by the guard.
CHECKS = ("bit-check", "odd-check", "zero-check")

_PARTS = {"t": "entry", "l": "low", "h": "high"}


# The entry time, a barrier, the copy, a barrier, the entry time again. A letter is one load of the
# entry time: t of all of it, l of its low half, h of its high half.
def _twice(first: str, second: str, whole: bool = True) -> tuple[Op, ...]:
    return (*_read(first, 1, whole), RMB_COPY, COPY, RMB_REREAD, *_read(second, 2, whole))


def _read(letters: str, read: int, whole: bool) -> tuple[Load, ...]:
    # A second load of the same half gets a prime: h1, l1, h1'.
    primes = ("'" * letters[:at].count(letter) for at, letter in enumerate(letters))
    pairs = zip(letters, primes, strict=True)
    return tuple(Load(f"{x}{read}{prime}", _PARTS[x], read, whole) for x, prime in pairs)


# Put a barrier between loads that follow each other.
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
_MADE = "no known guest; it shows which order of the halves is safe"

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
    Reader("plain-64",    _twice("t", "t", False),     "linux-64, its load torn where it is not aligned", "linux-64 at an address that Linux's own alignment never gives"),
    Reader("copied-time", _twice("t", "t"),            "linux-64, but it believes the copy's entry time",   _LINUX + ": *res is the copy", uses=("state", "state_entry_time", "time")),
    Reader("state",       (Load("state", "state", 0, whole=False),), "one load of state alone",             _STOLEN, bit_check=False, uses=("state",)),
)
# fmt: on

READER = {reader.name: reader for reader in READERS}


# A load of machine code that does not look at the guard's bit.
def _unlooking(op: Op) -> Op:
    if isinstance(op, ReadBarrier) or op.measured is None:
        return op
    return op._replace(measured=op.measured._replace(flag=False, masked=False))


class CannotDrop(ValueError):
    """The reader has no step of this name: the message names both."""


def drop(reader: Reader, name: str) -> Reader:
    """Return the reader without one step: rmb-copy, rmb-reread, reread or one of CHECKS."""
    program = reader.program
    if name == "reread":
        program = tuple(op for op in program if not (isinstance(op, Load) and op.read > 1))
    elif name in CHECKS:
        program = tuple(map(_unlooking, program))
    else:
        left = (op for op in program if not isinstance(op, ReadBarrier) or op.drop != name)
        program = tuple(left)
    bit_check = reader.bit_check and name not in CHECKS
    if (program, bit_check) == (reader.program, reader.bit_check):
        raise CannotDrop(f"reader {reader.name} has no {name}")
    return replace(reader, program=program, bit_check=bit_check)
