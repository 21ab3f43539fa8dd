"""What C code passes around: parameters of functions by name, members of structs by path.

A struct's name is not unique in a kernel's debug info, so nothing is looked up by that name: the
way begins at a function's own prototype and follows the types from there.

Law of this file: it reads BTF and knows nothing about any particular struct. What is not there is
an error that names it, or None where the caller asks whether it is there.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.witnesses import btf_header as form
from runstate_abi.layouts.witnesses.btf import Btf
from runstate_abi.layouts.witnesses.btf_blob import Record

HOPS_MAX = 32  # typedef of const of typedef ...
DEPTH_MAX = 8  # anonymous struct in anonymous union ...
MEMBERS_MAX = 4096
OFFSET = 0xFFFFFF  # of btf_member.offset where a high byte is the width of a bitfield

_THROUGH = (form.TYPEDEF, form.CONST, form.VOLATILE, form.RESTRICT, form.TYPE_TAG)


@dataclass(frozen=True, slots=True)
class Member:
    """A member that a path leads to: its offset in bytes from where the path began, its type."""

    offset: int
    type: "Type"


@dataclass(frozen=True, slots=True)
class Type:
    """A type without its typedefs and qualifiers."""

    btf: Btf
    record: Record

    @property
    def size(self) -> int:
        """Size in bytes of a struct, a union or a number."""
        return self.record.size

    def pointed(self) -> "Type":
        """Return what a pointer points to (WitnessError if it is none)."""
        if self.record.kind != form.PTR:
            raise WitnessError(f"{self.btf.source}: BTF type {self.record.id} is no pointer")
        return _type(self.btf, self.record.size)

    def member(self, path: str) -> Member:
        """Return the member at ``arch.xen.long_mode`` (WitnessError naming what is missing)."""
        found = self.find(path)
        if found is None:
            name = self.record.name or "{...}"
            raise WitnessError(f"{self.btf.source}: struct {name} has no member {path}")
        return found

    def find(self, path: str) -> Member | None:
        """Return the member at ``arch.xen.long_mode``, None if there is none."""
        offset, type_ = 0, self
        for name in path.split("."):
            found = type_._own(name, 0)
            if found is None:
                return None
            offset, type_ = offset + found.offset, found.type
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

    def _own(self, name: str, depth: int) -> Member | None:
        if depth > DEPTH_MAX or self.record.kind not in (form.STRUCT, form.UNION):
            return None
        for own, start, type_id in self._members():
            if own == name:
                return Member(start, _type(self.btf, type_id))
            if not own:
                found = _type(self.btf, type_id)._own(name, depth + 1)
                if found:
                    return Member(start + found.offset, found.type)
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


def parameters(btf: Btf, function: str) -> dict[str, Type] | None:
    """Return the parameters of a function by name, in order; None if BTF has no such function.

    WitnessError if it has two that disagree.
    """
    found: dict[tuple[str, ...], dict[str, Type]] = {}
    blob: Btf | None = btf
    while blob:
        for record in blob.named(function):
            if record.kind == form.FUNC:
                named = dict(_parameters(btf, record.size))
                found[tuple(named)] = named
        blob = blob.base
    if len(found) > 1:
        raise WitnessError(f"{btf.source}: {len(found)} functions are called {function}")
    return next(iter(found.values()), None)


def structs(btf: Btf, name: str) -> Iterator[Type]:
    """Yield every struct of this name, a module's own before the kernel's."""
    blob: Btf | None = btf
    while blob:
        for record in blob.named(name):
            if record.kind == form.STRUCT:
                yield Type(btf, record)
        blob = blob.base


def _parameters(btf: Btf, prototype: int) -> Iterator[tuple[str, Type]]:
    record = btf.record(prototype)
    if record.kind != form.FUNC_PROTO:
        raise WitnessError(f"{btf.source}: BTF type {prototype} is no function prototype")
    for at in range(0, len(record.parts), 2):
        name, type_id = record.parts[at : at + 2]
        if type_id:
            yield record.blob.string(name), _type(btf, type_id)


def _type(btf: Btf, type_id: int) -> Type:
    for _ in range(HOPS_MAX):
        record = btf.record(type_id)
        if record.kind not in _THROUGH:
            return Type(btf, record)
        type_id = record.size
    raise WitnessError(f"{btf.source}: BTF type {type_id}: its chain of types does not end")
