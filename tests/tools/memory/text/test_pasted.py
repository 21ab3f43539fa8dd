"""Text inputs, made by the tools themselves and by printing what the tools would."""

import shutil
import subprocess
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools.memory.image import read
from runstate_abi.tools.memory.text import pasted as text

COMMANDS = [
    ["xxd"],
    ["xxd", "-g1", "-u"],
    ["xxd", "-a", "-c", "20"],
    ["xxd", "-d"],
    ["xxd", "-p"],
    ["hexdump", "-C"],
    ["hexdump"],
    ["od", "-Ax", "-tx1"],
    ["od", "-Ax", "-tx2"],
    ["od", "-Ax", "-tx4"],
    ["od", "-Ax", "-tx8", "-v"],
    ["od", "-Ax", "-tx1z"],
    ["od", "-Ad", "-tx1"],
    ["od", "-tx1"],
]


def image(printed):
    return text.image(memoryview(printed if isinstance(printed, bytes) else printed.encode()), "t")


def run(command, **options):
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]}: not installed")
    return subprocess.run(command, capture_output=True, check=True, **options).stdout


SAMPLES = {
    "an area": bytes.fromhex("01000000ffeeddcc")
    + bytes(range(1, 9))
    + b"\0" * 8
    + bytes(range(200, 224)),
    "many zeros": b"ab" * 8 + bytes(200) + b"the end",
    "odd length": b"x" * 77,
    "all bytes": bytes(range(256)),
    "letters like digits": b"ab cd ef |>: 0x12  0123456789abcdef",
}


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_what_a_tool_prints_reads_back_as_the_bytes_it_printed(command, sample):
    data = SAMPLES[sample]
    seen = image(run(command, input=data))
    assert seen.size == len(data)
    assert read(seen, 0, len(data)) == data


@pytest.mark.parametrize("command", [["xxd", "-s", "32"], ["od", "-Ax", "-tx1", "-j", "32"]])
def test_addresses_are_those_that_the_tool_printed(command, tmp_path):
    path = tmp_path / "image"
    path.write_bytes(bytes(range(96)))
    seen = image(run([*command, str(path)]))
    assert seen.pieces[0].address == 32
    assert read(seen, 40, 4) == bytes([40, 41, 42, 43])


def test_words_that_only_the_letters_give_away_are_put_in_order():
    data = b"runstate area, 48 bytes, native."
    assert read(image(run(["xxd", "-e"], input=data)), 0, len(data)) == data


@pytest.fixture(scope="session")
def debuggee(tmp_path_factory):
    for tool in ("gcc", "gdb"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool}: not installed")
    folder = tmp_path_factory.mktemp("gdb")
    values = ",".join(str((7 * i + 3) % 256) for i in range(48))
    source = f"unsigned char xen_runstate[48] = {{{values}}}; int main(void) {{ return 0; }}"
    (folder / "area.c").write_text(source)
    run(["gcc", "-g", "-no-pie", "-o", str(folder / "area"), str(folder / "area.c")])
    return str(folder / "area"), bytes((7 * i + 3) % 256 for i in range(48))


@pytest.mark.parametrize("form", ["x/48xb", "x/24xh", "x/12xw", "x/6xg"])
def test_what_gdb_prints_reads_back_in_memory_order(debuggee, form):
    program, data = debuggee
    seen = image(run(["gdb", "-q", "-nx", "-batch", "-ex", f"{form} &xen_runstate", program]))
    assert seen.kind == "gdb x, QEMU xp, lldb text"
    assert read(seen, seen.pieces[0].address, 48) == data


def printed(form, address, data):
    """Print bytes as a form would, squeezing nothing: for what no tool here prints."""
    size = {"b": 1, "w": 4, "g": 8}[form[-1]]
    words = [data[i : i + size][::-1].hex() for i in range(0, len(data), size)]
    per_line = 16 // size if size > 1 else 8
    for start in range(0, len(words), per_line):
        shown = " ".join(f"0x{word}" for word in words[start : start + per_line])
        place = address + start * size
        yield f"{place:016x}: {shown}" if form[0] == "q" else f"0x{place:x} <a+{start}>:\t{shown}"


@given(st.sampled_from(["qb", "qw", "qg", "gb", "gw", "gg"]), st.integers(0, 1 << 63), st.data())
def test_any_bytes_in_a_debuggers_words_read_back_the_same(form, address, choose):
    data = choose.draw(st.binary(min_size=1, max_size=12).map(lambda part: part * 8))
    seen = image("\n".join(printed(form, address, data)))
    assert (seen.pieces[0].address, read(seen, address, len(data))) == (address, data)


@given(st.binary(min_size=48, max_size=400), st.sampled_from([2, 4, 8]))
def test_any_bytes_with_repeating_lines_squeezed_read_back_the_same(data, repeats):
    data = data[:16] * repeats + data
    lines, last = [], None
    for start in range(0, len(data), 16):
        line = data[start : start + 16]
        if line == last and len(line) == 16:
            lines += [] if lines[-1] == "*" else ["*"]
            continue
        lines.append(f"{start:08x}  {line[:8].hex(' ')}  {line[8:].hex(' ')}")
        last = line
    seen = image("\n".join([*lines, f"{len(data):08x}"]))
    assert read(seen, 0, len(data)) == data


def test_prompts_and_terminal_codes_around_a_paste_are_passed_over():
    paste = "(qemu) xp /4xb 0x10\r\n\x1b[K0000000000000010: 0x01 0x02 0x03 0x04\r\n(qemu) \n"
    assert read(image(paste), 0x10, 4) == b"\1\2\3\4"


@pytest.mark.parametrize(
    ("paste", "said"),
    [
        ("00000000: 0102 0304  ....\n00000004: 01zz\n", "line 2 is no line of xxd.*: '00000004"),
        ("00000000: 0102 034  ....\n", "odd number of digits"),
        ("0x10:\t0x01\t0x0203\n", "all bytes, or all words"),
        ("fffffffffffffffff0: 0x01 0x02\n", "beyond 2\\^64"),
        ("0xffffffffffffffff:\t0x01\t0x02\n", "beyond 2\\^64"),
        ("00000000  00 00\n0x10: 0x01 0x02\n00000002  00 00\n", "line 2 is no line of od"),
    ],
)
def test_a_line_that_is_not_understood_is_refused_with_its_number(paste, said):
    with pytest.raises(WitnessError, match=said):
        image(paste)


@pytest.mark.parametrize(
    "data",
    [
        b"\x7fELF",
        b"",
        b"\0" * 100,
        b"hello, world\n",
        b"see lines (1, 2, 3, 4, 5, 6) of [7, 8, 9, 10, 11, 12]\n",
        b"A" * 100_000,
        b"00000000: 41" + b"41" * 9999,
    ],
)
def test_what_is_no_text_of_a_known_form_is_left_to_be_raw(data):
    assert not text.is_text(memoryview(data))


def test_more_text_than_anybody_pastes_is_refused_at_once():
    paste = b"00000000: 4141 4141  AAAA\n" * (text.TEXT_MOST // 25)
    with pytest.raises(WitnessError, match="at most 16"):
        image(paste)


def test_a_squeezed_run_as_large_as_memory_costs_nothing():
    paste = "00000000  11 11 11 11 11 11 11 11  11 11 11 11 11 11 11 11\n*\n7ffffffffffffff0  22\n"
    seen = image(paste)
    assert read(seen, 0x12345678, 4) == b"\x11" * 4


def test_a_line_of_digits_and_rubbish_is_refused_at_once():
    pasted = b"00000000: 3030 3030  00\n00000010: " + b"9" * 200 + b"\x01\n"
    begin = time.perf_counter()
    with pytest.raises(WitnessError, match="line 2 is no line of xxd"):
        text.image(memoryview(pasted), "-")
    assert time.perf_counter() - begin < 1


@pytest.mark.parametrize("quote", ["", "> ", ">> ", "> > "])
def test_a_mail_that_leads_to_the_memory_and_quotes_it_is_read(quote):
    memory = bytes(range(48))
    lines = ["Hi all,", "", "this is what xxd says:", ""]
    lines += [f"{at:08x}: {memory[at : at + 16].hex(' ', 2)}" for at in (0, 16, 32)]
    data = "\n".join(quote + line for line in lines).encode()
    assert text.is_text(memoryview(data))
    assert read(text.image(memoryview(data), "mail"), 0, 48) == memory


@pytest.mark.parametrize("data", [b"a\0b\n00000000: 0001\n", b"\xa5" * 48, b"\xff" * 48])
def test_bytes_that_nobody_writes_are_no_text(data):
    assert not text.is_text(memoryview(data))
    assert not text.is_prose(memoryview(data))


def xxd_e(memory):
    """What `xxd -e` prints: words, and the characters of the bytes."""
    for at in range(0, len(memory), 16):
        row = memory[at : at + 16]
        words = " ".join(row[n : n + 4][::-1].hex() for n in range(0, 16, 4))
        shown = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        yield f"{at:08x}: {words}  {shown}"


def test_a_line_of_words_whose_characters_are_all_dots_is_read_as_its_neighbours():
    memory = bytes(range(0x80, 0x90)) + b"ABCDEFGHIJKLMNOP" + bytes(range(0xA0, 0xB0))
    data = memoryview("\n".join(xxd_e(memory)).encode())
    assert read(text.image(data, "paste"), 0, 48) == memory


def test_words_that_no_character_tells_from_bytes_are_refused():
    data = memoryview("\n".join(xxd_e(bytes(range(0x80, 0xB0)))).encode())
    with pytest.raises(WitnessError, match=r"bytes or words\?.*--text bytes"):
        text.image(data, "paste")


def test_zeros_are_the_same_either_way():
    assert read(text.image(memoryview("\n".join(xxd_e(bytes(32))).encode()), "p"), 0, 32) == bytes(
        32
    )


def test_the_last_byte_of_all_addresses_may_be_there():
    assert read(image("0xffffffffffffffff:\t0x07\n"), (1 << 64) - 1, 1) == b"\7"
