"""What moved between two layouts, by how much, and why."""

import pytest

from runstate_abi.layouts.abi import ABI, c_layout
from runstate_abi.layouts.model import Field, Member, Scalar, tiled
from runstate_abi.layouts.structs.runstate import CLAIMS, COMPAT, MEMBERS, NATIVE
from runstate_abi.tools.compare import shifts

U32, U64 = Scalar("uint32_t", 4, False), Scalar("uint64_t", 8, False)


def by_name(first, second):
    return {shift.name: shift for shift in shifts.shifts(first, second)}


def test_native_to_compat_is_four_bytes_of_padding_and_what_follows():
    found = by_name(NATIVE, COMPAT)
    assert [(name, shift.bytes) for name, shift in found.items()] == [
        ("state", 0),
        ("state_entry_time", -4),
        ("time", -4),
        (shifts.END, -4),
    ]
    rule = "4 bytes of padding before it and then none: 64 bits aligned to 8, packed"
    assert found["state_entry_time"].rule == rule
    assert found["time"].rule == "moves with state_entry_time"
    assert found[shifts.END].rule == "moves with time"


LAYOUTS = (
    *(claims.native for claims in CLAIMS.values()),
    *(claims.compat_kvm for claims in CLAIMS.values()),
    c_layout("s", (*MEMBERS, Member("tail", U32)), ABI["x86_64"]),
    c_layout("s", (Member("state", U64), *MEMBERS[1:]), ABI["i386"]),
    c_layout("s", (MEMBERS[0], MEMBERS[2], MEMBERS[1]), ABI["x86_64"]),
    c_layout("s", (MEMBERS[0], Member("new", U32), *MEMBERS[1:]), ABI["i386"]),
)


@pytest.mark.parametrize("first", LAYOUTS)
def test_the_causes_of_every_shift_add_up_to_it(first):
    for second in LAYOUTS:
        for shift in shifts.shifts(first, second):
            if shift.bytes is not None:
                assert sum(cause.bytes for cause in shift.causes) == shift.bytes


def test_a_member_that_grew_moves_what_follows():
    first = c_layout("s", (Member("a", U32), Member("b", U32)), ABI["i386"])
    second = c_layout("s", (Member("a", U64), Member("b", U32)), ABI["i386"])
    assert by_name(first, second)["b"].rule == "a is 8 bytes long and not 4"


def test_padding_at_the_end_is_named_with_the_alignment_that_asks_for_it():
    members = (*MEMBERS, Member("tail", U32))
    first, second = (c_layout("s", members, ABI[abi]) for abi in ("x86_64", "i386"))
    rule = "-4: moves with tail; -4: 4 bytes of padding behind the last member and then none:"
    assert by_name(first, second)[shifts.END].rule.startswith(rule)


def test_a_member_in_the_others_hole_is_the_same_bytes():
    named = tiled("s", "x86_64", 48, 8, (*NATIVE.members, Field(4, "pad", U32)))
    pair = shifts.pair(NATIVE, named, "b")
    assert pair.differences == ()
    assert by_name(NATIVE, named)["pad"].rule == "padding in the first"


def test_a_member_that_only_one_has_is_said():
    more = tiled("s", "x86_64", 56, 8, (*NATIVE.members, Field(48, "more", U64)))
    assert by_name(NATIVE, more)["more"].rule == "not in the first"
    assert [d.kind for d in shifts.pair(NATIVE, more, "b").differences] == [
        "size-mismatch",
        "extra-member",
    ]
