"""Which bytes of the guard's words of an area's versions are equal: the reader compares bytes.

A pattern gives each byte of state_entry_time a column: a small number for its value in each version
of the struct (0 the old one, 1 the first new one, ...). Entry times that differ may still have some
bytes in common: 255 patterns for one update. A reader that accepts still accepts if more bytes are
equal. So it is enough to try the patterns in which no further bytes can be equal without making two
entry times equal. For one update these are eight: in each of them one byte differs. Tests try all
255 as well.
"""

from collections.abc import Iterator
from functools import cache
from itertools import groupby, islice, pairwise, permutations, product

Column = tuple[int, ...]
Columns = tuple[Column, ...]

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


@cache
def columns_of(versions: int) -> Columns:
    """Return each partition of the versions into equal ones, numbered by first appearance."""
    found: list[Column] = [()]
    for _ in range(versions):
        found = [(*one, value) for one in found for value in range(max(one, default=-1) + 2)]
    return tuple(found)


def coarser_than(column: Column) -> Iterator[Column]:
    """Yield the columns with the same equal versions and at least one more equal pair."""
    for other in columns_of(len(column)):
        pairs = set(zip(column, other, strict=True))
        if other != column and len(pairs) == len(set(column)):
            yield other


@cache
def holds(columns: Columns, entry_times: str) -> bool:
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


def in_order(columns: Columns, versions: int) -> Columns | None:
    """Return the columns renumbered so that the times increase, None if that is impossible."""
    # From the top byte down: among versions that are equal so far, the next byte must not decrease.
    # A value has the same number everywhere in its column.
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


def counted(place: int, versions: int, entry_times: str) -> tuple[tuple[int, Column], ...]:
    """Return the pattern of a word that counts updates: its lowest byte, at ``place``, differs.

    The value comes back (A_B_A) if a hypervisor starts again, or after 2^31 updates.
    """
    if entry_times == EQUAL:
        return ()
    step = 2 if entry_times == A_B_A else versions
    return ((place, tuple(version % step for version in range(versions))),)


@cache
def coarsest(versions: int, entry_times: str, also_differ: bool = False) -> tuple[Columns, ...]:
    """Return the patterns that leave the most bytes equal.

    Each pattern is the columns of the bytes that differ, from the top byte down. With
    ``also_differ`` the reader also uses the entry time, so one column may differ more than the
    times require.
    """
    if entry_times == EQUAL:
        return ((),)
    found: dict[Columns, None] = {}
    useful = [column for column in columns_of(versions) if any(column)]
    for count in range(1, versions + also_differ):
        for columns in product(useful, repeat=count):
            if holds(columns, entry_times) and _is_coarsest(columns, entry_times, also_differ):
                found[columns] = None
    return tuple(found)


def _is_coarsest(columns: Columns, entry_times: str, also_differ: bool) -> bool:
    coarser = islice(_coarser(columns, entry_times), 1 + also_differ)
    return len(tuple(coarser)) <= also_differ


# The columns in which two more versions could be equal.
def _coarser(columns: Columns, entry_times: str) -> Iterator[int]:
    for index, column in enumerate(columns):
        around = columns[:index], columns[index + 1 :]
        if any(holds((*around[0], one, *around[1]), entry_times) for one in coarser_than(column)):
            yield index
