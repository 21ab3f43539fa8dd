"""A Layout must tile its struct, and compare() must see every way two layouts can disagree."""

import pytest

from runstate_abi.layouts.model import (
    Field,
    Layout,
    LayoutError,
    Member,
    Scalar,
    compare,
    differences,
    tiled,
)
from runstate_abi.layouts.structs.runstate import BYTE, COMPAT, INT, NATIVE, UINT64

U32 = Scalar("u32", 4, signed=False)
INT_0, PAD_4, U64_8 = Field(0, "a", INT), Field(4, "pad_04", BYTE, 4, True), Field(8, "b", UINT64)

ACCEPTED = {
    "one member": (4, 4, (INT_0,)),
    "padding is a row": (16, 8, (INT_0, PAD_4, U64_8)),
    "packed": (12, 1, (INT_0, Field(4, "b", UINT64))),
    "an unknown alignment": (12, None, (INT_0, Field(4, "b", UINT64))),
    "an array": (32, 8, (Field(0, "time", UINT64, 4),)),
}
REJECTED = {
    "a gap": (16, 8, (INT_0, U64_8), "b: at offset 0x8, but the row before it ends at 0x4"),
    "an overlap": (8, 4, (INT_0, Field(2, "b", INT)), "b: at offset 0x2, but .* ends at 0x4"),
    "rows out of order": (8, 4, (Field(4, "b", INT), INT_0), "b: at offset 0x4"),
    "an end not reached": (16, 8, (INT_0, PAD_4), "the rows end at 0x8, but the struct ends at"),
    "an end overrun": (4, 4, (INT_0, PAD_4), "the rows end at 0x8, but the struct ends at 0x4"),
    "two rows of one name": (8, 4, (INT_0, Field(4, "a", INT)), "a: two rows have this name"),
    "padding with _": (4, 4, (Field(0, "_pad", BYTE, 4, True),), "_pad: the name of padding"),
    "no name": (4, 4, (Field(0, "", BYTE, 4),), "a row without a name"),
    "an empty row": (4, 4, (INT_0, Field(4, "b", INT, 0)), "b: a row of 0 bytes"),
    "an alignment of 0": (12, 0, (INT_0, Field(4, "b", UINT64)), "0 is not a power of two"),
    "an alignment of 3": (12, 3, (INT_0, Field(4, "b", UINT64)), "3 is not a power of two"),
    "a ragged end": (12, 8, (INT_0, Field(4, "b", UINT64)), "not a multiple of its alignment 8"),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_a_layout_that_tiles_its_struct_is_accepted(case):
    size, alignment, rows = ACCEPTED[case]
    assert Layout("s", "x86_64", size, alignment, rows).rows == rows


@pytest.mark.parametrize("case", REJECTED)
def test_a_layout_that_contradicts_itself_is_refused(case):
    size, alignment, rows, message = REJECTED[case]
    with pytest.raises(LayoutError, match=message):
        Layout("s", "x86_64", size, alignment, rows)


def test_a_changed_layout_is_checked_again():
    assert COMPAT._replace(alignment=4).alignment == 4
    with pytest.raises(LayoutError, match="the rows end at 0x2c"):
        COMPAT._replace(size=48)


def test_holes_become_padding_rows_named_after_their_offset():
    layout = tiled("s", "x86_64", 0x30, 8, (INT_0, Field(0x20, "b", UINT64)))
    assert [(row.name, row.size) for row in layout.padding] == [("pad_04", 0x1C), ("pad_28", 8)]
    assert {row.type for row in layout.padding} == {NATIVE.padding[0].type}


def test_a_member_is_one_unless_it_is_an_array():
    assert [one.count for one in (Member("one", UINT64), Member("four", UINT64, 4))] == [1, 4]


def test_elements_are_numbers_and_runs_of_padding():
    assert [(one.name, one.number, one.offset, one.size) for one in NATIVE.elements()] == [
        ("state", 0, 0, 4),
        (NATIVE.padding[0].name, 0, 4, 4),
        ("state_entry_time", 0, 8, 8),
        *((f"time[{number}]", number, 16 + 8 * number, 8) for number in range(4)),
    ]
    assert [one.end for one in NATIVE.elements()] == [4, 8, 16, 24, 32, 40, 48]


def test_offsetof_takes_a_member_or_an_element():
    assert NATIVE.offsetof("time") == 16
    assert NATIVE.offsetof("time[0]") == 16
    assert NATIVE.offsetof("time[3]") == 40
    assert COMPAT.offsetof("time[3]") == 36


@pytest.mark.parametrize("path", ["nosuch", "time[4]", "time[-1]", "nosuch[0]"])
def test_offsetof_refuses_what_is_not_there(path):
    with pytest.raises(KeyError):
        NATIVE.offsetof(path)


def test_a_layout_equals_itself_and_every_fact_was_compared():
    result = compare(NATIVE, NATIVE, "here")
    assert result.differences == ()
    assert result.compared == 2 + 4 * 3  # size and alignment; four facts for each of three members


def _with(layout, member, **changes):
    rows = [row._replace(**changes) if row.name == member else row for row in layout.members]
    return tiled(layout.name, layout.abi, layout.size, layout.alignment, rows)


EQUAL = {
    "an explicit int where the hole was": tiled(
        NATIVE.name, "x86_64", 48, 8, (*NATIVE.members, Field(4, "pad", INT))
    ),
    "a pad with a name that begins with _": tiled(
        NATIVE.name, "x86_64", 48, 8, (*NATIVE.members, Field(4, "__pad", INT))
    ),
    "two pads in the hole": tiled(
        NATIVE.name,
        "x86_64",
        48,
        8,
        (*NATIVE.members, Field(4, "a", BYTE), Field(5, "b", BYTE, 3)),
    ),
    "an unknown alignment": NATIVE._replace(alignment=None),
    "other type names": _with(NATIVE, "time", type=Scalar("unsigned long long", 8, False)),
    "an unknown signedness": _with(NATIVE, "state", type=Scalar("int", 4, None)),
}
DIFFERENT = {
    "size": (COMPAT._replace(name=NATIVE.name), "size-mismatch vcpu_runstate_info [x86_64]"),
    "offset": (COMPAT._replace(name=NATIVE.name), "offset-mismatch vcpu_runstate_info.time ["),
    "alignment": (NATIVE._replace(alignment=4), "alignment-mismatch vcpu_runstate_info ["),
    "signedness": (
        _with(NATIVE, "state", type=U32),
        "signedness-mismatch vcpu_runstate_info.state [x86_64] spec=signed seen=unsigned",
    ),
    "count": (
        _with(NATIVE, "time", count=3),
        "count-mismatch vcpu_runstate_info.time [x86_64] spec=4 seen=3",
    ),
    "element size": (
        _with(NATIVE, "time", type=U32, count=8),
        "element-size-mismatch vcpu_runstate_info.time [x86_64] spec=8 seen=4",
    ),
    "a floating type": (
        _with(NATIVE, "time", type=Scalar("double", 8, None, kind="floating")),
        "type-mismatch vcpu_runstate_info.time [x86_64] spec=unsigned seen=floating",
    ),
    "a missing member": (
        tiled(NATIVE.name, "x86_64", 48, 8, NATIVE.members[:2]),
        "missing-member vcpu_runstate_info.time [x86_64]",
    ),
    "a renamed member": (
        _with(NATIVE, "time", name="times"),
        "extra-member vcpu_runstate_info.times [x86_64]",
    ),
    "a member beyond the end": (
        tiled(NATIVE.name, "x86_64", 56, 8, (*NATIVE.members, Field(48, "more", UINT64))),
        "extra-member vcpu_runstate_info.more [x86_64] spec=absent seen=offset 48 size 8",
    ),
}


@pytest.mark.parametrize("case", EQUAL)
def test_equal_bytes_are_equal(case):
    assert differences(NATIVE, EQUAL[case], "here") == ()


@pytest.mark.parametrize("case", DIFFERENT)
def test_a_difference_is_one_line_that_names_it(case):
    seen, line = DIFFERENT[case]
    lines = [str(difference) for difference in differences(NATIVE, seen, "gcc 12.2, file.o")]
    assert any(text.startswith(line) for text in lines)
    assert all(text.endswith("(gcc 12.2, file.o)") and "\n" not in text for text in lines)


@pytest.mark.parametrize(
    ("case", "compared"),
    [("a missing member", 11), ("a member beyond the end", 15), ("a renamed member", 12)],
)
def test_a_member_that_only_one_of_them_has_is_one_fact(case, compared):
    """Of 14 facts four are about time[]."""
    assert compare(NATIVE, NATIVE, "x").compared == 14
    assert compare(NATIVE, DIFFERENT[case][0], "x").compared == compared


def test_an_integer_in_place_of_a_floating_type_is_told_as_well():
    floating = _with(NATIVE, "time", type=Scalar("double", 8, None, kind="floating"))
    result = compare(floating, NATIVE, "x")
    assert [str(d) for d in result.differences] == [
        "type-mismatch vcpu_runstate_info.time [x86_64] spec=floating seen=unsigned (x)"
    ]
    assert compare(floating, floating, "x") == compare(floating, floating, "x")._replace(
        differences=(), unknown=()
    )


@pytest.mark.parametrize(
    "kind",
    ["pointer", "struct", "union", "floating", "no number", "big-endian", "big-endian struct"],
)
def test_what_is_no_little_endian_integer_differs_from_one_and_is_equal_to_itself(kind):
    other = _with(NATIVE, "time", type=Scalar("x", 8, None, kind=kind))
    unknown = _with(NATIVE, "time", type=Scalar("x", 8, None))
    for claimed in (NATIVE, unknown):
        (there,), (back,) = differences(claimed, other, "x"), differences(other, claimed, "x")
        assert (there.kind, there.seen, back.spec) == ("type-mismatch", kind, kind)
    assert compare(other, other, "x").compared == 14
    assert differences(other, other, "x") == ()


def test_an_integer_of_unknown_sign_is_no_mismatch_and_not_recorded():
    unsaid = _with(NATIVE, "time", type=Scalar("long", 8, None))
    result = compare(NATIVE, unsaid, "x")
    assert (result.compared, result.differences) == (13, ())
    assert result.unknown == ("signedness time",)


def test_what_a_witness_does_not_record_is_said():
    result = compare(NATIVE, EQUAL["an unknown alignment"], "here")
    assert result.unknown == ("alignment",)
    assert compare(NATIVE, EQUAL["an unknown signedness"], "here").unknown == ("signedness state",)
