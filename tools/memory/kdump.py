"""Kernel dumps through drgn (extra `drgn`): compressed ones, and each CPU's xen_runstate by name.

drgn reads what kexec's kernel or makedumpfile wrote. It needs no debug info: the symbols are in the
dump's kallsyms, which VMCOREINFO locates. It cannot read a QEMU dump of a guest without VMCOREINFO
(-device vmcoreinfo). elfcore.py reads such a dump if it is ELF.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.layouts.findings import spaced
from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.structs.runstate import UINT64
from runstate_abi.tools.memory.area import LARGEST, SHIFT
from runstate_abi.tools.memory.image import Image, Piece

SYMBOL = "xen_runstate"  # Linux drivers/xen/time.c: DEFINE_PER_CPU(struct vcpu_runstate_info, ...)
OFFSETS = "__per_cpu_offset"
CPUS = "nr_cpu_ids"

# Words in drgn's errors for QEMU's kdumps, and what the user can do.
REASONS = {
    "ARCH_NAME": "a kdump that names no machine, as QEMU writes it: have QEMU write an ELF core",
    "vmcoreinfo": "no VMCOREINFO (QEMU: -device vmcoreinfo); --gpa in an ELF core needs none",
}


def program(source: str) -> Any:
    try:
        import drgn
    except ImportError:
        raise WitnessError("--drgn needs drgn: pip install 'runstate-abi[drgn]'") from None
    logging.getLogger("drgn").setLevel(logging.CRITICAL)  # errors are reported here, in one line
    opened = drgn.Program()
    try:
        opened.set_core_dump(source)
    except Exception as error:
        known = [why for word, why in REASONS.items() if word in str(error)]
        raise WitnessError(f"{source}: {(*known, f'drgn: {spaced(error)}')[0]}") from None
    return opened


def image(
    opened: Any, source: str, address: int, physical: bool = True, size: int = LARGEST
) -> Image:
    """Return ``size`` bytes at ``address``, where there are any, and a few in front of them."""
    start, last = max(address - 2 * SHIFT, 0), address + size
    pieces = []
    while start < last:
        # Page by page, because a dump may lack one of two.
        end = min(last, start - start % PAGE_SIZE + PAGE_SIZE)
        try:
            data = bytes(opened.read(start, end - start, physical))
        except Exception:
            data = b""  # reported if this part of the image is read
        if data:
            pieces.append(Piece(start, len(data), memoryview(data)))
        start = end
    if not pieces:
        raise WitnessError(f"{source}: {address:#x} is not in it")
    return Image(source, "kernel dump", tuple(pieces), opened.platform.arch.name.lower())


def percpu(opened: Any, source: str) -> Iterator[tuple[int, int]]:
    """Yield (CPU, virtual address of its xen_runstate), by the dump's symbols (WitnessError)."""
    with _one_line(f"{source}: no {SYMBOL} found"):
        base = opened.symbol(SYMBOL).address
        table = opened.symbol(OFFSETS).address
        count = int.from_bytes(opened.read(opened.symbol(CPUS).address, 4), "little")
        for cpu in range(count):
            place = table + cpu * UINT64.size
            offset = int.from_bytes(opened.read(place, UINT64.size), "little")
            yield cpu, (base + offset) % (1 << 64)


def add_symbols(opened: Any, source: str) -> None:
    """Let drgn find symbols in the dump's own kallsyms, since Linux v6.0 (WitnessError)."""
    with _one_line(f"{source}: its kallsyms"):
        from drgn.helpers.linux.kallsyms import load_vmlinux_kallsyms

        opened.register_symbol_finder("kallsyms", load_vmlinux_kallsyms(opened), enable_index=0)


def abi(opened: Any) -> str:
    """Return the layout of the areas of this kernel: ``native`` or ``compat``."""
    return "compat" if opened.platform.arch.name == "I386" else "native"


# What drgn raises becomes a WitnessError of one line.
@contextmanager
def _one_line(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise WitnessError(f"{what}: {spaced(error) or type(error).__name__}") from None
