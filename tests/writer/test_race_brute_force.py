"""The checker against a search that knows none of its arguments.

A struct of four bytes (state, two bytes of state_entry_time, one of time), every subset of stores
made and every order of loads tried, on real bytes, one pattern of equal bytes at a time. Whatever
the checker leaves out by argument, this one goes through.
"""

from collections import Counter
from functools import lru_cache
from itertools import product

import pytest
from runstate_abi.layouts.model import Field, Layout, Scalar
from runstate_abi.writer.guest import COPY, READERS, CannotDrop, Load, ReadBarrier, Reader, drop
from runstate_abi.writer.ordering import MODEL
from runstate_abi.writer.patterns import EQUAL
from runstate_abi.writer.projection import Case, solve
from runstate_abi.writer.steps import Barrier, Copy, Store

BYTE, HALF = Scalar("uint8_t", 1, False), Scalar("uint16_t", 2, False)
TINY = Layout(
    "tiny",
    "none",
    4,
    None,
    (Field(0, "state", BYTE), Field(1, "state_entry_time", HALF), Field(3, "time", BYTE)),
)
STATE, LOW, HIGH, TIME = range(4)
FLAG = 0x80

# Where the struct lies decides whether two bytes are one access: at 31 the entry time is at 32..33
# and whole for both models; at 62 it crosses a line and is whole for neither.
WHOLE, TORN = 31, 62


def images(differs, updates):
    """The true images: state and time differ in all, the entry time in the bytes of the mask."""
    return tuple(
        bytes(
            [
                version,
                0x11 + version * (differs & 1),
                0x21 + version * (differs >> 1),
                0x41 + version,
            ]
        )
        for version in range(updates + 1)
    )


# What an update may look like: each name a list of stores: how, of which offsets, the flag in which.
# fmt: off
SETS = {
    "none":  [],
    "byte":  [(Store, (HIGH,), HIGH)],
    "eight": [(Store, (LOW, HIGH), HIGH)],
    "copy":  [(Copy, (LOW, HIGH), HIGH)],
    "wrong": [(Store, (LOW,), LOW)],
}
BODIES = {
    "all":    [(Store, (STATE,), None), (Store, (LOW, HIGH), HIGH), (Copy, (TIME,), None)],
    "copied": [(Copy, (STATE, LOW, HIGH, TIME), HIGH)],
    "plain":  [(Copy, (STATE, LOW, HIGH, TIME), None)],
    "halves": [(Copy, (STATE,), None), (Copy, (TIME,), None), (Store, (LOW,), None)],
    "parts":  [(Copy, (STATE, LOW), None), (Copy, (HIGH, TIME), HIGH)],
}
CLEARS = {
    "byte":  [(Store, (HIGH,), None)],
    "eight": [(Store, (LOW, HIGH), None)],
}
# fmt: on


def update(image, offset, set_, body, clear, barriers):
    """The steps of one update with the image's bytes; ``barriers`` says which three are there."""
    steps = []
    for part, barrier in zip((SETS[set_], BODIES[body], CLEARS[clear]), barriers, strict=True):
        for kind, where, flag in part:
            data = bytes(image[o] | (FLAG if o == flag else 0) for o in where)
            steps.append(kind(1, offset + where[0], data))
        if barrier:
            steps.append(Barrier())
    return steps


# The other search. Its own reading of steps and readers: stores as sets of bytes with what must
# come before, loads likewise.


def stores_of(steps, model, offset):
    """[(offsets, bytes, indexes before)]: the writer as a partial order of whole accesses."""
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
            whole = isinstance(step, Store) and step.offset // 32 == (step.offset + size - 1) // 32
        whole = whole or model == "program-order"
        start = step.offset - offset
        parts = [range(start, start + size)] if whole else [[start + i] for i in range(size)]
        for part in parts:
            data = {o: step.data[o - start] for o in part}
            before = set()
            for index, (other, _, when) in enumerate(found):
                rank = epoch if model == "weak" else number
                if when < rank or set(other) & set(data):
                    before.add(index)
            found.append((data, before, epoch if model == "weak" else number))
    return [(data, frozenset(before)) for data, before, _ in found]


def loads_of(reader, model, offset):
    """[(kind, offsets, indexes before)]"""
    places = {"entry": (LOW, HIGH), "low": (LOW,), "high": (HIGH,), "state": (STATE,)}
    found, fence = [], 0
    for op in reader.program:
        if isinstance(op, ReadBarrier):
            fence = len(found)
            continue
        if model != "weak":
            fence = len(found)
        if op.part == "struct":
            parts = [(o,) for o in range(4)]
        else:
            parts = [places[op.part]]
            if not op.whole and len(parts[0]) > 1:
                address, size = offset + parts[0][0], len(parts[0])
                block = size if model == "weak" else 32
                if address // block != (address + size - 1) // block:
                    parts = [(o,) for o in parts[0]]
        first = len(found)
        for part in parts:
            before = set(range(fence))
            before |= {i for i in range(first) if set(found[i][1]) & set(part)}
            found.append((op, part, frozenset(before)))
    return found


def is_torn(case, reader, model):
    """Try everything: is there an accepted copy that is no image?"""
    stores = stores_of(case.steps, model, case.offset)
    loads = loads_of(reader, model, case.offset)
    truth = {believed(image, reader) for image in case.images}

    @lru_cache(maxsize=None)
    def wrong(made, memory, seen):
        if None not in seen and accepts(loads, seen, reader):
            copy = [0] * 4
            for (op, part, _), data in zip(loads, seen, strict=True):
                if not op.read:
                    for o, byte in zip(part, data, strict=True):
                        copy[o] = byte
            if believed(copy, reader) not in truth:
                return True
        if None not in seen:
            return False
        for index, (_, part, before) in enumerate(loads):
            if seen[index] is None and all(seen[i] is not None for i in before):
                data = tuple(memory[o] for o in part)
                if wrong(made, memory, (*seen[:index], data, *seen[index + 1 :])):
                    return True
        for index, (data, before) in enumerate(stores):
            if index not in made and before <= made:
                after = tuple(data.get(o, memory[o]) for o in range(4))
                if wrong(made | {index}, after, seen):
                    return True
        return False

    return wrong(frozenset(), tuple(case.images[0]), (None,) * len(loads))


def accepts(loads, seen, reader):
    agreed = {}
    for (op, part, _), data in zip(loads, seen, strict=True):
        if op.read:
            for o, byte in zip(part, data, strict=True):
                if agreed.setdefault(o, byte) != byte:
                    return False
                if o == HIGH and reader.bit_check and byte & FLAG:
                    return False
    return True


def believed(image, reader):
    return tuple(
        image[o]
        for name, where in (("state", (STATE,)), ("state_entry_time", (LOW, HIGH)), ("time", (TIME,)))
        if name in reader.uses
        for o in where
    )
