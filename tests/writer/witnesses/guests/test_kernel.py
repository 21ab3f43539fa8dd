"""Readers of a kernel: its per-CPU area, how it calls functions, its symbols, and Debian's kernels.

Debian's come out of its packages (marker network); the others are made here.
"""

import re
from collections import Counter

import pytest
from fuzz.tiny_elf import READERS

from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools.race import rows
from runstate_abi.tools.race.rows import Code, Wanted
from runstate_abi.writer.guest import READER
from runstate_abi.writer.race import SAFE, TORN, ask
from runstate_abi.writer.racing.ordering import MEASURED_GRAIN
from runstate_abi.writer.racing.patterns import INCREASING
from runstate_abi.writer.witnesses.guests import kernel
from runstate_abi.writer.witnesses.guests.file import found
from runstate_abi.writer.witnesses.guests.kallsyms import KernelSymbol

from .test_kallsyms import image

pytest.importorskip("unicorn")

# A program with what a reader needs of a kernel: variables of two CPUs, and an offset for each.
KERNEL = r"""
typedef unsigned long long u64;
struct vcpu_runstate_info { int state; u64 state_entry_time; u64 time[4]; };
#define UPDATE (1ULL << 63)
#define READ_ONCE(x) (*(const volatile __typeof__(x) *)&(x))
#define rmb() __asm__ __volatile__("" ::: "memory")
#define CPU(n) __attribute__((section(".data.percpu"), aligned(4096))) char cpu##n[4096] = { n + 1 }
unsigned long __per_cpu_offset[2] = { OFFSET, 0x2000 };
__attribute__((section(".data.percpu"), aligned(4096)))
struct vcpu_runstate_info xen_runstate = { 1 };
CPU(0);
CPU(1);
__asm__(".globl __per_cpu_start\n.globl __per_cpu_end\n"
	".set __per_cpu_start, xen_runstate\n.set __per_cpu_end, xen_runstate + 4096\n");
void start_kernel(void) { for (;;); }
void snapshot(struct vcpu_runstate_info *out, unsigned int cpu)
{
	struct vcpu_runstate_info *state =
		(struct vcpu_runstate_info *)((char *)&xen_runstate + __per_cpu_offset[cpu]);
	u64 entry;
	do {
		entry = READ_ONCE(state->state_entry_time);
		rmb();
		*out = *state;
		rmb();
	} while (READ_ONCE(state->state_entry_time) != entry || (entry & UPDATE));
}
"""
FLAGS = ("-O1", "-ffreestanding", "-fno-stack-protector", "-fno-pic", "-nostdlib", "-static")
LINKED = ("-no-pie", "-Wl,-e,start_kernel", "-Wl,--build-id=none")
INTO = "void f(struct vcpu_runstate_info *res, unsigned int cpu)"


@pytest.fixture
def built(tool, tmp_path):
    """Return a function (*flags) -> the path of the program."""

    def build(*flags):
        source, path = tmp_path / "kernel.c", tmp_path / "vmlinux"
        source.write_text(KERNEL)
        tool("gcc", *FLAGS, *LINKED, *flags, source, "-o", path)
        return str(path)

    return build


I386 = "-m32", "-mregparm=3"


@pytest.mark.parametrize(
    ("flags", "offset", "layout"), [((), 0x1000, "native"), (I386, 0, "compat")]
)
def test_a_per_cpu_area_is_read_where_its_cpu_has_it(built, flags, offset, layout):
    path = built(*flags, f"-DOFFSET={offset}")
    reader, abi = found(path, "snapshot", INTO, "xen_runstate", None)
    assert abi == layout
    assert {"state", "time"} <= set(reader.reader.uses)
    with open(path, "rb") as file:
        read = kernel.opened(file.name)
    first = read.find("xen_runstate").address
    assert kernel.per_cpu_offset(read) == offset
    assert kernel.is_per_cpu(read, first)
    assert not kernel.is_per_cpu(read, first + 4096)
    assert not kernel.is_per_cpu(read, read.find("start_kernel").address)


def test_an_i386_kernel_has_its_per_cpu_variables_at_offset_0(built):
    path = built(*I386, "-DOFFSET=0x1000")
    with pytest.raises(WitnessError, match="where its per-CPU variables are is not known"):
        found(path, "snapshot", INTO, "xen_runstate", None)


def test_the_address_is_as_good_as_the_symbol(built):
    path = built("-DOFFSET=0x1000")
    address = hex(kernel.opened(path).find("xen_runstate").address)
    named, at = (found(path, "snapshot", INTO, area, None)[0] for area in ("xen_runstate", address))
    assert named == at


def test_where_the_area_may_be_is_told_by_what_the_function_loads(built):
    path = built("-DOFFSET=0x1000")
    second = kernel.opened(path).find("xen_runstate").address + 0x1000
    with pytest.raises(WitnessError) as caught:
        found(path, "snapshot", INTO, "nothing", None)
    told = f"no object nothing; snapshot loads the 48 bytes at {second:#x}: --area {second:#x}"
    assert str(caught.value) == f"{path}: {told}"


# One load of eight bytes: a word of the page, and the state of the area behind it.
STRADDLING = r"""
typedef unsigned int u32; typedef unsigned long long u64;
struct { u32 pad, id; struct { int state; u64 entry, time[4]; } area; }
	__attribute__((aligned(64))) page;
u64 straddles(void) { return *(const volatile u64 *)&page.id; }
void _start(void) { }
"""


@pytest.mark.x86
def test_a_load_that_begins_in_front_of_the_area_is_seen(tool, tmp_path):
    source, path = tmp_path / "straddles.c", str(tmp_path / "straddles")
    source.write_text(STRADDLING)
    tool("gcc", *FLAGS, "-no-pie", "-Wl,--build-id=none", source, "-o", path)
    area = hex(kernel.opened(path).find("page").address + 8)
    with pytest.raises(WitnessError, match="it loads 8 bytes at -4, which is not in the struct"):
        found(path, "straddles", "u64 f(void)", area, None)


NOPS = b"\x1f\x20\x03\xd5" * 2
FUNCTION = NOPS + READERS["arm64"]
SAID = "int f(const void *area, void *out)"


def arm64_image(names, front=0x1000, base=0):
    """A raw Image of so many readers, with kallsyms of functions alone from ``front`` on."""
    start = base + front
    size = -(-len(FUNCTION) // 64) * 64
    symbols = [KernelSymbol(name, "t", start + n * size) for n, name in enumerate(names)]
    code = FUNCTION.ljust(size, b"\0") * len(names)
    header = bytearray(front)
    header[0x38:0x3C] = b"ARM\x64"
    tables = image(
        [one._replace(address=one.address - base + 0xFFFF_FFFF_8100_0000) for one in symbols],
        "base first",
        8,
        front=bytes(header) + code,
    )
    return tables.replace((0xFFFF_FFFF_8100_0000).to_bytes(8, "little"), base.to_bytes(8, "little"))


@pytest.mark.parametrize("front", [0x1000, 0x3000])
@pytest.mark.parametrize("base", [0, 0xFFFF_8000_8000_0000])
def test_a_raw_image_is_where_its_functions_begin_as_functions_do(tmp_path, front, base):
    path = tmp_path / "Image"
    path.write_bytes(arm64_image([f"reader_{n}" for n in range(300)], front, base))
    for name in ("reader_0", "reader_299"):
        reader, _ = found(str(path), name, SAID, "", None)
        assert (reader.model, set(reader.reader.uses)) == ("weak", {"state", "time"})
    assert kernel.opened(str(path)).sections[1].address == base or kernel.TEXT[8]


def test_an_image_whose_functions_begin_in_no_known_way_is_refused(tmp_path):
    path = tmp_path / "Image"
    whole = arm64_image([f"reader_{n}" for n in range(300)])
    path.write_bytes(whole.replace(NOPS, bytes(8)))
    with pytest.raises(WitnessError, match="where its functions are cannot be told"):
        found(str(path), "reader_0", SAID, "", None)


def test_a_name_that_a_kernel_has_twice_is_not_asked(tmp_path):
    path = tmp_path / "Image"
    path.write_bytes(arm64_image([f"reader_{n}" for n in range(298)] + ["twice", "twice"]))
    with pytest.raises(WitnessError, match="no function twice"):
        found(str(path), "twice", SAID, "", None)


def test_a_kernel_without_symbols_says_what_it_needs(tmp_path):
    path = tmp_path / "Image"
    whole = arm64_image([f"reader_{n}" for n in range(300)])
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WitnessError, match=f"{path}: no symbols: neither .* nor kallsyms"):
        found(str(path), "reader_0", SAID, "", None)


# Debian's kernels: Linux's own readers are what the rows written by hand say.

WANTED = Wanted(None, None, None, None, None, 1, INCREASING, (), MEASURED_GRAIN)
# (suite, package, architecture), and the row that has get64() as this architecture does.
# fmt: off
KERNELS = {
    "amd64 6.1":   ("bookworm", "linux-image-amd64",  "amd64", "linux-64"),
    "amd64 6.12":  ("trixie",   "linux-image-amd64",  "amd64", "linux-64"),
    "amd64 sid":   ("sid",      "linux-image-amd64",  "amd64", "linux-64"),
    "i386 6.1":    ("bookworm", "linux-image-686-pae", "i386", "linux-32"),
    "arm64 6.1":   ("bookworm", "linux-image-arm64",  "arm64", "linux-64"),
    "arm64 6.12":  ("trixie",   "linux-image-arm64",  "arm64", "linux-64"),
    "arm64 sid":   ("sid",      "linux-image-arm64",  "arm64", "linux-64"),
    "armhf 6.1":   ("bookworm", "linux-image-armmp",  "armhf", "linux-32"),
    "armhf 6.12":  ("trixie",   "linux-image-armmp",  "armhf", "linux-32"),
}
# fmt: on
SNAPSHOT, STEAL, STOLEN = (
    "xen_get_runstate_snapshot_cpu_delta",
    "xen_steal_clock",
    "xen_vcpu_stolen",
)


@pytest.fixture(scope="module")
def shipped(debian):
    """Return a function: name of a kernel -> its file, and its area if no symbol names it."""

    def fetch(name):
        suite, package, architecture, _ = KERNELS[name]
        (path,) = debian.kernel(suite, package, [r"vmlinuz.*"], architecture)
        try:
            found(str(path), STEAL, "", "", None)
        except WitnessError as error:
            return str(path), re.search(r"no object xen_runstate; .* --area (0x\w+)$", str(error))[
                1
            ]
        return str(path), ""

    return fetch


@pytest.mark.network
@pytest.mark.parametrize("name", KERNELS)
def test_the_readers_of_a_shipped_kernel_are_what_the_rows_by_hand_say(shipped, name):
    path, area = shipped(name)
    for function in (SNAPSHOT, STEAL, STOLEN):
        by_hand = READER["state" if function == STOLEN else KERNELS[name][3]]
        answers = list(rows.of_code(Code(f"{path}:{function}", "", area), WANTED, Counter()))
        assert {row.writer for row in answers} == set(rows.TODAY)
        for row in answers:
            asked = row.question._replace(reader=by_hand)
            verdict = TORN if ask(asked).found else SAFE
            assert row.verdict == verdict, (function, row.writer, hex(row.question.area.address))
        if "armhf" in name and function != STOLEN:
            assert all(row.verdict == TORN for row in answers)
        if "64" in name:
            assert all(row.verdict == SAFE for row in answers)
