"""Kernel dumps by drgn itself: a small vmcore made here, and a program with symbols of its own."""

import json
import struct

import pytest

from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools import cli
from runstate_abi.tools.memory import kdump
from runstate_abi.tools.memory.image import read

drgn = pytest.importorskip("drgn", reason="drgn: not installed (extra `drgn`)")

AT = 0x200BA0
AREA = struct.pack("<II5Q", 2, 0, 10**10, 3 * 10**9, 10**9 + 1, 4 * 10**9, 10**9)
# What drgn asks of a kernel's VMCOREINFO before it reads anything.
VMCOREINFO = b"""OSRELEASE=6.12.0
PAGESIZE=4096
SYMBOL(swapper_pg_dir)=ffffffff82000000
SYMBOL(init_uts_ns)=ffffffff82001000
OFFSET(uts_namespace.name)=0
NUMBER(pgtable_l5_enabled)=0
KERNELOFFSET=0
NUMBER(phys_base)=0
SYMBOL(_stext)=ffffffff81000000
SYMBOL(mem_section)=ffff888000000000
LENGTH(mem_section)=2048
SIZE(mem_section)=32
OFFSET(mem_section.section_mem_map)=0
"""


@pytest.fixture
def vmcore(tmp_path):
    """A vmcore of one page, with the area in it."""
    page = bytearray(4096)
    page[AT % 4096 : AT % 4096 + len(AREA)] = AREA
    name = b"VMCOREINFO\0\0"
    note = struct.pack("<III", 11, len(VMCOREINFO), 0) + name + VMCOREINFO
    note += bytes(-len(note) % 4)
    header = b"\x7fELF\2\1\1" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 4, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    base = 0xFFFF888000200000
    header += struct.pack("<IIQQQQQQ", 4, 0, 176, 0, 0, len(note), len(note), 0)
    header += struct.pack("<IIQQQQQQ", 1, 7, 4096, base, AT - AT % 4096, 4096, 4096, 0)
    path = tmp_path / "vmcore"
    path.write_bytes((header + note).ljust(4096, b"\0") + page)
    return str(path)


def test_an_area_in_a_vmcore_is_read_by_its_physical_address(vmcore, capsys):
    assert cli.main(["hexdump", vmcore, "--drgn", "--gpa", hex(AT), "--json"]) == 0
    seen = json.loads(capsys.readouterr().out)
    assert (seen["bytes"], seen["abi"]) == (AREA.hex(), "native")


def test_drgn_and_our_own_reader_see_the_same(vmcore, capsys):
    assert cli.main(["hexdump", vmcore, "--gpa", hex(AT), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == AREA.hex()


def test_what_is_not_in_a_vmcore_is_one_line_and_3(vmcore, capsys):
    assert cli.main(["hexdump", vmcore, "--drgn", "--gpa", "0x900000"]) == 3
    assert capsys.readouterr().err == f"runstate: {vmcore}: 0x900000 is not in it\n"


def test_a_vmcore_without_kallsyms_is_one_line_and_3(vmcore, capsys):
    assert cli.main(["hexdump", vmcore, "--percpu"]) == 3
    assert "its kallsyms: " in capsys.readouterr().err


@pytest.mark.parametrize("data", [b"", b"KDUMP   " + bytes(100), b"\x7fELF" + bytes(60)])
def test_what_is_no_dump_is_one_line(tmp_path, data):
    path = tmp_path / "bad"
    path.write_bytes(data)
    with pytest.raises(WitnessError, match="drgn: ") as caught:
        kdump.program(str(path))
    assert "\n" not in str(caught.value)


@pytest.fixture
def kernel():
    """A drgn program with three CPUs' memory and the symbols that a kernel has."""
    held = {0x1000: struct.pack("<3Q", 0x10000, 0x20000, (1 << 64) - 0x800), 0x2000: b"\3\0\0\0"}
    held |= {0x10BA0: AREA, 0x20BA0: AREA[:16] + bytes(32), 0x3A0: bytes(48)}
    symbols = {"xen_runstate": 0xBA0, "__per_cpu_offset": 0x1000, "nr_cpu_ids": 0x2000}
    flags = drgn.PlatformFlags.IS_64_BIT | drgn.PlatformFlags.IS_LITTLE_ENDIAN
    opened = drgn.Program(drgn.Platform(drgn.Architecture.X86_64, flags))
    for address, data in held.items():
        segment = bytes(8) + data + bytes(64) if address > 0x9000 else data
        first = address - 8 if address > 0x9000 else address

        def reader(place, count, offset, physical, first=first, segment=segment):
            return segment[place - first : place - first + count]

        opened.add_memory_segment(first, len(segment), reader)

    def find(program, name, address, one):
        kind = (drgn.SymbolBinding.GLOBAL, drgn.SymbolKind.OBJECT)
        return [drgn.Symbol(n, a, 48, *kind) for n, a in symbols.items() if n == name]

    opened.register_symbol_finder("test", find, enable_index=0)
    return opened


def test_each_cpus_area_is_its_offset_and_the_symbol_even_where_that_wraps(kernel):
    assert list(kdump.percpu(kernel, "dump")) == [(0, 0x10BA0), (1, 0x20BA0), (2, 0x3A0)]


def test_the_memory_around_an_area_comes_with_what_is_before_it(kernel):
    seen = kdump.image(kernel, "dump", 0x10BA0, physical=False)
    assert read(seen, 0x10BA0 - 8, 56) == bytes(8) + AREA


def test_a_kernels_own_area_is_native_where_it_is_64_bit(kernel):
    assert kdump.abi(kernel) == "native"
    flags = drgn.PlatformFlags.IS_LITTLE_ENDIAN
    assert kdump.abi(drgn.Program(drgn.Platform(drgn.Architecture.I386, flags))) == "compat"


def test_a_dump_without_the_symbol_is_one_line():
    flags = drgn.PlatformFlags.IS_64_BIT | drgn.PlatformFlags.IS_LITTLE_ENDIAN
    empty = drgn.Program(drgn.Platform(drgn.Architecture.X86_64, flags))
    with pytest.raises(WitnessError, match="no xen_runstate found"):
        list(kdump.percpu(empty, "dump"))
