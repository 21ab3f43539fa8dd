"""A shipped kernel's code with its debug info, opened.

kvm.ko and a vmlinux or vmlinuz, compressed or not; an xen.o and its own BTF; a raw BTF blob. The
bytes of a file decide what it is, not its name.
"""

from dataclasses import dataclass

from runstate_abi.layouts.abi import X86_64
from runstate_abi.layouts.model import Difference, Layouts, WitnessError, compare
from runstate_abi.layouts.structs.runstate import RUNSTATE_STRUCTS, claim
from runstate_abi.layouts.witnesses import elf, vmlinuz
from runstate_abi.layouts.witnesses.btf import Btf
from runstate_abi.layouts.witnesses.compressed import compression, inflate, mapped
from runstate_abi.layouts.witnesses.elf import Elf
from runstate_abi.layouts.witnesses.packages import unpacked
from runstate_abi.layouts.witnesses.vmlinuz import KernelImage
from runstate_abi.writer.rules import NEWEST, PROFILE, Profile
from runstate_abi.writer.witnesses import c_types, object_file
from runstate_abi.writer.witnesses.c_types import BtfTypes, Types
from runstate_abi.writer.witnesses.machine_code import ENTRIES, KvmWriter, require_entry
from runstate_abi.writer.witnesses.object_file import (
    SHF_EXECINSTR,
    SHT_NOBITS,
    SHT_RELA,
    ObjectFile,
    Symbol,
    targets,
)
from runstate_abi.writer.witnesses.xen_code import ENTRY, XenWriter

CODE_MAX = 128 << 20  # what a compressed module may inflate to


def open_code(path: str) -> ObjectFile:
    """Open an object file to execute, compressed or not (WitnessError: not for x86-64)."""
    data = memoryview(mapped(path))
    how = compression(data)
    unpacked_data = memoryview(inflate(data, how, path, CODE_MAX)) if how else data
    return object_file.read(elf.parse(unpacked_data, path))


def has_code(file: ObjectFile) -> bool:
    """Is there code in this file? A .debug file has only its symbols."""
    return any(s.flags & SHF_EXECINSTR and s.type != SHT_NOBITS for s in file.sections)


def has_writer(file: ObjectFile, entry: str = "") -> bool:
    """Is KVM's writer, or Xen's, or the function ``entry`` in this file?"""
    return any(file.find(name) for name in ((entry,) if entry else (*ENTRIES, ENTRY)))


def open_types(file: ObjectFile, path: str) -> Types:
    """Return the debug info for code (WitnessError if there is none).

    It is its own BTF, on top of the kernel's at ``path`` if it is split; else that at ``path``, or
    the DWARF there; else its own DWARF.
    """
    own = _own(file.file)
    if own is not None and own.needs_base and not path:
        # Without its kernel's BTF a module may have DWARF of its own.
        try:
            found = c_types.open_dwarf(file.source)
        except WitnessError:
            found = None
        if found is not None:
            return found
    if own is not None and (not path or own.distilled_base):
        return BtfTypes(vmlinuz.read_btf(own, None))
    if path:
        try:
            base = _btf(path)
            return BtfTypes(vmlinuz.read_btf(own, base) if own is not None and own.split else base)
        except WitnessError as error:
            found = c_types.open_dwarf(path)
            if found is None:
                raise error
            return found
    found = c_types.open_dwarf(file.source)
    if found is None:
        raise WitnessError(
            f"{file.source}: cannot judge: neither BTF nor DWARF in it: give its debug info with "
            "--btf FILE"
        )
    return found


def _btf(path: str) -> Btf:
    return vmlinuz.read_btf(vmlinuz.open_image(path))


def _own(file: Elf) -> KernelImage | None:
    blob = file.section(".BTF")
    if not blob:
        return None
    base = file.section(".BTF.base") or b""
    return KernelImage(file.source, "", file.abi, elf.build_id(file), blob, base)


# Section -> what each of its entries is, for a person.
# fmt: off
SITES = {
    ".altinstructions":               "alternative",
    ".parainstructions":              "paravirt call",
    "__mcount_loc":                   "ftrace site",
    ".return_sites":                  "return site",
    ".retpoline_sites":               "retpoline",
    "__jump_table":                   "static key",
    ".static_call_sites":             "static call",
    ".smp_locks":                     "lock site",
}  # section -> the printed name of its entries
# fmt: on


def boot_patches(file: ObjectFile, function: Symbol) -> dict[str, int]:
    """Return how many places of a function the kernel patches at boot, by kind."""
    if not file.relocatable:
        return {}
    places = range(function.address, function.address + function.size)
    found: dict[str, int] = {}
    for number, section in enumerate(file.sections):
        what = SITES.get(file.name_of(section))
        if what and section.type != SHT_RELA:
            count = sum(target in places for target in targets(file, number))
            if count:
                found[what] = count
    return found


Writer = KvmWriter | XenWriter


class WrongRequest(Exception):
    """A profile or a scenario of Xen's for KVM's writer, or the reverse."""


@dataclass(frozen=True, slots=True)
class Judged:
    """An opened writer, with all that identifies it, before it is judged."""

    path: str
    file: ObjectFile
    writer: Writer
    profile: Profile
    release: str
    build_id: str
    compiler: str
    patches: dict[str, int]
    layouts: Layouts
    differences: tuple[Difference, ...]
    compared: int
    types_path: str  # the file that was given for its types, if any

    @property
    def source(self) -> str:
        name = f"build-id {self.build_id[:12]}" if self.build_id else "no build-id"
        return f"{self.path}: {self.writer.entry.name}, {name}"


def opened(path: str, btf_path: str, entry: str = "", profile: str = "") -> Judged:
    """Open a kernel's or a hypervisor's code and its debug info, with the profile for it.

    WitnessError: it cannot be judged. WrongRequest: this is no profile for it.
    """
    with unpacked(path, btf_path) as (binary, btf):
        file = open_code(binary)
        rules = _profile(file, profile)
        if not rules.name.startswith("xen"):
            require_entry(file, entry)
        types = open_types(file, btf)
    writer = writer_of(file, types, entry, rules)
    seen = types.layouts(RUNSTATE_STRUCTS)
    held = [compare(claim(one.name, X86_64.name), one, types.source) for one in seen.found]
    symbol = file.find(writer.entry.name)
    return Judged(
        path,
        file,
        writer,
        rules,
        release(file),
        elf.build_id(file.file) or "",
        object_file.compiler(file),
        boot_patches(file, symbol) if symbol else {},
        seen,
        tuple(difference for one in held for difference in one.differences),
        sum(one.compared for one in held),
        btf_path,
    )


# Xen has its own writer, and its own profiles.
def _profile(file: ObjectFile, name: str) -> Profile:
    is_xen = file.find(ENTRY) is not None
    name = name or ("xen-va" if is_xen else NEWEST.name)
    if name.startswith("xen") != is_xen:
        raise WrongRequest(f"--profile {name}: not for {'Xen' if is_xen else 'KVM'}'s writer")
    return PROFILE[name]


def writer_of(file: ObjectFile, types: Types, entry: str, profile: Profile) -> Writer:
    """Load the writer of a file: each has its own emulator (WitnessError)."""
    if profile.name.startswith("xen"):
        return XenWriter(file, types, physical=profile.name == "xen-phys")
    return KvmWriter(file, types, entry)


# vermagic=6.12.107+deb13-amd64 SMP preempt mod_unload: the kernel that a module was built for.
def release(file: ObjectFile) -> str:
    try:
        info = bytes(file.file.section(".modinfo") or b"")
    except WitnessError:
        return ""
    for entry in info.split(b"\0"):
        key, _, value = entry.partition(b"=")
        if key == b"vermagic" and value.strip():
            return value.split()[0].decode("ascii", "backslashreplace")
    return ""
