"""Where the recording harness kept host pages 1 to 4: in one arena, with guard pages between.

A fill pattern runs through the whole arena, so this decides which byte of the pattern a page begins
with. Page 2 lies below page 1, so that a store past the end of page 1 does not land in page 2.
"""

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.writer.memory import Window

ARENA = {2: 3, 4: 6, 1: 9, 3: 12}  # guest page -> page of the arena


def arena_bytes(pattern: bytes, page: int, start: int, size: int) -> bytes:
    """Return ``size`` bytes of a filled arena from offset ``start`` of a page, guards included."""
    first = (ARENA[page] * PAGE_SIZE + start) % len(pattern)
    count = (first + size) // len(pattern) + 1
    return (pattern * count)[first : first + size]


def window(pattern: bytes, count: int = 2) -> Window:
    """Return pages 1 to ``count`` as the harness had filled them."""
    made = Window(count=count)
    pages = (arena_bytes(pattern, page, 0, PAGE_SIZE) for page in range(1, count + 1))
    made.data[:] = b"".join(pages)
    return made
