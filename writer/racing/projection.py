"""What is left of a question about a race when only a few bytes of it are looked at.

Every byte is its own store and its own load unless the machine makes more in one piece, and every
execution that the memory model allows counts. That is asked without trying them all:

* To deceive takes two believed bytes that no one image has. So it is enough to look at two at a
  time, and bytes with the same history stand for each other.
* What the reader compares are the bytes of state_entry_time. The coarsest patterns of equal bytes
  accept the most (patterns.py): then only the bytes that differ, and the one with the flag, matter.
* An access to some of these bytes is an access to them alone: all other bytes can be stored and
  loaded whenever the model lets them, and constrain nothing but through the order kept here.

What is left is a few bytes, which interleaving.py searches completely.

Law of this file: bytes of a struct in, an answer out, and the place where it was found.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, combinations_with_replacement
from typing import NamedTuple

from runstate_abi.writer.guest import Reader
from runstate_abi.writer.racing import patterns
from runstate_abi.writer.racing.interleaving import Event, Group, Look, Problem, search
from runstate_abi.writer.racing.ordering import Model
from runstate_abi.writer.racing.patterns import Column
from runstate_abi.writer.racing.scene import Case, History, Scene, scene
from runstate_abi.writer.vcpu import FLAG

STRAY = 1000  # a value that no version has there: its byte is added


class Pattern(NamedTuple):
    """Which bytes of state_entry_time differ: (offset in the struct, column), top byte first."""

    columns: tuple[tuple[int, Column], ...]


class Found(NamedTuple):
    """Where the reader is deceived: the pattern, the two bytes, the path, and what it is about.

    ``stores[phase][group]`` is (phase, access) of the writer, ``loads[look]`` a Sight's number.
    """

    pattern: Pattern
    witness: tuple[int, int]
    path: tuple[Event, ...]
    stores: tuple[tuple[tuple[int, int], ...], ...]
    loads: tuple[int, ...]


class Answer(NamedTuple):
    """``found`` is None if no execution deceives the reader: then ``states`` is the whole space."""

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

    A mask in ``differing`` says which bytes of state_entry_time differ, bit 0 the lowest byte;
    they are different in all versions. The shortest execution is found if there is any.
    """
    stage = scene(case, reader, model)
    asked: dict[Problem, None] = {}
    kinds = _kinds(stage)
    states, best = 0, None
    for pattern in _placed(stage, entry_times, differing):
        for witness in _witnesses(stage, kinds, pattern):
            problem, stores, loads = _project(stage, pattern, witness)
            if problem in asked:
                continue
            asked[problem] = None
            outcome = search(problem)
            states += outcome.states
            if outcome.path and (best is None or len(outcome.path) < len(best.path)):
                best = Found(pattern, witness, outcome.path, stores, loads)
    return Answer(states, len(asked), best)


# Patterns on bytes. Bytes with the same history, looked at by the same loads, are one class, and
# only the sequence of classes matters.
def _placed(stage: Scene, entry_times: str, differing: Iterable[int] | None) -> Iterator[Pattern]:
    shown = [offset for offset in reversed(stage.entry) if offset not in stage.case.hidden]
    if not any(sight.load.read for sight in stage.sights):
        yield Pattern(())
        return
    if differing is not None:
        everywhere = tuple(range(stage.versions))
        for mask in differing:
            differ = (offset for offset in shown if mask >> (offset - stage.entry[0]) & 1)
            yield Pattern(tuple((offset, everywhere) for offset in differ))
        return
    believes = "state_entry_time" in stage.reader.uses
    classes = {o: (stage.written.histories[o], _comparers(stage, o)) for o in shown}
    seen = set()
    for shape in patterns.coarsest(stage.versions, entry_times, believes):
        for chosen in combinations(shown, len(shape.columns)):
            key = tuple((classes[o], o == stage.flag) for o in chosen), shape
            if key not in seen:
                seen.add(key)
                yield Pattern(tuple(zip(chosen, shape.columns, strict=True)))


def _comparers(stage: Scene, offset: int) -> tuple[int, ...]:
    return tuple(index for index in stage.lookers[offset] if stage.sights[index].load.read)


# Believed bytes by what happens to them.
def _kinds(stage: Scene) -> tuple[tuple[int, ...], ...]:
    kinds: dict[History, list[int]] = {}
    for offset in _believed(stage):
        kinds.setdefault(stage.written.histories[offset], []).append(offset)
    return tuple(map(tuple, kinds.values()))


# Pairs of believed bytes that could belong to different images, one pair of each two kinds.
def _witnesses(
    stage: Scene, kinds: tuple[tuple[int, ...], ...], pattern: Pattern
) -> Iterator[tuple[int, int]]:
    for first, second in combinations_with_replacement(kinds, 2):
        yield first[0], second[-1]  # a byte by itself may still be of no version at all
    if "state_entry_time" in stage.reader.uses:
        differing = {offset for offset, _ in pattern.columns} | {stage.flag}
        differing |= {offset for offset in stage.entry if _is_odd(stage, offset)}
        for kind in kinds:
            yield from ((kind[0], offset) for offset in sorted(differing))


def _believed(stage: Scene) -> Iterator[int]:
    case = stage.case
    for name in stage.reader.uses:
        if name == "state_entry_time":
            continue
        field = case.layout.field(name)
        for offset in range(field.offset, field.end):
            differs = len({image[offset] for image in case.images}) > 1
            if offset not in case.hidden and (differs or _strays(stage, offset)):
                yield offset


# Is a byte ever stored that no image has there, flagged ones among them?
def _is_odd(stage: Scene, offset: int) -> bool:
    history = stage.written.histories[offset]
    return any(isinstance(token, int) or token[1] for _, token, _ in history)


def _strays(stage: Scene, offset: int) -> bool:
    return any(isinstance(token, int) for _, token, _ in stage.written.histories[offset])


Projected = tuple[Problem, tuple[tuple[tuple[int, int], ...], ...], tuple[int, ...]]


# The question as it looks from the two witness bytes and the bytes of the pattern.
def _project(stage: Scene, pattern: Pattern, witness: tuple[int, int]) -> Projected:
    columns = dict(pattern.columns)
    places = dict.fromkeys(witness)
    if any(sight.load.read for sight in stage.sights):
        places |= dict.fromkeys((*columns, stage.flag))
    local = {offset: index for index, offset in enumerate(places)}
    groups, stores = _groups(stage, columns, local)
    looks, loads = _looks(stage, witness, local)
    problem = Problem(
        tuple(_value(stage, columns, offset, case_byte(stage, offset)) for offset in local),
        groups,
        looks,
        local[stage.flag] if stage.reader.bit_check else -1,
        (local[witness[0]], local[witness[1]]),
        tuple(_fit(stage, columns, witness[1], version) for version in range(stage.versions)),
    )
    return problem, stores, loads


def case_byte(stage: Scene, offset: int) -> int:
    """Return what memory holds at an offset before the first update."""
    return stage.case.images[0][offset]


def _fit(stage: Scene, columns: dict[int, Column], offset: int, version: int) -> int:
    return _value(stage, columns, offset, stage.case.images[version][offset])


# A byte as a number: its version, or in state_entry_time twice its column's number plus the flag.
def _value(stage: Scene, columns: dict[int, Column], offset: int, byte: int) -> int:
    token = stage.written.tokens[offset].get(byte)
    in_entry = stage.entry[0] <= offset <= stage.entry[-1]
    if token is None:
        stray = STRAY + byte
        return 2 * stray + bool(byte & FLAG and offset == stage.flag) if in_entry else stray
    version, flag = token
    if not in_entry:
        return version
    return 2 * (columns[offset][version] if offset in columns else 0) + flag


def _groups(
    stage: Scene, columns: dict[int, Column], local: dict[int, int]
) -> tuple[tuple[tuple[Group, ...], ...], tuple[tuple[tuple[int, int], ...], ...]]:
    touched: dict[int, set[int]] = {}
    for offset in local:
        for number, index in stage.written.holders[offset]:
            touched.setdefault(number, set()).add(index)
    found, stores = [], []
    for number in sorted(touched):
        kept = sorted(touched[number])
        phase = stage.phases[number]
        found.append(
            tuple(
                Group(
                    _only(phase.after[index], kept),
                    tuple(
                        (local[offset], _value(stage, columns, offset, byte))
                        for offset, byte in zip(
                            phase.accesses[index].offsets, phase.accesses[index].data, strict=True
                        )
                        if offset in local
                    ),
                )
                for index in kept
            )
        )
        stores.append(tuple((number, index) for index in kept))
    return tuple(found), tuple(stores)


def _looks(
    stage: Scene, witness: Sequence[int], local: dict[int, int]
) -> tuple[tuple[Look, ...], tuple[int, ...]]:
    numbers = {number for offset in local for number in stage.lookers[offset]}
    seen: dict[int, tuple[int, ...]] = {}
    for number in sorted(numbers):
        sight = stage.sights[number]
        wanted = local if sight.load.read else witness
        places = tuple(local[offset] for offset in sight.offsets if offset in wanted)
        if places:
            seen[number] = places
    kept = tuple(seen)
    looks = (
        Look(_only(stage.sights[number].after, kept), places, bool(stage.sights[number].load.read))
        for number, places in seen.items()
    )
    return tuple(looks), kept


# A mask over all, as a mask over those kept.
def _only(mask: int, kept: Sequence[int]) -> int:
    return sum(1 << place for place, index in enumerate(kept) if mask >> index & 1)
