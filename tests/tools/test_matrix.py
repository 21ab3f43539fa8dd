"""runstate matrix: each cell is the claim and whoever spoke to it; disagreement is marked."""

import importlib.util
import json
import shutil

import pytest

from runstate_abi.layouts.abi import ABIS
from runstate_abi.layouts.model import Layout, Scalar, WitnessError
from runstate_abi.layouts.runstate import CLAIMS, NATIVE
from runstate_abi.tools import matrix
from runstate_abi.tools.checking.survey import Finding
from runstate_abi.tools.comparing import grid, targets


def finding(*layouts, abi="x86_64", path="", **more):
    return Finding("stranger", "a stranger", abi, found=layouts, path=path, **more)


def shifted(layout):
    """The layout with every 64-bit member eight bytes further on: as if state had grown."""
    rows = [
        row._replace(offset=row.offset + 8 if row.offset > 4 else row.offset) for row in layout.rows
    ]
    rows[1:1] = [rows[1]._replace(offset=4, count=12)]
    del rows[2]
    return Layout(layout.name, layout.abi, layout.size + 8, layout.alignment, tuple(rows))


def cell(found, member, column=0, struct=NATIVE.name):
    rows = [row for row in found.rows if (row.struct, row.title) == (struct, member)]
    return rows[0].cells[column]


def test_every_abi_is_a_column_and_its_cells_are_its_claims():
    found = grid.grid([])
    assert [column.title for column in found.columns] == [abi.name for abi in ABIS]
    for number, column in enumerate(found.columns):
        native = CLAIMS[column.abi].native
        assert cell(found, "time", number).claim == native.offsetof("time")
        assert cell(found, "sizeof", number).claim == native.size
        assert cell(found, "_Alignof", number).claim == native.alignment


def test_the_c_rule_agrees_with_every_claim():
    found = grid.grid([])
    assert {cell.agree for row in found.rows for cell in row.cells} == {("C rule",)}
    assert list(grid.differences(found)) == []


def test_a_witness_that_agrees_is_counted():
    found = grid.grid([finding(NATIVE)])
    assert grid.cell_text(cell(found, "time")) == "16 =2"
    assert grid.cell_text(cell(found, "time", 1)) == "12 =1"


def test_a_witness_that_disagrees_is_marked_with_its_number():
    found = grid.grid([finding(shifted(NATIVE))])
    assert grid.cell_text(cell(found, "time")) == "16 !24 =1"
    assert grid.cell_text(cell(found, "update byte")) == "15 !23 =1"
    assert grid.cell_text(cell(found, "state")) == "0 =2"
    lines = list(grid.differences(found))
    assert "offset-mismatch vcpu_runstate_info.time [x86_64] spec=16 seen=24 (stranger)" in lines


def test_a_signedness_that_no_cell_shows_is_a_difference_all_the_same():
    state = NATIVE.rows[0]._replace(type=Scalar("u32", 4, False))
    found = grid.grid([finding(NATIVE._replace(rows=(state, *NATIVE.rows[1:])))])
    assert [line.split()[0] for line in grid.differences(found)] == ["signedness-mismatch"]
    assert matrix.exit_code(found, []) == 1


def test_a_file_is_a_column_of_its_own():
    found = grid.grid([finding(NATIVE, path="a.btf", assumed=True)])
    assert found.columns[-1].title == "a.btf [x86_64 assumed]"
    assert grid.cell_text(cell(found, "time", -1)) == "16 =1"
    assert grid.cell_text(cell(found, "time", 0)) == "16 =1"


def test_what_a_witness_does_not_record_is_no_agreement():
    found = grid.grid([finding(NATIVE._replace(alignment=None), path="a.btf")])
    assert grid.cell_text(cell(found, "_Alignof", -1)) == "8 ?"
    assert cell(found, "_Alignof", -1).silent == ("stranger",)


def test_a_witness_that_could_not_be_asked_is_exit_3(capsys):
    assert matrix.main(["--cc", "nosuchcompiler -m64"]) == 3
    assert "nosuchcompiler" in capsys.readouterr().err


def test_a_disagreement_is_exit_1_and_comes_before_what_was_not_asked(capsys):
    if shutil.which("gcc") is None:
        pytest.skip("gcc: not installed")
    assert matrix.main(["--cc", "gcc -m32 -malign-double", "--cc", "nosuchcompiler"]) == 1
    assert "4 !8 =1" in capsys.readouterr().out


@pytest.fixture
def blobs(data):
    """Two raw BTF files: of Xen's and KVM's structs, and of 32-bit Arm's."""
    names = ("xen-syms-from-dwarf.R.btf", "armmp-from-dwarf.R.btf")
    return [str(data / "btf" / name) for name in names]


def test_the_four_formats_have_the_same_cells(blobs, capsys):
    texts = {}
    for form in matrix.FORMATS:
        assert matrix.main(["--format", form, "--cc", "gcc -m64", *blobs]) == 0
        texts[form] = capsys.readouterr().out
    rows = json.loads(texts["json"])["rows"]
    for row in rows:
        cells = [grid.Cell(c["claim"], c["agree"], c["differ"], ()) for c in row["cells"]]
        expected = [grid.cell_text(cell) for cell in cells]
        title = row["member"] or {"size": "sizeof", "alignment": "_Alignof"}[row["kind"]]
        assert f"| `{title}` | {' | '.join(expected)} |" in texts["markdown"]
        assert "".join(f"<td>{text}</td>" for text in expected) in texts["html"]
        words = [text.split() for text in expected]
        assert [title, *(word for cell in words for word in cell)] in [
            line.split() if title != "update byte" else ["update byte", *line.split()[2:]]
            for line in texts["text"].splitlines()
        ]


def test_every_target_of_zig_is_an_abi_and_agrees():
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("ziglang: not installed")
    assert {target.abi for target in targets.TARGETS} == {abi.name for abi in ABIS}
    findings = list(targets.asked_of_zig())
    assert [finding.abi for finding in findings] == [target.abi for target in targets.TARGETS]
    found = grid.grid(findings)
    assert grid.unasked(found) == 0
    assert list(grid.differences(found)) == []
    assert not any("/" in finding.witness + finding.source for finding in findings)


def test_without_zig_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(targets, "find_spec", lambda name: None)
    with pytest.raises(WitnessError, match=r"pip install 'runstate-abi\[cross\]'"):
        list(targets.asked_of_zig())
