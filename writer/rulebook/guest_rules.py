"""Rules about what the guest sees of an update: which bytes are stored, and in which order.

A rule is a function that yields each breach it finds in a Ledger. RULES in writer/rules.py has the
sentence that is printed for it.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from runstate_abi.writer.rulebook.evidence import BARRIERS, Breach, Landed, Ledger
from runstate_abi.writer.steps import Barrier, Store
from runstate_abi.writer.vcpu import (
    ENTRY_TIME_SIZE,
    elements,
    entry_bytes,
    flagged,
    image,
    top_byte,
    unflagged,
)

Breaches = Iterator[Breach]


def set_first(book: Ledger) -> Breaches:
    """The flag is set before anything else changes: one byte, the new entry time's top byte."""
    top = top_byte(flagged(book.evidence.vcpu.entry_time))
    yield from _set(book, book.evidence.area.shape.update_byte, top, "update byte alone")


def set_by_entry_time(book: Ledger) -> Breaches:
    """The flag is set before anything else changes, by a store of the entry time."""
    entry_time = entry_bytes(flagged(book.evidence.vcpu.entry_time))
    yield from _set(book, book.evidence.area.shape.entry_time, entry_time, "flagged entry time")


# The first store must put exactly ``wanted`` at ``offset`` of the struct.
def _set(book: Ledger, offset: int, wanted: bytes, what: str) -> Breaches:
    if not book.evidence.area.update_flag or not book.landed:
        return
    first = book.landed[0]
    if (first.start, first.data) != (offset, wanted):
        yield Breach(first.at, f"the first store is not the {what}, {wanted.hex()}")
    elif not _barrier_between(book, 0, 1):
        yield Breach(first.at, "no barrier keeps the stores that follow behind this one")
    for write in book.landed[1:]:
        if _overtakes(book, first, write):
            yield Breach(write.at, "no fence keeps this non-temporal store behind the first")


def window(book: Ledger) -> Breaches:
    """Once set, the flag stays set until the last store."""
    if not book.evidence.area.update_flag:
        return
    was_up = False
    for write in book.landed[:-1]:
        up = _is_up(book, write.after)
        if was_up and not up:
            yield Breach(write.at, "the flag goes down here, and stores follow")
        was_up = up


def complete(book: Ledger) -> Breaches:
    """An update that nothing refused is written, all of it before the flag is cleared."""
    if not book.landed:
        if book.refusal is None:
            yield Breach(len(book.evidence.steps), "nothing refused the update, nothing is written")
        return
    if not book.evidence.area.update_flag or not _takes_down(book, book.landed[-1]):
        return
    last = book.landed[-1]
    # The clear may also store the rest of the update byte: one byte cannot tear.
    wrong = _first_wrong(book, last.before, but_for=0xFF)
    if wrong:
        why = f"the flag goes down, and {wrong.member} is not in place"
        yield Breach(_stored_wrong(book.landed[:-1], wrong, last.at), why)
    elif not _barrier_between(book, -2, -1):
        yield Breach(last.at, "no barrier keeps this store behind the ones before it")
    for write in book.landed[:-1]:
        if _overtakes(book, write, last):
            yield Breach(write.at, "no fence keeps this non-temporal store before the last")


def clear_last(book: Ledger) -> Breaches:
    """The last store clears the flag and changes nothing else."""
    if not book.evidence.area.update_flag or not book.landed:
        return
    last, update_byte = book.landed[-1], book.evidence.area.shape.update_byte
    if _is_up(book, last.after):
        yield Breach(len(book.evidence.steps), "nothing takes the flag down")
    elif not last.covers(update_byte):
        yield Breach(last.at, "the last store does not take the flag down")
    elif _without(last.before, update_byte) != _without(last.after, update_byte):
        yield Breach(last.at, "the store that takes the flag down changes other bytes too")


def final(book: Ledger) -> Breaches:
    """After the update the struct has the hypervisor's values, and the flag is clear."""
    if not book.landed:
        return
    struct, end = book.landed[-1].after, len(book.evidence.steps)
    # If bit 63 is set in the entry time itself, a guest without the flag may see it.
    wrong = _first_wrong(book, struct, but_for=book.evidence.area.shape.guard.bit)
    if wrong:
        at = _stored_wrong(book.landed, wrong, end)
        yield Breach(at, f"{wrong.member} is wrong at the end")
    elif book.evidence.area.update_flag and _is_up(book, struct):
        yield Breach(end, "the flag is up at the end")


def outside(book: Ledger) -> Breaches:
    """No byte outside the struct is ever stored."""
    for stray in book.strays:
        place = f"p{stray.page}{stray.offset:+d}"
        yield Breach(stray.at, f"{_bytes(len(stray.data))} outside the struct, at {place}")
    for place in book.evidence.changed:
        yield Breach(len(book.evidence.steps), f"the byte at {place} has changed")


def padding(book: Ledger) -> Breaches:
    """Padding keeps the guest's bytes in one page, and is zero where the struct is split."""
    if book.evidence.parts.second:
        yield from padding_zero(book)
        return
    for write, offset in _padding_stored(book):
        yield Breach(write.at, f"the padding at byte {offset} is stored")


def padding_zero(book: Ledger) -> Breaches:
    """Padding is zero."""
    for write, offset in _padding_stored(book):
        if write.after[offset]:
            yield Breach(write.at, f"the padding at byte {offset} is {write.after[offset]:#04x}")


def no_flag(book: Ledger) -> Breaches:
    """A guest that did not ask for the flag never sees it."""
    evidence = book.evidence
    plain = image(evidence.area.shape, evidence.vcpu, evidence.vcpu.entry_time)
    if evidence.area.update_flag or _is_up(book, plain):
        return
    update_byte = evidence.area.shape.update_byte
    for write in book.landed:
        if write.covers(update_byte) and _is_up(book, write.after):
            yield Breach(write.at, "the flag goes up, and the guest did not ask for it")


def read(book: Ledger) -> Breaches:
    """Guest memory is never read, so its contents cannot matter."""
    for index, step in enumerate(book.evidence.steps):
        if isinstance(step, Store) and step.keep:
            yield Breach(index, "a read-modify-write of guest memory")
    for at, page, offset, size in book.evidence.reads:
        yield Breach(at, f"{_bytes(size)} of guest memory read, at p{page}{offset:+d}", True)


def read_entry_time_only(book: Ledger) -> Breaches:
    """Of guest memory only the entry time is read, to clear the flag in it."""
    shape, offset = book.evidence.area.shape, book.evidence.area.offset
    entry_time = range(shape.entry_time, shape.entry_time + ENTRY_TIME_SIZE + 1)
    for write in book.landed:
        step = book.evidence.steps[write.at]
        inside = write.start in entry_time and write.start + len(write.data) in entry_time
        if isinstance(step, Store) and step.keep and not inside:
            yield Breach(write.at, "a read-modify-write of more than the entry time")
    for at, page, start, size in book.evidence.reads:
        first = start - offset if page == 1 else start + book.evidence.parts.first
        if first not in entry_time or first + size not in entry_time:
            yield Breach(at, f"{_bytes(size)} of guest memory read, at p{page}{start:+d}", True)


def _bytes(count: int) -> str:
    return "1 byte" if count == 1 else f"{count} bytes"


# Does the struct say that an update is in flight?
def _is_up(book: Ledger, struct: bytes) -> bool:
    shape = book.evidence.area.shape
    return shape.guard.is_up(struct[shape.update_byte])


def _takes_down(book: Ledger, write: Landed) -> bool:
    update_byte = book.evidence.area.shape.update_byte
    return write.covers(update_byte) and not _is_up(book, write.after)


# Does a barrier order these two writes? True if the source records no barriers.
def _barrier_between(book: Ledger, first: int, second: int) -> bool:
    if BARRIERS not in book.evidence.records or len(book.landed) < 2:
        return True
    between = book.evidence.steps[book.landed[first].at : book.landed[second].at]
    return any(isinstance(step, Barrier) for step in between)


# Is one of two writes non-temporal, and no fence between them? x86 keeps all others in order.
def _overtakes(book: Ledger, earlier: Landed, later: Landed) -> bool:
    if not book.evidence.streamed & {earlier.at, later.at}:
        return False
    between = book.evidence.steps[earlier.at : later.at]
    return not any(isinstance(step, Barrier) for step in between)


class _Wrong(NamedTuple):
    member: str  # time[2]
    offsets: Sequence[int]  # of its wrong bytes, in the struct


# The first member with a wrong value. Bits ``but_for`` of the update byte may be wrong.
def _first_wrong(book: Ledger, struct: bytes, but_for: int = 0) -> _Wrong | None:
    evidence = book.evidence
    shape, entry_time = evidence.area.shape, evidence.vcpu.entry_time
    if evidence.area.update_flag:
        entry_time = unflagged(entry_time)
    wanted = bytearray(image(shape, evidence.vcpu, entry_time))
    seen = struct[shape.update_byte] & but_for
    wanted[shape.update_byte] = wanted[shape.update_byte] & ~but_for | seen
    padding = {row.name for row in shape.layout.padding}
    for name, places in elements(shape.layout):
        wrong = [at for at in places if struct[at] != wanted[at]]
        if wrong and name not in padding:
            return _Wrong(name, wrong)
    return None


# The last step that stored a wrong byte; ``otherwise`` if they were not stored at all.
def _stored_wrong(writes: Sequence[Landed], wrong: _Wrong, otherwise: int) -> int:
    stored = (write.at for write in writes if any(map(write.covers, wrong.offsets)))
    return max(stored, default=otherwise)


def _without(struct: bytes, offset: int) -> bytes:
    return struct[:offset] + struct[offset + 1 :]


def _padding_stored(book: Ledger) -> Iterator[tuple[Landed, int]]:
    rows = book.evidence.area.shape.layout.padding
    for write in book.landed:
        for row in rows:
            for offset in range(row.offset, row.end):
                if write.covers(offset):
                    yield write, offset
