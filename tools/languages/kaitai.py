"""Kaitai Struct: a .ksy of both structs.

Law of this file: YAML text out, written line by line so that it reads as people write it.
"""

from collections.abc import Iterator

from runstate_abi.layouts.model import Field, Layout
from runstate_abi.layouts.structs.runstate import RUNSTATES, XEN_RUNSTATE_UPDATE
from runstate_abi.tools.languages.promises import GUESTS

FLAG_BIT = XEN_RUNSTATE_UPDATE.bit_length() - 1


def lines() -> Iterator[str]:
    """Yield the .ksy: an area may be read as either struct, since nothing in it says which."""
    yield "# The Xen runstate area. Made by `runstate emit kaitai` from its tables: do not edit."
    yield from ("meta:", "  id: runstate", "  title: Xen runstate area", "  endian: le")
    yield "doc: What a guest shares with Xen or KVM; nothing in it says which of the two it is."
    yield "instances:"
    for guest in GUESTS:
        yield from (f"  {guest.word}:", "    pos: 0", f"    type: {guest.layout.name}")
    yield "types:"
    for guest in GUESTS:
        yield from _type(guest.layout, guest.bits)
    yield from ("enums:", "  runstate:")
    for runstate in RUNSTATES:
        yield from (f"    {runstate.value}:", f"      id: {runstate.name}")
        yield f'      doc: "{runstate.meaning}"'


def _type(layout: Layout, bits: int) -> Iterator[str]:
    yield from (f"  {layout.name}:", f"    doc: a {bits}-bit x86 guest's, {layout.size} bytes")
    yield "    seq:"
    for row in layout.rows:
        yield from (f"      {line}" for line in _attribute(row))
    yield from ("    instances:", "      update_in_progress:")
    yield f"        value: (state_entry_time >> {FLAG_BIT}) & 1 != 0"


def _attribute(row: Field) -> Iterator[str]:
    yield f"- id: {row.name} # offset {row.offset}"
    if row.padding:
        yield f"  size: {row.size}"
        return
    yield f"  type: {'s' if row.type.signed else 'u'}{row.type.size}"
    if row.count > 1:
        yield from ("  repeat: expr", f"  repeat-expr: {row.count}")
    if row.name == "state":
        yield "  enum: runstate"
