"""A guest's reader out of its machine code: what it loads, compares, refuses and believes.

The function runs in an emulator on an area whose bytes are chosen load by load. One run with a
quiet area gives its loads. In the others some loads see another version of the struct, or the flag
up: whether it still accepts, and what its result is, shows what it does with each byte of each
load. The result is a Reader, as writer/guest.py has them, and nothing about it is assumed: what
was found is checked against every combination of versions and flags, and what cannot be followed
is refused (WitnessError) with the instruction.
"""

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, NamedTuple

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.layouts.model import Layout, WitnessError
from runstate_abi.writer.guest import Load, Measured, Op, ReadBarrier, Reader
from runstate_abi.writer.vcpu import FLAG
from runstate_abi.writer.witnesses.machine import engine, require_room
from runstate_abi.writer.witnesses.object_file import (
    EM_386,
    EM_AARCH64,
    EM_ARM,
    EM_X86_64,
    SHF_ALLOC,
    SHF_EXECINSTR,
    ObjectFile,
    Symbol,
    relocated,
)

# fmt: off
STUBS     = 0x2000_0000   # the functions of other files
RETURN_TO = 0x2200_0000
STACK     = 0x3000_0000
AREA      = 0x7100_0000
RESULT    = 0x7200_0000   # what a pointer parameter that is not the area points to
# fmt: on
STACK_SIZE = 0x8000
OWN = ((STACK, STACK_SIZE), (RESULT, PAGE_SIZE))  # what it may store to
SLOT = 16
SECTION_MAX = 64 << 20  # the text of a vmlinux has 25 MB
INSTRUCTIONS_MAX = 20_000  # a reader takes 50, in one iteration
LOADS_MAX = 4096  # a copy byte by byte has 60
RETRIES = 20
REP = 0xF3  # the prefix of x86
DECIDING_MAX = 8  # loads of state_entry_time: get64() twice has six
COMBINATIONS_MAX = 4096
FILL = 0x6B  # what the result holds before


class Cpu(NamedTuple):
    """How a function is called, by unicorn's names."""

    name: str
    arch: str
    mode: str
    arguments: tuple[str, ...]  # () on the stack
    result: tuple[str, ...]  # low half first
    stack: str
    counter: str
    link: str  # "" the return address is on the stack
    pointer: int  # bytes
    code: bytes  # of a return
    model: str  # the memory model of its loads


CPUS = {
    (64, EM_X86_64): Cpu(
        "x86-64", "X86", "64", ("RDI", "RSI", "RDX", "RCX", "R8", "R9"), ("RAX",),
        "RSP", "RIP", "", 8, b"\xc3", "x86-tso",
    ),
    (32, EM_386): Cpu(
        "i386", "X86", "32", (), ("EAX", "EDX"),
        "ESP", "EIP", "", 4, b"\xc3", "x86-tso",
    ),
    (64, EM_AARCH64): Cpu(
        "arm64", "ARM64", "ARM", tuple(f"X{n}" for n in range(8)), ("X0",),
        "SP", "PC", "LR", 8, b"\xc0\x03\x5f\xd6", "weak",
    ),
    (32, EM_ARM): Cpu(
        "arm32", "ARM", "ARM", tuple(f"R{n}" for n in range(4)), ("R0", "R1"),
        "SP", "PC", "LR", 4, b"\x1e\xff\x2f\xe1", "weak",
    ),
}  # fmt: skip
THUMB_RETURN = b"\x70\x47"  # bx lr
MACHINES = {key: cpu.name for key, cpu in CPUS.items()}


class WrongSignature(ValueError):
    """A C signature that cannot be read: the message says why."""


class Signature(NamedTuple):
    """What a function takes, ``area``, ``result`` or ``number`` each, and what it returns."""

    takes: tuple[str, ...]
    returns: int  # bytes; 0: nothing
    sure: bool = True  # the area is a pointer to const, or the only one


# The sizes of what C functions return; a long is as large as a pointer.
RETURNED = {
    **dict.fromkeys(("bool", "_Bool", "char", "u8", "uint8_t"), 1),
    **dict.fromkeys(("int", "unsigned", "unsigned int", "u32", "s32", "uint32_t", "int32_t"), 4),
    **dict.fromkeys(("u64", "s64", "uint64_t", "int64_t", "long long", "unsigned long long"), 8),
    "void": 0,
}
_C = re.compile(r"\s*(.+?[\s*])(\w+)\s*\((.*)\)\s*;?\s*", re.DOTALL)


def signature(text: str, pointer: int, is_global: bool = False) -> Signature:
    """Read a C signature; pointers of ``pointer`` bytes (WrongSignature: a word is not known).

    The area is the first pointer to const, or the first pointer, unless it is a global object.
    Other pointers are where the result goes.
    """
    found = _C.fullmatch(text)
    if not found:
        raise WrongSignature(f"{text!r} is no signature as 'int f(const void *area, void *out)'")
    words = " ".join(w for w in found[1].split() if w not in ("static", "inline", "const"))
    sizes = RETURNED | dict.fromkeys(("long", "unsigned long"), pointer)
    if words not in sizes:
        raise WrongSignature(
            f"{text!r}: how large is {words}? it returns one of {', '.join(sizes)}"
        )
    given = [one.strip() for one in found[3].split(",")]
    kinds = [("*" in one, "const" in one) for one in given if one not in ("", "void")]
    return taking(kinds, sizes[words], is_global)


def taking(
    parameters: Sequence[tuple[bool, bool]], returns: int, is_global: bool = False
) -> Signature:
    """Return the Signature of parameters: is it a pointer, and one to const?"""
    pointers = [n for n, (is_pointer, _) in enumerate(parameters) if is_pointer]
    to_const = [n for n in pointers if parameters[n][1]]
    area = [] if is_global else (to_const or pointers)[:1]
    names = dict.fromkeys(pointers, "result") | dict.fromkeys(area, "area")
    sure = bool(to_const) or len(pointers) < 2
    takes = tuple(names.get(n, "number") for n in range(len(parameters)))
    return Signature(takes, returns, is_global or sure)


class Seen(NamedTuple):
    """One load of the area."""

    at: int  # the instruction
    offset: int
    size: int


@dataclass(slots=True)
class _Run:
    """What happened in one run, as far as it went."""

    loads: list[Seen] = field(default_factory=list)
    again: bool = False  # it went another way than the quiet run
    returned: int = 0
    result: bytes = b""


Versions = Mapping[int, bytes]  # number of the load -> the struct that it sees, if not the base


class ReaderMachine:
    """A processor with one reader in it."""

    def __init__(
        self,
        file: ObjectFile,
        entry: int,
        signature: Signature,
        layout: Layout,
        area: int = AREA,
    ) -> None:
        """``entry`` is the function's address; ``area`` the area's, if it is a global one."""
        unicorn = engine()
        require_room(file.source)
        self.area = area
        self.file, self.entry, self.signature, self.layout = file, entry, signature, layout
        self.cpu = cpu = CPUS[file.file.elf_class, file.file.machine]
        arch, mode = (getattr(unicorn, f"UC_{x}") for x in (f"ARCH_{cpu.arch}", f"MODE_{cpu.mode}"))
        self.uc = unicorn.Uc(arch, mode)
        names = __import__(f"unicorn.{cpu.arch.lower()}_const", fromlist=["*"])
        wanted = (*cpu.arguments, *cpu.result, cpu.stack, cpu.counter, cpu.link)
        self._ids = {n: getattr(names, f"UC_{cpu.arch}_REG_{n}") for n in wanted if n}
        self._unicorn, self._stopped = unicorn, ""
        self._run, self._quiet = _Run(), list[Seen]()
        self._versions: Versions = {}
        self._base = b""
        self._barriers: list[tuple[int, int]] | None = None  # (loads before it, instruction)
        self._executed, self._makers = (0, 0), list[int]()  # (instructions, the last); see traced()
        self._stubs: dict[str, int] = {}
        self._ends = set[int]()  # the first and the last pages of what is mapped of the file
        self._sections = [
            (number, s)
            for number, s in enumerate(file.sections)
            if s.flags & SHF_ALLOC and s.size and s.address
        ]
        self._map()
        self._before = self.uc.context_save()

    def _map(self) -> None:
        uc, unicorn = self.uc, self._unicorn
        data = unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE  # and not to be executed
        for start, size, access in (
            (STUBS, PAGE_SIZE, unicorn.UC_PROT_ALL),
            (RETURN_TO, PAGE_SIZE, unicorn.UC_PROT_ALL),
            (STACK, STACK_SIZE, data),
            (AREA, PAGE_SIZE, data),
            (RESULT, PAGE_SIZE, data),
        ):
            uc.mem_map(start, size, access)
        code = THUMB_RETURN if self.cpu.arch == "ARM" and self.entry & 1 else self.cpu.code
        uc.mem_write(STUBS, code.ljust(SLOT, b"\0") * (PAGE_SIZE // SLOT))
        end = AREA + PAGE_SIZE if self.area == AREA else self.area + self.layout.size
        uc.hook_add(unicorn.UC_HOOK_MEM_READ, self._read, None, self.area, end - 1)
        if self.area != AREA:
            self._mapped(self.area)
        uc.hook_add(unicorn.UC_HOOK_MEM_WRITE, self._write)
        uc.hook_add(unicorn.UC_HOOK_MEM_INVALID, self._invalid)
        uc.hook_add(unicorn.UC_HOOK_CODE, self._called, None, STUBS, STUBS + PAGE_SIZE - 1)
        uc.hook_add(unicorn.UC_HOOK_INTR, lambda uc, number, data: self._stop("an exception"))

    def traced(self, base: bytes) -> tuple[list[tuple[int, int]], list[int]]:
        """Return the read barriers of a quiet run, and for each load how much was executed before.

        A barrier is the number of loads before it, and the instruction. Loads of one instruction
        that was executed once have the same number.
        """
        self._barriers, self._executed = [], (0, 0)
        hook = self.uc.hook_add(self._unicorn.UC_HOOK_CODE, self._executes)
        try:
            self.run(base)
            return self._barriers, self._makers
        finally:
            self.uc.hook_del(hook)
            self._barriers = None

    def quiet(self, base: bytes) -> _Run:
        """Run with a struct that nobody changes; its loads are those of one iteration."""
        self._quiet = []
        run = self.run(base)
        self._quiet = run.loads
        return run

    def follow(self, base: bytes, versions: Versions) -> _Run:
        """Run without a stop where it goes another way: what it does after it saw a change."""
        quiet, self._quiet = self._quiet, []
        try:
            return self.run(base, versions, RETRIES * INSTRUCTIONS_MAX)
        finally:
            self._quiet = quiet

    def run(
        self, base: bytes, versions: Versions | None = None, limit: int = INSTRUCTIONS_MAX
    ) -> _Run:
        """Run the reader; the loads in ``versions`` see another struct (WitnessError)."""
        self._base, self._versions = base, {} if versions is None else versions
        self._run, self._stopped, self._makers = _Run(), "", []
        uc, cpu = self.uc, self.cpu
        uc.context_restore(self._before)  # nothing is carried from one run to the next
        uc.mem_write(RESULT, bytes([FILL]) * PAGE_SIZE)
        top = STACK + STACK_SIZE - 0x400
        uc.mem_write(STACK, bytes([FILL]) * STACK_SIZE)
        values = [{"area": AREA, "result": RESULT, "number": 0}[x] for x in self.signature.takes]
        if cpu.link:
            uc.reg_write(self._ids[cpu.link], RETURN_TO)
        else:
            frame = [RETURN_TO, *(() if cpu.arguments else values)]
            uc.mem_write(top, b"".join(one.to_bytes(cpu.pointer, "little") for one in frame))
        for register, value in zip(cpu.arguments, values, strict=False):
            uc.reg_write(self._ids[register], value)
        uc.reg_write(self._ids[cpu.stack], top)
        try:
            uc.emu_start(self.entry, RETURN_TO, 0, limit)
        except self._unicorn.UcError as error:
            raise self._refused(self._stopped or str(error).split(" (")[0].lower()) from None
        if self._stopped:
            raise self._refused(self._stopped)
        if not self._run.again and self._counter() != RETURN_TO:
            raise self._refused(f"it has not returned after {limit} instructions")
        registers = (uc.reg_read(self._ids[name]) for name in cpu.result)
        returned = b"".join(one.to_bytes(cpu.pointer, "little") for one in registers)
        self._run.returned = int.from_bytes(returned[: self.signature.returns], "little")
        self._run.result = bytes(uc.mem_read(RESULT, PAGE_SIZE))
        return self._run

    def place(self, address: int) -> str:
        """Return ``function+0x1c``; the addresses of Thumb functions are odd."""
        return self.file.place(address | (self.entry & 1 if self.cpu.arch == "ARM" else 0))

    def _counter(self) -> int:
        found: int = self.uc.reg_read(self._ids[self.cpu.counter])
        return found

    def _refused(self, why: str) -> WitnessError:
        at = self._counter()
        name = self.place(self.entry if at == RETURN_TO else at)
        return WitnessError(f"{self.file.source}: cannot follow this reader: {why}, at {name}")

    def _stop(self, why: str) -> None:
        self._stopped = self._stopped or why
        self.uc.emu_stop()

    # A load of the area: let it see its version.
    def _read(self, uc: Any, access: int, address: int, size: int, value: int, data: Any) -> None:
        self._load(address, size)

    def _load(self, address: int, size: int) -> bytes:
        offset, run = address - self.area, self._run
        number = len(run.loads)
        if offset < 0 or offset + size > self.layout.size:
            self._stop(f"it loads {size} bytes at {offset:+d}, which is not in the struct")
            return bytes(size)
        seen = Seen(self._counter(), offset, size)
        if self._quiet and (number >= len(self._quiet) or self._quiet[number] != seen):
            run.again = True
            self.uc.emu_stop()
        if number >= LOADS_MAX:
            self._stop(f"it loads more than {LOADS_MAX} times")
        run.loads.append(seen)
        self._makers.append(self._executed[0])
        struct = self._versions.get(number, self._base)
        self.uc.mem_write(address, struct[offset : offset + size])
        return struct[offset : offset + size]

    def _write(self, uc: Any, access: int, address: int, size: int, value: int, data: Any) -> None:
        end = address + size
        if address < self.area + self.layout.size and end > self.area:
            self._stop("it stores to the area")
        elif not any(start <= address and end <= start + room for start, room in OWN):
            self._stop(f"it stores to {address:#x}, which is neither its stack nor its result")

    # The file's own sections are mapped when they are reached.
    def _invalid(
        self, uc: Any, access: int, address: int, size: int, value: int, data: Any
    ) -> bool:
        # The engine would lose an exception raised here.
        try:
            found = self._mapped(address)
        except WitnessError as error:
            self._stopped = str(error).removeprefix(f"{self.file.source}: ")
            return False
        if not found:
            self._stopped = f"it reaches {address:#x}, where nothing is"
        return found

    def _mapped(self, address: int) -> bool:
        for _, section in self._sections:
            if section.address <= address < section.address + section.size:
                start = section.address & -PAGE_SIZE
                end = -(-(section.address + section.size) // PAGE_SIZE) * PAGE_SIZE
                # Sections of a program may share a page.
                start += PAGE_SIZE * (start in self._ends)
                end -= PAGE_SIZE * (end - PAGE_SIZE in self._ends and end > start)
                self._place(start, end)
                return True
        return False

    # Map these pages, with whatever the file has there.
    def _place(self, start: int, end: int) -> None:
        what = f"{self.file.source}: the {end - start} bytes at {start:#x} cannot be loaded"
        if end - start > SECTION_MAX:
            raise WitnessError(what)
        try:
            self.uc.mem_map(start, end - start)
        except self._unicorn.UcError:
            raise WitnessError(what) from None
        self._ends |= {start, end - PAGE_SIZE}
        for number, section in self._sections:
            low, high = max(start, section.address), min(end, section.address + section.size)
            if low < high and section.size <= SECTION_MAX:
                code = relocated(self.file, number, self._foreign)
                self.uc.mem_write(low, bytes(code[low - section.address : high - section.address]))

    def _foreign(self, name: str, called: bool) -> int:
        return STUBS + SLOT * self._stubs.setdefault(name, len(self._stubs))

    # memcpy() is a load of each byte, in any order.
    def _called(self, uc: Any, address: int, size: int, data: Any) -> None:
        names = {STUBS + SLOT * number: name for name, number in self._stubs.items()}
        name = names.get(address, "")
        if name not in ("memcpy", "__memcpy", "memmove"):
            self._stop(f"it calls {name or hex(address)}, which is not known here")
            return
        to, source, count = self._call_arguments()
        self._write(uc, 0, to, count, 0, None)
        if self._stopped:
            return
        end = self.area + self.layout.size
        if source < end and source + count > self.area and count:
            content = self._load(source, count)
        else:
            try:
                content = bytes(uc.mem_read(source, count))
            except self._unicorn.UcError:
                self._stop(f"it copies {count} bytes from {source:#x}, where nothing is")
                return
        uc.mem_write(to, content)
        uc.reg_write(self._ids[self.cpu.result[0]], to)

    def _call_arguments(self) -> tuple[int, int, int]:
        if self.cpu.arguments:
            one, two, three = (self.uc.reg_read(self._ids[n]) for n in self.cpu.arguments[:3])
            return one, two, three
        at = self.uc.reg_read(self._ids[self.cpu.stack]) + self.cpu.pointer
        words = bytes(self.uc.mem_read(at, 3 * self.cpu.pointer))
        size = self.cpu.pointer
        one, two, three = (
            int.from_bytes(words[n : n + size], "little") for n in range(0, 3 * size, size)
        )
        return one, two, three

    def _executes(self, uc: Any, address: int, size: int, data: Any) -> None:
        assert self._barriers is not None
        number, last = self._executed
        # A repeated string instruction is executed again for each element, but promises no order.
        again = address == last and self.cpu.arch == "X86" and uc.mem_read(address, 1)[0] == REP
        self._executed = number + (not again), address
        if size != 4 or self.cpu.model != "weak":
            return
        word = int.from_bytes(uc.mem_read(address, 4), "little")
        if self.cpu.arch == "ARM64" and is_acquire(word):
            self._barriers.append((len(self._run.loads) + 1, address))
        elif is_read_barrier(self.cpu.arch, word):
            self._barriers.append((len(self._run.loads), address))


# The Arm architecture reference manual (DDI 0487, C6.2 and F5.1). The two low bits of an option say
# what is ordered: 1 the loads before, 2 the stores, 3 both; the others in which domain.
def is_read_barrier(arch: str, word: int) -> bool:
    """Is this instruction a dmb or dsb that orders loads?"""
    if arch == "ARM64":
        return word & 0xFFFF_F0DF == 0xD503_309F and word >> 8 & 1 == 1
    if word & 0xFF00_FFFF == 0x8F00_F3BF:  # Thumb
        word = 0xF57F_F000 | word >> 16 & 0xFF
    return word & 0xFFFF_FFE0 == 0xF57F_F040 and word & 1 == 1


def is_acquire(word: int) -> bool:
    """Is this A64 instruction a load-acquire?"""
    return word & 0x3FE0_FC00 in (0x08C0_FC00, 0x38A0_C000)


def _pattern(layout: Layout, version: int) -> bytes:
    chance = random.Random(layout.size)
    bytes_ = bytearray(chance.randrange(1, 127) for _ in range(layout.size))
    bytes_[layout.field("state_entry_time").end - 1] = 0  # as it is for the next 2,000 years
    return bytes(bytes_) if not version else bytes(one ^ 0x7F for one in bytes_)


class Found(NamedTuple):
    """A reader as its code has it; ``places`` are the instructions of its loads."""

    reader: Reader
    places: tuple[int, ...]
    model: str


class _Inquiry:
    """Questions to one reader: does it accept, and what is its result, if loads see this?"""

    def __init__(self, machine: ReaderMachine) -> None:
        self.machine, self.layout = machine, machine.layout
        entry = machine.layout.field("state_entry_time")
        self.entry, self.top = range(entry.offset, entry.end), entry.end - 1
        self.base, self.other = _pattern(machine.layout, 0), _pattern(machine.layout, 1)
        self.quiet = machine.quiet(self.base)
        if not self.quiet.loads:
            raise machine._refused("it loads nothing of the area")
        self.loads = self.quiet.loads
        self.deciding = [n for n, one in enumerate(self.loads) if self.bytes_of(n, self.entry)]
        if len(self.deciding) > DECIDING_MAX:
            many = f"{len(self.deciding)} loads of state_entry_time"
            raise machine._refused(f"it has {many}, more than {DECIDING_MAX}")

    def bytes_of(self, number: int, places: range) -> list[int]:
        """Return the offsets of a load that are in ``places``."""
        one = self.loads[number]
        return [at for at in range(one.offset, one.offset + one.size) if at in places]

    def run(self, changes: Mapping[int, Mapping[int, int]]) -> _Run:
        """Run it; ``changes`` has (number of a load -> offset -> what is XORed)."""
        versions = {}
        for number, places in changes.items():
            struct = bytearray(self.base)
            for at, bits in places.items():
                struct[at] ^= bits
            versions[number] = bytes(struct)
        return self.machine.run(self.base, versions)

    def accepts(self, changes: Mapping[int, Mapping[int, int]]) -> bool:
        """Does it return what it returns if nothing changes, after the same loads?"""
        run = self.run(changes)
        if run.again:
            return False
        status = "result" in self.machine.signature.takes and self.machine.signature.returns
        refused = bool(status) and run.returned != self.quiet.returned
        if len(run.loads) < len(self.loads) and not refused:
            raise self.machine._refused("it may return before it has made all its loads")
        return not refused

    def result(self, changes: Mapping[int, Mapping[int, int]]) -> bytes:
        run = self.run(changes)
        status = "result" in self.machine.signature.takes
        returned = b"" if status else run.returned.to_bytes(8, "little")
        return returned + run.result


def reader_of(machine: ReaderMachine, name: str, line: Callable[[int], str]) -> Found:
    """Return the reader of a function (WitnessError: it cannot be followed).

    ``line`` names an instruction, for the names of the loads.
    """
    asked = _Inquiry(machine)
    compared = _compared(asked)
    flags = _flags(asked, compared)
    _verify(asked, compared, flags)
    believed = _believed(asked, compared)
    members = _members(asked, believed)
    program = tuple(_program(asked, compared, flags, believed, line))
    seen = len(asked.loads)
    reader = Reader(
        name,
        program,
        f"machine code, {seen} loads in an iteration",
        f"{machine.file.source}: {name}()",
        bit_check=any(flags.values()),
        uses=members,
    )
    return Found(reader, tuple(one.at for one in asked.loads), machine.cpu.model)


# For each deciding load the offsets of the bytes that must be the same in the others.
def _compared(asked: _Inquiry) -> dict[int, tuple[int, ...]]:
    found: dict[int, tuple[int, ...]] = {}
    for number in asked.deciding:
        mine = []
        for at in asked.bytes_of(number, asked.entry):
            bits = [1 << bit for bit in range(7 if at == asked.top else 8)]
            refused = [not asked.accepts({number: {at: bit}}) for bit in bits]
            if any(refused) and not all(refused):
                why = f"it compares only some bits of byte {at} of the struct"
                raise asked.machine._refused(why)
            if all(refused):
                mine.append(at)
        found[number] = tuple(mine)
    return found


# Which loads refuse the flag: asked with the flag in all loads that compare its byte, or in one.
def _flags(asked: _Inquiry, compared: Mapping[int, tuple[int, ...]]) -> dict[int, bool]:
    together = [number for number in asked.deciding if asked.top in compared[number]]
    up = {asked.top: FLAG}
    refused = bool(together) and not asked.accepts(dict.fromkeys(together, up))
    found = {}
    for number in asked.deciding:
        if not asked.bytes_of(number, range(asked.top, asked.top + 1)):
            found[number] = False
        elif number in together:
            found[number] = refused
        else:
            found[number] = not asked.accepts({number: up})
    return found


# Is what was found all there is? Every combination of versions and flags in the deciding loads.
def _verify(
    asked: _Inquiry, compared: Mapping[int, tuple[int, ...]], flags: Mapping[int, bool]
) -> None:
    numbers = asked.deciding
    has_top = [n for n in numbers if asked.bytes_of(n, range(asked.top, asked.top + 1))]
    ways = list(product((False, True), repeat=len(numbers) + len(has_top)))
    if len(ways) > COMBINATIONS_MAX:
        ways = random.Random(1).sample(ways, COMBINATIONS_MAX)
    for way in ways:
        new = {n for n, is_new in zip(numbers, way, strict=False) if is_new}
        up = {n for n, is_up in zip(has_top, way[len(numbers) :], strict=True) if is_up}
        changes = {n: _changed(asked, n, n in new, n in up) for n in numbers}
        wanted = _agrees(asked, compared, new, up) and not any(flags[n] for n in up)
        if asked.accepts(changes) != wanted:
            why = "whether it accepts is no comparison of its loads and test of the flag"
            raise asked.machine._refused(why)
    _verify_others(asked)
    _verify_retries(asked, compared, flags)


def _changed(asked: _Inquiry, number: int, new: bool, up: bool) -> dict[int, int]:
    places = asked.bytes_of(number, asked.entry)
    bits = {at: 0x7F if at == asked.top else 0xFF for at in places} if new else {}
    if up:
        bits[asked.top] = bits.get(asked.top, 0) | FLAG
    return bits


def _agrees(
    asked: _Inquiry, compared: Mapping[int, tuple[int, ...]], new: set[int], up: set[int]
) -> bool:
    for at in asked.entry:
        those = [n for n in asked.deciding if at in compared[n]]
        if len({(n in new, at == asked.top and n in up) for n in those}) > 1:
            return False
    return True


# Nothing but state_entry_time may decide.
def _verify_others(asked: _Inquiry) -> None:
    chance = random.Random(2)
    for _ in range(16):
        changes = {}
        for number, one in enumerate(asked.loads):
            places = range(one.offset, one.offset + one.size)
            changes[number] = {at: chance.randrange(256) for at in places if at not in asked.entry}
        if not asked.accepts(changes):
            raise asked.machine._refused("whether it accepts depends on other members too")


# What does it do after it saw a change? The same again from its first load on, or it says that it
# failed. A reader that never accepts in so many iterations is taken never to.
def _verify_retries(
    asked: _Inquiry, compared: Mapping[int, tuple[int, ...]], flags: Mapping[int, bool]
) -> None:
    machine, wanted = asked.machine, asked.loads
    status = bool("result" in machine.signature.takes and machine.signature.returns)
    for number in asked.deciding:
        if not (compared[number] or flags[number]):
            continue
        first = {number: _flipped(asked, number, compared, flags)}
        run = machine.follow(asked.base, first)
        if status and run.returned != asked.quiet.returned:
            continue
        places = _last_iteration(run.loads, wanted)
        if not places or run.result != asked.quiet.result:
            raise machine._refused("after it saw a change it does something else than it did")
        for index in asked.deciding:
            if places[index] != number and (compared[index] or flags[index]):
                second = first | {places[index]: _flipped(asked, index, compared, flags)}
                again = machine.follow(asked.base, second)
                if again.loads[: number + 1] != run.loads[: number + 1]:
                    continue  # a loop before the first change saw the second one
                refused = status and again.returned != asked.quiet.returned
                if len(again.loads) <= len(run.loads) and not refused:
                    raise machine._refused("after it saw a change it accepts what it did not")
    if not any(compared.values()) and not any(flags.values()):
        return
    restless = _Restless(asked, up=any(flags.values()))
    try:
        run = machine.follow(asked.base, restless)
    except WitnessError:
        if len(restless.asked) < RETRIES * len(wanted):
            raise
        return
    if not status or run.returned == asked.quiet.returned:
        raise machine._refused("it accepts after it has tried a number of times")


# The struct with a change that this load refuses.
def _flipped(
    asked: _Inquiry,
    number: int,
    compared: Mapping[int, tuple[int, ...]],
    flags: Mapping[int, bool],
) -> bytes:
    struct = bytearray(asked.base)
    if flags[number]:
        struct[asked.top] ^= FLAG
    else:
        struct[compared[number][0]] ^= 1
    return bytes(struct)


# Where the loads of a quiet iteration are in a longer run that ends with one. What is loaded before
# the loop, or was loaded at the end of the iteration before, is looked for in front of it.
def _last_iteration(loads: Sequence[Seen], wanted: Sequence[Seen]) -> list[int]:
    places: list[int] = []
    at = len(loads)
    for one in reversed(wanted):
        at -= 1
        while at >= 0 and loads[at][1:] != one[1:]:
            at -= 1
        if at < 0:
            return []
        places.append(at)
    found = places[::-1]
    skipped = [n for n in range(found[0], len(loads)) if n not in found]
    body = [one[1:] for one in wanted]
    return found if all(loads[n][1:] in body for n in skipped) else []


class _Restless(Mapping[int, bytes]):
    """Versions for a struct whose entry time is another one at each load, with the flag or not."""

    def __init__(self, inquiry: _Inquiry, up: bool) -> None:
        self.inquiry, self.up, self.asked = inquiry, up, set[int]()

    def __getitem__(self, number: int) -> bytes:
        self.asked.add(number)
        struct = bytearray(self.inquiry.base)
        for at in self.inquiry.entry:
            struct[at] ^= number % 127
        struct[self.inquiry.top] |= FLAG if self.up else 0
        return bytes(struct)

    def __iter__(self) -> Iterator[int]:
        return iter(self.asked)

    def __len__(self) -> int:
        return len(self.asked)


# (load, offset) of each byte that the result depends on. Compared bytes are the same in all loads
# that compare them, so the first of these stands for them.
def _believed(asked: _Inquiry, compared: Mapping[int, tuple[int, ...]]) -> set[tuple[int, int]]:
    before = asked.result({})
    found = set()
    for number, one in enumerate(asked.loads):
        for at in range(one.offset, one.offset + one.size):
            those = [number]
            if at in compared.get(number, ()):
                those = [n for n in asked.deciding if at in compared[n]]
                if those[0] != number:
                    continue
            for bits in (0x7F, 0x01, 0x40):
                if asked.result({n: {at: bits} for n in those}) != before:
                    found.add((number, at))
    return found


def _members(asked: _Inquiry, believed: set[tuple[int, int]]) -> tuple[str, ...]:
    names = tuple(
        row.name
        for row in asked.layout.members
        if any(row.offset <= at < row.end for _, at in believed)
    )
    if not set(names) - {"state_entry_time"}:
        why = "its result has no member but state_entry_time" if names else "it has no result"
        raise asked.machine._refused(why)
    return names


def _program(
    asked: _Inquiry,
    compared: Mapping[int, tuple[int, ...]],
    flags: Mapping[int, bool],
    believed: set[tuple[int, int]],
    line: Callable[[int], str],
) -> Iterator[Op]:
    barriers, makers = asked.machine.traced(asked.base)
    read = 0
    for number, one in enumerate(asked.loads):
        yield from (ReadBarrier(line(at)) for before, at in barriers if before == number)
        decides = bool(compared.get(number) or flags.get(number))
        read += decides
        takes = tuple(sorted(at for n, at in believed if n == number))
        same = number > 0 and makers[number - 1] == makers[number]
        does = Measured(
            one.offset, one.size, compared.get(number, ()), flags.get(number, False), takes, same
        )
        name = f"{line(one.at)}"
        yield Load(name, "measured", read if decides else 0, False, does)


def require(file: ObjectFile, function: str) -> Symbol:
    """Return the symbol of a function (WitnessError: there is none)."""
    symbol = file.find(function)
    if symbol is None or not file.sections[symbol.section].flags & SHF_EXECINSTR:
        raise WitnessError(f"{file.source}: no function {function}")
    return symbol


def opened(
    file: ObjectFile, function: str, signature: Signature, layout: Layout, area: str = ""
) -> ReaderMachine:
    """Return a machine with a function in it; ``area`` is the symbol of a global area.

    WitnessError: there is no such function, or area.
    """
    symbol = require(file, function)
    place = file.find(area) if area else None
    if area and place is None:
        raise WitnessError(f"{file.source}: no object {area}")
    if not area and "area" not in signature.takes:
        why = "takes no pointer: which object is the area? (--area SYMBOL)"
        raise WitnessError(f"{file.source}: {function} {why}")
    address = place.address if place else AREA
    return ReaderMachine(file, symbol.address, signature, layout, address)
