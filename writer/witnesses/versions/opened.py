"""The function of one family in a shipped kernel, opened: with all that identifies the kernel."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.witnesses import elf
from runstate_abi.layouts.witnesses.packages import unpacked
from runstate_abi.writer.witnesses import object_file, shipped
from runstate_abi.writer.witnesses.c_types import Types
from runstate_abi.writer.witnesses.object_file import ObjectFile
from runstate_abi.writer.witnesses.versions import clock, steal
from runstate_abi.writer.witnesses.versions.clock import ClockWriter
from runstate_abi.writer.witnesses.versions.kernel import Entry, Kernel, require
from runstate_abi.writer.witnesses.versions.steal import StealWriter
from runstate_abi.writer.witnesses.versions.updates import Shape, Update


class Writer(Protocol):
    """A function in an emulator: what it can be asked, and what it does then."""

    function: str
    shape: Shape
    entry: Entry
    kernel: Kernel

    def requests(self) -> Iterator[Any]: ...

    def run(self, asked: Any, places: bool = False) -> Update: ...


WRITERS: Mapping[str, Callable[[ObjectFile, Types], Writer]] = {
    "pvclock": ClockWriter,
    "steal_time": StealWriter,
}
FUNCTIONS = {"pvclock": clock.FUNCTION, "steal_time": steal.FUNCTION}
NOT_BUILT = {"hyperv": "kvm_hv_setup_tsc_page"}


@dataclass(frozen=True, slots=True)
class Opened:
    """A kernel's function, ready to be asked."""

    path: str
    family: str
    file: ObjectFile
    writer: Writer
    release: str
    build_id: str
    compiler: str
    patches: dict[str, int]


def opened(path: str, btf_path: str, family: str) -> Opened:
    """Open a kernel's code and its debug info (WitnessError: it cannot be judged)."""
    if family in NOT_BUILT:
        what = f"no emulation of {NOT_BUILT[family]}(): not built"
        raise WitnessError(f"{path}: cannot judge: {what}")
    with unpacked(path, btf_path) as (binary, btf):
        file = shipped.open_code(binary)
        require(file, FUNCTIONS[family])
        types = shipped.open_types(file, btf)
    writer = WRITERS[family](file, types)
    return Opened(
        path,
        family,
        file,
        writer,
        shipped.release(file),
        elf.build_id(file.file) or "",
        object_file.compiler(file),
        shipped.boot_patches(file, writer.entry.symbol),
    )
