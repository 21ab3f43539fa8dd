"""Two guest pages as an emulated writer sees them, with guards, and what it did to them.

KVM maps each page on its own, so here page 2 lies below page 1 and a store past the end of page 1
lands in a guard page. Xen writes through the guest's own addresses, so for Xen the pages lie side
by side. A third page stands for a mapping that is no longer the guest's.
"""

from collections.abc import Iterator
from typing import NamedTuple

from runstate_abi.layouts.abi import PAGE_SIZE

BASE = 0x7000_0000
STALE = 4  # the page that a stale cache points to
# Page -> its place in the arena, counted in pages, the highest first because place() looks in this
# order. Between and around them are guard pages.
PLACES = {1: 9, STALE: 6, 2: 3}
SIZE = 12 * PAGE_SIZE


class Piece(NamedTuple):
    """Bytes stored in a page, by one instruction or by one call of memcpy().

    A guard's offsets are negative, or beyond the page.
    """

    page: int
    offset: int
    data: bytes
    copied: bool = False


class GuestPages:
    """The arena: ``memory`` is what the emulated code writes to, ``start`` where the pages are."""

    __slots__ = ("_clean", "_fill", "_low", "adjacent", "memory", "start")

    def __init__(self, adjacent: bool = False) -> None:
        self.adjacent = adjacent
        self.memory = bytearray(SIZE)
        self.start = {page: BASE + place * PAGE_SIZE for page, place in PLACES.items()}
        if adjacent:
            self.start = {2: self.start[1] + PAGE_SIZE, 1: self.start[1]}
        # The lowest address that counts as a page's: its guard's, or its own if they are adjacent.
        guard = 0 if adjacent else PAGE_SIZE
        self._low = tuple((start - guard, page, start) for page, start in self.start.items())
        self._clean = self._fill = b""

    def fill(self, pattern: bytes) -> None:
        """Fill everything with a pattern, unless it is filled with it already."""
        if pattern != self._fill:
            self._fill = pattern
            self._clean = (pattern * (SIZE // len(pattern) + 1))[:SIZE]
            self.memory[:] = self._clean

    def before(self, offset: int, first: int, second: int) -> bytes:
        """Return what an area's bytes are before anything is written."""
        one, two = self.start[1] - BASE + offset, self.start[2] - BASE
        return self._clean[one : one + first] + self._clean[two : two + second]

    def after(self, offset: int, first: int, second: int) -> bytes:
        """Return what an area's bytes are now, and restore them."""
        one, two = self.start[1] - BASE + offset, self.start[2] - BASE
        found = bytes(self.memory[one : one + first] + self.memory[two : two + second])
        self.memory[one : one + first] = self._clean[one : one + first]
        self.memory[two : two + second] = self._clean[two : two + second]
        return found

    def changed(self) -> tuple[str, ...]:
        """Return where other bytes have changed, after after(), and restore them."""
        if self.memory == self._clean:
            return ()
        pairs = zip(self.memory, self._clean, strict=True)
        places = [address for address, (is_, was) in enumerate(pairs) if is_ != was]
        self.memory[:] = self._clean
        return tuple(self._runs(places))

    def place(self, address: int) -> tuple[int, int]:
        """Return (page, offset) of an address."""
        for low, page, start in self._low:
            if address >= low:
                return page, address - start
        page = 1 if self.adjacent else 2
        return page, address - self.start[page]

    def pieces(self, address: int, data: bytes, copied: bool = False) -> Iterator[Piece]:
        """Yield what was stored, cut where page 2 begins beside page 1."""
        page, offset = self.place(address)
        end = PAGE_SIZE - offset
        if self.adjacent and page == 1 and offset >= 0 and len(data) > end:
            yield Piece(1, offset, data[:end], copied)
            page, offset, data = 2, 0, data[end:]
        yield Piece(page, offset, data, copied)

    def _runs(self, places: list[int]) -> Iterator[str]:
        for index, at in enumerate(places):
            if not index or places[index - 1] != at - 1:
                page, offset = self.place(BASE + at)
                yield f"p{page}{offset:+d}"
