"""What a compiler makes of a struct in a user's own header, whatever that struct looks like.

A compiler answers about a member that is there, and refuses the whole unit for one that is not. So
where it refuses, each member is asked for alone: what compiles shows what is missing, never the
words of a complaint. Before a member counts as absent, a struct of our own must have passed the
same questions. The names of other members come out of the debug info that the compiler can make;
where that cannot be read, they are unrecorded.
"""

from collections.abc import Iterator

from runstate_abi.layouts.abi import Abi
from runstate_abi.layouts.model import NOT_BUILT, Field, Layout, LayoutError, WitnessError, tiled
from runstate_abi.layouts.witnesses import btf, dwarf, elf, probe
from runstate_abi.layouts.witnesses.compiler import (
    Measurement,
    compiled,
    does_not_compile,
    header_unit,
    measured,
)
from runstate_abi.layouts.witnesses.probe import Subject, Unit

# What may be asked for: GCC's -gbtf is read here, and whatever else is for drgn.
DEBUG_INFO = ("-gbtf", "-g")
UNRECORDED = "other members"


def observe(
    header: str, name: str, claimed: str, command: str, abi: Abi | None = None
) -> Measurement:
    """Measure ``name`` of a C header, a struct's tag or a typedef, as the Layout ``claimed``.

    WitnessError if the header does not compile, has no such struct, or one with bitfields.
    """
    # A name is a struct's tag first and a typedef second.
    spellings = [name] if name.startswith("struct ") else [f"struct {name}", name]
    for c_type in spellings:
        unit = header_unit(header, [(c_type, claimed)])
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
        return _with_others(measured(unit, command, answer, abi), unit, command)
    empty = compiled(header_unit(header, ()), command)
    if isinstance(empty, str):
        raise does_not_compile(command, empty)
    raise WitnessError(f"{header}: {command} finds no {' and no '.join(spellings)} in it")


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
    data = compiled(Unit(unit.declarations + kept, ()), command)
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
