"""A question about a race, by bytes: which stores write each byte, and which loads read it.

A byte's value is said by the version of the struct that it belongs to. So writers that do the same
at places that tear alike have equal scenes, and one answer.
"""

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import NamedTuple

from runstate_abi.layouts.model import Layout
from runstate_abi.writer.guard import guard_of
from runstate_abi.writer.guest import Reader
from runstate_abi.writer.racing.ordering import GRAINS, Model, Sight, phases, sights
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


# A version and 1 if it is one of an update in flight; or a byte, if no version has it.
Token = tuple[int, int] | int


# For each store of a byte: its phase, its Token, and its number there if it also stores other
# bytes, else -1.
History = tuple[tuple[int, Token, int], ...]


# Equal ones of the next two are one object, which is compared by identity: a table asks 49,000
# times whether it has seen a scene.
@dataclass(frozen=True, eq=False, slots=True)
class ByByte:
    """The writer's stores, by byte. ``holders`` and ``histories`` are indexed by offset."""

    layout: Layout
    hidden: frozenset[int]
    images: tuple[tuple[Token, ...], ...]
    phases: tuple[tuple[int, ...], ...]  # for each store a mask of those before it in its phase
    holders: tuple[tuple[tuple[int, int], ...], ...]  # (phase, number) of each store to the byte
    histories: tuple[History, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Looks:
    """The reader's loads, and what guards the struct."""

    sights: tuple[Sight, ...]
    lookers: tuple[tuple[int, ...], ...]  # for each offset, which sights load it
    entry: range  # the offsets of the guard's word
    flag: int  # the one that shows an update in flight, -1 if nothing guards the struct


class Scene(NamedTuple):
    written: ByByte
    looks: Looks

    @property
    def layout(self) -> Layout:
        return self.written.layout

    @property
    def versions(self) -> int:
        return len(self.written.images)


def scene(case: Case, reader: Reader, model: Model) -> Scene:
    """Return a case and a reader, by bytes."""
    return Scene(written(case, model), looked_at(reader, model, case.layout, case.offset))


def looked_at(reader: Reader, model: Model, layout: Layout, offset: int) -> Looks:
    """Return the loads of a reader of an area that begins ``offset`` bytes into its page."""
    # The pieces of a load depend on where in a cache line the area begins, and not on which line.
    return _looked_at(reader, model, layout, offset % GRAINS[-1])


@cache
def _looked_at(reader: Reader, model: Model, layout: Layout, offset: int) -> Looks:
    guard = guard_of(layout)
    made = sights(reader, model, layout, offset)
    lookers: list[list[int]] = [[] for _ in range(layout.size)]
    for index, sight in enumerate(made):
        for place in sight.offsets:
            lookers[place].append(index)
    return _looks(made, tuple(map(tuple, lookers)), guard.word(layout), guard.place(layout))


# Cached because all readers of one case ask about the same writer.
@lru_cache(maxsize=8)
def written(case: Case, model: Model) -> ByByte:
    """Return the stores of a case's writer, by byte."""
    made = phases(case.steps, model, case.layout, case.offset)
    word = guard_of(case.layout).word(case.layout)
    tokens = tuple(_tokens(case, offset, word) for offset in range(case.layout.size))
    holders: list[list[tuple[int, int]]] = [[] for _ in tokens]
    histories: list[list[tuple[int, Token, int]]] = [[] for _ in tokens]
    for number, phase in enumerate(made):
        for index, access in enumerate(phase.accesses):
            alone = len(access.offsets) == 1
            for offset, byte in zip(access.offsets, access.data, strict=True):
                if 0 <= offset < len(tokens):
                    token = tokens[offset].get(byte, byte)
                    holders[offset].append((number, index))
                    histories[offset].append((number, token, -1 if alone else index))
    images = tuple(
        tuple(known[byte] for known, byte in zip(tokens, image, strict=True))
        for image in case.images
    )
    orders = tuple(phase.after for phase in made)
    by_offset = tuple(map(tuple, holders)), tuple(map(tuple, histories))
    return _by_byte(case.layout, case.hidden, images, orders, *by_offset)


# Byte value -> Token; a value of no version is absent. The guard's bit counts in all bytes of its
# word, because a wrong writer may set it in another byte.
def _tokens(case: Case, offset: int, word: range) -> dict[int, tuple[int, int]]:
    guard = guard_of(case.layout)
    tokens: dict[int, tuple[int, int]] = {}
    for version, image in enumerate(case.images):
        tokens.setdefault(image[offset], (version, 0))
        if offset in word:
            tokens.setdefault(guard.raised(image[offset]), (version, 1))
    return tokens


_by_byte, _looks = cache(ByByte), cache(Looks)
