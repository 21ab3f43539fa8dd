"""Pieces about the update: its epochs, what a reader may see in each, and all versions of it.

No offset and no order of stores is written here: all come from the steps of writer/, or from memory
after executing them.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.tools.docs.placements import flag_first
from runstate_abi.tools.languages.promises import of_bytes
from runstate_abi.tools.rendering import drawing
from runstate_abi.tools.rendering.blocks import Block, Figure, Table
from runstate_abi.tools.rendering.drawing import Epoch
from runstate_abi.writer.memory import Window, play
from runstate_abi.writer.steps import Write, epochs, writes
from runstate_abi.writer.variants import VARIANT, VARIANTS, Variant, update
from runstate_abi.writer.vcpu import FLAG, Area, Runstate, image

CURRENT = VARIANT["upstream"]
FILL = 0xA5

# Every byte of the old struct differs from the new one, so that every store shows.
OLD = Runstate(0, 0x0101010101010101, (0x1111111111111111,) * 4)
NEW = Runstate(0x02020202, 0x0202020202020202, (0x2222222222222222,) * 4)


def pieces() -> dict[str, tuple[Block, ...]]:
    one, two = Area("native", 0), Area("native", flag_first("native"))
    quiet, two_quiet = (Area(a.abi, a.address, update_flag=False) for a in (one, two))
    return {
        "epochs-one-page-flag": (epoch_table("One page, flag asked for", one),),
        "epochs-one-page-plain": (epoch_table("One page, flag not asked for", quiet),),
        "epochs-split-flag": (epoch_table("Two pages, flag asked for", two),),
        "epochs-split-plain": (epoch_table("Two pages, flag not asked for", two_quiet),),
        "timeline-flag": (timeline("An update with the flag", one),),
        "timeline-plain": (timeline("An update without the flag", quiet),),
        "padding-table": (padding_table(),),
        "history-table": (history_table(),),
    }


class Seen(NamedTuple):
    """One epoch: its writes, and one of LETTERS' names for each byte of the struct."""

    writes: tuple[Write, ...]
    kinds: tuple[str, ...]


def seen(variant: Variant, area: Area) -> Iterator[Seen]:
    size, flag = area.shape.size, area.shape.update_byte
    window = Window(bytes(1))
    window.data[area.offset : area.offset + size] = image(area.shape, OLD, OLD.entry_time)
    before = window.read(area.offset, size)
    old = before
    for stores in epochs(update(variant, NEW, area)):
        touched = {offset for write in stores for offset in offsets(write, area)}
        play(window, stores)
        after = window.read(area.offset, size)
        kinds = ["old" if after[i] == old[i] else "new" for i in range(size)]
        for index in touched:
            if before[index] != after[index]:
                kinds[index] = "either"
        if before[flag] & after[flag] & FLAG:
            kinds[flag] = "flag"
        yield Seen(stores, tuple(kinds))
        before = after


def offsets(write: Write, area: Area) -> range:
    start = (write.page - 1) * PAGE_SIZE + write.offset - area.offset
    return range(start, start + len(write.data))


def label(write: Write, area: Area) -> str:
    """Return what a write stores, in words: a member, the update byte, or bytes."""
    where = offsets(write, area)
    if len(where) == 1 and where[0] == area.shape.update_byte:
        up = write.data[0] & FLAG
        return f"update byte, flag {'up' if up else 'down'}"
    for row in area.shape.layout.members:
        if where == range(row.offset, row.end):
            up = row.name == "state_entry_time" and write.data[-1] & FLAG
            return f"{row.declaration}{', flag up' if up else ''}"
    page = f", to page {write.page}" if area.offset + area.shape.size > PAGE_SIZE else ""
    return f"bytes {where[0]} to {where[-1]}{page}"


def epoch_table(title: str, area: Area) -> Table:
    """Return the epochs of current Linux for a placement: stores, sizes, what a reader sees."""
    rows = []
    for number, epoch in enumerate(seen(CURRENT, area), 1):
        stores = (f"{label(w, area)} ({of_bytes(len(w.data))})" for w in epoch.writes)
        rows.append((str(number), "; ".join(stores), reader_sees(epoch, area)))
    header = ("epoch", "stores, in any order", "what a reader may see while it lasts")
    return Table(f"{title}: the epochs, each ended by a barrier", header, tuple(rows))


def reader_sees(epoch: Seen, area: Area) -> str:
    """Return in words what an epoch means for a reader."""
    flag = area.shape.update_byte
    others = set(epoch.kinds[:flag] + epoch.kinds[flag + 1 :])
    if epoch.kinds[flag] == "flag":
        return "flag up: nothing else it sees counts, it must try again"
    if epoch.kinds[flag] == "either" and len(epoch.writes) == 1 and "either" not in others:
        if others == {"old"}:
            return "old, but the update byte may be new, with the flag up"
        return "new, with the flag up or down"
    return "any mixture of old and new, and no flag to say so"


def timeline(title: str, area: Area) -> Figure:
    """Return one update drawn from top to bottom, and the same in characters."""
    found = [
        Epoch(
            f"epoch {number}",
            tuple(label(write, area) for write in epoch.writes),
            epoch.kinds,
            reader_sees(epoch, area).split(":")[0],
        )
        for number, epoch in enumerate(seen(CURRENT, area), 1)
    ]
    picture = drawing.timeline(f"{title}, epoch by epoch", found, "smp_wmb()")
    caption = f"{title}. With the stores, the struct's bytes, eight a row, while the epoch lasts."
    colours = "Grey is old, green new, yellow either, red the update byte with the flag up."
    return Figure(caption, tuple(drawing.svg(picture)), tuple(_in_characters(found)), colours)


LETTERS = {"old": "o", "new": "n", "either": "?", "flag": "F"}


def _in_characters(found: Sequence[Epoch]) -> Iterator[str]:
    for epoch in found:
        letters = "".join(LETTERS[kind] for kind in epoch.bytes)
        per_row = drawing.PER_ROW
        rows = " ".join(letters[i : i + per_row] for i in range(0, len(letters), per_row))
        yield f"{epoch.title}: {'; '.join(epoch.stores)}"
        yield f"  bytes:  {rows}"
        yield f"  reader: {epoch.reader}"
        yield "------------------------------ smp_wmb()"
    yield "(o old, n new, ? either, F the update byte with the flag up)"


PADDED = ("linux-6.1", "two-paths", "reconciled", "single-path", "upstream", "xen-va", "xen-phys")


def padding_table() -> Table:
    """Return what each kind of writer leaves in the native padding after one update."""
    rows = tuple(
        (
            f"`{name}`",
            padding(name, 0),
            padding(name, flag_first("native")) if VARIANT[name].pages > 1 else "not allowed",
        )
        for name in PADDED
    )
    header = ("writer", "in one page", "across two pages")
    return Table("The padding of the native struct after one update", header, rows)


def padding(name: str, offset: int) -> str:
    """Return in words what one update leaves in the padding of a native area."""
    area = Area("native", offset)
    window = Window(bytes([FILL]))
    play(window, update(VARIANT[name], NEW, area))
    (hole,) = area.shape.layout.padding
    left = window.read(area.offset + hole.offset, hole.size)
    if left == bytes([FILL]) * hole.size:
        return "left alone"
    return "zeroed" if left == bytes(hole.size) else left.hex()


def history_table() -> Table:
    """Return a row for each version: its source, how it sets the flag, what padding it leaves."""
    rows = []
    for variant in VARIANTS:
        source = variant.source
        since = f"(in {source.since})" if source.since else ""
        where = " ".join(filter(None, (source.commit, since))) or source.message
        if _message(variant):  # its name is too long for a cell, which cites it
            where = f"posted {source.message.partition(', ')[2]} [^{variant.name}]"
        area = Area("native", 0)
        flag = area.shape.update_byte
        stores = [(offsets(w, area), w.data) for w in writes(update(variant, NEW, area))]
        # How the flag is set: the size of the first store that has it.
        set_by = next(len(data) for at, data in stores if flag in at and data[flag - at[0]] & FLAG)
        cells = ("always" if variant.always_flagged else "if asked for", of_bytes(set_by))
        crosses = "yes" if variant.pages > 1 else "no"
        rows.append((f"`{variant.name}`", where, *cells, padding(variant.name, 0), crosses))
    header = ("version", "source", "flag", "set by", "padding, one page", "may cross a page")
    return Table("Versions of the writer, oldest first, then Xen's two", header, tuple(rows))


def references() -> tuple[tuple[str, str], ...]:
    """Return (key, text) for each version that was posted in a message and has no commit."""
    posted = (variant for variant in VARIANTS if _message(variant))
    return tuple((v.name, f"posted as {v.source.message}") for v in posted)


def _message(variant: Variant) -> str:
    name = variant.source.message.partition(", ")[0]
    return name if "@" in name and not variant.source.commit else ""
