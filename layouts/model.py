"""What a layout is, and how two layouts are compared.

A layout is a claim about bytes: every byte of the struct belongs to exactly one row, padding
included. Every source of facts about a struct (a table, Construct, a compiler, a kernel's debug
info) gives a Layout, so one function compares any two of them.

Nothing here may import more than the standard library, or know a particular struct or ABI. Values
are NamedTuples: importing dataclasses costs a third of the time to read a kernel's BTF.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Self


class LayoutError(ValueError):
    """A layout contradicts itself: rows overlap, leave a gap, or do not fill the struct."""


class WitnessError(Exception):
    """A source could not be read. The message names it, what was wanted and what failed."""


# The end of the message if a source has something that a Layout cannot express.
NOT_BUILT = "bitfields and unions are not compared"

# The kinds of a member, apart from its size. Enumerations, typedefs of integers, characters and
# _Bool are integers. An integer in the other byte order is not, because it reads as another number.
# BIG_ENDIAN is also put before the kind of a struct if a source says so.
INTEGER, BIG_ENDIAN, FLOATING = "integer", "big-endian", "floating"
POINTER, STRUCT, UNION, OTHER = "pointer", "struct", "union", "no number"


class Scalar(NamedTuple):
    """A C type with a size: ``uint64_t``."""

    name: str
    size: int
    signed: bool | None  # None if the source does not say, or if the type is not an integer
    alignment: int | None = None  # set if the type itself declares one
    kind: str = INTEGER  # INTEGER, BIG_ENDIAN, FLOATING, POINTER, STRUCT, UNION or OTHER


class Member(NamedTuple):
    """A member as C declares it; an ABI's layout rule decides its offset."""

    name: str
    type: Scalar
    count: int = 1  # type: ignore[assignment]  # no member needs tuple.count()


class Field(NamedTuple):
    """One row of a layout: ``count`` elements of ``type`` from byte ``offset`` on."""

    offset: int
    name: str
    type: Scalar
    count: int = 1  # type: ignore[assignment]  # no row needs tuple.count()
    padding: bool = False

    @property
    def size(self) -> int:
        """The size of all elements together, in bytes."""
        return self.type.size * self.count

    @property
    def end(self) -> int:
        """The offset of the first byte after the field."""
        return self.offset + self.size

    @property
    def declaration(self) -> str:
        """The name as C declares it: ``time[4]``."""
        return self.name if self.count == 1 else f"{self.name}[{self.count}]"


class Element(NamedTuple):
    """One number of a struct, or one run of padding: ``time[2]`` is number 2 of its row."""

    name: str
    row: Field
    number: int
    offset: int
    size: int

    @property
    def end(self) -> int:
        return self.offset + self.size


class _Layout(NamedTuple):
    name: str
    abi: str
    size: int
    alignment: int | None
    rows: tuple[Field, ...]


class Layout(_Layout):
    """``struct name`` in an ABI: rows in offset order that fill it without a gap.

    ``alignment`` is None if the source does not record it (BTF does not). LayoutError if the rows
    do not fill the struct, also in _replace().
    """

    __slots__ = ()

    def __new__(
        cls, name: str, abi: str, size: int, alignment: int | None, rows: tuple[Field, ...]
    ) -> Self:
        layout = super().__new__(cls, name, abi, size, alignment, rows)
        _check(layout)
        return layout

    @classmethod
    def _make(cls, iterable: Iterable[Any]) -> Self:  # type: ignore[override]
        # _replace() calls this; without it the new rows would not be checked.
        return cls(*iterable)

    @property
    def members(self) -> tuple[Field, ...]:
        return tuple(row for row in self.rows if not row.padding)

    @property
    def padding(self) -> tuple[Field, ...]:
        return tuple(row for row in self.rows if row.padding)

    def hides(self, row: Field) -> bool:
        """Is a row of another layout completely inside this one's padding?"""
        return any(pad.offset <= row.offset and row.end <= pad.end for pad in self.padding)

    def field(self, name: str) -> Field:
        """Return the row called ``name`` (KeyError if there is none)."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"struct {self.name} has no member {name!r}")

    def elements(self) -> Iterator[Element]:
        """Yield the numbers and the runs of padding in offset order."""
        for row in self.rows:
            size = row.size if row.padding else row.type.size
            for number in range(row.size // size):
                name = row.name if row.size == size else f"{row.name}[{number}]"
                yield Element(name, row, number, row.offset + number * size, size)

    def offsetof(self, path: str) -> int:
        """Return the offset in bytes of a member or of one element: ``time``, ``time[3]``."""
        if any(row.name == path for row in self.rows):
            return self.field(path).offset
        name, bracket, index = path.rpartition("[")
        row = self.field(name if bracket else path)
        element = int(index.removesuffix("]"))
        if not 0 <= element < row.count:
            raise KeyError(f"struct {self.name} has no element {path}")
        return row.offset + element * row.type.size


def _check(layout: Layout) -> None:
    names = [row.name for row in layout.rows]
    reached = 0
    for row in layout.rows:
        where = f"{layout.name}.{row.name}:"
        if not row.name:
            raise LayoutError(f"{layout.name}: a row without a name")
        if row.padding and row.name.startswith("_"):
            # Construct leaves names that begin with "_" out of comparison and printing.
            raise LayoutError(f"{where} the name of padding begins with _")
        if names.count(row.name) > 1:
            raise LayoutError(f"{where} two rows have this name")
        if row.size <= 0:
            raise LayoutError(f"{where} a row of {row.size} bytes")
        if row.offset != reached:
            fault = "overlaps the row before it" if row.offset < reached else "leaves a gap"
            ends = f"but the row before it ends at {reached:#x}"
            raise LayoutError(f"{where} at offset {row.offset:#x}, {ends}: it {fault}")
        reached = row.end
    where, alignment = f"{layout.name}:", layout.alignment
    if reached != layout.size:
        ends = f"but the struct ends at {layout.size:#x}"
        raise LayoutError(f"{where} the rows end at {reached:#x}, {ends}")
    if alignment is not None and (alignment < 1 or alignment & (alignment - 1)):
        raise LayoutError(f"{where} alignment {alignment} is not a power of two")
    if alignment is not None and layout.size % alignment:
        fault = f"is not a multiple of its alignment {alignment}"
        raise LayoutError(f"{where} {layout.size} bytes {fault}")


def paths(names: Iterable[str]) -> frozenset[str]:
    """Return the names that are paths (``u.hcall.input``), and what they are in: u, u.hcall."""
    found = set[str]()
    for name in names:
        parts = name.split(".")
        found |= {".".join(parts[:n]) for n in range(1, len(parts) + 1) if len(parts) > 1}
    return frozenset(found)


class Look(NamedTuple):
    """Where a witness must look inside a struct: at its paths(), and at members that are structs.

    A struct that is a member has a Layout of its own, whose name is its path: ``shared_info.wc``.
    """

    paths: frozenset[str] = frozenset()
    structs: "Mapping[str, Look]" = {}  # noqa: RUF012  # it is never changed


Inside = Mapping[str, Look]  # struct -> where
NOWHERE: Inside = {}


_BYTE = Scalar("uint8_t", 1, False)


def tiled(
    name: str, abi: str, size: int, alignment: int | None, members: Iterable[Field]
) -> Layout:
    """Return the Layout of ``members``, with each hole as a row ``pad_XX``."""
    rows: list[Field] = []
    reached = 0
    for member in sorted(members, key=lambda row: row.offset):
        if member.offset > reached:
            rows.append(_hole(reached, member.offset))
        rows.append(member)
        reached = member.end
    if reached < size:
        rows.append(_hole(reached, size))
    return Layout(name, abi, size, alignment, tuple(rows))


def witnessed(
    refused: str, name: str, abi: str, size: int, alignment: int | None, rows: Iterable[Field]
) -> Layout:
    """Return the Layout of the rows that have bytes (WitnessError, beginning with ``refused``)."""
    try:
        return tiled(name, abi, size, alignment, [row for row in rows if row.size])
    except LayoutError as error:
        raise WitnessError(f"{refused}{error}") from None


def _hole(start: int, end: int) -> Field:
    return Field(start, f"pad_{start:02x}", _BYTE, end - start, padding=True)


class Layouts(NamedTuple):
    """What one witness says about some structs of one source."""

    witness: str
    source: str
    # every definition of every name: with only the first a disagreement would be hidden
    found: tuple[Layout, ...]
    # names that the source does not define; a forward declaration is no definition
    missing: tuple[str, ...] = ()


class Fact(NamedTuple):
    """One value of a struct that can be compared: ("offset", "time", 16). None is not known."""

    kind: str
    member: str
    value: int | bool | str | None  # a signedness: True, False, or the kind of what is no integer


def facts(layout: Layout) -> Iterator[Fact]:
    """Yield what is compared: size, alignment, and four facts of each member, none of padding."""
    yield Fact("size", "", layout.size)
    yield Fact("alignment", "", layout.alignment)
    for row in layout.members:
        yield Fact("offset", row.name, row.offset)
        yield Fact("element-size", row.name, row.type.size)
        yield Fact("count", row.name, row.count)
        kind = row.type.kind
        yield Fact("signedness", row.name, row.type.signed if kind == INTEGER else kind)


class CodeLine(NamedTuple):
    """A line of source code; ``function`` is the function or inlined function it is in."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Difference(NamedTuple):
    """A claim and a witness disagree. ``str()`` is one line that grep finds."""

    kind: str
    struct: str
    member: str
    abi: str
    spec: str
    seen: str
    source: str
    code: tuple[CodeLine, ...] = ()  # the instruction's line, then its callers', if known

    @property
    def subject(self) -> str:
        """``offset-mismatch vcpu_runstate_info.time [i386]``."""
        place = f"{self.struct}.{self.member}" if self.member else self.struct
        return f"{self.kind} {place} [{self.abi}]"

    def __str__(self) -> str:
        line = f", at {self.code[0]}" if self.code else ""
        return f"{self.subject} spec={self.spec} seen={self.seen}{line} ({self.source})"


class Comparison(NamedTuple):
    """How many facts were compared, which differ, and which the witness does not record."""

    compared: int
    differences: tuple[Difference, ...]
    unknown: tuple[str, ...]


def compare(claim: Layout, seen: Layout, source: str) -> Comparison:
    """Compare ``seen`` with ``claim``. A member where the claim has padding is no difference."""
    observed = {(fact.kind, fact.member): fact.value for fact in facts(seen)}
    compared = 0
    found: list[Difference] = []
    unknown: list[str] = []

    def differ(kind: str, member: str, spec: str, value: str) -> None:
        found.append(Difference(kind, claim.name, member, claim.abi, spec, value, source))

    seen_names = {row.name for row in seen.members}
    for fact in facts(claim):
        if fact.member and fact.member not in seen_names:
            continue
        value = observed[fact.kind, fact.member]
        if fact.value is None and not isinstance(value, str):
            continue
        # None and a kind: an integer of unknown sign, and something that is no integer.
        if value is None and not isinstance(fact.value, str):
            unknown.append(f"{fact.kind} {fact.member}".rstrip())
            continue
        compared += 1
        if value != fact.value:
            kind = "type" if isinstance(value, str) or isinstance(fact.value, str) else fact.kind
            differ(f"{kind}-mismatch", fact.member, _text(fact), _text(fact._replace(value=value)))
    for row in claim.members:
        if row.name not in seen_names:
            compared += 1
            differ("missing-member", row.name, f"offset {row.offset}", "absent")
    claimed_names = {row.name for row in claim.members}
    for row in seen.members:
        if row.name not in claimed_names and not claim.hides(row):
            compared += 1
            differ("extra-member", row.name, "absent", f"offset {row.offset} size {row.size}")
    return Comparison(compared, tuple(found), tuple(unknown))


def differences(claim: Layout, seen: Layout, source: str) -> tuple[Difference, ...]:
    """Return where ``seen`` contradicts ``claim``; ``source`` names the witness in each line."""
    return compare(claim, seen, source).differences


def _text(fact: Fact) -> str:
    if fact.kind == "signedness" and fact.value in (True, False):
        return "signed" if fact.value else "unsigned"
    return INTEGER if fact.value is None else str(fact.value)
