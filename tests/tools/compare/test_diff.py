"""runstate diff: claims, compilers and kernels as sides; and its exit codes."""

import io
import json
import sys

import pytest

from runstate_abi.layouts.abi import ABIS
from runstate_abi.tools.compare import diff


@pytest.mark.parametrize("abi", [abi.name for abi in ABIS])
def test_a_layout_is_equal_to_itself_whatever_the_abi(abi, capsys):
    assert diff.main([f"native@{abi}", f"native@{abi}"]) == 0
    assert "equal: 14 facts compared, 0 differ" in capsys.readouterr().out


def test_arm64_has_the_native_layout_and_i386_the_compat_one(capsys):
    assert diff.main(["native@arm64", "native"]) == 0
    assert diff.main(["native@i386", "xen-compat"]) == 0
    assert diff.main(["native@i386", "native"]) == 1


def test_an_alignment_that_differs_has_its_rule_too(capsys):
    def rule(first, second):
        diff.main([first, second])
        (row,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("_Alignof")]
        return " ".join(row.split())

    assert rule("native@i386", "compat") == "_Alignof 4 1 members aligned to 4 at most, packed"
    assert rule("native", "native@i386") == (
        "_Alignof 8 4 members aligned to 8 at most, members aligned to 4 at most"
    )
    assert rule("native", "native") == "_Alignof 8 8"


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


@pytest.mark.x86
@pytest.mark.needs("gcc")
def test_compilers_are_sides_too(capsys):
    assert diff.main(["native", "cc:gcc -m64"]) == 0
    assert diff.main(["native", "cc:gcc -m32"]) == 1
    assert diff.main(["native", "cc:gcc -m32 -malign-double"]) == 0


@pytest.fixture
def piped(monkeypatch):
    """Return a function: these bytes are what comes through standard input."""

    def piped(content):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return piped


def test_standard_input_is_a_side(data, piped, capsys):
    blob = (data / "btf" / XEN_AND_KVM[0]).read_bytes()
    for sides, title in ((("compat", "-"), "+++"), (("-", "compat"), "---")):
        piped(blob)
        assert diff.main([*sides]) == 0
        assert f"{title} standard input: struct compat_" in capsys.readouterr().out


def test_what_cannot_be_read_from_standard_input_is_called_so(piped):
    from runstate_abi.layouts.model import WitnessError

    piped(b"no kernel at all")
    with pytest.raises(WitnessError, match=r"^standard input: "):
        diff.main(["native", "-"])


@pytest.mark.parametrize("words", [["-", "-"], ["-", "native", "--btf-base", "-"]])
def test_standard_input_is_one_file(words, capsys):
    with pytest.raises(SystemExit) as end:
        diff.main(words)
    assert end.value.code == 2
    assert "standard input" in capsys.readouterr().err
