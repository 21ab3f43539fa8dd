"""The fast path: an update worked out once for each way an area can be split, then replayed.

An offset only selects a split: 184 ways for a version with a flag switch (two ABIs, flag on or
off, one page or 47 and 43 splits). A plan says which bytes of a packed vCPU each write takes, and
where in the area it puts them. It is read off the generator, which stays the only source: the
generator runs on marked values, and each byte it writes is looked up among them.

Law of this file: nothing here knows what any version does.
"""

from struct import Struct
from typing import NamedTuple

from runstate_abi.layouts.runstate import XEN_RUNSTATE_UPDATE
from runstate_abi.writer.steps import Barrier, Steps, Store, Write, canonical, line
from runstate_abi.writer.variants import Variant, update
from runstate_abi.writer.vcpu import (
    PAGE_SIZE,
    SHAPES,
    TIME_COUNT,
    U64,
    Area,
    Runstate,
    Shape,
    split,
)

_NO_FLAG = U64 & ~XEN_RUNSTATE_UPDATE


class Move(NamedTuple):
    """``packed[source:source_end]`` goes to ``[start:end]`` of the area."""

    start: int
    end: int
    source: int
    source_end: int


class Plan(NamedTuple):
    """One update of an area that is split one way, for any values and any offset with that split.

    ``epochs``: the moves between barriers; what follows the last barrier is ``rest``. ``text`` is
    the canonical text with a place for each move's offset and bytes, ``places`` what to add to
    the area's offset there. ``left`` are the ranges of the area that an update changes in all,
    and ``keeps_flag`` whether bit 63 of the entry time, if it was set, stays.
    """

    packer: Struct
    struct: Struct
    flag: bool
    size: int
    epochs: tuple[tuple[Move, ...], ...]
    rest: tuple[Move, ...]
    text: str
    places: tuple[int, ...]
    left: tuple[tuple[int, int], ...]
    keeps_flag: bool

    @property
    def moves(self) -> tuple[Move, ...]:
        """All moves in order."""
        return tuple(move for epoch in (*self.epochs, self.rest) for move in epoch)


# Two vCPUs whose packed bytes are all different, but for what bit 63 makes equal: in one of them
# it is set, in the other clear, and a byte's source must fit both.
def _marked(top: int) -> Runstate:
    entry_time = int.from_bytes(bytes([*range(0x11, 0x18), top]), "little")
    times = [
        int.from_bytes(bytes(range(start, start + 8)), "little")
        for start in range(0x21, 0x21 + 8 * TIME_COUNT, 8)
    ]
    return Runstate(0x04030201, entry_time, (times[0], times[1], times[2], times[3]))


_MARKS = (_marked(0x18), _marked(0x98))


def struct_format(shape: Shape) -> str:
    """Return the struct module's format of a runstate struct, padding zero."""
    parts = ["<"]
    for row in shape.layout.rows:
        kind = "x" if row.padding else {4: "I", 8: "Q"}[row.type.size]
        parts.append(f"{row.count}{kind}")
    return "".join(parts)


def pack(plan: Plan, vcpu: Runstate) -> bytes:
    """Return the bytes that a plan's moves take from: the struct, then two more entry times.

    The first entry time is as the bulk has it, the others are as given and without the flag.
    """
    entry_time = vcpu.entry_time
    bulk = entry_time | XEN_RUNSTATE_UPDATE if plan.flag else entry_time
    return plan.packer.pack(vcpu.state, bulk, *vcpu.times, entry_time, entry_time & _NO_FLAG)


def plan_of(variant: Variant, area: Area, atomic: bool = False) -> Plan | None:
    """Return the plan of an area's split, None if the version writes what the values do not hold.

    6.1 and the split-memcpy draft read guest memory back, and the pre-image copies stray stack
    on a 32-bit host: there is no plan of those. Refused as by variants.prepare().
    """
    shape = area.shape
    flag = area.update_flag or variant.always_flagged
    form = struct_format(shape)
    empty = Plan(
        Struct(form + "2Q"), Struct(form), flag, shape.size, (), (), "", (), (), keeps_flag=False
    )
    runs = [update(variant, vcpu, area, atomic) for vcpu in _MARKS]
    packs = [pack(empty, vcpu) for vcpu in _MARKS]
    epochs: list[tuple[Move, ...]] = []
    moves: list[Move] = []
    for first, second in zip(*runs, strict=True):
        if isinstance(first, Barrier):
            epochs.append(tuple(moves))
            moves = []
        elif isinstance(first, Write) and isinstance(second, Write):
            move = _move(area, first, second, packs)
            if move is None:
                return None
            moves.append(move)
    text, places = _template(area, runs[0])
    plan = empty._replace(epochs=tuple(epochs), rest=tuple(moves), text=text, places=places)
    return _with_end(plan, packs)


def _move(area: Area, first: Write, second: Write, packs: list[bytes]) -> Move | None:
    if isinstance(first, Store) and first.keep:
        return None
    start = (first.page - 1) * PAGE_SIZE + first.offset - area.offset
    size = len(first.data)
    if not 0 <= start <= area.shape.size - size:
        return None
    for source in range(len(packs[0]) - size + 1):
        found = [pack_[source : source + size] for pack_ in packs]
        if found == [first.data, second.data]:
            return Move(start, start + size, source, source + size)
    return None


# What is there at the end: each byte is the last move's that wrote it. Both marked vCPUs must
# then have the struct's own bytes there, with the entry time as given or without the flag.
def _with_end(plan: Plan, packs: list[bytes]) -> Plan | None:
    ends = []
    for packed in packs:
        end = bytearray(plan.size)
        apply_plan(plan, end, 0, packed)
        ends.append(end)
    written = {index for move in plan.moves for index in range(move.start, move.end)}
    edges = [n for n in range(plan.size + 1) if (n in written) != (n - 1 in written)]
    left = tuple(zip(edges[::2], edges[1::2], strict=True))
    for keeps_flag in (False, True):
        wanted = plan._replace(left=left, keeps_flag=keeps_flag)
        if all(end == _blank(wanted, vcpu) for end, vcpu in zip(ends, _MARKS, strict=True)):
            return wanted
    return None


def _blank(plan: Plan, vcpu: Runstate) -> bytearray:
    memory = bytearray(plan.size)
    leave(plan, memory, 0, vcpu)
    return memory


def leave(plan: Plan, memory: bytearray, offset: int, vcpu: Runstate) -> None:
    """Leave in memory what an update leaves, for when nobody looks before it is over."""
    entry_time = vcpu.entry_time
    if not plan.keeps_flag:
        entry_time &= _NO_FLAG
    struct = plan.struct.pack(vcpu.state, entry_time, *vcpu.times)
    for start, end in plan.left:
        memory[offset + start : offset + end] = struct[start:end]


def _template(area: Area, steps: Steps) -> tuple[str, tuple[int, ...]]:
    text, places = "", []
    for step in steps:
        if isinstance(step, Write):
            kind = "store" if isinstance(step, Store) else "copy"
            text += f"{kind} p{step.page}+%d {len(step.data)} %s\n"
            places.append(step.offset - area.offset)
        else:
            text += f"{line(step)}\n"
    return text, tuple(places)


def apply_plan(plan: Plan, memory: bytearray, offset: int, packed: bytes) -> None:
    """Make an update in memory where page 2 follows page 1: every write, in order."""
    for epoch in plan.epochs:
        for start, end, source, source_end in epoch:
            memory[offset + start : offset + end] = packed[source:source_end]
    for start, end, source, source_end in plan.rest:
        memory[offset + start : offset + end] = packed[source:source_end]


def snapshots_of(plan: Plan, memory: bytearray, offset: int, packed: bytes) -> list[bytes]:
    """Make an update as apply_plan() does, and return the area's bytes at each barrier."""
    found = []
    last = offset + plan.size
    for epoch in plan.epochs:
        for start, end, source, source_end in epoch:
            memory[offset + start : offset + end] = packed[source:source_end]
        found.append(bytes(memory[offset:last]))
    for start, end, source, source_end in plan.rest:
        memory[offset + start : offset + end] = packed[source:source_end]
    return found


def text_of(plan: Plan, offset: int, packed: bytes) -> str:
    """Return the canonical text of the update at an offset."""
    words: list[object] = []
    for place, move in zip(plan.places, plan.moves, strict=True):
        words.append(offset + place)
        words.append(packed[move.source : move.source_end].hex())
    return plan.text % tuple(words)


class Plans:
    """The plans of one version, each made when its split is first asked for."""

    __slots__ = ("found", "variant")

    def __init__(self, variant: Variant) -> None:
        self.variant = variant
        self.found: dict[tuple[str, bool, int], Plan | None] = {}

    def at(self, abi: str, offset: int, update_flag: bool) -> Plan | None:
        """Return the plan of an area at an offset of its page."""
        key = (abi, update_flag, split(offset, SHAPES[abi].size).first)
        if key not in self.found:
            self.found[key] = plan_of(self.variant, Area(abi, offset, update_flag))
        return self.found[key]


def canonical_at(plans: Plans, vcpu: Runstate, area: Area) -> str:
    """Return the canonical text of an update, by its plan if there is one."""
    plan = plans.at(area.abi, area.offset, area.update_flag)
    if plan is None:
        return canonical(update(plans.variant, vcpu, area))
    return text_of(plan, area.offset, pack(plan, vcpu))
