"""Where two writers part: the first update whose contract, stores or calls differ, and the lines.

The contract is the bytes of the struct at each barrier. Writers with one contract may still differ
in the sizes and the order of their stores, and in their calls.
"""

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

from runstate_abi.tools.judge.tallies import Epoch, Prints, calls, epochs, stores
from runstate_abi.tools.output import aligned
from runstate_abi.writer.rulebook.evidence import Ledger
from runstate_abi.writer.rulebook.requests import Request
from runstate_abi.writer.vcpu import elements
from runstate_abi.writer.witnesses import lines

if TYPE_CHECKING:
    from runstate_abi.tools.judge.verdict import Verdict

NOTHING = -1  # instead of the number of a step


class Side(NamedTuple):
    """What one writer does where the other does something else, and the number of that step."""

    text: str
    at: int


class Parting(NamedTuple):
    """Where two updates part."""

    where: str
    first: Side
    second: Side


def compared(both: Sequence["Verdict"], requests: Sequence[Request]) -> Iterator[str]:
    """Yield which fingerprints of two verdicts differ, and the first difference of each."""
    first, second = both
    yield f"{first.judged.path} and {second.judged.path}:"
    pairs = zip(Prints._fields, first.tally.prints, second.tally.prints, strict=True)
    rows = [[name, "the same" if a == b else "DIFFERENT", a, b] for name, a, b in pairs]
    yield from (f"  {text}" for text in aligned(rows))
    differing = {name for name, said, *_ in rows if said != "the same"}
    if "contract" in differing:
        differing.discard("stores")  # they write other bytes: their stores must differ
    for name in sorted(differing):
        yield from _first(name, both, requests)


# The first request whose runs differ in ``name``, run again with the place of each step.
def _first(name: str, both: Sequence["Verdict"], requests: Sequence[Request]) -> Iterator[str]:
    writers = [one.judged.writer for one in both]
    for request in requests:
        if request.ioctl or not all(writer.takes(request) for writer in writers):
            continue
        runs = [writer.run(request) for writer in writers]
        if runs[0].key() == runs[1].key():
            continue
        parting = parts(name, runs[0].book(), runs[1].book())
        if parting:
            yield ""
            yield f"{name}: first in {request}: {parting.where}"
            rows = [
                [f"  {one.judged.path}", side.text, *_where(one, request, side.at)]
                for one, side in zip(both, parting[1:], strict=True)
            ]
            yield from aligned(rows)
            return
    yield f"{name}: they differ only in which updates can be asked"


def _where(one: "Verdict", request: Request, at: int) -> list[str]:
    if at == NOTHING:
        return []
    run, kernel = one.judged.writer.run(request, places=True), one.judged
    found = lines.opened(kernel.file, kernel.path, kernel.types_path).of(run.chains[at])
    return [run.places[at], str(found[0]) if found else ""]


def parts(name: str, first: Ledger, second: Ledger) -> Parting | None:
    """Return where two updates part in their contract, stores or calls; None: nowhere."""
    if name == "contract":
        return _in_contract(first, second)
    texts = stores if name == "stores" else calls
    pairs = zip_longest(texts(first), texts(second), fillvalue=("nothing more", NOTHING))
    for number, (a, b) in enumerate(pairs, 1):
        if a[0] != b[0]:
            return Parting(f"{name.removesuffix('s')} {number}", Side(*a), Side(*b))
    return None


def _in_contract(first: Ledger, second: Ledger) -> Parting | None:
    both = epochs(first), epochs(second)
    if not all(both) and any(both):
        sides = [Side("writes" if one else "writes nothing", NOTHING) for one in both]
        return Parting("only one of them writes", *sides)
    for a, b in zip(*both, strict=True):
        for name, places in elements(first.evidence.area.shape.layout):
            if any(a.struct[at] != b.struct[at] for at in places):
                sides = [_side(first, a, places), _side(second, b, places)]
                return Parting(f"{a.when}, {name} (byte {places.start})", *sides)
    return None


# The bytes at some offsets of the struct, and which write stored one of them last.
def _side(book: Ledger, epoch: Epoch, places: range) -> Side:
    writes = [one.at for one in book.landed[: epoch.until] if any(map(one.covers, places))]
    text = epoch.struct[places.start : places.stop].hex()
    return Side(text, writes[-1]) if writes else Side(f"{text}, not stored", NOTHING)
