"""The places of an area that matter to a race: what tears there, and where its pages part.

Law of this file: addresses, and why they are asked about. Any other address behaves as one of them
or as its neighbour: within what a machine makes in one piece only alignment counts.
"""

from collections.abc import Iterator
from typing import NamedTuple

from runstate_abi.layouts.abi import CACHE_LINE, PAGE_SIZE
from runstate_abi.writer.vcpu import ENTRY_TIME_SIZE, SHAPES

HALF_LINE = 32  # bytes that a Zen 4 stores or loads in one piece
FRAME = PAGE_SIZE  # the guest frame of the default addresses: any but the first
FIRST = 4 * CACHE_LINE  # the aligned area's offset in it

KINDS = {
    "aligned": "at a cache line",
    "half-line": "state_entry_time crosses 32 bytes, but no cache line",
    "line": "state_entry_time crosses a cache line",
    "page": "the struct crosses a page",
}


class Placement(NamedTuple):
    """A guest-physical address, and why it is asked about: one of KINDS."""

    kind: str
    address: int


def placements(abi: str) -> Iterator[Placement]:
    """Yield the placements that matter for ``native`` or ``compat``."""
    shape = SHAPES[abi]
    before = shape.entry_time + ENTRY_TIME_SIZE // 2
    yield Placement("aligned", FRAME + FIRST)
    yield Placement("half-line", FRAME + FIRST + HALF_LINE - before)
    yield Placement("line", FRAME + FIRST + CACHE_LINE - before)
    for inside in reversed(range(1, shape.size)):
        yield Placement("page", FRAME + PAGE_SIZE - inside)
