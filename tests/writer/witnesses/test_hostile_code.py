"""Damaged and malicious files: a verdict or a reason, in bounded time and memory, never a crash."""

import random
import re
import resource
import subprocess
import time

import pytest

from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools.judge.tallies import tally
from runstate_abi.writer.rulebook.requests import parse, quick
from runstate_abi.writer.rules import NEWEST

SOME = list(quick())[::23]


@pytest.fixture(scope="module")
def good(c_writer):
    with open(c_writer(), "rb") as file:
        return file.read()


@pytest.fixture
def asked(tmp_path):
    """Return a function: bytes of a file -> "right", "wrong", or why it cannot be judged."""
    from runstate_abi.writer.witnesses.machine_code import KvmWriter
    from runstate_abi.writer.witnesses.shipped import open_code, open_types

    def ask(content, requests=SOME):
        path = tmp_path / "writer.o"
        path.write_bytes(content)
        try:
            file = open_code(str(path))
            writer = KvmWriter(file, open_types(file, ""))
            broken = tally(writer, requests, NEWEST).broken
        except WitnessError as error:
            return " (two lines)" if "\n" in str(error) else str(error)
        return "wrong" if broken else "right"

    return ask


def test_the_undamaged_file_is_right(asked, good):
    assert asked(good) == "right"


def test_every_truncation_has_a_reason(asked, good):
    for length in range(0, len(good), 61):
        assert asked(good[:length]) not in ("right", "wrong"), length


@pytest.mark.parametrize("seed", range(6))
def test_damaged_bytes_are_a_verdict_or_a_reason(asked, good, seed):
    chance = random.Random(seed)
    for _ in range(60):
        content = bytearray(good)
        for _ in range(chance.choice((1, 1, 2, 4, 16))):
            at = chance.randrange(len(content))
            content[at] = chance.choice((0, 0xFF, chance.randrange(256)))
        assert "two lines" not in asked(bytes(content))


@pytest.mark.parametrize("seed", range(3))
def test_random_code_is_a_verdict_or_a_reason(asked, good, c_writer, seed):
    symbols = subprocess.run(["nm", "-S", c_writer()], capture_output=True, text=True).stdout
    line = next(row for row in symbols.splitlines() if row.endswith("_update_runstate_guest"))
    value, size = (int(word, 16) for word in line.split()[:2])
    sections = subprocess.run(
        ["objdump", "-h", c_writer()], capture_output=True, text=True
    ).stdout.splitlines()
    text = next(row.split() for row in sections if " .text " in row)
    start, chance = int(text[5], 16) + value, random.Random(seed)
    for _ in range(40):
        content = bytearray(good)
        content[start : start + size] = chance.randbytes(size)
        assert asked(bytes(content)) != "right"


def test_random_bytes_are_no_file(asked):
    chance = random.Random(0)
    for length in (0, 1, 64, 4096):
        assert asked(chance.randbytes(length)) not in ("right", "wrong")
        assert asked(b"\x7fELF" + chance.randbytes(length)) not in ("right", "wrong")


def test_lying_debug_info_is_a_verdict_or_a_reason(asked, good):
    start = good.index(b"\x9f\xeb\x01\x00")
    chance = random.Random(7)
    for _ in range(150):
        content = bytearray(good)
        at = start + chance.randrange(0x18, 0x800)
        content[at] = chance.randrange(256)
        assert "two lines" not in asked(bytes(content))


def hostile(c_writer, tmp_path, statement):
    """An object whose writer ends with a statement."""
    from pathlib import Path

    source = Path(__file__).parent.parent.parent / "data" / "judge" / "writer.c"
    changed = source.read_text().replace("__builtin_trap();", statement)
    assert statement in changed
    path = tmp_path / "hostile.c"
    path.write_text(changed)
    return c_writer("BUG", source=str(path))


# fmt: off
ENDLESS = {
    "a copy that does not end": '{ static char big[8 << 20]; char *p = big; u64 n = 1UL << 40;'
                                ' __asm__ volatile("rep stosb" : "+D"(p), "+c"(n) : "a"(1)); }',
    "stores without end":       "for (;;) *update = 0x11;",
    "reads without end":        "for (;;) (void)*update;",
    "calls without end":        "for (;;) CHECK((struct gfn_to_pfn_cache *)((u64)xen + 0), 1);",
    "stores into the kernel":   "for (u64 i = 0; ; i++) ((volatile u8 *)xen)[i % 4000] = 1;",
    "recursion":                "write_area(area, xen, flag); barrier();",
}
# fmt: on


@pytest.mark.parametrize("case", ENDLESS)
def test_what_does_not_end_is_stopped(c_writer, tmp_path, case):
    from runstate_abi.writer.witnesses.machine_code import KvmWriter
    from runstate_abi.writer.witnesses.shipped import open_code, open_types

    file = open_code(hostile(c_writer, tmp_path, ENDLESS[case]))
    writer = KvmWriter(file, open_types(file, ""))
    start = time.monotonic()
    broken = tally(writer, [parse("native@0x100,flag")], NEWEST).broken
    assert re.match("it (repeats|does|reads|has not returned)", broken["ends"].violation.why)
    assert time.monotonic() - start < 5


def test_a_writer_that_does_something_else_each_time_fills_no_memory(writer):
    """Verdicts are remembered by what was done: a liar must not make that grow."""
    ours = writer("COPY_ONE_TOO_MANY")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    requests = [parse(f"native@{offset}") for offset in range(4049, 4096)] * 20
    assert tally(ours, requests, NEWEST).failing == len(requests)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


def test_a_linked_file_without_its_pages_has_a_reason(asked, good):
    """e_type says executable: nothing is relocated, and nothing is where it says it is."""
    content = bytearray(good)
    content[16] = 2
    assert "cannot judge" in asked(bytes(content))


def test_a_relocation_of_a_symbol_that_is_not_there_is_refused(asked, good, c_writer):
    sections = subprocess.run(
        ["readelf", "-SW", c_writer()], capture_output=True, text=True, check=True
    ).stdout
    row = next(line.split("]")[1].split() for line in sections.splitlines() if ".rela.text" in line)
    start, size = int(row[3], 16), int(row[4], 16)
    for entry in range(start, start + size, 24):
        for place in (entry + 12, entry + 15, entry + 7):  # the symbol's number, the offset
            content = bytearray(good)
            content[place] = 0x7F
            assert asked(bytes(content)).endswith(".rela.text is damaged")


def test_code_for_another_machine_is_refused(asked, good):
    content = bytearray(good)
    content[18] = 183
    assert "only x86-64 code can be run here" in asked(bytes(content))


def test_a_pipe_is_not_waited_for(tmp_path):
    import os

    from runstate_abi.writer.witnesses.shipped import open_code

    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(WitnessError, match="not a regular file"):
        open_code(str(path))
    with pytest.raises(WitnessError, match="a directory"):
        open_code(str(tmp_path))
