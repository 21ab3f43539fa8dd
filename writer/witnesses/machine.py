"""An emulated x86-64 processor, in which the judged code runs.

The code sees its own sections, a stack, and the regions that the caller maps. Calls to symbols of
other files go to stubs. Nothing else is mapped: an access to it stops the code with a reason. The
engine (unicorn, an optional package) is imported when a Machine is made.
"""

import ctypes
import mmap
import re
from collections.abc import Callable
from typing import Any

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.layouts.model import WitnessError
from runstate_abi.writer.witnesses import stubs
from runstate_abi.writer.witnesses.program import (
    ADDRESS_MASK,
    LATE_PAGES_MAX,
    OBJECTS,
    Handler,
    Program,
)

# fmt: off
STACK      = 0x3000_0000
RETURN_TO  = 0x2200_0000
GS_BASE    = 0x0800_0000   # per-CPU data is the image's data, this much higher
# fmt: on
STACK_SIZE, STACK_USED, HEADROOM = 0x8000, 0x2000, 0x400
CALLER_FRAME = 0x80  # bytes above the return address, which are the caller's
INSTRUCTIONS_MAX = 20_000  # an update takes 200, and 3000 with every sanitizer there is
STACK_FILL = b"\x6b"  # uninitialised stack
HLT, JUMP = b"\xf4", b"\xeb\x00"  # a jump to the next instruction
ENGINE_SIZE = (1 << 30) + (16 << 20)  # what the engine asks for, and a little more


def engine() -> Any:
    """Import unicorn, or say how to get it (WitnessError)."""
    try:
        import unicorn
        import unicorn.x86_const
    except ImportError:
        how = "pip install 'runstate-abi[judge]'"
        raise WitnessError(f"judging machine code needs an emulator: {how}") from None
    return unicorn


def require_room(source: str) -> None:
    """Map what the engine will, and release it: without room it ends the process (WitnessError)."""
    try:
        mmap.mmap(-1, ENGINE_SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError:
        raise WitnessError(
            f"{source}: the emulator needs {ENGINE_SIZE >> 20} MiB of address space (see ulimit -v)"
        ) from None


class Machine:
    """One processor with one program: registers, memory, and the functions that were called."""

    def __init__(self, program: Program, meaning: Callable[[str], Handler | None]) -> None:
        """Load ``program``; ``meaning`` gives the handler of a function by its name, or None."""
        unicorn = engine()
        require_room(program.file.source)
        self.uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
        self.file, self.program, self._meaning = program.file, program, meaning
        self.used: set[str] = set()
        self._handlers: dict[int, Handler] = {}
        self._error = unicorn.UcError
        self._noticed: list[tuple[re.Pattern[bytes], Handler]] = []
        self.get, self.put = _registers(self.uc, unicorn)
        self._calls: list[tuple[int, int]] = []  # (stack pointer, last byte of the call)
        self._kept: list[Any] = []  # the mapped memory must stay alive
        self._fault, self._mapped_late = "", 0
        self._raised: WitnessError | None = None
        self._rx, self._rw = unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC, unicorn.UC_PROT_READ
        self._rw |= unicorn.UC_PROT_WRITE
        self._map_all()
        self._hook(unicorn)

    def map(self, address: int, memory: bytearray, code: bool = False) -> None:
        """Let the code see ``memory``, a multiple of a page, at ``address``."""
        view = (ctypes.c_char * len(memory)).from_buffer(memory)
        self._kept.append(view)
        protection = self._rx if code else self._rw
        try:
            self.uc.mem_map_ptr(address, len(memory), protection, ctypes.addressof(view))
        except self._error:
            what = f"{len(memory)} bytes have no room at {address:#x}"
            raise WitnessError(f"{self.file.source}: cannot judge: {what}") from None

    def at_stack_top(self, content: bytes) -> None:
        """Put something at the very top of the stack, above all that a run uses."""
        self._stack[len(self._stack) - len(content) :] = content

    def watch(self, begin: int, size: int, write: Any, read: Any) -> None:
        """Call ``write`` and ``read`` with (uc, access, address, size, value, data) of accesses."""
        unicorn = engine()
        if write:
            self.uc.hook_add(unicorn.UC_HOOK_MEM_WRITE, write, None, begin, begin + size - 1)
        if read:
            self.uc.hook_add(unicorn.UC_HOOK_MEM_READ, read, None, begin, begin + size - 1)

    def before(self, address: int, handler: Handler) -> None:
        """Call ``handler`` before each run of the instruction at ``address``."""
        self._handlers[address] = handler
        self.uc.hook_add(engine().UC_HOOK_CODE, self._called, None, address, address)

    def notice(self, code: re.Pattern[bytes], handler: Handler) -> None:
        """Call ``handler`` before each run of an instruction with these bytes.

        Only code that runs is searched: what is found inside another instruction never runs, but
        the engine asks every hook at every instruction.
        """
        self._noticed.append((code, handler))

    # A block is about to run for the first time.
    def _is_new(self, uc: Any, block: Any, before: Any, data: object) -> None:
        start = block.pc
        content = bytes(uc.mem_read(start & ADDRESS_MASK, block.size))
        for code, handler in self._noticed:
            for found in code.finditer(content):
                if start + found.start() not in self._handlers:
                    self.before(start + found.start(), handler)

    def run(
        self, entry: int, arguments: tuple[int, ...], irqs_off: bool, follow: bool = False
    ) -> tuple[str, ...]:
        """Call a function, and return what of its caller's it did not restore.

        Ended: it does not return. WitnessError: it cannot be followed.

        ``follow`` keeps a record of calls and returns, for chain().
        """
        if not follow:
            return self._run(entry, arguments, irqs_off)
        self._calls, self._end, self._last = [], 0, entry
        hook = self.uc.hook_add(engine().UC_HOOK_BLOCK, self._block)
        self.uc.ctl_flush_tb()  # code that is already translated would not call the hook
        try:
            return self._run(entry, arguments, irqs_off)
        finally:
            self.uc.hook_del(hook)
            self.uc.ctl_flush_tb()

    # A block begins. The one before it ended with a call if the stack has the address after it.
    def _block(self, uc: Any, address: int, size: int, data: object) -> None:
        top = self.get("rsp")
        self._calls = [call for call in self._calls if call[0] >= top]
        if self._end and top < STACK + STACK_SIZE and self._return_address() == self._end:
            self._calls.append((top, self._end - 1))
        self._end = address + size
        if not self.program.name_at(address):
            self._last = self._end - 1

    def chain(self, inside: bool) -> tuple[int, ...]:
        """Return addresses in the instruction that runs, in the call of its function, and so on.

        Without ``inside``, and in a function of the kernel, its caller is the first. At a return,
        and in a tail call, the first is the last instruction of the judged code.
        """
        sites = tuple(site for _, site in reversed(self._calls))
        rip = self.get("rip")
        inside = inside and not self.program.name_at(rip)
        return (rip, *sites) if inside else sites or (self._last,)

    def _run(self, entry: int, arguments: tuple[int, ...], irqs_off: bool) -> tuple[str, ...]:
        stack = STACK + STACK_SIZE - HEADROOM
        self._stack[-STACK_USED:-HEADROOM] = STACK_FILL * (STACK_USED - HEADROOM)
        self._stack[-HEADROOM : -HEADROOM + 8] = RETURN_TO.to_bytes(8, "little")
        get, put = self.get, self.put
        for register, value in zip(stubs.ARGUMENTS, arguments, strict=False):
            put(register, value)
        put("rsp", stack)
        for register, value in stubs.PRESERVED.items():
            put(register, value)
        above = slice(-HEADROOM + 8, -HEADROOM + 8 + CALLER_FRAME)
        self._stack[above] = STACK_FILL * CALLER_FRAME
        put("eflags", stubs.EFLAGS_ALWAYS | (0 if irqs_off else stubs.EFLAGS_IF))
        self._fault, self._raised = "", None
        try:
            self.uc.emu_start(entry, RETURN_TO, 0, INSTRUCTIONS_MAX)
        except self._error as error:
            if self._raised:
                raise self._raised from None
            if self._fault == stubs.BUG:
                raise self.ended(self._fault) from None
            raise self.stopped(self._fault or f"{error}".split(" (")[0].lower()) from None
        if get("rip") != RETURN_TO:
            raise self.ended(f"it has not returned after {INSTRUCTIONS_MAX} instructions")
        registers = [r for r, value in stubs.PRESERVED.items() if get(r) != value]
        if get("rsp") != stack + 8:
            registers.append("rsp")
        owed = [f"{register} is not as it was at entry" for register in registers]
        if get("eflags") & stubs.EFLAGS_DF:
            owed.append("the direction flag is set at return")
        if self._stack[above] != STACK_FILL * CALLER_FRAME:
            owed.append("the caller's stack is overwritten")
        return tuple(owed)

    def stopped(self, why: str) -> WitnessError:
        """Return the error that says why the code cannot be judged, and where it was."""
        return WitnessError(f"{self.file.source}: cannot judge: {why}, at {self._where()}")

    def ended(self, why: str) -> stubs.Ended:
        """Return the error that says why the code will never return, and where it was."""
        return stubs.Ended(f"{why}, at {self._where()}")

    def _where(self) -> str:
        rip = self.get("rip")
        name = self.program.name_at(rip)
        return f"{name}, called from {self.caller()}" if name else self.file.place(rip)

    def here(self) -> str:
        return self.file.place(self.get("rip"))

    def peek(self, address: int, size: int) -> bytes:
        """Return memory as the code sees it (WitnessError: not mapped)."""
        return bytes(self._reached(address, "reads", self.uc.mem_read, size))

    def poke(self, address: int, data: bytes) -> None:
        """Change memory as the code sees it (WitnessError: not mapped)."""
        self._reached(address, "writes", self.uc.mem_write, data)

    # An access from here also maps memory on demand, like an access by the code.
    def _reached(self, address: int, verb: str, do: Any, argument: object) -> Any:
        for _ in range(2):
            try:
                return do(address, argument)
            except self._error:
                if not self._late(address):
                    break
        raise self.stopped(f"{verb} {address:#x}, where nothing is")

    def caller(self) -> str:
        """Return the place that the current function was called from."""
        back = self._return_address()
        if back == RETURN_TO:
            return "(tail call)"
        # A call that never returns may be the last instruction of its function.
        name, _, offset = self.file.place(back - 1).partition("+")
        return f"{name}+{int(offset, 16) + 1:#x}" if offset else self.file.place(back)

    def _return_address(self) -> int:
        at = self.get("rsp") - STACK
        return int.from_bytes(self._stack[at : at + 8], "little")

    def _map_all(self) -> None:
        self._stack = bytearray(STACK_FILL * STACK_SIZE)
        self.map(STACK, self._stack)
        self.map(RETURN_TO, bytearray((HLT + JUMP).ljust(PAGE_SIZE, HLT)), code=True)
        for address, memory, code in self.program.memory():
            self.map(address, memory, code)
        # The canary of gcc's kernel ABI is at an absolute per-CPU address.
        fixed = bytearray(PAGE_SIZE)
        fixed[stubs.CANARY_AT_GS : stubs.CANARY_AT_GS + len(stubs.CANARY)] = stubs.CANARY
        self.map(GS_BASE, fixed)
        self.map(GS_BASE + OBJECTS, self.program.objects)
        self.put("gs_base", GS_BASE)

    def _hook(self, unicorn: Any) -> None:
        for begin, end in self.program.noticed():
            self.uc.hook_add(unicorn.UC_HOOK_CODE, self._called, None, begin, end)
        self.uc.hook_add(unicorn.UC_HOOK_EDGE_GENERATED, self._is_new)
        self.uc.hook_add(unicorn.UC_HOOK_MEM_INVALID, self._invalid)
        self.uc.hook_add(unicorn.UC_HOOK_INTR, self._interrupt)
        self.uc.hook_add(unicorn.UC_HOOK_INSN_INVALID, self._illegal)
        # Of the very first block the engine does not say that it is new.
        self.uc.emu_start(RETURN_TO + len(HLT), RETURN_TO + len(HLT + JUMP), 0, 2)

    def _called(self, uc: Any, address: int, size: int, data: object) -> None:
        handler = self._handlers.get(address)
        if handler is None:
            handler = self._handlers[address] = self._learn(address)
        handler()

    def _learn(self, address: int) -> Handler:
        name = self.program.name_at(address)
        handler = self._meaning(name)
        if handler is None:
            raise WitnessError(
                f"{self.file.source}: cannot judge: it calls {name or f'{address:#x}'}, which is "
                f"not known here, from {self.caller()}"
            )
        self.used.add(name)
        return handler

    # An access to memory that is not mapped, or not for this. True: it is mapped now, continue.
    def _invalid(
        self, uc: Any, access: int, address: int, size: int, value: int, data: object
    ) -> bool:
        # The engine would lose an exception raised here, because the access fails too.
        try:
            if self._late(address):
                return True
        except WitnessError as error:
            self._raised = error
            return False
        unicorn = engine()
        verb = {
            unicorn.UC_MEM_READ_UNMAPPED: "reads",
            unicorn.UC_MEM_WRITE_UNMAPPED: "writes",
            unicorn.UC_MEM_WRITE_PROT: "writes",
        }.get(access, "jumps to")
        named = self.program.foreign_at(address) or self.program.foreign_at(address - GS_BASE)
        what = f"{named}, which is not known here" if named else f"{address:#x}, where nothing is"
        self._fault = f"{verb} {what}"
        return False

    # Map memory that is only mapped on demand: the file's sections or pages, KASAN's shadow.
    def _late(self, address: int) -> bool:
        address &= ADDRESS_MASK
        shadow = stubs.KASAN_SHADOW_OFFSET & ADDRESS_MASK
        late = self.program.at(address)
        if late is None and shadow <= address < shadow + (1 << 32 - stubs.KASAN_SHADOW_SCALE):
            late = address & -PAGE_SIZE, bytearray(PAGE_SIZE), False
        self._mapped_late += 1
        if late is None or self._mapped_late > LATE_PAGES_MAX:
            return False
        self.map(*late)
        return True

    def _interrupt(self, uc: Any, number: int, data: object) -> None:
        raise self.stopped(f"raises exception {number}")

    def _illegal(self, uc: Any, data: object) -> bool:
        self._fault = stubs.BUG
        return False


def _registers(uc: Any, unicorn: Any) -> tuple[Callable[[str], int], Callable[[str, int], None]]:
    """Return what reads a register, and what writes one.

    Of unicorn's own reg_read() 85 % is Python that chooses a type for the register; a judged kernel
    asks a million times. These are the C functions below it, with one buffer a register.
    """
    from unicorn.unicorn_py3.unicorn import uclib

    handle, read, write = uc._uch, uclib.uc_reg_read, uclib.uc_reg_write
    names = (*stubs.REGISTERS, "rip", "eflags", "gs_base", "fs_base")
    ids = {name: getattr(unicorn.x86_const, f"UC_X86_REG_{name.upper()}") for name in names}
    value = ctypes.c_uint64()
    place = ctypes.byref(value)

    def get(register: str) -> int:
        read(handle, ids[register], place)
        return value.value

    def put(register: str, new: int) -> None:
        value.value = new
        write(handle, ids[register], place)

    return get, put
