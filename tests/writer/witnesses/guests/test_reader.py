"""Readers out of machine code: what is found, against every interleaving, and what is refused."""

import re
import subprocess
from functools import cache
from itertools import combinations_with_replacement
from pathlib import Path

import pytest

from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.structs.runstate import COMPAT, NATIVE
from runstate_abi.layouts.witnesses import elf
from runstate_abi.tools import cli
from runstate_abi.writer.guest import ReadBarrier
from runstate_abi.writer.racing.ordering import MODEL
from runstate_abi.writer.racing.projection import solve
from runstate_abi.writer.racing.scene import Case
from runstate_abi.writer.steps import Store
from runstate_abi.writer.witnesses import object_file
from runstate_abi.writer.witnesses.guests.area import opened
from runstate_abi.writer.witnesses.guests.cpus import (
    MACHINES,
    Signature,
    WrongSignature,
    is_acquire,
    is_clock,
    is_read_barrier,
    is_unlike_sse,
    signature,
)
from runstate_abi.writer.witnesses.guests.inquiry import Inquiry
from runstate_abi.writer.witnesses.guests.reader import reader_of
from runstate_abi.writer.witnesses.guests.verification import NO_COMPARISON

pytest.importorskip("unicorn")

SOURCE = Path(__file__).parents[3] / "data" / "readers" / "readers.c"
# Two builds always, all ten in a long run.
FAST = (("gcc", "-O2"), ("clang", "-O1"))
BUILDS = [
    pytest.param(compiler, level, marks=[] if (compiler, level) in FAST else pytest.mark.slow)
    for compiler in ("gcc", "clang")
    for level in ("-O0", "-O1", "-O2", "-O3", "-Os")
]
ONE = ("--variant", "upstream", "--at", "0x1100")
LINES = SOURCE.read_text().splitlines()
PLAIN = ("-ffreestanding", "-fno-stack-protector", "-fcf-protection=none", "-g")

SAFE = ("sound", "tries", "stolen", "of_global", "early_flag", "copies_by_call", "acquires",
        "copies_by_string", "halves", "acquires_late")  # fmt: skip
TORN = (
    "no_flag", "copys_flag", "no_second_look", "looks_before", "copies_first",
    "copy_is_first_look", "late_time", "late_state", "early_state", "sum_across", "low_half",
    "flag_alone", "no_protocol", "looks_by_call", "high_half", "copy_is_second_look", "early_time",
    "time_in_front", "state_behind", "late_sum", "first_flag_alone", "equal_alone", "two_results",
    "late_bit",
    "late_blocked",
)  # fmt: skip
REFUSED = {
    "once_again": "after it saw a change it does something else than it did",
    "bounded_wait": "it accepts after it has tried a number of times",
    "hundred_times": "it accepts after it has tried a number of times",
    "million_times": "it counts its tries, and may give up",
    "returns_tries": "it returns 1, 2: which of them say that it failed?",
    "running_is_taken": "whether it accepts depends on the value of state",
    "first_state": "after it saw a change it does something else than it did",
    "retry_takes_before": "after it saw a change it ",
    "by_variable": "it loads checks+0x0, a variable, which may change",
    "by_option": "it loads what a pointer that is not the area's points to",
    "by_copied_option": "it loads what a pointer that is not the area's points to",
    "returns_early": "it may return before it has made all its loads",
    "forced": "with 1 for a parameter it accepts in another way",
    "one_more": "it compares only some bits of byte 8 of the struct",
    "by_number": "what it loads depends on a parameter that is a number",
    "two_times": "after it saw a change it ",  # clang makes two pieces of code of it
    "differs_three_times": "it accepts after it has tried a number of times",
    "unequal_is_taken": "after it saw a change it does something else than it did",
    "both_flags_are_taken": "after it saw a change it does something else than it did",
    "three_times": "it accepts after it has tried a number of times",
    "other_bit": "whether it accepts depends on the value of state_entry_time",
    "some_bits": "it compares only some bits of byte 8 of the struct",
    "folded": NO_COMPARISON,
    "halves_folded": NO_COMPARISON,
    "other_member": "whether it accepts depends on other members too",
    "by_state": "whether it accepts depends on other members too",
    "clears_flag": "it stores to the area",
    "calls": "it calls unknown_call, which is not known here",
    "of_another_file": "it loads unchecked, which is in another file",
    "past_the_end": "it loads 8 bytes at +48, which is not in the struct",
    "entry_alone": "its result has no member but state_entry_time",
    "wild": "it reaches 0x5000, where nothing is",
    "folds_again": "after it saw a change it does something else than it did",
    "third_look": "after it saw a change it does something else than it did",
    "both_wait": "after it saw a change it ",  # a compiler makes two pieces of code of it
    "first_kept": "after it saw a change it does something else than it did",
    "for_ever": "it has not returned after 20000 instructions",
}
RETURNS_NO_INTEGER = "as_double"
COUNTS = "after_two"  # each compiler makes something else of it
KIND = {
    RETURNS_NO_INTEGER: 3,
    COUNTS: 3,
    **dict.fromkeys(SAFE, 0),
    **dict.fromkeys(TORN, 1),
    **dict.fromkeys(REFUSED, 3),
    "plain": 0,
}


def functions():
    """The functions of the source, with the numbers of their lines."""
    found, name = {}, ""
    for number, line in enumerate(LINES, 1):
        if begin := re.match(r"(?:void|int|u64|double) (\w+)\(.*\)$", line):
            name = begin[1]
        if name:
            found.setdefault(name, []).append(number)
    return found


def wrong_lines(name):
    return [number for number in functions()[name] if "/* wrong" in LINES[number - 1]]


@pytest.fixture(scope="session")
def made(installed, tmp_path_factory):
    """A function (compiler, *flags) -> the compiled source."""
    folder, known = tmp_path_factory.mktemp("readers"), {}

    def build(compiler, *flags):
        installed(compiler)
        if (compiler, flags) not in known:
            path = folder / f"{len(known)}.o"
            words = [compiler, *PLAIN, *flags, "-c", SOURCE, "-o", path]
            if "x86" not in compiler and compiler not in ("gcc", "clang"):
                words.remove("-fcf-protection=none")
            subprocess.run(words, check=True)
            known[compiler, flags] = str(path)
        return known[compiler, flags]

    return build


def machine(path, function, layout=NATIVE):
    heads = (line for line in LINES if re.search(rf"\b{function}\(.*\)$", line))
    takes = next(heads, "void f(const struct area *a, struct area *out)")
    is_global = function == "of_global"
    with open(path, "rb") as file:
        read = object_file.read(elf.parse(file.read(), path), MACHINES)
    pointer = read.file.elf_class // 8
    area = "global" if is_global else ""
    return opened(read, function, signature(takes, pointer, is_global), layout, area)


def found(path, function, layout=NATIVE):
    made_of = machine(path, function, layout)
    return reader_of(made_of, function, made_of.place)


def race(capsys, *words):
    try:
        code = cli.main(["race", *map(str, words)])
    except SystemExit as stop:
        code = stop.code
    return (code, *capsys.readouterr())


def test_every_function_of_the_source_has_a_verdict():
    assert set(functions()) == set(KIND)
    assert {name for name in KIND if wrong_lines(name)} == set(TORN)


# The C code is right or wrong as it stands: volatile loads, and barriers that the compiler keeps.
@pytest.mark.parametrize(("compiler", "level"), BUILDS)
def test_each_reader_is_what_its_source_says(made, capsys, compiler, level):
    path = made(compiler, level)
    for name in (*SAFE, *TORN):
        area = ("--area", "global") if name == "of_global" else ()
        code, _, err = race(capsys, "--reader-object", f"{path}:{name}", *area, *ONE)
        assert (code, err) == (KIND[name], ""), name


@pytest.mark.parametrize("name", [name for name in TORN if name != "no_protocol"])
def test_a_torn_reader_names_the_line_that_is_wrong(made, capsys, name):
    pytest.importorskip("drgn")
    for compiler in ("gcc", "clang"):
        _, out, _ = race(capsys, "--reader-object", f"{made(compiler, '-O1')}:{name}", *ONE)
        told = out.partition("\n  - ")[0]
        assert any(f"readers.c:{number}" in told for number in wrong_lines(name)), told


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_followed_is_refused_with_the_reason_and_the_instruction(made, capsys, name):
    for compiler in ("gcc", "clang"):
        path = made(compiler, "-O1")
        code, out, err = race(capsys, "--reader-object", f"{path}:{name}", *ONE)
        assert (code, out) == (3, "")
        start = f"runstate: {path}: cannot follow this reader: {REFUSED[name]}"
        assert err.startswith(start), err
        assert re.search(r", at \w+(\+0x[0-9a-f]+)?( \(the area: parameter 1\?.*\))?\n$", err)
        assert err.count("\n") == 1


# As one piece of code, they differ from a reader only in what they do after some tries.
@pytest.mark.parametrize(
    ("name", "level", "reason"),
    [
        ("after_two", "-O0", "after it saw a change it does something else than it did"),
        ("after_two", "-Os", "what it does depends on how often it has tried"),
        ("both_wait", "-O0", "it accepts after it has tried a number of times"),
        ("first_kept", "-O0", "after it saw a change it does something else than it did"),
    ],
)
def test_what_a_reader_counts_is_refused(made, capsys, name, level, reason):
    for compiler in ("gcc", "clang"):
        path = made(compiler, level)
        code, _, err = race(capsys, "--reader-object", f"{path}:{name}", *ONE)
        assert (code, reason in err) == (3, True), err


# Without volatile or a barrier the compiler decides. What it did is seen in its loads.
LESS = re.findall(r"^LESS\((\w+),", SOURCE.read_text(), re.MULTILINE)


@pytest.mark.parametrize(("compiler", "level"), BUILDS)
def test_what_a_compiler_makes_of_less_than_a_reader_is_seen_in_its_loads(
    made, capsys, compiler, level
):
    path = made(compiler, level)
    for name in ("plain", *LESS):
        loads = found(path, name).reader.loads
        compares = [n for n, load in enumerate(loads) if load.measured.compared]
        believed = [n for n, load in enumerate(loads) if load.measured.believed]
        moved = believed[-1] > compares[-1] or believed[0] < compares[0]
        code, _, _ = race(capsys, "--reader-object", f"{path}:{name}", *ONE)
        assert code == moved, name


def test_gcc_moves_a_look_and_so_breaks_a_plain_reader(made):
    version = subprocess.run(["gcc", "-dumpversion"], capture_output=True, text=True).stdout
    if not version.startswith("12"):
        pytest.skip(f"gcc {version.strip()} may decide otherwise on this machine")
    loads = found(made("gcc", "-O2"), "plain").reader.loads
    spans = [(load.measured.start, load.measured.size) for load in loads]
    assert spans == [(8, 8), (0, 8), (8, 8), (16, 8), (24, 8), (8, 8), (32, 8), (40, 8)]


def test_after_a_change_all_is_quiet_unless_it_is_to_stay(made):
    """early_flag goes round at the flag in its first load; its second is that load again."""
    one = machine(made("gcc", "-O1"), "early_flag")
    base = bytes(NATIVE.size)
    quiet = one.quiet(base)
    flagged = base[:15] + b"\x80" + base[16:]
    twice = {0: flagged, 1: flagged}
    assert len(one.follow(base, twice).loads) == len(quiet.loads) + 1
    assert len(one.follow(base, twice, stays=True).loads) == len(quiet.loads) + 2


# The second path: the function itself, in every interleaving with a small writer, store by store.


def _image(version):
    """A struct whose state, entry time, time[1] and time[3] differ from the other version's."""
    data = bytearray(range(16, 16 + NATIVE.size))
    for places in (range(4), range(8, 16), range(24, 32), range(40, 48)) if version else ():
        for at in places:
            data[at] ^= 0x40
    return bytes(data)


OLD, NEW = _image(0), _image(1)


def stores(flag, times_first=False):
    """Stores of a small writer: the flag up, the body, the flag down; or without the flag."""
    up = bytes([NEW[15] | 0x80])
    body = [
        (0, NEW[:4]),
        (8, NEW[8:15] + (up if flag else NEW[15:16])),
        (24, NEW[24:32]),
        (40, NEW[40:48]),
    ]
    if times_first:
        body = body[2:] + body[:2]
    return [(15, up), *body, (15, NEW[15:16])] if flag else body


WRITERS = {"flag": stores(True), "no flag": stores(False), "times first": stores(False, True)}


@cache
def memories(writer):
    """The struct after each number of stores."""
    made = [OLD]
    for offset, data in WRITERS[writer]:
        made.append(made[-1][:offset] + data + made[-1][offset + len(data) :])
    return made


def is_torn(reader, writer):
    """Is there an interleaving after which it accepts what no version of the struct gives?"""
    asked = Inquiry(reader)
    status = "result" in reader.signature.takes

    def result(versions):
        run = reader.run(OLD, versions)
        if run.parted is not None or (status and run.returned != quiet.returned):
            return None
        return run.result, None if status else run.returned

    quiet = reader.quiet(OLD)
    loads = range(len(asked.loads))
    states = memories(writer)
    truth = [result(dict.fromkeys(loads, states[0])), result(dict.fromkeys(loads, states[-1]))]
    for times in combinations_with_replacement(range(len(states)), len(asked.loads)):
        seen = result({n: states[at] for n, at in enumerate(times)})
        if seen is not None and seen not in truth:
            return True
    return False


# late_bit shows in one bit, which is the same in both of these versions.
BY_BYTES = tuple(name for name in TORN if name != "late_bit")
FEW = ("sound", "stolen", "no_flag", "copys_flag", "late_time", "flag_alone")
# Vector loads are two loads, in any order; here each has its own.
WORDS = ("-mgeneral-regs-only", "-fno-tree-vectorize")


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize(
    ("compiler", "level", "names"),
    [
        ("gcc", "-O1", FEW),
        pytest.param("gcc", "-O0", (*SAFE, *BY_BYTES, "plain"), marks=pytest.mark.slow),
        pytest.param("gcc", "-O2", (*SAFE, *BY_BYTES, "plain"), marks=pytest.mark.slow),
        pytest.param("clang", "-O1", (*SAFE, *BY_BYTES, "plain"), marks=pytest.mark.slow),
        pytest.param("clang", "-O2", (*SAFE, *BY_BYTES, "plain"), marks=pytest.mark.slow),
    ],
)
def test_the_search_agrees_with_every_interleaving_of_the_function_itself(
    made, compiler, level, names, writer
):
    path = made(compiler, level, *WORDS)
    steps = tuple(Store(1, 0x100 + offset, data) for offset, data in WRITERS[writer])
    case = Case(NATIVE, 0x100, (OLD, NEW), steps)
    for name in names:
        reader = found(path, name).reader
        answer = solve(case, reader, MODEL["x86-tso"], differing=[0xFF])
        assert (answer.found is not None) == is_torn(machine(path, name), writer), (name, writer)


# fmt: off
BARRIERS = [
    # machine, word,         what,                      read barrier, acquire
    ("ARM64",  0xD503_39BF,  "dmb ishld",               True,         False),
    ("ARM64",  0xD503_3BBF,  "dmb ish",                 True,         False),
    ("ARM64",  0xD503_3ABF,  "dmb ishst",               False,        False),
    ("ARM64",  0xD503_3FBF,  "dmb sy",                  True,         False),
    ("ARM64",  0xD503_3D9F,  "dsb ld",                  True,         False),
    ("ARM64",  0xD503_3E9F,  "dsb st",                  False,        False),
    ("ARM64",  0xD503_3FDF,  "isb",                     False,        False),
    ("ARM64",  0xC8DF_FC20,  "ldar x0, [x1]",           False,        True),
    ("ARM64",  0xF8BF_C020,  "ldapr x0, [x1]",          False,        True),
    ("ARM64",  0xC89F_FC20,  "stlr x0, [x1]",           False,        False),
    ("ARM64",  0xF940_0020,  "ldr x0, [x1]",            False,        False),
    ("ARM",    0xF57F_F05B,  "dmb ish",                 True,         False),
    ("ARM",    0xF57F_F05A,  "dmb ishst",               False,        False),
    ("ARM",    0xF57F_F04F,  "dsb sy",                  True,         False),
    ("ARM",    0xF57F_F06F,  "isb sy",                  False,        False),
    ("ARM",    0x8F5B_F3BF,  "dmb ish, Thumb",          True,         False),
    ("ARM",    0x8F5A_F3BF,  "dmb ishst, Thumb",        False,        False),
    ("ARM",    0x8F6F_F3BF,  "isb, Thumb",              False,        False),
]
# fmt: on


@pytest.mark.parametrize(("arch", "word", "what", "barrier", "acquire"), BARRIERS)
def test_barriers_are_known_by_their_encoding(arch, word, what, barrier, acquire):
    assert is_read_barrier(arch, word) == barrier
    assert arch == "ARM" or is_acquire(word) == acquire


DMB = '-DRMB="dmb ish"'
# compiler, flags, layout -> verdict of sound() on its machine, and how many barriers are seen.
# fmt: off
MACHINE = [
    ("aarch64-linux-gnu-gcc",   (),               NATIVE, 1, 0),
    ("aarch64-linux-gnu-gcc",   (DMB,),           NATIVE, 0, 2),
    ("arm-linux-gnueabihf-gcc", (DMB,),           NATIVE, 1, 2),  # its halves are not ordered
    ("arm-linux-gnueabihf-gcc", (DMB, "-marm"),   NATIVE, 1, 2),
    ("gcc",                     ("-m32", "-fno-pic"), COMPAT, 1, 0),  # low, then high; twice
]
# fmt: on


def test_a_check_that_is_dropped_is_dropped_in_machine_code(made):
    path = made("gcc", "-O2")
    assert cli.main(["race", "--reader-object", f"{path}:sound", *ONE]) == 0
    assert cli.main(["race", "--reader-object", f"{path}:sound", *ONE, "--drop", "bit-check"]) == 1


def test_a_load_acquire_comes_before_the_loads_behind_it(made):
    path = made("aarch64-linux-gnu-gcc", "-O2", DMB)
    program = found(path, "acquires", NATIVE).reader.program
    places = [n for n, op in enumerate(program) if isinstance(op, ReadBarrier)]
    assert places == [len(program) - 2]
    assert [op.measured.acquires for op in program[:2]] == [True, False]


def test_a_load_acquire_orders_nothing_of_what_is_in_front_of_it(made):
    """The last acquire is behind time[3] and in front of the second look: others may be behind."""
    path = made("aarch64-linux-gnu-gcc", "-O2")
    assert cli.main(["race", "--reader-object", f"{path}:acquires_late", *ONE]) == 1


def test_a_repeated_instruction_is_one_in_any_order(made):
    loads = found(made("gcc", "-O2"), "copies_by_string", NATIVE).reader.loads
    assert [load.measured.same for load in loads] == [False, False, *[True] * 5, False]


@pytest.mark.parametrize(("compiler", "flags", "layout", "_", "barriers"), MACHINE)
def test_memcpy_is_a_load_in_any_order_on_every_machine(made, compiler, flags, layout, _, barriers):
    """The line that is named is the call's."""
    loads = found(made(compiler, "-O2", *flags), "looks_by_call", layout).reader.loads
    copied = [load.measured for load in loads if load.measured.copied]
    assert [(one.start, one.size) for one in copied] == [
        (layout.offsetof("state_entry_time"), 8)
    ] * 2
    assert all(one.compared for one in copied)
    assert all(load.name.startswith("looks_by_call+0x") for load in loads)


@pytest.mark.parametrize(("compiler", "flags", "layout", "verdict", "barriers"), MACHINE)
def test_readers_of_other_machines(made, capsys, compiler, flags, layout, verdict, barriers):
    path = made(compiler, "-O2", *flags)
    reader = found(path, "sound", layout).reader
    assert sum(isinstance(op, ReadBarrier) for op in reader.program) == barriers
    code, _, err = race(capsys, "--reader-object", f"{path}:sound")
    assert (code, err) == (verdict, "")


POSITION = [
    ("gcc", (), NATIVE), ("clang", (), NATIVE), ("gcc", ("-m32",), COMPAT),
    ("aarch64-linux-gnu-gcc", (DMB,), NATIVE), ("arm-linux-gnueabihf-gcc", (DMB,), NATIVE),
    ("arm-linux-gnueabihf-gcc", (DMB, "-marm"), NATIVE),
]  # fmt: skip


@pytest.mark.parametrize(("compiler", "flags", "layout"), POSITION)
def test_position_independent_code_finds_a_global_area_by_its_offset_table(
    made, compiler, flags, layout
):
    ways = ("-fPIC",), ("-fno-pic",)
    paths = [made(compiler, "-O1", *flags, *way) for way in ways]
    readers = [found(path, "of_global", layout).reader for path in paths]
    # Not which of them one instruction makes: gcc 16 loads 16 bytes at once in one of the two.
    seen = [sorted(load.measured._replace(same=False) for load in one.loads) for one in readers]
    assert seen[0] == seen[1]


# A distribution's gcc guards the stack where a function has a struct of its own.
@pytest.mark.parametrize(("compiler", "flags", "layout"), POSITION)
@pytest.mark.parametrize("level", ["-O0", "-O2"])
def test_a_guard_of_the_stack_is_none_of_the_readers_business(made, compiler, flags, layout, level):
    guarded = made(compiler, level, *flags, "-fPIC", "-fstack-protector-all")
    plain = made(compiler, level, *flags, "-fPIC")
    for name in ("sound", "tries"):
        seen = [
            [load.measured for load in found(path, name, layout).reader.loads]
            for path in (guarded, plain)
        ]
        assert sorted(seen[0]) == sorted(seen[1]), name


def test_a_result_that_is_no_integer_is_refused(made, capsys):
    pytest.importorskip("drgn")
    path = made("gcc", "-O1")
    code, _, err = race(capsys, "--reader-object", f"{path}:{RETURNS_NO_INTEGER}")
    assert (code, err) == (3, f"runstate: {RETURNS_NO_INTEGER} returns no integer\n")


# On arm64 a retry without the barrier that the first try has is another reader.
WEAKER = """
void %s(const struct area *a, struct area *out)
{
	u64 entry = READ_ONCE(a->state_entry_time), again;

	rmb();
	*out = *a;
	rmb();
	while ((again = READ_ONCE(a->state_entry_time)) != entry || (entry & UPDATE)) {
		%s
		*out = *a;
		rmb();
	}
}
"""


@pytest.mark.parametrize(("option", "is_right"), [("ishld", True), ("ish", True), ("nshld", False)])
def test_a_barrier_of_no_other_cpu_orders_nothing(made, capsys, option, is_right):
    path = made("aarch64-linux-gnu-gcc", "-O1", f'-DRMB="dmb {option}"')
    code, _, _ = race(capsys, "--reader-object", f"{path}:sound", *ONE)
    assert code == (0 if is_right else 1)


def test_a_retry_with_a_barrier_less_is_refused(tool, tmp_path, capsys):
    source, path = tmp_path / "weaker.c", tmp_path / "weaker.o"
    head = SOURCE.read_text().partition("void sound(")[0]
    ways = (
        ("looks", "entry = READ_ONCE(a->state_entry_time); rmb();"),
        ("reuses", "entry = READ_ONCE(a->state_entry_time);"),
    )
    source.write_text(head + "".join(WEAKER % way for way in ways))
    tool("aarch64-linux-gnu-gcc", "-O1", "-ffreestanding", DMB, "-c", source, "-o", path)
    for (name, _), code in zip(ways, (0, 3), strict=True):
        said = ("--signature", "void f(const void *area, void *out)")
        got, _, err = race(capsys, "--reader-object", f"{path}:{name}", *said, *ONE)
        assert (got, "it has a barrier less" in err) == (code, code == 3), (name, err)


CLOCKS = [
    ("ARM64", 0xD53B_E040, True), ("ARM64", 0xD53B_E020, True), ("ARM64", 0xD53B_2400, True),
    ("ARM64", 0xD538_4100, False), ("ARM", 0xEC51_0F1E, True), ("ARM", 0x0F1E_EC51, True),
    ("ARM", 0xE592_0000, False),
]  # fmt: skip


@pytest.mark.parametrize(("arch", "word", "is_one"), CLOCKS)
def test_a_clock_is_known_by_its_encoding(arch, word, is_one):
    assert is_clock(arch, word) == is_one


@pytest.mark.parametrize(
    "flags", [("-pg",), ("-pg", "-mfentry"), ("-fsanitize-coverage=trace-pc",)]
)
def test_calls_of_a_tracer_are_none_of_the_readers_business(made, flags):
    traced, plain = made("gcc", "-O1", *flags), made("gcc", "-O1")
    seen = [
        [load.measured for load in found(path, "sound").reader.loads] for path in (traced, plain)
    ]
    assert seen[0] == seen[1]


# fmt: off
VEX = [
    ("c5fa6f07",     True,  False),  # vmovdqu (%rdi),%xmm0
    ("c5f1d4c2",     True,  True),   # vpaddq %xmm2,%xmm1,%xmm0
    ("c44121d4d4",   True,  True),   # vpaddq %xmm12,%xmm11,%xmm10
    ("c4e2690cd9",   True,  True),   # vpermilps %xmm1,%xmm2,%xmm3
    ("c4e3690fd908", True,  True),   # vpalignr $8,%xmm1,%xmm2,%xmm3
    ("c4e3f916c001", True,  False),  # vpextrq $1,%xmm0,%rax
    ("c5f877",       True,  False),  # vzeroupper
    ("c4e2e0f2c8",   True,  False),  # andn %rax,%rbx,%rcx
    ("c4e3fbf0d803", True,  False),  # rorx $3,%rax,%rbx
    ("c50b0000",     False, False),  # lds (%ebx),%ecx
    ("66480f6ec0",   True,  False),  # movq %rax,%xmm0
]
# fmt: on


@pytest.mark.parametrize(("code", "wide", "unlike"), VEX)
def test_an_instruction_of_avx_is_known_by_its_second_source(code, wide, unlike):
    assert is_unlike_sse(bytes.fromhex(code), wide) == unlike


SIGNATURES = {
    "int f(const void *area, void *out)": (("area", "result"), 4),
    "void f(struct x *out, const struct x *area);": (("result", "area"), 0),
    "static inline u64 read_it(struct area *a)": (("area",), 8),
    "unsigned long f(const void *p, int cpu, long *q)": (("area", "number", "result"), 8),
    "bool f(void)": ((), 1),
}


@pytest.mark.parametrize("text", SIGNATURES)
def test_a_signature_says_what_is_the_area_and_what_is_returned(text):
    assert signature(text, 8) == Signature(*SIGNATURES[text])


@pytest.mark.parametrize("text", ["", "f", "int f", "struct area f(const void *a)", "f(int)"])
def test_a_signature_that_is_none_is_refused(text, made, capsys):
    with pytest.raises(WrongSignature, match=r"signature|how large"):
        signature(text, 8)
    if text:
        path = made("gcc", "-O1")
        code, out, err = race(capsys, "--reader-object", f"{path}:sound", "--signature", text)
        assert (code, out) == (2, "")
        assert err.splitlines()[-1].startswith("runstate")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["{}:nothing"], 3, "no function nothing"),
        (["{}:soundd"], 3, "no function soundd; it has"),
        (["{}:global"], 3, "no function global"),
        (["{}:of_global", "--signature", "int f(void)"], 3, "--area OBJECT"),
        (["{}:of_global", "--area", "nothing"], 3, "no object nothing"),
        (["nofile.o:f"], 3, "No such file"),
        (["nocolon"], 2, "nocolon: which function? FILE:FUNCTION"),
        (["{}:sound", "--reader", "linux-64"], 2, "no --reader"),
        (["{}:sound", "--all"], 2, "no --reader, --model or --all"),
    ],
)
def test_what_is_wrong_is_one_line(made, capsys, words, code, said):
    path = made("gcc", "-O1")
    got, out, err = race(capsys, "--reader-object", *(word.format(path) for word in words))
    assert (got, out) == (code, "")
    assert said in err.splitlines()[-1]


def test_the_emitted_row_is_the_reader(made, capsys):
    path = made("gcc", "-O1")
    code, out, _ = race(capsys, "--emit-reader", f"{path}:tries")
    assert code == 0
    from runstate_abi.writer import guest

    names = {name: getattr(guest, name) for name in ("Reader", "Load", "Measured", "ReadBarrier")}
    emitted = eval(out, names)
    reader = found(path, "tries").reader
    spans = [[load.measured for load in one.loads] for one in (emitted, reader)]
    assert spans[0] == spans[1]
    assert (emitted.uses, emitted.bit_check) == (reader.uses, reader.bit_check)


def test_a_file_that_is_no_object_is_refused(tmp_path, capsys):
    path = tmp_path / "text.o"
    path.write_text("no ELF")
    code, _, err = race(capsys, "--reader-object", f"{path}:f")
    assert (code, err.count("\n")) == (3, 1)
    riscv = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\1\0\xf3\0" + bytes(60)
    with pytest.raises(WitnessError, match=r"only .* code can be run here|no symbol table"):
        object_file.read(elf.parse(riscv, "x"), MACHINES)
