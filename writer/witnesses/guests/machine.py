"""An emulated processor that runs a guest's reader, and chooses what each of its loads sees."""

from collections.abc import Callable, Mapping
from ctypes import byref, c_uint64
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.layouts.model import Layout, WitnessError
from runstate_abi.writer.witnesses.guests.cpus import (
    GENERAL,
    Signature,
    is_acquire,
    is_clock,
    is_random,
    is_read_barrier,
    is_unlike_sse,
)
from runstate_abi.writer.witnesses.guests.kernel import cpu_of, is_kernel, placed
from runstate_abi.writer.witnesses.guests.memory import STUBS, TASK, TASK_SIZE, Memory
from runstate_abi.writer.witnesses.machine import engine, require_room
from runstate_abi.writer.witnesses.object_file import ObjectFile
from runstate_abi.writer.witnesses.program import ADDRESS_MASK

# fmt: off
RETURN_TO = 0x2200_0000
STACK     = 0x3000_0000
AREA      = 0x7100_0000
RESULT    = 0x7200_0000   # what a pointer parameter that is not the area points to
# fmt: on
STACK_SIZE = 0x8000
RESULTS_MAX = 8  # pointer parameters, a page for each
OWN = ((STACK, STACK_SIZE), (RESULT, RESULTS_MAX * PAGE_SIZE))  # what it may store to
INSTRUCTIONS_MAX = 20_000  # a reader takes 50, in one iteration
LONG = 20  # times as many, if it is followed
LOADS_MAX = 8192  # a copy byte by byte has 60, and is tried 127 times
# x86 instructions whose results come from elsewhere; the engine has no hook for the latter ones.
ASKING = ("IN", "OUT", "SYSCALL", "SYSENTER", "CPUID")
READING = {b"\x0f\x31": "rdtsc", b"\x0f\x32": "rdmsr", b"\x0f\x33": "rdpmc"}
READING[b"\x0f\x01\xf9"] = "rdtscp"
CLOCKS = (
    b"\x0f\x31",
    b"\x0f\x01\xf9",
)  # of these, the answer of a reader of the time may be made of
TSC = 0x0123_4567_89AB_CDEF  # what they say
# Functions that do nothing to a reader: calls of a tracer, of gcov or of a mitigation.
QUIET = ("__fentry__", "mcount", "_mcount", "__sanitizer_cov_trace_pc", "__x86_return_thunk")
REP = 0xF3  # the prefix of x86
WIDEST = 63  # bytes of a load but one
FILL = 0x6B  # what the result holds before


class Seen(NamedTuple):
    """One load of the area."""

    at: int  # the instruction
    offset: int
    size: int
    copied: bool = False  # by memcpy()


@dataclass(slots=True)
class Attempt:
    """What happened in one run, as far as it went."""

    loads: list[Seen] = field(default_factory=list)
    parted: int | None = None  # the first load that is another than the quiet run's
    returned: int = 0
    result: bytes = b""


# How to read a register at each load: reg_read() looks for the register's type first, each time.
def _reading(uc: Any, register: int) -> Callable[[], int]:
    read = getattr(uc, "_do_reg_read", None)
    if read is None:
        return partial(uc.reg_read, register)
    value = c_uint64()
    to = byref(value)

    def reading() -> int:
        read(register, to)
        return value.value

    return reading


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
        per_cpu: int = 0,
        offset: int = 0,
    ) -> None:
        """``entry`` is the function's address; ``area`` the area's, if it is a global one.

        ``per_cpu`` is the offset of the CPU's own variables, ``offset`` that of the area behind
        what a parameter points to.
        """
        unicorn = engine()
        require_room(file.source)
        self.file, self.entry, self.signature, self.layout = file, entry, signature, layout
        self.cpu = cpu = cpu_of(file)
        arch, mode = (getattr(unicorn, f"UC_{x}") for x in (f"ARCH_{cpu.arch}", f"MODE_{cpu.mode}"))
        self.uc = unicorn.Uc(arch, mode)
        names = __import__(f"unicorn.{cpu.arch.lower()}_const", fromlist=["*"])
        wanted = (*cpu.arguments, *cpu.result, cpu.stack, cpu.counter, cpu.link)
        wanted += cpu.per_cpu, cpu.task
        self._ids = {n: getattr(names, f"UC_{cpu.arch}_REG_{n}") for n in wanted if n}
        self._unicorn, self._stopped = unicorn, ""
        self.number = 0  # what a parameter is that is no pointer
        self.pointer = AREA - offset  # what a parameter is that points to the area
        self._run, self._quiet = Attempt(), list[Seen]()
        self._versions: Versions = {}
        self._base, self._follows, self._stays = b"", False, True
        self._there = b""  # the version that the area holds
        self._barriers: list[tuple[int, int]] | None = None  # (loads before it, instruction)
        self._acquires = 0  # the load-acquire that is being executed
        self.acquired = list[int]()  # the loads of the last traced run that are such
        # What rdtscp names as the CPU, time after time; the last one for ever.
        self.cpus: tuple[int, ...] = (0,)
        self._asked_cpu = 0  # how often it was asked
        self._states: dict[tuple[object, ...], int] | None = None  # see endures()
        self._period, self._comes_back, self.since = 1, False, 0
        self._stored = bytearray()  # which bytes of the results it has stored
        general = (f"UC_{cpu.arch}_REG_{n}" for n in GENERAL[cpu.name])
        self._counter = _reading(self.uc, self._ids[cpu.counter])
        self._registers = [getattr(names, n) for n in general]
        self._executed, self._makers = (0, 0), list[int]()  # (instructions, the last); see traced()
        self.names_cpu = False  # does it run rdtscp?
        self._clocks = dict[int, int]()  # the instructions that read the time, and their sizes
        wide = "R" if cpu.pointer == 8 else "E"
        answers = (f"UC_X86_REG_{wide}{x}X" for x in "ADC" if cpu.arch == "X86")
        self._clock_registers = [getattr(names, name) for name in answers]
        mask = ADDRESS_MASK if cpu.name == "x86-64" else -1
        self._mask, self.area = mask, area & mask
        where = range(self.area, self.area + layout.size)
        own = placed(file, per_cpu), is_kernel(file)
        self.memory = Memory(self.uc, unicorn, names, file, cpu, *own, mask, where, self._stop)
        self._map()
        if cpu.task:
            self.uc.reg_write(self._ids[cpu.task], TASK)
        if per_cpu:
            if not cpu.per_cpu:
                raise WitnessError(f"{file.source}: where its per-CPU variables are is not known")
            self.uc.reg_write(self._ids[cpu.per_cpu], per_cpu)
        self._before = self.uc.context_save()

    def _map(self) -> None:
        uc, unicorn = self.uc, self._unicorn
        data = unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE  # and not to be executed
        uc.mem_map(RETURN_TO, PAGE_SIZE)
        for start, size in ((AREA, PAGE_SIZE), *OWN):
            uc.mem_map(start, size, data)
        self.memory.set_returns(thumb=bool(self.entry & 1))
        own = self.area == AREA
        end = AREA + PAGE_SIZE if own else self.area + self.layout.size
        start = AREA if own else self.area - WIDEST  # a load may begin in front of a global area
        uc.hook_add(unicorn.UC_HOOK_MEM_READ, self._read, None, start, end - 1)
        if self.area != AREA and not self.memory.load(self.area):
            self.memory.reserve(self.area)
        uc.hook_add(unicorn.UC_HOOK_MEM_WRITE, self._write)
        results = RESULT, RESULT + RESULTS_MAX * PAGE_SIZE - 1
        uc.hook_add(unicorn.UC_HOOK_MEM_READ, self._reads_back, None, *results)
        uc.hook_add(unicorn.UC_HOOK_MEM_INVALID, self._invalid)
        uc.hook_add(unicorn.UC_HOOK_CODE, self._called, None, STUBS, STUBS + PAGE_SIZE - 1)
        uc.hook_add(unicorn.UC_HOOK_INTR, lambda uc, number, data: self._stop("an exception"))
        for name in ASKING if self.cpu.arch == "X86" else ():
            number = getattr(unicorn.x86_const, f"UC_X86_INS_{name}")
            asks = partial(self._asks, name.lower())
            uc.hook_add(unicorn.UC_HOOK_INSN, asks, None, 1, 0, number)

    def traced(
        self, base: bytes, versions: Versions | None = None
    ) -> tuple[list[tuple[int, int]], list[int]]:
        """Return the read barriers of a run, and for each load how much was executed before.

        A barrier is the number of loads before it, and the instruction. Loads of one instruction
        that was executed once have the same number. With ``versions`` it is followed.
        """
        self._barriers, self._executed, self.acquired = [], (0, 0), []
        hook = self.uc.hook_add(self._unicorn.UC_HOOK_CODE, self._executes)
        try:
            self.run(base) if versions is None else self.follow(base, versions)
            return self._barriers, self._makers
        finally:
            self.uc.hook_del(hook)
            self._barriers = None

    def stop_clocks(self, base: bytes) -> None:
        """Let the instructions that read the time stamp counter in a quiet run always say TSC."""
        found = dict[int, int]()

        def finds(uc: Any, address: int, size: int, data: Any) -> None:
            if bytes(uc.mem_read(address & self._mask, size)) in CLOCKS:
                found[address] = size
                self._tells_time(uc, address, size, data)

        hook = self.uc.hook_add(self._unicorn.UC_HOOK_CODE, finds)
        try:
            self.run(base)
        finally:
            self.uc.hook_del(hook)
        self.names_cpu = any(size > len(CLOCKS[0]) for size in found.values())
        for address in found:
            self.uc.hook_add(self._unicorn.UC_HOOK_CODE, self._tells_time, None, address, address)
        self._clocks = found

    # In the place of rdtsc or rdtscp: the low half in EAX, the high half in EDX, the CPU in ECX.
    def _tells_time(self, uc: Any, address: int, size: int, data: Any) -> None:
        answers = [TSC & 0xFFFF_FFFF, TSC >> 32]
        if size > len(CLOCKS[0]):
            answers.append(self.cpus[min(self._asked_cpu, len(self.cpus) - 1)])
            self._asked_cpu += 1
        for register, value in zip(self._clock_registers, answers, strict=False):
            uc.reg_write(register, value)
        uc.reg_write(self._ids[self.cpu.counter], address + size)

    def preset(self, address: int, data: bytes) -> None:
        """Give a variable of the file another value than it has there."""
        self.memory.load(address & self._mask)
        self.uc.mem_write(address & self._mask, data)

    def quiet(self, base: bytes) -> Attempt:
        """Run with a struct that nobody changes; its loads are those of one iteration."""
        self._quiet = []
        run = self.run(base)
        self._quiet = run.loads
        return run

    def follow(self, base: bytes, versions: Versions, stays: bool = False) -> Attempt:
        """Run without a stop where it goes another way: what it does after it saw a change.

        From there on nothing changes any more, unless ``stays``.
        """
        self._follows, self._stays = True, stays
        try:
            return self.run(base, versions, LONG * INSTRUCTIONS_MAX)
        finally:
            self._follows, self._stays = False, True

    def endures(self, base: bytes, versions: Versions, period: int) -> Attempt | None:
        """Run with versions that come back every ``period`` loads, for ever.

        None: it does the same over and over, from its first retry on in the same state, or from its
        second one on (``since`` is 1). WitnessError: it does not return, or counts its tries.
        """
        self._states, self._period, self._comes_back = {}, period, False
        try:
            run = self.follow(base, versions, stays=True)
        except WitnessError:
            if len(self._run.loads) <= LOADS_MAX:
                raise
            raise self.refused("it counts its tries, and may give up") from None
        finally:
            self._states = None
        if self._comes_back and self.since > 1:
            raise self.refused("what it does depends on how often it has tried")
        return None if self._comes_back else run

    # Was it here before, in the same state? Asked at the load with which it first went round.
    def _is_known(self, number: int, seen: Seen) -> bool:
        first, states = self._run.parted, self._states
        if states is None or first is None or self._comes_back:
            return False
        # Once in an iteration: an instruction may load twice, and a spin the same bytes again.
        if number > first and seen != self._run.loads[first]:
            return False
        state = self._state(number)
        known = state in states
        if known:
            self.since = states[state]
            self.uc.emu_stop()
        else:
            states[state] = len(states)
        return known

    # All that it may decide by: its registers, its stack and its result.
    def _state(self, number: int) -> tuple[object, ...]:
        memory = (bytes(self.uc.mem_read(start, room)) for start, room in OWN)
        registers = tuple(self.uc.reg_read(one) for one in self._registers)
        return number % self._period, registers, hash(tuple(memory))

    def run(
        self, base: bytes, versions: Versions | None = None, limit: int = INSTRUCTIONS_MAX
    ) -> Attempt:
        """Run the reader; the loads in ``versions`` see another struct (WitnessError)."""
        self._base, self._versions = base, {} if versions is None else versions
        self._there = b""
        self._run, self._stopped, self._makers = Attempt(), "", []
        self._comes_back, self._acquires, self._asked_cpu = False, 0, 0
        uc, cpu = self.uc, self.cpu
        uc.context_restore(self._before)  # nothing is carried from one run to the next
        results = self.signature.takes.count("result")
        size = max(results, 1) * PAGE_SIZE
        if results > RESULTS_MAX:
            raise self.refused(f"it has more than {RESULTS_MAX} pointers for results")
        uc.mem_write(RESULT, bytes([FILL]) * size)
        self._stored = bytearray(size)
        top = STACK + STACK_SIZE - 0x400
        uc.mem_write(STACK, bytes([FILL]) * STACK_SIZE)
        places = iter(range(RESULT, RESULT + size, PAGE_SIZE))
        values = [
            next(places) if x == "result" else {"area": self.pointer, "number": self.number}[x]
            for x in self.signature.takes
        ]
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
            raise self.refused(self._stopped or str(error).split(" (")[0].lower()) from None
        if self._stopped and not self._comes_back:
            raise self.refused(self._stopped)
        stopped = self._comes_back or (self._run.parted is not None and not self._follows)
        if not stopped and self._counter() != RETURN_TO:
            raise self.refused(f"it has not returned after {limit} instructions")
        registers = (uc.reg_read(self._ids[name]) for name in cpu.result)
        returned = b"".join(one.to_bytes(cpu.pointer, "little") for one in registers)
        self._run.returned = int.from_bytes(returned[: self.signature.returns], "little")
        self._run.result = bytes(uc.mem_read(RESULT, size))
        return self._run

    def elsewhere(self, code: range) -> list[tuple[int, int]]:
        """Return what a run loads but its stack, its result and the constants in its ``code``.

        (address, bytes) in program order, as far as the run goes.
        """
        seen: list[tuple[int, int]] = []

        def read(uc: Any, access: int, address: int, size: int, value: int, data: Any) -> None:
            own = (*OWN, (AREA, PAGE_SIZE), (TASK, TASK_SIZE))
            if address not in code and not any(a <= address < a + room for a, room in own):
                high = address >> 51 and ~self._mask & (1 << 64) - 1
                seen.append((high | address, size))

        hook = self.uc.hook_add(self._unicorn.UC_HOOK_MEM_READ, read)
        try:
            self.run(bytes(self.layout.size))
        except WitnessError:
            pass
        finally:
            self.uc.hook_del(hook)
        return seen

    def place(self, address: int) -> str:
        """Return ``function+0x1c``; the addresses of Thumb functions are odd."""
        return self.file.place(address | (self.entry & 1 if self.cpu.arch == "ARM" else 0))

    def refused(self, why: str) -> WitnessError:
        at = self._counter()
        name = self.place(self.entry if at == RETURN_TO else at)
        return WitnessError(f"{self.file.source}: cannot follow this reader: {why}, at {name}")

    def _stop(self, why: str) -> None:
        self._stopped = self._stopped or why
        self.uc.emu_stop()

    def _asks(self, name: str, *of_the_engine: Any) -> int:
        self._stop(f"it runs {name}, whose answer is not the area's")
        return 1

    # A load of the area: let it see its version.
    def _read(self, uc: Any, access: int, address: int, size: int, value: int, data: Any) -> None:
        if address + size > self.area:
            self._load(address, size)

    # What it has not stored there is not its own: another parameter's, and anything.
    def _reads_back(
        self, uc: Any, access: int, address: int, size: int, value: int, data: Any
    ) -> None:
        if not all(self._stored[address - RESULT : address - RESULT + size]):
            self._stop("it loads what a pointer that is not the area's points to")

    def _load(self, address: int, size: int, copied: bool = False) -> bytes:
        offset, run = address - self.area, self._run
        number = len(run.loads)
        if offset < 0 or offset + size > self.layout.size:
            self._stop(f"it loads {size} bytes at {offset:+d}, which is not in the struct")
            return bytes(size)
        seen = Seen(self._caller() if copied else self._counter(), offset, size, copied)
        if self._quiet and (number >= len(self._quiet) or self._quiet[number] != seen):
            run.parted = number if run.parted is None else run.parted
            if not self._follows:
                self.uc.emu_stop()
        if number >= LOADS_MAX:
            self._stop(f"it loads more than {LOADS_MAX} times")
        if self._states is not None and run.parted is not None:
            self._comes_back |= self._is_known(number, seen)
        if self._barriers is not None and self._acquires == seen.at:
            self.acquired.append(number)
        run.loads.append(seen)
        self._makers.append(self._executed[0])
        sees_base = run.parted is not None and not self._stays
        struct = self._base if sees_base else self._versions.get(number, self._base)
        if struct is not self._there:
            self._there = struct
            self.uc.mem_write(self.area, struct)
        return struct[offset : offset + size]

    def _write(self, uc: Any, access: int, address: int, size: int, value: int, data: Any) -> None:
        end = address + size
        if address < self.area + self.layout.size and end > self.area:
            self._stop("it stores to the area")
        elif address >= RESULT and end <= RESULT + len(self._stored):
            self._stored[address - RESULT : end - RESULT] = b"\1" * size
        elif not any(start <= address and end <= start + room for start, room in OWN):
            self._stop(f"it stores to {address:#x}, which is neither its stack nor its result")

    # The file's own sections are mapped when they are reached.
    def _invalid(
        self, uc: Any, access: int, address: int, size: int, value: int, data: Any
    ) -> bool:
        # The engine would lose an exception raised here.
        try:
            found = self.memory.load(address)
        except WitnessError as error:
            self._stopped = str(error).removeprefix(f"{self.file.source}: ")
            return False
        if not found:
            self._stopped = f"it reaches {address:#x}, where nothing is"
        return found

    # memcpy() is a load of each byte, in any order.
    def _called(self, uc: Any, address: int, size: int, data: Any) -> None:
        name = self.memory.called(address)
        if name in QUIET:
            return
        if name == "memset":
            self._set_memory()
            return
        if name not in ("memcpy", "__memcpy", "memmove"):
            self._stop(f"it calls {name}, which is not known here")
            return
        to, source, count = (one & self._mask for one in self._call_arguments())
        self._write(uc, 0, to, count, 0, None)
        if self._stopped:
            return
        end = self.area + self.layout.size
        if source < end and source + count > self.area and count:
            content = self._load(source, count, copied=True)
        else:
            try:
                if RESULT <= source < RESULT + len(self._stored):
                    self._reads_back(uc, 0, source, count, 0, None)
                content = bytes(uc.mem_read(source, count))
            except self._unicorn.UcError:
                self._stop(f"it copies {count} bytes from {source:#x}, where nothing is")
                return
        uc.mem_write(to, content)
        uc.reg_write(self._ids[self.cpu.result[0]], to)

    def _set_memory(self) -> None:
        to, byte, count = (one & self._mask for one in self._call_arguments())
        self._write(self.uc, 0, to, count, 0, None)
        if not self._stopped:
            self.uc.mem_write(to, bytes([byte & 0xFF]) * count)
            self.uc.reg_write(self._ids[self.cpu.result[0]], to)

    # The call that led to where it is now; after a tail call, the function itself.
    def _caller(self) -> int:
        cpu = self.cpu
        if cpu.link:
            back = int(self.uc.reg_read(self._ids[cpu.link]))
        else:
            top = self.uc.reg_read(self._ids[cpu.stack])
            back = int.from_bytes(self.uc.mem_read(top, cpu.pointer), "little")
        if back == RETURN_TO:
            return self.entry
        thumb = back & 1 if cpu.arch == "ARM" else 0
        return back - thumb - cpu.call

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
        code = uc.mem_read(address & self._mask, size)
        is_x86 = self.cpu.arch == "X86"
        again = address == last and is_x86 and code[0] == REP
        known = address in self._clocks
        if is_x86 and not known and (bytes(code) in READING or is_random(bytes(code))):
            self._asks(READING.get(bytes(code), "an instruction that reads a random number"))
        if is_x86 and is_unlike_sse(bytes(code), self.cpu.pointer == 8):
            self._stop("it runs an instruction of AVX, which cannot be run here")
        self._executed = number + (not again), address
        if size != 4 or self.cpu.model != "weak":
            return
        word = int.from_bytes(code, "little")
        self._acquires = address if self.cpu.arch == "ARM64" and is_acquire(word) else 0
        if is_clock(self.cpu.arch, word):
            self._asks("an instruction that reads a clock or a random number")
        elif is_read_barrier(self.cpu.arch, word):
            self._barriers.append((len(self._run.loads), address))
