"""Are the stores that somebody saw the epochs of an update, one after the other?

Law of this file: the contract is bytes per epoch. Within an epoch the order is the machine's, and
what it stores twice it stores twice; across a barrier nothing moves.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.writer.steps import Steps, Write, epochs
from runstate_abi.writer.vcpu import Area, field_at


@dataclass(frozen=True, slots=True)
class Region:
    """The part of two pages that a recording shows: ``size`` bytes from ``start`` on."""

    area: Area
    start: int
    size: int

    @property
    def margin(self) -> int:
        """Where the area begins in the region."""
        return self.area.offset - self.start

    def of(self, memory: bytes) -> bytes:
        """Return the region's bytes of two pages of memory."""
        return memory[self.start : self.start + self.size]

    def holds(self, write: Write) -> bool:
        """Does a write stay inside?"""
        return 0 <= self.place(write) <= self.size - len(write.data)

    def place(self, write: Write) -> int:
        """Return where a write begins, in the region."""
        return (write.page - 1) * PAGE_SIZE + write.offset - self.start

    def field(self, index: int) -> str:
        """Return the name of the byte at an index of the region."""
        return field_at(self.area.shape, index - self.margin)


def follows(
    before: bytes, states: list[bytes], steps: Steps, region: Region, complete: bool = True
) -> Iterator[str]:
    """Yield where a sequence of memory states is not the epochs of an update, one after the other.

    Within an epoch any order will do and any byte may be stored again, but only those bytes that
    the epoch writes, with the values that it leaves; and an epoch is complete before the next.
    ``complete``: the update must also reach its end.
    """
    targets = _targets(before, steps, region)
    places = [_places(epoch, region) for epoch in epochs(steps)]
    current, epoch = before, 0
    for number_, state in enumerate(states, 1):
        if state == current:
            continue
        while epoch < len(targets) and current == targets[epoch]:
            epoch += 1
        if epoch == len(targets):
            yield f"store {number_} comes after the update was complete"
            return
        for index in _changed(current, state):
            if index not in places[epoch] or state[index] != targets[epoch][index]:
                yield (
                    f"store {number_} makes {region.field(index)} {state[index]:02x}, which is "
                    f"not what epoch {epoch + 1} of {len(targets)} does"
                )
                return
        current = state
    for number_, target in enumerate(targets[epoch:] if complete else (), epoch + 1):
        if current != target:
            wrong = region.field(_changed(current, target)[0])
            yield f"the stores end in epoch {number_} of {len(targets)}: {wrong} is not written"
            return


# The region after each epoch; the last epoch may end without a barrier.
def _targets(before: bytes, steps: Steps, region: Region) -> list[bytes]:
    found = [bytearray(before)]
    for epoch in epochs(steps):
        found.append(bytearray(found[-1]))
        for write in epoch:
            start = region.place(write)
            found[-1][start : start + len(write.data)] = write.data
    return [bytes(one) for one in found[1:]]


def _places(epoch: tuple[Write, ...], region: Region) -> set[int]:
    starts = [(region.place(write), len(write.data)) for write in epoch]
    return {index for start, size in starts for index in range(start, start + size)}


def _changed(before: bytes, after: bytes) -> list[int]:
    return [n for n, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]]
