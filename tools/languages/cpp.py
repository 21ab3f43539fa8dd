"""C++11: the same declarations in a namespace, and static_assert.

Law of this file: C++ text out; what C and C++ share is c.py's.
"""

from collections.abc import Iterator

from runstate_abi.layouts.structs.runstate import RUNSTATES, XEN_RUNSTATE_UPDATE
from runstate_abi.tools.languages import c
from runstate_abi.tools.languages.promises import GUESTS, Promise, promises


def lines() -> Iterator[str]:
    """Yield a header."""
    yield "// The Xen runstate area, byte by byte, and assertions that it is so: C++11."
    yield "// Made by `runstate emit cpp` from its tables: do not edit."
    yield from ("#pragma once", "", "#include <stddef.h>", "#include <stdint.h>", "")
    yield from ("namespace runstate_abi {", "")
    # Not the kernel's names: where Xen's headers define them as macros, these would not compile.
    yield f"constexpr uint64_t update_flag = {XEN_RUNSTATE_UPDATE:#x}ULL;"
    for runstate in RUNSTATES:
        yield f"constexpr int {runstate.name} = {runstate.value}; // {runstate.meaning}"
    for guest in GUESTS:
        yield ""
        yield from c.declaration(c.type_name(guest.bits), guest.layout, "alignas")
    yield ""
    for guest in GUESTS:
        name = c.type_name(guest.bits)
        for promise in promises(guest.layout, name):
            yield f"static_assert({expression(name, promise)} == {promise.number},"
            yield f'\t"{promise.sentence}");'
    yield from ("", "} // namespace runstate_abi")


def expression(name: str, promise: Promise) -> str:
    """Return the C++ expression whose value a promise is about."""
    if promise.member is None:
        return f"{'sizeof' if promise.kind == 'size' else 'alignof'}({name})"
    member = f"{name}::{promise.member.name}"
    element = f"{member}[0]" if promise.member.count > 1 else member
    return {
        "offset": f"offsetof({name}, {promise.member.name})",
        "member-size": f"sizeof({member})",
        "element-size": f"sizeof({element})",
        # No <type_traits>: this header asks for nothing that a kernel does not have.
        "signed": f"(static_cast<decltype(+{element})>(-1) < 1)",
    }[promise.kind]
