"""A reader out of a file: its function, its C signature, its source lines."""

from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from os.path import basename
from typing import TYPE_CHECKING

from runstate_abi.layouts.model import Layout, WitnessError
from runstate_abi.layouts.witnesses import btf, btf_header, vmlinuz
from runstate_abi.layouts.witnesses.btf_blob import Btf, Record
from runstate_abi.layouts.witnesses.packages import unpacked
from runstate_abi.writer.vcpu import SHAPES
from runstate_abi.writer.witnesses import lines, object_file
from runstate_abi.writer.witnesses.guests import kernel, vdso
from runstate_abi.writer.witnesses.guests.area import opened, require
from runstate_abi.writer.witnesses.guests.cpus import (
    CPUS,
    Signature,
    signature,
    taking,
)
from runstate_abi.writer.witnesses.guests.reader import Found, reader_of
from runstate_abi.writer.witnesses.object_file import EM_386, STT_FUNC

if TYPE_CHECKING:
    import drgn

    from runstate_abi.writer.witnesses.lines import Lines

KINDS = ("VOID", "INT", "BOOL", "ENUM", "POINTER")  # of what is returned as an integer is
FEW = 8  # names in a message
LARGEST = 8  # bytes of a result in registers
# By the machine: the ABI whose structs a guest on it reads.
ABIS = {"x86-64": "x86_64", "i386": "x86_64", "arm64": "arm64", "arm32": "arm64"}
ANY = "int f(const void *area, void *result)"


def found(
    path: str,
    function: str,
    said: str,
    area: str,
    abi: str | None,
    layouts: Sequence[Layout] = (),
    offset: int = 0,
) -> tuple[Found, str]:
    """Return the reader of a function, and ``native`` or ``compat``: the struct that it reads.

    ``said`` is its C signature, "" to take it from DWARF; ``area`` the symbol of a global area, ""
    if it is a parameter; ``layouts`` those of other structs than the runstate area, of which DWARF
    may say which one it is, ``offset`` where it is in what the parameter or the symbol is.
    WitnessError: the file cannot be read, or the reader not be followed; WrongSignature: the
    signature.
    """
    with unpacked("", path) as (_, name):
        file = kernel.opened(name)
        cpu = CPUS[file.file.elf_class, file.file.machine]
        own = kernel.READERS.get(function) if kernel.is_kernel(file) else None
        if function == vdso.FUNCTION and layouts and file.find(function) is None:
            file, area = vdso.of_kernel(file, layouts[0])
            own = kernel.Known(vdso.SIGNATURE, fixed=vdso.FIXED)
        if file.find(function) is None:
            raise WitnessError(f"{path}: no function {function}{_near(file, function)}")
        require(file, function)
        known = lines.opened(file, path, "")
        area = area or (own.area if own else "")
        guessed = signature(ANY, cpu.pointer, bool(area))
        if said or own:
            takes = signature(said or (own.signature if own else ""), cpu.pointer, bool(area))
        else:
            of = function, bool(area)
            takes = of_dwarf(known, *of) or of_btf(name, *of) or guessed
    # A 32-bit x86 guest has the compat struct; Arm aligns a 64-bit integer to 8 bytes.
    guest = abi or ("compat" if file.file.machine == EM_386 else "native")
    own_layouts = [one for one in layouts if one.abi == ABIS[cpu.name]] or layouts
    layout = _meant(known, function, takes, own_layouts) if layouts else None
    machine = opened(file, function, takes, layout or SHAPES[guest].layout, area, offset)
    presets = kernel.PRESETS if kernel.is_kernel(file) and layout else {}
    for symbol, data in presets.items():
        place = file.find(symbol)
        if place:
            machine.preset(place.address, data)

    def line(address: int) -> str:
        at = known.of([address])
        place = machine.place(address).removeprefix(function)
        return " ".join([place, *(f"{basename(one.file)}:{one.line}" for one in at[:1])])

    try:
        seen = reader_of(machine, function, line, own.fixed if own else ())
        if presets:
            summary = f"{seen.reader.summary}; {', '.join(presets)} as in a running guest"
            seen = seen._replace(reader=replace(seen.reader, summary=summary))
        return seen, guest
    except WitnessError as error:
        if takes is guessed:
            raise WitnessError(f"{error}; without debug info it is taken for {ANY!r}") from None
        raise WitnessError(f"{error}{_guessed(takes, guest, abi)}") from None


# Which struct a function reads: by the name of its parameter's type, or by its size, or the first.
def _meant(known: "Lines", function: str, takes: Signature, layouts: Sequence[Layout]) -> Layout:
    name, size = _struct(known, function, takes)
    by_name = [one for one in layouts if one.name == name]
    by_size = [one for one in layouts if size == one.size]
    if len(layouts) > 1 and size and not by_name and not by_size:
        names = ", ".join(one.name for one in layouts)
        raise WitnessError(
            f"{function} reads a struct {name} of {size} bytes: say which it is, --struct NAME "
            f"({names}), and --offset BYTES if it is inside that one"
        )
    return (by_name or by_size or [*layouts])[0]


# The name and the size of the struct that the area's parameter points to, ("", 0) if not known.
def _struct(known: "Lines", function: str, takes: Signature) -> tuple[str, int]:
    if known.program is None or "area" not in takes.takes:
        return "", 0
    import drgn

    try:
        type_ = known.program.function(function).type_.parameters[takes.takes.index("area")].type
        to = _pointee(type_)
        plain = _plain(to) if to is not None else None
        if plain is None or plain.kind != drgn.TypeKind.STRUCT:
            return "", 0
        return plain.tag or "", drgn.sizeof(plain)
    except Exception:
        # As in of_dwarf(): what it cannot say is not known.
        return "", 0


# Functions with names that are nearly this one, or all of them if they are few.
def _near(file: object_file.ObjectFile, function: str) -> str:
    names = [s.name for s in file.by_name.values() if s.type == STT_FUNC]
    near = get_close_matches(function, names, FEW) or (names if len(names) <= FEW else [])
    return f"; it has {', '.join(sorted(near))}" if near else ""


# What was taken for granted, and could be wrong if the reader cannot be followed.
def _guessed(takes: Signature, guest: str, abi: str | None) -> str:
    if takes.takes.count("result") and not takes.sure:
        number = takes.takes.index("area") + 1
        return f" (the area: parameter {number}? --signature, or a pointer to const, tells)"
    return f" (read as a {guest} area: --abi)" if abi else ""


def of_dwarf(known: "Lines", function: str, is_global: bool) -> Signature | None:
    """Return the signature of a function in the debug info, None if it is not there.

    ``is_global``: the area is none of its parameters.
    """
    if known.program is None:
        return None
    import drgn

    try:
        type_ = known.program.function(function).type_
        parameters = [(_pointee(one.type), one.type) for one in type_.parameters]
        is_void = type_.type.kind == drgn.TypeKind.VOID
        returns = 0 if is_void else drgn.sizeof(type_.type)
        if returns > LARGEST:
            raise WitnessError(f"{function} returns {returns} bytes, more than fit in a register")
        if _plain(type_.type).kind.name not in KINDS:
            raise WitnessError(f"{function} returns no integer")
    except WitnessError:
        raise
    except Exception as error:
        # drgn has many exceptions, for damaged DWARF and for relocations that it does not know.
        raise WitnessError(f"the debug info of {function} cannot be read: {error}") from None
    given = [
        (to is not None, to is not None and bool(to.qualifiers & drgn.Qualifiers.CONST))
        for to, _ in parameters
    ]
    return taking(given, returns, is_global)


def of_btf(path: str, function: str, is_global: bool) -> Signature | None:
    """Return the signature of a kernel's function in its BTF, None if it is not there.

    ``is_global``: the area is none of its parameters.
    """
    try:
        image = vmlinuz.open_image(path)
        types = vmlinuz.read_btf(image)
        protos = {one.size for one in types.named(function) if one.kind == btf_header.FUNC}
        if len(protos) != 1 or image.abi is None:
            return None
        proto = types.record(protos.pop())
        returned, _ = _behind(types, proto.size)
        returns = image.abi.pointer_size if returned and returned.kind == btf_header.PTR else 0
        if returned and not returns:
            returns = returned.size
        given = []
        for id_ in proto.parts[1::2]:
            record, _ = _behind(types, id_)
            is_pointer = record is not None and record.kind == btf_header.PTR
            given.append(
                (is_pointer, bool(record and is_pointer and _behind(types, record.size)[1]))
            )
    except WitnessError:
        return None
    return taking(given, returns, is_global) if returns <= LARGEST else None


# The type behind typedefs and qualifiers, None for void, and whether one of these is const.
def _behind(types: Btf, id_: int) -> tuple[Record | None, bool]:
    is_const = False
    for _ in range(btf.HOPS_MAX):
        record = types.record(id_) if id_ else None
        if record is None or record.kind not in (btf_header.TYPEDEF, *btf.QUALIFIERS):
            return record, is_const
        is_const |= record.kind == btf_header.CONST
        id_ = record.size
    raise WitnessError(f"{types.source}: BTF type {id_}: its chain of types does not end")


def _plain(type_: "drgn.Type") -> "drgn.Type":
    import drgn

    while type_.kind == drgn.TypeKind.TYPEDEF:
        type_ = type_.type
    return type_


def _pointee(type_: "drgn.Type") -> "drgn.Type | None":
    import drgn

    type_ = _plain(type_)
    return type_.type if type_.kind == drgn.TypeKind.POINTER else None
