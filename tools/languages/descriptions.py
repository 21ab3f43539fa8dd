"""The structs for tools that read memory: Kaitai, GNU poke, cstruct, Volatility 3, gdb and drgn.

The Python that gdb and drgn load is in text/; only its numbers come from here.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

from runstate_abi.layouts.model import Field, Layout, Scalar
from runstate_abi.layouts.structs.runstate import CLAIMS, RUNSTATES, XEN_RUNSTATE_UPDATE
from runstate_abi.tools.languages.promises import GUESTS, Guest, filled

FLAG_BIT = XEN_RUNSTATE_UPDATE.bit_length() - 1
ISF_FORMAT = "6.2.0"  # of Volatility's schemas


def kaitai() -> Iterator[str]:
    """Yield the .ksy. An area can be read as either struct: nothing in it says which."""
    yield "# The Xen runstate area. Made by `runstate emit kaitai` from its tables: do not edit."
    yield from ("meta:", "  id: runstate", "  title: Xen runstate area", "  endian: le")
    yield "doc: What a guest shares with Xen or KVM; nothing in it says which of the two it is."
    yield "instances:"
    for guest in GUESTS:
        yield from (f"  {guest.word}:", "    pos: 0", f"    type: {guest.layout.name}")
    yield "types:"
    for guest in GUESTS:
        yield f"  {guest.layout.name}:"
        yield f"    doc: a {guest.bits}-bit x86 guest's, {guest.layout.size} bytes"
        yield "    seq:"
        for row in guest.layout.rows:
            yield from (f"      {line}" for line in _kaitai_attribute(row))
        yield from ("    instances:", "      update_in_progress:")
        yield f"        value: (state_entry_time >> {FLAG_BIT}) & 1 != 0"
    yield from ("enums:", "  runstate:")
    for runstate in RUNSTATES:
        yield from (f"    {runstate.value}:", f"      id: {runstate.name}")
        yield f'      doc: "{runstate.meaning}"'


def _kaitai_attribute(row: Field) -> Iterator[str]:
    yield f"- id: {row.name} # offset {row.offset}"
    if row.padding:
        yield f"  size: {row.size}"
        return
    yield f"  type: {'s' if row.type.signed else 'u'}{row.type.size}"
    if row.count > 1:
        yield from ("  repeat: expr", f"  repeat-expr: {row.count}")
    if row.name == "state":
        yield "  enum: runstate"


def poke() -> Iterator[str]:
    """Yield the pickle. Its structs are little-endian in any current byte order of poke."""
    yield "/* runstate.pk - the Xen runstate area."
    yield "   Made by `runstate emit poke` from its tables: do not edit.  */"
    yield ""
    yield f"var XEN_RUNSTATE_UPDATE = {XEN_RUNSTATE_UPDATE:#x}UL;"
    for runstate in RUNSTATES:
        yield f"var {runstate.constant} = {runstate.value}; /* {runstate.meaning} */"
    for guest in GUESTS:
        yield from ("", f"/* A {guest.bits}-bit x86 guest's, {guest.layout.size} bytes.  */")
        yield from (f"type {guest.layout.name} =", "  struct", "  {")
        for row in guest.layout.rows:
            type_ = f"{'' if row.type.signed else 'u'}int<{row.type.size * 8}>"
            array = f"[{row.count}]" if row.count > 1 else ""
            yield f"    little {type_}{array} {row.name} @ {row.offset}#B;"
        yield from ("", "    method update_in_progress = int<32>:", "      {")
        yield "        return (state_entry_time & XEN_RUNSTATE_UPDATE) != 0;"
        yield from ("      }", "  };")


def cstruct() -> Iterator[str]:
    """Yield dissect.cstruct's definitions; the holes are members, as its align=False wants them."""
    yield "/* The Xen runstate area, for dissect.cstruct: cstruct().load(text), without align=True."
    yield "   Made by `runstate emit cstruct` from its tables: do not edit. */"
    yield ""
    yield f"#define XEN_RUNSTATE_UPDATE {XEN_RUNSTATE_UPDATE:#x}"
    for runstate in RUNSTATES:
        yield f"#define {runstate.constant} {runstate.value}"
    for guest in GUESTS:
        yield from ("", f"/* a {guest.bits}-bit x86 guest's, {guest.layout.size} bytes */")
        yield f"struct {guest.layout.name} {{"
        for row in guest.layout.rows:
            type_ = f"{'' if row.type.signed else 'u'}int{row.type.size * 8}"
            yield f"    {type_} {row.declaration}; /* offset {row.offset} */"
        yield "};"


def isf() -> Iterator[str]:
    yield from json.dumps(isf_values(), indent=2).splitlines()


def isf_values() -> dict[str, Any]:
    """Return the ISF as JSON values: offsets and sizes in bytes; padding is not in it."""
    layouts = [guest.layout for guest in GUESTS]
    scalars = {row.type.name: row.type for layout in layouts for row in layout.members}
    pointer = Scalar("pointer", CLAIMS["x86_64"].native.alignment or 0, signed=False)
    state = layouts[0].field("state").type
    constants = {runstate.constant: runstate.value for runstate in RUNSTATES}
    return {
        "metadata": {"format": ISF_FORMAT},
        "base_types": {
            name: {"size": type_.size, "signed": type_.signed, "kind": "int", "endian": "little"}
            for name, type_ in {"pointer": pointer, **scalars}.items()
        },
        "user_types": {
            layout.name: {
                "size": layout.size,
                "fields": {
                    r.name: {"offset": r.offset, "type": _isf_type(r)} for r in layout.members
                },
                "kind": "struct",
            }
            for layout in layouts
        },
        "enums": {"runstate": {"size": state.size, "base": state.name, "constants": constants}},
        "symbols": {},
    }


def _isf_type(row: Field) -> dict[str, Any]:
    element = {"kind": "base", "name": row.type.name}
    return element if row.count == 1 else {"kind": "array", "count": row.count, "subtype": element}


def gdb() -> Iterator[str]:
    """Yield a script that gives gdb the command ``runstate``."""
    return _debugger("runstate_gdb.py", lambda guest: f"{guest.layout.size}")


def drgn() -> Iterator[str]:
    """Yield a module that makes drgn objects of both structs."""
    return _debugger("runstate_drgn.py", lambda g: f'"{g.layout.name}", {g.layout.size}')


# Python literals for the placeholders in text/NAME.in.
def _debugger(name: str, head: Callable[[Guest], str]) -> Iterator[str]:
    rows = (f'    "{g.word}": ({head(g)}, {_members(g.layout)}),' for g in GUESTS)
    values = {
        "UPDATE_FLAG": f"1 << {FLAG_BIT}",
        "STATES": str({runstate.value: runstate.name for runstate in RUNSTATES}),
        "STRUCTS": "\n".join(rows),
    }
    return filled(name, values)


def _members(layout: Layout) -> str:
    rows = (
        f'        ("{row.name}", {row.offset}, {row.type.size}, {row.count}, {row.type.signed}),'
        for row in layout.members
    )
    return "\n".join(("(", *rows, "    )"))
