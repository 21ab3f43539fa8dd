"""Recordings of real updates: fields of their JSON records, and watchpoint traces as Steps.

A recording of stores has no barriers and no locks, so the rules about those are not judged.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from runstate_abi.layouts.abi import PAGE_SIZE, U64
from runstate_abi.layouts.model import WitnessError
from runstate_abi.writer.steps import Copy, Step, Steps
from runstate_abi.writer.vcpu import SHAPES, Area

Record = dict[str, Any]


class Malformed(Exception):
    """A record is wrong: the message names the field."""


def decode(text: str) -> Any:
    """Return the JSON value of a text (Malformed; a duplicate key is an error too)."""
    try:
        return json.loads(text, object_pairs_hook=_no_twins)
    except ValueError as error:  # JSONDecodeError, or a number of thousands of digits
        raise Malformed(f"not JSON: {error}") from None
    except RecursionError:
        raise Malformed("not JSON that can be read: nested too deeply") from None


def _no_twins(pairs: list[tuple[str, Any]]) -> Record:
    record = dict(pairs)
    if len(record) != len(pairs):
        names = [name for name, _ in pairs]
        twin = next(name for name in names if names.count(name) > 1)
        raise Malformed(f"field '{twin}' is there twice")
    return record


def record_of(value: Any, what: str = "the line") -> Record:
    if not isinstance(value, dict):
        raise Malformed(f"{what} is not an object")
    return value


def field(record: Record, name: str) -> Any:
    if name not in record:
        raise Malformed(f"field '{name}' is missing")
    return record[name]


def number(record: Record, name: str, least: int, most: int) -> int:
    """Return an integer field: a JSON integer, or a string such as 0x10 or 16."""
    return number_of(field(record, name), name, least, most)


def number_of(value: Any, name: str, least: int, most: int) -> int:
    """Return ``value`` of field ``name`` as an integer within bounds."""
    if isinstance(value, str):
        try:
            value = int(value, 0)
        except ValueError:
            raise Malformed(f"field '{name}': {shown(value)} is not a number") from None
    if isinstance(value, bool) or not isinstance(value, int):
        raise Malformed(f"field '{name}': {shown(value)} is not an integer")
    if not least <= value <= most:
        raise Malformed(f"field '{name}': {value} is not between {least} and {most}")
    return value


def truth(record: Record, name: str) -> bool:
    value = field(record, name)
    if value not in (True, False):
        raise Malformed(f"field '{name}': {shown(value)} is neither true nor false")
    return bool(value)


def choice(record: Record, name: str, choices: tuple[str, ...]) -> str:
    value = field(record, name)
    if value not in choices:
        raise Malformed(f"field '{name}': {shown(value)} is none of {', '.join(choices)}")
    return str(value)


def sequence(record: Record, name: str) -> list[Any]:
    return list_of(field(record, name), name)


def list_of(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise Malformed(f"field '{name}': {shown(value)} is not an array")
    return value


def shown(value: Any) -> str:
    """Return a JSON value as text, cut to 40 characters."""
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def area_of(record: Record, flag: bool) -> Area:
    """Return the area of a record: its layout, its place, the flag."""
    return Area(choice(record, "layout", tuple(SHAPES)), number(record, "off", 0, U64), flag)


def steps_of_watchpoints(stores: Iterable[Sequence[Any]], offset: int) -> Steps:
    """Return the stores that a write watchpoint saw: [where, first changed byte, bytes], each.

    ``offset`` is the area's in its page. The changed bytes may be fewer than the store had. A store
    that changed nothing shows nothing and is left out.
    """
    steps: list[Step] = []
    for entry in stores:
        try:
            _, first, digits = entry
            data = bytes.fromhex(digits)
            if first is not None:
                steps += in_pages(offset + int(first), data)
            elif data:
                raise ValueError("bytes, but no place")
        except (TypeError, ValueError) as error:
            raise WitnessError(f"store {entry!r}: {error}") from None
    return tuple(steps)


def in_pages(address: int, data: bytes) -> Iterator[Step]:
    """Yield a store of ``data`` as one Copy for each page, because each has its own mapping."""
    while data:
        page, offset = divmod(address, PAGE_SIZE)
        size = min(len(data), PAGE_SIZE - offset)
        yield Copy(page + 1, offset, data[:size])
        address, data = address + size, data[size:]
