"""Code that is kept as code: files in text/ with @NAME@ where something of the layouts stands.

Law of this file: the files say how, the tables say where.
"""

import re
from collections.abc import Iterator, Mapping
from importlib.resources import files

from runstate_abi.layouts.runstate import update_byte
from runstate_abi.tools.emit.promises import GUESTS


def filled(name: str, values: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines of text/NAME.in with every @WORD@ replaced (KeyError if it has no value)."""
    place = files("runstate_abi.tools.emit").joinpath("text", f"{name}.in")
    text = place.read_text(encoding="utf-8")
    yield from re.sub(r"@([A-Z_0-9]+)@", lambda found: values[found[1]], text).splitlines()


def numbers() -> dict[str, str]:
    """Return what a reader needs of both guests: sizes, offsets, update bytes: STATE_64, ..."""
    found: dict[str, int] = {}
    for guest in GUESTS:
        layout = guest.layout
        found[f"SIZE_{guest.bits}"] = layout.size
        found[f"UPDATE_BYTE_{guest.bits}"] = update_byte(layout)
        for row in layout.members:
            found[f"{row.name.upper()}_{guest.bits}"] = row.offset
    return {word: str(number) for word, number in found.items()}
