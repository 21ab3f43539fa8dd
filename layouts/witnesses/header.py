"""What a compiler makes of a struct in a user's own header, whatever that struct looks like.

A compiler answers about a member that is there, and refuses the whole unit for one that is not. So
where it refuses, each member is asked for alone: what compiles shows what is missing, never the
words of a complaint. Before a member counts as absent, a struct of our own must have passed the
same questions. The names of other members come out of the debug info that the compiler can make;
where that cannot be read, they are unrecorded.

A header that counts on what others declare is read with a prelude, and the Measurement says so.
"""

import re
from collections.abc import Iterator
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
from runstate_abi.layouts.witnesses import btf, dwarf, elf, prelude, probe
from runstate_abi.layouts.witnesses.compiler import (
    Measurement,
    compiled,
    does_not_compile,
    measured,
)
from runstate_abi.layouts.witnesses.probe import Subject, Unit

# What may be asked for; clang leaves out a struct of C++ that the unit does not need.
DEBUG_INFO = ("-gbtf", "-g", "-g -fstandalone-debug")
UNRECORDED = "other members"
_CXX = re.compile(r"^\s*(namespace|class|template)\b", re.MULTILINE)


def spellings(name: str) -> list[str]:
    """Return the C types that a name may mean: a struct's tag first and a typedef second."""
    whole = name.startswith(("struct ", "class ")) or "(" in name
    return [name] if whole else [f"struct {name}", name]


def commands(header: str) -> tuple[str, ...]:
    """Return the compilers to try where none is named: C's, and C++'s for what looks like it."""
    if re.search(r"\.(hh|hpp|hxx|h\+\+|H|cc|cpp|cxx)$", header):
        return ("g++",)
    try:
        with open(header, encoding="utf-8", errors="replace") as file:
            return ("gcc", "g++") if _CXX.search(file.read()) else ("gcc",)
    except OSError:
        return ("gcc",)  # which says what is wrong with the file


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
    for first in (True, False):
        # To find out what it lacks takes several compilations, which most headers do not need.
        given = prelude.AS_IT_IS if first else prelude.supplied(header, command)
        for c_type in spellings(name):
            subject = Subject(c_type, claimed.name, members)
            answer = _answered(given.unit(header, [subject]), command, header)
            if answer and (macro := prelude.undefined_macro(answer.unit, command, c_type)):
                given = prelude.with_macro(header, command, macro, given)
                answer = _answered(given.unit(header, [subject]), command, header)
            if answer:
                seen = measured(answer.unit, command, answer.data, abi)
                return _with_others(seen, answer.unit, command)._replace(note=given.note)
    raise WitnessError(f"{header}: {command} finds no {' and no '.join(spellings(name))} in it")


class _Answer(NamedTuple):
    unit: Unit  # without the members that are absent
    data: bytes  # the object


# None if the unit has no such struct.
def _answered(unit: Unit, command: str, header: str) -> _Answer | None:
    answer = compiled(unit, command)
    if isinstance(answer, str):
        # The struct without its members, and our own struct, which must pass.
        subjects = tuple(subject._replace(members=()) for subject in unit.subjects)
        alone = unit._replace(subjects=subjects, asked=probe.CONTROL)
        if isinstance(compiled(alone, command), str):
            return None
        unit = _without_the_absent(unit, command, header)
        answer = compiled(unit, command)
    if isinstance(answer, str):
        raise does_not_compile(command, answer)
    return _Answer(unit, answer)


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
