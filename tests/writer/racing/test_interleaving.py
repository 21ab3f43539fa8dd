"""The search over a few bytes: small problems whose answers can be seen."""

import pytest

from runstate_abi.writer.racing.interleaving import (
    Group,
    Look,
    Move,
    Problem,
    State,
    choices,
    search,
)

BOTH = (0, 1)  # the places, and the witness
FITS_NOTHING = ()  # every pair of values deceives, so that all of them are gone through


def put(place, value, after=0):
    return Group(after, ((place, value),))


def problem(phases, looks, fits=FITS_NOTHING, flag=-1, memory=(0, 0)):
    return Problem(memory, phases, looks, flag, fits)


def used(places, after=0):
    """A load whose bytes the reader uses: byte 0 as the first witness, byte 1 as the second."""
    return Look(after, places, (), False, tuple((place, place) for place in places))


def compared(places, after=0, flag=False):
    return Look(after, places, places, flag, ())


def outcomes(asked):
    """What the two believed bytes may be when all loads are made and agree."""
    start = State(0, 0, asked.memory, 0, (-1, -1), (-1, -1))
    todo, known = [start], {start}
    while todo:
        for _, following in choices(asked, todo.pop(), {}):
            if following not in known:
                known.add(following)
                todo.append(following)
    everything = (1 << len(asked.looks)) - 1
    return {state.shown for state in known if state.looked == everything}


TOGETHER = (used(BOTH),)
FIRST_THEN_SECOND = (used((0,)), used((1,), after=0b1))
IN_ANY_ORDER = (used((0,)), used((1,)))
ONE_AFTER_ANOTHER = ((put(0, 1),), (put(1, 1),))


def test_stores_in_two_phases_are_seen_in_order_by_one_load():
    assert outcomes(problem(ONE_AFTER_ANOTHER, TOGETHER)) == {(0, 0), (1, 0), (1, 1)}


def test_stores_in_one_phase_are_seen_in_any_order():
    free = ((put(0, 1), put(1, 1)),)
    assert outcomes(problem(free, TOGETHER)) == {(0, 0), (1, 0), (0, 1), (1, 1)}


def test_a_store_that_is_seen_has_what_must_come_before_it_made():
    ordered = ((put(0, 1), put(1, 1, after=0b1)),)
    assert outcomes(problem(ordered, TOGETHER)) == {(0, 0), (1, 0), (1, 1)}
    backwards = (used((1,)), used((0,), after=0b1))
    assert outcomes(problem(ordered, backwards)) == {(0, 0), (1, 0), (1, 1)}


def test_a_store_that_was_seen_is_not_made_again():
    twice = (
        Look(0, (0,), (), False, ((0, 0),)),
        Look(0b1, (0,), (), False, ((1, 0),)),
    )
    over = ((put(0, 1), put(0, 2, after=0b1), put(0, 3, after=0b11)),)
    grown = {(first, second) for first in range(4) for second in range(first, 4)}
    assert outcomes(problem(over, twice)) == grown


def test_a_store_of_two_bytes_is_seen_whole_by_one_load():
    whole = ((Group(0, ((0, 1), (1, 1))),),)
    assert outcomes(problem(whole, TOGETHER)) == {(0, 0), (1, 1)}
    assert outcomes(problem(whole, FIRST_THEN_SECOND)) == {(0, 0), (0, 1), (1, 1)}


def test_loads_in_order_see_what_loads_in_any_order_see_and_less():
    assert outcomes(problem(ONE_AFTER_ANOTHER, FIRST_THEN_SECOND)) == {
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
    }
    reversed_ = ((put(1, 1),), (put(0, 1),))
    assert outcomes(problem(reversed_, FIRST_THEN_SECOND)) == {(0, 0), (0, 1), (1, 1)}
    assert outcomes(problem(reversed_, IN_ANY_ORDER)) == {(0, 0), (0, 1), (1, 0), (1, 1)}


# A compared load of byte 0 before and after a load of both.
def around(flag=False):
    return compared((0,), 0, flag), used(BOTH, 0b1), compared((0,), 0b11, flag)


AROUND = around()


def test_compared_loads_that_differ_are_not_accepted():
    assert outcomes(problem(ONE_AFTER_ANOTHER, AROUND)) == {(0, 0), (1, 0), (1, 1)}
    back_again = ((put(0, 1),), (put(1, 1),), (put(0, 0),))
    assert outcomes(problem(back_again, AROUND)) == {(0, 0), (1, 0), (1, 1), (0, 1)}


def test_a_flagged_value_is_refused_in_a_compared_load_alone():
    up_and_down = ((put(0, 1),), (put(1, 1),), (put(0, 2),))
    assert outcomes(problem(up_and_down, around(flag=True), flag=0)) == {(0, 0), (2, 1)}
    assert (1, 1) in outcomes(problem(up_and_down, AROUND, flag=0))
    assert (1, 1) in outcomes(problem(up_and_down, TOGETHER, flag=0))


def test_a_load_may_refuse_the_flag_and_compare_nothing():
    up_and_down = ((put(0, 1),), (put(1, 1),), (put(0, 2),))
    alone = (used(BOTH)._replace(flag=True),)
    assert outcomes(problem(up_and_down, alone, flag=0)) == {(0, 0), (2, 1)}


def test_what_is_compared_may_be_used_as_well():
    both = used(BOTH)._replace(compared=(0,))
    again = compared((0,), after=0b1)
    assert outcomes(problem(ONE_AFTER_ANOTHER, (both, again))) == {(0, 0), (1, 0), (1, 1)}
    assert search(problem(ONE_AFTER_ANOTHER, (both, again), fits=((0, 0), (1, 1)))).path is not None


def test_two_loads_of_one_byte_may_be_the_two_witnesses():
    twice = (
        Look(0, (0,), (), False, ((0, 0),)),
        Look(0b1, (0,), (), False, ((1, 0),)),
    )
    assert outcomes(problem(((put(0, 1),),), twice)) == {(0, 0), (0, 1), (1, 1)}
    assert search(problem(((put(0, 1),),), twice, fits=((0, 0), (1, 1)))).path is not None
    assert search(problem((), twice, fits=((0, 0), (1, 1)))).path is None


def test_only_a_pair_that_fits_no_image_deceives():
    assert search(problem(ONE_AFTER_ANOTHER, TOGETHER, fits=((0, 0), (1, 1)))).path is not None
    at_once = ((Group(0, ((0, 1), (1, 1))),),)
    assert search(problem(at_once, TOGETHER, fits=((0, 0), (1, 1)))).path is None


@pytest.mark.parametrize("value", [2, 9])
def test_a_value_of_no_image_deceives_whatever_it_is_compared_with(value):
    twice = (Look(0, (0,), (), False, ((0, 0), (1, 0))),)
    stray = Problem((0, 0), ((put(0, value),),), twice, -1, ((0, 0), (1, value)))
    assert search(stray).path == (Move(0, (0,), 0),)


def test_the_shortest_path_is_found_and_every_state_is_counted():
    nothing = problem((), TOGETHER, fits=((0, 0), (1, 1)))
    assert search(nothing) == (1, None)
    one = problem(ONE_AFTER_ANOTHER, TOGETHER, fits=((0, 0), (1, 1)))
    assert search(one).path == (Move(0, (0,), 0),)


def test_a_masked_load_is_compared_as_if_it_were_even():
    """It saw 3, which is 2 without its lowest bit, and the next load sees 2."""
    first = Look(0, (0,), (0,), False, (), masked=True)
    looks = first, used(BOTH, 0b1), compared((0,), 0b11, flag=True)
    asked = problem(((put(0, 3),), (put(0, 2),)), looks, flag=0)
    assert outcomes(asked) == {(0, 0), (3, 0), (2, 0)}
    plain = asked._replace(looks=(first._replace(masked=False), *looks[1:]))
    assert outcomes(plain) == {(0, 0), (2, 0)}
