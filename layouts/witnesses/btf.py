"""The kernel's own debug info as a witness: what its BTF says about a struct.

BTF has names, offsets and sizes. It has no alignments, and no size of a pointer, which the ABI
tells. A struct with something that a Layout cannot express (a bitfield, a union) is refused.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from runstate_abi.layouts import model
from runstate_abi.layouts.abi import Abi
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
from runstate_abi.layouts.witnesses import btf_header as form
from runstate_abi.layouts.witnesses.btf_blob import Btf, Record

__all__ = ["Btf", "observe"]

# Limits far above any kernel, so that a hostile blob costs no more than an honest one.
MEMBERS_MAX = 1024  # task_struct has 260
DEFINITIONS_MAX = 256  # of one name; 7.3's kvm.ko has four of kvm_vcpu_xen
HOPS_MAX = 32  # typedef of const of typedef ...
DEPTH_MAX = 8  # anonymous struct in anonymous struct, pointer to pointer
COUNT_MAX = 1 << 32

# Floats that pahole encodes as integers if the kernel does not know BTF_KIND_FLOAT (v5.13).
FLOATS = ("float", "double", "long double")
QUALIFIERS = (form.CONST, form.VOLATILE, form.RESTRICT, form.TYPE_TAG)
DEFINING = (form.STRUCT, form.UNION, form.TYPEDEF)
KINDS = {form.STRUCT: model.STRUCT, form.UNION: model.UNION, form.FLOAT: model.FLOATING}
TAGS = {form.STRUCT: "struct ", form.UNION: "union ", form.ENUM: "enum ", form.ENUM64: "enum "}

# struct btf_member: name_off type offset. With the flag set, the offset's high byte is the width
# of a bitfield. BTF_KIND_INT's word: encoding in bits 24-27, offset in 16-23, bits in 0-7.
MEMBER = 3
OFFSET, WIDTH_SHIFT = 0xFFFFFF, 24
INT_ENCODING_SHIFT, INT_SIGNED, INT_OFFSET, INT_BITS = 24, 1, 0xFF0000, 0xFF


class Wanted(NamedTuple):
    """The struct that is looked for, the ABI, and the names of the members read so far."""

    btf: Btf
    name: str
    abi: Abi
    seen: list[str]
    paths: frozenset[str] = frozenset()

    def refused(self, why: str) -> WitnessError:
        return WitnessError(f"{self.btf.source}: struct {self.name}: {why}")


def observe(btf: Btf, names: Sequence[str], abi: Abi, inside: Inside = NOWHERE) -> Layouts:
    """Return what BTF says about each ``struct name``: every definition, the base's before its own.

    A typedef's name is accepted. A forward declaration is no definition. Members without bytes
    (``char data[];``) have no row. ``inside``: the members that are looked into. Of a union these
    alone are. WitnessError for a struct with bitfields or other unions.
    """
    found: list[Layout] = []
    for name in names:
        look = inside.get(name, Look())
        for record in _named(btf, name):
            found += _layouts(record, Wanted(btf, name, abi, [], look.paths), look)
    missing = tuple(name for name in names if name not in {layout.name for layout in found})
    if missing:
        # "missing" is true only if the blob can be read to its end.
        btf.end_id()
    return Layouts("btf", btf.source, tuple(found), missing)


# The structs of this name, and those that a typedef of this name means, each once.
def _named(btf: Btf, name: str) -> list[Record]:
    found: dict[tuple[bool, int], Record] = {}
    unknown = len(form.KINDS)
    named = [x for x in btf.named(name) if x.kind in DEFINING or x.kind >= unknown]
    if len(named) > DEFINITIONS_MAX:
        raise WitnessError(f"{btf.source}: {name} has more than {DEFINITIONS_MAX} definitions")
    for record in named:
        if record.kind >= unknown:
            why = f"BTF type {record.id} of {record.kind_name}, which is not known"
            raise WitnessError(f"{btf.source}: {name} is {why}")
        if record.kind == form.TYPEDEF:
            record = _resolved(btf, record.size)[0]
        if record.kind in (form.STRUCT, form.UNION):
            # In the order of ids, which are the base's first. To compute those of a module, the
            # whole base would have to be walked.
            found.setdefault((record.blob is btf, record.number), record)
    return [found[place] for place in sorted(found)]


# A struct, and the structs in it that are looked into.
def _layouts(record: Record, wanted: Wanted, look: Look) -> Iterator[Layout]:
    yield _layout(record, wanted)
    for part in range(0, len(record.parts), MEMBER) if look.structs else ():
        member = record.blob.string(record.parts[part])
        if member in look.structs:
            target, inner = _resolved(wanted.btf, record.parts[part + 1])[0], look.structs[member]
            name = f"{wanted.name}.{member}"
            if target.kind == form.STRUCT:
                yield from _layouts(
                    target, Wanted(wanted.btf, name, wanted.abi, [], inner.paths), inner
                )


def _layout(record: Record, wanted: Wanted) -> Layout:
    if record.kind == form.UNION:
        raise wanted.refused(f"it is a union; {NOT_BUILT}")
    rows = _members(record, 0, 0, wanted)
    refused = str(wanted.refused(""))
    return witnessed(refused, wanted.name, wanted.abi.name, record.size, None, rows)


# The members of a struct that begins at byte `start`, with those of anonymous structs.
def _members(
    record: Record, start: int, depth: int, wanted: Wanted, path: str = ""
) -> Iterator[Field]:
    for part in range(0, len(record.parts), MEMBER):
        name_offset, type_id, offset = record.parts[part : part + MEMBER]
        name = record.blob.string(name_offset)
        bit, width = (offset & OFFSET, offset >> WIDTH_SHIFT) if record.flag else (offset, 0)
        byte, rest = divmod(bit, 8)
        label = f"{path}{name}" if name else f"at bit {bit}"
        if record.kind == form.UNION and label not in wanted.paths:
            continue
        if width or rest:
            raise wanted.refused(f"member {label} is a bitfield; {NOT_BUILT}")
        wanted.seen.append(label)
        if len(wanted.seen) > MEMBERS_MAX:
            raise wanted.refused(f"it has more than {MEMBERS_MAX} members")
        target, typedef, count = _resolved(wanted.btf, type_id)
        if name and label in wanted.paths and target.kind in (form.STRUCT, form.UNION):
            yield from _members(target, start + byte, depth + 1, wanted, f"{label}.")
        elif name:
            yield Field(start + byte, label, _scalar(target, typedef, label, wanted), count)
        elif target.kind != form.STRUCT or count != 1 or depth >= DEPTH_MAX:
            kind = target.kind_name.lower()
            raise wanted.refused(f"the member {label} is an anonymous {kind}; {NOT_BUILT}")
        else:
            yield from _members(target, start + byte, depth + 1, wanted, path)


# Follow typedefs, qualifiers and array dimensions to the type behind them. Returns that type, the
# outermost typedef's name ("" if there is none) and the number of elements.
def _resolved(btf: Btf, id_: int) -> tuple[Record, str, int]:
    typedef, count = "", 1
    for _ in range(HOPS_MAX):
        record = btf.record(id_)
        if record.kind == form.TYPEDEF:
            typedef, id_ = typedef or record.name, record.size
        elif record.kind in QUALIFIERS:
            id_ = record.size
        elif record.kind == form.ARRAY:
            typedef, id_, count = "", record.parts[0], count * record.parts[2]
        else:
            return record, typedef, count
        if count > COUNT_MAX:
            raise WitnessError(f"{btf.source}: BTF type {id_}: an array of {count} elements")
    raise WitnessError(f"{btf.source}: BTF type {id_}: its chain of types does not end")


def _scalar(record: Record, typedef: str, member: str, wanted: Wanted) -> Scalar:
    name = typedef or TAGS.get(record.kind, "") + (record.name or "{...}")
    number = model.INTEGER if record.blob.order == "<" else model.BIG_ENDIAN
    if record.kind == form.INT:
        if record.parts[0] & INT_OFFSET or record.parts[0] & INT_BITS != record.size * 8:
            # Before v4.20 a bitfield was an integer type with fewer bits than its size.
            raise wanted.refused(f"member {member} is a bitfield; {NOT_BUILT}")
        if record.name in FLOATS:
            return Scalar(name, record.size, None, kind=model.FLOATING)
        signed = bool(record.parts[0] >> INT_ENCODING_SHIFT & INT_SIGNED)
        return Scalar(name, record.size, signed, kind=number)
    if record.kind in (form.ENUM, form.ENUM64):
        return Scalar(name, record.size, bool(record.flag), kind=number)
    if record.kind in KINDS:
        return Scalar(name, record.size, None, kind=KINDS[record.kind])
    if record.kind == form.PTR:
        pointer = typedef or _pointer(record, 0)
        return Scalar(pointer, wanted.abi.pointer_size, None, kind=model.POINTER)
    why = f"is of BTF type {record.id}, {record.kind_name}, which has no size"
    raise wanted.refused(f"member {member} {why}")


# ``struct foo *``. What it points to does not matter for a layout.
def _pointer(record: Record, depth: int) -> str:
    if record.size == 0:
        return "void *"
    target, typedef, _ = _resolved(record.blob, record.size)
    if typedef or target.kind != form.PTR:
        tag = "" if typedef else TAGS.get(target.kind, "")
        return f"{tag}{typedef or target.name or '{...}'} *"
    return "void **" if depth >= DEPTH_MAX else f"{_pointer(target, depth + 1)}*"
