"""A second search, which knows none of the checker's arguments.

Structs of four bytes (a datum, two bytes of the guard's word, a datum): every subset of stores made
and every order of loads tried, on real bytes. Whatever the checker leaves out by argument, this one
goes through. It has its own reading of steps, readers and guards.
"""

from functools import cache
from typing import NamedTuple

from runstate_abi.writer.steps import Barrier, Store

STATE, LOW, HIGH, TIME = range(4)
WORD = (LOW, HIGH)
# Where the struct lies decides whether two bytes are one access: at 31 the guard's word is at
# 32..33 and whole for both models; at 62 it crosses a line and is whole for neither.
WHOLE, TORN = 31, 62


class Guarded(NamedTuple):
    """What the second search knows of a guard: its byte, and the bit that is set in it (0: the
    word is 0), and the offsets of the members by name."""

    place: int
    bit: int
    members: dict

    def refuses(self, part, data):
        seen = dict(zip(part, data, strict=True))
        if self.bit:
            return self.place in seen and bool(seen[self.place] & self.bit)
        return set(WORD) <= set(seen) and not any(seen[o] for o in WORD)


def stores_of(steps, model, offset):
    """[({offset: byte}, mask of those before)]: the writer as a partial order of accesses."""
    found, epoch, number = [], 0, 0
    for step in steps:
        if isinstance(step, Barrier):
            epoch += 1
            continue
        number += 1
        size = len(step.data)
        if model == "weak":
            whole = isinstance(step, Store) and step.offset % size == 0
        else:
            # What was recorded are stores, whatever they were written as.
            one = isinstance(step, Store) or model == "program-order"
            whole = one and step.offset // 32 == (step.offset + size - 1) // 32
        start = step.offset - offset
        parts = [range(start, start + size)] if whole else [[start + i] for i in range(size)]
        for part in parts:
            data = {o: step.data[o - start] for o in part}
            rank = epoch if model == "weak" else number
            before = sum(
                1 << index
                for index, (other, _, when) in enumerate(found)
                if when < rank or set(other) & set(data)
            )
            found.append((data, before, rank))
    return [(data, before) for data, before, _ in found]


def loads_of(reader, model, offset, members):
    """[(load, offsets, indexes before)]"""
    places = {"entry": WORD, "low": (LOW,), "high": (HIGH,)}
    found, fence, acquired = [], 0, set()
    for op in reader.program:
        if not hasattr(op, "part"):
            fence = len(found)
            continue
        if model != "weak":
            fence = len(found)
        if op.part == "struct":
            parts = [(o,) for o in range(4)]
        else:
            span = op.measured and range(op.measured.start, op.measured.start + op.measured.size)
            parts = [tuple(span or places.get(op.part) or members[op.part])]
            if not op.whole and len(parts[0]) > 1:
                address, size = offset + parts[0][0], len(parts[0])
                block = size if model == "weak" else 32
                if address // block != (address + size - 1) // block:
                    parts = [(o,) for o in parts[0]]
        first = len(found)
        for part in parts:
            before = set(range(fence)) | acquired
            before |= {i for i in range(first) if set(found[i][1]) & set(part)}
            found.append((op, part, frozenset(before)))
        if op.measured and op.measured.acquires:
            acquired |= set(range(first, len(found)))
    return found


def is_torn(case, reader, model, guarded):
    """Try everything: is there an accepted copy that is no image?"""
    stores = stores_of(case.steps, model, case.offset)
    loads = loads_of(reader, model, case.offset, guarded.members)
    used = [o for name in reader.uses for o in guarded.members[name]]
    taken = [
        (index, o)
        for index, (op, part, _) in enumerate(loads)
        for o in part
        if o in (op.measured.believed if op.measured else () if op.read else used)
    ]
    truth = {tuple(image[o] for _, o in taken) for image in case.images}

    @cache
    def wrong(made, memory, seen):
        if not accepts(loads, seen, reader, guarded):
            return False
        if None not in seen:
            return tuple(seen[i][loads[i][1].index(o)] for i, o in taken) not in truth
        for index, (_, part, before) in enumerate(loads):
            if seen[index] is None and all(seen[i] is not None for i in before):
                data = tuple(memory[o] for o in part)
                if wrong(made, memory, (*seen[:index], data, *seen[index + 1 :])):
                    return True
        for index, (data, before) in enumerate(stores):
            if not made >> index & 1 and before & ~made == 0:
                after = tuple(data.get(o, memory[o]) for o in range(4))
                if wrong(made | 1 << index, after, seen):
                    return True
        return False

    return wrong(0, tuple(case.images[0]), (None,) * len(loads))


def accepts(loads, seen, reader, guarded):
    """Does the reader accept what it has loaded so far? None is not loaded yet."""
    agreed = {}
    for (op, part, _), data in zip(loads, seen, strict=True):
        if not data:
            continue
        compared = part if op.read else ()
        masked = reader.bit_check and reader.masks and op.read == 1
        looks = op.read in (reader.checks or (op.read,)) and not masked
        refuses = bool(op.read) and reader.bit_check and looks
        if op.measured:
            compared, refuses, masked = op.measured.compared, op.measured.flag, op.measured.masked
        for o, byte in zip(part, data, strict=True):
            cleared = byte & ~guarded.bit if masked and o == guarded.place else byte
            if o in compared and agreed.setdefault(o, cleared) != cleared:
                return False
        if refuses and guarded.refuses(part, data):
            return False
    return True
