"""Where a struct with a version is, what an update makes of it, and the stores of it."""

from dataclasses import dataclass
from typing import NamedTuple

from runstate_abi.layouts.abi import PAGE_MASK, PAGE_SIZE, U64
from runstate_abi.layouts.model import Layout
from runstate_abi.writer.guard import Guard, guard_of
from runstate_abi.writer.steps import Copy, Store


class Guarded(NamedTuple):
    """A guarded struct as the search sees it."""

    layout: Layout

    @property
    def size(self) -> int:
        return self.layout.size

    @property
    def guard(self) -> Guard:
        return guard_of(self.layout)


class Change(NamedTuple):
    """The bytes of the struct before an update and after it."""

    old: bytes
    new: bytes


@dataclass(frozen=True, slots=True)
class Place:
    """Where a guest's struct is: its layout, and its address."""

    layout: Layout
    address: int

    def __post_init__(self) -> None:
        if not 0 <= self.address <= U64:
            raise ValueError(f"address {self.address} is not a 64-bit number")

    @property
    def shape(self) -> Guarded:
        return Guarded(self.layout)

    @property
    def abi(self) -> str:
        """What is here, in the place of an Area's ABI: no width decides about these structs."""
        return f"struct {self.layout.name}"

    @property
    def crosses(self) -> bool:
        """Does the struct cross a page?"""
        return self.offset + self.layout.size > PAGE_SIZE

    @property
    def offset(self) -> int:
        return self.address & PAGE_MASK

    def store(self, member: str, image: bytes) -> Store:
        """Return one assignment of a member, with its bytes in ``image``."""
        row = self.layout.field(member)
        return self.put(row.offset, image[row.offset : row.end])

    def put(self, offset: int, data: bytes) -> Store:
        """Return one assignment of bytes at an offset of the struct."""
        page, at = divmod(self.offset + offset, PAGE_SIZE)
        return Store(page + 1, at, data)

    def copy(self, offset: int, data: bytes) -> tuple[Copy, ...]:
        """Return a memcpy of bytes to an offset of the struct, page by page."""
        page, at = divmod(self.offset + offset, PAGE_SIZE)
        here = PAGE_SIZE - at
        parts = (Copy(page + 1, at, data[:here]), Copy(page + 2, 0, data[here:]))
        return tuple(part for part in parts if part.data)
