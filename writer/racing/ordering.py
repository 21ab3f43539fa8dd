"""Which stores and loads a machine may tear, and which it may reorder.

The writer's steps become phases. All stores of a phase are made before any store of the next one.
Within a phase any order is possible, except that stores to the same byte keep their order. The
reader's program becomes loads, each with the loads that must come before it. There is one writer,
and the one reader stores nothing that is shared. So on any machine with coherent memory, an
execution is a linear order of the stores with a point for each load.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache, reduce
from operator import or_
from typing import NamedTuple

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.layouts.model import Layout
from runstate_abi.writer.guard import guard_of
from runstate_abi.writer.guest import Load, Measured, ReadBarrier, Reader
from runstate_abi.writer.steps import Barrier, Step, Store, Write

# The sizes of the aligned blocks in which a machine makes an access of up to 8 bytes in one piece.
# AMD's manual promises an aligned quadword, Intel's a cache line. On a Zen 4, accesses that cross
# 32 bytes were measured to tear, and others not to.
MEASURED_GRAIN = 32
GRAINS = (8, MEASURED_GRAIN, 64)
WORD = 8  # the widest access that the C source asks for


class Model(NamedTuple):
    name: str
    barriers: bool  # only barriers order accesses
    # Accesses inside an aligned block of so many bytes do not tear; 0: if aligned to their own
    # size.
    grain: int
    summary: str
    # Stores, and the bytes of copies, keep the order that was recorded on a machine. An access that
    # crosses a block still tears.
    recorded: bool = False
    # Accesses tear into words and not into bytes. This leaves executions out, so it can show an
    # execution but cannot prove that there is none.
    coarse: bool = False


# fmt: off
MODELS = (
    Model("x86-tso",       False, MEASURED_GRAIN, "stores and loads in program order, the bytes of a memcpy in any order"),
    Model("weak",          True,  0,              "any order between wmb and wmb, and between rmb and rmb, as in the Linux kernel's model"),
    Model("program-order", False, MEASURED_GRAIN, "stores in the order in which a machine was seen to make them", recorded=True),
)
# fmt: on
MODEL = {model.name: model for model in MODELS}


class Access(NamedTuple):
    """One store that is made in one piece."""

    offsets: tuple[int, ...]  # in the struct
    data: bytes
    step: int  # the number of the writer's step


class Phase(NamedTuple):
    """Stores in program order."""

    accesses: tuple[Access, ...]
    after: tuple[int, ...]  # for each store a mask of the stores that must come before it


def phases(steps: Iterable[Step], model: Model, layout: Layout, offset: int) -> tuple[Phase, ...]:
    """Return the phases of updates of an area that begins ``offset`` bytes into page 1."""
    found: list[list[Access]] = [[]]
    for number, step in enumerate(steps):
        if isinstance(step, Barrier) or (isinstance(step, Write) and not model.barriers):
            found.append([])
        if isinstance(step, Write):
            found[-1].extend(_accesses(number, step, model, layout, offset))
    return tuple(Phase(tuple(one), _after(one)) for one in found if one)


def _accesses(
    number: int, step: Write, model: Model, layout: Layout, offset: int
) -> Iterator[Access]:
    start = (step.page - 1) * PAGE_SIZE + step.offset - offset
    size = len(step.data)
    # A recorded Copy is one access of a machine; in the model it is a memcpy() of the source.
    single = model.recorded or isinstance(step, Store)
    whole = single and is_whole(step.offset, size, model)
    if single:
        at, word = step.offset, model.grain or WORD
    else:
        at, word = start - _first(layout), WORD
    for first, count in pieces(at, size, size if whole else word if model.coarse else 1):
        where = tuple(range(start + first, start + first + count))
        yield Access(where, step.data[first : first + count], number)


# Where the words of a copy are counted from: the guard's word is not cut.
def _first(layout: Layout) -> int:
    return next(iter(guard_of(layout).word(layout)), 0)


def is_whole(address: int, size: int, model: Model) -> bool:
    """Does the machine make this access in one piece?"""
    block = model.grain or size
    return address // block == (address + size - 1) // block


def pieces(at: int, size: int, word: int) -> Iterator[tuple[int, int]]:
    """Yield (first byte, size) of each piece of an access at ``at``, cut at multiples of ``word``.
    If ``word`` equals the size, there is one piece.
    """
    first = 0
    while first < size:
        count = size if word == size else min(size - first, word - (at + first) % word)
        yield first, count
        first += count


# The stores of one CPU to the same byte are seen in program order. Each mask is transitive.
def _after(accesses: Sequence[Access]) -> tuple[int, ...]:
    after: list[int] = []
    holders: dict[int, int] = {}  # struct offset -> mask of the accesses that store to it
    for index, access in enumerate(accesses):
        earlier = 0
        for offset in access.offsets:
            earlier |= holders.get(offset, 0)
            holders[offset] = holders.get(offset, 0) | 1 << index
        for before in range(index):
            if earlier >> before & 1:
                earlier |= after[before]
        after.append(earlier)
    return tuple(after)


class Sight(NamedTuple):
    """One load that is made in one piece."""

    load: Load
    offsets: tuple[int, ...]
    after: int  # mask of the loads that come before it
    compared: tuple[int, ...]  # offsets whose bytes all loads that compare them must agree on
    flag: bool  # it has the byte that shows an update in flight, and refuses it then
    believed: tuple[int, ...]  # offsets whose bytes the reader takes from this load
    number: int  # of the load in the reader's program
    masked: bool = False  # the guard's bit is cleared before it is compared

    @property
    def decides(self) -> bool:
        """Does it decide whether the reader accepts?"""
        return bool(self.compared or self.flag)


def sights(reader: Reader, model: Model, layout: Layout, offset: int) -> tuple[Sight, ...]:
    """Return the loads of a reader of an area that begins ``offset`` bytes into its page."""
    found: list[Sight] = []
    holders: dict[int, int] = {}  # struct offset -> mask of the loads of it
    fence = 0  # how many loads a barrier, or program order, puts before the next ones
    acquired = 0  # mask of the load-acquires
    for number, op in enumerate(reader.program):
        same = isinstance(op, Load) and op.measured is not None and op.measured.same
        if isinstance(op, ReadBarrier) or not (model.barriers or same):
            fence = len(found)
        if isinstance(op, Load):
            does = op.measured or _measured(reader, op, layout)
            for where in _loaded(op, model, layout, offset):
                # Loads of a byte stay in program order: none sees an older value than the last.
                again = reduce(or_, (holders.get(at, 0) for at in where), 0)
                for at in where:
                    holders[at] = holders.get(at, 0) | 1 << len(found)
                compared, believed = (
                    tuple(at for at in where if at in those)
                    for those in (does.compared, does.believed)
                )
                flag = does.flag and guard_of(layout).place(layout) in where
                after = (1 << fence) - 1 | _closed(again | acquired, found)
                mine = 1 << len(found) if does.acquires else 0
                rest = believed, number, does.masked
                found.append(Sight(op, where, after, compared, flag, *rest))
                acquired |= mine
    return tuple(found)


# A load of the hand-written readers: all of it is compared, or the members in ``uses`` are taken.
@cache
def _measured(reader: Reader, load: Load, layout: Layout) -> Measured:
    start, size = part(layout, load)
    where = tuple(range(start, start + size))
    if load.read:
        masked = reader.bit_check and reader.masks and load.read == 1
        looks = reader.bit_check and not masked and load.read in (reader.checks or (load.read,))
        return Measured(start, size, where, looks, (), masked=masked)
    rows = [layout.field(name) for name in reader.uses]
    believed = tuple(at for at in where if any(row.offset <= at < row.end for row in rows))
    return Measured(start, size, (), False, believed)


# A mask of loads, with all that come before them: what each has is complete.
def _closed(mask: int, found: Sequence[Sight]) -> int:
    closed, left = mask, mask
    while left:
        closed |= found[left.bit_length() - 1].after
        left &= ~(1 << left.bit_length() - 1)
    return closed


def _loaded(load: Load, model: Model, layout: Layout, offset: int) -> Iterator[tuple[int, ...]]:
    start, size = part(layout, load)
    copy = load.part == "struct" or (load.measured is not None and load.measured.copied)
    whole = load.whole or (not copy and is_whole(offset + start, size, model))
    at = start - _first(layout) if copy else offset + start
    word = WORD if copy else model.grain or WORD
    for first, count in pieces(at, size, size if whole else word if model.coarse else 1):
        yield tuple(range(start + first, start + first + count))


def part(layout: Layout, load: Load) -> tuple[int, int]:
    """Return (offset, size) in bytes of what is loaded."""
    name = load.part
    if load.measured:
        return load.measured[:2]
    if name == "struct":
        return 0, layout.size
    if name in ("entry", "low", "high"):
        guarded = guard_of(layout).name(layout)
        name = guarded if name == "entry" else f"{guarded}.{name}"
    member, _, which = name.partition(".")
    field = layout.field(member)
    half = field.size // 2
    starts = {"": (0, field.size), "low": (0, half), "high": (half, field.size - half)}
    start, size = starts[which]
    return field.offset + start, size
