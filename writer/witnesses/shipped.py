"""A shipped kernel's code and the debug info that goes with it, opened as they lie on the disk.

kvm.ko and a vmlinux[z], both compressed or not; an xen.o and its own BTF; a raw BTF blob.

Law of this file: which file gives what. What a file is, is told from its bytes, by elf.py and
vmlinuz.py.
"""

import mmap
import os
import stat

from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.witnesses import elf, vmlinuz
from runstate_abi.layouts.witnesses.btf import Btf
from runstate_abi.layouts.witnesses.elf import Elf
from runstate_abi.layouts.witnesses.inflate import compression, inflate
from runstate_abi.layouts.witnesses.vmlinuz import KernelImage
from runstate_abi.writer.witnesses import dwarf_types, object_file
from runstate_abi.writer.witnesses.c_types import BtfTypes, Types
from runstate_abi.writer.witnesses.object_file import SHT_RELA, ObjectFile, Symbol, targets

CODE_MAX = 128 << 20  # what a compressed module may inflate to


def open_elf(path: str) -> Elf:
    """Open an ELF file, compressed or not (WitnessError)."""
    try:
        # A pipe or a device could be endless, and opening one can take for ever.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise WitnessError(f"{path}: not a regular file")
        with open(path, "rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "an empty file"
        raise WitnessError(f"{path}: {reason}") from None
    how = compression(data)
    return elf.parse(memoryview(inflate(data, how, path, CODE_MAX)) if how else data, path)


def open_code(path: str) -> ObjectFile:
    """Open an object file to run (WitnessError if it is none, or nothing for x86-64)."""
    return object_file.read(open_elf(path))


def open_types(file: ObjectFile, path: str) -> Types:
    """Return the debug info that goes with code: its own BTF, on top of the kernel's at ``path`` if
    it is split; else what is at ``path``; else its own DWARF (WitnessError if there is none)."""
    own = _own(file.file)
    if own is not None and (own.split or not path):
        base = _btf(path) if path and not own.distilled_base else None
        return BtfTypes(vmlinuz.read_btf(own, base))
    if path:
        try:
            return BtfTypes(_btf(path))
        except WitnessError as error:
            found = dwarf_types.open_dwarf(path)
            if found is None:
                raise error
            return found
    found = dwarf_types.open_dwarf(file.source)
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


# Section -> what it lists, one of them, as a person would say it.
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
}
# fmt: on


def boot_patches(file: ObjectFile, function: Symbol) -> dict[str, int]:
    """Return how many places of a function each kind of patching would change (none: absent)."""
    if not file.relocatable:
        return {}
    places = range(function.address, function.address + function.size)
    found: dict[str, int] = {}
    for number, section in enumerate(file.sections):
        what = SITES.get(section.name)
        if what and section.type != SHT_RELA:
            count = sum(target in places for target in targets(file, number))
            if count:
                found[what] = count
    return found
