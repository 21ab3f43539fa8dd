"""A reader out of a file: its function, its C signature, its source lines."""

from difflib import get_close_matches
from os.path import basename
from typing import TYPE_CHECKING

from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.structs.runstate import COMPAT, NATIVE
from runstate_abi.layouts.witnesses import elf
from runstate_abi.layouts.witnesses.packages import unpacked
from runstate_abi.writer.witnesses import lines, object_file
from runstate_abi.writer.witnesses.guest_cpus import (
    CPUS,
    MACHINES,
    Signature,
    signature,
    taking,
)
from runstate_abi.writer.witnesses.object_file import EM_386, STT_FUNC
from runstate_abi.writer.witnesses.reader_code import Found, reader_of
from runstate_abi.writer.witnesses.reader_machine import opened, require

if TYPE_CHECKING:
    import drgn

    from runstate_abi.writer.witnesses.lines import Lines

LAYOUTS = {"native": NATIVE, "compat": COMPAT}
FEW = 8  # names in a message
LARGEST = 8  # bytes of a result in registers
ANY = "int f(const void *area, void *result)"


def found(path: str, function: str, said: str, area: str, abi: str | None) -> tuple[Found, str]:
    """Return the reader of a function, and ``native`` or ``compat``: the struct that it reads.

    ``said`` is its C signature, "" to take it from DWARF; ``area`` the symbol of a global area, ""
    if it is a parameter. WitnessError: the file cannot be read, or the reader not be followed;
    WrongSignature: the signature.
    """
    with unpacked(path, "") as (name, _), open(name, "rb") as opened_file:
        data = opened_file.read()
    file = object_file.read(elf.parse(data, path), MACHINES)
    cpu = CPUS[file.file.elf_class, file.file.machine]
    if file.find(function) is None:
        raise WitnessError(f"{path}: no function {function}{_near(file, function)}")
    require(file, function)
    known = lines.opened(file, path, "")
    guessed = signature(ANY, cpu.pointer, bool(area))
    if said:
        takes = signature(said, cpu.pointer, bool(area))
    else:
        takes = of_dwarf(known, function, bool(area)) or guessed
    # A 32-bit x86 guest has the compat struct; Arm aligns a 64-bit integer to 8 bytes.
    guest = abi or ("compat" if file.file.machine == EM_386 else "native")
    machine = opened(file, function, takes, LAYOUTS[guest], area)

    def line(address: int) -> str:
        at = known.of([address])
        place = machine.place(address).removeprefix(function)
        return " ".join([place, *(f"{basename(one.file)}:{one.line}" for one in at[:1])])

    try:
        return reader_of(machine, function, line), guest
    except WitnessError as error:
        if takes is guessed:
            raise WitnessError(f"{error}; without debug info it is taken for {ANY!r}") from None
        raise WitnessError(f"{error}{_guessed(takes, guest, abi)}") from None


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
    except (LookupError, TypeError, ValueError, drgn.FaultError) as error:
        raise WitnessError(f"the debug info of {function} cannot be read: {error}") from None
    given = [
        (to is not None, to is not None and bool(to.qualifiers & drgn.Qualifiers.CONST))
        for to, _ in parameters
    ]
    return taking(given, returns, is_global)


def _pointee(type_: "drgn.Type") -> "drgn.Type | None":
    import drgn

    while type_.kind == drgn.TypeKind.TYPEDEF:
        type_ = type_.type
    return type_.type if type_.kind == drgn.TypeKind.POINTER else None
