"""What a compiler makes of a struct in a user's own header.

A compiler refuses the whole unit if the struct lacks one member. Then each member is asked for
alone, and what does not compile is absent. (The text of the error is not looked at.) To exclude
other causes, the same questions must compile for a struct of our own. Members that the claim does
not name are read from the debug info that the compiler makes; without it they are "unrecorded".

If a header needs what others declare, it is read with a prelude, and the Measurement says so.
"""

import re
from collections.abc import Iterator

from runstate_abi.layouts.abi import Abi
from runstate_abi.layouts.model import (
    NOT_BUILT,
    Layout,
    LayoutError,
    Look,
    Member,
    WitnessError,
    paths,
    tiled,
)
from runstate_abi.layouts.witnesses import btf, compiler, dwarf, elf, prelude, probe
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
    header: str, name: str, claimed: Layout, command: str, abi: Abi | None = None
) -> compiler.Measurement:
    """Measure a struct (tag, typedef, typeof()) of a header, by the claim's members."""
    members = tuple(Member(row.name, row.type, row.count) for row in claimed.members)
    for first in (True, False):
        # To find out what it lacks takes several compilations, which most headers do not need.
        given = prelude.AS_IT_IS if first else prelude.supplied(header, command)
        for c_type in spellings(name):
            subject = Subject(c_type, claimed.name, members)
            answer = _answered(given.unit(header, [subject]), command, header)
            if answer and (macro := prelude.undefined_macro(answer[0], command, c_type)):
                given = prelude.with_macro(header, command, macro, given)
                answer = _answered(given.unit(header, [subject]), command, header)
            if answer:
                unit, data = answer
                seen = compiler.measured(unit, command, data, abi)
                return _with_others(seen, unit, command)._replace(note=given.note)
    raise WitnessError(f"{header}: {command} finds no {' and no '.join(spellings(name))} in it")


# The unit without the members that are absent, and its object; None if it has no such struct.
def _answered(unit: Unit, command: str, header: str) -> tuple[Unit, bytes] | None:
    answer = compiler.compiled(unit, command)
    if isinstance(answer, str):
        # The struct without its members, and our own struct, which must pass.
        subjects = tuple(subject._replace(members=()) for subject in unit.subjects)
        alone = unit._replace(subjects=subjects, asked=probe.CONTROL)
        if isinstance(compiler.compiled(alone, command), str):
            return None
        unit = _without_the_absent(unit, command, header)
        answer = compiler.compiled(unit, command)
    if isinstance(answer, str):
        raise compiler.does_not_compile(command, answer)
    return unit, answer


def _without_the_absent(unit: Unit, command: str, header: str) -> Unit:
    (subject,) = unit.subjects
    there = []
    for member in subject.members:
        alone = subject._replace(members=(member,))
        answer = compiler.compiled(unit._replace(subjects=(alone,)), command)
        if isinstance(answer, bytes):
            there.append(member)
        elif _has_bytes(unit, command, header, member.name):
            raise compiler.does_not_compile(command, answer)
    return unit._replace(subjects=(subject._replace(members=tuple(there)),))


# Is a member that cannot be measured one that should have a row?
def _has_bytes(unit: Unit, command: str, header: str, member: str) -> bool:
    (subject,) = unit.subjects

    def compiles(question: str) -> bool:
        asked = question.format(c_type=subject.c_type, member=member)
        unit_ = unit._replace(subjects=(), asked=(asked,))
        return isinstance(compiler.compiled(unit_, command), bytes)

    if not compiles(probe.HAS_MEMBER):
        return False
    if not compiles(probe.HAS_ADDRESS):
        where = f"{header}: {subject.c_type}: member {member}"
        raise WitnessError(f"{where} is a bitfield; {NOT_BUILT}")
    return compiles(probe.HAS_SIZE)


# Add the members that the claim does not have, or say that they are not known.
def _with_others(seen: compiler.Measurement, unit: Unit, command: str) -> compiler.Measurement:
    (subject,), (layout,) = unit.subjects, seen.layouts.found
    names = {row.name for row in layout.members}
    for flag in DEBUG_INFO:
        for found in _in_debug_info(unit, subject, f"{command} {flag}", seen.abi):
            if found.size != layout.size:
                continue  # another type of the same name
            rows = [*layout.members, *(row for row in found.members if row.name not in names)]
            try:
                merged = tiled(layout.name, layout.abi, layout.size, layout.alignment, rows)
            except LayoutError:
                continue
            return seen._replace(layouts=seen.layouts._replace(found=(merged,)))
    return seen._replace(unrecorded=(UNRECORDED,))


# The definitions in an object that has debug info; none where that cannot be made or read.
def _in_debug_info(unit: Unit, subject: Subject, command: str, abi: Abi) -> Iterator[Layout]:
    kept = f"static {subject.c_type} *rs_kept __attribute__((used));\n"
    name = subject.c_type.removeprefix("struct ")
    if name.startswith("__typeof__("):  # it has no name
        name = "rs_kept_type"
        kept = f"typedef {subject.c_type} {name};\nstatic {name} *rs_kept __attribute__((used));\n"
    data = compiler.compiled(Unit(unit.declarations + kept, (), stubs=unit.stubs), command)
    if isinstance(data, str):
        return
    inside = {name: Look(paths(member.name for member in subject.members))}
    try:
        file = elf.parse(data, command)
        if section := file.section(".BTF"):
            yield from btf.observe(btf.Btf(section, source=command), (name,), abi, inside).found
        else:
            source = dwarf.Source(command, file, "")
            yield from dwarf.observe(source, (name,), abi, inside).found
    except WitnessError:
        return
