"""The vDSO of a kernel, and in it the reader of the time info: Linux's vread_pvclock().

The vDSO is an ELF file in the kernel's data, with few symbols. vread_pvclock() has none: it is
found among the functions that others call, as the one that reads a page which is in no file and
compares a word of it. That page begins with vCPU 0's time info.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from struct import unpack_from

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.layouts.model import Layout, WitnessError
from runstate_abi.layouts.witnesses import elf
from runstate_abi.writer.witnesses import object_file
from runstate_abi.writer.witnesses.guests.cpus import MACHINES, signature
from runstate_abi.writer.witnesses.guests.inquiry import Inquiry
from runstate_abi.writer.witnesses.guests.machine import ReaderMachine
from runstate_abi.writer.witnesses.object_file import SHF_EXECINSTR, STT_FUNC, ObjectFile, Symbol

FUNCTION = "vread_pvclock"  # arch/x86/include/asm/vdso/gettimeofday.h
MARK = "__vdso_clock_gettime"  # a function that every x86-64 vDSO has
SIGNATURE = "u64 f(void)"
FIXED = ("flags",)  # it takes the time from elsewhere at once if the TSC is not stable
SIZE_MAX = 4 * PAGE_SIZE
ELF64 = b"\x7fELF\x02\x01\x01"
SIZE = 0x200  # bytes; what is called has no symbol that says it
NOWHERE = re.compile(r"it reaches (0x[0-9a-f]+), where nothing is")


def of_kernel(file: ObjectFile, layout: Layout) -> tuple[ObjectFile, str]:
    """Return a kernel's vDSO, with a symbol for vread_pvclock(), and the page that it reads.

    WitnessError: the kernel has none, or none that reads a time info.
    """
    for image in _images(file):
        for address in _called(image):
            page = _page(image, address, layout)
            if page is not None:
                section = _section(image, address)
                symbol = Symbol(FUNCTION, address, SIZE, section, STT_FUNC)
                known = {**image.by_name, FUNCTION: symbol}
                return replace(image, by_name=known), f"{page:#x}"
    raise WitnessError(
        f"{file.source}: no {FUNCTION}() in a vDSO of x86-64: it has none, or it was inlined there"
    )


def _images(file: ObjectFile) -> Iterator[ObjectFile]:
    data = file.file.data
    for found in re.finditer(re.escape(ELF64), data):
        at = found.start()
        try:
            image = elf.parse(data[at : at + SIZE_MAX], f"{file.source}'s vDSO")
            one = object_file.read(image, MACHINES)
        except WitnessError:
            continue  # another file in the kernel's data
        if one.find(MARK):
            yield one


# The functions that are called by a relative call (e8).
def _called(file: ObjectFile) -> Iterator[int]:
    texts = [s for s in file.sections if s.flags & SHF_EXECINSTR]
    spans = [range(s.address, s.address + s.size) for s in texts]
    found = dict[int, None]()
    for section in texts:
        code = bytes(file.content(section))
        for at in range(len(code) - 4):
            if code[at] == 0xE8:
                target = section.address + at + 5 + unpack_from("<i", code, at + 1)[0]
                if any(target in span for span in spans):
                    found[target] = None
    yield from found


def _section(file: ObjectFile, address: int) -> int:
    return next(
        number
        for number, s in enumerate(file.sections)
        if s.flags & SHF_EXECINSTR and s.address <= address < s.address + s.size
    )


# The page that a function reads first, if it reads a time info there; None if it is another one.
def _page(file: ObjectFile, address: int, layout: Layout) -> int | None:
    takes = signature(SIGNATURE, 8, is_global=True)
    try:
        ReaderMachine(file, address, takes, layout).run(bytes(layout.size))
        return None
    except WitnessError as error:
        where = NOWHERE.search(str(error))
    page = int(where[1], 16) & -PAGE_SIZE if where else 0
    if not page:
        return None
    try:
        asked = Inquiry(ReaderMachine(file, address, takes, layout, page), FIXED)
    except WitnessError:
        return None
    # Hyper-V's page begins with a number too, and has no flags.
    has_flags = any(one.offset == layout.offsetof("flags") for one in asked.loads)
    return page if has_flags and len(asked.deciding) > 1 else None
