"""The C rule, per ABI, gives what the hand-written table says."""

import pytest

from runstate_abi.layouts import abi as module
from runstate_abi.layouts.abi import ABI, ABIS, abi_of_elf, c_layout
from runstate_abi.layouts.model import Member, Scalar
from runstate_abi.layouts.structs.runstate import CLAIMS, COMPAT, INT, MEMBERS, NATIVE, UINT64

XEN_MEMBERS = tuple(
    member._replace(type=Scalar("uint64_compat_t", 8, False, alignment=4))
    if member.type is UINT64
    else member
    for member in MEMBERS
)

# Measured with gcc, clang and mingw for each target: size, alignment, offsets of the three members.
MEASURED = {
    "x86_64": (48, 8, 0, 8, 16),
    "i386": (44, 4, 0, 4, 12),
    "x32": (48, 8, 0, 8, 16),
    "arm64": (48, 8, 0, 8, 16),
    "arm32": (48, 8, 0, 8, 16),
    "riscv64": (48, 8, 0, 8, 16),
    "x86_64-windows": (48, 8, 0, 8, 16),
    "i386-windows": (48, 8, 0, 8, 16),
}


# What a compiler says of __SIZEOF_POINTER__, and whether aligned(4) on a typedef lowers.
POINTERS = {
    "x86_64": (8, True),
    "i386": (4, True),
    "x32": (4, True),
    "arm64": (8, True),
    "arm32": (4, True),
    "riscv64": (8, True),
    "x86_64-windows": (8, False),
    "i386-windows": (4, False),
}


def test_pages_lines_and_words_are_x86s():
    assert (module.PAGE_SIZE, module.PAGE_MASK, module.CACHE_LINE) == (0x1000, 0xFFF, 0x40)
    assert (module.U32, module.U64) == (0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF)


def test_pointers_and_typedefs_are_as_compilers_have_them():
    assert {abi.name: (abi.pointer_size, abi.typedef_lowers) for abi in ABIS} == POINTERS


def test_every_abi_is_measured_and_claimed():
    assert set(MEASURED) == set(CLAIMS) == {abi.name for abi in ABIS}


@pytest.mark.parametrize("name", MEASURED)
def test_the_rule_gives_what_compilers_give(name):
    layout = c_layout(NATIVE.name, MEMBERS, ABI[name])
    offsets = (row.offset for row in layout.members)
    assert (layout.size, layout.alignment, *offsets) == MEASURED[name]


@pytest.mark.parametrize("name", MEASURED)
def test_the_rule_gives_the_claimed_layouts(name):
    assert c_layout(NATIVE.name, MEMBERS, ABI[name]) == CLAIMS[name].native
    assert c_layout(COMPAT.name, MEMBERS, ABI[name], packed=True) == CLAIMS[name].compat_kvm


# A typedef aligned to 4 lowers the alignment, but not for Microsoft: 48 bytes there.
@pytest.mark.parametrize("name", MEASURED)
def test_xens_compat_typedef_gives_the_claimed_layout(name):
    layout, expected = c_layout(COMPAT.name, XEN_MEMBERS, ABI[name]), CLAIMS[name].compat_xen
    assert (layout.size, layout.alignment) == (expected.size, expected.alignment)
    assert [r.offset for r in layout.members] == [r.offset for r in expected.members]


def test_the_struct_is_padded_at_its_end_to_its_alignment():
    layout = c_layout("s", (Member("t", UINT64), Member("flags", INT)), ABI["x86_64"])
    assert (layout.size, layout.padding[0].name) == (16, "pad_0c")


def test_the_elf_header_decides_the_abi():
    assert {abi_of_elf(*abi.elf) for abi in ABIS if abi.elf} == {a for a in ABIS if a.elf}
    assert abi_of_elf(64, 62).name == "x86_64"
    assert abi_of_elf(32, 62).name == "x32"
    assert abi_of_elf(64, 22) is None
