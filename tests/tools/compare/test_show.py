"""``runstate show``: the text is a golden file, the JSON carries the table."""

import json
import re
from pathlib import Path

import pytest

from runstate_abi.layouts.structs.runstate import COMPAT, NATIVE
from runstate_abi.tools.compare import show

GOLDEN = Path(__file__).parents[2] / "golden" / "show.txt"


def output(capsys, *argv):
    assert show.main(list(argv)) == 0
    return capsys.readouterr().out


def test_the_table_is_the_golden_one(capsys):
    head, _, expected = GOLDEN.read_text().partition("\n\n")
    assert head.startswith("# runstate show")
    assert output(capsys) == expected


@pytest.mark.parametrize(("abi", "size"), [("i386", 44), ("arm32", 48), ("i386-windows", 48)])
def test_every_abi_has_its_own_size(capsys, abi, size):
    lines = output(capsys, "--abi", abi).splitlines()
    assert [line.split() for line in lines if line.startswith("sizeof")] == [
        ["sizeof", f"{size:#04x}", str(size)]
    ]


def test_several_abis_stand_side_by_side(capsys):
    first = output(capsys, "--abi", "x86_64", "i386").splitlines()[0]
    assert re.split(r"\s{2,}", first.strip()) == [
        "vcpu_runstate_info [x86_64]",
        "compat_vcpu_runstate_info [x86_64]",
        "vcpu_runstate_info [i386]",
    ]


def test_json_has_every_row(capsys):
    seen = json.loads(output(capsys, "--json"))
    assert seen["schema"] == "runstate-show/1"
    for shown, layout in zip(seen["layouts"], (NATIVE, COMPAT), strict=True):
        assert (shown["name"], shown["size"]) == (layout.name, layout.size)
        rows = [(r["offset"], r["name"], r["size"], r["padding"]) for r in shown["rows"]]
        assert rows == [(r.offset, r.name, r.size, r.padding) for r in layout.rows]
    assert [shown["update_byte"] for shown in seen["layouts"]] == [15, 11]


def test_an_unknown_abi_is_wrong_usage(capsys):
    with pytest.raises(SystemExit) as stop:
        show.main(["--abi", "m68k"])
    assert stop.value.code == 2
    assert "invalid choice: 'm68k'" in capsys.readouterr().err
