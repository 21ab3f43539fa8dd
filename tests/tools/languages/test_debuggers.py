"""gdb and drgn load their Python and read an area in real memory where the layouts have it."""

import re

import pytest

from runstate_abi.tools.languages.promises import GUESTS


@pytest.fixture
def gdb(tool, area, tmp_path):
    """Return a function: what gdb's new command prints of the bytes, by guest and field."""
    tool("gdb", "--version")
    source, program = tmp_path / "area.c", tmp_path / "area.o"
    source.write_text(f"unsigned char area[] = {{{', '.join(map(str, area))}}};\n")
    tool("gcc", "-g", "-c", source, "-o", program)

    def numbers(text, expression="&area"):
        script = tmp_path / "runstate_gdb.py"
        script.write_text(text)
        found = {}
        for guest in GUESTS:
            asked = f"runstate {expression} {guest.word}"
            said = tool("gdb", "-q", "-nx", "-batch", "-x", script, "-ex", asked, program)
            rows = re.findall(r"^0x\w+ \+\d+ +(\S+) +(-?\d+)", said, re.M)
            found[guest.word] = {name: int(value) for name, value in rows}
        return found

    return numbers


def test_gdb_reads_each_field_where_the_layouts_have_it(gdb, emitted, fields):
    assert gdb(emitted("gdb")) == fields


def test_gdb_reads_a_shifted_field_otherwise(gdb, emitted, changed, fields):
    found = gdb(changed(emitted("gdb"), '("time", 16,', '("time", 15,'))
    assert found["native"] != fields["native"]
    assert found["compat"] == fields["compat"]


@pytest.fixture
def drgn(package, area):
    """Return a function: what drgn objects of a module's types read of the bytes."""
    drgn = package("drgn")

    def numbers(text, data=area):
        names = {}
        exec(compile(text, "runstate_drgn.py", "exec"), names)
        little = drgn.PlatformFlags.IS_64_BIT | drgn.PlatformFlags.IS_LITTLE_ENDIAN
        prog = drgn.Program(drgn.Platform(drgn.Architecture.X86_64, little))
        read = lambda address, count, offset, physical: data[offset : offset + count]  # noqa: E731
        prog.add_memory_segment(0x1000, len(data), read)
        objects = {g.word: names["runstate"](prog, 0x1000, g.word) for g in GUESTS}
        found = {word: flat(struct) for word, struct in objects.items()}
        return found, {w: names["update_in_progress"](o) for w, o in objects.items()}, objects

    return numbers


def flat(struct):
    times = {f"time[{index}]": value.value_() for index, value in enumerate(struct.time)}
    entry = struct.state_entry_time.value_()
    return {"state": struct.state.value_(), "state_entry_time": entry, **times}


def test_drgn_reads_each_field_where_the_layouts_have_it(drgn, emitted, fields):
    found, flags, objects = drgn(emitted("drgn"))
    assert found == fields
    assert flags == {"native": False, "compat": False}
    assert {w: o.type_.size for w, o in objects.items()} == {g.word: g.layout.size for g in GUESTS}


def test_drgn_reads_a_shifted_field_otherwise(drgn, emitted, changed, fields):
    found = drgn(changed(emitted("drgn"), '("time", 16,', '("time", 15,'))[0]
    assert found["native"] != fields["native"]
    assert found["compat"] == fields["compat"]


def test_drgn_sees_an_update_in_progress(drgn, emitted, area):
    data = area[:15] + b"\x80" + area[16:]
    assert drgn(emitted("drgn"), data)[1] == {"native": True, "compat": False}
