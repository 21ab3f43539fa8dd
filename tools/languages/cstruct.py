"""dissect.cstruct: both structs as its C-like text, holes as members.

Law of this file: text out for cstruct().load() with its default, align=False: the numbers in it
are the layout's and not the library's.
"""

from collections.abc import Iterator

from runstate_abi.layouts.model import Field, Layout
from runstate_abi.layouts.structs.runstate import RUNSTATES, XEN_RUNSTATE_UPDATE
from runstate_abi.tools.languages.promises import GUESTS


def lines() -> Iterator[str]:
    """Yield the definitions."""
    yield "/* The Xen runstate area, for dissect.cstruct: cstruct().load(text), without align=True."
    yield "   Made by `runstate emit cstruct` from its tables: do not edit. */"
    yield ""
    yield f"#define XEN_RUNSTATE_UPDATE {XEN_RUNSTATE_UPDATE:#x}"
    for runstate in RUNSTATES:
        yield f"#define {runstate.constant} {runstate.value}"
    for guest in GUESTS:
        yield ""
        yield from _struct(guest.layout, guest.bits)


def _struct(layout: Layout, bits: int) -> Iterator[str]:
    yield f"/* a {bits}-bit x86 guest's, {layout.size} bytes */"
    yield f"struct {layout.name} {{"
    for row in layout.rows:
        yield f"    {_type(row)} {row.declaration}; /* offset {row.offset} */"
    yield "};"


def _type(row: Field) -> str:
    return f"{'' if row.type.signed else 'u'}int{row.type.size * 8}"
