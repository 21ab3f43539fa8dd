"""The source lines of the judged code's instructions, from its debug info, by drgn (an extra).

The debug info may be in the code's own file, in a separate .debug file, or in the file given for
the types. A file with other code than the judged file has is not used: its lines would be wrong.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstate_abi.layouts.model import CodeLine, WitnessError
from runstate_abi.layouts.witnesses import dwarf, elf
from runstate_abi.layouts.witnesses.elf import Elf
from runstate_abi.layouts.witnesses.packages import unpacked
from runstate_abi.writer.witnesses.object_file import BASE, LOADED_MAX, SHF_EXECINSTR, ObjectFile

if TYPE_CHECKING:
    import drgn

HINT = "build with -g, or give the .debug file with --btf"
FUNCTION_MAX = 0x4000  # bytes of a function in which its last line is looked for
DEBUG_FOLDER = "/usr/lib/debug"  # where distributions install separate debug info


@dataclass(frozen=True, slots=True)
class Lines:
    """An opened file's source lines; without a ``program``, ``hint`` says what would give them."""

    program: "drgn.Program | None"
    hint: str = ""

    def of(self, chain: Sequence[int], at_return: bool = False) -> tuple[CodeLine, ...]:
        """Return the lines of an instruction and of the calls that led to it, innermost first.

        Inlined functions are calls too. Line 0, which compilers give to merged code and to their
        own, is left out; ``at_return``: instead of it the instruction has the function's last line.
        """
        found = [[*self._at(address)] for address in chain]
        if at_return and found and not found[0]:
            found[0] += self._last_line(chain[0])
        return tuple(line for lines in found for line in lines)

    def _at(self, address: int) -> Iterator[CodeLine]:
        for one in self._frames(address):
            if one.line:
                yield CodeLine(_from_here(one.filename), one.line, one.name())

    # The highest line that is the function's own at an address, and not of what is inlined in it.
    def _last_line(self, address: int) -> Iterator[CodeLine]:
        function = [one.name() for one in self._frames(address)[-1:]]
        found: list[drgn.SourceLocation] = []
        for step in (-1, 1):
            for at in range(address, address + step * FUNCTION_MAX, step):
                frames = self._frames(at)
                if not function or [one.name() for one in frames[-1:]] != function:
                    break
                found += frames if len(frames) == 1 else ()
        last = max(found, key=lambda one: one.line, default=None)
        if last and last.line:
            yield CodeLine(_from_here(last.filename), last.line, last.name())

    def _frames(self, address: int) -> "tuple[drgn.SourceLocation, ...]":
        try:
            return tuple(self.program.source_location(address)) if self.program else ()
        except Exception:
            # drgn has many exceptions, for an address without a line and for damaged DWARF.
            return ()


def opened(file: ObjectFile, path: str, types_path: str) -> Lines:
    """Find and open the debug info of a judged file; ``types_path`` is where its types are."""
    hint = HINT
    with unpacked(path, types_path) as (binary, types):
        for one in dict.fromkeys(filter(None, (binary, types, *_beside(file.file, binary)))):
            try:
                source = dwarf.opened(one)
                if source and (one == binary or _same_code(file.file, source.file)):
                    return Lines(dwarf.read(source, *_placed(file)))
            except WitnessError as error:
                hint = str(error)
    return Lines(None, hint)


# Where a debugger looks for separate debug info: by the name in the file, and by the build-id.
def _beside(file: Elf, binary: str) -> Iterator[str]:
    folder, build_id = os.path.dirname(os.path.abspath(binary)), elf.build_id(file)
    try:
        link = bytes(file.section(".gnu_debuglink") or b"").partition(b"\0")[0]
    except WitnessError:
        link = b""
    for name in filter(None, (os.path.basename(os.fsdecode(link)), f"{binary}.debug")):
        for place in (folder, f"{folder}/.debug", DEBUG_FOLDER + folder):
            yield os.path.join(place, os.path.basename(name))
    if build_id:
        yield f"{DEBUG_FOLDER}/.build-id/{build_id[:2]}/{build_id[2:]}.debug"


# By their build-ids; without them, by the sizes of their sections of code.
def _same_code(file: Elf, other: Elf) -> bool:
    ours, theirs = elf.build_id(file), elf.build_id(other)
    if ours and theirs:
        return ours == theirs
    sizes = [
        [(s.size, s.alignment) for s in one.sections if s.flags & SHF_EXECINSTR]
        for one in (file, other)
    ]
    return file.type == other.type and sizes[0] == sizes[1]


# Where the file is in memory, and each section of a relocatable one, if its name is unique.
def _placed(file: ObjectFile) -> tuple[tuple[int, int], dict[str, int]]:
    if not file.relocatable:
        return (0, (1 << 64) - 1), {}
    named = [(file.name_of(section), section.address) for section in file.sections]
    times = Counter(name for name, address in named if address)
    return (BASE, BASE + LOADED_MAX), {n: at for n, at in named if at and times[n] == 1}


# A file below the current folder is named from there, also if it was compiled in another folder.
def _from_here(name: str) -> str:
    name = os.path.normpath(name)
    parts = name.split(os.sep)
    # A name without its folder may be any file's.
    for start in range(max(len(parts) - 1, 1)):
        path = os.path.join(*parts[start:])
        if not os.path.isabs(path) and os.path.exists(path):
            return path
    return name
