"""Pieces about the thread of November 2022: a cache's length, its patches, the fast path's cost.

No count is written here: all come from registering areas and from the steps.
"""

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.tools.docs.updates import NEW
from runstate_abi.tools.rendering.blocks import Block, Table
from runstate_abi.writer.patches import PATCHES
from runstate_abi.writer.steps import writes
from runstate_abi.writer.variants import LENGTHS, VARIANT, Refused, Registration, prepare, update
from runstate_abi.writer.vcpu import SHAPES, Area, runs, split

UPSTREAM = VARIANT["upstream"]


def pieces() -> dict[str, tuple[Block, ...]]:
    return {"lengths": (lengths(),), "patches": (patches(),), "cost": (cost(),)}


def lengths() -> Table:
    """Return which offsets each length accepts, and what happens after a switch to 64 bits."""
    rows = []
    for length in LENGTHS:
        for abi in ("compat", "native"):
            taken = [at for at in range(PAGE_SIZE) if _takes(abi, at, length)]
            size = SHAPES[abi].size
            fits = [at for at in range(PAGE_SIZE) if not split(at, size).second]
            refused = sorted(set(fits) - set(taken))
            name = f"{length} bytes" if length > 1 else "1 byte" if length else "per use"
            rows.append((name, abi, _ranges(taken), _ranges(refused), _switched(abi, length)))
    header = ("length", "area", "takes the offsets", "refuses, though it fits", "32 to 64 bits")
    return Table("What each length of a cache takes", header, tuple(rows))


def _takes(abi: str, offset: int, length: int) -> bool:
    try:
        prepare(UPSTREAM, Area(abi, offset), how=Registration(length))
    except Refused:
        return False
    return True


# Which compat areas cross the page only as native ones, and what the next update does there.
def _switched(abi: str, length: int) -> str:
    if abi == "native":
        return ""
    compat, native = SHAPES["compat"].size, SHAPES["native"].size
    grow = (
        at for at in range(PAGE_SIZE) if split(at, native).second and not split(at, compat).second
    )
    crossing = [at for at in grow if _takes(abi, at, length)]
    if not crossing:
        return "none crosses the page anew"
    written = []
    for atomic in (False, True):
        caches = prepare(UPSTREAM, Area("compat", crossing[0]), how=Registration(length))
        steps = UPSTREAM.update(NEW, Area("native", crossing[0]), caches, atomic)
        written.append(bool(list(writes(tuple(steps)))))
    words = {True: "sets the second cache up and writes", False: "writes nothing"}
    return (
        f"{_ranges(crossing)} cross anew: an update {words[written[0]]}, "
        f"one from the scheduler {words[written[1]]}"
    )


def _ranges(offsets: list[int]) -> str:
    ends = ((run[0], run[-1]) for run in runs(offsets))
    return ", ".join(f"{a} to {b}" if a != b else str(a) for a, b in ends) or "none"


def patches() -> Table:
    """Return the patches to the cache in the thread, and what each one changes."""
    rows = tuple(
        (f"{one.commit} ({one.subject})", one.author, one.shows or f"nothing: {one.nothing}")
        for one in PATCHES
    )
    return Table("Patches to gfn_to_pfn_cache", ("patch", "by", "what shows it"), rows)


def cost() -> Table:
    """Return how often each path stores into the guest in one page, and how many bytes it moves."""
    rows = []
    for name, by_stack in (("upstream", False), ("single-path", True)):
        for abi, shape in SHAPES.items():
            stores = list(writes(update(VARIANT[name], NEW, Area(abi, 0))))
            stored = sum(len(one.data) for one in stores)
            stack = shape.size if by_stack else 0
            rows.append((f"`{name}`", abi, str(len(stores)), str(stored), str(stack)))
    header = ("path", "area", "stores and copies", "bytes stored", "bytes built on the stack")
    return Table("One update in one page, with the flag", header, tuple(rows))
