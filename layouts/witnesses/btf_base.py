"""Whether a module's BTF was made on the BTF of this kernel, and not of another.

Split BTF counts its types and strings on from its base's, and names the base nowhere. Another
kernel has other strings and other types, so that the module's names come to lie amid strings, and
the types of its functions to be no prototypes.

Law of this file: a doubt is an error. A module on the wrong base reads as anything.
"""

from typing import TYPE_CHECKING

from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.witnesses import btf_header as form

if TYPE_CHECKING:
    from runstate_abi.layouts.witnesses.btf_blob import Btf

# Kinds whose third word is the id of a type.
REFERRING = frozenset((
    form.PTR, form.TYPEDEF, form.VOLATILE, form.CONST, form.RESTRICT,
    form.FUNC, form.VAR, form.DECL_TAG, form.TYPE_TAG,
))  # fmt: skip

# Of so many types, evenly spread, the names are looked at: amid strings of 15 bytes, one name in
# fifteen begins by chance where a string does.
SAMPLES = 128


def check_strings(blob: "Btf", base: "Btf") -> None:
    """Refuse a base whose strings cannot be those that ``blob`` counts on from."""
    for record in blob.sample(SAMPLES):
        if not blob.begins_string(record.name_offset):
            raise _no_fit(blob, base, f"no name begins at {record.name_offset:#x}")


def check_types(blob: "Btf", base: "Btf") -> None:
    """Refuse a base with another number of types; it has been walked to its end."""
    end = blob.end_id()
    for record in blob.sample(SAMPLES):
        if record.kind in REFERRING and record.size >= end:
            raise _no_fit(blob, base, f"it refers to type {record.size} of {end - 1}")
        if record.kind == form.FUNC and not _is_prototype(blob, record.size):
            raise _no_fit(blob, base, f"type {record.size} is no function prototype")


def _is_prototype(blob: "Btf", id_: int) -> bool:
    return id_ != 0 and blob.record(id_).kind == form.FUNC_PROTO


def _no_fit(blob: "Btf", base: "Btf", why: str) -> WitnessError:
    return WitnessError(
        f"{blob.source}: split BTF that does not fit {base.source} ({why}): give the vmlinux (or "
        "its BTF) that this module was built against"
    )
