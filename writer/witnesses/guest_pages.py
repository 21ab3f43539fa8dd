"""Two guest pages as an emulated writer sees them, with guards, and what it did to them.

Page 2 is not behind page 1 but below it, as in memory.py's arena, so a store past the end of
page 1 lands where nobody would miss it, and is noticed. A third page stands for a mapping that
is no longer the guest's.

Law of this file: bytes and addresses. What a store means is for the rule book.
"""

from collections.abc import Iterator

from runstate_abi.writer.memory import ARENA, arena_bytes
from runstate_abi.writer.vcpu import PAGE_SIZE

BASE = 0x7000_0000
STALE = 4  # the page of memory.py's arena that a stale cache points to
PAGES = 12
SIZE = PAGES * PAGE_SIZE
START = {page: BASE + ARENA[page] * PAGE_SIZE for page in (1, 2, STALE)}


class GuestPages:
    """The arena: ``memory`` is what the emulated code writes to."""

    def __init__(self) -> None:
        self.memory = bytearray(SIZE)
        self._clean = b""
        self._fill = b""

    def fill(self, pattern: bytes) -> None:
        """Fill everything with a pattern, unless it is so already."""
        if pattern != self._fill:
            self._fill = pattern
            self._clean = (pattern * (SIZE // len(pattern) + 1))[:SIZE]
            self.memory[:] = self._clean

    def before(self, offset: int, first: int, second: int) -> bytes:
        """Return what an area's bytes are before anything is written."""
        parts = arena_bytes(self._fill, 1, offset, first), arena_bytes(self._fill, 2, 0, second)
        return b"".join(parts)

    def after(self, offset: int, first: int, second: int) -> bytes:
        """Return what an area's bytes are now, and make them as before."""
        one, two = START[1] - BASE + offset, START[2] - BASE
        found = bytes(self.memory[one : one + first] + self.memory[two : two + second])
        self.memory[one : one + first] = self._clean[one : one + first]
        self.memory[two : two + second] = self._clean[two : two + second]
        return found

    def changed(self) -> tuple[str, ...]:
        """Return where bytes have changed that no area has, and make them as before."""
        if self.memory == self._clean:
            return ()
        pairs = zip(self.memory, self._clean, strict=True)
        places = [address for address, (is_, was) in enumerate(pairs) if is_ != was]
        self.memory[:] = self._clean
        return tuple(_runs(places))


def place(address: int) -> tuple[int, int]:
    """Return (page, offset) of an address; a guard's offsets are negative or beyond a page."""
    number = (address - BASE) // PAGE_SIZE
    page = min(START, key=lambda page: abs(ARENA[page] - number))
    return page, address - START[page]


def _runs(places: list[int]) -> Iterator[str]:
    for index, at in enumerate(places):
        if not index or places[index - 1] != at - 1:
            page, offset = place(BASE + at)
            yield f"p{page}{offset:+d}"
