"""A reader of a struct with a version, out of a guest's machine code, and whom it meets."""

from collections.abc import Iterator
from typing import NamedTuple

from runstate_abi.layouts.structs.hyperv import TSC_PAGE
from runstate_abi.layouts.structs.pvclock import ARM_WALL_CLOCK, TIME_INFO
from runstate_abi.layouts.structs.steal_time import KVM_STEAL_TIME, STOLEN_TIME
from runstate_abi.writer.guest import Reader
from runstate_abi.writer.racing.ordering import MODEL
from runstate_abi.writer.versions.parties import ARM, ARM64, X86, Meeting, VersionReader
from runstate_abi.writer.versions.writers import WRITERS

# By the machines that code is run on here: what they are called where writers meet readers.
MACHINES = {"x86-64": X86, "i386": X86, "arm64": ARM64, "arm32": ARM}

# Family -> name of a struct -> its layout. The first is meant if none is named.
STRUCTS = {
    "pvclock": {TIME_INFO.name: TIME_INFO, ARM_WALL_CLOCK.name: ARM_WALL_CLOCK},
    "steal_time": {KVM_STEAL_TIME.name: KVM_STEAL_TIME, STOLEN_TIME.name: STOLEN_TIME},
    "hyperv": {TSC_PAGE.name: TSC_PAGE},
}


class Code(NamedTuple):
    """What is asked of a guest's code: FILE:FUNCTION, signature, the struct and its object."""

    what: str
    signature: str
    area: str
    struct: str | None
    offset: int = 0  # of the struct in what the pointer or the object is, in bytes


def meetings_of(code: Code, family: str) -> Iterator[Meeting]:
    """Yield the reader with each writer of its struct on its machine (WitnessError)."""
    from runstate_abi.writer.witnesses.guests.file import found

    structs = STRUCTS[family]
    layouts = [structs[code.struct]] if code.struct else list(structs.values())
    path, _, function = code.what.rpartition(":")
    seen, _ = found(path, function, code.signature, code.area, None, layouts, code.offset)
    layout = seen.layout
    reader = VersionReader(seen.reader, (layout,), (MACHINES[seen.machine],))
    for writer in WRITERS[family]:
        same = writer.layout.name == layout.name and _end(seen.reader) <= writer.layout.size
        meeting = Meeting(writer, reader, MODEL[seen.model])
        if same and meeting.machines:
            yield meeting


def nobody(code: Code, family: str) -> str:
    """Return why a reader out of code meets no writer."""
    return f"{code.what}: {family} has no public writer of its struct on its machine"


# Where the last byte that a reader loads ends: a reader of sec and nsec is content with 12 bytes.
def _end(reader: Reader) -> int:
    return max(load.measured.start + load.measured.size for load in reader.loads if load.measured)
