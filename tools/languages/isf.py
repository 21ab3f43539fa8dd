"""Volatility 3: an intermediate symbol file (ISF) of both structs, without symbols.

Law of this file: JSON out, in the order of the schema; the same bytes each time.
"""

import json
from collections.abc import Iterator
from typing import Any

from runstate_abi.layouts.model import Field, Layout, Scalar
from runstate_abi.layouts.structs.runstate import CLAIMS, RUNSTATES
from runstate_abi.tools.languages.promises import GUESTS

FORMAT = "6.2.0"
STATE = GUESTS[0].layout.field("state").type


def lines() -> Iterator[str]:
    """Yield the ISF."""
    yield from json.dumps(as_json(), indent=2).splitlines()


def as_json() -> dict[str, Any]:
    """Return the ISF as JSON values: offsets and sizes in bytes; padding is what no field has."""
    layouts = [guest.layout for guest in GUESTS]
    scalars = {row.type.name: row.type for layout in layouts for row in layout.members}
    pointer = CLAIMS["x86_64"].native.alignment
    return {
        "metadata": {"format": FORMAT},
        "base_types": {
            "pointer": {"size": pointer, "signed": False, "kind": "int", "endian": "little"},
            **{name: _base_type(scalar) for name, scalar in scalars.items()},
        },
        "user_types": {layout.name: _user_type(layout) for layout in layouts},
        "enums": {
            "runstate": {
                "size": STATE.size,
                "base": STATE.name,
                "constants": {runstate.constant: runstate.value for runstate in RUNSTATES},
            }
        },
        "symbols": {},
    }


def _base_type(scalar: Scalar) -> dict[str, Any]:
    return {"size": scalar.size, "signed": scalar.signed, "kind": "int", "endian": "little"}


def _user_type(layout: Layout) -> dict[str, Any]:
    fields = {row.name: {"offset": row.offset, "type": _type(row)} for row in layout.members}
    return {"size": layout.size, "fields": fields, "kind": "struct"}


def _type(row: Field) -> dict[str, Any]:
    element = {"kind": "base", "name": row.type.name}
    return element if row.count == 1 else {"kind": "array", "count": row.count, "subtype": element}
