"""The types in C code: parameters of functions by name, members of structs by path.

They come from debug info: BTF, or DWARF for files without BTF. A struct's name is not unique in a
kernel's debug info. So a lookup begins at a function's own prototype and follows the types from
there. The reader of DWARF (drgn, an extra) is imported only if a file's DWARF is opened.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from runstate_abi.layouts.abi import PAGE_SIZE, X86_64
from runstate_abi.layouts.model import Layouts, WitnessError
from runstate_abi.layouts.witnesses import btf as btf_structs
from runstate_abi.layouts.witnesses import btf_header as form
from runstate_abi.layouts.witnesses.btf import Btf
from runstate_abi.layouts.witnesses.btf_blob import Record

if TYPE_CHECKING:
    import drgn

    from runstate_abi.layouts.witnesses.dwarf import Source

HOPS_MAX = 32  # typedef of const of typedef ...
DEPTH_MAX = 8  # anonymous struct in anonymous union ...
MEMBERS_MAX = 4096
OFFSET = 0xFFFFFF  # of btf_member.offset where a high byte is the width of a bitfield
BITS = 8
STRUCT_MAX = 0x80_0000  # struct kvm has 40 KiB, struct kvm_vcpu 10

_THROUGH = (form.TYPEDEF, form.CONST, form.VOLATILE, form.RESTRICT, form.TYPE_TAG)


class Type(NamedTuple):
    """A type without its typedefs and qualifiers."""

    source: str
    name: str
    size: int  # in bytes, of a struct, a union or a number
    # the type that a pointer points to (WitnessError if this is no pointer)
    pointed: Callable[[], "Type"]
    # Yields (name, offset in bytes, function that returns the type) of each member that begins at a
    # byte; none if this is no struct or union. An anonymous member has the name "".
    members: Callable[[], Iterator[tuple[str, int, Callable[[], "Type"]]]]

    def find(self, path: str) -> "Member | None":
        """Return the member at ``arch.xen.long_mode``, None if there is none."""
        found = Member(0, self)
        for name in path.split("."):
            inner = found.type._own(name, 0)
            if inner is None:
                return None
            found = Member(found.offset + inner.offset, inner.type)
        return found

    def _own(self, name: str, depth: int) -> "Member | None":
        for own, start, type_ in self.members() if depth <= DEPTH_MAX else ():
            if own == name:
                return Member(start, type_())
            if not own and (found := type_()._own(name, depth + 1)):
                return Member(start + found.offset, found.type)
        return None

    def paths_at(self, offset: int, depth: int = 0) -> Iterator[str]:
        """Yield the path of each innermost member that begins ``offset`` bytes into a struct."""
        for name, start, type_ in self.members() if depth <= DEPTH_MAX else ():
            inner = type_()
            if not start <= offset < start + max(inner.size, 1):
                continue
            below = list(inner.paths_at(offset - start, depth + 1))
            here = [name] if name and start == offset else []
            yield from [f"{name}.{path}" if name else path for path in below] or here


class Member(NamedTuple):
    """A member found by a path: its offset in bytes from where the path began, its type."""

    offset: int
    type: Type


def member(type_: Type, path: str) -> Member:
    """Return the member at ``arch.xen.long_mode`` (WitnessError names the missing one)."""
    found = type_.find(path)
    if found is None:
        name = type_.name or "{...}"
        raise WitnessError(f"{type_.source}: cannot judge: struct {name} has no member {path}")
    return found


class Entry(NamedTuple):
    """The function that writes the area."""

    name: str
    address: int
    size: int
    vcpu: Type
    accounts: bool  # it takes the state and accounts time first


def zeroed(type_: Type) -> bytearray:
    """Return memory for a struct, all zero, in whole pages (WitnessError: implausible size)."""
    if not 0 < type_.size <= STRUCT_MAX:
        raise WitnessError(f"{type_.source}: struct {type_.name} of {type_.size} bytes")
    return bytearray(-(-type_.size // PAGE_SIZE) * PAGE_SIZE)


@dataclass(frozen=True, slots=True)
class BtfTypes:
    """A module's BTF on top of its kernel's, or one BTF alone."""

    btf: Btf
    kind: str = "BTF"

    @property
    def source(self) -> str:
        return self.btf.source

    def parameters(self, function: str) -> dict[str, Type] | None:
        """Return the parameters of a function by name, in order; None if it is not known.

        WitnessError if there are two definitions that disagree.
        """
        found: dict[tuple[str, ...], dict[str, Type]] = {}
        for record in self._named(function, form.FUNC):
            named = dict(_parameters(self.btf, record.size))
            found[tuple(named)] = named
        if len(found) > 1:
            raise WitnessError(f"{self.source}: {len(found)} functions are called {function}")
        return next(iter(found.values()), None)

    def structs(self, name: str) -> Iterator[Type]:
        """Yield every struct of this name, a module's own before the kernel's."""
        yield from (_btf_type(self.btf, record.id) for record in self._named(name, form.STRUCT))

    def layouts(self, names: Sequence[str]) -> Layouts:
        return btf_structs.observe(self.btf, names, X86_64)

    def _named(self, name: str, kind: int) -> Iterator[Record]:
        blob: Btf | None = self.btf
        while blob:
            yield from (record for record in blob.named(name) if record.kind == kind)
            blob = blob.base


def _parameters(btf: Btf, prototype: int) -> Iterator[tuple[str, Type]]:
    record = btf.record(prototype)
    if record.kind != form.FUNC_PROTO:
        raise WitnessError(f"{btf.source}: BTF type {prototype} is no function prototype")
    for at in range(0, len(record.parts), 2):
        name, type_id = record.parts[at : at + 2]
        if type_id:
            yield record.blob.string(name), _btf_type(btf, type_id)


def _btf_type(btf: Btf, type_id: int) -> Type:
    for _ in range(HOPS_MAX):
        record = btf.record(type_id)
        if record.kind not in _THROUGH:
            pointed = partial(_btf_pointed, btf, record)
            members = partial(_btf_members, btf, record)
            return Type(btf.source, record.name, record.size, pointed, members)
        type_id = record.size
    raise WitnessError(f"{btf.source}: BTF type {type_id}: its chain of types does not end")


def _btf_pointed(btf: Btf, record: Record) -> Type:
    if record.kind != form.PTR:
        raise WitnessError(f"{btf.source}: BTF type {record.id} is no pointer")
    return _btf_type(btf, record.size)


def _btf_members(btf: Btf, record: Record) -> Iterator[tuple[str, int, Callable[[], Type]]]:
    if record.kind not in (form.STRUCT, form.UNION):
        return
    if record.vlen > MEMBERS_MAX:
        raise WitnessError(f"{btf.source}: struct {record.name} has {record.vlen} members")
    for at in range(0, len(record.parts), 3):
        name, type_id, bits = record.parts[at : at + 3]
        bits = bits & OFFSET if record.flag else bits
        if bits % BITS == 0:
            yield record.blob.string(name), bits // BITS, partial(_btf_type, btf, type_id)


@dataclass(frozen=True, slots=True)
class DwarfTypes:
    """A file with DWARF, opened. drgn gives one definition of a name, the first it finds."""

    file: "Source"
    program: "drgn.Program"
    kind: str = "DWARF"

    @property
    def source(self) -> str:
        return self.file.path

    def parameters(self, function: str) -> dict[str, Type] | None:
        """Return the parameters of a function by name, in order; None if it is not known.

        A declaration of another file's function has parameters without names: not known.
        """
        try:
            seen = self.program.function(function).type_.parameters
        except Exception:
            # drgn has many exceptions for a wrong name or wrong DWARF.
            return None
        if any(not one.name for one in seen):
            return None
        return {one.name: _dwarf_type(self.source, one.type) for one in seen}

    def structs(self, name: str) -> Iterator[Type]:
        try:
            yield _dwarf_type(self.source, self.program.type(f"struct {name}"))
        except LookupError:
            return

    def layouts(self, names: Sequence[str]) -> Layouts:
        from runstate_abi.layouts.witnesses import dwarf

        return dwarf.observe(self.file, names, X86_64)


Types = BtfTypes | DwarfTypes


def open_dwarf(path: str) -> DwarfTypes | None:
    """Return the DWARF of a file, None if it has none (WitnessError if it cannot be read)."""
    from runstate_abi.layouts.witnesses import dwarf

    source = dwarf.opened(path)
    return DwarfTypes(source, dwarf.read(source)) if source else None


def _dwarf_type(source: str, seen: "drgn.Type") -> Type:
    type_ = seen.unaliased()
    name, size = getattr(type_, "tag", None) or "", getattr(type_, "size", None) or 0
    pointed = partial(_dwarf_pointed, source, type_)
    return Type(source, name, size, pointed, partial(_dwarf_members, source, type_))


def _dwarf_pointed(source: str, type_: "drgn.Type") -> Type:
    import drgn

    if type_.kind != drgn.TypeKind.POINTER:
        raise WitnessError(f"{source}: {type_.type_name()} is no pointer")
    return _dwarf_type(source, type_.type)


def _dwarf_members(
    source: str, type_: "drgn.Type"
) -> Iterator[tuple[str, int, Callable[[], Type]]]:
    for one in getattr(type_, "members", None) or ():
        yield one.name or "", one.bit_offset // BITS, partial(_dwarf_type, source, one.type)
