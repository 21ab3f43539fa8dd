"""What a family of structs is, and which there are: a file a family, beside this one.

runstate is the first and every verb's default. To add a family: a module with ``FAMILY`` here, one
with the two encodings in layouts/encodings/, and a row of family_names.MODULES.
"""

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import NamedTuple

from runstate_abi.layouts import model
from runstate_abi.layouts.abi import Abi, c_layout
from runstate_abi.layouts.conditions import Condition
from runstate_abi.layouts.model import Field, Layout, Member, Scalar
from runstate_abi.layouts.structs.family_names import ALL, ENCODINGS, MODULES, RUNSTATE


class Family(NamedTuple):
    """Structs that are declared, and written or read, together."""

    name: str
    title: str  # one line, for --help and headings
    # ABI -> its structs. Two of one name are two declarations in use: the bytes say which.
    claims: Mapping[str, tuple[Layout, ...]]
    # ABI -> the structs that a kernel with Xen and KVM has, in a vmlinux and its kvm.ko
    in_kernels: Mapping[str, tuple[str, ...]]
    headers: Mapping[str, str]  # struct -> the headers that declare it
    # C text, for a compiler's own opinion: every struct of ``claims``, with ``#if`` for an ABI's
    # own. It may use u8 to u64, s8 to s64, uint8_t to uint64_t and __packed, and no header.
    declarations: str
    packed: frozenset[str] = frozenset()  # structs of which __attribute__((packed)) is declared
    conditions: tuple[Condition, ...] = ()  # asserted by a kernel or a hypervisor, as there
    unasserted: tuple[Condition, ...] = ()  # what nobody asserts, in the same notation
    notes: tuple[str, ...] = ()  # traps: one sentence each, for the document
    # struct -> others that stand in its place inside another struct
    same: Mapping[str, tuple[str, ...]] = {}  # it is never changed

    @property
    def file(self) -> str:
        """The table's file, relative to the package."""
        return f"layouts/structs/{self.name}.py"

    @property
    def encodings(self) -> str:
        """The module with the two encodings."""
        return ENCODINGS[self.name]

    @property
    def structs(self) -> tuple[str, ...]:
        """The names of all its structs, each once."""
        return tuple(dict.fromkeys(x.name for layouts in self.claims.values() for x in layouts))

    def layouts(self, abi: str) -> dict[str, Layout]:
        """Return the claims on an ABI by name, of two of one name the first; none is {}."""
        found: dict[str, Layout] = {}
        for layout in self.claims.get(abi, ()):
            found.setdefault(layout.name, layout)
        return found


def family(name: str) -> Family:
    """Return a family by its name; runstate is none of these (KeyError)."""
    found: Family = import_module(MODULES[name]).FAMILY
    return found


def families(name: str) -> tuple[Family, ...]:
    """Return the families that ``--family NAME`` means, runstate left out."""
    wanted = MODULES if name == ALL else [name] if name != RUNSTATE else []
    return tuple(map(family, wanted))


def of_struct(name: str) -> Family | None:
    """Return the family of a struct, None if it is runstate's or nobody's."""
    return next((one for one in families(ALL) if name in one.structs), None)


def members(layout: Layout) -> tuple[Member, ...]:
    """Return the declared members of a layout, without their offsets."""
    return tuple(Member(row.name, row.type, row.count) for row in layout.members)


def by_c_rule(claims: Iterable[Layout], packed: frozenset[str], abi: Abi) -> list[Layout]:
    """Lay out the structs by the C rule: every row, declared padding too, from its type alone.

    Left out is what a row's type does not decide: members of a union or of a struct inside it, and
    padding that the ABI makes.
    """
    found = []
    for claim in claims:
        rows = [row for row in claim.rows if not (row.padding and row.name.startswith("pad_"))]
        if not any("." in row.name for row in rows):
            parts = [Member(row.name, row.type, row.count) for row in rows]
            made = c_layout(claim.name, parts, abi, claim.name in packed)
            found.append(made)
    return found


def struct_type(layout: Layout) -> Scalar:
    """Return the type of a member that is a struct of a family."""
    alignment = layout.alignment
    return Scalar(f"struct {layout.name}", layout.size, None, alignment, model.STRUCT)


def known_structs(abi: str) -> dict[str, tuple[Layout, ...]]:
    """Return every struct of every family on an ABI by its name, with what may stand for it."""
    every = families(ALL)
    found: dict[str, tuple[Layout, ...]] = {}
    for one in every:
        for layout in one.claims.get(abi, ()):
            found[layout.name] = (*found.get(layout.name, ()), layout)
    for name, others in ((n, o) for one in every for n, o in one.same.items() if n in found):
        found[name] += tuple(layout for other in others for layout in found.get(other, ()))
    return found


def inner_claims(
    layout: Layout, known: Mapping[str, tuple[Layout, ...]]
) -> dict[str, tuple[Layout, ...]]:
    """Return the claims of the structs in a struct by their paths: ``shared_info.wc``.

    They have no alignment of their own: the struct around them has it.
    """
    found: dict[str, tuple[Layout, ...]] = {}
    for row in layout.members:
        inner = known.get(row.type.name.removeprefix("struct "), ())
        if row.type.kind == model.STRUCT and inner:
            path = f"{layout.name}.{row.name}"
            found[path] = tuple(x._replace(name=path, alignment=None) for x in inner)
            found |= inner_claims(found[path][0], known)
    return found


def flattened(layout: Layout, structs: Mapping[str, Layout]) -> Layout:
    """Return a layout with each member that is a struct replaced by that one's rows, by path.

    ``vcpu_info[3].time.version``. A struct that is not in ``structs`` stays one row of bytes.
    """
    rows: list[Field] = []
    for row in layout.rows:
        inner = structs.get(row.type.name.removeprefix("struct "))
        if row.type.kind != model.STRUCT or inner is None:
            rows.append(row)
            continue
        whole = flattened(inner, structs)
        for number in range(row.count):
            path = row.name if row.count == 1 else f"{row.name}[{number}]"
            start = row.offset + number * row.type.size
            rows += (
                one._replace(offset=start + one.offset, name=f"{path}.{one.name}")
                for one in whole.rows
            )
    return layout._replace(rows=tuple(rows))


def on(abis: Iterable[str], *layouts: Layout) -> dict[str, tuple[Layout, ...]]:
    """Return the same layouts on each of some ABIs."""
    return {abi: tuple(one._replace(abi=abi) for one in layouts) for abi in abis}
