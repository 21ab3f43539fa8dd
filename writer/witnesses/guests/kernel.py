"""A guest's kernel as it is shipped, opened to run its code: a vmlinux, vmlinuz, Image or zImage.

A stripped one has its symbols in kallsyms. Its per-CPU variables are those of the image, as the
processor that boots has them: at the offset that __per_cpu_offset[0] holds before the kernel runs.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

from runstate_abi.layouts.abi import PAGE_SIZE, Abi
from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.witnesses import elf, vmlinuz
from runstate_abi.layouts.witnesses.compressed import viewed
from runstate_abi.layouts.witnesses.elf import Elf, Section
from runstate_abi.writer.witnesses import object_file
from runstate_abi.writer.witnesses.guests import kallsyms
from runstate_abi.writer.witnesses.guests.cpus import CPUS, MACHINES, Cpu
from runstate_abi.writer.witnesses.guests.kallsyms import KernelSymbol
from runstate_abi.writer.witnesses.object_file import (
    EM_AARCH64,
    EM_ARM,
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHT_DYNSYM,
    SHT_SYMTAB,
    STT_FUNC,
    STT_OBJECT,
    ObjectFile,
    Symbol,
)


class Known(NamedTuple):
    """One of Linux's own readers, for kernels without debug info."""

    signature: str
    area: str = ""  # the object that it reads, one for each CPU
    fixed: tuple[str, ...] = ()  # members that never change


# drivers/xen/time.c (read in 5.14 to 7.3); arch/x86/kernel/kvm.c and pvclock.c (read in 6.12 and
# 7.3). A kernel that trusts its clock sets valid_flags to PVCLOCK_TSC_STABLE_BIT when it boots;
# without it the time also goes through a maximum of all CPUs.
_RUNSTATE = "xen_runstate"
_INTO = Known("void f(struct vcpu_runstate_info *res, unsigned int cpu)", _RUNSTATE)
_TIME = Known("u64 f(struct pvclock_vcpu_time_info *src)", "", ("flags",))
PRESETS = {"valid_flags": b"\1"}  # variables of a kernel, as they are in a running guest
READERS = {
    "xen_get_runstate_snapshot": Known("void f(struct vcpu_runstate_info *res)", _RUNSTATE),
    "xen_get_runstate_snapshot_cpu": _INTO,
    "xen_get_runstate_snapshot_cpu_delta": _INTO,
    "xen_steal_clock": Known("u64 f(int cpu)", _RUNSTATE),
    "xen_vcpu_stolen": Known("bool f(int vcpu)", _RUNSTATE),
    "kvm_steal_clock": Known("u64 f(int cpu)", "steal_time"),
    "pvclock_read_flags": Known("u8 f(struct pvclock_vcpu_time_info *src)"),
    "pvclock_clocksource_read": _TIME,
    "pvclock_clocksource_read_nowd": _TIME,
}

ET_EXEC, SHT_PROGBITS = 2, 1
PERCPU = ".data..percpu"
# Where a raw image is, as far as anything in it depends on that: its code does not.
TEXT = {8: 0xFFFF_8000_8000_0000, 4: 0xC030_0000}
SIZE_MAX = 1 << 20  # bytes of a function or an object; kallsyms has no sizes
SAMPLES = 500
BEFORE_MAX = 8 << 20  # bytes of an image before its first function
# How most functions begin: nop, bti or paciasp; push, or mov ip, sp.
BEGINNINGS: dict[int, Callable[[int], bool]] = {
    EM_AARCH64: lambda word: word in (0xD503_201F, 0xD503_245F, 0xD503_233F),
    EM_ARM: lambda word: word >> 16 == 0xE92D or word in (0xE1A0_C00D, 0xE52D_E004),
}


def opened(path: str) -> ObjectFile:
    """Open an object, a program or a kernel image to run a guest's code (WitnessError)."""
    kernel = vmlinuz.kernel(path)
    raw = kernel.abi
    file = _raw(kernel.data, raw, path) if raw else elf.parse(kernel.data, path)
    if any(section.type in (SHT_SYMTAB, SHT_DYNSYM) and section.size for section in file.sections):
        return object_file.read(file, MACHINES)
    if (file.elf_class, file.machine) not in MACHINES or file.byteorder != "little":
        return object_file.read(file, MACHINES)  # says so
    return _of_kallsyms(file)


# A raw image as an ELF file with one section.
def _raw(data: memoryview, abi: Abi, path: str) -> Elf:
    assert abi.elf is not None
    elf_class, machine = abi.elf
    whole = Section(
        0, SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR, TEXT[abi.pointer_size], 0, len(data), 0, 0, 4
    )
    null = Section(*[0] * 9)
    return Elf(path, data, elf_class, "little", ET_EXEC, machine, (null, whole), data[:0])


def _of_kallsyms(file: Elf) -> ObjectFile:
    loaded = [s for s in file.sections if s.flags & SHF_ALLOC and s.type == SHT_PROGBITS]

    def address_of(offset: int) -> int:
        inside = (s for s in loaded if s.offset <= offset < s.offset + s.size)
        return next((s.address + offset - s.offset for s in inside), 0)

    try:
        found = kallsyms.symbols(viewed(file.data), file.elf_class // 8, address_of)
        if not file.names:
            file, found = _moved(file, found)
    except WitnessError as error:
        raise WitnessError(f"{file.source}: {error}") from None
    section_of = _sections(file)
    ends = sorted({one.address for one in found})
    after = dict(zip(ends, [*ends[1:], ends[-1] + SIZE_MAX], strict=True))
    symbols = tuple(
        Symbol(
            one.name,
            one.address,
            min(after[one.address] - one.address, SIZE_MAX),
            section_of(one.address),
            STT_FUNC if one.kind in "tTwW" else STT_OBJECT,
        )
        for one in found
    )
    named: defaultdict[str, list[Symbol]] = defaultdict(list)
    for symbol in symbols:
        named[symbol.name].append(symbol)
    # A name that a kernel has twice is nobody's.
    by_name = {name: those[0] for name, those in named.items() if len(those) == 1}
    return ObjectFile(file.source, file, False, file.sections, symbols, by_name)


# A raw image at the address that its symbols have: that of _text, or, if only functions have
# symbols, where most of them begin as functions do. They may count from 0, as if the image were
# there: then it is moved.
def _moved(file: Elf, found: list[KernelSymbol]) -> tuple[Elf, list[KernelSymbol]]:
    null, whole = file.sections
    if found[0].address < whole.address >> 1:
        found = [one._replace(address=one.address + whole.address) for one in found]
    text = next((one.address for one in found if one.name == "_text"), None)
    if text is None:
        functions = sorted({one.address for one in found if one.kind in "tT"})
        first, some = functions[0], functions[:: len(functions) // SAMPLES + 1]
        words = file.data[: len(file.data) & ~3].cast("I")
        known = BEGINNINGS[file.machine]

        def begun(text: int) -> int:
            places = (address - text >> 2 for address in some)
            return sum(known(words[at]) for at in places if at < len(words))

        text = max((first - back for back in range(0, BEFORE_MAX, PAGE_SIZE)), key=begun)
        if 2 * begun(text) < len(some):
            raise WitnessError("where its functions are cannot be told: give the vmlinux")
    return file._replace(sections=(null, whole._replace(address=text))), found


# A function: address -> number of the section that it is in, 0 for none.
def _sections(file: Elf) -> Callable[[int], int]:
    spans = sorted(
        (s.address, s.address + s.size, number)
        for number, s in enumerate(file.sections)
        if s.flags & SHF_ALLOC and s.address
    )
    starts = [start for start, _, _ in spans]

    def section_of(address: int) -> int:
        _, end, number = spans[bisect_right(starts, address) - 1] if spans else (0, 0, 0)
        return number if starts[0] <= address < end else 0

    return section_of


def is_kernel(file: ObjectFile) -> bool:
    return not file.relocatable and file.find("start_kernel") is not None


def placed(file: ObjectFile, per_cpu: int) -> list[tuple[int, Section]]:
    """Return the sections that a file loads, by number; ``per_cpu`` is where per-CPU ones begin.

    On x86-64 these had addresses from 0 on, until 9d7de2aa8b41 ("x86/percpu/64: Use relative
    percpu offsets") (in v6.15).
    """
    found = []
    for number, section in enumerate(file.sections):
        is_first = per_cpu and not file.relocatable and file.name_of(section) == PERCPU
        address = section.address or (per_cpu if is_first else 0)
        if section.flags & SHF_ALLOC and section.size and address:
            found.append((number, section._replace(address=address)))
    return found


def cpu_of(file: ObjectFile) -> Cpu:
    """Return how functions of a file are called; those of an i386 kernel by -mregparm=3."""
    cpu = CPUS[file.file.elf_class, file.file.machine]
    in_registers = cpu.name == "i386" and is_kernel(file)
    return cpu._replace(arguments=("EAX", "EDX", "ECX")) if in_registers else cpu


def per_cpu_offset(file: ObjectFile) -> int:
    """Return what the image holds in __per_cpu_offset[0], 0 if it says nothing."""
    symbol = None if file.relocatable else file.find("__per_cpu_offset")
    if symbol is None:
        return 0
    section = file.sections[symbol.section]
    at = symbol.address - section.address
    return int.from_bytes(file.content(section)[at : at + file.file.elf_class // 8], "little")


def is_per_cpu(file: ObjectFile, address: int) -> bool:
    """Is a variable one that each CPU has for itself, and this the address of the first copy?"""
    start, end = file.find("__per_cpu_start"), file.find("__per_cpu_end")
    if start is None or end is None:
        section = next((s for s in file.sections if file.name_of(s) == PERCPU), None)
        span = (section.address, section.address + section.size) if section else (0, 0)
    else:
        span = start.address, end.address
    return not file.relocatable and span[0] <= address < span[1]
