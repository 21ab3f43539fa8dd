"""The emitted readers: run against a thread that updates an area; out of their machine code."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from runstate_abi.tools import cli
from runstate_abi.tools.docs.deceptions import THE_32, THE_64
from runstate_abi.writer.guest import ReadBarrier

TRIAL = Path(__file__).parents[2] / "trial"
SECONDS = "0.4"


@pytest.fixture
def trial(tool, tmp_path):
    """Return a function that builds a reader with the harness and runs it: (exit code, words)."""

    def build(bits, *sources, seconds=SECONDS, offset=0, flag=1, target=None, patience=100):
        flags = [] if bits == 32 else ["-DNATIVE"]
        flags.append(f"-m{target or bits}")
        program = tmp_path / "trial"
        words = ["gcc", *flags, "-O2", "-pthread", f"-I{tmp_path}", f"-I{TRIAL}"]
        tool(*words, TRIAL / "harness.c", *sources, "-o", program)
        command = [program, seconds, str(offset), str(flag), str(patience)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=110)
        return ran.returncode, ran.stdout + ran.stderr

    return build


@pytest.fixture
def reader(emitted, tmp_path):
    """Return a function that writes the emitted header, changed or not, for emitted.c."""

    def write(change=lambda text: text):
        (tmp_path / "runstate_reader.h").write_text(change(emitted("c-reader")))
        return TRIAL / "emitted.c"

    return write


# In one line, across two, and across a page, as far as the loads of the entry time are aligned.
@pytest.mark.host64
@pytest.mark.parametrize(("bits", "offset"), [(32, 0), (32, 4088), (32, 4084), (64, 0), (64, 4088)])
def test_the_emitted_reader_is_never_deceived(trial, reader, bits, offset):
    code, words = trial(bits, reader(), offset=offset)
    assert code == 0, words
    assert int(words.split()[0]) > 10_000


# fmt: off
# A wrong order of the halves is not here: its window is a few cycles, and only the race checker
# finds it for certain (tests/tools/docs/test_deceptions.py).
BROKEN = (
    (32, "(entry & XEN_RUNSTATE_UPDATE) ||",      "0 ||"),
    (64, "(entry & XEN_RUNSTATE_UPDATE) ||",      "0 ||"),
    (32, "runstate_entry_time_32(area) != entry", "0"),
    (64, "runstate_entry_time_64(area) != entry", "0"),
)
# fmt: on


@pytest.mark.host64
@pytest.mark.parametrize(("bits", "old", "new"), BROKEN)
def test_a_reader_without_one_of_its_steps_is_deceived(trial, reader, changed, bits, old, new):
    def change(text):
        head, found, tail = text.partition(f"runstate_try_read_{bits}(")
        return head + found + changed(tail, old, new)

    # It stops at the first torn snapshot; on a busy machine that may take a while.
    code, words = trial(bits, reader(change), seconds="30")
    assert code == 1, words


@pytest.mark.host64
@pytest.mark.parametrize("bits", [32, 64])
def test_without_the_flag_even_the_whole_protocol_is_deceived(trial, reader, bits):
    code, words = trial(bits, reader(), seconds="30", flag=0)
    assert code == 1, words


@pytest.mark.host64
def test_a_reader_that_never_ends_is_told_from_one_that_is_right(trial, tmp_path):
    source = tmp_path / "hangs.c"
    source.write_text(
        '#include "trial.h"\nvoid read_runstate(const void *a, struct snapshot *s)\n'
        "{ (void)a; (void)s; for (;;) ; }\n"
    )
    assert trial(64, source, patience=1)[0] == 3


RUST = """
#[repr(C)]
pub struct Out { state: u32, entry: u64, time: [u64; 4] }
#[no_mangle]
pub unsafe extern "C" fn read_runstate(area: *const u8, out: *mut Out) {
    loop {
        if let Some(found) = try_read_BITS(area.cast()) {
            *out = Out { state: found.state, entry: found.state_entry_time, time: found.time };
            return;
        }
    }
}
"""


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.usefixtures("offset_of")
def test_the_emitted_rust_reader_is_never_deceived(tool, trial, emitted, tmp_path, bits):
    source, library = tmp_path / "reader.rs", tmp_path / "libreader.a"
    source.write_text(emitted("rust-reader") + RUST.replace("BITS", str(bits)))
    tool(
        "rustc",
        "--edition=2021",
        "--crate-type=staticlib",
        "-Cpanic=abort",
        "-O",
        source,
        "-o",
        library,
    )
    code, words = trial(bits, library, "-lpthread", "-ldl", target=64)
    assert code == 0, words


# What a function of the emitted text does, in order: h, l and t are loads of the entry time.
def operations(text, name):
    body = text[text.index(f"{name}(") :]
    body = body[body.index("{") : body.index("\n}")]
    words = {
        r"(?:load_word\(area, high_half\)|ENTRY_TIME \+ 4)": "h",
        r"load_word\(area, low_half\)": "l",
        r"entry_time_\d\d\(area\)": "t",
        r"fence\(": "rmb",
        r"\bcopy\(": "copy",
        r"_copy\(": "copy",
        "XEN_RUNSTATE_UPDATE": "flag?",
    }
    found = sorted(
        (match.start(), word)
        for pattern, word in words.items()
        for match in re.finditer(pattern, body)
    )
    return [word for _, word in found]


@pytest.mark.parametrize("bits", [32, 64])
def test_the_c_reader_is_the_reader_that_is_proved(emitted, bits):
    text = emitted("c-reader")
    steps = ["t", "rmb", "copy", "rmb", "flag?", "t"]
    assert operations(text, f"int runstate_try_read_{bits}") == steps
    if bits == 32:
        assert operations(text, "runstate_entry_time_32") == ["h", "rmb", "l", "rmb", "h"]
    else:
        assert "__atomic_load_n((const runstate_pair *)entry" in text
    proved = {32: THE_32, 64: THE_64}[bits]
    halves = {32: ["h", "rmb", "l", "rmb", "h"], 64: ["t"]}[bits]
    expected = [*halves, "rmb", "copy", "rmb", *halves]
    assert [short(op) for op in proved.program] == expected


def short(op):
    return "rmb" if isinstance(op, ReadBarrier) else op.name if op.name == "copy" else op.name[0]


def test_the_rust_reader_does_the_same(emitted):
    text = emitted("rust-reader")
    for bits in (32, 64):
        found = operations(text, f"pub unsafe fn try_read_{bits}")
        assert found == ["t", "rmb", "copy", "rmb", "flag?", "t"]
    body = text[text.index("pub unsafe fn entry_time_32") :].partition("\n}")[0]
    loads = re.findall(r"fence|load_word\(area, (\d+(?: \+ 4)?)\)", body)
    assert loads == ["4 + 4", "", "4", "", "4 + 4"]


# Out of their machine code, compiled in every way: the verdict at each placement is that of the row
# that is proved, with the writers that a guest can meet.
WRAPPED = """
#include "runstate_reader.h"
int tries(const struct vcpu_runstate_info_BITS *area, struct runstate_snapshot *to)
{ return runstate_try_read_BITS(to, area); }
void reads(const struct vcpu_runstate_info_BITS *area, struct runstate_snapshot *to)
{ runstate_read_BITS(to, area); }
"""
RUST_TRIES = """
#[no_mangle]
pub unsafe extern "C" fn tries(area: *const u8, out: *mut Out) -> i32 {
    match try_read_BITS(area.cast()) {
        Some(found) => {
            *out = Out { state: found.state, entry: found.state_entry_time, time: found.time };
            1
        }
        None => 0,
    }
}
"""
SIGNATURES = {
    "tries": "int tries(const void *area, void *out)",
    "reads": "void reads(const void *area, void *out)",
}
ABIS = {32: "compat", 64: "native"}
LEVELS = ("-O0", "-O1", "-O2", "-O3", "-Os")
# It calls memcpy() through the global offset table.
RUSTC = ("rustc", "--edition=2021", "--crate-type=lib", "--emit=obj", "-Cpanic=abort")
RUSTC += ("-Ccodegen-units=1",)
COMPILERS = (
    ("gcc -m64", 64, "x86-tso"),
    ("gcc -m32", 32, "x86-tso"),
    ("clang -m64", 64, "x86-tso"),
    ("clang -m32", 32, "x86-tso"),
    ("aarch64-linux-gnu-gcc", 64, "weak"),
)
FAST = {("gcc -m64", "-O2"), ("gcc -m32", "-O0"), ("clang -m64", "-O1")}
FAST |= {("aarch64-linux-gnu-gcc", "-O2"), (32, "-O0"), (64, "-O2")}


def ways(first):
    """Each of these with each -O level: a few always, the others in a long run."""
    return [
        pytest.param(*one, level, marks=[] if (one[0], level) in FAST else pytest.mark.slow)
        for one in first
        for level in LEVELS
    ]


@pytest.fixture(scope="module")
def verdicts():
    """Return a function: arguments of race -> {(writer, model, address): verdict}."""
    known = {}

    def ask(capsys, *words):
        if words not in known:
            assert cli.main(["race", *words, "--json"]) in (0, 1), capsys.readouterr().err
            answers = json.loads(capsys.readouterr().out)["answers"]
            asked = [((one["variant"], one["model"], one["at"]), one["verdict"]) for one in answers]
            known[words] = dict(asked)
        return known[words]

    return ask


@pytest.fixture
def is_the_row(verdicts, capsys):
    """Return a function that fails unless the code's verdicts are those of the row in READERS."""

    def compare(path, bits, model):
        row = {64: THE_64, 32: THE_32}[bits].name
        for function, signature in SIGNATURES.items():
            code = f"{path}:{function}", "--signature", signature
            found = verdicts(capsys, "--reader-object", *code, "--abi", ABIS[bits])
            writers = {writer for writer, _, _ in found}
            assert writers == {"upstream", "xen-va", "xen-phys"}
            asked = ("--reader", row, "--abi", ABIS[bits], "--model", model)
            proved = {}
            for writer in sorted(writers):
                proved |= verdicts(capsys, *asked, "--variant", writer)
            assert found == {place: proved[place] for place in found}
            # Xen's physical area stores all of the entry time, which tears a 32-bit guest's.
            torn = {writer for (writer, _, _), verdict in found.items() if verdict == "torn"}
            assert torn == ({"xen-phys"} if bits == 32 else set())

    return compare


@pytest.mark.parametrize(("compiler", "bits", "model", "level"), ways(COMPILERS))
@pytest.mark.x86
def test_the_compiled_reader_is_the_reader_that_is_proved(
    is_the_row, guest_code, emitted, tmp_path, compiler, bits, model, level
):
    (tmp_path / "runstate_reader.h").write_text(emitted("c-reader"))
    source = tmp_path / "wrapped.c"
    source.write_text(WRAPPED.replace("BITS", str(bits)))
    is_the_row(guest_code(*compiler.split(), level, source=source), bits, model)


@pytest.mark.parametrize(("bits", "level"), ways([(64,), (32,)]))
@pytest.mark.usefixtures("offset_of")
@pytest.mark.x86
def test_the_compiled_rust_reader_is_the_reader_that_is_proved(
    is_the_row, tool, emitted, tmp_path, bits, level
):
    pytest.importorskip("unicorn")
    source, output = tmp_path / "reader.rs", tmp_path / "reader.o"
    functions = RUST.replace("read_runstate", "reads") + RUST_TRIES
    source.write_text(emitted("rust-reader") + functions.replace("BITS", str(bits)))
    tool(*RUSTC, f"-Copt-level={level.removeprefix('-O')}", source, "-o", output)
    is_the_row(output, bits, "x86-tso")


# What is taken from the text is missed in its code.
@pytest.mark.parametrize(("bits", "old", "new"), BROKEN)
@pytest.mark.x86
def test_a_compiled_reader_without_one_of_its_steps_is_torn(
    guest_code, verdicts, capsys, emitted, changed, tmp_path, bits, old, new
):
    head, found, tail = emitted("c-reader").partition(f"runstate_try_read_{bits}(")
    (tmp_path / "runstate_reader.h").write_text(head + found + changed(tail, old, new))
    source = tmp_path / "wrapped.c"
    source.write_text(WRAPPED.replace("BITS", str(bits)))
    path = guest_code("gcc", f"-m{bits}", "-O2", source=source)
    code = f"{path}:tries", "--signature", SIGNATURES["tries"]
    found = verdicts(capsys, "--reader-object", *code, "--variant", "upstream", "--at", "0x1100")
    assert set(found.values()) == {"torn"}
