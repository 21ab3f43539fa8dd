"""What a compiler makes of a struct in a user's own header, whatever that struct looks like.

A compiler answers about a member that is there, and refuses the whole unit for one that is not. So
where it refuses, each member is asked for alone: what compiles shows what is missing, never the
words of a complaint. Before a member counts as absent, a struct of our own must have passed the
same questions. The names of other members come out of the debug info that the compiler can make;
where that cannot be read, they are unrecorded.

A header that counts on what others declare (Xen's vcpu.h has no #include <stdint.h>) is compiled
again with what such headers need, and the Measurement says with what.
"""

import os
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from runstate_abi.layouts.abi import Abi
from runstate_abi.layouts.model import (
    NOT_BUILT,
    Field,
    Layout,
    LayoutError,
    Member,
    WitnessError,
    tiled,
)
from runstate_abi.layouts.witnesses import btf, dwarf, elf, probe
from runstate_abi.layouts.witnesses.compiler import (
    Measurement,
    compiled,
    does_not_compile,
    header_unit,
    measured,
)
from runstate_abi.layouts.witnesses.probe import Subject, Unit

# What may be asked for; clang leaves out a struct of C++ that the unit does not need.
DEBUG_INFO = ("-gbtf", "-g", "-g -fstandalone-debug")
UNRECORDED = "other members"


# What headers take for granted that are read alone: the kernel's and Xen's names of integers, and
# the macros that declare a guest's handle. None of these decides where a member of the structs is.
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
    ("the integer types and guest handle macros of Xen's and Linux's headers", _TYPES + _MACROS),
)
# Headers that need not be there, because the last prelude has what is used of them.
STUBS = ("xen.h", "xen-compat.h", "interface.h", "types.h", "stdint.h", "inttypes.h")
STUBS_MAX = 8
_LOST = re.compile(r"fatal error: '?([^':\n]+)'?(?::| file not found)")
_CXX = re.compile(r"^\s*(namespace|class|template)\b", re.MULTILINE)


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


def spellings(name: str) -> list[str]:
    """Return the C types that a name may mean: a struct's tag first and a typedef second."""
    whole = name.startswith(("struct ", "class ")) or "(" in name
    return [name] if whole else [f"struct {name}", name]


def looks_like_cxx(header: str) -> bool:
    """Tell whether a header's name or text is C++."""
    if re.search(r"\.(hh|hpp|hxx|h\+\+|H|cc|cpp|cxx)$", header):
        return True
    with open(header, encoding="utf-8", errors="replace") as file:
        return bool(_CXX.search(file.read()))


def observe(
    header: str,
    name: str,
    claimed: Layout,
    command: str,
    abi: Abi | None = None,
) -> Measurement:
    """Measure ``name`` of a header, a struct's tag, a typedef or typeof(), by the claim's members.

    WitnessError if the header does not compile, has no such struct, or one with bitfields.
    """
    members = tuple(Member(row.name, row.type, row.count) for row in claimed.members)
    for supplied in (AS_IT_IS, None):
        # To find out what it lacks takes several compilations, which most headers do not need.
        supplied = supplied or _supplied(header, command)
        for c_type in spellings(name):
            unit = supplied.unit(header, [Subject(c_type, claimed.name, members)])
            answer = compiled(unit, command)
            if isinstance(answer, bytes) and (macro := _undefined(unit, command, c_type)):
                supplied = _with_macro(header, command, macro, supplied)
                unit = supplied.unit(header, unit.subjects)
                answer = compiled(unit, command)
            if isinstance(answer, str):
                # The struct without its members, and our own struct, which must pass.
                subjects = tuple(subject._replace(members=()) for subject in unit.subjects)
                alone = unit._replace(subjects=subjects, asked=probe.CONTROL)
                if isinstance(compiled(alone, command), str):
                    continue
                unit = _without_the_absent(unit, command, header)
                answer = compiled(unit, command)
            if isinstance(answer, str):
                raise does_not_compile(command, answer)
            seen = _with_others(measured(unit, command, answer, abi), unit, command)
            return seen._replace(note=supplied.note)
    raise WitnessError(f"{header}: {command} finds no {' and no '.join(spellings(name))} in it")


# `struct x { ... } __packed;` declares a variable where __packed is no macro, and without a word.
# Returns what stands there, if it reads like a macro.
def _undefined(unit: Unit, command: str, c_type: str) -> str:
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


def _with_macro(header: str, command: str, macro: str, before: Supplied) -> Supplied:
    said, text = PRELUDES[-1]
    if before.said != said and f"#define {macro} " in text:
        supplied = Supplied(said, text)
        if isinstance(compiled(supplied.unit(header), command), bytes):
            return supplied
    raise WitnessError(
        f"{header}: {macro} is behind the struct, and no macro here: include the header that has "
        f"it, or define it: --cc '{command} \"-D{macro}=__attribute__((packed))\"'"
    )


# The first of PRELUDES with which the header compiles, and the headers that it does without.
@lru_cache
def _supplied(header: str, command: str) -> Supplied:
    complaints = []
    for said, text in PRELUDES:
        supplied = Supplied(said, text)
        for _ in range(STUBS_MAX):
            answer = compiled(supplied.unit(header), command)
            if isinstance(answer, bytes):
                return supplied
            lost = next(iter(_LOST.findall(answer)), "")
            given = text == PRELUDES[-1][1] and os.path.basename(lost).endswith(STUBS)
            if not given or lost.count("../") > probe.STUBS.count("/"):
                break
            supplied = supplied._replace(stubs=(*supplied.stubs, lost))
        complaints.append(str(answer))
    # What is still wrong with everything supplied, unless it is that something was supplied.
    last = complaints[-1]
    ours = "conflicting" in last or "redefin" in last
    raise does_not_compile(command, complaints[0] if ours else last)


def _without_the_absent(unit: Unit, command: str, header: str) -> Unit:
    (subject,) = unit.subjects
    there = []
    for member in subject.members:
        alone = subject._replace(members=(member,))
        answer = compiled(unit._replace(subjects=(alone,)), command)
        if isinstance(answer, bytes):
            there.append(member)
        elif _has_bytes(unit, command, header, member.name):
            raise does_not_compile(command, answer)
    return unit._replace(subjects=(subject._replace(members=tuple(there)),))


# Tells whether a member that cannot be measured is one that should have a row.
def _has_bytes(unit: Unit, command: str, header: str, member: str) -> bool:
    (subject,) = unit.subjects

    def compiles(question: str) -> bool:
        asked = unit._replace(subjects=(), asked=(question,))
        return isinstance(compiled(asked, command), bytes)

    if not compiles(probe.has_member(subject.c_type, member)):
        return False
    if not compiles(probe.has_address(subject.c_type, member)):
        raise WitnessError(
            f"{header}: {subject.c_type}: member {member} is a bitfield; {NOT_BUILT}"
        )
    return compiles(probe.has_size(subject.c_type, member))


# Adds the members that are not the claim's, or says that they are not known.
def _with_others(seen: Measurement, unit: Unit, command: str) -> Measurement:
    (subject,), (layout,) = unit.subjects, seen.layouts.found
    for flag in DEBUG_INFO:
        for found in _in_debug_info(unit, subject, f"{command} {flag}", seen.abi):
            merged = _merged(layout, found)
            if merged:
                return seen._replace(layouts=seen.layouts._replace(found=(merged,)))
    return seen._replace(unrecorded=(UNRECORDED,))


def _merged(layout: Layout, found: Layout) -> Layout | None:
    names = {row.name for row in layout.members}
    others = [row for row in found.members if row.name not in names]
    if found.size != layout.size:
        return None  # another type of the same name
    rows: list[Field] = [*layout.members, *others]
    try:
        return tiled(layout.name, layout.abi, layout.size, layout.alignment, rows)
    except LayoutError:
        return None


# The definitions in an object that has debug info; none where that cannot be made or read.
def _in_debug_info(unit: Unit, subject: Subject, command: str, abi: Abi) -> Iterator[Layout]:
    kept = f"static {subject.c_type} *rs_kept __attribute__((used));\n"
    data = compiled(Unit(unit.declarations + kept, (), stubs=unit.stubs), command)
    if isinstance(data, str):
        return
    name = subject.c_type.removeprefix("struct ")
    try:
        file = elf.parse(data, command)
        if section := file.section(".BTF"):
            yield from btf.observe(btf.Btf(section, source=command), (name,), abi).found
        else:
            yield from dwarf.observe(dwarf.Source(command, file, ""), (name,), abi).found
    except WitnessError:
        return
