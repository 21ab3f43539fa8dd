"""Every form that people paste, with everything that stands around a paste: the same 48 bytes."""
# ruff: noqa: E501

import contextlib
import itertools
import shutil
import struct
import subprocess

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools import cli
from runstate_abi.tools.memory import sources
from runstate_abi.tools.memory.image import read
from runstate_abi.tools.memory.text import pasted as text

AT = 0xFFFF_8880_7D21_C0A0
TIMES = (400_123_456_789, 100_000_000_011, 479_876_543_211, 19_999_999_989)
ENTRY = sum(TIMES)
AREA = struct.pack("<IIQ4Q", 1, 0, ENTRY, *TIMES)
RESTS = struct.pack("<IIQ4Q", 0, 0, ENTRY, *TIMES)  # begins with eight bytes of zero


def words(data, size):
    return [data[at : at + size][::-1].hex() for at in range(0, len(data), size)]


def characters(data):
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in data)


def lines(data, row, per_line=16):
    return "\n".join(row(at, data[at : at + per_line]) for at in range(0, len(data), per_line))


def ticked(number):
    return f"{number >> 32:08x}`{number & 0xFFFF_FFFF:08x}"


def windbg(size, mark=""):
    def row(at, part):
        shown = words(part, size)
        if size == 8:
            shown = [word[:8] + "`" + word[8:] for word in shown]
        joined = " ".join(shown)
        if size == 1:
            joined = joined[:23] + "-" + joined[24:]
        return f"{mark}{ticked(AT + at)}  {joined}" + (f"  {characters(part)}" if size == 1 else "")

    return lambda data: lines(data, row)


def prefixed(size, start="", place=True, shown=True):
    """print_hex_dump(), with 16 bytes a line."""

    def row(at, part):
        groups = " ".join(words(part, size))
        where = f"{at:08x}: " if place else ""
        return f"{start}{where}{groups}" + (f"  {characters(part)}" if shown else "")

    return lambda data: lines(data, row)


def crash(size, shown):
    def row(at, part):
        return f"{AT + at:x}:  " + " ".join(words(part, size)) + f"   {characters(part)}" * shown

    return lambda data: lines(data, row)


def debugger(size, start, per_line=16):
    def row(at, part):
        shown = "\t".join(f"0x{word}" for word in words(part, size))
        return f"{start.format(AT + at, at)}\t{shown}"

    return lambda data: lines(data, row, 8 if size == 1 else per_line)


def struct_of(shape, number=str):
    def made(data):
        state, _, *numbers = struct.unpack("<II5Q", data)
        entry, *times = (number(value) for value in numbers)
        return shape.format(state=number(state), entry=entry, t=times)

    return made


PRETTY = """$1 = {{
  state = {state},
  state_entry_time = {entry},
  time = {{{t[0]}, {t[1]}, {t[2]}, {t[3]}}}
}}"""
DRGN = """(struct vcpu_runstate_info){{
\t.state = (int){state},
\t.state_entry_time = (uint64_t){entry},
\t.time = (uint64_t [4]){{ {t[0]}, {t[1]}, {t[2]}, {t[3]} }},
}}"""
LLDB = """(vcpu_runstate_info) $0 = {{
  state = {state}
  state_entry_time = {entry}
  time = ([0] = {t[0]}, [1] = {t[1]}, [2] = {t[2]}, [3] = {t[3]})
}}"""
NESTED = """(vcpu_runstate_info) $0 = {{
  state = {state}
  state_entry_time = {entry}
  time = {{
    [0] = {t[0]}
    [1] = {t[1]}
    [2] = {t[2]}
    [3] = {t[3]}
  }}
}}"""


def array(size, shape, per_line=12, number="0x{:0{}x}"):
    def made(data):
        listed = [number.format(int(word, 16), 2 * size) for word in words(data, size)]
        rows = (", ".join(listed[at : at + per_line]) for at in range(0, len(listed), per_line))
        return shape % ",\n  ".join(rows)

    return made


def repeated(data):
    """gdb's way with an array of bytes."""
    parts, at = [], 0
    while at < len(data):
        count = 1
        while data[at : at + count + 1] == data[at : at + 1] * (count + 1):
            count += 1
        if count > 9:
            parts.append(f"{data[at]:#x} <repeats {count} times>")
        else:
            parts += [f"{data[at]:#x}"] * count
        at += count
    return "$2 = {" + ", ".join(parts) + "}"


# By name: who prints it, where the area comes to lie, and how.
FORMS = {
    "gdb x/6xg": (AT, debugger(8, "0x{0:x} <xen_runstate+{1}>:")),
    "gdb x/12xw": (AT, debugger(4, "0x{0:x} <xen_runstate+{1}>:")),
    "gdb x/24xh": (AT, debugger(2, "0x{0:x}:")),
    "gdb x/48xb": (AT, debugger(1, "0x{0:x} <xen_runstate+{1}>:")),
    "qemu xp /6gx": (AT, lambda d: debugger(8, "{0:016x}:")(d).replace("\t", " ")),
    "qemu xp /48xb": (AT, lambda d: debugger(1, "{0:016x}:")(d).replace("\t", " ")),
    "lldb memory read": (AT, lambda d: lines(d, lambda at, p: f"{AT + at:#x}: {p.hex(' ')}  {characters(p)}")),
    "lldb memory read -s8 -fx": (AT, lambda d: debugger(8, "{0:#x}:")(d).replace("\t", " ")),
    "lldb memory read -s4 -fx": (AT, lambda d: debugger(4, "{0:#x}:")(d).replace("\t", " ")),
    "WinDbg db": (AT, windbg(1)),
    "WinDbg dw": (AT, windbg(2)),
    "WinDbg dd": (AT, windbg(4)),
    "WinDbg dq": (AT, windbg(8)),
    "WinDbg dc": (AT, lambda d: lines(d, lambda at, p: f"{ticked(AT + at)}  {' '.join(words(p, 4))}  {characters(p)}")),
    "WinDbg dqs": (AT, lambda d: lines(d, lambda at, p: f"{ticked(AT + at)}  {ticked(int(words(p, 8)[0], 16))}", 8)),
    "WinDbg !dq": (0x1BA0, lambda d: lines(d, lambda at, p: f"#{0x1BA0 + at:>9x} " + " ".join(ticked(int(w, 16)) for w in words(p, 8)))),
    "WinDbg !db": (0x1BA0, lambda d: lines(d, lambda at, p: f"#{0x1BA0 + at:>9x} {p[:8].hex(' ')}-{p[8:].hex(' ')} {characters(p)}")),
    "crash rd": (AT, crash(8, 1)),
    "crash rd -x": (AT, crash(8, 0)),
    "crash rd -8": (AT, crash(1, 1)),
    "crash rd -16": (AT, crash(2, 1)),
    "crash rd -32": (AT, crash(4, 1)),
    "crash rd -32 -x": (AT, crash(4, 0)),
    "print_hex_dump 1": (0, prefixed(1, "[   12.345678] runstate: ")),
    "print_hex_dump 4": (0, prefixed(4, "[   12.345678] runstate: ")),
    "print_hex_dump 8": (0, prefixed(8, "[   12.345678][    T1] xen runstate ")),
    "print_hex_dump 8, no characters": (0, prefixed(8, "[   12.345678] ", shown=False)),
    "print_hex_dump, no offset": (0, prefixed(1, "[   12.345678] rs: ", False)),
    "print_hex_dump 8, no offset": (0, prefixed(8, "[   12.345678] rs: ", False, False)),
    "print_hex_dump_bytes, dmesg -T": (0, prefixed(1, "[Sat Nov 28 10:00:00 2026] ")),
    "print_hex_dump, journalctl": (0, prefixed(1, "Nov 28 10:00:00 host kernel: rs: ")),
    "print_hex_dump, glued": (0, prefixed(1, "[   12.345678] rs:")),
    "print_hex_dump, dmesg -H": (0, prefixed(1, "[  +0.000004] rs: ")),
    "print_hex_dump, dmesg -x": (0, prefixed(1, "kern  :debug : [   12.345678] rs: ")),
    "print_hex_dump, dmesg iso": (0, prefixed(8, "2026-11-28T10:00:00,123456+00:00 ")),
    "JSON members": (0, struct_of('{{"state": {state}, "state_entry_time": {entry}, "time": [{t[0]}, {t[1]}, {t[2]}, {t[3]}]}}')),
    "C initializer": (0, struct_of("struct vcpu_runstate_info a = {{ .state = {state}, .state_entry_time = {entry}ULL, .time = {{ {t[0]}, {t[1]}ULL, {t[2]}, {t[3]} }} }};")),
    "print_hex_dump, kmsg": (0, prefixed(1, "<6>[  100.000001] rs: ")),
    "hexdump of drgn": (AT, lambda d: lines(d, lambda at, p: f"{AT + at:016x}  {p[:8].hex(' ')}  {p[8:].hex(' ')}  |{characters(p)}|")),
    "HxD": (0, lambda d: lines(d, lambda at, p: f"{at:08X}  {p.hex(' ').upper()}  {characters(p)}")),
    "hexyl": (0, lambda d: "\u250c\u2500\u2510\n" + lines(d, lambda at, p: f"\u2502{at:08x}\u2502 {p[:8].hex(' ')} \u250a {p[8:].hex(' ')} \u2502\u22c4\u22c4\u22c4\u22c4\u22c4\u22c4\u22c4\u22c4\u250a\u22c4\u2022\u00d7\u00d7\u00d7 \u22c4\u22c4\u2502")),
    "spaced hex": (0, lambda d: lines(d, lambda at, p: p.hex(" "))),
    "spaced hex, one line": (0, lambda d: d.hex(" ")),
    "spaced hex, capitals": (0, lambda d: d.hex(" ").upper()),
    "%*phC": (0, lambda d: d.hex(":")),
    "%*phD": (0, lambda d: d.hex("-")),
    "%016llx lines": (0, lambda d: "\n".join(words(d, 8))),
    "%016llx, one line": (0, lambda d: " ".join(words(d, 8))),
    "%08x lines": (0, lambda d: lines(d, lambda at, p: " ".join(words(p, 4)))),
    "0x%016llx lines": (0, lambda d: "\n".join("0x" + word for word in words(d, 8))),
    "bytes.hex()": (0, lambda d: d.hex()),
    "bytes.hex() quoted": (0, lambda d: repr(d.hex())),
    "repr(bytes)": (0, repr),
    "bytearray": (0, lambda d: repr(bytearray(d))),
    "repr(bytes), assigned": (0, lambda d: f"data = {d!r}"),
    "bytes.fromhex": (0, lambda d: f'area = bytes.fromhex("{d.hex()}")'),
    "C string": (0, lambda d: '"' + "".join(f"\\x{byte:02x}" for byte in d) + '"'),
    "C string in rows": (0, lambda d: "char a[] =\n" + lines(d, lambda at, p: '  "' + "".join(f"\\x{byte:02x}" for byte in p) + '"') + ";"),
    "printf octal": (0, lambda d: '"' + "".join(f"\\{byte:03o}" for byte in d) + '"'),
    "xxd -i FILE": (0, array(1, "unsigned char a_bin[] = {\n  %s\n};\nunsigned int a_bin_len = 48;")),
    "xxd -i": (0, array(1, "  %s")),
    "u64 array": (0, array(8, "static const u64 area[] = {\n  %s,\n};", 2)),
    "u32 array": (0, array(4, "uint32_t area[12] = { %s };", 4)),
    "decimal bytes": (0, array(1, "[%s]", 48, "{:d}")),
    "Rust": (0, array(1, "let area: [u8; 48] = [\n  %s,\n];", 8, "0x{:02x}")),
    "gdb p/x bytes": (0, repeated),
    "gdb p/x words": (0, array(8, "$3 = {%s}", 6, "{:#x}")),
    "gdb p/d words": (0, array(8, "$3 = {%s}", 6, "{:d}")),
    "gdb p": (0, struct_of("$1 = {{state = {state}, state_entry_time = {entry}, time = {{{t[0]}, {t[1]}, {t[2]}, {t[3]}}}}}")),
    "gdb p/x": (0, struct_of("$1 = {{state = {state}, state_entry_time = {entry}, time = {{{t[0]}, {t[1]}, {t[2]}, {t[3]}}}}}", hex)),
    "gdb p, pretty": (0, struct_of(PRETTY)),
    "gdb p/x, pretty": (0, struct_of(PRETTY, hex)),
    "gdb p/z": (0, struct_of(PRETTY, lambda value: f"0x{value:016x}")),
    "crash struct": (0, struct_of("struct vcpu_runstate_info " + PRETTY[5:])),
    "drgn": (0, struct_of(DRGN)),
    "lldb p": (0, struct_of(LLDB)),
    "lldb p/x, nested": (0, struct_of(NESTED, hex)),
    "virsh --hmp": (AT, lambda d: debugger(8, "{0:016x}:")(d).replace("\t", " ")),
    "virsh JSON": (AT, lambda d: '{"return":"' + debugger(8, "{0:016x}:")(d).replace("\t", " ").replace("\n", "\\r\\n") + '\\r\\n","id":"libvirt-11"}'),
}  # fmt: skip
TOOLS = {
    "xxd": "xxd", "xxd -g1": "xxd -g1", "xxd -e": "xxd -e", "xxd -e -g8": "xxd -e -g8", "xxd -e -g2": "xxd -e -g2",
    "xxd -b": "xxd -b", "xxd -b -c8": "xxd -b -c8", "xxd -p": "xxd -p", "xxd -p -c16": "xxd -p -c16", "xxd -i": "xxd -i",
    "xxd -c8": "xxd -c8", "xxd -u": "xxd -u", "xxd -g4": "xxd -g4", "xxd -g8": "xxd -g8", "xxd -d": "xxd -d",
    "od": "od", "od -x": "od -x", "od -Ax -tx1": "od -Ax -tx1", "od -Ax -tx1z": "od -Ax -tx1z", "od -tx2": "od -tx2",
    "od -tx4": "od -tx4", "od -tx8": "od -tx8", "od -Ad -tx8": "od -Ad -tx8", "od -An -tx1": "od -An -tx1",
    "od -An -tx4": "od -An -tx4", "od -An -tx8": "od -An -tx8", "od -b": "od -b", "od -An -tx2": "od -An -tx2",
    "hexdump": "hexdump", "hexdump -C": "hexdump -C", "hexdump -x": "hexdump -x", "hexdump -d": "hexdump -d",
    "hexdump -b": "hexdump -b", "hexdump -o": "hexdump -o", "hexdump -v": "hexdump -v",
}  # fmt: skip


def fenced(paste):
    return f"The area looks like this:\n\n```text\n{paste}\n```\n\nIs that right?\n"


AROUND = {
    "nothing": lambda paste: paste + "\n",
    "no end of line": lambda paste: paste,
    "BOM": lambda paste: "\ufeff" + paste + "\n",
    "CRLF": lambda paste: paste.replace("\n", "\r\n") + "\r\n",
    "BOM and CRLF": lambda paste: "\ufeff" + paste.replace("\n", "\r\n") + "\r\n",
    "indented": lambda paste: "".join(f"    {line}\n" for line in paste.split("\n")),
    "a tab in front": lambda paste: "".join(f"\t{line}\n" for line in paste.split("\n")),
    "blank at the ends": lambda paste: "".join(f"{line}  \n" for line in paste.split("\n")),
    "quoted": lambda paste: "".join(f"> {line}\n" for line in paste.split("\n")),
    "quoted twice": lambda paste: "".join(f">> {line}\n" for line in paste.split("\n")),
    "(gdb)": lambda paste: f"(gdb) x/6gx &xen_runstate\n{paste}\n(gdb) \n",
    "(gdb) on the line": lambda paste: f"(gdb) {paste}\n(gdb) quit\n",
    "crash>": lambda paste: f"crash> rd -x ffff88807d21c0a0 6\n{paste}\ncrash> \n",
    "$": lambda paste: f"$ xxd area.bin\n{paste}\n$ \n",
    "#": lambda paste: f"# xxd area.bin\n{paste}\n# \n",
    "user@host": lambda paste: f"root@host:~# cat area\n{paste}\nroot@host:~# exit\n",
    "(qemu)": lambda paste: f"(qemu) xp /6gx 0x1ba0\n{paste}\n(qemu) \n",
    "kd>": lambda paste: f"0: kd> dq ffff8880`7d21c0a0 L6\n{paste}\n0: kd> \n",
    "(lldb)": lambda paste: f"(lldb) memory read -c48 0xffff88807d21c0a0\n{paste}\n(lldb) \n",
    ">>>": lambda paste: f">>> prog.read(0xffff88807d21c0a0, 48)\n{paste}\n>>> \n",
    "fence": fenced,
    "fence, tilde": lambda paste: f"~~~\n{paste}\n~~~\n",
    "prose before": lambda paste: f"Hi all,\n\nwe see 48 bytes at 0x1ba0 - odd:\n\n{paste}\n",
    "much prose before": lambda paste: "A line of prose, as mails have it.\n" * 40 + f"\n{paste}\n",
    "prose behind": lambda paste: f"{paste}\n\nThanks \u2014 J\u00fcrgen\n-- \nA signature\n",
    "UTF-8 prose": lambda paste: f"Gr\u00fc\u00dfe \u2013 hier ist\u2019s:\n{paste}\n",
    "colours": lambda paste: "\x1b[32m" + paste.replace("\n", "\x1b[0m\n\x1b[32m") + "\x1b[0m\n",
}  # fmt: skip
ENCODED = {"UTF-16 LE": "utf-16-le", "UTF-16 BE": "utf-16-be"}


def printed(name, data):
    if name in FORMS:
        return FORMS[name][1](data)
    command = TOOLS[name].split()
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]}: not installed")
    return (
        subprocess.run(command, input=data, capture_output=True, check=True)
        .stdout.decode()
        .rstrip("\n")
    )


@pytest.mark.parametrize("data", [AREA, RESTS], ids=["runnable", "running"])
@pytest.mark.parametrize("name", [*FORMS, *TOOLS])
def test_the_bytes_are_read_whatever_stands_around_them(name, data, tmp_path):
    paste = printed(name, data)
    at = FORMS[name][0] if name in FORMS else 0
    wrong = {}
    inputs = {around: make(paste).encode() for around, make in AROUND.items()}
    inputs |= {name: ("\ufeff" + paste).encode(code) for name, code in ENCODED.items()}
    for around, content in inputs.items():
        (tmp_path / "in.txt").write_bytes(content)
        try:
            seen = sources.opened(str(tmp_path / "in.txt"))
            found = read(seen, at, len(data)) if seen.pieces[0].address == at else seen.pieces
        except WitnessError as error:
            found = str(error)
        if found != data:
            wrong[around] = found.hex() if isinstance(found, bytes) else found
    assert wrong == {}


SMALL = struct.pack("<IQ4Q", 2, ENTRY, *TIMES)
STRUCTS = {name for name, (_, make) in FORMS.items() if make.__qualname__.startswith("struct_of")}


# Words of eight bytes, of which 44 bytes are no whole number: nobody asks a debugger for that.
WORDS_OF_EIGHT = (
    "WinDbg dq", "WinDbg !dq", "gdb x/6xg", "gdb p/x words", "gdb p/d words", "qemu", "virsh", "crash rd", "u64", "%0",
    "0x%016llx lines",
)  # fmt: skip
COMPAT = [
    name
    for name in FORMS
    if name not in STRUCTS and "8" not in name and not name.startswith(WORDS_OF_EIGHT)
]


@pytest.mark.parametrize("name", [*TOOLS, *COMPAT])
def test_the_44_bytes_of_compat_are_read_as_well(name, tmp_path):
    at = FORMS[name][0] if name in FORMS else 0
    (tmp_path / "in.txt").write_text(printed(name, SMALL))
    assert read(sources.opened(str(tmp_path / "in.txt")), at, len(SMALL)) == SMALL


class Asked(Exception):
    pass


def image_or_asked(paste):
    try:
        return text.image(memoryview(paste.encode()), "t")
    except WitnessError as error:
        asks = ("bytes or words?", "repeated lines are left out", "of how many bytes each?")
        if any(words in str(error) for words in asks):
            raise Asked from error
        raise


AGE = st.integers(10**9, 1 << 57)
SHARES = st.lists(st.integers(0, 1000), min_size=5, max_size=5).filter(any)
LIKE_WORDS = [
    name
    for name in [*FORMS, *(name for name in TOOLS if shutil.which(name.split()[0]))]
    if name not in STRUCTS and not name.startswith(("virsh", "repr", "C string", "printf"))
]


# In either order one time equals the entry time, and its low word is that of a shifted reading.
ALIKE = 0x0100000000000001


@given(st.sampled_from(LIKE_WORDS), AGE, SHARES, st.integers(0, 3), st.booleans())
@example("%08x lines", ALIKE, [0, 0, 0, 1, 0], 1, False)
@example("%016llx lines", 81910322032148480, [0, 0, 1, 0, 0], 2, True)
@example("WinDbg !dq", 282574488338688, [578, 0, 0, 0, 0], 2, False)
@example("WinDbg !dq", 403730333696, [0, 1, 1, 0, 0], 2, False)
@example("print_hex_dump 8, no offset", 4295032832, [0, 1, 0, 0, 851], 1, True)
@example("decimal bytes", ALIKE, [0, 0, 0, 1, 0], 1, False)
@example("gdb p/x bytes", ALIKE, [0, 0, 0, 1, 0], 1, False)
def test_any_area_is_read_right_or_not_at_all(name, age, shares, state, flag):
    total = sum(shares)
    times = [age * share // total for share in shares[:4]]
    data = struct.pack("<IIQ4Q", state, 0, age | flag << 63, *times)
    at = FORMS[name][0] if name in FORMS else 0
    with contextlib.suppress(Asked):
        assert read(image_or_asked(printed(name, data)), at, len(data)) == data


@pytest.mark.parametrize("order", ["bytes", "words"])
@pytest.mark.parametrize(
    "name", ["crash rd -x", "%016llx lines", "print_hex_dump 8, no characters"]
)
def test_what_nothing_tells_is_asked_and_the_option_decides(name, order):
    data = bytes(range(0x81, 0xB1))
    paste = memoryview(printed(name, data).encode())
    with pytest.raises(WitnessError, match=r"bytes or words\?.*--text bytes .*--text words"):
        text.image(paste, "t")
    seen = text.image(paste, "t", order)
    turned = b"".join(data[at : at + 8][::-1] for at in range(0, 48, 8))
    assert read(seen, FORMS[name][0], 48) == (data if order == "words" else turned)


@pytest.mark.parametrize("numbers", [(3, 0, 0, 0, 0, 0), (2, 7 << 20, 0, 0, 0, 0)])
def test_one_number_or_two_do_not_tell_the_order(numbers):
    data = struct.pack("<6Q", *numbers)
    with pytest.raises(WitnessError, match="bytes or words"):
        text.image(memoryview("\n".join(words(data, 8)).encode()), "t")


def test_an_area_behind_other_memory_tells_the_order_too():
    data = bytes(range(0x81, 0xA1)) + AREA
    assert read(text.image(memoryview(crash(8, 0)(data).encode()), "t"), AT, len(data)) == data


TWICE = [
    name for name in [*FORMS, *TOOLS] if not name.startswith(("virsh JSON", "print_hex_dump, no"))
]


# Without addresses and with nothing between them, two readings are one of 96 bytes.
PLACED = [
    name
    for name in TWICE
    if not ((name in FORMS and FORMS[name][0] == 0) or " -An" in name or " -p" in name)
]
BETWEEN = ("\n\n", "\nand a second later:\n", "\n(gdb) x/6gx 0x10\n")


@pytest.mark.parametrize(
    ("name", "between"),
    [*((name, "\n") for name in PLACED), *itertools.product(TWICE, BETWEEN)],
)
def test_two_readings_must_agree(name, between):
    other = AREA[:8] + struct.pack("<Q", ENTRY + 1) + AREA[16:]
    once, again = printed(name, AREA), printed(name, other)
    with pytest.raises(WitnessError, match=r"twice, with other bytes|differ: paste one"):
        text.image(memoryview((once + between + again).encode()), "t")
    same = text.image(memoryview((once + between + once).encode()), "t")
    assert same.size == len(AREA)


SEVERAL_LINES = [
    *(name for name in TOOLS if name != "xxd -p"),
    *(
        name
        for name, (_, make) in FORMS.items()
        if name not in STRUCTS and name[:8] != "C string" and make(AREA).count("\n") > 1
    ),
]


@pytest.mark.parametrize("name", SEVERAL_LINES)
def test_a_line_that_is_lost_is_never_passed_over(name):
    rows = printed(name, AREA).split("\n")
    at = FORMS[name][0] if name in FORMS else 0
    for column in range(len(rows[1])):
        torn = rows[1][:column] + "q" + rows[1][column + 1 :]
        paste = "\n".join([rows[0], torn, *rows[2:]])
        try:
            found = read(text.image(memoryview(paste.encode()), "t"), at, len(AREA))
        except WitnessError:
            continue
        # What is torn is a character beside the bytes, or a name in front of them.
        assert found == AREA, torn


@pytest.mark.parametrize("missing", [1, 2, 3, 5, 20])
def test_a_short_paste_says_first_that_bytes_are_missing(missing, tmp_path, capsys):
    (tmp_path / "in.txt").write_text(AREA[:-missing].hex(" "))
    assert cli.main(["hexdump", str(tmp_path / "in.txt")]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert f"{48 - missing} of 48 bytes" in err
