"""runstate diff: what moved and why, for claims, compilers and kernels; and its exit codes."""

import json
import shutil

import pytest

from runstate_abi.layouts.abi import ABI, ABIS, Member, c_layout
from runstate_abi.layouts.model import Field, Scalar, tiled
from runstate_abi.layouts.runstate import CLAIMS, COMPAT, MEMBERS, NATIVE
from runstate_abi.tools import diff
from runstate_abi.tools.comparing import shifts

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


@pytest.mark.parametrize("abi", [abi.name for abi in ABIS])
def test_a_layout_is_equal_to_itself_whatever_the_abi(abi, capsys):
    assert diff.main([f"native@{abi}", f"native@{abi}"]) == 0
    assert "equal: 14 facts compared, 0 differ" in capsys.readouterr().out


def test_arm64_has_the_native_layout_and_i386_the_compat_one(capsys):
    assert diff.main(["native@arm64", "native"]) == 0
    assert diff.main(["native@i386", "xen-compat"]) == 0
    assert diff.main(["native@i386", "native"]) == 1


def test_json_has_the_shifts_their_causes_and_the_exit_code(capsys):
    assert diff.main(["native", "compat", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["schema"] == "runstate-diff/1"
    assert said["exit"] == 1
    moved = {shift["member"]: shift["shift"] for shift in said["pairs"][0]["shifts"]}
    assert moved == {"state": 0, "state_entry_time": -4, "time": -4, "(end)": -4}


def test_two_files_are_compared_struct_by_struct(data, capsys):
    blobs = [data / "btf" / name for name in XEN_AND_KVM]
    assert diff.main([str(blob) for blob in blobs]) == 0
    assert capsys.readouterr().out.count("equal: 13 facts compared") == 2


XEN_AND_KVM = ("xen-syms-from-dwarf.R.btf", "6.12.107+deb13-amd64-kvm.R.btf")


def test_a_claim_and_a_file_are_compared_by_name(data, capsys):
    xen = str(data / "btf" / XEN_AND_KVM[0])
    assert diff.main(["compat", xen]) == 0
    assert "struct vcpu_runstate_info " not in capsys.readouterr().out


def test_kernels_of_two_machines_differ(data, capsys):
    i386, arm = (str(data / "btf" / f"{x}-from-dwarf.R.btf") for x in ("i386", "armmp"))
    assert diff.main([i386, arm]) == 1
    assert "64 bits aligned to 4, 64 bits aligned to 8" in capsys.readouterr().out


def test_a_struct_that_one_file_lacks_is_not_checked_unless_that_is_allowed(data, capsys):
    arm, kvm = (
        str(data / "btf" / f"{x}.R.btf") for x in ("armmp-from-dwarf", "6.12.107+deb13-amd64-kvm")
    )
    assert diff.main([arm, kvm]) == 3
    said = capsys.readouterr()
    assert f"could not check struct compat_vcpu_runstate_info: not in {arm}" in said.err
    assert diff.main([arm, kvm, "--allow-missing", "compat_vcpu_runstate_info"]) == 0


def test_nothing_to_compare_is_not_equal(data, capsys):
    assert diff.main(["compat", str(data / "btf" / "armmp-from-dwarf.R.btf")]) == 3


@pytest.mark.parametrize("word", ["native@vax", "nosuchfile"])
def test_what_is_no_side_is_refused(word):
    from runstate_abi.layouts.model import WitnessError

    with pytest.raises((SystemExit, WitnessError)):
        diff.main([word, "native"])


def test_compilers_are_sides_too(capsys):
    if shutil.which("gcc") is None:
        pytest.skip("gcc: not installed")
    assert diff.main(["native", "cc:gcc -m64"]) == 0
    assert diff.main(["native", "cc:gcc -m32"]) == 1
    assert diff.main(["native", "cc:gcc -m32 -malign-double"]) == 0
