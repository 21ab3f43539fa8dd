"""``runstate hexdump --family``: each field of each struct, at its offset, with its value."""

import importlib
import io
import json
import re
import struct
import subprocess
import sys
from functools import partial
from importlib import resources
from types import SimpleNamespace

import construct
import jsonschema
import pytest

from runstate_abi.layouts.structs.families import families, flattened
from runstate_abi.layouts.structs.family_names import MODULES
from runstate_abi.tools import cli
from runstate_abi.tools.memory import fields, kdump, of_family

ROW = re.compile(r"(0x\w+)  \+0x(\w+)  (?!\d+ x )((?:[0-9a-f]{2} )+) *(\S+) +(.*?)  +(.*)")
CASES = [
    (one.name, abi, name)
    for one in families("all")
    for abi in ("x86_64", "i386")
    for name in one.layouts(abi)
]
TIME = "<I4sQQIbB2s"  # version pad0 tsc_timestamp system_time tsc_to_system_mul tsc_shift flags pad


@pytest.fixture
def run(runstate):
    """Return a function: the exit code, standard output and standard error of one command."""
    return partial(runstate, "hexdump")


@pytest.fixture
def page(tmp_path):
    """Return a function that writes bytes to a file and returns its path."""

    def written(data):
        path = tmp_path / "page.bin"
        path.write_bytes(data)
        return path

    return written


@pytest.fixture
def paste(monkeypatch):
    """Return a function that makes a text the standard input."""

    def pasted(text):
        stdin = SimpleNamespace(buffer=io.BytesIO(text.encode()), isatty=lambda: False)
        monkeypatch.setattr(sys, "stdin", stdin)

    return pasted


class Leaf(SimpleNamespace):
    """A number or a run of padding of a Construct definition, with bytes that no other leaf has."""

    @property
    def data(self):
        # The top bit is set, so that a sign that is dropped, or invented, is seen.
        low = [(self.offset * 7 + place * 13) % 255 + 1 for place in range(self.size - 1)]
        return bytes([*low, 0x80 | self.offset % 127])

    @property
    def value(self):
        return int.from_bytes(self.data, "little", signed=self.signed)


def filled(definition, path="", offset=0):
    """Return what to build a definition from, and its leaves in order."""
    inner = definition
    while isinstance(inner, construct.Renamed):
        inner = inner.subcon
    if isinstance(inner, construct.Struct):
        values, leaves = {}, []
        for part in inner.subcons:
            name = f"{path}.{part.name}".removeprefix(".")
            values[part.name], found = filled(part, name, offset)
            offset += part.sizeof()
            leaves += found
        return values, leaves
    if isinstance(inner, construct.Array):
        size = inner.subcon.sizeof()
        each = [filled(inner.subcon, f"{path}[{n}]", offset + n * size) for n in range(inner.count)]
        return [value for value, _ in each], [leaf for _, found in each for leaf in found]
    padding = isinstance(inner, construct.Bytes)
    signed = not padding and str(getattr(inner, "fmtstr", ""))[-1:].islower()
    leaf = Leaf(path=path, offset=offset, size=inner.sizeof(), padding=padding, signed=signed)
    return leaf.data if padding else leaf.value, [leaf]


def built(family, abi, name):
    """Return the bytes of a struct as Construct has them, and its leaves."""
    encodings = importlib.import_module(MODULES[family].replace(".structs.", ".encodings."))
    definition = encodings.CONSTRUCTS[abi][name]
    values, leaves = filled(definition)
    for leaf in leaves:  # the handle of a hypercall: a struct of one pointer there, a pointer here
        leaf.path = "ports" if leaf.path == "ports.p" else leaf.path
    return definition.build(values), leaves


def rows_of(out):
    """Return the rows in text output by offset: (address, bytes, path, type, what it says)."""
    found = {}
    for line in out.splitlines():
        match = ROW.fullmatch(line)
        if match and "continued" not in line:
            address, offset, data, path, kind, told = match.groups()
            found[int(offset, 16)] = (
                int(address, 16),
                bytes.fromhex(data.replace(" ", "")),
                path,
                kind,
                told,
            )
    return found


@pytest.mark.parametrize(("family", "abi", "name"), CASES)
def test_every_value_is_printed_under_its_path_and_offset(run, page, family, abi, name):
    data, leaves = built(family, abi, name)
    path = page(b"\xee" * 64 + data + b"\xee" * 64)
    asked = (path, "--at", 64, "--family", family, "--struct", name, "--abi", abi)
    code, out, err = run(*asked, "--color", "never")
    assert (code, err) == (int("verdict: something is wrong" in out), "")
    first = out.splitlines()[0]
    assert first.endswith(f" at 0x40: struct {name} [{abi}], {len(data)} bytes, little-endian")
    shown = rows_of(out)
    assert [*shown] == [leaf.offset for leaf in leaves]
    for leaf in leaves:
        address, seen, named, _, told = shown[leaf.offset]
        assert (address, seen) == (64 + leaf.offset, leaf.data[:8])
        if leaf.padding:
            assert told == "padding, not zero"
        else:
            unsigned = int.from_bytes(leaf.data, "little")
            number = f"{leaf.value}  {unsigned:#x}"
            assert (named, told[: len(number)]) == (leaf.path, number)
            assert told[len(number) :][:2] in ("", "  ")  # and behind it what the number means
    seen = json.loads(run(*asked, "--json")[1])
    assert (seen["schema"], seen["family"]) == ("runstate-hexdump/1", family)
    assert (seen["struct"], seen["abi"], seen["size"]) == (name, abi, len(data))
    assert seen["bytes"] == data.hex() == "".join(row["bytes"] for row in seen["rows"])
    assert [
        (row["path"], row["offset"], row["value"]) for row in seen["rows"] if not row["padding"]
    ] == [(leaf.path, leaf.offset, leaf.value) for leaf in leaves if not leaf.padding]


@pytest.mark.parametrize(("family", "abi", "name"), CASES)
def test_a_struct_of_zeros_is_shown_and_no_padding_is_told(run, page, family, abi, name):
    size = len(built(family, abi, name)[0])
    code, out, _ = run(page(bytes(size)), "--family", family, "--struct", name, "--abi", abi)
    assert (code, "not zero" in out, "odd" in out) == (0, False, False)
    assert out.endswith("verdict: nothing is wrong\n")


def test_structs_in_structs_of_another_family_are_looked_into():
    for one in families("all"):
        for abi, layouts in one.claims.items():
            for layout in layouts:
                rows = of_family.flat(layout, one).rows
                assert not [row for row in rows if row.type.name.startswith("struct ")]
                assert len(rows) >= len(flattened(layout, one.layouts(abi)).rows)


@pytest.mark.parametrize("at", [0xFE1, 0xFE4, 0xFEC, 0xFF0, 0xFFF])
def test_a_page_edge_in_a_struct_is_told_and_cuts_what_it_falls_into(run, page, at):
    data = struct.pack(TIME, 4, b"\1\2\3\4", 0x1122334455667788, 99, 7, -3, 1, b"\5\6")
    path = page(bytes(at) + data + bytes(64))
    argv = ("--family", "pvclock", "--struct", "pvclock_vcpu_time_info", "--at", at)
    out = run(path, *argv)[1]
    here = 0x1000 - at
    rule = f"===== page ends: {here} bytes in it, {32 - here} in the next, 0x1000 "
    lines = out.splitlines()
    (place,) = [number for number, line in enumerate(lines) if line.startswith(rule)]
    assert lines[place + 1].startswith(f"0x00001000  +{here:#04x}")
    cells = [line.split("  ", 2) for line in lines if line.startswith("0x")]
    shown = b"".join(bytes.fromhex(re.match(r" *((?:\w\w )+)", cell[2])[1]) for cell in cells)
    assert shown == data
    edges = json.loads(run(path, *argv, "--json")[1])["edges"]
    assert edges == [{"offset": here, "address": 0x1000, "page": True}]


def test_a_page_edge_before_or_behind_a_struct_is_none_of_its(run, page):
    argv = ("--family", "pvclock", "--struct", "pvclock_wall_clock", "--json", "--at")
    path = page(bytes(0x2000))
    for at in (0x1000, 0x1000 - 12):
        assert json.loads(run(path, *argv, at)[1])["edges"] == []


def test_a_struct_may_go_on_in_another_page(run, page, tmp_path):
    data = struct.pack(TIME, 6, b"\1\2\3\4", 1 << 60, 99, 7, -3, 1, b"\5\6")
    (tmp_path / "second").write_bytes(bytes(16) + data[16:])
    path = page(data[16:] + bytes(0x1FF0 - 16) + data[:16])
    argv = ("--family", "pvclock", "--struct", "vcpu_time_info", "--at", "0x1ff0")
    for other in (("--second-page", f"{tmp_path}/second:0x10"), ("--pages", "0x1000,0x0")):
        out = run(path, *argv, *other)[1]
        assert "16 in it, 16 elsewhere" in out.replace("bytes ", "")
        assert re.search(r"system_time +uint64_t +99  0x63", out)
        assert re.search(r"tsc_shift +int8_t +-3  0xfd", out)


def test_what_is_missing_is_said_and_the_rest_is_shown(run, page):
    data = built("steal_time", "x86_64", "kvm_steal_time")[0]
    path = page(data[:14])
    argv = (path, "--family", "steal_time", "--struct", "kvm_steal_time")
    code, out, err = run(*argv)
    assert code == 3
    assert err == (
        f"runstate: {path}: 14 of the 64 bytes of struct kvm_steal_time at 0x0: "
        "50 are missing, from +0x0e on\n"
    )
    shown = rows_of(out)
    assert [row[2] for row in shown.values()] == ["steal", "version", "flags"]
    assert shown[12][4] == "2 of 4 bytes are missing"
    assert "verdict" not in out
    seen = json.loads(run(*argv, "--json")[1])
    assert (seen["missing"], len(seen["bytes"])) == (50, 28)
    assert [row["value"] is None for row in seen["rows"]] == [False, False, True]
    code, out, err = run(*argv, "--at", 64)
    assert (code, out, len(err.splitlines())) == (3, "", 1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--struct", "pvclock_wal_clock"], "none on x86_64: did you mean pvclock_wall_clock?"),
        (["--struct", "kvm_steal_time"], "--struct kvm_steal_time: pvclock has none on x86_64"),
        ([], "pvclock_vcpu_time_info (32 bytes), vcpu_time_info (32 bytes), pvclock_wall_clock (1"),
        (["--abi", "native"], "--abi native is for --family runstate alone"),
        (["--abi", "m68k"], "argument --abi: invalid choice: 'm68k'"),
        (["--before", "x"], "--before is for --family runstate alone"),
        (["--pages-view", "svg"], "--pages-view is for --family runstate alone"),
        (["--qmp", "x", "--gpa", "0"], "--qmp is for --family runstate alone"),
        (["--watch", "0"], "--watch is for --family runstate alone"),
        (["--percpu"], "--percpu is for --family runstate alone"),
        (["--family", "all"], "--family all: the bytes are of one family"),
        (["--family", "pvclok"], "no family 'pvclok': did you mean pvclock?"),
    ],
)
def test_what_is_asked_for_wrongly_is_refused_in_one_line(run, page, words, said):
    code, out, err = run(page(bytes(32)), "--family", "pvclock", *words)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert said in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--struct", "kvm_steal_time"], "--struct needs --family NAME"),
        (["--all-fields"], "--all-fields needs --family NAME"),
        (["--abi", "x86_64"], "argument --abi: invalid choice: 'x86_64'"),
    ],
)
def test_runstate_itself_has_no_other_struct(run, page, words, said):
    code, out, err = run(page(bytes(48)), "--at", "0", *words)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert said in err


def test_the_family_runstate_is_the_default(run, data):
    asked = (data / "pages" / "xen417_busy.elfcore", "--gpa", "0x175f4ba0")
    assert run(*asked) == run(*asked, "--family", "runstate")


@pytest.mark.parametrize(
    ("family", "size", "name"),
    [
        ("pvclock", 12, "pvclock_wall_clock"),
        ("hyperv", 24, "ms_hyperv_tsc_page"),
        ("hyperv", 4096, "ms_hyperv_tsc_page"),
        ("vcpu_info", 3136, "shared_info"),
        ("vcpu_info", 2344, "compat_shared_info"),
        ("uapi", 80, "kvm_xen_exit"),
    ],
)
def test_the_number_of_bytes_tells_the_struct(run, page, family, size, name):
    seen = json.loads(run(page(bytes(size)), "--family", family, "--json")[1])
    assert (seen["struct"], seen["size"], seen["missing"]) == (name, size, 0)
    assert sum(row["size"] for row in seen["rows"]) == size


def test_raw_bytes_that_are_more_than_the_struct_need_a_place(run, page):
    code, out, err = run(page(bytes(100)), "--family", "hyperv")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "100 bytes, and struct ms_hyperv_tsc_page has 24" in err
    assert run(page(bytes(100)), "--family", "hyperv", "--gpa", 8)[0] == 0


def test_a_paste_of_xxd_is_read_from_standard_input(run, page, paste):
    data, leaves = built("steal_time", "x86_64", "sbi_sta_struct")
    lines = [f"{at:08x}: {data[at : at + 16].hex(' ', 2)}  " for at in range(0, 64, 16)]
    paste("\n".join(line + "." * 16 for line in lines))
    code, out, err = run("-", "--family", "steal_time", "--struct", "sbi_sta_struct")
    assert (code, err) == (0, "")
    assert out.startswith("standard input at 0x0: struct sbi_sta_struct [x86_64]")
    assert {at: row[1] for at, row in rows_of(out).items()} == {
        leaf.offset: leaf.data[:8] for leaf in leaves
    }


def test_a_printed_runstate_is_not_taken_for_another_struct(run, paste):
    paste("{state = 1, state_entry_time = 5, time = {1, 2, 3, 4}}")
    code, out, err = run("-", "--family", "pvclock")
    assert (code, out, len(err.splitlines())) == (3, "", 1)
    assert "printed struct text is read for runstate alone" in err


def test_a_core_says_its_machine_and_an_address_names_the_place(run, data):
    core = data / "pages" / "xen417_busy.elfcore"
    argv = (core, "--family", "pvclock", "--struct", "pvclock_wall_clock")
    code, out, _ = run(*argv, "--gpa", "0x175f4ba0")
    assert (code, "x86_64: the memory's header says so" in out) == (0, True)
    assert run(*argv, "--gpa", "0x175f4ba0", "--abi", "arm64")[1].count(" 16 bytes, little") == 1
    code, _, err = run(*argv)
    assert (code, "say where: --gpa ADDR (try" in err) == (2, True)


def test_of_a_kernel_dump_the_largest_struct_is_read(run, monkeypatch):
    data = built("vcpu_info", "x86_64", "shared_info")[0]
    memory = bytes(0x1000) + data + bytes(0x1000)
    dump = SimpleNamespace(
        read=lambda start, size, _: memory[start : start + size],
        platform=SimpleNamespace(arch=SimpleNamespace(name="X86_64")),
    )
    monkeypatch.setattr(kdump, "program", lambda _: dump)
    argv = ("vmcore", "--drgn", "--gpa", "0x1000", *LARGE, "--json")
    code, out, err = run(*argv)
    assert (code, err, json.loads(out)["bytes"]) == (1, "", data.hex())  # no writer writes these
    dump.platform.arch.name = "AARCH64"
    code, out, err = run(*argv)
    assert (code, out, "the memory is of aarch64: give --abi" in err) == (2, "", True)
    assert run(*argv, "--abi", "x86_64")[0] == 1


LARGE = ("--family", "vcpu_info", "--struct", "shared_info")


def test_what_is_zero_in_a_large_struct_is_folded_and_nothing_else(run, page):
    leaves = built("vcpu_info", "x86_64", "shared_info")[1]
    for kept in (leaves[0], leaves[5], leaves[60], leaves[300], leaves[-1]):
        data = bytearray(3136)
        data[kept.offset + kept.size - 1] = 0x10
        out = run(page(data), *LARGE)[1]
        lines = [line for line in out.splitlines() if line.startswith("0x")]
        assert len(lines) <= 3
        row = rows_of(out)[kept.offset]
        assert row[1] == bytes(kept.size - 1) + b"\x10"
        if not kept.padding:
            assert (row[2], row[4]) == (
                kept.path,
                f"{16 << 8 * kept.size - 8}  {row[4].split()[1]}",
            )
        folded = sum(map(int, re.findall(r"(\d+) fields are zero", out)))
        assert folded == len(leaves) - len(rows_of(out))


def test_every_field_is_shown_if_asked_for(run, page):
    leaves = built("vcpu_info", "x86_64", "shared_info")[1]
    out = run(page(bytes(3136)), *LARGE, "--all-fields")[1]
    assert len(rows_of(out)) == len(leaves)
    assert "are zero" not in out


def test_a_fold_ends_where_a_page_does(run, page):
    lines = run(page(bytes(8192)), *LARGE, "--at", "0xf00")[1].splitlines()
    counts = [re.search(r"\+0x(\w+)  (\d+) x 00", line) for line in lines]
    assert [match.groups() for match in counts if match] == [("000", "256"), ("100", "2880")]


def test_a_long_run_of_padding_shows_what_is_not_zero_in_it(run, page):
    data = bytearray(4096)
    data[0x7FF] = data[0xFFF] = 0x99
    out = run(page(data), "--family", "hyperv")[1]
    assert "0x000007f8  +0x7f8  00 00 00 00 00 00 00 99" in out
    assert "0x00000ff8  +0xff8  00 00 00 00 00 00 00 99" in out
    assert len([line for line in out.splitlines() if line.startswith("0x")]) == 7
    assert "padding is not zero: reserved2 from +0x7ff on" in out
    everything = run(page(data), "--family", "hyperv", "--all-fields")[1]
    assert len([line for line in everything.splitlines() if line.startswith("0x")]) == 4 + 509


SEQUENCED = [
    ("pvclock", "pvclock_vcpu_time_info", 0, "version"),
    ("pvclock", "vcpu_time_info", 0, "version"),
    ("pvclock", "pvclock_wall_clock", 0, "version"),
    ("steal_time", "kvm_steal_time", 8, "version"),
    ("steal_time", "sbi_sta_struct", 0, "sequence"),
    ("vcpu_info", "vcpu_info", 32, "time.version"),
    ("vcpu_info", "shared_info", 31 * 64 + 32, "vcpu_info[31].time.version"),
    ("vcpu_info", "shared_info", 0xC00, "wc.version"),
    ("vcpu_info", "compat_shared_info", 0x900, "wc.version"),
]


@pytest.mark.parametrize(("family", "name", "offset", "path"), SEQUENCED)
def test_an_odd_version_is_an_update_in_progress_and_an_even_one_is_none(
    run, page, family, name, offset, path
):
    size = len(built(family, "x86_64", name)[0])
    for version in (0, 1, 2, 0xFFFFFFFE, 0xFFFFFFFF):
        data = bytearray(size)
        struct.pack_into("<I", data, offset, version)
        argv = (page(data), "--family", family, "--struct", name)
        code, out, _ = run(*argv)
        assert code == 0
        told = f"in-flight  {path} is {version:#x}, odd: an update was in progress"
        assert (told in out) == (version in (1, 0xFFFFFFFF))
        assert ("verdict: in flight" in out) == (version in (1, 0xFFFFFFFF))
        seen = json.loads(run(*argv, "--json")[1])
        assert seen["update_in_progress"] == (version in (1, 0xFFFFFFFF))
        assert seen["verdict"] == ("in-flight" if seen["update_in_progress"] else "normal")


@pytest.mark.parametrize(("sequence", "told"), [(0, True), (1, False), (2, False)])
def test_a_tsc_sequence_of_0_is_not_valid_and_an_odd_one_is_no_update(run, page, sequence, told):
    data = struct.pack("<IIQq", sequence, 0, 1, -1)
    code, out, _ = run(page(data), "--family", "hyperv")
    assert (code, "tsc_sequence is 0x0, not valid" in out) == (0, told)
    assert out.endswith("verdict: nothing is wrong\n")


def test_every_rule_is_of_a_member_that_some_struct_has():
    members = {
        row.name.rpartition(".")[2]
        for one in families("all")
        for layouts in one.claims.values()
        for layout in layouts
        for row in of_family.flat(layout, one).members
    }
    assert set(fields.RULES) <= members


def test_another_declaration_of_the_struct_is_named(run, page):
    out = run(page(bytes(32)), "--family", "pvclock", "--struct", "vcpu_time_info")[1]
    assert "  another declaration of it has int8_t pad1[3] at +0x1d" in out.splitlines()
    out = run(page(bytes(24)), "--family", "hyperv")[1]
    assert "  another declaration of it has 4096 bytes" in out.splitlines()


def test_without_another_family_no_family_is_loaded(data):
    core = str(data / "pages" / "xen417_busy.elfcore")
    code = (
        "import sys; from runstate_abi.tools import cli\n"
        f"cli.main(['hexdump', {core!r}, '--gpa', '0x175f4ba0'])\n"
        "assert not [name for name in sys.modules if 'families' in name or 'of_family' in name]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_json_is_what_its_schema_says(tmp_path, capsys):
    folder = resources.files("runstate_abi.schemas")
    schema = json.loads((folder / "runstate-hexdump-1.json").read_text())
    image = tmp_path / "page.bin"
    image.write_bytes(bytes(4096))
    words = ("--at", "0x40", "--family", "pvclock", "--struct", "pvclock_wall_clock", "--json")
    assert cli.main(["hexdump", str(image), *words]) == 0
    document = json.loads(capsys.readouterr().out)
    jsonschema.validate(document, schema)
    del document["rows"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema)
