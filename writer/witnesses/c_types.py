"""What C code passes around: parameters of functions by name, members of structs by path.

A struct's name is not unique in a kernel's debug info, so nothing is looked up by that name: the
way begins at a function's own prototype and follows the types from there.

Law of this file: it knows nothing about any particular struct. What is not there is
an error that names it, or None where the caller asks whether it is there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from runstate_abi.layouts.abi import X86_64
from runstate_abi.layouts.model import Layouts, WitnessError
from runstate_abi.layouts.witnesses import btf_header as form
from runstate_abi.layouts.witnesses.btf import Btf, observe
from runstate_abi.layouts.witnesses.btf_blob import Record

HOPS_MAX = 32  # typedef of const of typedef ...
DEPTH_MAX = 8  # anonymous struct in anonymous union ...
MEMBERS_MAX = 4096
OFFSET = 0xFFFFFF  # of btf_member.offset where a high byte is the width of a bitfield

_THROUGH = (form.TYPEDEF, form.CONST, form.VOLATILE, form.RESTRICT, form.TYPE_TAG)


class Type(Protocol):
    """A type without its typedefs and qualifiers, whoever tells."""

    @property
    def source(self) -> str:
        """Where it is told."""

    @property
    def name(self) -> str:
        """The name of a struct, "" if it has none."""

    @property
    def size(self) -> int:
        """Size in bytes of a struct, a union or a number."""

    def pointed(self) -> "Type":
        """Return what a pointer points to (WitnessError if it is none)."""

    def find(self, path: str) -> "Member | None":
        """Return the member at ``arch.xen.long_mode``, None if there is none."""

    def paths_at(self, offset: int) -> Iterator[str]:
        """Yield the path of each innermost member that begins ``offset`` bytes into a struct."""


class Member(NamedTuple):
    """A member that a path leads to: its offset in bytes from where the path began, its type."""

    offset: int
    type: Type


class Types(Protocol):
    """The debug info of a kernel: what its functions take, and what its structs hold."""

    @property
    def source(self) -> str:
        """The file that it is from."""

    @property
    def kind(self) -> str:
        """``BTF``, for a person."""

    def parameters(self, function: str) -> dict[str, Type] | None:
        """Return the parameters of a function by name, in order; None if it is not known."""

    def structs(self, name: str) -> Iterator[Type]:
        """Yield every ``struct name``."""

    def layouts(self, names: Sequence[str]) -> Layouts:
        """Return what it says of the structs of these names (WitnessError)."""


def member(type_: Type, path: str) -> Member:
    """Return the member at ``arch.xen.long_mode`` (WitnessError naming what is missing)."""
    found = type_.find(path)
    if found is None:
        name = type_.name or "{...}"
        raise WitnessError(f"{type_.source}: cannot judge: struct {name} has no member {path}")
    return found


@dataclass(frozen=True, slots=True)
class BtfType:
    """A type as BTF tells it."""

    btf: Btf
    record: Record

    @property
    def source(self) -> str:
        """The file that the BTF is from."""
        return self.btf.source

    @property
    def name(self) -> str:
        """The name of a struct, "" if it has none."""
        return self.record.name

    @property
    def size(self) -> int:
        """Size in bytes of a struct, a union or a number."""
        return self.record.size

    def pointed(self) -> "BtfType":
        """Return what a pointer points to (WitnessError if it is none)."""
        if self.record.kind != form.PTR:
            raise WitnessError(f"{self.btf.source}: BTF type {self.record.id} is no pointer")
        return _type(self.btf, self.record.size)

    def find(self, path: str) -> Member | None:
        """Return the member at ``arch.xen.long_mode``, None if there is none."""
        offset, type_ = 0, self
        for name in path.split("."):
            found = type_._own(name, 0)
            if found is None:
                return None
            offset, type_ = offset + found[0], found[1]
        return Member(offset, type_)

    def paths_at(self, offset: int, depth: int = 0) -> Iterator[str]:
        """Yield the path of each innermost member that begins ``offset`` bytes into a struct."""
        if depth > DEPTH_MAX or self.record.kind not in (form.STRUCT, form.UNION):
            return
        for name, start, type_id in self._members():
            inner = _type(self.btf, type_id)
            if not start <= offset < start + max(inner.size, 1):
                continue
            below = list(inner.paths_at(offset - start, depth + 1))
            here = [name] if name and start == offset else []
            yield from [f"{name}.{path}" if name else path for path in below] or here

    def _own(self, name: str, depth: int) -> "tuple[int, BtfType] | None":
        if depth > DEPTH_MAX or self.record.kind not in (form.STRUCT, form.UNION):
            return None
        for own, start, type_id in self._members():
            if own == name:
                return start, _type(self.btf, type_id)
            if not own:
                found = _type(self.btf, type_id)._own(name, depth + 1)
                if found:
                    return start + found[0], found[1]
        return None

    # (name, offset in bytes, type id) of each member that begins at a byte.
    def _members(self) -> Iterator[tuple[str, int, int]]:
        record = self.record
        if record.vlen > MEMBERS_MAX:
            raise WitnessError(f"{self.btf.source}: struct {record.name} has {record.vlen} members")
        for at in range(0, len(record.parts), 3):
            name, type_id, bits = record.parts[at : at + 3]
            bits = bits & OFFSET if record.flag else bits
            if bits % 8 == 0:
                yield record.blob.string(name), bits // 8, type_id


@dataclass(frozen=True, slots=True)
class BtfTypes:
    """A module's BTF on top of its kernel's, or one BTF alone."""

    btf: Btf
    kind: str = "BTF"

    @property
    def source(self) -> str:
        """The file that the BTF is from."""
        return self.btf.source

    def parameters(self, function: str) -> dict[str, Type] | None:
        """Return the parameters of a function by name, in order; None if it is not known.

        WitnessError if there are two that disagree.
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
        yield from (BtfType(self.btf, record) for record in self._named(name, form.STRUCT))

    def layouts(self, names: Sequence[str]) -> Layouts:
        """Return what it says of the structs of these names (WitnessError)."""
        return observe(self.btf, names, X86_64)

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
            yield record.blob.string(name), _type(btf, type_id)


def _type(btf: Btf, type_id: int) -> BtfType:
    for _ in range(HOPS_MAX):
        record = btf.record(type_id)
        if record.kind not in _THROUGH:
            return BtfType(btf, record)
        type_id = record.size
    raise WitnessError(f"{btf.source}: BTF type {type_id}: its chain of types does not end")
