"""The same questions as c_types.py's, answered by DWARF: for files that have no BTF.

Law of this file: drgn, an extra, reads the DWARF, and is imported by layouts/witnesses/dwarf.py
where a file is opened. Nothing here knows a particular struct.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstate_abi.layouts.abi import X86_64
from runstate_abi.layouts.model import Layouts, WitnessError
from runstate_abi.layouts.witnesses import dwarf
from runstate_abi.writer.witnesses.c_types import Member, Type

if TYPE_CHECKING:
    import drgn

BITS = 8
DEPTH_MAX = 8


@dataclass(frozen=True, slots=True)
class DwarfType:
    """A type as DWARF tells it, without typedefs and qualifiers."""

    source: str
    type: "drgn.Type"

    @property
    def name(self) -> str:
        """The name of a struct, "" if it has none."""
        return getattr(self.type, "tag", None) or ""

    @property
    def size(self) -> int:
        """Size in bytes of a struct, a union or a number."""
        return self.type.size or 0 if hasattr(self.type, "size") else 0

    def pointed(self) -> "DwarfType":
        """Return what a pointer points to (WitnessError if it is none)."""
        import drgn

        if self.type.kind != drgn.TypeKind.POINTER:
            raise WitnessError(f"{self.source}: {self.type.type_name()} is no pointer")
        return DwarfType(self.source, self.type.type.unaliased())

    def find(self, path: str) -> Member | None:
        """Return the member at ``arch.xen.long_mode``, None if there is none."""
        offset, here = 0, self.type
        for name in path.split("."):
            try:
                member = here.member(name)
            except (LookupError, TypeError):
                return None
            offset, here = offset + member.bit_offset // BITS, member.type.unaliased()
        return Member(offset, DwarfType(self.source, here))

    def paths_at(self, offset: int, depth: int = 0) -> Iterator[str]:
        """Yield the path of each innermost member that begins ``offset`` bytes into a struct."""
        for member in getattr(self.type, "members", None) or ():
            inner = DwarfType(self.source, member.type.unaliased())
            start, name = member.bit_offset // BITS, member.name or ""
            if depth > DEPTH_MAX or not start <= offset < start + max(inner.size, 1):
                continue
            below = list(inner.paths_at(offset - start, depth + 1))
            here = [name] if name and start == offset else []
            yield from [f"{name}.{path}" if name else path for path in below] or here


@dataclass(frozen=True, slots=True)
class DwarfTypes:
    """A file with DWARF, opened. drgn gives one definition of a name, the first it meets."""

    file: dwarf.Source
    program: "drgn.Program"
    kind: str = "DWARF"

    @property
    def source(self) -> str:
        """The file that the DWARF is in."""
        return self.file.path

    def parameters(self, function: str) -> dict[str, Type] | None:
        """Return the parameters of a function by name, in order; None if it is not known.

        A declaration of another file's function has parameters without names: not known.
        """
        try:
            seen = self.program.function(function).type_.parameters
        except Exception:
            # drgn has an exception for each way in which a name, or the DWARF, can be wrong.
            return None
        if any(not one.name for one in seen):
            return None
        return {one.name: DwarfType(self.source, one.type.unaliased()) for one in seen}

    def structs(self, name: str) -> Iterator[Type]:
        """Yield the struct of this name, if there is one."""
        try:
            yield DwarfType(self.source, self.program.type(f"struct {name}"))
        except LookupError:
            return

    def layouts(self, names: Sequence[str]) -> Layouts:
        """Return what it says of the structs of these names (WitnessError)."""
        return dwarf.observe(self.file, names, X86_64)


def open_dwarf(path: str) -> DwarfTypes | None:
    """Return the DWARF of a file, None if it has none (WitnessError if it cannot be read)."""
    source = dwarf.opened(path)
    return DwarfTypes(source, dwarf.read(source)) if source else None
