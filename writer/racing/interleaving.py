"""Every execution of one writer and one reader over a few bytes: states, choices, and a search.

A state is the progress of the writer, the memory, and what the reader has seen. The choices are:
the writer finishes its phase, or the reader makes one of its loads. A store stays undecided until a
load of one of its bytes sees it, or until its phase ends. No execution is lost by this, because an
early store that nobody has loaded looks the same as a late one. It reduces 2^44 memories to a few
hundred. projection.py knows what the bytes and the values mean.
"""

from collections import deque
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

Values = tuple[int, ...]  # one for each byte


class Group(NamedTuple):
    """A store in one piece."""

    after: int  # mask of the groups that come before it
    writes: tuple[tuple[int, int], ...]  # (byte, value) pairs


class Look(NamedTuple):
    """A load in one piece."""

    after: int  # mask of the loads that come before it
    places: tuple[int, ...]  # all that matter
    compared: tuple[int, ...]  # all loads that compare a byte must give the same value
    flag: bool  # an odd value of Problem.flag is refused
    # (0 or 1, place): the reader uses this value as the first or as the second witness
    shows: tuple[tuple[int, int], ...]
    masked: bool = False  # Problem.flag is compared as if it were even


class Problem(NamedTuple):
    """A question over a few bytes."""

    memory: Values
    phases: tuple[tuple[Group, ...], ...]
    looks: tuple[Look, ...]
    flag: int  # the byte whose odd values some loads refuse, or take for even; -1: none
    # The values of the two witness bytes in each image. The reader is deceived by any other pair.
    fits: tuple[tuple[int, int], ...]


class State(NamedTuple):
    phase: int
    done: int  # mask of the groups of this phase that have been made
    memory: Values
    looked: int  # mask of the loads that have been made
    agreed: Values  # what compared loads gave for each byte; -1: not loaded yet
    shown: tuple[int, int]  # what the witness bytes gave


class Move(NamedTuple):
    """What happened: ``groups`` of ``phase`` were made, and then load number ``look``. If ``look``
    is -1, the rest of the phase was made.
    """

    phase: int
    groups: tuple[int, ...]
    look: int = -1


class Searched(NamedTuple):
    """The number of states, and the shortest path to a deceived reader, if there is one."""

    states: int
    path: tuple[Move, ...] | None


@cache
def search(problem: Problem) -> Searched:
    """Search breadth first for an execution that the reader accepts and that deceives it."""
    start = State(0, 0, problem.memory, 0, (-1,) * len(problem.memory), (-1, -1))
    accepted = (1 << len(problem.looks)) - 1
    came: dict[State, tuple[State, Move] | None] = {start: None}
    decided: Decided = {}
    queue = deque([start])
    while queue:
        state = queue.popleft()
        for move, following in choices(problem, state, decided):
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


# By phase, mask of the groups that have been made, and load: the sets of groups that the load may
# see as made besides, each with its mask.
Decided = dict[tuple[int, int, int], list[tuple[tuple[int, ...], int]]]


def choices(problem: Problem, state: State, decided: Decided) -> Iterator[tuple[Move, State]]:
    """Yield what may happen next, except where the reader can no longer be deceived.

    ``decided`` keeps what many states of one search have in common.
    """
    phase, done, looked = state.phase, state.done, state.looked
    if phase < len(problem.phases):
        groups = problem.phases[phase]
        rest = tuple([i for i in range(len(groups)) if not done >> i & 1])
        memory = _stored(state.memory, groups, rest)
        moved = State(phase + 1, 0, memory, looked, state.agreed, state.shown)
        yield Move(phase, rest), moved
    for index, look in enumerate(problem.looks):
        if looked >> index & 1 or look.after & ~looked:
            continue
        key = phase, done, index
        if key not in decided:
            decided[key] = list(_decisions(problem, phase, done, look))
        for made, mask in decided[key]:
            if following := _looked(problem, state, index, made, mask):
                yield Move(phase, made, index), following


# The sets of undecided groups that a load may see as made: any subset of the groups that touch its
# bytes, each with the groups that must come before it.
def _decisions(
    problem: Problem, phase: int, done: int, look: Look
) -> Iterator[tuple[tuple[int, ...], int]]:
    if phase == len(problem.phases):
        yield (), 0
        return
    groups = problem.phases[phase]
    touching = [
        index
        for index, group in enumerate(groups)
        if not done >> index & 1 and any(place in look.places for place, _ in group.writes)
    ]
    masks = {0}
    for index in touching:
        masks |= {mask | 1 << index | groups[index].after for mask in masks}
    for mask in sorted(masks, key=lambda mask: (mask.bit_count(), mask)):
        yield tuple(i for i in range(len(groups)) if mask >> i & 1 and not done >> i & 1), mask


def _stored(memory: Values, groups: tuple[Group, ...], made: tuple[int, ...]) -> Values:
    if not made:
        return memory
    values = list(memory)
    for index in made:
        for place, value in groups[index].writes:
            values[place] = value
    return tuple(values)


# The state after a load. None if the reader cannot accept any more, or if both witness bytes belong
# to one image.
def _looked(
    problem: Problem, state: State, index: int, made: tuple[int, ...], mask: int
) -> State | None:
    phase, done, memory, looked, agreed, shown = state
    if made:
        memory = _stored(memory, problem.phases[phase], made)
    look = problem.looks[index]
    if look.flag and memory[problem.flag] & 1:
        return None
    if look.compared:
        seen = _agree(agreed, look, memory, problem.flag)
        if seen is None:
            return None
        agreed = seen
    if look.shows:
        first, second = shown
        for slot, place in look.shows:
            if slot:
                second = memory[place]
            else:
                first = memory[place]
        shown = first, second
        if first >= 0 and second >= 0 and not deceived(problem, shown):
            return None
    return State(phase, done | mask, memory, looked | 1 << index, agreed, shown)


def _agree(agreed: Values, look: Look, memory: Values, flag: int) -> Values | None:
    values = list(agreed)
    for place in look.compared:
        value = memory[place] & ~1 if look.masked and place == flag else memory[place]
        if values[place] not in (-1, value):
            return None
        values[place] = value
    return tuple(values)


def deceived(problem: Problem, shown: tuple[int, int]) -> bool:
    """Do the values of the two witness bytes belong to no single image?"""
    return shown not in problem.fits
