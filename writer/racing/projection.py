"""A question about a race, reduced to small questions about a few bytes each.

Every byte is its own store and its own load unless the machine makes more in one piece, and every
execution that the memory model allows counts. But not all of them must be tried:

* A reader is deceived only if two of the bytes it uses come from different images. So it is
  enough to check every pair. Bytes with the same history can stand for each other.
* The reader compares the bytes of the guard's word (guard.py). It accepts most often if as many
  bytes as possible are equal (patterns.py). Then only the bytes that differ matter, and the byte
  that shows an update in flight. Of a word that counts updates this is one byte, its lowest: it
  differs from update to update, and whenever a carry changes the others it changes too.
* An access to some of these bytes is treated as an access to only these bytes. The other bytes
  can be stored and loaded whenever the model allows it. They matter only for the order, which is
  kept.

interleaving.py searches the rest exhaustively.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import combinations, combinations_with_replacement, groupby
from operator import itemgetter
from typing import NamedTuple

from runstate_abi.writer.guard import APART, guard_of
from runstate_abi.writer.guest import Reader
from runstate_abi.writer.racing import patterns
from runstate_abi.writer.racing.interleaving import Group, Look, Move, Problem, search
from runstate_abi.writer.racing.ordering import Model
from runstate_abi.writer.racing.patterns import Column
from runstate_abi.writer.racing.scene import Case, History, Scene, Token, scene

STRAY = 1000  # plus the byte: stands for a value that no version has at this offset


# Which bytes of the guard's word differ: (offset in the struct, column), top byte first.
Pattern = tuple[tuple[int, Column], ...]
# By phase and group of a Problem: (phase, access) of the writer.
Stores = tuple[tuple[tuple[int, int], ...], ...]


class Taken(NamedTuple):
    """A byte that the reader uses: its offset, and the Sight that it is taken from."""

    offset: int
    sight: int


Witness = tuple[Taken, Taken]  # two bytes that may belong to different images


class Found(NamedTuple):
    """Where the reader is deceived."""

    pattern: Pattern
    witness: tuple[int, int]  # the two bytes
    path: tuple[Move, ...]
    stores: Stores
    loads: tuple[int, ...]  # ``loads[look]`` is the number of a Sight


class Answer(NamedTuple):
    """``found`` is None if no execution deceives the reader: all ``states`` were searched."""

    states: int
    searches: int
    found: Found | None


def solve(
    case: Case,
    reader: Reader,
    model: Model,
    entry_times: str = patterns.INCREASING,
    differing: Iterable[int] | None = None,
) -> Answer:
    """Answer for every pattern of equal bytes, or for those in ``differing``.

    A mask in ``differing`` says which bytes of the guard's word differ, bit 0 for the lowest byte.
    They differ in all versions. The shortest execution is found, if there is any. ValueError: a
    reader that takes nothing but the guard's word.
    """
    stage = scene(case, reader, model)
    if not any(
        offset not in stage.looks.entry for one in stage.looks.sights for offset in one.believed
    ):
        word = guard_of(case.layout).name(case.layout)
        raise ValueError(f"{reader.name} uses no other member than {word}")
    return _solved(stage, entry_times, None if differing is None else tuple(differing))


# Cached because a table of 49,000 questions has 8,000 different scenes.
@lru_cache(maxsize=1 << 14)
def _solved(stage: Scene, entry_times: str, differing: tuple[int, ...] | None) -> Answer:
    asked: dict[Problem, None] = {}
    kinds = _kinds(stage)
    states, best = 0, None
    for pattern in _placed(stage, entry_times, differing):
        for witness in _witnesses(stage, kinds, pattern):
            problem, stores, loads = _project(stage, pattern, witness)
            if problem in asked:
                continue
            asked[problem] = None
            searched = search(problem)
            states += searched.states
            if searched.path and (best is None or len(searched.path) < len(best.path)):
                offsets = witness[0].offset, witness[1].offset
                best = Found(pattern, offsets, searched.path, stores, loads)
    return Answer(states, len(asked), best)


# The patterns, placed on bytes. Bytes with the same history that the same loads compare form one
# class, and only the sequence of classes matters.
def _placed(stage: Scene, entry_times: str, differing: Iterable[int] | None) -> Iterator[Pattern]:
    shown = [offset for offset in reversed(stage.looks.entry) if offset not in stage.written.hidden]
    takers = _entry_takers(stage)
    if not takers and not any(sight.compared for sight in stage.looks.sights):
        yield ()
        return
    if differing is not None:
        everywhere = tuple(range(stage.versions))
        for mask in differing:
            differ = (offset for offset in shown if mask >> (offset - stage.looks.entry[0]) & 1)
            yield tuple((offset, everywhere) for offset in differ)
        return
    if guard_of(stage.layout).counts:
        yield patterns.counted(stage.looks.flag, stage.versions, entry_times)
        return
    classes = {
        offset: (
            stage.written.histories[offset],
            tuple(
                n for n in stage.looks.lookers[offset] if offset in stage.looks.sights[n].compared
            ),
        )
        for offset in shown
    }
    seen = set()
    for columns in patterns.coarsest(stage.versions, entry_times, bool(takers)):
        for chosen in combinations(shown, len(columns)):
            key = tuple((classes[o], o == stage.looks.flag) for o in chosen), columns
            if key not in seen:
                seen.add(key)
                yield tuple(zip(chosen, columns, strict=True))


# The bytes that the reader uses, grouped by their history and by the load that gives them.
def _kinds(stage: Scene) -> tuple[tuple[Taken, ...], ...]:
    kinds: dict[tuple[History, int, bool], list[Taken]] = {}
    apart = _apart(stage)
    for taken in _believed(stage):
        history, number = (
            stage.written.histories[taken.offset],
            stage.looks.sights[taken.sight].number,
        )
        key = history, number, taken.offset in apart
        kinds.setdefault(key, []).append(taken)
    return tuple(map(tuple, kinds.values()))


# Pairs of used bytes that could belong to different images: one pair for any two kinds.
def _witnesses(
    stage: Scene, kinds: tuple[tuple[Taken, ...], ...], pattern: Pattern
) -> Iterator[Witness]:
    apart = _apart(stage)
    for first, second in combinations_with_replacement(kinds, 2):
        if (first[0].offset in apart) == (second[-1].offset in apart):
            yield first[0], second[-1]  # the same byte twice: its value may be in no version at all
    takers = _entry_takers(stage)
    if takers:
        differing = {offset for offset, _ in pattern} | {stage.looks.flag}
        differing |= {offset for offset in stage.looks.entry if _is_odd(stage, offset)}
        there = [taken for taken in takers if taken.offset in differing]
        for kind in kinds:
            if kind[0].offset not in apart:
                yield from ((kind[0], taken) for taken in there)
        # What two bytes of one load would show, each shows with a byte of the other members.
        if len({stage.looks.sights[taken.sight].number for taken in there}) > 1:
            yield from combinations_with_replacement(there, 2)


# The offsets of what is no part of an image.
def _apart(stage: Scene) -> frozenset[int]:
    rows = [row for row in stage.layout.members if row.name in APART]
    return frozenset(offset for row in rows for offset in range(row.offset, row.end))


# The bytes that the reader uses, but for those of the guard's word.
def _believed(stage: Scene) -> Iterator[Taken]:
    images, hidden = stage.written.images, stage.written.hidden
    for number, sight in enumerate(stage.looks.sights):
        for offset in sight.believed:
            differs = len({image[offset] for image in images}) > 1
            known = offset not in hidden and offset not in stage.looks.entry
            if known and (differs or _strays(stage, offset)):
                yield Taken(offset, number)


# The bytes of the guard's word that the reader uses, by offset.
def _entry_takers(stage: Scene) -> list[Taken]:
    return sorted(
        Taken(offset, number)
        for number, sight in enumerate(stage.looks.sights)
        for offset in sight.believed
        if offset in stage.looks.entry
    )


# Is a byte ever stored with a value that no image has there? A set flag counts.
def _is_odd(stage: Scene, offset: int) -> bool:
    history = stage.written.histories[offset]
    return any(isinstance(token, int) or token[1] for _, token, _ in history)


def _strays(stage: Scene, offset: int) -> bool:
    return any(isinstance(token, int) for _, token, _ in stage.written.histories[offset])


# The question reduced to the witness bytes, the bytes of the pattern and the byte with the guard's
# bit.
def _project(
    stage: Scene, pattern: Pattern, witness: Witness
) -> tuple[Problem, Stores, tuple[int, ...]]:
    columns = dict(pattern)
    first, second = (taken.offset for taken in witness)
    places = dict.fromkeys((first, second))
    if any(sight.decides for sight in stage.looks.sights):
        places |= dict.fromkeys((*columns, stage.looks.flag))
    local = {offset: index for index, offset in enumerate(places)}
    groups, stores = _groups(stage, columns, local)
    looks, loads = _looks(stage, witness, local)
    images = stage.written.images
    problem = Problem(
        tuple(_value(stage, columns, offset, images[0][offset]) for offset in local),
        groups,
        looks,
        local[stage.looks.flag] if any(x.flag or x.masked for x in stage.looks.sights) else -1,
        tuple(
            (_value(stage, columns, first, one[first]), _value(stage, columns, second, one[second]))
            for one in images
        ),
    )
    return problem, stores, loads


# A byte as a number: its version. In the guard's word: twice the number in its column, and 1 more
# while an update is in flight.
def _value(stage: Scene, columns: dict[int, Column], offset: int, token: Token) -> int:
    in_entry = offset in stage.looks.entry
    if isinstance(token, int):
        stray = STRAY + token
        up = offset == stage.looks.flag and guard_of(stage.layout).is_up(token)
        return 2 * stray + up if in_entry else stray
    version, flag = token
    if not in_entry:
        return version
    return 2 * (columns[offset][version] if offset in columns else 0) + flag


def _groups(
    stage: Scene, columns: dict[int, Column], local: dict[int, int]
) -> tuple[tuple[tuple[Group, ...], ...], Stores]:
    written = stage.written
    writes: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for offset, place in local.items():
        for where, (_, token, _) in zip(
            written.holders[offset], written.histories[offset], strict=True
        ):
            value = _value(stage, columns, offset, token)
            writes.setdefault(where, []).append((place, value))
    found, stores = [], []
    for number, group in groupby(sorted(writes), key=itemgetter(0)):
        wheres, phase = tuple(group), written.phases[number]
        kept = [index for _, index in wheres]
        found.append(tuple([Group(_only(phase[at[1]], kept), tuple(writes[at])) for at in wheres]))
        stores.append(wheres)
    return tuple(found), tuple(stores)


def _looks(
    stage: Scene, witness: Witness, local: dict[int, int]
) -> tuple[tuple[Look, ...], tuple[int, ...]]:
    shown: dict[int, list[tuple[int, int]]] = {}
    for slot, taken in enumerate(witness):
        shown.setdefault(taken.sight, []).append((slot, local[taken.offset]))
    kept, found = [], []
    for number in sorted({number for offset in local for number in stage.looks.lookers[offset]}):
        sight, shows = stage.looks.sights[number], tuple(shown.get(number, ()))
        compared = [local[offset] for offset in sight.compared if offset in local]
        flag = [local[stage.looks.flag]] if sight.flag else []
        places = tuple(dict.fromkeys([*compared, *flag, *[place for _, place in shows]]))
        if places:
            kept.append(number)
            does = tuple(compared), sight.flag, shows, sight.masked
            found.append(Look(_only(sight.after, kept), places, *does))
    return tuple(found), tuple(kept)


# A mask over all numbers, as a mask over positions in ``kept``.
def _only(mask: int, kept: Sequence[int]) -> int:
    if not mask:
        return 0
    found = 0
    for place, index in enumerate(kept):
        if mask >> index & 1:
            found |= 1 << place
    return found
