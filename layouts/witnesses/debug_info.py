"""What is asked of a file with debug info: the settings, and one kind of debug info of a file."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from runstate_abi.layouts.abi import X86_64, Abi
from runstate_abi.layouts.findings import Finding, unchecked
from runstate_abi.layouts.model import Inside, Layouts
from runstate_abi.layouts.structs.mirrors import AS_CLAIMED, Mirrors
from runstate_abi.layouts.structs.runstate import RUNSTATE_STRUCTS
from runstate_abi.layouts.witnesses.compressed import sha256

if TYPE_CHECKING:
    from runstate_abi.layouts.structs.families import Family

BTF = "btf"


class Settings(NamedTuple):
    abi: Abi | None = None  # if the user gave one
    btf_base: str | None = None  # given for split BTF
    allowed: frozenset[str] = frozenset()  # structs and witnesses that may be missing
    mirrors: Mirrors = AS_CLAIMED  # the structs that are looked for under other names
    families: "tuple[Family, ...]" = ()  # asked as well
    runstate: bool = True  # is runstate asked?
    # (name in the file, claim's name) of their structs; () is every one by its own name
    others: tuple[tuple[str, str], ...] = ()

    def names(self) -> tuple[tuple[str, str], ...]:
        """Return (name in the file, claim's name) of each struct that is looked for."""
        return self.mirrors.structs or tuple((name, name) for name in RUNSTATE_STRUCTS)

    def unchecked(self, path: str, why: str, witness: str = BTF) -> Finding:
        return unchecked(witness, path, why, witness not in self.allowed)


class DebugInfo(NamedTuple):
    witness: str
    path: str
    abi: Abi | None  # None if no ABI here is that of its machine
    machine: str  # what the file then says, "" if it says nothing
    kind: str  # which file it is, for the user, together with ``build_id``
    build_id: str | None
    observe: Callable[[Sequence[str], Abi, Inside], Layouts]
    base: str = ""  # the file that its split BTF was read with
    note: str = ""


def abi_of(info: DebugInfo, settings: Settings) -> Abi:
    return info.abi or settings.abi or X86_64


def of_no_abi(info: DebugInfo, settings: Settings) -> str:
    """Return why a file cannot be compared with any ABI, "" if it can."""
    if not info.machine or settings.abi:
        return ""
    return (
        f"{info.path}: {info.machine}: no ABI here is that machine's; --abi says which to compare "
        "with"
    )


def identity(path: str, build_id: str | None) -> str:
    """Return the first 12 digits of a file's build-id or, if it has none, of its SHA-256."""
    return f"build-id {build_id[:12]}" if build_id else f"sha256 {sha256(path)[:12]}"
