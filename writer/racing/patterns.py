"""Which bytes of which entry times are equal: the reader compares bytes, so this decides much.

A pattern gives each byte of state_entry_time a column: for each version of the struct (0 the old
one, 1 the first new one, ...) which value it has there, as a small number. Two times may have any
bytes in common as long as they differ: 255 patterns for one update. The more bytes are equal, the
more a reader accepts, and what it accepted before it still accepts; so only the patterns that make
no more bytes equal without making two times equal need asking. For one update these are eight: one
byte differs. That is an argument, not a sample: tests ask all 255 as well.

Law of this file: numbers in columns, and no byte of any struct.
"""

from collections.abc import Iterator
from functools import cache
from itertools import groupby, islice, pairwise, permutations, product
from typing import NamedTuple

Column = tuple[int, ...]

# What state_entry_time may do from one version to the next.
INCREASING, DIFFERENT, EQUAL, A_B_A = "increasing", "different", "equal", "a-b-a"
# fmt: off
ENTRY_TIMES = {
    INCREASING: "each update has a later entry time",
    DIFFERENT:  "no two versions have the same entry time; time may run backwards",
    EQUAL:      "all versions have the same entry time",
    A_B_A:      "an entry time differs from the one before, but comes back after two updates",
}
# fmt: on


class Shape(NamedTuple):
    """Columns from the most significant byte down; all other bytes are equal in all versions."""

    columns: tuple[Column, ...]


@cache
def columns_of(versions: int) -> tuple[Column, ...]:
    """Return each way to call some versions equal, each block numbered in order of appearance."""
    found: list[Column] = [()]
    for _ in range(versions):
        found = [(*one, value) for one in found for value in range(max(one, default=-1) + 2)]
    return tuple(found)


def coarser_than(column: Column) -> Iterator[Column]:
    """Yield the columns in which the same versions are equal, and more."""
    for other in columns_of(len(column)):
        pairs = set(zip(column, other, strict=True))
        if other != column and len(pairs) == len(set(column)):
            yield other


@cache
def holds(columns: tuple[Column, ...], entry_times: str) -> bool:
    """Is there a sequence of entry times with these bytes, most significant byte first?"""
    versions = len(columns[0]) if columns else 0
    if entry_times == EQUAL:
        return all(not any(column) for column in columns)
    if entry_times == INCREASING:
        return in_order(columns, versions) is not None
    rows = [tuple(column[version] for column in columns) for version in range(versions)]
    if entry_times == A_B_A:
        return versions > 2 and all(
            (rows[one] == rows[other]) == ((one - other) % 2 == 0)
            for one in range(versions)
            for other in range(one)
        )
    return len(set(rows)) == versions


def in_order(columns: tuple[Column, ...], versions: int) -> tuple[Column, ...] | None:
    """Return the columns with their blocks numbered so that each row is greater than the one
    before, None if they cannot be.
    """
    # From the top byte down, versions that are equal so far lie side by side, and among them the
    # next byte may not fall. The same value has the same number wherever it is.
    runs = [tuple(range(versions))]
    numbered: list[Column] = []
    for column in columns:
        found = _rising(column, runs)
        if found is None:
            return None
        numbered.append(found)
        runs = [part for run in runs for part in _parts(found, run)]
    return tuple(numbered) if all(len(run) == 1 for run in runs) else None


def _rising(column: Column, runs: list[tuple[int, ...]]) -> Column | None:
    for names in permutations(range(max(column) + 1)):
        values = tuple(names[value] for value in column)
        if all(values[one] <= values[two] for run in runs for one, two in pairwise(run)):
            return values
    return None


def _parts(values: Column, run: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    for _, part in groupby(run, key=lambda version: values[version]):
        yield tuple(part)


@cache
def coarsest(versions: int, entry_times: str, also_differ: bool = False) -> tuple[Shape, ...]:
    """Return the patterns that leave the most bytes equal, as columns of the bytes that differ.

    ``also_differ``: for a reader to whom a byte matters because it differs. There one column may
    be finer than the times need.
    """
    if entry_times == EQUAL:
        return (Shape(()),)
    found: dict[Shape, None] = {}
    useful = [column for column in columns_of(versions) if any(column)]
    for count in range(1, versions + also_differ):
        for columns in product(useful, repeat=count):
            if holds(columns, entry_times) and _is_coarsest(columns, entry_times, also_differ):
                found[Shape(columns)] = None
    return tuple(found)


def _is_coarsest(columns: tuple[Column, ...], entry_times: str, also_differ: bool) -> bool:
    coarser = islice(_coarser(columns, entry_times), 1 + also_differ)
    return len(tuple(coarser)) <= also_differ


# The columns that could have two more versions equal.
def _coarser(columns: tuple[Column, ...], entry_times: str) -> Iterator[int]:
    for index, column in enumerate(columns):
        around = columns[:index], columns[index + 1 :]
        if any(holds((*around[0], one, *around[1]), entry_times) for one in coarser_than(column)):
            yield index
