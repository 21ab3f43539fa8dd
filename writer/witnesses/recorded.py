"""What others recorded of real updates, as Steps: traces of the kernel's code, and watchpoints.

Law of this file: it reads what a recording says and judges nothing. A recording of stores has no
barriers, no locks and no order that the source prescribes: that is the rule book's business.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from runstate_abi.layouts.abi import PAGE_SIZE, U64
from runstate_abi.layouts.model import WitnessError
from runstate_abi.writer.steps import (
    Activate,
    Barrier,
    Check,
    Copy,
    Dirty,
    IrqRestore,
    IrqSave,
    Lock,
    Refresh,
    Step,
    Steps,
    Store,
    TryLock,
    Unlock,
)
from runstate_abi.writer.vcpu import SHAPES, Area
from runstate_abi.writer.witnesses.records import Record, choice, number

Event = Mapping[str, Any]


def steps_of_events(events: Iterable[Event]) -> Steps:
    """Return the steps of a trace of event objects, as the oracle's vectors have them."""
    return tuple(step_of_event(event) for event in events)


def step_of_event(event: Event) -> Step:
    """Return the step that one event object is (WitnessError if there is no word for it)."""
    try:
        return _step(event)
    except (KeyError, TypeError, ValueError) as error:
        raise WitnessError(f"event {dict(event)}: {type(error).__name__}: {error}") from None


def _step(event: Event) -> Step:
    operation = event["op"]
    cache = f"gpc{event['gpc']}" if "gpc" in event else ""
    match operation:
        case "store":
            return Store(_number(event, "page"), _number(event, "off"), _bytes(event))
        case "memcpy":
            return Copy(_number(event, "page"), _number(event, "off"), _bytes(event))
        case "wmb":
            return Barrier()
        case "read_lock" | "read_lock_irqsave":
            return Lock(cache, operation.endswith("irqsave"))
        case "read_unlock" | "read_unlock_irqrestore":
            return Unlock(cache, operation.endswith("irqrestore"))
        case "read_trylock":
            return TryLock(cache, _truth(event))
        case "check":
            return Check(cache, _number(event, "len"), _truth(event))
        case "refresh":
            return Refresh(cache, _number(event, "len"), _number(event, "ret"))
        case "activate":
            gpa, size = _number(event, "gpa"), _number(event, "len")
            return Activate(cache, gpa, size, _number(event, "ret"))
        case "mark_dirty":
            return Dirty(_number(event, "gfn"))
        case "local_irq_save":
            return IrqSave()
        case "local_irq_restore":
            return IrqRestore()
    raise ValueError("no such step")


def _number(event: Event, name: str) -> int:
    value = event[name]
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name} is {value!r}, not a number")
    return value


def _truth(event: Event) -> bool:
    if event["ret"] not in (0, 1):
        raise ValueError(f"returned {event['ret']}, not 0 or 1")
    return bool(event["ret"])


def _bytes(event: Event) -> bytes:
    data = bytes.fromhex(event["hex"])
    if len(data) != event["size"]:
        raise ValueError(f"says {event['size']} bytes and shows {len(data)}")
    return data


def area_of(record: Record, flag: bool) -> Area:
    """Return the area of a record: its layout, its place, the flag."""
    return Area(choice(record, "layout", tuple(SHAPES)), number(record, "off", 0, U64), flag)


def steps_of_watchpoints(stores: Iterable[Sequence[Any]], offset: int) -> Steps:
    """Return the stores that a write watchpoint saw: [where, first changed byte, bytes], each.

    ``offset`` is the area's in its page. What changed may be narrower than the store was, and a
    store that changed nothing says nothing: it is left out.
    """
    return tuple(_stores_of_watchpoints(stores, offset))


def _stores_of_watchpoints(stores: Iterable[Sequence[Any]], offset: int) -> Iterator[Step]:
    for entry in stores:
        try:
            _, first, digits = entry
            data = bytes.fromhex(digits)
            if first is not None:
                yield from _in_pages(offset + int(first), data)
            elif data:
                raise ValueError("bytes, but no place")
        except (TypeError, ValueError) as error:
            raise WitnessError(f"store {entry!r}: {error}") from None


def steps_of_images(images: Sequence[bytes], offset: int) -> Steps:
    """Return the stores between memory images of an area, one image after each store.

    A run of changed bytes is one store: how wide the machine's was is not recorded.
    """
    steps: list[Step] = []
    for before, after in pairwise(images):
        for start, data in changed_runs(before, after):
            steps.extend(_in_pages(offset + start, data))
    return tuple(steps)


def changed_runs(before: bytes, after: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, new bytes) for each run of bytes that differ."""
    start = None
    for index in range(len(before) + 1):
        differs = index < len(before) and before[index] != after[index]
        if differs and start is None:
            start = index
        elif not differs and start is not None:
            yield start, after[start:index]
            start = None


# A machine store that crosses the page boundary is two copies here: each page has its own mapping.
def _in_pages(address: int, data: bytes) -> Iterator[Step]:
    while data:
        page, offset = divmod(address, PAGE_SIZE)
        size = min(len(data), PAGE_SIZE - offset)
        yield Copy(page + 1, offset, data[:size])
        address, data = address + size, data[size:]
