"""The fields of a struct in memory, whatever struct it is, and what their numbers show."""
# ruff: noqa: E501

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

from runstate_abi.layouts import model
from runstate_abi.layouts.model import Element, Layout
from runstate_abi.tools.memory.observations import IN_FLIGHT, NORMAL, Observation, ordered

NAMED_MOST = 4  # rows or structs that are named in one line; a page that is no struct has many


class Row(NamedTuple):
    """One number or one run of padding; ``data`` is shorter than that if the input ends in it."""

    element: Element
    data: bytes

    @property
    def path(self) -> str:
        return self.element.name

    @property
    def offset(self) -> int:
        return self.element.offset

    @property
    def size(self) -> int:
        return self.element.size

    @property
    def padding(self) -> bool:
        return self.element.row.padding

    @property
    def type(self) -> str:
        """The C type, of a run of padding with its count: ``uint8_t[3]``."""
        row = self.element.row
        return f"{row.type.name}[{row.count}]" if self.size > row.type.size else row.type.name

    @property
    def missing(self) -> int:
        return self.size - len(self.data)

    @property
    def zero(self) -> bool:
        """Are all its bytes there, and zero?"""
        return not self.missing and not any(self.data)

    @property
    def value(self) -> int | None:
        """The number, None for padding, for what is no number, and if bytes are missing."""
        kind = self.element.row.type.kind
        if self.padding or self.missing or kind not in NUMBERS:
            return None
        return int.from_bytes(self.data, NUMBERS[kind], signed=bool(self.element.row.type.signed))


NUMBERS: dict[str, Literal["little", "big"]] = {
    model.INTEGER: "little",
    model.POINTER: "little",
    model.BIG_ENDIAN: "big",
}


def rows(layout: Layout, data: bytes) -> tuple[Row, ...]:
    """Return the rows of a struct whose first bytes are ``data``; none that is missing whole."""
    elements = (element for element in layout.elements() if element.offset < len(data))
    return tuple(Row(element, data[element.offset : element.end]) for element in elements)


class Rule(NamedTuple):
    """What a member's number says by itself."""

    holds: Callable[[int], bool]
    kind: str
    text: str
    fact: str


ODD = Rule(
    lambda number: number % 2 == 1,
    IN_FLIGHT,
    "odd: an update was in progress when these bytes were taken",
    "a writer makes it odd before an update and even after it; a reader retries while it is odd (Linux Documentation/virt/kvm/x86/msr.rst, Xen xen/include/public/xen.h, the SBI specification's STA extension)",
)
INVALID = Rule(
    lambda number: number == 0,
    NORMAL,
    "not valid: a guest takes the time from elsewhere",
    "Linux include/clocksource/hyperv_timer.h, hv_read_tsc_page_tsc(): a reader gives up at 0, and does not retry",
)
# By the member's name; it must be an unsigned integer of 32 bits.
RULES = {"version": ODD, "wc_version": ODD, "sequence": ODD, "tsc_sequence": INVALID}
PADDING = "the declaration has no member there: a writer may leave what was in these bytes before, and another declaration may have a member there"


def rule(row: Row) -> Rule | None:
    """Return the rule that a row's number meets, if any."""
    type_, value = row.element.row.type, row.value
    known = RULES.get(row.path.rpartition(".")[2])
    word = (type_.kind, type_.size, type_.signed) == (model.INTEGER, 4, False)
    return known if known and word and value is not None and known.holds(value) else None


def observe(found: Iterable[Row]) -> tuple[Observation, ...]:
    """Return what the numbers show, and which padding is not zero."""
    seen = []
    odd_padding = []
    for row in found:
        met = rule(row)
        if met:
            text = f"{row.path} is {row.value:#x}, {met.text}"
            seen.append(Observation(met.kind, text, met.fact))
        elif row.padding and any(row.data):
            odd_padding.append(row)
    if odd_padding:
        text = f"padding is not zero: {listed([_named(row) for row in odd_padding])}"
        seen.append(Observation(NORMAL, text, PADDING))
    return ordered(seen)


def listed(named: Sequence[str]) -> str:
    """Return names with commas between them; of many, the first few and a count of the others."""
    more = [f"and {len(named) - NAMED_MOST} more"] if len(named) > NAMED_MOST else []
    return ", ".join([*named[:NAMED_MOST], *more])


def _named(row: Row) -> str:
    first = row.offset + len(row.data) - len(row.data.lstrip(b"\0"))
    return f"{row.path} from +{first:#04x} on"
