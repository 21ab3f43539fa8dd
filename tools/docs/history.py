"""The piece about versions of the writer: what their stores look like.

Law of this file: it is read off the versions themselves. What each mended and what was wrong with
it is prose, in prose/versions.table.
"""

from runstate_abi.tools.docs.sources import Reference
from runstate_abi.tools.docs.updates import NEW, offsets, padding
from runstate_abi.tools.rendering.blocks import Block, Table
from runstate_abi.writer.steps import writes
from runstate_abi.writer.variants import VARIANTS, Variant, update
from runstate_abi.writer.vcpu import FLAG, Area


def pieces() -> dict[str, tuple[Block, ...]]:
    """Return the pieces of this file by name."""
    return {"history-table": (history_table(),)}


def history_table() -> Table:
    """Return each version with what its own stores show: how the flag is set, the padding."""
    rows = tuple(
        (
            f"`{variant.name}`",
            _since(variant),
            "always" if variant.always_flagged else "if asked for",
            _set(variant),
            padding(variant.name, 0),
            "yes" if variant.pages > 1 else "no",
        )
        for variant in VARIANTS
    )
    header = ("version", "source", "flag", "set by", "padding, one page", "may cross a page")
    return Table("Versions of the writer, oldest first, then Xen's two", header, rows)


def references() -> tuple[Reference, ...]:
    """Return the messages in which versions were posted, where no commit has them."""
    posted = (variant for variant in VARIANTS if _message(variant))
    return tuple(Reference(v.name, f"posted as {v.source.message}") for v in posted)


# A message's name is too long for a cell: it is cited.
def _since(variant: Variant) -> str:
    source = variant.source
    if _message(variant):
        when = source.message.partition(", ")[2]
        return f"posted {when} [^{variant.name}]"
    since = f"(in {source.since})" if source.since else ""
    return " ".join(filter(None, (source.commit, since))) or source.message


def _message(variant: Variant) -> str:
    name = variant.source.message.partition(", ")[0]
    return name if "@" in name and not variant.source.commit else ""


# How the flag goes up: the size of the first store that has it.
def _set(variant: Variant) -> str:
    area = Area("native", 0)
    for write in writes(update(variant, NEW, area)):
        where = offsets(write, area)
        if area.shape.update_byte in where and write.data[area.shape.update_byte - where[0]] & FLAG:
            return "1 byte" if len(write.data) == 1 else f"{len(write.data)} bytes"
    raise ValueError(f"{variant.name} never puts the flag up")
