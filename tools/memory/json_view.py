"""An area as one JSON value for scripts.

No name may change its meaning without a new SCHEMA.
"""

from collections.abc import Iterable
from typing import Any

from runstate_abi.tools.memory.area import AreaBytes, Values, edges, state_name
from runstate_abi.tools.memory.observations import Deltas, Observation, shares

SCHEMA = "runstate-hexdump/1"


def area(seen: AreaBytes, source: str, reasons: Iterable[str]) -> dict[str, Any]:
    """Return an area's place, numbers and bytes; times in ns, the entry time without the flag."""
    numbers = seen.values
    return {
        "schema": SCHEMA,
        "source": source,
        "abi": seen.abi,
        "abi_reasons": list(reasons),
        "address": seen.address,
        "size": seen.layout.size,
        "bytes": seen.data.hex(),
        "fields": fields(numbers),
        "state_name": state_name(numbers.state),
        "padding": numbers.padding.hex(),
        "update_in_progress": numbers.updating,
        "steal": numbers.steal,
        "edges": [
            {"offset": edge.offset, "address": edge.address, "page": edge.page}
            for edge in edges(seen)
        ],
    }


def fields(numbers: Values) -> dict[str, Any]:
    return {"state": numbers.state, "state_entry_time": numbers.entry, "time": list(numbers.times)}


def observations(found: Iterable[Observation]) -> list[dict[str, str]]:
    return [{"class": item.kind, "text": item.text, "fact": item.fact} for item in found]


def growth(earlier: Values, moved: Deltas, source: str) -> dict[str, Any]:
    """Return what changed since an earlier reading: deltas in ns, each state's share of 1."""
    return {
        "source": source,
        "fields": fields(earlier),
        "update_in_progress": earlier.updating,
        "delta": {"state_entry_time": moved.entry, "time": list(moved.times)},
        "share": [share.part for share in shares(moved)],
        "entry_minus_sum": list(moved.offsets),
    }


def undecided(readings: list[dict[str, Any]], source: str, reasons: Iterable[str]) -> Any:
    """Return the value if neither layout can be ruled out: both readings, and no ABI."""
    return {
        "schema": SCHEMA,
        "source": source,
        "abi": None,
        "abi_reasons": list(reasons),
        "address": readings[0]["address"],
        "fields": None,
        "padding": None,
        "update_in_progress": None,
        "steal": None,
        "observations": [],
        "verdict": None,
        "readings": readings,
    }
