"""A compiler's full debug info as a witness: what DWARF says about a struct.

The file is a vmlinux, a kvm.ko, xen-syms, or any object file, with DWARF 2 to 5, split or not. C
compilers record no alignment. observe() reads it with dwarf_entries.py. read() gives the file to
drgn (an extra), which `judge` asks about functions.
"""

import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, NamedTuple

from runstate_abi.layouts import model
from runstate_abi.layouts.abi import Abi
from runstate_abi.layouts.findings import spaced
from runstate_abi.layouts.model import (
    NOT_BUILT,
    NOWHERE,
    Field,
    Inside,
    Layout,
    Layouts,
    Look,
    Scalar,
    WitnessError,
    witnessed,
)
from runstate_abi.layouts.witnesses import dwarf_entries as form
from runstate_abi.layouts.witnesses import elf, pe
from runstate_abi.layouts.witnesses.compressed import contents
from runstate_abi.layouts.witnesses.dwarf_entries import Entries, Entry

if TYPE_CHECKING:
    import drgn

EXTRA = "its DWARF needs drgn: pip install 'runstate-abi[dwarf]'"
SECTIONS = (".debug_info", ".zdebug_info", ".debug_info.dwo")

# Limits that no honest file comes near.
DEPTH_MAX = 8  # anonymous struct in anonymous struct
HOPS_MAX = 32  # typedef of const of typedef ...
MEMBERS_MAX = 1024
COUNT_MAX = 1 << 32
BITS = 8

STRUCTS = (form.STRUCTURE, form.CLASS)
POINTERS = (form.POINTER, form.REFERENCE, form.RVALUE, form.PTR_TO_MEMBER)
QUALIFIERS = (form.CONST, form.VOLATILE, form.RESTRICT, form.ATOMIC)
# DW_ATE_*: complex_float, float, imaginary_float, decimal_float; signed, signed_char.
FLOATS, SIGNED = (0x03, 0x04, 0x09, 0x0F), (0x05, 0x06)
BIG, LITTLE = 1, 2  # DW_END_*
RUST = 0x1C  # DW_LANG_Rust
PLUS_UCONST = 0x23  # DW_OP_plus_uconst, how DWARF 2 says where a member is


class Source(NamedTuple):
    path: str
    file: elf.Elf
    compressed: str  # how its bytes were compressed, "" if they were not


def opened(path: str) -> Source | None:
    """Return the file if it is an ELF or PE file with DWARF, compressed or not (WitnessError)."""
    try:
        data, compressed = contents(path)
    except WitnessError:
        return None
    if data[: len(elf.MAGIC)] == elf.MAGIC:
        file = elf.parse(data, path)
    elif pe.is_pe(data):
        file = pe.as_elf(data, path)
    else:
        return None
    for name in SECTIONS:
        try:
            # If the debug info was separated, the file has the section's header but not its bytes.
            has_bytes = bool(file.section(name))
        except WitnessError:
            has_bytes = True  # it is compressed, or in parts: section_bytes() reads those
        if has_bytes:
            return Source(path, file, compressed)
    return None


def description(source: Source) -> str:
    """Return a description of the file: ``kernel module (ELF64 x86-64, xz)``."""
    is_elf = source.file.data[: len(elf.MAGIC)] == elf.MAGIC
    kind = "kernel module" if source.file.is_module else "ELF file" if is_elf else "PE file"
    what = source.file.description if is_elf else source.file.description.partition(" ")[2]
    return f"{kind} ({', '.join(filter(None, (what, source.compressed)))})"


def observe(source: Source, names: Sequence[str], abi: Abi, inside: Inside = NOWHERE) -> Layouts:
    """Return what the DWARF of a file says about each ``struct name``: every definition, once.

    A typedef's name is accepted, and a struct in a namespace. ``inside`` as in btf.py. WitnessError
    for damaged DWARF, for split DWARF whose .dwo file is missing, and for a struct with bitfields
    or other unions.
    """
    try:
        return _observed(source, names, abi, inside)
    except (LookupError, ValueError, struct.error, OverflowError) as error:
        raise WitnessError(f"{source.path}: its DWARF is damaged: {spaced(error)}") from None


def _observed(source: Source, names: Sequence[str], abi: Abi, inside: Inside) -> Layouts:
    supplement = _supplement(source)
    main = Entries(source.file, source.path, supplement)
    halves = [main, *filter(None, [supplement])]
    lost: list[str] = []
    for folder, name in dict.fromkeys(main.other_halves()):
        path = os.path.join(folder, name)
        other = opened(path)
        halves += [Entries(other.file, path)] if other else []
        lost += [] if other else [path]
    every = (
        layout
        for name in names
        for half in halves
        for layout in _named(half, name, abi, inside.get(name, Look()))
    )
    found = tuple(dict.fromkeys(every))
    # The units that are missing may define more.
    if lost:
        raise WitnessError(f"{source.path}: split DWARF file {lost[0]} not found")
    missing = tuple(name for name in names if name not in {layout.name for layout in found})
    return Layouts("dwarf", source.path, found, missing)


# The file that dwz moved common entries to. gdb and drgn look for it by its path and its build-id.
def _supplement(source: Source) -> Entries | None:
    link = bytes(elf.section_bytes(source.file, ".gnu_debugaltlink"))
    is_supplement, name, identity = _debug_sup(source.file)
    if link:
        name, _, identity = link.partition(b"\0")
    if is_supplement or not name:
        return None
    folder = os.path.dirname(os.path.abspath(source.path))
    by_id = f"/usr/lib/debug/.build-id/{identity[:1].hex()}/{identity[1:].hex()}.debug"
    for path in (os.path.join(folder, os.fsdecode(name)), by_id):
        if other := opened(path):
            marked, _, own = _debug_sup(other.file)
            if identity.hex() != (own.hex() if marked else elf.build_id(other.file)):
                raise WitnessError(f"{source.path}: {path} is not the file that dwz made with it")
            return Entries(other.file, path)
    raise WitnessError(f"{source.path}: supplementary file {os.fsdecode(name)} (dwz) not found")


# DWARF 5, 7.3.6: version, whether this is the supplementary file, its name, and a checksum.
def _debug_sup(file: elf.Elf) -> tuple[bool, bytes, bytes]:
    data = bytes(elf.section_bytes(file, ".debug_sup"))
    name, _, rest = data[3:].partition(b"\0")
    return bool(data[2:3].strip(b"\0")), name, rest[form.uleb(rest, 0)[1] :] if rest else b""


def _named(entries: Entries, name: str, abi: Abi, look: Look) -> Iterator[Layout]:
    for found in entries.named(name):
        seen, _, _ = _resolved(entries, found)
        if seen and seen.tag in STRUCTS and not seen.get(form.DECLARATION):
            yield from _layouts(entries, seen, name, abi, look)


# A struct, and the structs in it that are looked into.
def _layouts(entries: Entries, seen: Entry, name: str, abi: Abi, look: Look) -> Iterator[Layout]:
    refuse = f"{entries.path}: struct {name}: "
    rows = _rows(entries, seen, 0, 0, refuse, look.paths)
    size, alignment = seen.get(form.BYTE_SIZE) or 0, seen.get(form.ALIGNMENT)
    yield witnessed(refuse, name, abi.name, size, alignment, rows)
    for member in entries.children(seen) if look.structs else ():
        inner = look.structs.get(entries.name(member)) if member.tag == form.MEMBER else None
        target = _resolved(entries, entries.type_of(member))[0] if inner else None
        if inner and target and target.tag in STRUCTS:
            path = f"{name}.{entries.name(member)}"
            yield from _layouts(entries, target, path, abi, inner)


def read(
    source: Source,
    memory: tuple[int, int] | None = None,
    sections: Mapping[str, int] = MappingProxyType({}),
) -> "drgn.Program":
    """Give the file to drgn (WitnessError: no drgn, or nothing that it can read).

    For the lines of code drgn is told the file's range in ``memory``, and of a relocatable file the
    address of each of its ``sections``.
    """
    try:
        import drgn
    except ImportError:
        raise WitnessError(f"{source.path}: {EXTRA}") from None
    log: list[str] = []
    program = drgn.Program()
    # Program.load_debug_info() silently skips a file without a build-id; a module that is forced to
    # use the file does not.
    module: drgn.Module
    try:
        if memory:
            # Also of a linked file: any other module would be moved to where the range begins.
            module = program.relocatable_module(source.path, memory[0], create=True)
            module.section_addresses.update(sections)
            module.address_range = memory
        else:
            module = program.extra_module(source.path, create=True)
        with _log_of_drgn(log), _file(source) as file:
            module.try_file(source.path, fd=os.dup(file.fileno()), force=True)
    except Exception as error:
        raise WitnessError(f"{source.path}: drgn: {spaced(error)}") from None
    if module.wants_debug_file():
        why = f": {log[0]}" if log else ""
        raise WitnessError(f"{source.path}: drgn finds no DWARF in it that it can read{why}")
    return program


# drgn logs what it skips. These lines are kept, and not passed on.
@contextmanager
def _log_of_drgn(lines: list[str]) -> Iterator[None]:
    import logging

    def keep(record: logging.LogRecord) -> bool:
        lines.append(record.getMessage())
        return False

    logger = logging.getLogger("drgn")
    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)


# The bytes as an open file: the source itself, or its inflated contents.
@contextmanager
def _file(source: Source) -> Iterator[IO[bytes]]:
    if not source.compressed:
        with open(source.path, "rb") as file:
            yield file
        return
    import tempfile

    with tempfile.TemporaryFile() as file:
        file.write(source.file.data)
        file.flush()
        yield file


# The members of a struct that begins at byte `start`, with those of anonymous structs and of base
# classes.
def _rows(
    entries: Entries,
    seen: Entry,
    start: int,
    depth: int,
    refuse: str,
    paths: frozenset[str],
    path: str = "",
) -> Iterator[Field]:
    for count, member in enumerate(entries.children(seen)):
        if count > MEMBERS_MAX or depth > DEPTH_MAX:
            raise WitnessError(f"{refuse}it has more than {MEMBERS_MAX} members")
        if member.tag == form.VARIANT_PART:
            raise WitnessError(f"{refuse}it has variants; {NOT_BUILT}")
        inherited = member.tag == form.INHERITANCE
        if member.tag != form.MEMBER and not inherited:
            continue
        if member.get(form.EXTERNAL) or member.get(form.DECLARATION):
            continue  # a static member of C++ is not in the struct
        name = entries.name(member)
        label = f"{path}{name}"
        if seen.tag == form.UNION and label not in paths:
            continue
        offset = start + _offset(member, name, refuse)
        inner, _, _ = _resolved(entries, entries.type_of(member))
        if name and label in paths and inner and inner.tag in (*STRUCTS, form.UNION):
            yield from _rows(entries, inner, offset, depth + 1, refuse, paths, f"{label}.")
            continue
        if name:
            yield _row(entries, member, offset, label, refuse)
            continue
        if inner is None or inner.tag not in STRUCTS:
            what = f"the member at byte {offset} is an anonymous union"
            raise WitnessError(f"{refuse}{what}; {NOT_BUILT}")
        yield from _rows(entries, inner, offset, depth + 1, refuse, paths, path)


def _offset(member: Entry, name: str, refuse: str) -> int:
    bits = member.get(form.DATA_BIT_OFFSET) or 0
    sized = (form.BIT_SIZE, form.BIT_OFFSET)
    if bits % BITS or any(member.get(attribute) is not None for attribute in sized):
        raise WitnessError(f"{refuse}member {name} is a bitfield; {NOT_BUILT}")
    place = member.get(form.LOCATION)
    if place is None:
        return int(bits) // BITS
    if isinstance(place, int):
        return place
    if not place or place[0] != PLUS_UCONST:
        raise WitnessError(f"{refuse}where member {name or 'of a base class'} is, is computed")
    return form.uleb(place, 1)[0]


# Follow typedefs, qualifiers and array dimensions to the type behind them. Returns that type (None
# is void), the outermost typedef's name ("" if there is none) and the number of elements.
def _resolved(entries: Entries, seen: Entry | None) -> tuple[Entry | None, str, int]:
    typedef, count = "", 1
    for _ in range(HOPS_MAX):
        if seen is None:
            return None, typedef, count
        if seen.tag == form.TYPEDEF:
            typedef = typedef or entries.name(seen)
        elif seen.tag == form.ARRAY and not seen.get(form.GNU_VECTOR):
            typedef, count = "", min(count * _elements(entries, seen), COUNT_MAX + 1)
        elif seen.tag not in QUALIFIERS:
            return seen, typedef, count
        seen = entries.type_of(seen)
    raise WitnessError(f"{entries.path}: its DWARF has a chain of types that does not end")


def _elements(entries: Entries, array: Entry) -> int:
    count = 1
    for dimension in entries.children(array):
        if dimension.tag == form.SUBRANGE:
            bound, whole = dimension.get(form.UPPER_BOUND), dimension.get(form.COUNT)
            bound = -1 if bound in ((1 << 32) - 1, (1 << 64) - 1) else bound
            known = whole if isinstance(whole, int) else bound + 1 if isinstance(bound, int) else 0
            count = min(count * max(known, 0), COUNT_MAX + 1)
    return count


def _row(entries: Entries, member: Entry, offset: int, name: str, refuse: str) -> Field:
    seen, typedef, count = _resolved(entries, entries.type_of(member))
    if seen and entries.entry(seen.unit, seen.unit.first).get(form.LANGUAGE) == RUST:
        seen = _transparent(entries, seen)
    if count > COUNT_MAX:
        raise WitnessError(f"{refuse}member {name} has {count} elements")
    size = seen.get(form.BYTE_SIZE) if seen else None
    if seen and seen.tag == form.ARRAY and size is None:  # a vector is no number
        element = _resolved(entries, entries.type_of(seen))[0]
        size = (element.get(form.BYTE_SIZE) or 0) * _elements(entries, seen) if element else None
    if seen and seen.tag in POINTERS:
        size = seen.unit.address if size is None else size
    if seen is None or not isinstance(size, int):
        raise WitnessError(f"{refuse}member {name} is of a type that has no size")
    kind, signed = _kind(entries, member, seen)
    scalar = Scalar(typedef or entries.name(seen), size, signed, kind=kind)
    return Field(offset, name, scalar, count)


# Rust lays a struct of one member out as that member: AtomicU64 is a cell of a cell of an integer.
def _transparent(entries: Entries, seen: Entry) -> Entry:
    for _ in range(DEPTH_MAX):
        inner = [one for one in entries.children(seen) if one.tag == form.MEMBER]
        if seen.tag not in STRUCTS or len(inner) != 1:
            break
        found, _, count = _resolved(entries, entries.type_of(inner[0]))
        if not found or count != 1 or found.get(form.BYTE_SIZE) != seen.get(form.BYTE_SIZE):
            break
        seen = found
    return seen


def _kind(entries: Entries, member: Entry, seen: Entry) -> tuple[str, bool | None]:
    if seen.tag in POINTERS:
        return model.POINTER, None
    if seen.tag in STRUCTS:
        return model.STRUCT, None
    if seen.tag not in (form.BASE, form.ENUMERATION):
        return (model.UNION if seen.tag == form.UNION else model.OTHER), None
    encoding = seen.get(form.ENCODING)
    if encoding in FLOATS:
        return model.FLOATING, None
    orders = (seen.get(form.ENDIANITY), member.get(form.ENDIANITY))
    big = BIG in orders or (entries.byteorder == "big" and LITTLE not in orders)
    signed = encoding in SIGNED
    if seen.tag == form.ENUMERATION and encoding is None:
        # clang names the integer type; with older compilers the values decide.
        integer, _, _ = _resolved(entries, entries.type_of(seen))
        values = (one.get(form.CONST_VALUE) for one in entries.children(seen))
        negative = any(isinstance(value, int) and value < 0 for value in values)
        signed = integer.get(form.ENCODING) in SIGNED if integer else negative
    return (model.BIG_ENDIAN if big else model.INTEGER), signed
