"""What an ABI decides about a struct, and the C layout rule that follows from it.

Nothing here may depend on the machine that it runs on.
"""

from collections.abc import Iterable
from typing import NamedTuple

from runstate_abi.layouts.model import STRUCT, UNION, Field, Layout, Member, Scalar, tiled

PAGE_SIZE = 1 << 12  # of x86, and of arm64 under Xen
PAGE_MASK = PAGE_SIZE - 1
CACHE_LINE = 64
U32 = (1 << 32) - 1
U64 = (1 << 64) - 1


class Abi(NamedTuple):
    """One ABI: sizes and alignments in bytes."""

    name: str
    pointer_size: int
    u64_alignment: int
    elf: tuple[int, int] | None  # (EI_CLASS in bits, e_machine)
    # May ``__attribute__((aligned(4)))`` on a typedef lower a type's alignment? GCC says yes,
    # Microsoft no.
    typedef_lowers: bool
    why: str  # what decides the alignment of a 64-bit integer


# "32-bit" is not "44 bytes": arm32, x32 and 32-bit Windows align a 64-bit integer to 8. Every row
# was measured with a compiler for that target, those of Windows with clang's and mingw's.
# tests/layouts/test_compiler.py asks again whatever compilers a machine has.
# fmt: off
ABIS = (
    #   name            pointer  u64   ELF class, machine   typedef lowers
    Abi("x86_64",       8,       8,    (64, 62),            True,  "System V AMD64 psABI: long long is 8-aligned"),
    Abi("i386",         4,       4,    (32, 3),             True,  "System V i386 psABI: long long is 4-aligned inside a struct (gcc -malign-double changes that)"),
    Abi("x32",          4,       8,    (32, 62),            True,  "AMD64 psABI with 32-bit pointers: long long stays 8-aligned"),
    Abi("arm64",        8,       8,    (64, 183),           True,  "AAPCS64: 64-bit integers are 8-aligned"),
    Abi("arm32",        4,       8,    (32, 40),            True,  "AAPCS32 (EABI): 64-bit integers are 8-aligned"),
    Abi("riscv64",      8,       8,    (64, 243),           True,  "RISC-V LP64: 64-bit integers are 8-aligned"),
    Abi("x86_64-windows", 8,     8,    None,                False, "Microsoft's x64 ABI: __int64 is 8-aligned, and a typedef cannot lower it"),
    Abi("i386-windows", 4,       8,    None,                False, "Microsoft's C ABI: __int64 is 8-aligned, and a typedef cannot lower it"),
)
# fmt: on

ABI = {abi.name: abi for abi in ABIS}
X86_64 = ABI["x86_64"]
I386 = ABI["i386"]


def abi_of_elf(elf_class: int, machine: int) -> Abi | None:
    """Return the ABI of an ELF file with this class (32 or 64) and e_machine, None if unknown."""
    return next((abi for abi in ABIS if abi.elf == (elf_class, machine)), None)


def alignment_of(type_: Scalar, abi: Abi) -> int:
    """Return the alignment in bytes of a type as a struct member; a struct says its own."""
    if type_.kind in (STRUCT, UNION) and type_.alignment is not None:
        return type_.alignment
    natural = abi.u64_alignment if type_.size == 8 else type_.size
    if type_.alignment is None:
        return natural
    return type_.alignment if abi.typedef_lowers else max(natural, type_.alignment)


def c_layout(name: str, members: Iterable[Member], abi: Abi, packed: bool = False) -> Layout:
    """Lay out ``struct name``: each member at the next multiple of its alignment, then round up."""
    fields: list[Field] = []
    offset, strictest = 0, 1
    for member in members:
        alignment = 1 if packed else alignment_of(member.type, abi)
        fields.append(Field(_up(offset, alignment), member.name, member.type, member.count))
        offset, strictest = fields[-1].end, max(strictest, alignment)
    return tiled(name, abi.name, _up(offset, strictest), strictest, fields)


def _up(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment
