"""A question about a race by bytes: which stores write each byte, and which loads read it."""

from functools import cache, lru_cache
from typing import NamedTuple

from runstate_abi.layouts.model import Layout
from runstate_abi.writer.guest import Reader
from runstate_abi.writer.racing.ordering import GRAINS, Model, Phase, Sight, phases, sights
from runstate_abi.writer.steps import Steps
from runstate_abi.writer.vcpu import FLAG


class Case(NamedTuple):
    """One writer at one place: ``steps`` of all updates as played, and the true ``images``.

    ``images[0]`` is what was there before. A byte has the same value in all images or a different
    one in each; the bytes of state_entry_time all differ. ``offset``: where in page 1 the area
    begins. ``hidden``: offsets that a recording does not show; nothing is claimed about them.
    """

    layout: Layout
    offset: int
    images: tuple[bytes, ...]
    steps: Steps
    hidden: frozenset[int] = frozenset()


Token = tuple[int, int]  # a version, and 1 if the flag is up
History = tuple[tuple[int, Token | int, int], ...]


class ByByte(NamedTuple):
    """What the writer does, byte by byte.

    ``tokens[offset]``: byte value -> its Token. ``holders[offset]``: (phase, access) of each store
    to it. ``histories[offset]``: for each store its phase, its Token (or the byte, if no version
    has it), and its access if that stores other bytes in the same piece, else -1.
    """

    phases: tuple[Phase, ...]
    tokens: tuple[dict[int, Token], ...]
    holders: tuple[tuple[tuple[int, int], ...], ...]
    histories: tuple[History, ...]


class Scene(NamedTuple):
    """A case and a reader under a model. ``lookers[offset]``: which sights load it; ``entry``:
    offsets of the entry time, ``flag``: the last of them.
    """

    case: Case
    reader: Reader
    written: ByByte
    sights: tuple[Sight, ...]
    lookers: tuple[tuple[int, ...], ...]
    entry: range
    flag: int

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The writer's phases."""
        return self.written.phases

    @property
    def versions(self) -> int:
        """How many true images there are."""
        return len(self.case.images)


def scene(case: Case, reader: Reader, model: Model) -> Scene:
    """Return a case and a reader, by bytes."""
    entry = case.layout.field("state_entry_time")
    # The pieces of a load depend on where in a cache line the area begins, and not on which line.
    return Scene(
        case,
        reader,
        written(case, model),
        *_looked_at(reader, model, case.layout, case.offset % GRAINS[-1]),
        range(entry.offset, entry.end),
        entry.end - 1,
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


# All readers of one case ask about the same writer.
@lru_cache(maxsize=8)
def written(case: Case, model: Model) -> ByByte:
    """Return what the writer of a case does, byte by byte."""
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


# byte value -> Token; a value of no version is absent. The flag's bit counts as a flag in all bytes
# of the entry time, because a wrong writer may set it in another byte.
def _tokens(case: Case, offset: int) -> dict[int, Token]:
    entry = case.layout.field("state_entry_time")
    tokens: dict[int, Token] = {}
    for version, image in enumerate(case.images):
        tokens.setdefault(image[offset], (version, 0))
        if entry.offset <= offset < entry.end:
            tokens.setdefault(image[offset] | FLAG, (version, 1))
    return tokens
