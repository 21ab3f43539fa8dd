"""The pages of structs with a version: what they say of readers and writers, and their programs."""

import html
import json
import re
import struct
import subprocess
import sys

import pytest

from agreement import execution
from runstate_abi.layouts.structs.families import families, family
from runstate_abi.layouts.structs.family_names import MODULES, VERSIONED
from runstate_abi.tools.docs import command as docs
from runstate_abi.tools.docs import compared, deceptions, kinds, parties, protocol
from runstate_abi.tools.docs import families as documents
from runstate_abi.tools.race import of_family as race_verb
from runstate_abi.tools.rendering import blocks
from runstate_abi.tools.rendering.blocks import Code, Table
from runstate_abi.writer.guard import guard_of
from runstate_abi.writer.race import Proof
from runstate_abi.writer.versions.readers import READERS
from runstate_abi.writer.versions.writers import WRITERS

OTHERS = tuple(name for name in MODULES if name not in VERSIONED)
BLOCKS_OF_C = {"pvclock": 5, "steal_time": 5, "hyperv": 3}


@pytest.fixture(params=VERSIONED)
def name(request):
    """Each family in turn whose structs have a version."""
    return request.param


def section(name, which):
    """The blocks of a section, those of its parts too."""
    (found,) = (x for x in documents.document(family(name)).sections if x.name == which)
    return [block for _, block in blocks.parts((found,))]


def tables(name, which):
    return [block for block in section(name, which) if isinstance(block, Table)]


def plain(text):
    return blocks.plain(text)


# The programs.


def programs(name):
    """The C of a page in its order: what all share, the declarations, the readers."""
    return [
        "\n".join(block.lines)
        for block in section(name, "reading")
        if isinstance(block, Code) and block.language == "c"
    ]


STRICT = ("-Wall", "-Wextra", "-Werror", "-std=gnu11", "-O2")
# A function that is inline and never called is not assembled.
USED = {
    "pvclock": "int f(const void *p, struct wall_time *t);\n"
    "int f(const void *p, struct wall_time *t) { return wall_clock_read(p, 0, t); }\n"
}
COMPILERS = (
    ("gcc", "-m64"),
    ("gcc", "-m32"),
    ("clang", "-m64"),
    ("clang", "-m32"),
    ("aarch64-linux-gnu-gcc",),
    ("arm-linux-gnueabihf-gcc",),
    ("clang", "--target=aarch64-linux-gnu", "-ffreestanding"),
    ("clang", "--target=armv7-linux-gnueabihf", "-ffreestanding"),
    ("clang", "--target=riscv64-linux-gnu", "-ffreestanding"),
    ("clang", "--target=riscv32-linux-gnu", "-ffreestanding"),
)


@pytest.mark.parametrize("compiler", COMPILERS, ids=" ".join)
def test_the_programs_of_a_page_compile_as_they_are_printed(name, compiler, tool, tmp_path):
    found = programs(name)
    assert len(found) == BLOCKS_OF_C[name]
    # Where the wall clock is in Xen's struct is known of x86 and Arm: elsewhere that is an error.
    nowhere = "riscv" in str(compiler)
    known = [part for part in found if not (nowhere and "#error" in part)]
    assert len(found) - len(known) == (nowhere and name == "pvclock")
    for parts, fails in (([*known, USED.get(name, "")], False), (found, known != found)):
        (tmp_path / "page.c").write_text("\n".join(parts))
        words = (*compiler, *STRICT, "-c", tmp_path / "page.c", "-o", tmp_path / "page.o")
        tool(*words, fails=fails)


def test_a_page_has_no_type_that_it_does_not_use(name):
    text = "\n".join(programs(name))
    for word in re.findall(r"typedef \w+ (\w+);", text):
        assert len(re.findall(rf"\b{word}\b", text)) > 1, word


def test_a_type_that_another_type_stands_for_is_not_taken_for_used():
    shared = "typedef int8_t s8;\ntypedef int64_t s64;\n#define x s8\n"
    assert protocol.used(shared, "u64") == "typedef int8_t s8;\n#define x s8\n"
    assert protocol.used(shared, "s64 a;") == shared


# A function that a compiler for arm64 makes of this has the barrier between its loads.
@pytest.mark.parametrize(
    ("name", "call", "loads"),
    [
        ("steal_time", "int f(const void *a, u64 *s) { return sbi_steal_try(a, s); }", 1),
        ("pvclock", "int f(const void *a, void *t) { return wall_clock_try(a, 0, t); }", 2),
    ],
)
def test_the_barrier_of_arm64_is_in_the_code(name, call, loads, tool, tmp_path):
    (tmp_path / "page.c").write_text("\n".join([*programs(name), call]))
    tool("aarch64-linux-gnu-gcc", *STRICT, "-S", tmp_path / "page.c", "-o", tmp_path / "page.s")
    made = re.findall(r"^\t(ldr|ldrb|dmb)\s(\w+)", (tmp_path / "page.s").read_text(), re.M)
    assert [word for word, _ in made] == ["ldr", "dmb", *["ldr"] * loads, "dmb", "ldr"]
    assert [what for word, what in made if word == "dmb"] == ["ishld", "ishld"]


@pytest.fixture(params=["-m64", "-m32"])
def run(request, tool, tmp_path):
    """Return a function: what a main() prints that is compiled behind a page's programs."""

    def run(name, body, data=b"", before="", above=""):
        main = (
            f"{above}\n"
            + '#include "page.c"\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n'
        )
        main += "static _Alignas(64) uint8_t bytes[4096];\n"
        main += f"{before}\n"
        main += f"int main(void)\n{{\n\tfread(bytes, 1, sizeof(bytes), stdin);\n{body}\n}}\n"
        (tmp_path / "page.c").write_text("\n".join(programs(name)))
        (tmp_path / "main.c").write_text(main)
        words = ["gcc", request.param, "-std=gnu11", "-O2", "-w", "-pthread", tmp_path / "main.c"]
        tool(*words, "-o", tmp_path / "main")
        done = subprocess.run([tmp_path / "main"], input=data, capture_output=True, timeout=20)
        assert done.returncode == 0, "it hangs or crashes"
        return done.stdout.decode().split()

    run.width = request.param
    return run


# counter, timestamp, time, multiplier, shift: of real guests, and at the edges.
# fmt: off
TIMES = (
    (5_000_000_000, 1_000_000_000, 77, 0x80000000, 1),
    (2**63 + 12345, 2**62, 2**40 + 1, 0xffffffff, -1),
    (2**40, 0, 0, 0xb6db6db7, -3),
    (1 << 33, (1 << 33) - 1, 10**18, 0xfffffffe, 31),
    (0, 0, 5, 0, 0),
)
# fmt: on


def times_of(run, cases):
    """What pvclock_time() makes of (counter, timestamp, time, multiplier, shift)."""
    body = ""
    for tsc, stamp, time, mul, shift in cases:
        values = f"{tsc}ull, {stamp}ull, {time}ull, {mul}u, {shift}, 0"
        body += f"{{ struct pvclock_copy c = {{ {values} }};"
        body += ' printf("%llu\\n", (unsigned long long)pvclock_time(&c)); }\n'
    return list(map(int, run("pvclock", body)))


@pytest.mark.x86
def test_the_time_is_what_big_numbers_give(run):
    expected = []
    for tsc, stamp, time, mul, shift in TIMES:
        delta = (tsc - stamp) % 2**64
        delta = delta >> -shift if shift < 0 else delta << shift
        expected.append((time + (delta % 2**64 * mul >> 32)) % 2**64)
    assert times_of(run, TIMES) == expected


# A tsc_timestamp below 0 is before any counter: Xen's of a guest whose counter began later.
@pytest.mark.x86
def test_a_counter_that_is_behind_is_at_the_time_of_the_update(run):
    cases = [(1000 - by, 1000, 77, 1 << 31, 1) for by in (0, 1, 999, 1000)]
    cases += [(5, 2**64 - 100, 77, 1 << 31, 1), (2**64 - 100, 5, 77, 1 << 31, 1)]
    assert times_of(run, cases) == [77, 77, 77, 77, 77 + 105, 77]


@pytest.mark.x86
def test_no_time_is_before_one_that_was_given(run):
    given = (5, 9, 7, 9, 2**40, 8, 2**64 - 1, 3)
    body = "\tu64 last __attribute__((aligned(8))) = 0;\n"
    for time in given:
        body += f'\tprintf("%llu ", (unsigned long long)pvclock_monotonic(&last, {time}ull));\n'
        body += '\tprintf("%llu\\n", (unsigned long long)last);\n'
    highest = [max(given[: at + 1]) for at in range(len(given))]
    assert list(map(int, run("pvclock", body))) == [time for time in highest for _ in range(2)]


# Another CPU stores its time between the load and the exchange.
@pytest.mark.x86
@pytest.mark.parametrize(("time", "other", "given"), [(40, 50, 50), (60, 50, 60), (50, 50, 50)])
def test_a_time_that_came_in_between_is_counted(run, time, other, given):
    above = f"""#include <stdint.h>
static int calls;
static uint64_t exchange(uint64_t *last, uint64_t seen, uint64_t time)
{{
\tuint64_t found = *last = ++calls == 2 ? {other} : *last;
\tif (found == seen)
\t\t*last = time;
\treturn found;
}}
#define __sync_val_compare_and_swap exchange"""
    body = f"""\tu64 last = 7, found = pvclock_monotonic(&last, {time});
\tprintf("%d %d\\n", (int)found, (int)last);"""
    assert list(map(int, run("pvclock", body, above=above))) == [given, given]


# Two threads with times of one source: none is given an earlier one than was given before.
@pytest.mark.x86
def test_the_last_time_of_two_threads_is_the_highest_of_both(run):
    body = """\tpthread_t other;
\tpthread_create(&other, 0, ask, (void *)1);
\task(0);
\tpthread_join(other, 0);
\tprintf("%d %llu\\n", wrong, (unsigned long long)last);"""
    before = """#include <pthread.h>
static u64 last __attribute__((aligned(8))), given[2] __attribute__((aligned(8)));
static volatile int wrong, drawn;
static void *ask(void *mine)
{
\tu64 before, time, asked, i, me = (long)mine;
\tfor (i = 0; i < 1000000; i++) {
\t\tasked = __sync_add_and_fetch(&drawn, 1);
\t\tasked |= asked << 31;
\t\tbefore = __sync_val_compare_and_swap(&given[!me], 0, 0);
\t\ttime = pvclock_monotonic(&last, asked);
\t\twrong |= time < before || time < asked || (time >> 31) != (time & 0x7fffffff);
\t\t__sync_val_compare_and_swap(&given[me], given[me], time);
\t}
\treturn 0;
}"""
    most = 2_000_000
    assert list(map(int, run("pvclock", body, before=before))) == [0, most << 31 | most]


READ = """\tu64 last __attribute__((aligned(8))) = 1ull << 62, time = 5;
\tint read = pvclock_read((const void *)bytes, &last, &time);
\tprintf("%d %llu\\n", read, (unsigned long long)time);"""
# Version, multiplier and flags; what is returned and the time: of the struct, or of before.
# fmt: off
WHOLE_READS = (
    ((2, 1, 1), 1, "own"),
    ((2, 1, 0), 1, 1 << 62),  # not stable: never before the last
    ((3, 1, 1), 0, 5),        # an update that does not end
    ((0, 0, 0), 0, 5),        # nobody has written it
    ((2, 0, 1), 0, 5),
)
# fmt: on


@pytest.mark.x86
@pytest.mark.parametrize(("given", "read", "time"), WHOLE_READS)
def test_a_time_is_read_or_given_up(run, given, read, time):
    version, mul, flags = given
    data = struct.pack("<IIQQIbB2x", version, 0, 0, 22, mul, -31, flags)
    done, found = map(int, run("pvclock", READ, data))
    assert done == read
    assert 22 <= found < 2**60 if time == "own" else found == time


DATES = (
    ((5, 999_999_999), 1, (6, 0)),
    ((5, 999_999_998), 1, (5, 999_999_999)),
    ((2**32 + 7, 3), 2_000_000_004, (2**32 + 9, 7)),
    ((0, 0), 2**63, (2**63 // 10**9, 2**63 % 10**9)),
)


@pytest.mark.x86
def test_the_date_is_the_wall_clock_and_the_time_with_the_carry(run):
    body, expected = "", []
    for (sec, nsec), time, date in DATES:
        body += (
            f"{{ struct wall_time t = {{ {sec}ull, {nsec}u }}, d = wall_clock_at(&t, {time}ull);"
        )
        body += ' printf("%llu %u\\n", (unsigned long long)d.sec, d.nsec); }\n'
        expected += date
    assert list(map(int, run("pvclock", body))) == expected


@pytest.mark.x86
@pytest.mark.parametrize(("clock", "read"), [((6, 9, 10), 1), ((7, 9, 10), 0), ((0, 0, 0), 0)])
def test_a_wall_clock_is_read_or_given_up(run, clock, read):
    body = """\tstruct wall_time t;
\tprintf("%d\\n", wall_clock_read((const void *)bytes, 0, &t));"""
    assert run("pvclock", body, struct.pack("<III", *clock)) == [str(read)]


def time_info(version):
    return struct.pack("<IIQQIbB2x", version, 0, 11, 22, 33, -4, 5)


@pytest.mark.x86
@pytest.mark.parametrize(("version", "taken"), [(2, 1), (3, 0), (0, 1), (2**32 - 1, 0)])
def test_a_time_info_is_copied_whole_and_an_odd_one_is_refused(run, version, taken):
    body = """\tstruct pvclock_copy c;
\tint whole = pvclock_try((const void *)bytes, &c);
\tprintf("%d %d %d %u %d %d\\n", whole, (int)c.tsc_timestamp, (int)c.system_time,
\t       c.tsc_to_system_mul, c.tsc_shift, c.flags);"""
    assert list(map(int, run("pvclock", body, time_info(version)))) == [taken, 11, 22, 33, -4, 5]


@pytest.mark.x86
def test_the_wall_clock_is_found_in_shared_info(run):
    page, upper = bytearray(4096), 0
    for layout in family("vcpu_info").claims["x86_64" if run.width == "-m64" else "i386"]:
        rows = {row.name: row.offset for row in layout.rows}
        if layout.name == "shared_info":
            upper = rows.get("wc_sec_hi", rows["arch"] + 24)
        if "wc_sec" in rows and layout.name == "shared_info":
            for member, value in (("wc_version", 8), ("wc_sec", 1234), ("wc_nsec", 5678)):
                struct.pack_into("<I", page, rows[member], value)
    struct.pack_into("<I", page, upper, 3)
    body = """\tstruct wall_time t;
\tint whole = xen_wall_clock_read(bytes, &t);
\tprintf("%d %llu %u\\n", whole, (unsigned long long)t.sec, t.nsec);"""
    assert list(map(int, run("pvclock", body, bytes(page)))) == [1, (3 << 32) + 1234, 5678]


@pytest.mark.x86
@pytest.mark.parametrize(("version", "whole"), [(6, 1), (7, 0)])
def test_a_wall_clock_without_upper_seconds_has_none(run, version, whole):
    data = struct.pack("<IIII", version, 9, 10, 0xFFFFFFFF)
    body = """\tstruct wall_time t;
\tint whole = wall_clock_try((const void *)bytes, 0, &t);
\tprintf("%d %llu %u\\n", whole, (unsigned long long)t.sec, t.nsec);"""
    assert list(map(int, run("pvclock", body, data))) == [whole, 9, 10]


@pytest.mark.x86
@pytest.mark.parametrize(("version", "whole"), [(4, 1), (5, 0)])
def test_the_steal_times_are_read_and_an_odd_version_is_refused(run, version, whole):
    kvm = struct.pack("<QII", 2**40 + 5, version, 0) + b"\3" + bytes(47)
    sbi = struct.pack("<IIQ", version, 0, 2**41 + 6) + bytes(48)
    arm = struct.pack("<IIQ", 0, 0, 2**42 + 7) + bytes(48)
    body = """\tu64 kvm = 0, sbi = 0;
\tprintf("%d\\n", kvm_steal_try((const void *)bytes, &kvm));
\tprintf("%d\\n", sbi_steal_try((const void *)(bytes + 64), &sbi));
\tprintf("%llu %llu %llu %d %d\\n", (unsigned long long)kvm, (unsigned long long)sbi,
\t       (unsigned long long)stolen_time((const void *)(bytes + 128)),
\t       kvm_vcpu_is_preempted((const void *)bytes),
\t       stolen_time_is_known((const void *)(bytes + 128)));"""
    found = list(map(int, run("steal_time", body, kvm + sbi + arm)))
    assert found == [whole, whole, 2**40 + 5, 2**41 + 6, 2**42 + 7, 1, 1]


@pytest.mark.x86
@pytest.mark.parametrize(("sequence", "taken"), [(0, -1), (1, 1), (2, 1)])
def test_a_page_of_hyper_v_is_given_up_at_0_and_nothing_else(run, sequence, taken):
    data = struct.pack("<IIQq", sequence, 0, 2**63 + 1, -7)
    body = """\tstruct tsc_page_copy c = { 1, 2, 3 };
\tu64 time = 99;
\tint whole = tsc_page_try((const void *)bytes, &c);
\tint read = tsc_page_read((const void *)bytes, &time);
\tprintf("%d %d %d\\n", whole, read, time == 99);
\tif (whole == 1)
\t\tprintf("%llu %lld\\n", (unsigned long long)c.tsc_scale, (long long)c.tsc_offset);"""
    given_up = taken < 0
    expected = [taken, int(not given_up), int(given_up), *([] if given_up else [2**63 + 1, -7])]
    assert list(map(int, run("hyperv", body, data))) == expected


PRODUCTS = ((2**64 - 1, 2**64 - 1, -1), (12345678901, 2**63 + 3, 0), (2**32, 2**32, 5), (1, 1, -9))


@pytest.mark.x86
def test_the_time_of_the_page_is_what_big_numbers_give(run):
    body, expected = "", []
    for tsc, scale, offset in PRODUCTS:
        body += f"{{ struct tsc_page_copy c = {{ {tsc}ull, {scale}ull, {offset} }};"
        body += ' printf("%llu\\n", (unsigned long long)tsc_page_time(&c)); }\n'
        expected.append(((tsc * scale >> 64) + offset) % 2**64)
    assert list(map(int, run("hyperv", body))) == expected


# What the search is asked about is what the page prints.
def test_the_model_of_the_page_s_reader_takes_what_its_programs_load(name):
    text = "\n".join(programs(name)[2:])
    loaded = set(re.findall(r"READ_ONCE\(\*?(?:\w+->)?(\w+)\)", text))
    words = {guard_of(layout).name(layout) for layout in parties.layouts(name)} - {""}
    taken = {m for x in parties.layouts(name) for r in parties.ours(name, x) for m in r.reader.uses}
    unguarded = {"preempted", "stolen_time", "revision", "attributes"}
    assert loaded - words - unguarded == taken
    assert words <= loaded


# The reader of the page, as a compiler made it: each `_try` in the loop that the page asks for.
OBJECTS = {
    "pvclock": """
u64 read_time(const struct pvclock_vcpu_time_info *info)
{
\tstruct pvclock_copy c;
\twhile (!pvclock_try(info, &c))
\t\tcpu_relax();
\treturn pvclock_time(&c);
}
u64 read_clock(const u8 *page)
{
\tstruct wall_time c;
\twhile (!wall_clock_try((const void *)(page + WC_VERSION),
\t\t\t       (const void *)(page + WC_SEC_HI), &c))
\t\tcpu_relax();
\treturn c.sec * 1000 + c.nsec;
}
""",
    "steal_time": """
u64 read_steal(const struct kvm_steal_time *area)
{
\tu64 steal;
\twhile (!kvm_steal_try(area, &steal))
\t\tcpu_relax();
\treturn steal;
}
""",
}
IN_SHARED_INFO = ("--struct", "pvclock_wall_clock", "--offset", "0xc00")


@pytest.mark.x86
@pytest.mark.parametrize(
    ("name", "function", "options", "writers"),
    [
        ("pvclock", "read_time", (), 6),
        ("pvclock", "read_clock", IN_SHARED_INFO, 2),
        ("steal_time", "read_steal", (), 2),
    ],
)
def test_the_compiled_reader_of_the_page_is_safe(
    name, function, options, writers, tool, tmp_path, capsys
):
    pytest.importorskip("unicorn")
    (tmp_path / "page.c").write_text("\n".join([*programs(name), OBJECTS[name]]))
    tool("gcc", "-O2", "-g", "-w", "-c", tmp_path / "page.c", "-o", tmp_path / "page.o")
    words = ["--family", name, "--reader-object", f"{tmp_path}/page.o:{function}", *options]
    assert race_verb.main([*words, "--json"], name) == 0
    found = json.loads(capsys.readouterr().out)
    assert (len(found), {one["verdict"] for one in found}) == (writers, {SAFE})


# The tables.


def asked_of_race(name, capsys):
    race_verb.main(["--family", name, "--all", "--json"], name)
    return json.loads(capsys.readouterr().out)


def cells(table):
    """{(reader, writer): cell}."""
    across = [plain(head) for head in table.header[1:]]
    return {
        (plain(row[0]), w): cell
        for row in table.rows
        for w, cell in zip(across, row[1:], strict=True)
    }


def test_the_answers_are_those_of_runstate_race(name, capsys):
    said = {}
    for one in asked_of_race(name, capsys):
        key = one["reader"], one["variant"], one["model"]
        said[key] = one["verdict"] if one["reachable"] or one["verdict"] == "safe" else "(torn)"
    found = {}
    for table in tables(name, "compared"):
        if "on x86 / on a weak machine" in table.caption:
            for pair, cell in cells(table).items():
                if pair[0].startswith(parties.OURS) or cell == "-":
                    continue
                x86, _, weak = cell.partition(" / ")
                found |= {(*pair, "x86-tso"): x86, (*pair, "weak"): weak or x86}
    assert found == said


SAFE, TORN = "safe", "torn"
# fmt: off
OF_OURS = {
    "pvclock": {
        "kvm-time": SAFE, "kvm-time-6.12": SAFE, "xen-time": SAFE, "xen-time-va": SAFE,
        "xen-time-phys": SAFE, "bhyve-time": "safe / (torn)",
        "kvm-wallclock": "safe / (torn)", "kvm-xen-wallclock": SAFE, "xen-wallclock": SAFE,
    },
    "steal_time": {
        "kvm-x86-steal": SAFE, "kvm-x86-preempted": SAFE, "kvm-loongarch-steal": SAFE,
        "kvm-loongarch-preempted": SAFE, "kvm-riscv64-steal": SAFE, "kvm-riscv32-steal": "-",
    },
    "hyperv": {"kvm-tsc-page": SAFE, "xen-tsc-page": "(torn)"},
}
# fmt: on


def test_the_reader_of_the_page_is_safe_with_every_writer_that_has_its_barriers(name):
    found = {}
    for table in tables(name, "compared"):
        if "on x86 / on a weak machine" in table.caption:
            found |= {w: cell for (r, w), cell in cells(table).items() if r == parties.OURS}
    assert found == OF_OURS[name]


def test_the_32_bit_form_of_it_is_torn_where_the_writer_has_no_barrier():
    found = {}
    for table in tables("steal_time", "compared"):
        found |= {w: c for (r, w), c in cells(table).items() if r == f"{parties.OURS}, 32 bits"}
    assert found["kvm-riscv32-steal"] == "safe / torn"
    assert found["kvm-x86-steal"] == "safe / (torn)"


# x86 and weak, with one step left out.
# fmt: off
KNOWN = {
    "nothing":    (SAFE, SAFE),
    "wmb-set":    (SAFE, TORN),
    "wmb-body":   (SAFE, TORN),
    "set":        (TORN, TORN),
    "body-odd":   (TORN, TORN),
    "rmb-copy":   (SAFE, TORN),
    "rmb-reread": (SAFE, TORN),
    "reread":     (TORN, TORN),
    "odd-check":  (TORN, TORN),
    "zero-check": (TORN, TORN),
}
WITHOUT = {
    "pvclock_vcpu_time_info": {"zero-check"},
    "pvclock_wall_clock": {"zero-check", "body-odd"},
    "kvm_steal_time": {"zero-check", "body-odd"},
    "ms_hyperv_tsc_page": {"odd-check", "body-odd"},
}
# fmt: on


@pytest.mark.parametrize("at", range(4))
def test_each_step_is_for_what_is_known_of_it(at):
    every = [t for one in VERSIONED for t in tables(one, "reading") if "one step" in t.caption]
    assert len(every) == len(WITHOUT)
    table = every[at]
    struct_name = re.match(r"`(\w+)`", table.caption)[1]
    names = {words: key for held in (parties.ODD, parties.ZERO) for key, words in held.items()}
    rows = {names.get(row[0], row[0]): row for row in table.rows}
    assert set(rows) == set(KNOWN) - WITHOUT[struct_name]
    for key, row in rows.items():
        assert row[-2:] == KNOWN[key], key
        # A steal time of one word is whole whatever is left out.
        if struct_name == "kvm_steal_time":
            assert row[2:4] == (SAFE, SAFE)
        else:
            assert row[2:4] == KNOWN[key]


# fmt: off
UPDATES = {
    "kvm-time":            "odd 4 | copy 32 | even 4",
    "kvm-time-6.12":       "odd 4 | copy 32, flags 1 | even 4",
    "xen-time":            "odd 4 | copy 32 | even 4",
    "xen-time-va":         "copy odd 4 | copy 32 | copy even 4",
    "xen-time-phys":       "odd 4 | copy 32 | even 4",
    "bhyve-time":          "odd 4, tsc_timestamp 8, system_time 8, tsc_to_system_mul 4, "
                           "tsc_shift 1, flags 1, even 4",
    "kvm-wallclock":       "copy odd 4, copy 12, copy even 4",
    "kvm-xen-wallclock":   "odd 4 | nsec 4, sec 4, sec_hi 4 | even 4",
    "xen-wallclock":       "odd 4 | sec 4, nsec 4, sec_hi 4 | even 4",
    "kvm-x86-steal":       "preempted 1, odd 4 | steal 8, even 4",
    "kvm-x86-preempted":   "preempted 1",
    "kvm-loongarch-steal": "preempted 1, odd 4 | steal 8 | even 4",
    "kvm-loongarch-preempted": "preempted 1",
    "kvm-riscv64-steal":   "odd 4, steal 8, even 4",
    "kvm-riscv32-steal":   "odd 4, steal low 4, steal high 4, even 4",
    "kvm-arm64-steal":     "stolen_time 8",
    "kvm-tsc-page":        "0 4 | copy 24 | the next number 4",
    "xen-tsc-page":        "tsc_scale 8, tsc_offset 8 | the next number 4",
}
# fmt: on


def test_each_writer_is_there_step_by_step_with_who_runs_and_its_source(name):
    (table,) = tables(name, "writing")
    assert [plain(row[0]) for row in table.rows] == [one.name for one in WRITERS[name]]
    for row, one in zip(table.rows, WRITERS[name], strict=True):
        assert row[2] == UPDATES[one.name]
        assert row[4] == one.source
        words = {"all": "all", "others": "the others", "none": "none"}
        assert row[3] == words[one.running]
        assert one.layout.name in row[1]


def test_each_reader_is_there_with_its_class_whose_struct_and_its_source(name):
    (table,) = tables(name, "readers")
    for row, one in zip(table.rows, READERS[name], strict=True):
        assert (plain(row[0]), plain(row[1])) == (one.name, one.reader.summary)
        assert (row[2], row[3]) == ("its own vCPU's" if one.own else "any", one.reader.source)


# A table that somebody typed would stay as it is.
def test_a_writer_that_loses_a_barrier_changes_the_page(monkeypatch):
    before = documents.document(family("hyperv"))
    first, second = WRITERS["hyperv"]

    def bare(update, place):
        return (s for s in first.update(update, place) if type(s).__name__ != "Barrier")

    changed = {**WRITERS, "hyperv": (first._replace(update=bare), second)}
    for module in (parties, kinds, compared):
        monkeypatch.setattr(module, "WRITERS", changed)
    parties.layouts.cache_clear()
    after = documents.document(family("hyperv"))
    parties.layouts.cache_clear()
    changed = [a.name for a, b in zip(before.sections, after.sections, strict=True) if a != b]
    # The last one has the page's digest.
    assert changed == ["reading", "writing", "compared", "wrong", before.sections[-1].name]


# The deceptions.

# fmt: off
FOUND = {
    "pvclock":    ["UNLOOKED", "ONCE", "UNORDERED", "LACKING"],
    "steal_time": ["LACKING"],
    "hyperv":     ["UNMARKED"],
}
# fmt: on


def test_everything_that_is_torn_is_of_one_kind(name, capsys):
    every = kinds.torn(name)
    assert [kind.name for kind in every] == FOUND[name]
    said = {(m.reader.name, m.writer.name, m.model.name) for each in every.values() for m in each}
    found = asked_of_race(name, capsys)
    assert said == {(o["reader"], o["variant"], o["model"]) for o in found if o["verdict"] == TORN}


def test_the_kinds_are_told_by_who_can_meet():
    first = {kind.name: each[0] for kind, each in kinds.torn("pvclock").items()}
    assert (first["UNLOOKED"].unreachable, first["UNLOOKED"].model) == ("", deceptions.X86)
    assert first["ONCE"].reader.name == "openbsd-wallclock"
    (lacking,) = kinds.torn("steal_time").values()
    assert (lacking[0].writer.name, lacking[0].unreachable) == ("kvm-riscv32-steal", "")


def questions(name):
    return [kinds.question(each[0]) for each in kinds.torn(name).values()]


def test_an_execution_that_is_told_ends_in_a_mixture(name):
    for question in questions(name):
        found = deceptions.answer(question)
        execution.replay(found.case.images[0], found.events)  # every load sees what memory holds
        for image in found.case.images:
            assert any(found.accepted[o] != image[o] for o in found.witness)
        table = deceptions.told("T", question)
        assert len(table.rows) == len(found.events) + 1
        assert table.rows[-1][1].startswith("accepts ")
        assert re.search("old.*new|new.*old|parts of several", table.rows[-1][1])


def test_the_state_of_the_version_is_said_where_it_is_loaded_and_stored():
    unlooked = kinds.torn("pvclock")[kinds.Kind.UNLOOKED]
    question = kinds.question(next(m for m in unlooked if m.reader.name == "osv-wallclock"))
    rows = deceptions.told("T", question).rows
    guest = [row[1] for row in rows if "`version`" in row[1]]
    assert guest == [
        "loads `version`: 17 (odd)",
        "loads again `version`: 17 (odd)",
    ]
    assert rows[0][0] == "stores `version`: 17 (odd)"


def test_a_byte_is_named_whole_and_a_sequence_of_0_is_0():
    text = str(section("pvclock", "wrong")) + str(section("hyperv", "wrong"))
    assert "`tsc_shift` high half" not in text
    assert "stores `tsc_sequence`: 0" in text


def told_of(name):
    """{caption of an execution: the items behind it}."""
    every = section(name, "wrong")
    return {
        block.caption: every[at + 1].items
        for at, block in enumerate(every)
        if isinstance(block, Table)
    }


def test_each_execution_is_followed_by_what_it_means_and_who_is_such(name):
    every = told_of(name)
    assert all(re.match(r"In time: (the|by) [^.]+\.", items[0]) for items in every.values())
    for kind, meetings in kinds.torn(name).items():
        (items,) = (items for caption, items in every.items() if caption.startswith(kind.value))
        said = " ".join(map(plain, items[1:]))
        for one in meetings:
            party = one.writer if kind in kinds.OF_WRITERS else one.reader
            assert party.name in said
            assert (
                one.writer.source if kind in kinds.OF_WRITERS else one.reader.reader.source
            ) in said
    osv = "`osv-wallclock`, on x86. OSv arch/x64/pvclock-abi.cc, pvclock::wall_clock_boot() "
    if name == "pvclock":
        assert osv + "(read in 0e34e4dc2b27)." in next(iter(every.values()))


def test_the_first_execution_is_one_that_can_happen_if_there_is_any(name):
    first = [each[0].unreachable for each in kinds.torn(name).values()]
    assert first == sorted(first, key=bool)
    assert bool(first[0]) == (name == "hyperv")


def test_both_of_what_a_wrong_time_is_are_told():
    every = told_of("pvclock")
    (jump,) = (c for c in every if "The same two, by `tsc_timestamp` and `system_time` alone" in c)
    assert every[jump] == ("In time: the clock is off by the time between the two updates.",)
    table = next(t for t in tables("pvclock", "wrong") if t.caption == jump)
    assert table.rows[-1][1] == "accepts `tsc_timestamp`: old, `system_time`: new"
    first = next(iter(every.values()))
    assert "by a factor of 2 for each step" in first[0]


def test_a_version_that_comes_back_deceives_the_reader_of_each_page(name):
    last = tables(name, "wrong")[-1]
    assert last.caption.startswith(kinds.COMES_BACK)
    word = {"pvclock": "version", "steal_time": "version", "hyperv": "tsc_sequence"}[name]
    loads = [re.search(rf"`{word}`: (.*)", row[1])[1] for row in last.rows if word in row[1]]
    assert len(loads) > 1
    assert loads[0] == loads[-1]
    between = re.findall(rf"`{word}`: (\d+)", " ".join(row[0] for row in last.rows))
    assert len(set(between)) > 2
    if name == "pvclock":
        assert "off by the time between" in told_of(name)[last.caption][0]


def test_what_several_updates_do_is_what_the_search_says_of_them(name):
    texts = (b.text for b in section(name, "compared") if isinstance(b, blocks.Paragraph))
    (text,) = (text for text in texts if "in a row" in text)
    safe = [m for m in compared.pairs(name) if not parties.is_torn(m)]
    assert text.startswith("Two and three updates in a row, ")
    assert f"safe then, too ({len(safe)} pairs asked)" in text
    for meeting in safe:
        for updates in (2, 3):
            asked = kinds.question(meeting)._replace(updates=updates)
            assert isinstance(deceptions.answer(asked), Proof)
    cells_safe = 0
    for table in tables(name, "compared"):
        for cell in cells(table).values():
            x86, _, weak = cell.partition(" / ")
            cells_safe += (x86 == SAFE) + ((weak or x86) == SAFE)
    assert cells_safe == len(safe)


def test_pairs_that_two_updates_deceive_are_named(monkeypatch):
    def verdict(question):
        bad = question.updates == 3 and question.reader.name == "linux-time"
        return TORN if bad else SAFE

    monkeypatch.setattr(compared, "verdict", verdict)
    text = compared.more_updates("pvclock").text
    assert "torn, where one is safe, are `linux-time` with `kvm-time`, x86-tso, three" in text
    assert "osv" not in text


def test_the_reader_of_the_page_needs_a_version_that_comes_back(name):
    for layout in parties.layouts(name):
        for reader in parties.ours(name, layout):
            for writer in WRITERS[name]:
                if writer.layout == layout and parties._is_whole(writer):
                    meeting = kinds.Meeting(writer, reader, deceptions.WEAK)
                    assert isinstance(deceptions.answer(kinds.question(meeting)), Proof)


# The text.


def strings(block):
    if isinstance(block, blocks.Paragraph | blocks.Note):
        yield block.text
    elif isinstance(block, blocks.Bullets):
        yield from block.items
    elif isinstance(block, Table):
        yield from (block.caption, *block.header, *(cell for row in block.rows for cell in row))


def test_no_mark_is_left_in_the_text(name):
    for which in protocol.SECTIONS:
        for block in section(name, which):
            for text in strings(block):
                rest = "".join(span.text for span in blocks.marked(text) if not span.mark)
                assert not re.search(r"[`{}\\@]|\[\^|\[\[|\]\]|<<|\*", rest), text


def test_the_sections_are_between_the_bytes_and_the_assertions(name):
    names = [one.name for one in documents.document(family(name)).sections]
    assert names[names.index("bytes") + 1 : names.index("asserted")] == list(protocol.SECTIONS)


@pytest.mark.parametrize("other", OTHERS)
def test_another_family_has_none_of_these_sections(other):
    names = {one.name for one in documents.document(family(other)).sections}
    assert not names & set(protocol.SECTIONS)


# What the sources say, where they were once told otherwise.
# fmt: off
SAID = {
    "pvclock": ("fd36783567ce", "bfe5260389b4", "0e34e4dc2b27", "e694d066d20d", "8.2.1",
                "does not see to that"),
    "steal_time": ("odd between the updates", "makes an odd version even first"),
    "hyperv": ("ends at 1",),
}
# fmt: on


def test_what_goes_wrong_names_the_versions_that_were_read(name):
    written = next(b for b in section(name, "wrong") if isinstance(b, blocks.Bullets))
    text = " ".join(written.items)
    assert [word for word in SAID[name] if word not in text] == []
    about = str(documents.about(family(name)))
    assert "2df3c0293aa2" not in about


# A rendering's own marks taken out of a line of a program.
def shown(form, text):
    if form == "html":
        return html.unescape(text)
    if form == "man":
        text = re.sub(r"(?m)^\\&", "", text)
        return (
            text.replace("\\-", "-")
            .replace("\\(aq", "'")
            .replace("\\(dq", '"')
            .replace("\\e", "\\")
        )
    return text


@pytest.mark.parametrize("form", list(docs.FORMATS))
def test_every_rendering_has_the_programs_and_the_tables(name, form):
    text = shown(form, "\n".join(docs.rendered(form, name)))
    for program in programs(name):
        for line in filter(None, program.splitlines()):
            assert line.strip() in text, line
    bare = re.sub(r"<[^>]*>|\\f[BIRP]|\\[:&]|[`\\*]", "", text)
    for which in protocol.SECTIONS:
        for table in tables(name, which):
            assert plain(table.caption).replace("*", "") in " ".join(bare.split())


def test_readers_and_writers_are_imported_for_these_pages_alone():
    code = "import sys\nfrom runstate_abi.tools.docs import command\n"
    code += "list(command.rendered('html', {name!r}))\n"
    code += "print('runstate_abi.writer.versions.writers' in sys.modules)"
    for name, said in ((OTHERS[0], "False"), (VERSIONED[0], "True")):
        words = [sys.executable, "-c", code.format(name=name)]
        done = subprocess.run(words, capture_output=True, text=True)
        assert (done.stdout.strip(), done.returncode) == (said, 0)


def test_where_the_structs_are_is_said_with_the_offsets_of_the_tables():
    (table,) = (t for t in tables("pvclock", "reading") if t.caption.startswith("Where the guest"))
    for abi in ("x86_64", "i386"):
        outer = family("vcpu_info").layouts(abi)["vcpu_info"]
        assert f"at offset {outer.offsetof('time')}." in table.rows[1][2]
    (commands,) = (b.lines for b in section("pvclock", "checking") if isinstance(b, Code))
    assert commands[-1].endswith(f" --offset {protocol.clock_offsets('x86_64')['wc_version']:#x}")


# The MSRs and calls of every page, as their sources have them: Linux asm/kvm_para.h (x86 and
# LoongArch), asm/sbi.h, Documentation/virt/kvm/arm/pvtime.rst, hyperv/hvgdk_mini.h; Xen
# public/vcpu.h, public/features.h.
# fmt: off
CALLS = {
    "pvclock": ("MSR_KVM_WALL_CLOCK_NEW` (0x4b564d00", "MSR_KVM_SYSTEM_TIME_NEW` (0x4b564d01)",
                "bit 3 of EAX", "register_vcpu_time_memory_area` (0xd)",
                "time_phys_area` (0xf; feature bit 0x13)"),
    "steal_time": ("MSR_KVM_STEAL_TIME` (0x4b564d03)", "bit 5 of EAX", "KVM_HCALL_FUNC_NOTIFY` (2)",
                   "0x535441", "function 0", "PV_TIME_ST` (0xc5000021)",
                   "PV_TIME_FEATURES` (0xc5000020)"),
    "hyperv": ("REFERENCE_TSC` (0x40000021)", "TIME_REF_COUNT` (0x40000020)"),
}
# fmt: on


def test_how_the_guest_gets_the_structs_is_said_with_the_numbers(name):
    (table,) = (t for t in tables(name, "reading") if t.caption.startswith("Where the guest"))
    assert [said for said in CALLS[name] if said not in str(table.rows)] == []


def test_the_offsets_of_the_wall_clock_are_those_of_its_table():
    (table,) = (t for t in tables("pvclock", "reading") if t.caption.startswith("Offsets"))
    said = {row[0]: tuple(int(cell, 16) for cell in row[1:]) for row in table.rows}
    assert said["x86_64"] == (0xC00, 0xC04, 0xC08, 0xC0C)
    assert said["i386"] == (0x900, 0x904, 0x908, 0x924)
    assert said["arm64"] == said["arm32"] == (0x430, 0x434, 0x438, 0x43C)
    assert all(one.name for one in families("all"))
