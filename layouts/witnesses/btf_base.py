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

# Kinds whose third word is the id of a type, and how many functions must have a prototype for a
# base to be taken for the right one.
REFERRING = frozenset((
    form.PTR, form.TYPEDEF, form.VOLATILE, form.CONST, form.RESTRICT,
    form.FUNC, form.VAR, form.DECL_TAG, form.TYPE_TAG,
))  # fmt: skip
FUNCTIONS = 64


def check_base(blob: "Btf", base: "Btf") -> None:
    """Refuse a base whose strings or types cannot be those that ``blob`` counts on from."""
    words, end, at = blob.words, blob.end_id(), 0
    names, functions = set[int](), list[int]()
    for _ in range(blob.first_id, end):
        info = words[at + 1]
        kind = info >> form.KIND_SHIFT & form.KIND
        names.add(words[at])
        if kind in REFERRING and words[at + 2] >= end:
            raise _no_fit(blob, base, f"it refers to type {words[at + 2]} of {end - 1}")
        if kind == form.FUNC and len(functions) < FUNCTIONS:
            functions.append(words[at + 2])
        at += blob.length(at)
    for name in names:
        if not blob.begins_string(name):
            raise _no_fit(blob, base, f"no name begins at {name:#x}")
    for function in functions:
        if function == 0 or blob.record(function).kind != form.FUNC_PROTO:
            raise _no_fit(blob, base, f"type {function} is no function prototype")


def _no_fit(blob: "Btf", base: "Btf", why: str) -> WitnessError:
    return WitnessError(
        f"{blob.source}: split BTF that does not fit {base.source} ({why}): give the vmlinux (or "
        "its BTF) that this module was built against"
    )
