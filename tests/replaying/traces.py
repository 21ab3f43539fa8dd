"""Traces that only tests read, as Steps: canonical text, the oracle's events, memory images."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

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
from runstate_abi.writer.witnesses.recorded import in_pages

_NUMBER = r"(0|-?[1-9]\d*)"
# fmt: off
_FORMS = (
    # what a line looks like                                     the step it is
    (r"store p([1-9]\d*)\+(\d+) ([148]) ((?:[0-9a-f]{2})+)",     lambda p, o, n, h: Store(int(p), int(o), _sized(n, h))),
    (r"copy p([1-9]\d*)\+(\d+) (\d+) ((?:[0-9a-f]{2})*)",        lambda p, o, n, h: Copy(int(p), int(o), _sized(n, h))),
    (r"wmb",                                                     lambda: Barrier()),
    (r"lock (gpc\d)( irqsave)?",                                 lambda c, i: Lock(c, bool(i))),
    (r"unlock (gpc\d)( irqrestore)?",                            lambda c, i: Unlock(c, bool(i))),
    (r"check (gpc\d) len=(\d+) -> ([01])",                       lambda c, n, r: Check(c, int(n), r == "1")),
    (r"dirty gfn=([+-]\d+)",                                     lambda d: Dirty(int(d))),
    (r"trylock (gpc\d) -> ([01])",                               lambda c, r: TryLock(c, r == "1")),
    (rf"refresh (gpc\d) len=(\d+) -> {_NUMBER}",                 lambda c, n, r: Refresh(c, int(n), int(r))),
    (rf"activate (gpc\d) gpa={_NUMBER} len=(\d+) -> {_NUMBER}",  lambda c, g, n, r: Activate(c, int(g), int(n), int(r))),
    (r"irq save",                                                lambda: IrqSave()),
    (r"irq restore",                                             lambda: IrqRestore()),
)
# fmt: on
_PATTERNS = tuple((re.compile(form, re.ASCII), build) for form, build in _FORMS)


def _sized(size: str, digits: str) -> bytes:
    data = bytes.fromhex(digits)
    if len(data) != int(size):
        raise ValueError(f"says {size} bytes and shows {len(data)}")
    return data


def parse_line(text: str) -> Step:
    """Return the step that one canonical line says (ValueError naming the line)."""
    for pattern, build in _PATTERNS:
        if found := pattern.fullmatch(text):
            try:
                step: Step = build(*found.groups())
            except ValueError as error:
                raise ValueError(f"{text!r}: {error}") from None
            return step
    raise ValueError(f"{text!r} is not a line of a canonical trace")


def parse(text: str) -> Steps:
    """Return the steps of a canonical text (ValueError naming line number and line)."""
    steps = []
    for number, one in enumerate(text.split("\n")[:-1] if text else (), 1):
        try:
            steps.append(parse_line(one))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
    if text and not text.endswith("\n"):
        raise ValueError(f"line {len(steps) + 1}: the last line has no line end")
    return tuple(steps)


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


def steps_of_images(images: Sequence[bytes], offset: int) -> Steps:
    """Return the stores between memory images of an area, one image after each store.

    A run of changed bytes is one store: how wide the machine's was is not recorded.
    """
    steps: list[Step] = []
    for before, after in pairwise(images):
        for start, data in changed_runs(before, after):
            steps.extend(in_pages(offset + start, data))
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
