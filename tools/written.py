"""One update played for a person or a program to read: the trace, the table, the memory, the JSON.

Law of this file: pure functions from an update to text or values; write.py asks and prints.
"""

from collections.abc import Iterator
from hashlib import sha256
from typing import Any, NamedTuple

from runstate_abi.tools.replaying.cases import field_at
from runstate_abi.tools.tables import aligned
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
from runstate_abi.writer.variants import Variant, prepare
from runstate_abi.writer.vcpu import PAGE_SIZE, Area, Runstate, Shape

MARGIN = 16  # bytes of memory shown on both sides of the area
ROW = 16  # bytes a row


class Written(NamedTuple):
    """An update as played: where, on what memory, and each moment of it."""

    area: Area
    before: bytes
    moments: tuple[Moment, ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps, with the bytes that were really stored."""
        return tuple(moment.step for moment in self.moments)

    @property
    def after(self) -> bytes:
        """Memory after the last step."""
        return self.moments[-1].memory if self.moments else self.before

    def struct(self, memory: bytes) -> bytes:
        """The area's bytes in some memory."""
        return memory[self.area.offset :][: self.area.shape.size]

    @property
    def snapshots(self) -> tuple[bytes, ...]:
        """The area's bytes at each barrier."""
        return tuple(self.struct(one.memory) for one in self.moments if one.at_barrier)


def write(
    variant: Variant, vcpu: Runstate, area: Area, atomic: bool = False, fill: bytes = b"\xa5"
) -> Written:
    """Register the area, fill memory, and play one update (Refused)."""
    window = Window(fill)
    before = bytes(window.data)
    steps = variant.update(vcpu, area, prepare(variant, area), atomic)
    return Written(area, before, tuple(trace(window, steps)))


def until(written: Written, barrier: int) -> Written:
    """Return the update up to its ``barrier``-th barrier (ValueError if it has fewer)."""
    for index, moment in enumerate(written.moments, 1):
        if moment.at_barrier and moment.barriers == barrier:
            return written._replace(moments=written.moments[:index])
    count = len(written.snapshots)
    raise ValueError(f"barrier {barrier}: this update has {count}")


def answer(written: Written) -> dict[str, Any]:
    """Return what ``write --cases`` says about an update: its bytes, its text, their digests."""
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
    document: dict[str, Any] = {
        "variant": variant.name,
        "source": str(variant.source),
        "abi": written.area.abi,
        "offset": written.area.offset,
        "update_flag": written.area.update_flag or variant.always_flagged,
        "steps": [_step(written, moment) for moment in written.moments],
        **answer(written),
    }
    if memory:
        views = _views(written.area)
        document["memory"] = {
            f"p{page}": {"start": start, "hex": _view(written.after, page, start, size).hex()}
            for page, start, size in views
        }
    return document


def _step(written: Written, moment: Moment) -> dict[str, Any]:
    step: dict[str, Any] = {"step": line(moment.step)}
    if isinstance(moment.step, Write):
        step["page"] = moment.step.page
        step["field"] = fields_of(written.area, moment.step)
        step["struct"] = written.struct(moment.memory).hex()
    return step


def table(written: Written) -> Iterator[str]:
    """Yield each step with its page, its field, its bytes, and the struct in memory after it."""
    shape = written.area.shape
    rows = [["#", "step", "page", "field", f"struct {shape.layout.name} after it"]]
    rows.append(["0", "", "", "", _parts(written, written.before)])
    for number, moment in enumerate(written.moments, 1):
        rows.append([str(number), *_row(written, moment)])
    yield from aligned(rows)


def _row(written: Written, moment: Moment) -> list[str]:
    step = moment.step
    if isinstance(step, Write):
        kind = "store" if isinstance(step, Store) else "copy"
        text = f"{kind} {_bytes(step.data)}"
        place = f"p{step.page}+{step.offset}"
        return [text, place, fields_of(written.area, step), _parts(written, moment.memory)]
    return [line(step)]


# Long copies are shown by their ends: the struct after it has all of them.
def _bytes(data: bytes) -> str:
    shown = data.hex() if len(data) <= 8 else f"{data[:4].hex()}..{data[-4:].hex()}"
    return f"{len(data)} {shown}"


# The struct field by field, and a | where page 2 begins.
def _parts(written: Written, memory: bytes) -> str:
    shape, struct = written.area.shape, written.struct(memory)
    starts = {row.offset + n * row.type.size for row in shape.layout.rows for n in _elements(row)}
    edge = PAGE_SIZE - written.area.offset
    text = ""
    for index, byte in enumerate(struct):
        if index == edge:
            text += "|"
        elif index and index in starts:
            text += " "
        text += f"{byte:02x}"
    return text


def _elements(row: Any) -> range:
    return range(1) if row.padding else range(row.count)


def fields_of(area: Area, step: Store | Copy) -> str:
    """Return the fields that a write touches: ``state_entry_time``, ``state..time[0]``."""
    start = (step.page - 1) * PAGE_SIZE + step.offset - area.offset
    first = _field(area.shape, start)
    last = _field(area.shape, start + len(step.data) - 1)
    if start == area.shape.update_byte and len(step.data) == 1:
        return "update byte"
    return first if first == last else f"{first}..{last}"


def _field(shape: Shape, offset: int) -> str:
    return field_at(shape, offset).split(" byte ")[0]


def memory_rows(written: Written) -> Iterator[str]:
    """Yield the memory around the area, page by page, what the update changed in brackets."""
    barriers = sum(isinstance(step, Barrier) for step in written.steps)
    yield f"memory after {len(written.steps)} steps, {barriers} barriers:"
    for page, start, size in _views(written.area):
        old = _view(written.before, page, start, size)
        new = _view(written.after, page, start, size)
        for row in range(0, size, ROW):
            yield f"p{page}+{start + row:<5}{_marked(old[row : row + ROW], new[row : row + ROW])}"


# Within the pages only: what lies around them is mapped by nobody.
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
        text += "[" if changed and not inside else "]" if inside and not changed else " "
        text += f"{byte:02x}"
        inside = changed
    return text + ("]" if inside else "")
