"""Are the groups of a dump bytes as printed, or little-endian numbers? What tells, in turn.

The characters beside them tell; else a runstate area, which makes sense in one order only. Where
nothing tells, the user is asked.
"""

from collections.abc import Callable, Sequence

from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools.memory.area import LAYOUTS, SHIFT, SMALLEST, state_name, values
from runstate_abi.tools.memory.decision import EXACT, NONE, ORDERED, standing
from runstate_abi.tools.memory.text.forms import BYTES, EITHER, WORDS, Form, Row, in_order

NUMBER = 8  # bytes
DIFFERENT_LEAST = 3  # numbers that the order changes
LOOKED_AT = 1 << 12  # bytes of a dump in which an area is looked for


def read(form: Form, rows: Sequence[Row], asked: str | None, source: str) -> tuple[bytes, ...]:
    """Return the bytes of each row in memory order (WitnessError: nothing tells the order)."""
    if form.order != EITHER:
        return _all(form, rows, form.order, source)
    if asked or all(len(group) == 2 for made in rows for group in made.groups):
        return _all(form, rows, asked or BYTES, source)
    both = {way: _all(form, rows, way, source) for way in (BYTES, WORDS)}
    if both[BYTES] == both[WORDS]:
        return both[BYTES]
    told = _by_characters(rows, both[BYTES], both[WORDS], source) or _by_area(both) or form.lean
    if not told and not _as_xxd(rows):
        raise WitnessError(
            f"{source}: bytes or words? neither the characters nor the numbers of its {form.name} "
            "text tell: --text bytes takes its groups as printed, --text words as little-endian "
            "words"
        )
    return both[told or BYTES]


def _all(form: Form, rows: Sequence[Row], order: str, source: str) -> tuple[bytes, ...]:
    return tuple(in_order(form, made, order, source) for made in rows)


# Each line says so for itself; one whose characters are all dots may be either.
def _by_characters(
    rows: Sequence[Row], straight: Sequence[bytes], turned: Sequence[bytes], source: str
) -> str:
    says: set[str] = {WORDS for made in rows if made.filled}
    for made, as_is, back in zip(rows, straight, turned, strict=True):
        fits = _shows(as_is, made.shown), _shows(back, made.shown)
        if fits[0] != fits[1]:
            says.add(BYTES if fits[0] else WORDS)
    if len(says) > 1:
        raise WitnessError(f"{source}: the characters of some lines fit words, of others bytes")
    return says.pop() if says else ""


# At the end of a line the blanks that stand for blanks may be lost.
def _shows(data: bytes, shown: str) -> bool:
    characters = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in data)
    shown = shown.strip(" |<>")
    return bool(shown) and shown in characters.strip(" |<>")


def _by_area(read: dict[str, tuple[bytes, ...]]) -> str:
    joined = {way: b"".join(parts) for way, parts in read.items()}
    numbers = range(0, len(joined[BYTES]), NUMBER)
    differ = sum(
        joined[BYTES][at : at + NUMBER] != joined[WORDS][at : at + NUMBER] for at in numbers
    )
    # One number or two are small enough in either order.
    for judge in (_exact, _standing, _state) if differ >= DIFFERENT_LEAST else (_state,):
        found = {way: judge(data) for way, data in joined.items()}
        best, other = sorted(found, key=lambda way: found[way], reverse=True)
        if found[best] > found[other] and (found[best] >= ORDERED or found[other] == NONE):
            return best
    return ""


# Somewhere in it times add up to an entry time; a single one does so in either order.
def _exact(data: bytes) -> int:
    last = min(len(data), LOOKED_AT) - SMALLEST
    return EXACT * any(_whole(data[at:]) for at in range(0, last + 1, SHIFT))


def _whole(data: bytes) -> bool:
    seen = (values(layout, data) for layout in LAYOUTS.values() if len(data) >= layout.size)
    return any(standing(one) == EXACT and sum(map(bool, one.times)) > 1 for one in seen)


def _standing(data: bytes) -> int:
    return _best(data, lambda seen: standing(seen))


def _state(data: bytes) -> int:
    state = int.from_bytes(data[:SHIFT], "little")
    return int(state_name(state) is not None)


def _best(data: bytes, judge: Callable[..., int]) -> int:
    whole = (layout for layout in LAYOUTS.values() if len(data) >= layout.size)
    return max((judge(values(layout, data)) for layout in whole), default=NONE)


# Without an option xxd prints two bytes a group behind eight digits, and words never so.
def _as_xxd(rows: Sequence[Row]) -> bool:
    pairs = all(len(group) in (2, 4) for made in rows for group in made.groups)
    return pairs and all(len(made.address) == 8 for made in rows)
