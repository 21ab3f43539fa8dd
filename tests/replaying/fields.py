"""Fields of JSON records that only the replayed recordings have, beside those of recorded.py."""

from typing import Any

from runstate_abi.writer.witnesses.recorded import Malformed, Record, field, shown


def text(record: Record, name: str) -> str:
    """Return a string field."""
    value = field(record, name)
    if not isinstance(value, str):
        raise Malformed(f"field '{name}': {shown(value)} is not a string")
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
        raise Malformed(f"field '{name}': {shown(value)} is not hex digits") from None


def known(record: Record, names: frozenset[str]) -> None:
    """Refuse a field that nobody knows: it may be a misspelt one."""
    for name in record:
        if name not in names:
            raise Malformed(f"field '{name}' is unknown")
