"""Small questions about a version, for herd7: two data, each a variable, and the version another.

The struct is three bytes for this checker, whose verdict each question has.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import NamedTuple

from agreement.small import Read, Write
from runstate_abi.layouts.model import Field, Layout
from runstate_abi.layouts.structs.runstate import BYTE
from runstate_abi.writer.guest import RMB_COPY, RMB_REREAD, Load, Reader
from runstate_abi.writer.racing.ordering import MODEL
from runstate_abi.writer.racing.projection import solve
from runstate_abi.writer.racing.scene import Case
from runstate_abi.writer.steps import Barrier, Step, Store

ROWS = (Field(0, "a", BYTE), Field(1, "version", BYTE), Field(2, "b", BYTE))
STRUCT = Layout("words", "none", 3, None, ROWS)
NAMES = ("a", "v", "b")
OLD, ODD, NEW = 2, 3, 4
IMAGES = bytes([0, OLD, 0]), bytes([1, NEW, 1])

# What a writer does between its first and its second barrier, and behind that.
# fmt: off
BODIES = {
    "data":   (("a", 1), ("b", 1)),
    "all":    (("a", 1), ("v", ODD), ("b", 1)),
    "even":   (("a", 1), ("v", NEW), ("b", 1)),
}
SETS = {"odd": (("v", ODD),), "none": ()}
CLEARS = {"even": (("v", NEW),), "late": (("v", NEW), ("b", 1))}
LOOKS = {
    "both":  {},
    "first": {"checks": (1,)},
    "last":  {"checks": (2,)},
    "masks": {"masks": True},
    "never": {"bit_check": False},
}
# fmt: on
# One in so many of the questions, by verdict: of the rarer one more.
ONE_IN = {("weak", False): 1, ("weak", True): 41, ("x86-tso", False): 1, ("x86-tso", True): 5}


class VersionQuestion(NamedTuple):
    """One question; ``torn`` is our verdict."""

    name: str
    steps: tuple[Step, ...]
    reader: Reader
    torn: bool

    def variables(self) -> dict[str, int]:
        return dict(zip(NAMES, IMAGES[0], strict=True))

    def writes(self) -> Iterator[Write]:
        for step in self.steps:
            if isinstance(step, Store):
                yield Write(NAMES[step.offset], step.data[0])
            else:
                yield Write(None, 0)

    def reads(self) -> Iterator[Read]:
        for op in self.reader.program:
            if isinstance(op, Load):
                yield Read(f"r{op.name}", "v" if op.read else op.part)
            else:
                yield Read("", None)

    def accepted(self) -> Iterator[tuple[tuple[str, int], ...]]:
        """Yield each way in which registers may be when it accepts what was never true."""
        looks = [op.name for op in self.reader.program if isinstance(op, Load) and op.read]
        for values in product((OLD, ODD, NEW), repeat=len(looks)):
            if self._takes(values):
                versions = [(f"r{name}", v) for name, v in zip(looks, values, strict=True)]
                yield from ((*versions, ("ra", a), ("rb", 1 - a)) for a in (0, 1))

    # By a reader's own words: is it content with these versions?
    def _takes(self, values: tuple[int, ...]) -> bool:
        reader, first = self.reader, values[0]
        if reader.masks:
            return len(values) == 1 or first & ~1 == values[1]
        checked = [n for n in range(1, len(values) + 1) if n in (reader.checks or (n,))]
        odd = reader.bit_check and any(values[n - 1] & 1 for n in checked)
        return len(set(values)) == 1 and not odd


def questions(model: str) -> Iterator[VersionQuestion]:
    """Yield the questions for a model, one in so many."""
    fences = (True, False) if MODEL[model].barriers else (True,)
    every = product(
        SETS, BODIES, CLEARS, fences, fences, LOOKS, fences, fences, ("ab", "ba"), (True, False)
    )
    seen = {False: 0, True: 0}
    for number, way in enumerate(every):
        made = _question(number, model, *way)
        if seen[made.torn] % ONE_IN[model, made.torn] == 0:
            yield made
        seen[made.torn] += 1


def _question(number: int, model: str, *way: object) -> VersionQuestion:
    set_, body, clear, first, second, looks, before, after, order, again = way
    steps: list[Step] = []
    for stores, barrier in ((SETS[set_], first), (BODIES[body], second), (CLEARS[clear], False)):
        steps += (Store(1, NAMES.index(name), bytes([value])) for name, value in stores)
        steps += [Barrier()] * bool(barrier)
    data = [Load(name, name, 0) for name in order]
    program = [Load("v1", "entry", 1), *[RMB_COPY] * bool(before), *data]
    program += [*[RMB_REREAD] * bool(after), Load("v2", "entry", 2)] if again else []
    plain = Reader("reader", tuple(program), "", "", uses=("a", "b"))
    reader = replace(plain, **LOOKS[looks])
    if not again:
        reader = replace(reader, checks=())
    torn = solve(Case(STRUCT, 0, IMAGES, tuple(steps)), reader, MODEL[model]).found is not None
    return VersionQuestion(f"version-{number}", tuple(steps), reader, torn)
