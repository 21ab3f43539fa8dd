"""A question about a race, by bytes: which stores write each byte, and which loads read it."""

from functools import cache, lru_cache
from typing import NamedTuple

from runstate_abi.layouts.model import Layout
from runstate_abi.writer.guard import guard_of
from runstate_abi.writer.guest import Reader
from runstate_abi.writer.racing.ordering import GRAINS, Model, Phase, Sight, phases, sights
from runstate_abi.writer.steps import Steps


class Case(NamedTuple):
    """One writer at one place.

    A byte has the same value in all images or a different one in each. The bytes of
    the guard's word all differ, but for those of a word that counts: there the lowest does.
    """

    layout: Layout
    offset: int  # where in page 1 the area begins
    images: tuple[bytes, ...]  # the true images; the first is from before the updates
    steps: Steps  # of all updates, as executed
    # offsets that a recording does not show; nothing is said about them
    hidden: frozenset[int] = frozenset()


Token = tuple[int, int]  # a version, and 1 if it is one of an update in flight
History = tuple[tuple[int, Token | int, int], ...]


class ByByte(NamedTuple):
    """The writer's stores, by byte. All tuples but the first are indexed by offset."""

    phases: tuple[Phase, ...]
    tokens: tuple[dict[int, Token], ...]  # byte value -> its Token
    holders: tuple[tuple[tuple[int, int], ...], ...]  # (phase, access) of each store to the byte
    # For each store: its phase, its Token (or the byte, if no version has it), and its access if
    # that also stores other bytes, else -1.
    histories: tuple[History, ...]


class Scene(NamedTuple):
    case: Case
    reader: Reader
    written: ByByte
    sights: tuple[Sight, ...]
    lookers: tuple[tuple[int, ...], ...]  # for each offset, which sights load it
    entry: range  # the offsets of the guard's word
    flag: int  # the one that shows an update in flight, -1 if nothing guards the struct

    @property
    def phases(self) -> tuple[Phase, ...]:
        return self.written.phases

    @property
    def versions(self) -> int:
        return len(self.case.images)


def scene(case: Case, reader: Reader, model: Model) -> Scene:
    """Return a case and a reader, by bytes."""
    guard = guard_of(case.layout)
    # The pieces of a load depend on where in a cache line the area begins, and not on which line.
    return Scene(
        case,
        reader,
        written(case, model),
        *_looked_at(reader, model, case.layout, case.offset % GRAINS[-1]),
        guard.word(case.layout),
        guard.place(case.layout),
    )


@cache
def _looked_at(
    reader: Reader, model: Model, layout: Layout, offset: int
) -> tuple[tuple[Sight, ...], tuple[tuple[int, ...], ...]]:
    made = sights(reader, model, layout, offset)
    lookers: list[list[int]] = [[] for _ in range(layout.size)]
    for index, sight in enumerate(made):
        for place in sight.offsets:
            lookers[place].append(index)
    return made, tuple(map(tuple, lookers))


# Cached because all readers of one case ask about the same writer.
@lru_cache(maxsize=8)
def written(case: Case, model: Model) -> ByByte:
    """Return the stores of a case's writer, by byte."""
    made = phases(case.steps, model, case.layout, case.offset)
    tokens = tuple(_tokens(case, offset) for offset in range(case.layout.size))
    holders: list[list[tuple[int, int]]] = [[] for _ in tokens]
    histories: list[list[tuple[int, Token | int, int]]] = [[] for _ in tokens]
    for number, phase in enumerate(made):
        for index, access in enumerate(phase.accesses):
            alone = len(access.offsets) == 1
            for offset, byte in zip(access.offsets, access.data, strict=True):
                if 0 <= offset < len(tokens):
                    holders[offset].append((number, index))
                    token = tokens[offset].get(byte, byte)
                    histories[offset].append((number, token, -1 if alone else index))
    return ByByte(made, tokens, tuple(map(tuple, holders)), tuple(map(tuple, histories)))


# Byte value -> Token; a value of no version is absent. The guard's bit counts in all bytes of its
# word, because a wrong writer may set it in another byte.
def _tokens(case: Case, offset: int) -> dict[int, Token]:
    guard = guard_of(case.layout)
    word = guard.word(case.layout)
    tokens: dict[int, Token] = {}
    for version, image in enumerate(case.images):
        tokens.setdefault(image[offset], (version, 0))
        if offset in word:
            tokens.setdefault(guard.raised(image[offset]), (version, 1))
    return tokens
