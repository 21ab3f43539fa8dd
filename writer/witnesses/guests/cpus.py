"""How a guest's function is called on each machine, and which of its instructions order loads."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from runstate_abi.writer.witnesses.object_file import (
    EM_386,
    EM_AARCH64,
    EM_ARM,
    EM_X86_64,
)


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
    call: int  # bytes of a call
    model: str  # the memory model of its loads
    per_cpu: str = ""  # the register with the offset of the CPU's own variables, in a kernel
    task: str = ""  # the register with the address of the current task, in a kernel


CPUS = {
    (64, EM_X86_64): Cpu(
        "x86-64", "X86", "64", ("RDI", "RSI", "RDX", "RCX", "R8", "R9"), ("RAX",),
        "RSP", "RIP", "", 8, b"\xc3", 5, "x86-tso", "GS_BASE",
    ),
    (32, EM_386): Cpu(
        "i386", "X86", "32", (), ("EAX", "EDX"),
        "ESP", "EIP", "", 4, b"\xc3", 5, "x86-tso",
    ),
    (64, EM_AARCH64): Cpu(
        "arm64", "ARM64", "ARM", tuple(f"X{n}" for n in range(8)), ("X0",),
        "SP", "PC", "LR", 8, b"\xc0\x03\x5f\xd6", 4, "weak", task="SP_EL0",
    ),
    (32, EM_ARM): Cpu(
        "arm32", "ARM", "ARM", tuple(f"R{n}" for n in range(4)), ("R0", "R1"),
        "SP", "PC", "LR", 4, b"\x1e\xff\x2f\xe1", 4, "weak", task="C13_C0_3",
    ),
}  # fmt: skip
# The registers that a loop may count in, by unicorn's names.
GENERAL = {
    "x86-64": (
        *(f"R{x}" for x in ("AX", "BX", "CX", "DX", "SI", "DI", "BP", "SP")),
        *(f"R{n}" for n in range(8, 16)),
    ),
    "i386": tuple(f"E{x}" for x in ("AX", "BX", "CX", "DX", "SI", "DI", "BP", "SP")),
    "arm64": (*(f"X{n}" for n in range(31)), "SP"),
    "arm32": (*(f"R{n}" for n in range(13)), "SP", "LR"),
}
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


# The Arm architecture reference manual (DDI 0487, C6.2 and F5.1). The two low bits of an option say
# what is ordered: 1 the loads before, 2 the stores, 3 both; the others in which domain, of which
# the non-shareable one, 1, orders nothing for another CPU.
def is_read_barrier(arch: str, word: int) -> bool:
    """Is this instruction a dmb or dsb that orders loads?"""
    if arch == "ARM64":
        is_one = word & 0xFFFF_F0DF == 0xD503_309F
        return is_one and word >> 8 & 1 == 1 and word >> 10 & 3 != 1
    for one in (word, word << 16 & 0xFFFF_0000 | word >> 16):  # A32, and T32
        if one & 0xFFFF_0FDF == 0xEE07_0F9A:  # before ARMv7: mcr p15, 0, R, c7, c10, 4 or 5
            return True
    if word & 0xFF00_FFFF == 0x8F00_F3BF:  # Thumb
        word = 0xF57F_F000 | word >> 16 & 0xFF
    return word & 0xFFFF_FFE0 == 0xF57F_F040 and word & 1 == 1 and word >> 2 & 3 != 1


# A64: mrs of a register of the generic timer (op1 3, CRn 14) or of a random number (CRn 2, CRm 4).
# A32 and T32: mrrc and mrc of the timer, coprocessor 15, c14.
def is_clock(arch: str, word: int) -> bool:
    """Does this instruction read a clock, or a random number?"""
    if arch == "ARM64":
        return word & 0xFFFF_F000 == 0xD53B_E000 or word & 0xFFFF_FFC0 == 0xD53B_2400
    for one in (word, word << 16 & 0xFFFF_0000 | word >> 16):
        if one & 0x0FF0_0F0F == 0x0C50_0F0E or one & 0x0F1F_0F10 == 0x0E1E_0F10:
            return True
    return False


# Intel's manual: 0F C7 with a register, /6 rdrand, /7 rdseed and, behind F3, rdpid.
def is_random(code: bytes) -> bool:
    """Does this x86 instruction read a random number, or the processor's?"""
    code = code.lstrip(b"\x66\xf3" + bytes(range(0x40, 0x50)))
    return code[:2] == b"\x0f\xc7" and code[2:3] >= b"\xf0"


def is_acquire(word: int) -> bool:
    """Is this A64 instruction a load-acquire?"""
    return word & 0x3FE0_FC00 in (0x08C0_FC00, 0x38A0_C000)


# Intel's manual, volume 2, 2.3: VEX begins with C5 or C4 (on i386 these may be LDS and LES), and
# four of its bits are a source that SSE has not. The engine runs VEX as SSE, but BMI it knows.
BMI = {(2, opcode) for opcode in (0xF2, 0xF3, 0xF5, 0xF6, 0xF7)} | {(3, 0xF0)}


def is_unlike_sse(code: bytes, wide: bool) -> bool:
    """Has this x86 instruction a source that it would not have in SSE? ``wide``: 64-bit code."""
    code = code.lstrip(b"\x64\x65")
    if len(code) < 4 or code[0] not in (0xC4, 0xC5) or not (wide or code[1] >= 0xC0):
        return False
    long = code[0] == 0xC4
    if long and (code[1] & 0x1F, code[3]) in BMI:
        return False
    return code[1 + long] >> 3 & 0xF != 0xF
