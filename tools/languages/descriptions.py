"""The structs for tools that read memory: Kaitai, GNU poke, cstruct, Volatility 3, gdb and drgn.

The Python that gdb and drgn load is in text/; only its numbers come from here.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from runstate_abi.layouts.abi import ABI
from runstate_abi.layouts.model import STRUCT, Field, Layout, Scalar
from runstate_abi.layouts.structs.runstate import CLAIMS, RUNSTATES, XEN_RUNSTATE_UPDATE
from runstate_abi.tools.languages.families import Content, described
from runstate_abi.tools.languages.promises import GUESTS, Guest, filled, sentence

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
    yield f"- id: {_kaitai_name(row.name)} # offset {row.offset}"
    if row.padding:
        yield f"  size: {row.size}"
        return
    number = f"{'s' if row.type.signed else 'u'}{row.type.size}"
    yield f"  type: {_kaitai_name(_tag(row)) if row.type.kind == STRUCT else number}"
    if row.count > 1:
        yield from ("  repeat: expr", f"  repeat-expr: {row.count}")
    if row.name == "state" and row.type == GUESTS[0].layout.field("state").type:
        yield "  enum: runstate"


def _tag(row: Field) -> str:
    return row.type.name.removeprefix("struct ")


def kaitai_family(content: Content) -> Iterator[str]:
    """Yield the .ksy of a family; every family's is runstate's with more instances and types."""
    if not content.with_runstate:
        yield from (f"# {line}" for line in content.about)
        yield from ("meta:", f"  id: {content.name}", "  endian: le")
        yield from ("instances:", *_kaitai_instances(content), "types:", *_kaitai_types(content))
        return
    for line in kaitai():
        if line == "types:":
            yield from _kaitai_instances(content)
        if line == "enums:":
            yield from _kaitai_types(content)
        yield line
    yield from (f"# {line}" for line in content.about)


def _kaitai_instances(content: Content) -> Iterator[str]:
    for struct in content.structs:
        name = _kaitai_name(struct.claim.name)
        yield from (f"  {name}:", "    pos: 0", f"    type: {name}")


def _kaitai_types(content: Content) -> Iterator[str]:
    for about, part in content.parts:
        yield from (f"  {_kaitai_name(part.name)}:", f'    doc: "{described(part, about)}"')
        yield "    seq:"
        for row in part.rows:
            yield from (f"      {line}" for line in _kaitai_attribute(row))


# An identifier of Kaitai's is in lower case and begins with a letter.
def _kaitai_name(name: str) -> str:
    return name.lower().lstrip("_")


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
        yield from map(_poke_field, guest.layout.rows)
        yield from ("", "    method update_in_progress = int<32>:", "      {")
        yield "        return (state_entry_time & XEN_RUNSTATE_UPDATE) != 0;"
        yield from ("      }", "  };")


def _poke_field(row: Field) -> str:
    type_ = f"little {'' if row.type.signed else 'u'}int<{row.type.size * 8}>"
    type_ = _tag(row) if row.type.kind == STRUCT else type_
    array = f"[{row.count}]" if row.count > 1 else ""
    return f"    {type_}{array} {poke_name(row.name)} @ {row.offset}#B;"


# Of the words that C leaves to a member, those that are poke's.
_POKE_WORDS = """
any as assert big catch computed format fun immutable in isa lambda little load method
offset pinned print raise string try type unit until unmap var where
"""


def poke_name(name: str) -> str:
    """Return what poke calls a member."""
    return f"{name}_" if name in _POKE_WORDS.split() else name


def _commented(content: Content) -> Iterator[str]:
    yield f"/* {content.about[0]}"
    yield from (f"   {line}" for line in content.about[1:])
    yield "*/"


def poke_family(content: Content) -> Iterator[str]:
    """Yield the pickle of a family; it asserts each size when it is loaded."""
    if content.with_runstate:
        yield from (*poke(), "")
    yield from _commented(content)
    for about, part in content.parts:
        yield from ("", f"/* {sentence(described(part, about))}  */")
        yield from (f"type {part.name} =", "  struct", "  {", *map(_poke_field, part.rows), "  };")
        yield f"assert (({part.name} {{}})'size == {part.size}#B);"


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
        yield from map(_cstruct_field, guest.layout.rows)
        yield "};"


def _cstruct_field(row: Field) -> str:
    type_ = f"{'' if row.type.signed else 'u'}int{row.type.size * 8}"
    type_ = _tag(row) if row.type.kind == STRUCT else type_
    return f"    {type_} {row.declaration}; /* offset {row.offset} */"


def cstruct_family(content: Content) -> Iterator[str]:
    """Yield dissect.cstruct's definitions of a family."""
    if content.with_runstate:
        yield from (*cstruct(), "")
    yield from _commented(content)
    for about, part in content.parts:
        yield from ("", f"/* {described(part, about)} */", f"struct {part.name} {{")
        yield from (*map(_cstruct_field, part.rows), "};")


def isf() -> Iterator[str]:
    yield from json.dumps(isf_values(), indent=2).splitlines()


def isf_values() -> dict[str, Any]:
    """Return the ISF as JSON values: offsets and sizes in bytes; padding is not in it."""
    layouts = [guest.layout for guest in GUESTS]
    scalars = {row.type.name: row.type for layout in layouts for row in layout.members}
    state = layouts[0].field("state").type
    constants = {runstate.constant: runstate.value for runstate in RUNSTATES}
    enums = {"runstate": {"size": state.size, "base": state.name, "constants": constants}}
    return _isf(CLAIMS["x86_64"].native.alignment or 0, scalars, layouts, enums)


def _isf(
    pointer_size: int,
    scalars: Mapping[str, Scalar],
    layouts: Iterable[Layout],
    enums: Mapping[str, Any],
) -> dict[str, Any]:
    pointer = Scalar("pointer", pointer_size, signed=False)
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
        "enums": enums,
        "symbols": {},
    }


def _isf_type(row: Field) -> dict[str, Any]:
    element = {"kind": "base", "name": row.type.name}
    if row.type.kind == STRUCT:
        element = {"kind": "struct", "name": _tag(row)}
    return element if row.count == 1 else {"kind": "array", "count": row.count, "subtype": element}


def isf_family(content: Content) -> Iterator[str]:
    """Yield the ISF of a family; the comments have no place in it."""
    yield from json.dumps(isf_family_values(content), indent=2).splitlines()


def isf_family_values(content: Content) -> dict[str, Any]:
    """Return it as JSON values; an integer is called by its size, as ``unsigned long`` has two."""
    layouts = [_sized(part) for _, part in content.parts]
    rows = [row for layout in layouts for row in layout.members if row.type.kind != STRUCT]
    scalars = {row.type.name: row.type for row in rows}
    found = _isf(ABI[content.abi].pointer_size, scalars, layouts, {})
    if content.with_runstate:
        own = isf_values()
        for key in ("base_types", "user_types", "enums"):
            found[key] = own[key] | found[key]
    return found


def _sized(layout: Layout) -> Layout:
    def row(one: Field) -> Field:
        signed, size = bool(one.type.signed), one.type.size
        name = f"{'' if signed else 'u'}int{size * 8}_t"
        return one if one.type.kind == STRUCT else one._replace(type=Scalar(name, size, signed))

    return layout._replace(rows=tuple(map(row, layout.rows)))


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
