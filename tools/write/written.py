"""One executed update as text or JSON: the trace, the table, the memory."""

from collections.abc import Iterator
from hashlib import sha256
from typing import Any, NamedTuple

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.tools.output import aligned
from runstate_abi.writer.memory import Moment, Window, trace
from runstate_abi.writer.steps import (
    Barrier,
    Copy,
    Step,
    Store,
    Write,
    canonical,
    digest,
    line,
    memory_text,
)
from runstate_abi.writer.variants import PER_USE, Registration, Variant, prepare
from runstate_abi.writer.vcpu import Area, Runstate, field_at

SCHEMA = "runstate-write/1"
MARGIN = 16  # bytes of memory shown on both sides of the area
ROW = 16  # bytes a row


class Written(NamedTuple):
    """An executed update: the area, the memory before it, and each moment."""

    area: Area
    before: bytes
    moments: tuple[Moment, ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        return tuple(moment.step for moment in self.moments)

    @property
    def after(self) -> bytes:
        return self.moments[-1].memory if self.moments else self.before

    def struct(self, memory: bytes) -> bytes:
        return memory[self.area.offset :][: self.area.shape.size]

    @property
    def snapshots(self) -> tuple[bytes, ...]:
        return tuple(self.struct(one.memory) for one in self.moments if one.at_barrier)


def write(
    variant: Variant,
    vcpu: Runstate,
    area: Area,
    atomic: bool,
    window: Window,
    how: Registration = PER_USE,
) -> Written:
    """Register the area and execute one update on some memory (Refused, Overrun)."""
    before = bytes(window.data)
    steps = variant.update(vcpu, area, prepare(variant, area, how=how), atomic)
    return Written(area, before, tuple(trace(window, steps)))


def until(written: Written, barrier: int) -> Written:
    """Return the update up to its ``barrier``-th barrier (ValueError if it has fewer)."""
    for index, moment in enumerate(written.moments, 1):
        if moment.at_barrier and moment.barriers == barrier:
            return written._replace(moments=written.moments[:index])
    raise ValueError(f"barrier {barrier}: this update has {len(written.snapshots)}")


def answer(written: Written) -> dict[str, Any]:
    """Return an update's final bytes, those at each barrier, its text, and their digests."""
    snapshots = written.snapshots
    return {
        "bytes": written.struct(written.after).hex(),
        "barriers": [one.hex() for one in snapshots],
        "canonical": canonical(written.steps),
        "mem_sha256": digest(memory_text(written.steps)),
        "full_sha256": digest(canonical(written.steps)),
        "epoch_sha256": sha256(b"".join(snapshots)).hexdigest(),
    }


def as_json(written: Written, variant: Variant, memory: bool) -> dict[str, Any]:
    """Return an update as values: each step with its field and the struct after it."""
    steps: list[dict[str, Any]] = []
    for moment in written.moments:
        steps.append({"step": line(moment.step)})
        if isinstance(moment.step, Write):
            fields, struct = fields_of(written.area, moment.step), written.struct(moment.memory)
            steps[-1] |= {"page": moment.step.page, "field": fields, "struct": struct.hex()}
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "variant": variant.name,
        "source": str(variant.source),
        "abi": written.area.abi,
        "offset": written.area.offset,
        "update_flag": written.area.update_flag or variant.always_flagged,
        "steps": steps,
        **answer(written),
    }
    if memory:
        views = _views(written.area)
        document["memory"] = {
            f"p{page}": {"start": start, "hex": _view(written.after, page, start, size).hex()}
            for page, start, size in views
        }
    return document


def table(written: Written) -> Iterator[str]:
    """Yield each step with the struct in memory after it; bytes not stored yet are ``..``."""
    area = written.area
    texts = [".."] * area.shape.size
    heads = "".join(mark + name.ljust(len(cell)) for mark, cell, name in _cells(area, texts))
    rows = [["#", "step", heads], ["0", "", _struct(area, _hex(written.before, written))]]
    for number, moment in enumerate(written.moments, 1):
        rows.append([str(number), *_row(written, moment, texts)])
    yield from aligned(rows)


# A row of the table; ``texts`` gets the bytes that this step stores.
def _row(written: Written, moment: Moment, texts: list[str]) -> list[str]:
    step, area = moment.step, written.area
    if not isinstance(step, Write):
        return [line(step)]
    now = _hex(moment.memory, written)
    start = _offset(area, step)
    outside = b""
    for offset, byte in enumerate(step.data, start):
        if 0 <= offset < len(texts):
            texts[offset] = now[offset]
        else:
            outside += bytes([byte])
    kind = "store" if isinstance(step, Store) else "copy"
    row = [f"{kind} p{step.page}+{step.offset} {len(step.data)}", _struct(area, texts)]
    return [*row, f"outside: {outside.hex()}"] if outside else row


def _hex(memory: bytes, written: Written) -> list[str]:
    return [f"{byte:02x}" for byte in written.struct(memory)]


# The struct, element by element, with a | where page 2 begins.
def _struct(area: Area, texts: list[str]) -> str:
    return "".join(mark + cell for mark, cell, _ in _cells(area, texts))


def _cells(area: Area, texts: list[str]) -> Iterator[tuple[str, str, str]]:
    edge = PAGE_SIZE - area.offset
    for name, _, _, first, size in area.shape.layout.elements():
        others = range(first + 1, first + size)
        cell = texts[first] + "".join("|" * (i == edge) + texts[i] for i in others)
        yield "" if first == 0 else "|" if first == edge else " ", cell, name


def _offset(area: Area, step: Store | Copy) -> int:
    return (step.page - 1) * PAGE_SIZE + step.offset - area.offset


def fields_of(area: Area, step: Store | Copy) -> str:
    """Return the fields that a write touches: ``state_entry_time``, ``state..time[0]``."""
    start = _offset(area, step)
    ends = (start, start + len(step.data) - 1)
    first, last = (field_at(area.shape, end).split(" byte ")[0] for end in ends)
    if start == area.shape.update_byte and len(step.data) == 1:
        return "update byte"
    return first if first == last else f"{first}..{last}"


def memory_rows(written: Written) -> Iterator[str]:
    """Yield the memory around the area, page by page, what the update changed in brackets."""
    barriers = sum(isinstance(step, Barrier) for step in written.steps)
    steps = f"{len(written.steps)} step{'s'[: len(written.steps) != 1]}"
    yield f"memory after {steps}, {barriers} barrier{'s'[: barriers != 1]}:"
    for page, start, size in _views(written.area):
        old = _view(written.before, page, start, size)
        new = _view(written.after, page, start, size)
        for row in range(0, size, ROW):
            yield f"p{page}+{start + row:<5}{_marked(old[row : row + ROW], new[row : row + ROW])}"


# (page, offset, size) of what is shown: only inside the pages, because nothing else is mapped.
def _views(area: Area) -> Iterator[tuple[int, int, int]]:
    first, last = area.offset - MARGIN, area.offset + area.shape.size + MARGIN
    for page in (1, 2):
        start = max(0, first - (page - 1) * PAGE_SIZE)
        end = min(PAGE_SIZE, last - (page - 1) * PAGE_SIZE)
        touched = page == 1 or area.offset + area.shape.size > PAGE_SIZE
        if touched and start < end:
            yield page, start, end - start


def _view(memory: bytes, page: int, start: int, size: int) -> bytes:
    return memory[(page - 1) * PAGE_SIZE + start :][:size]


def _marked(old: bytes, new: bytes) -> str:
    text, inside = "", False
    for was, byte in zip(old, new, strict=True):
        changed = was != byte
        mark = " " if changed == inside else "[" if changed else "]"
        text, inside = f"{text}{mark}{byte:02x}", changed
    return text + "]" * inside
