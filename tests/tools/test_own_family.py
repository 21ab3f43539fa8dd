"""A family that a test adds: a table and two encodings, and every verb has it."""

import json
import struct
import sys

import pytest

from runstate_abi.layouts.structs import families


@pytest.fixture
def run(data, monkeypatch, runstate):
    monkeypatch.syspath_prepend(str(data / "families"))
    monkeypatch.setitem(families.MODULES, "mine", "mine")
    monkeypatch.setitem(families.ENCODINGS, "mine", "mine_encodings")
    yield runstate
    for name in ("mine", "mine_encodings"):
        sys.modules.pop(name, None)


def test_show_and_diff(run):
    code, out, err = run("show", "--family", "mine")
    assert (code, err) == (0, "")
    assert "mine: a clock of my own" in out
    assert "drift[2]" in out
    code, out, _ = run("diff", "my_clock", "my_clock@i386")
    assert code == 1
    assert "offset-mismatch my_clock.drift [x86_64] spec=8 seen=4" in out


@pytest.mark.needs("gcc")
@pytest.mark.x86
def test_check_and_matrix(run, tmp_path):
    code, out, _ = run("check", "--family", "mine", "--require", "construct,ctypes,rule,conditions")
    assert (code in (0, 3), "DIFFERS" in out) == (True, False)
    header = tmp_path / "my_clock.h"
    header.write_text(
        "#include <stdint.h>\nstruct my_clock { uint32_t sequence; int32_t drift[4]; };\n"
    )
    code, out, _ = run("check", "--header", header, "--struct", "my_clock", "--cc", "gcc")
    assert code == 1
    assert "offset-mismatch my_clock.drift [x86_64] spec=8 seen=4" in out
    code, out, _ = run("matrix", "--family", "mine", "--cc", "gcc -m64")
    assert code == 0
    assert "struct my_clock" in out


def test_emit_and_docs(run):
    code, out, _ = run("emit", "c", "--family", "mine")
    assert code == 0
    assert "struct my_clock {" in out
    code, out, _ = run("docs", "--family", "mine")
    assert code == 0
    assert "my_clock" in out
    assert "is_signed(struct my_clock, drift) != 1" in out


def test_hexdump(run, tmp_path):
    image = tmp_path / "clock.bin"
    image.write_bytes(struct.pack("<I4xqq", 7, -5, 9))
    code, out, _ = run("hexdump", image, "--family", "mine", "--json")
    values = {row["path"]: row["value"] for row in json.loads(out)["rows"]}
    assert code == 0
    assert values == {"sequence": 7, "pad_04": None, "drift[0]": -5, "drift[1]": 9}


def test_it_is_one_of_all_and_its_name_is_suggested(run):
    assert "mine: a clock of my own" in run("show", "--family", "all")[1]
    code, _, err = run("show", "--family", "mines")
    assert (code, "did you mean mine?" in err) == (2, True)
