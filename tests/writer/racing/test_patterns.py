"""Patterns of equal bytes: which there are, and which of them must be asked."""

from itertools import product

import pytest

from runstate_abi.writer.racing.patterns import (
    A_B_A,
    DIFFERENT,
    EQUAL,
    INCREASING,
    coarsest,
    columns_of,
    holds,
    in_order,
)


def test_columns_are_the_ways_to_call_versions_equal():
    assert [len(columns_of(versions)) for versions in (1, 2, 3, 4)] == [1, 2, 5, 15]
    assert columns_of(2) == ((0, 0), (0, 1))


def test_for_one_update_it_is_enough_that_one_byte_differs():
    assert list(coarsest(2, INCREASING)) == [((0, 1),)]


def rows_rise(columns):
    rows = list(zip(*columns, strict=True))
    return rows == sorted(set(rows))


@pytest.mark.parametrize("versions", [2, 3, 4])
def test_numbered_columns_put_the_times_in_order(versions):
    for columns in product(columns_of(versions), repeat=2):
        numbered = in_order(columns, versions)
        assert numbered is None or rows_rise(numbered)


@pytest.mark.parametrize("versions", [2, 3, 4])
def test_columns_that_have_no_order_cannot_be_made_to_rise(versions):
    values = list(product(range(versions), repeat=versions))
    possible = {
        (equalities(top), equalities(low))
        for top, low in product(values, repeat=2)
        if rows_rise((top, low))
    }
    for columns in product(columns_of(versions), repeat=2):
        assert holds(columns, INCREASING) == (columns in possible), columns


def equalities(column):
    names = {}
    return tuple(names.setdefault(value, len(names)) for value in column)


@pytest.mark.parametrize("entry_times", [INCREASING, DIFFERENT])
def test_every_pattern_is_finer_than_one_that_is_asked(entry_times):
    for columns in product(columns_of(3), repeat=3):
        if holds(columns, entry_times):
            assert any(covers(one, columns) for one in coarsest(3, entry_times))


# Can the asked columns be put on some of these bytes, in order, with as many equal or more?
def covers(asked, columns):
    if not asked:
        return True
    for index, column in enumerate(columns):
        if is_coarser(asked[0], column) and covers(asked[1:], columns[index + 1 :]):
            return True
    return False


def is_coarser(column, finer):
    pairs = zip(finer, column, strict=True)
    return len(set(pairs)) == len(set(finer))


def test_equal_times_have_no_byte_that_differs():
    assert list(coarsest(3, EQUAL)) == [()]


def test_a_time_that_comes_back_does_so_in_one_byte():
    assert list(coarsest(3, A_B_A)) == [((0, 1, 0),)]
    assert coarsest(2, A_B_A) == ()
