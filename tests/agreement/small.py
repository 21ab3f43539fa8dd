"""Small questions for other checkers: a writer and a reader of four words.

Herd and CBMC know no memcpy and no bytes of a word, and their cost grows with every access. So
the struct is four bytes here, each a variable of its own: state, the two halves of the entry time
(one variable, where the reader loads it whole), and time. Every question has this checker's
verdict, which is what the others are held against.

Law of this file: questions and verdicts; litmus.py and cbmc.py write them down.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import product
from typing import NamedTuple

from runstate_abi.layouts.model import Field, Layout, Scalar
from runstate_abi.layouts.structs.runstate import BYTE
from runstate_abi.writer.guest import COPY, READER, CannotDrop, Load, Op, ReadBarrier, Reader, drop
from runstate_abi.writer.racing.drops import READER_DROPS
from runstate_abi.writer.racing.ordering import MODEL
from runstate_abi.writer.racing.projection import solve
from runstate_abi.writer.racing.scene import Case
from runstate_abi.writer.steps import Barrier, Step, Store
from runstate_abi.writer.vcpu import FLAG

WORDS = Layout(
    "words",
    "none",
    4,
    None,
    (
        Field(0, "state", BYTE),
        Field(1, "state_entry_time", Scalar("uint16_t", 2, False)),
        Field(3, "time", BYTE),
    ),
)
STATE, LOW, HIGH, TIME = range(WORDS.size)
OFFSET = 31  # where both models make one access of the two bytes of the entry time

# fmt: off
SETS = {
    # name     stores in program order; the flag is up in each that has the high half
    "high":    ((HIGH,),),
    "whole":   ((LOW, HIGH),),
    "lowhigh": ((LOW,), (HIGH,)),
    "highlow": ((HIGH,), (LOW,)),
    "none":    (),
}
BODIES = {
    "whole":   ((STATE,), (LOW, HIGH), (TIME,)),
    "halves":  ((STATE,), (LOW,), (HIGH,), (TIME,)),
    "last":    ((STATE,), (TIME,), (LOW,)),
    "noentry": ((STATE,), (TIME,)),
}
CLEARS = {
    "high":    ((HIGH,),),
    "whole":   ((LOW, HIGH),),
    "lowhigh": ((LOW,), (HIGH,)),
}
# fmt: on
WHOLE_READERS = ("linux-64",)
HALF_READERS = ("linux-32", "split-lh-lh", "split-hl-hl", "split-lh-hl", "split-hl-lh")


# One in so many of the small questions, by verdict: primes, so that no part of the product is
# always the same, and of the rarer verdict more.
EVERY = {("weak", False): 3, ("weak", True): 89, ("x86-tso", False): 19, ("x86-tso", True): 35}


# Is the reader that loads low, high, copies, and loads high, low ever wrong about one update on a
# machine that reorders loads? By the readings that have a barrier between their halves. A load is
# ordered after another only by a barrier or by an address that depends on it.
LOW_HIGH_HIGH_LOW = {(): True, (1,): True, (2,): True, (1, 2): False}
# The same of the loops of a 32-bit Arm guest, whose area Xen writes.
ARM = {"linux-32": True, "fenced-32": False}


class Small(NamedTuple):
    """One small question. ``whole``: the entry time is one variable. ``torn`` is our verdict."""

    name: str
    model: str
    whole: bool
    images: tuple[bytes, bytes]
    steps: tuple[Step, ...]
    reader: Reader
    torn: bool

    def variables(self) -> dict[str, int]:
        return variables(self)

    def writes(self) -> Iterator["Write"]:
        return writes(self)

    def reads(self) -> Iterator["Read"]:
        return reads(self)

    def accepted(self) -> Iterator[tuple[tuple[str, int], ...]]:
        return accepted(self)


def smalls(model: str) -> Iterator[Small]:
    """Yield the questions for a model: all that can be said in variables without mixed sizes."""
    for whole, names in ((True, WHOLE_READERS), (False, HALF_READERS)):
        writers = [
            parts
            for parts in product(SETS, BODIES, CLEARS)
            if all(_fits(where, whole) for where in _stores(parts))
        ]
        # Where program order orders all, barriers change nothing, but the copy's order is told.
        fences = (
            tuple(product((True, False), repeat=2)) if MODEL[model].barriers else ((True, True),)
        )
        orders = ("st",) if MODEL[model].barriers else ("st", "ts")
        for parts, barriers, reader, order, differing in product(
            writers, fences, _readers(names), orders, (1, 2, 3)
        ):
            yield _small(model, whole, parts, barriers, reader, order, differing)


def chosen(model: str) -> Iterator[Small]:
    """Yield the questions of a model that are exported."""
    seen = {False: 0, True: 0}
    for small in smalls(model):
        if seen[small.torn] % EVERY[model, small.torn] == 0:
            yield small
        seen[small.torn] += 1


def fenced(name: str, *readings: int) -> Reader:
    """Return a reader with a barrier between the halves of these readings: 1, 2, or both."""
    program: list[Op] = []
    for op in READER[name].program:
        last = program[-1] if program else None
        if isinstance(op, Load) and isinstance(last, Load) and op.read == last.read in readings:
            program.append(ReadBarrier("rmb-half"))
        program.append(op)
    return replace(READER[name], program=tuple(program))


def read_by(name: str, reader: Reader, model: str) -> list[Small]:
    """Return the questions about a reader of halves where the flag is one byte, barriers and all.

    So KVM writes since 6.2, and Xen a virtual area. There is one for each way the halves differ.
    """
    parts, barriers = ("high", "halves", "high"), (True, True)
    return [_small(model, False, parts, barriers, (name, reader), "st", d) for d in (1, 2, 3)]


def _stores(parts: tuple[str, str, str]) -> tuple[tuple[int, ...], ...]:
    return (*SETS[parts[0]], *BODIES[parts[1]], *CLEARS[parts[2]])


# With one variable every store of the entry time stores all of it, and a lone high half is told
# with what the low one is by then; a lone low half could not be.
def _fits(where: tuple[int, ...], whole: bool) -> bool:
    return where != (LOW,) if whole else len(where) == 1


@cache
def _readers(names: tuple[str, ...]) -> tuple[tuple[str, Reader], ...]:
    found = []
    for name in names:
        found.append((name, READER[name]))
        for step in READER_DROPS:
            try:
                found.append((f"{name}-no-{step}", drop(READER[name], step)))
            except CannotDrop:
                continue
    return tuple(found)


def _small(
    model: str,
    whole: bool,
    parts: tuple[str, str, str],
    barriers: tuple[bool, ...],
    named: tuple[str, Reader],
    order: str,
    differing: int,
) -> Small:
    name, reader = named
    ordered = _in_order(reader, order)
    images = _images(differing)
    steps = tuple(_steps(images[1], parts, barriers))
    symbols = _images(3)
    case = Case(WORDS, OFFSET, symbols, tuple(_steps(symbols[1], parts, barriers)))
    torn = solve(case, ordered, MODEL[model], differing=[differing]).found is not None
    wmb = "".join(str(int(one)) for one in barriers)
    title = f"{'-'.join(parts)}-wmb{wmb}-{name}-{order}-d{differing}"
    return Small(title, model, whole, images, steps, ordered, torn)


# The copy as two loads in an order: other checkers have no copy.
def _in_order(reader: Reader, order: str) -> Reader:
    loads = {"s": Load("rs", "state", 0), "t": Load("rt", "time", 0)}
    program: list[Op] = []
    for op in reader.program:
        program.extend([loads[letter] for letter in order] if op == COPY else [op])
    return Reader(
        reader.name, tuple(program), reader.summary, reader.source, reader.bit_check, reader.uses
    )


# Old and new: state and time are 0 and 1, the entry time's halves differ as the mask says.
def _images(differing: int) -> tuple[bytes, bytes]:
    return bytes([0, 1, 1, 0]), bytes([1, 1 + (differing & 1), 1 + (differing >> 1), 1])


def _steps(new: bytes, parts: tuple[str, str, str], barriers: tuple[bool, ...]) -> Iterator[Step]:
    groups = SETS[parts[0]], BODIES[parts[1]], CLEARS[parts[2]]
    for index, group in enumerate(groups):
        up = FLAG if index < 2 else 0
        for where in group:
            data = bytes(new[o] | (up if o == HIGH else 0) for o in where)
            yield Store(1, OFFSET + where[0], data)
        if index < len(barriers) and barriers[index]:
            yield Barrier()


class Write(NamedTuple):
    """A store of a variable: s, t, and e or l and h. None for the name is a barrier."""

    variable: str | None
    value: int


class Read(NamedTuple):
    """A load of a variable into a register. None for the variable is a barrier."""

    register: str
    variable: str | None


def variables(small: Small) -> dict[str, int]:
    """Return the variables with their first values."""
    return _values(small, bytearray(small.images[0]))


def _values(small: Small, memory: bytearray) -> dict[str, int]:
    low, high = memory[LOW], memory[HIGH]
    entry = {"e": high << 8 | low} if small.whole else {"l": low, "h": high}
    return {"s": memory[STATE], **entry, "t": memory[TIME]}


def writes(small: Small) -> Iterator[Write]:
    """Yield what the writer does, in program order."""
    memory = bytearray(small.images[0])
    names = {STATE: "s", TIME: "t", LOW: "e", HIGH: "e"}
    if not small.whole:
        names |= {LOW: "l", HIGH: "h"}
    for step in small.steps:
        if isinstance(step, Store):
            start = step.offset - OFFSET
            memory[start : start + len(step.data)] = step.data
            name = names[start]
            yield Write(name, _values(small, memory)[name])
        else:
            yield Write(None, 0)


_VARIABLE = {"entry": "e", "low": "l", "high": "h", "state": "s", "time": "t"}


def reads(small: Small) -> Iterator[Read]:
    """Yield what the reader does, in program order; registers are called after the loads."""
    for op in small.reader.program:
        if isinstance(op, Load):
            yield Read(op.name.replace("'", "x"), _VARIABLE[op.part])
        else:
            yield Read("", None)


def accepted(small: Small) -> Iterator[tuple[tuple[str, int], ...]]:
    """Yield each way in which registers may be when the reader accepts what was never true."""
    loads = [read for read in reads(small) if read.variable]
    compared = [v for v in variables(small) if v in "elh" and any(v == r.variable for r in loads)]
    choices = [sorted(_seen(small, variable)) for variable in compared]
    for values in product(*choices):
        entry = dict(zip(compared, values, strict=True))
        for state, time in ((0, 1), (1, 0)):
            body = {"s": state, "t": time}
            yield tuple((r.register, (entry | body)[str(r.variable)]) for r in loads)


# What a variable of the entry time may hold when the reader accepts it.
def _seen(small: Small, variable: str) -> set[int]:
    values = {w.value for w in writes(small) if w.variable == variable}
    values.add(variables(small)[variable])
    flag = {"e": FLAG << 8, "h": FLAG, "l": 0}[variable]
    return {value for value in values if not (small.reader.bit_check and value & flag)}
