"""GNU poke: a pickle whose members say both their types and their offsets.

Law of this file: Poke text out.
"""

from collections.abc import Iterator

from runstate_abi.layouts.model import Field, Layout, Scalar
from runstate_abi.layouts.structs.runstate import RUNSTATES, XEN_RUNSTATE_UPDATE
from runstate_abi.tools.languages.promises import GUESTS


def lines() -> Iterator[str]:
    """Yield the pickle; the structs are little-endian whatever poke's current byte order is."""
    yield "/* runstate.pk - the Xen runstate area."
    yield "   Made by `runstate emit poke` from its tables: do not edit.  */"
    yield ""
    yield f"var XEN_RUNSTATE_UPDATE = {XEN_RUNSTATE_UPDATE:#x}UL;"
    for runstate in RUNSTATES:
        yield f"var {runstate.constant} = {runstate.value}; /* {runstate.meaning} */"
    for guest in GUESTS:
        yield ""
        yield from _type(guest.layout, guest.bits)


def _type(layout: Layout, bits: int) -> Iterator[str]:
    yield f"/* A {bits}-bit x86 guest's, {layout.size} bytes.  */"
    yield f"type {layout.name} ="
    yield "  struct"
    yield "  {"
    for row in layout.rows:
        yield f"    {_declared(row)} @ {row.offset}#B;"
    yield ""
    yield "    method update_in_progress = int<32>:"
    yield "      {"
    yield "        return (state_entry_time & XEN_RUNSTATE_UPDATE) != 0;"
    yield "      }"
    yield "  };"


def _declared(row: Field) -> str:
    array = f"[{row.count}]" if row.count > 1 else ""
    return f"little {_scalar(row.type)}{array} {row.name}"


def _scalar(scalar: Scalar) -> str:
    return f"{'' if scalar.signed else 'u'}int<{scalar.size * 8}>"
