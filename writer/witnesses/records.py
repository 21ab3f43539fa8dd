"""Fields of JSON records that other programs wrote, one function for each kind of field.

A field that is missing, or is not of its kind, raises Malformed with the name of the field.
"""

import json
from typing import Any

Record = dict[str, Any]


class Malformed(Exception):
    """A record does not say what it should: the message names the field."""


def decode(text: str) -> Any:
    """Return the JSON value of a text (Malformed; a key said twice is an error too)."""
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
    """Return a JSON object."""
    if not isinstance(value, dict):
        raise Malformed(f"{what} is not an object")
    return value


def field(record: Record, name: str) -> Any:
    """Return a field that must be there."""
    if name not in record:
        raise Malformed(f"field '{name}' is missing")
    return record[name]


def number(record: Record, name: str, least: int, most: int) -> int:
    """Return an integer field: a JSON integer, or a string such as 0x10 or 16."""
    return number_of(field(record, name), name, least, most)


def number_of(value: Any, name: str, least: int, most: int) -> int:
    """Return what ``value`` of field ``name`` says as an integer within bounds."""
    if isinstance(value, str):
        try:
            value = int(value, 0)
        except ValueError:
            raise Malformed(f"field '{name}': {_shown(value)} is not a number") from None
    if isinstance(value, bool) or not isinstance(value, int):
        raise Malformed(f"field '{name}': {_shown(value)} is not an integer")
    if not least <= value <= most:
        raise Malformed(f"field '{name}': {value} is not between {least} and {most}")
    return value


def truth(record: Record, name: str) -> bool:
    """Return a true or false field; 1 and 0 will do."""
    value = field(record, name)
    if value not in (True, False):
        raise Malformed(f"field '{name}': {_shown(value)} is neither true nor false")
    return bool(value)


def choice(record: Record, name: str, choices: tuple[str, ...]) -> str:
    """Return a field that is one of some words."""
    value = field(record, name)
    if value not in choices:
        raise Malformed(f"field '{name}': {_shown(value)} is none of {', '.join(choices)}")
    return str(value)


def text(record: Record, name: str) -> str:
    """Return a string field."""
    value = field(record, name)
    if not isinstance(value, str):
        raise Malformed(f"field '{name}': {_shown(value)} is not a string")
    return value


def sequence(record: Record, name: str) -> list[Any]:
    """Return an array field."""
    return list_of(field(record, name), name)


def list_of(value: Any, name: str) -> list[Any]:
    """Return what ``value`` of field ``name`` says as an array."""
    if not isinstance(value, list):
        raise Malformed(f"field '{name}': {_shown(value)} is not an array")
    return value


def octets(record: Record, name: str) -> bytes:
    """Return a field of hex digits as bytes."""
    return octets_of(field(record, name), name)


def octets_of(value: Any, name: str) -> bytes:
    """Return what ``value`` of field ``name`` says as bytes."""
    try:
        if not isinstance(value, str) or any(character.isspace() for character in value):
            raise ValueError
        return bytes.fromhex(value)
    except ValueError:
        raise Malformed(f"field '{name}': {_shown(value)} is not hex digits") from None


def known(record: Record, names: frozenset[str]) -> None:
    """Refuse a field that nobody knows: it may be a misspelt one."""
    for name in record:
        if name not in names:
            raise Malformed(f"field '{name}' is unknown")


def _shown(value: Any) -> str:
    shown = json.dumps(value)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."
