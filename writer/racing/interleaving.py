"""Every execution of one writer and one reader over a few bytes: states, choices, and a search.

A state is how far the writer is, what memory holds, and what the reader has seen. The choices are:
the writer finishes its phase, or the reader makes one of its loads. A store stays undecided until a
load of one of its bytes sees it, or until its phase ends. That leaves no execution out, because
nobody can tell a store that was made earlier and not looked at from one that was made later. It
reduces 2^44 memories to a few hundred. projection.py knows what the bytes and the values mean.
"""

from collections import deque
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

Values = tuple[int, ...]  # one for each byte


class Group(NamedTuple):
    """A store in one piece: (byte, value) pairs. ``after``: mask of the groups before it."""

    after: int
    writes: tuple[tuple[int, int], ...]


class Look(NamedTuple):
    """A load in one piece. ``after``: mask of the loads before it. ``compared``: all compared
    loads of a byte must give the same value; otherwise what is loaded is what will be believed.
    """

    after: int
    places: tuple[int, ...]
    compared: bool


class Problem(NamedTuple):
    """A question over a few bytes.

    ``flag`` is the byte whose odd values are refused in a compared load, -1 if none are.
    ``witness`` are two bytes that will be believed: the reader is deceived if the value of the
    second is not ``fits[value of the first]``, or the first has a value that is in no image.
    """

    memory: Values
    phases: tuple[tuple[Group, ...], ...]
    looks: tuple[Look, ...]
    flag: int
    witness: tuple[int, int]
    fits: tuple[int, ...]


class State(NamedTuple):
    """``done``: groups of the phase that have been made; ``looked``: loads made; ``agreed``: what
    compared loads gave, -1 not loaded; ``shown``: what the witness bytes gave.
    """

    phase: int
    done: int
    memory: Values
    looked: int
    agreed: Values
    shown: tuple[int, int]


class Move(NamedTuple):
    """What happened: load number ``look`` after ``groups`` of ``phase`` were made, or, if ``look``
    is -1, the rest of the phase was made.
    """

    phase: int
    groups: tuple[int, ...]
    look: int = -1


class Searched(NamedTuple):
    """How many states there were, and the shortest path to a deceived reader if there is one."""

    states: int
    path: tuple[Move, ...] | None


@cache
def search(problem: Problem) -> Searched:
    """Search breadth first for an execution that is accepted and deceives the reader."""
    start = State(0, 0, problem.memory, 0, (-1,) * len(problem.memory), (-1, -1))
    accepted = (1 << len(problem.looks)) - 1
    came: dict[State, tuple[State, Move] | None] = {start: None}
    queue = deque([start])
    while queue:
        state = queue.popleft()
        for move, following in choices(problem, state):
            if following in came:
                continue
            came[following] = state, move
            if following.looked == accepted:
                return Searched(len(came), _path(came, following))
            queue.append(following)
    return Searched(len(came), None)


def _path(came: dict[State, tuple[State, Move] | None], state: State) -> tuple[Move, ...]:
    path: list[Move] = []
    while step := came[state]:
        state, move = step
        path.append(move)
    return tuple(reversed(path))


def choices(problem: Problem, state: State) -> Iterator[tuple[Move, State]]:
    """Yield what may happen next, except where the reader can no longer be deceived."""
    if state.phase < len(problem.phases):
        groups = problem.phases[state.phase]
        rest = tuple(i for i in range(len(groups)) if not state.done >> i & 1)
        memory = _stored(state.memory, groups, rest)
        yield Move(state.phase, rest), state._replace(phase=state.phase + 1, done=0, memory=memory)
    for index, look in enumerate(problem.looks):
        if not state.looked >> index & 1 and look.after & ~state.looked == 0:
            for made in _decisions(problem, state, look):
                if following := _looked(problem, state, index, made):
                    yield Move(state.phase, made, index), following


# The sets of undecided groups that a load may find made: any of the groups that touch its bytes,
# each together with the groups that must come before it.
def _decisions(problem: Problem, state: State, look: Look) -> Iterator[tuple[int, ...]]:
    if state.phase == len(problem.phases):
        yield ()
        return
    groups = problem.phases[state.phase]
    touching = [
        index
        for index, group in enumerate(groups)
        if not state.done >> index & 1 and any(place in look.places for place, _ in group.writes)
    ]
    masks = {0}
    for index in touching:
        masks |= {mask | 1 << index | groups[index].after for mask in masks}
    for mask in sorted(masks, key=lambda mask: (mask.bit_count(), mask)):
        yield tuple(i for i in range(len(groups)) if mask >> i & 1 and not state.done >> i & 1)


def _stored(memory: Values, groups: tuple[Group, ...], made: tuple[int, ...]) -> Values:
    if not made:
        return memory
    values = list(memory)
    for index in made:
        for place, value in groups[index].writes:
            values[place] = value
    return tuple(values)


# The state after a load; None if the reader cannot accept now, or both witness bytes fit one image.
def _looked(problem: Problem, state: State, index: int, made: tuple[int, ...]) -> State | None:
    phase = problem.phases[state.phase] if made else ()
    memory = _stored(state.memory, phase, made)
    look = problem.looks[index]
    agreed, shown = state.agreed, state.shown
    if look.compared:
        seen = _agree(problem, agreed, look, memory)
        if seen is None:
            return None
        agreed = seen
    else:
        first, second = problem.witness
        shown = (
            memory[first] if first in look.places else shown[0],
            memory[second] if second in look.places else shown[1],
        )
        if -1 not in shown and not deceived(problem, shown):
            return None
    done = state.done | sum(1 << group for group in made)
    return State(state.phase, done, memory, state.looked | 1 << index, agreed, shown)


def _agree(problem: Problem, agreed: Values, look: Look, memory: Values) -> Values | None:
    values = list(agreed)
    for place in look.places:
        value = memory[place]
        if values[place] not in (-1, value) or (place == problem.flag and value & 1):
            return None
        values[place] = value
    return tuple(values)


def deceived(problem: Problem, shown: tuple[int, int]) -> bool:
    """Do the values of the two witness bytes belong to no one image?"""
    first, second = shown
    return first >= len(problem.fits) or problem.fits[first] != second
