"""One replayed case, and how a difference between bytes is told.

Law of this file: what every kind of recording needs to say "as expected" or "here it differs".
"""

from collections.abc import Iterator
from typing import NamedTuple

from runstate_abi.writer.vcpu import Shape, field_at


class Case(NamedTuple):
    """One case of a file, by name. No difference: the model did what was recorded."""

    name: str
    differences: tuple[str, ...] = ()


class Replayed(NamedTuple):
    """What a file is, its cases, and what in it could not be read or is no case (each a line).

    ``group`` is what several cases with the same first word in their names are one of.
    """

    kind: str
    cases: tuple[Case, ...]
    malformed: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    group: str = ""


def differ(what: str, expected: object, seen: object) -> Iterator[str]:
    """Yield one line if two values differ."""
    if expected != seen:
        yield f"{what}: recorded {expected}, model {seen}"


def differ_lines(expected: list[str], seen: list[str]) -> Iterator[str]:
    """Yield the first line in which two traces differ."""
    for number, (theirs, ours) in enumerate(zip(expected, seen, strict=False), 1):
        if theirs != ours:
            yield f"trace line {number}: recorded '{theirs}', model '{ours}'"
            return
    if len(expected) != len(seen):
        number = min(len(expected), len(seen)) + 1
        longer, who = (expected, "recorded") if len(expected) > len(seen) else (seen, "model")
        yield f"trace line {number}: only the {who} trace has '{longer[number - 1]}'"


def differ_bytes(
    what: str, expected: bytes, seen: bytes, shape: Shape | None = None, start: int = 0
) -> Iterator[str]:
    """Yield the first byte that differs, by field; ``start`` is where the struct begins."""
    if expected == seen:
        return
    if len(expected) != len(seen):
        yield f"{what}: recorded {len(expected)} bytes, model {len(seen)}"
        return
    wrong = [
        index for index, pair in enumerate(zip(expected, seen, strict=True)) if len({*pair}) > 1
    ]
    first = wrong[0]
    place = field_at(shape, first - start) if shape else f"byte {first}"
    yield (
        f"{what}: {len(wrong)} of {len(seen)} bytes differ, the first in {place}: "
        f"recorded {expected[first]:02x}, model {seen[first]:02x}"
    )
