"""Declarations that a C header needs and does not have, put in front of it so that it compiles.

Xen's vcpu.h does not include <stdint.h>, and Xen's xen.h may not be there. The user is told what
was added, because some of it, such as __packed, decides where a member is.
"""

import os
import re
from collections.abc import Sequence
from typing import NamedTuple

from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.witnesses import probe
from runstate_abi.layouts.witnesses.compiler import compiled, does_not_compile, header_unit
from runstate_abi.layouts.witnesses.probe import Subject, Unit

# What headers take for granted that are read alone: the kernel's and Xen's names of integers, and
# the macros that declare a guest's handle.
_TYPES = "".join(
    f"typedef {c} __{s}{bits}, {s}{bits};\ntypedef __{t}{bits}_TYPE__ {t.lower()}{bits}_t;\n"
    for bits, of in ((8, "char"), (16, "short"), (32, "int"), (64, "long long"))
    for s, t, c in (("u", "UINT", f"unsigned {of}"), ("s", "INT", f"signed {of}"))
)
_MACROS = """\
typedef uint64_t uint64_aligned_t __attribute__((aligned(8)));
typedef unsigned long xen_pfn_t, xen_ulong_t;
#define __user
#define __packed __attribute__((packed))
#define QEMU_PACKED __attribute__((packed))
#define __aligned(x) __attribute__((aligned(x)))
#define DEFINE_XEN_GUEST_HANDLE(name) struct guest_handle_##name
#define __DEFINE_XEN_GUEST_HANDLE(name, type) struct guest_handle_##name
#define XEN_GUEST_HANDLE(name) void *
#define XEN_GUEST_HANDLE_64(name) void *
#define DEFINE_GUEST_HANDLE(name) struct guest_handle_##name
#define DEFINE_GUEST_HANDLE_STRUCT(name) struct guest_handle_##name
#define GUEST_HANDLE(name) void *
"""
# (what is said of it, C text), in the order in which they are tried.
PRELUDES = (
    ("", ""),
    ("-include stdint.h", "#include <stdint.h>\n"),
    ("the integer types and macros of Xen's and Linux's headers", _TYPES + _MACROS),
)
# Headers that need not be there, because the last prelude has what is used of them.
STUBS = ("xen.h", "xen-compat.h", "interface.h", "types.h", "stdint.h", "inttypes.h")
STUBS_MAX = 8
_LOST = re.compile(r"fatal error: '?([^':\n]+)'?(?::| file not found)")


class Supplied(NamedTuple):
    """What a header was compiled with: C text in front of it, and headers that were left empty."""

    said: str = ""
    text: str = ""
    stubs: tuple[str, ...] = ()

    def unit(self, header: str, subjects: Sequence[Subject] = ()) -> Unit:
        """Return the unit that measures structs of this header."""
        return header_unit(header, subjects, self.text, self.stubs)

    @property
    def note(self) -> str:
        """How it was read, "" if as it is."""
        without = f", without {', '.join(self.stubs)} (not there)" if self.stubs else ""
        return f"read with {self.said}{without}" if self.said else ""


AS_IT_IS = Supplied()


def undefined_macro(unit: Unit, command: str, c_type: str) -> str:
    """Return the name behind a struct that reads like a macro and is none, "" if there is none.

    ``struct x { ... } __packed;`` declares a variable where __packed is no macro, and compiles.
    """
    text = compiled(unit, command, ("-E", "-P"))
    tag = c_type.removeprefix("struct ").removeprefix("class ").rpartition("::")[2]
    if isinstance(text, str):
        return ""
    source = text.decode(errors="replace")
    for found in re.finditer(
        rf"\b(typedef\s+)?(?:struct|class)\s[^;{{}}]*\b{re.escape(tag)}\b[^;{{}}]*{{", source
    ):
        after = _ATTRIBUTES.sub("", source[_closed(source, found.end()) :]).lstrip()
        name = re.match(r"[A-Za-z_]\w*", after)
        if name and not found[1] and _LIKE_A_MACRO.search(name[0]):
            return name[0]
    return ""


_ATTRIBUTES = re.compile(r"^(\s*__attribute__\s*\(\(.*?\)\))+", re.DOTALL)
_LIKE_A_MACRO = re.compile(r"^__|^[A-Z0-9_]+$|(?i:pack|align|attr)")


# Behind the brace that closes a body, or the end.
def _closed(text: str, at: int) -> int:
    depth = 1
    for brace in re.finditer("[{}]", text[at:]):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return at + brace.end()
    return len(text)


def with_macro(header: str, command: str, macro: str, before: Supplied) -> Supplied:
    """Return what has the macro (WitnessError: nothing has, or the header does not take it)."""
    said, text = PRELUDES[-1]
    if before.said != said and f"#define {macro} " in text:
        found = Supplied(said, text)
        if isinstance(compiled(found.unit(header), command), bytes):
            return found
    raise WitnessError(
        f"{header}: {macro} is behind the struct, and no macro here: include the header that has "
        f"it, or define it: --cc '{command} \"-D{macro}=__attribute__((packed))\"'"
    )


def supplied(header: str, command: str) -> Supplied:
    """Return the first of PRELUDES that makes the header compile (WitnessError: none does)."""
    complaints = []
    for said, text in PRELUDES:
        found = Supplied(said, text)
        for _ in range(STUBS_MAX):
            answer = compiled(found.unit(header), command)
            if isinstance(answer, bytes):
                return found
            lost = next(iter(_LOST.findall(answer)), "")
            given = text == PRELUDES[-1][1] and os.path.basename(lost).endswith(STUBS)
            if not given or lost.count("../") > probe.STUBS.count("/"):
                break
            found = found._replace(stubs=(*found.stubs, lost))
        complaints.append(str(answer))
    # What is still wrong with everything supplied, unless it is that something was supplied.
    last = complaints[-1]
    ours = "conflicting" in last or "redefin" in last
    raise does_not_compile(command, complaints[0] if ours else last)
