"""Two layouts side by side: what moved, by how many bytes, and why.

A member's offset is the offset and the size of the member before it, plus the padding in between.
So a shift is the sum of three changes; these are its causes.
"""

from collections.abc import Iterator
from typing import NamedTuple

from runstate_abi.layouts.model import Difference, Field, Layout, compare

END = "(end)"


class Cause(NamedTuple):
    """One of the changes that add up to a shift, and the words for it."""

    bytes: int
    words: str


class Shift(NamedTuple):
    """A member (or the struct's end) in both: offsets in bytes, None where it is absent."""

    name: str
    first: int | None
    second: int | None
    causes: tuple[Cause, ...] = ()

    @property
    def bytes(self) -> int | None:
        """How far it moved; None if it is not in both."""
        return None if self.first is None or self.second is None else self.second - self.first

    @property
    def rule(self) -> str:
        """The causes as one sentence, with their bytes where there is more than one."""
        if len(self.causes) == 1:
            return self.causes[0].words
        return "; ".join(f"{cause.bytes:+d}: {cause.words}" for cause in self.causes)


class Pair(NamedTuple):
    """Two layouts compared: the shifts in the first one's order, and what differs at all."""

    first: Layout
    second: Layout
    shifts: tuple[Shift, ...]
    compared: int
    differences: tuple[Difference, ...]


def pair(first: Layout, second: Layout, source: str) -> Pair:
    """Compare two layouts by bytes; ``source`` names the second one in the differences."""
    result = compare(first, second, source)
    moved = tuple(shifts(first, second))
    return Pair(first, second, moved, result.compared, result.differences)


def shifts(first: Layout, second: Layout) -> Iterator[Shift]:
    """Yield every member of either layout, then the end: its shift is the change of size."""
    names = [row.name for row in first.members]
    names += [row.name for row in second.members if row.name not in names]
    for name in names:
        rows = ([row for row in x.members if row.name == name] for x in (first, second))
        here, there = (next(iter(found), None) for found in rows)
        if here is None or there is None:
            place = (here.offset if here else None, there.offset if there else None)
            row, other, where = (here, second, "second") if here else (there, first, "first")
            # A member in the place of the other's hole is the same bytes with another name.
            hidden = row is not None and other.hides(row)
            cause = Cause(0, f"{'padding' if hidden else 'not'} in the {where}")
            yield Shift(name, *place, (cause,))
        else:
            yield _explained(name, here.offset, there.offset, first, second)
    yield _explained(END, first.size, second.size, first, second)


def _explained(name: str, here: int, there: int, first: Layout, second: Layout) -> Shift:
    if here == there:
        return Shift(name, here, there)
    before, after = _before(first, here), _before(second, there)
    if before is None or after is None or before.name != after.name:
        names = [row.name if row else "nothing" for row in (after, before)]
        cause = Cause(there - here, f"follows {names[0]} instead of {names[1]}")
        return Shift(name, here, there, (cause,))
    moved, grown = after.offset - before.offset, after.size - before.size
    holes = here - before.end, there - after.end
    causes = (
        Cause(moved, f"moves with {before.name}"),
        Cause(grown, f"{before.name} is {after.size} bytes long and not {before.size}"),
        Cause(holes[1] - holes[0], _hole_words(name, *holes, first, second)),
    )
    return Shift(name, here, there, tuple(cause for cause in causes if cause.bytes))


# The last member that ends at or before an offset, padding not counted.
def _before(layout: Layout, offset: int) -> Field | None:
    before = (row for row in layout.members if row.end <= offset)
    return max(before, key=lambda row: row.offset, default=None)


def _hole_words(name: str, here: int, there: int, first: Layout, second: Layout) -> str:
    where = "behind the last member" if name == END else "before it"
    before, after = (f"{n} bytes of padding" if n else "none" for n in (here, there))
    rules = dict.fromkeys((_rule(name, first), _rule(name, second)))
    text = f"{before} {where} and then {after}"
    return f"{text}: {', '.join(rules)}" if len(rules) > 1 else text


def alignment_rule(first: Layout, second: Layout) -> str:
    """Return why two structs are aligned differently; nothing if they are not."""
    known = [layout.alignment for layout in (first, second)]
    words = {None: "not recorded", 1: "packed"}
    rules = (words.get(n, f"members aligned to {n} at most") for n in known)
    return "" if known[0] == known[1] else ", ".join(rules)


# What the layout itself shows of the rule that placed a member: its offset is a multiple of this.
def _rule(name: str, layout: Layout) -> str:
    if name == END:
        known = layout.alignment
        return "alignment not recorded" if known is None else f"rounded up to {known}"
    if layout.alignment == 1:
        return "packed"
    row = layout.field(name)
    multiple = next(n for n in (8, 4, 2, 1) if n <= row.type.size and row.offset % n == 0)
    return f"{row.type.size * 8} bits aligned to {min(multiple, layout.alignment or multiple)}"
