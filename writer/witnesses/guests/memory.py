"""What a reader finds in memory beside its area: its file, other files' functions, its thread."""

from collections.abc import Callable, Sequence
from typing import Any

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.witnesses.compressed import Buffer
from runstate_abi.layouts.witnesses.elf import Section
from runstate_abi.writer.witnesses.guests.cpus import THUMB_RETURN, Cpu
from runstate_abi.writer.witnesses.object_file import SHF_WRITE, ObjectFile, relocated

# fmt: off
STUBS     = 0x0FF0_0000   # the functions of other files: near the code, in reach of Thumb's calls
OFFSETS   = 0x0FE0_0000   # the global offset table of position-independent code
GDT       = 0x0FD0_0000   # i386's descriptors of segments
TASK      = 0x7300_0000   # a kernel's current task, or a thread's variables
# fmt: on
TASK_SIZE = 0x4000
SLOT = 16
CHUNK = 64 << 10  # bytes of the file that are mapped at once
# Where a thread has the guard of its stack, from its segment's base.
GUARD = {"x86-64": 0x28, "i386": 0x14}
# Objects of which zeros are as good as anything: a guard of the stack, the first CPU's offset.
ZEROS, ZEROS_AT = ("__stack_chk_guard", "__per_cpu_offset"), TASK + TASK_SIZE // 2


class Memory:
    """The memory of one processor. What may change, or is not known, stops it with a reason."""

    def __init__(
        self,
        uc: Any,
        unicorn: Any,
        names: Any,
        file: ObjectFile,
        cpu: Cpu,
        sections: Sequence[tuple[int, Section]],
        is_kernel: bool,
        mask: int,
        area: range,
        stop: Callable[[str], None],
    ) -> None:
        """``names`` are unicorn's of this processor, ``mask`` the bits of an address that it uses.

        ``sections`` are the file's, by number, where they are; the variables of a kernel are as
        they are there, and those of a program may change. ``area`` is where the reader's area is;
        ``stop`` ends the run, with the reason.
        """
        self.uc, self.file, self.cpu, self.area, self.stop = uc, file, cpu, area, stop
        self._unicorn, self._mask = unicorn, mask
        self._stubs: dict[str, int] = {}
        self._slots: dict[int, int] = {}  # address -> number in the global offset table
        self._contents: dict[int, Buffer] = {}  # of a section, relocated
        self._is_kernel = is_kernel
        self._sections = [(n, s._replace(address=s.address & mask)) for n, s in sections]
        reads, data = unicorn.UC_HOOK_MEM_READ, unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE
        uc.mem_map(STUBS, PAGE_SIZE)
        uc.hook_add(reads, self._of_other_file, None, STUBS, STUBS + PAGE_SIZE - 1)
        for start, size in ((TASK, TASK_SIZE), (OFFSETS, PAGE_SIZE), (GDT, PAGE_SIZE)):
            uc.mem_map(start, size, data)
        if not is_kernel:
            uc.hook_add(reads, self._of_thread, None, TASK, ZEROS_AT - 1)
            self._set_segments(names)

    def set_returns(self, thumb: bool) -> None:
        """Let each function of another file return at once."""
        code = THUMB_RETURN if self.cpu.arch == "ARM" and thumb else self.cpu.code
        self.uc.mem_write(STUBS, code.ljust(SLOT, b"\0") * (PAGE_SIZE // SLOT))

    def called(self, address: int) -> str:
        """Return the name of another file's function at an address."""
        number = (address - STUBS) // SLOT
        return next((name for name, one in self._stubs.items() if one == number), hex(address))

    def load(self, address: int) -> bool:
        """Map what the file has at an address; False: nothing (WitnessError: it has no room)."""
        address &= self._mask
        start = address & -CHUNK
        there = [
            (number, s)
            for number, s in self._sections
            if s.address < start + CHUNK and s.address + s.size > start
        ]
        if not any(s.address <= address < s.address + s.size for _, s in there):
            return False
        try:
            self.uc.mem_map(start, CHUNK)
        except self._unicorn.UcError:
            raise WitnessError(
                f"{self.file.source}: the {CHUNK} bytes at {start:#x} cannot be loaded"
            ) from None
        for number, section in there:
            if section.flags & SHF_WRITE and not self._is_constant(section):
                first = max(section.address, start)
                last = min(section.address + section.size, start + CHUNK) - 1
                reads = self._unicorn.UC_HOOK_MEM_READ
                self.uc.hook_add(reads, self._variable, None, first, last)
            low = max(start - section.address, 0)
            content = self._content(number)[low : start + CHUNK - section.address]
            self.uc.mem_write(section.address + low, bytes(content))
        return True

    def reserve(self, address: int) -> None:
        """Map an area that is in no file, unless the file has something near it."""
        start = (address & self._mask) & -CHUNK
        near = range(start - CHUNK, start + 2 * CHUNK)
        if not any(
            s.address < near.stop and s.address + s.size > near.start for _, s in self._sections
        ):
            self.uc.mem_map(start, 2 * CHUNK)

    # A kernel's own variables are taken as the image has them; a program's may change.
    def _is_constant(self, section: Section) -> bool:
        name = self.file.name_of(section)
        return self._is_kernel or name.startswith((".data.rel.ro", ".got"))

    def _variable(
        self, uc: Any, access: int, address: int, size: int, value: int, data: Any
    ) -> None:
        if address + size <= self.area.start or address >= self.area.stop:
            self.stop(f"it loads {self.file.place(address)}, a variable, which may change")

    def _of_thread(
        self, uc: Any, access: int, address: int, size: int, value: int, data: Any
    ) -> None:
        if address - TASK != GUARD.get(self.cpu.name):
            self.stop("it loads a variable of its thread, which may be anything")

    def _content(self, number: int) -> Buffer:
        if not self.file.relocatable:
            return self.file.content(self.file.sections[number])
        if number not in self._contents:
            self._contents[number] = relocated(self.file, number, self._foreign, self._slot)
        return self._contents[number]

    def _slot(self, address: int) -> int:
        size = self.cpu.pointer
        place = OFFSETS + size * self._slots.setdefault(address, len(self._slots))
        if place + size > OFFSETS + PAGE_SIZE:
            raise WitnessError(f"{self.file.source}: its global offset table is too large")
        self.uc.mem_write(place, address.to_bytes(size, "little"))
        return place

    def _foreign(self, name: str, called: bool) -> int:
        if name in ZEROS:
            return ZEROS_AT
        return STUBS + SLOT * self._stubs.setdefault(name, len(self._stubs))

    def _of_other_file(
        self, uc: Any, access: int, address: int, size: int, value: int, data: Any
    ) -> None:
        self.stop(f"it loads {self.called(address)}, which is in another file")

    # Where a program's thread has its own variables, and gcc the value that guards the stack.
    def _set_segments(self, names: Any) -> None:
        if self.cpu.name == "x86-64":
            self.uc.reg_write(names.UC_X86_REG_FS_BASE, TASK)
            self.uc.reg_write(names.UC_X86_REG_GS_BASE, TASK)
        elif self.cpu.name == "i386":
            # Segments of 4 GB: what they are (data, code), and where they begin.
            segments = (0x92, 0), (0x9A, 0), (0x92, TASK)
            table = [0, *(_descriptor(*one) for one in segments)]
            self.uc.mem_write(GDT, b"".join(one.to_bytes(8, "little") for one in table))
            self.uc.reg_write(names.UC_X86_REG_GDTR, (0, GDT, 8 * len(table) - 1, 0))
            for name, number in zip(("CS", "SS", "DS", "ES", "GS"), (2, 1, 1, 1, 3), strict=True):
                self.uc.reg_write(getattr(names, f"UC_X86_REG_{name}"), 8 * number)


# Intel's manual, volume 3, 3.4.5.
def _descriptor(access: int, base: int) -> int:
    return 0xFFFF | (base & 0xFF_FFFF) << 16 | access << 40 | 0xCF << 48 | base >> 24 << 56
