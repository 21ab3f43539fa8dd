"""Any code as a guest's reader: a Reader or a reason, in bounded time and memory, never a crash."""

import re
import resource
import time

import pytest
from fuzz.tiny_elf import MACHINES, READERS, made
from hypothesis import given, settings
from hypothesis import strategies as st

from runstate_abi.layouts.model import WitnessError

pytest.importorskip("unicorn")

POINTERS = "int f(const void *area, void *out)"
SECONDS = 5  # on a busy machine; it takes a tenth of a second
MEGABYTES = 100


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """Return a function: an ELF file -> its Reader, or why there is none, in one line."""
    from runstate_abi.writer.witnesses.guests.file import found

    path = tmp_path_factory.mktemp("hostile") / "guest.o"

    def ask(content, said=POINTERS, area=""):
        path.write_bytes(content)
        start = time.monotonic()
        try:
            return found(str(path), "f", said, area, None)[0].reader
        except WitnessError as error:
            return str(error) if "\n" not in str(error) else pytest.fail("two lines")
        finally:
            assert time.monotonic() - start < SECONDS

    return ask


@pytest.mark.parametrize("machine", MACHINES)
def test_the_reader_that_is_damaged_below_is_followed(asked, machine):
    reader = asked(made(machine, READERS[machine]))
    assert set(reader.uses) == {"state", "time"}
    assert reader.bit_check


# fmt: off
ENDS = {
    "an endless loop":           ("x86-64", "ebfe", "it has not returned after 20000 "),
    "an endless loop, arm64":    ("arm64", "00000014", "it has not returned after 20000 "),
    "an endless loop, arm32":    ("arm32", "feffffea", "it has not returned after 20000 "),
    "loads without end":         ("x86-64", "8b07ebfc", "it loads more than 8192 times"),
    "a copy without end":        ("x86-64", "4889fe48c7c1ffffff7ff3a4c3", "it stores to the area"),
    "a call of itself":          ("x86-64", "e8fbffffff", "it reaches 0x2ffffff8"),
    "a jump to nowhere":         ("x86-64", "48c7c000500000ffe0", "it reaches 0x5000"),
    "a jump into the area":      ("x86-64", "ffe7", "it reaches 0x71000000"),
    "a jump into its result":    ("arm64", "20001fd6", "it reaches 0x72000000"),
    "a store to its own code":   ("x86-64", "c605f9ffffff90c3", "it stores to 0x10000000"),
    "a store to nowhere":        ("i386", "a300500000c3", "it reaches 0x5000"),
    "the end of an instruction": ("x86-64", "488b", "it (reaches 0x0|loads nothing)"),
    "no instruction":            ("x86-64", "0f0b", "invalid instruction"),
    "an interrupt":              ("x86-64", "cd80", "an exception"),
    "a division by zero":        ("x86-64", "31c9f7f1c3", "an exception"),
    "a system call":             ("arm64", "010000d4", "an exception"),
    "a stack of its own":        ("x86-64", "31e450c3", "it reaches 0xffff"),
    "a stack in the area":       ("x86-64", "488d672050c3", "it stores to the area"),
    "the time":                  ("x86-64", "8b070f31c3", "it runs rdtsc, whose answer is not"),
    "the processor's name":      ("x86-64", "8b070fa2c3", "it runs cpuid, whose answer is not"),
    "a port":                    ("x86-64", "8b07ecc3", "it runs in, whose answer is not"),
    "another port":              ("i386", "eec3", "it runs out, whose answer is not"),
    "a call of the kernel":      ("x86-64", "0f05c3", "it runs syscall, whose answer is not"),
    "nothing":                   ("x86-64", "c3", "it loads nothing of the area"),
    "a segment":                 ("x86-64", "648b042500400000c3", "it reaches 0x73004000"),
    "a sum of AVX":              ("x86-64", "c5fa6f07c5f1d4c0c5fa7f06c3", "it runs an instr.* AVX"),
}
# fmt: on


@pytest.mark.parametrize("case", ENDS)
def test_what_does_not_read_an_area_is_stopped_with_a_reason(asked, case):
    machine, code, why = ENDS[case]
    assert re.search(
        f": cannot follow this reader: {why}", asked(made(machine, bytes.fromhex(code)))
    )


# add rbx, 1; cmp rbx, 2; jg: from the third run on it would read nothing, and return 0.
def test_nothing_is_carried_from_one_run_to_the_next(asked):
    good = READERS["x86-64"]
    counts = bytes.fromhex("4883c3014883fb027f") + bytes([len(good)])
    found = asked(made("x86-64", counts + good + bytes.fromhex("31c0c3")))
    assert [load.measured for load in found.loads] == [
        load.measured for load in asked(made("x86-64", good)).loads
    ]


# fmt: off
ITS_STATE, NOT_THERE = "state", "the 65536 bytes at 0x30000000 cannot be loaded"
PLACES = {
    "an area":                 (0x40_0000,             (0x60_1000, 64), ITS_STATE),
    "a high area":             (0xFFFF_FFFF_8100_0000, (0xFFFF_FFFF_8120_1000, 64), ITS_STATE),
    "a huge area":             (0x40_0000,             (0x60_1000, 1 << 40), ITS_STATE),
    "a huge area, and high":   (0xFFFF_FFFF_8100_0000, (0xFFFF_FFFF_8120_1000, 1 << 40), ITS_STATE),
    "an area elsewhere":       (0x40_0000,             (0x70_1000, 64), "it reaches 0x601000"),
    "an area round the end":   (0x40_0000,             (-16, 64), "it reaches 0x601000"),
    "an area in the stack":    (0x40_0000,             (0x3000_0100, 64), NOT_THERE),
    "code where the stack is": (0x3000_0000,           (0x60_1000, 64), NOT_THERE),
}
# fmt: on


@pytest.mark.parametrize("place", PLACES)
def test_a_program_is_where_it_says_or_has_a_reason(asked, place):
    """It loads state of an area at 0x60_1000, or as far from the code."""
    code, area, told = PLACES[place]
    loads = bytes.fromhex("8b05fa0f2000c3")
    found = asked(made("x86-64", loads, b"", 2, code, area), "unsigned long f(void)", "area")
    if told == ITS_STATE:
        assert found.uses == ("state",)
    else:
        assert told in found


@pytest.mark.parametrize("first", ["the code", "the area"])
def test_sections_of_a_program_may_share_a_page(asked, first):
    """The end of one is the beginning of the other; the reader loads time[3], or time[0]."""
    area = 0x40_1FE0 if first == "the code" else 0x40_0FE0
    offset = 0x28 if first == "the code" else 0x10
    loads = b"\x48\xc7\xc0" + area.to_bytes(4, "little") + b"\x48\x8b\x40" + bytes([offset, 0xC3])
    code = b"\x90" * 16 + loads if first == "the code" else b"\x90" * 0x1000 + loads
    where = 0x40_1000 if first == "the code" else 0x40_1020
    found = asked(made("x86-64", code, b"", 2, where, (area, 64)), "unsigned long f(void)", "area")
    assert found.uses == ("time",)


@pytest.mark.parametrize("machine", MACHINES)
def test_every_truncation_has_a_reason_or_a_reader(asked, machine):
    whole = made(machine, READERS[machine])
    for length in range(0, len(whole), 7):
        assert isinstance(asked(whole[:length]), str), length


@pytest.mark.parametrize("machine", MACHINES)
def test_random_code_has_a_reason(asked, machine):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    @settings(max_examples=60)
    @given(st.binary(max_size=64))
    def hold(code):
        found = asked(made(machine, code))
        assert not isinstance(found, str) or "guest.o: " in found

    hold()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEGABYTES << 10


@pytest.mark.parametrize("machine", MACHINES)
def test_a_damaged_reader_is_a_reader_or_has_a_reason(asked, machine):
    good = READERS[machine]

    @settings(max_examples=60)
    @given(st.lists(st.tuples(st.integers(0, len(good) - 1), st.integers(0, 255)), max_size=4))
    def hold(changes):
        code = bytearray(good)
        for at, byte in changes:
            code[at] = byte
        asked(made(machine, bytes(code)))

    hold()


@pytest.mark.parametrize("machine", MACHINES)
def test_random_relocations_and_damaged_files_have_a_reason_or_a_reader(asked, machine):
    whole = made(machine, READERS[machine])

    @settings(max_examples=60)
    @given(st.binary(max_size=48), st.integers(0, len(whole) - 1), st.integers(0, 255))
    def hold(relocations, at, byte):
        asked(made(machine, READERS[machine], relocations))
        asked(whole[:at] + bytes([byte]) + whole[at + 1 :])

    hold()
