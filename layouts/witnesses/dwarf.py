"""The witness of a compiler's full debug info: what DWARF says about a struct, read by drgn.

A vmlinux, a kvm.ko or another relocatable object, xen-syms, a user's own .o: DWARF 4 and 5, split
or not. drgn gives one definition of a name, the first it meets, and no alignment.

Law of this file: drgn is an extra, imported here and nowhere at load. What it says in its log is
part of its answer: a name that is missing beside a .dwo file that is missing is an error.
"""

import mmap
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, NamedTuple

from runstate_abi.layouts.abi import Abi
from runstate_abi.layouts.model import (
    BIG_ENDIAN,
    FLOATING,
    INTEGER,
    POINTER,
    STRUCT,
    UNION,
    Field,
    Layout,
    LayoutError,
    Layouts,
    Scalar,
    WitnessError,
    tiled,
)
from runstate_abi.layouts.witnesses import elf
from runstate_abi.layouts.witnesses.inflate import compression, inflate

if TYPE_CHECKING:
    import drgn

EXTRA = "its DWARF needs drgn: pip install 'runstate-abi[dwarf]'"
SECTIONS = (".debug_info", ".zdebug_info")

# Bounds that no honest file comes near.
DEPTH_MAX = 8  # anonymous struct in anonymous struct
COUNT_MAX = 1 << 32
BITS = 8


class Source(NamedTuple):
    """A file with DWARF: ``data`` has been inflated where ``compressed`` says so."""

    path: str
    file: elf.Elf
    compressed: str


def opened(path: str) -> Source | None:
    """Return the file if it is an ELF file that holds DWARF, compressed or not (WitnessError)."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
        with open(path, "rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError):
        return None
    how = compression(data)
    if how is not None:
        data = memoryview(inflate(data, how, path))
    if bytes(data[: len(elf.MAGIC)]) != elf.MAGIC:
        return None
    source = Source(path, elf.parse(data, path), how.name if how else "")
    return source if any(_has_bytes(source.file, name) for name in SECTIONS) else None


# A file that separated its debug info has the section's header and none of its bytes.
def _has_bytes(file: elf.Elf, name: str) -> bool:
    try:
        return bool(file.section(name))
    except WitnessError:
        return True  # it is compressed, which is drgn's business


def description(source: Source) -> str:
    """Return what the file is, for a person: ``kernel module (ELF64 x86-64, xz)``."""
    is_module = source.file.type == elf.ET_REL and source.file.has(".modinfo")
    kind = "kernel module" if is_module else "ELF file"
    details = ", ".join(filter(None, (source.file.description, source.compressed)))
    return f"{kind} ({details})"


def identity(source: Source) -> str:
    """Return ``build-id ...`` or, where there is none, ``sha256 ...`` of the file on disk."""
    build_id = elf.build_id(source.file)
    if build_id:
        return f"build-id {build_id}"
    import hashlib

    with open(source.path, "rb") as file:
        return f"sha256 {hashlib.file_digest(file, 'sha256').hexdigest()}"


class Dwarf(NamedTuple):
    """A file that drgn has taken; ``log`` is what it passed over, one line each."""

    path: str
    program: "drgn.Program"
    log: list[str]


def observe(dwarf: Dwarf, names: Sequence[str], abi: Abi) -> Layouts:
    """Return what the DWARF of a file says of each ``struct name``; a typedef's name will do.

    Raises WitnessError for DWARF that drgn cannot read, for split DWARF whose .dwo file is
    missing, and for a struct with bitfields or unions.
    """
    found: list[Layout] = []
    missing: list[str] = []
    with _log_of_drgn(dwarf.log):
        for name in names:
            try:
                seen = _definition(dwarf, name)
                found += [_layout(seen, name, abi, dwarf.path)] if seen else []
                missing += [] if seen else [name]
            except WitnessError:
                raise
            except Exception as error:
                # drgn reads a type when it is looked at, and has many ways to say it is broken.
                raise WitnessError(f"{dwarf.path}: drgn: {_one_line(error)}") from None
    absent = [line for line in dwarf.log if "split DWARF" in line]
    if missing and absent:
        raise WitnessError(f"{dwarf.path}: {_without_path(absent[0], dwarf.path)}")
    return Layouts("dwarf", dwarf.path, tuple(found), tuple(missing))


def _without_path(line: str, path: str) -> str:
    return line.removeprefix(f"{os.path.realpath(path)}: ").removeprefix(f"{path}: ")


# drgn says on Python's log what it passes over; here it is kept, and goes no further.
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


def read(source: Source) -> Dwarf:
    """Hand the file to drgn (WitnessError: no drgn, or nothing that it can read)."""
    try:
        import drgn
    except ImportError:
        raise WitnessError(f"{source.path}: {EXTRA}") from None
    log: list[str] = []
    program = drgn.Program()
    # Program.load_debug_info() passes over a file without a build-id in silence; a module of our
    # own that is made to take the file does not.
    module = program.extra_module(source.path, create=True)
    try:
        with _log_of_drgn(log), _file(source) as file:
            module.try_file(source.path, fd=os.dup(file.fileno()), force=True)
    except Exception as error:
        raise WitnessError(f"{source.path}: drgn: {_one_line(error)}") from None
    if module.wants_debug_file():
        why = f": {log[0]}" if log else ""
        raise WitnessError(f"{source.path}: drgn finds no DWARF in it that it can read{why}")
    return Dwarf(source.path, program, log)


# The bytes as an open file: the source itself, or what it inflates to.
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


def _definition(dwarf: Dwarf, name: str) -> "drgn.Type | None":
    import drgn

    for spelling in (f"struct {name}", name):
        try:
            seen = dwarf.program.type(spelling)
        except (LookupError, SyntaxError):
            continue
        while seen.kind == drgn.TypeKind.TYPEDEF:
            seen = seen.type
        # A declaration without members is no definition.
        if seen.kind == drgn.TypeKind.STRUCT and seen.is_complete():
            return seen
    return None


def _layout(seen: "drgn.Type", name: str, abi: Abi, path: str) -> Layout:
    refuse = f"{path}: struct {name}: "
    try:
        rows = [row for row in _rows(seen, 0, 0, refuse) if row.size]
        return tiled(name, abi.name, seen.size, None, rows)
    except LayoutError as error:
        raise WitnessError(f"{refuse}{error}") from None


# The members of a struct that begins at byte `start`; those of an anonymous struct are its own.
def _rows(seen: "drgn.Type", start: int, depth: int, refuse: str) -> Iterator[Field]:
    import drgn

    for member in seen.members or ():
        label = member.name or f"at bit {member.bit_offset}"
        offset, bits = divmod(member.bit_offset, BITS)
        if member.bit_field_size is not None or bits:
            raise WitnessError(f"{refuse}member {label} is a bitfield; {_NOT_BUILT}")
        if member.name:
            yield _row(start + offset, member.name, member.type, refuse)
        elif member.type.unaliased_kind() == drgn.TypeKind.STRUCT and depth < DEPTH_MAX:
            yield from _rows(member.type.unaliased(), start + offset, depth + 1, refuse)
        else:
            raise WitnessError(f"{refuse}the member {label} is an anonymous union; {_NOT_BUILT}")


_NOT_BUILT = "bitfields and unions are not to be built"


def _row(offset: int, name: str, seen: "drgn.Type", refuse: str) -> Field:
    import drgn

    count, typedef = 1, ""
    while seen.kind in (drgn.TypeKind.ARRAY, drgn.TypeKind.TYPEDEF):
        if seen.kind == drgn.TypeKind.ARRAY:
            count, typedef = count * (seen.length or 0), ""
        else:
            typedef = typedef or seen.name
        seen = seen.type
        if count > COUNT_MAX:
            raise WitnessError(f"{refuse}member {name} has {count} elements")
    signed = None
    if seen.kind in (drgn.TypeKind.INT, drgn.TypeKind.BOOL, drgn.TypeKind.ENUM):
        integer = seen.type if seen.kind == drgn.TypeKind.ENUM else seen
        signed = integer.is_signed if integer.kind == drgn.TypeKind.INT else False
    try:
        size = drgn.sizeof(seen)
    except TypeError as error:
        raise WitnessError(f"{refuse}member {name}: {_one_line(error)}") from None
    scalar = Scalar(typedef or seen.type_name(), size, signed, kind=_kind(seen))
    return Field(offset, name, scalar, count)


def _kind(seen: "drgn.Type") -> str:
    import drgn

    if signed_kind := {
        drgn.TypeKind.FLOAT: FLOATING,
        drgn.TypeKind.POINTER: POINTER,
        drgn.TypeKind.STRUCT: STRUCT,
        drgn.TypeKind.CLASS: STRUCT,
        drgn.TypeKind.UNION: UNION,
    }.get(seen.kind):
        return signed_kind
    integer = seen.type if seen.kind == drgn.TypeKind.ENUM else seen
    return INTEGER if integer.byteorder == "little" else BIG_ENDIAN


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
