"""Who writes and who reads a struct with a version, and on which machines they can meet."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from runstate_abi.layouts.model import Layout
from runstate_abi.writer.guest import Reader
from runstate_abi.writer.racing.ordering import MODEL, Model
from runstate_abi.writer.steps import Step
from runstate_abi.writer.versions.place import Change, Place

# The machines that writers and readers run on, and the memory model of each.
X86, LOONGARCH, RISCV64, RISCV32, ARM64, ARM = (
    "x86", "loongarch", "riscv64", "riscv32", "arm64", "arm"
)  # fmt: skip
MODELS = {X86: "x86-tso", **dict.fromkeys((LOONGARCH, RISCV64, RISCV32, ARM64, ARM), "weak")}


# Which of a guest's vCPUs may run while a writer writes: all of them, all but the one whose struct
# it is or whose MSR access it serves, or none.
ALL, OTHERS, NONE = "all", "others", "none"


class VersionWriter(NamedTuple):
    """One public writer of a struct."""

    name: str
    layout: Layout
    machines: tuple[str, ...]
    update: Callable[[Change, Place], Iterator[Step]]
    running: str  # which of the guest's vCPUs may run meanwhile: ALL, OTHERS, or NONE
    summary: str
    source: str
    pages: int = 1  # how many pages the struct may touch
    skips: tuple[int, ...] = ()  # sequences that it leaves out besides 0
    repairs: bool = (
        True  # it makes an odd version, left by an update that was cut short, even first
    )

    def takes(self, place: Place) -> bool:
        """Does it write a struct at this place?"""
        return self.pages > 1 or not place.crosses


class VersionReader(NamedTuple):
    """One public reader, the structs that it can read, and where."""

    reader: Reader
    layouts: tuple[Layout, ...]
    machines: tuple[str, ...]
    own: bool = False  # it reads only the struct of the vCPU that it runs on
    alone: str = ""  # why nothing is written while it reads, "" if something may be

    @property
    def name(self) -> str:
        return self.reader.name


class Meeting(NamedTuple):
    """A writer and a reader of the same struct, and the memory model that is asked about."""

    writer: VersionWriter
    reader: VersionReader
    model: Model

    @property
    def machines(self) -> tuple[str, ...]:
        """The machines on which both run."""
        return tuple(one for one in self.writer.machines if one in self.reader.machines)

    @property
    def elsewhere(self) -> str:
        """Why they do not meet on a machine of this memory model, "" if they do."""
        if any(MODELS[machine] == self.model.name for machine in self.machines):
            return ""
        return f"they meet on {', '.join(self.machines)} alone, which is not {self.model.name}"

    @property
    def is_usual(self) -> bool:
        """Do they meet on a machine of this model, with vCPUs of the guest that run?"""
        return not self.elsewhere and self.writer.running != NONE

    @property
    def unreachable(self) -> str:
        """Why an execution of these two cannot happen, "" if it can."""
        if self.elsewhere:
            return self.elsewhere
        if self.writer.running == NONE:
            return "no vCPU of the guest runs while this is written"
        if self.reader.own and self.writer.running == OTHERS:
            return "it reads its own vCPU's struct, which is written while that vCPU does not run"
        return self.reader.alone


def meetings(
    writers: tuple[VersionWriter, ...], readers: tuple[VersionReader, ...]
) -> Iterator[Meeting]:
    """Yield every writer with every reader that may read what it writes, on both models."""
    for writer in writers:
        for reader in readers:
            for model in (MODEL["x86-tso"], MODEL["weak"]):
                meeting = Meeting(writer, reader, model)
                if writer.layout in reader.layouts and meeting.machines:
                    yield meeting
