"""The matrix as values: a cell is the claim and whoever spoke to it; disagreement is marked."""

from runstate_abi.layouts.abi import ABIS
from runstate_abi.layouts.findings import Finding
from runstate_abi.layouts.model import Layout, Scalar
from runstate_abi.layouts.structs.runstate import CLAIMS, NATIVE
from runstate_abi.tools.compare import grid, matrix


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
