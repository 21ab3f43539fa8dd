"""Golden files: a change is a difference, and a waiver has a reason and a last day."""

import datetime
import os

import pytest

from runstate_abi.layouts.findings import Finding, exit_code
from runstate_abi.layouts.model import Difference, WitnessError
from runstate_abi.layouts.structs.runstate import COMPAT, NATIVE
from runstate_abi.tools.check import goldens

SEEN = Finding("btf", "vmlinux", "x86_64", found=(NATIVE,), compared=13)
WRONG = Difference("size-mismatch", NATIVE.name, "", "x86_64", "48", "56", "vmlinux")


@pytest.fixture
def golden(tmp_path):
    """The path of a golden file of SEEN, and a way to change its text."""
    path = tmp_path / "golden.txt"
    goldens.settled([SEEN], None, str(path))
    return path


def settled(path, *findings):
    return goldens.settled(list(findings), str(path), None)


def test_it_is_text_that_a_person_can_read(golden):
    assert golden.read_text().splitlines()[3:] == [
        "btf x86_64 vcpu_runstate_info size 0x30 align 8",
        "btf x86_64 vcpu_runstate_info.state 0x00 1x4 signed",
        "btf x86_64 vcpu_runstate_info.state_entry_time 0x08 1x8 unsigned",
        "btf x86_64 vcpu_runstate_info.time 0x10 4x8 unsigned",
    ]


def test_a_golden_file_that_is_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(WitnessError, match="pipe: not a file of at most"):
        settled(tmp_path / "pipe", SEEN)


def test_a_member_of_another_kind_is_seen():
    pointer = NATIVE.rows[3]._replace(type=NATIVE.rows[3].type._replace(kind="pointer"))
    layout = NATIVE._replace(rows=(*NATIVE.rows[:3], pointer))
    assert str(goldens.seen_lines([SEEN._replace(found=(layout,))])[-1]).endswith("4x8 pointer")


def test_the_same_is_equal(golden):
    findings = settled(golden, SEEN)
    assert (findings[-1].witness, findings[-1].compared) == ("golden", 4)
    assert exit_code(findings) == 0


def edited(path, old, new):
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("0x10 4x8", "0x18 4x8", "spec=0x18 4x8 unsigned seen=0x10 4x8 unsigned"),
        ("btf x86_64 vcpu_runstate_info.time 0x10 4x8 unsigned\n", "", "spec=absent seen=0x10 4x8"),
        (
            "btf x86_64 vcpu_runstate_info.time",
            "btf x86_64 vcpu_runstate_info.gone 0x30 1x8\nbtf x86_64 vcpu_runstate_info.time",
            "spec=0x30 1x8 seen=absent",
        ),
    ],
)
def test_a_line_that_changed_went_or_came_differs(golden, old, new, line):
    edited(golden, old, new)
    findings = settled(golden, SEEN)
    (difference,) = findings[-1].differences
    assert difference.kind == "golden-mismatch"
    assert line in str(difference)
    assert exit_code(findings) == 1


def test_a_witness_that_is_in_the_file_and_was_not_asked_fails(golden):
    findings = settled(golden, SEEN._replace(found=()))
    assert [(i.what, i.fails) for i in findings[-1].not_checked] == [("golden btf x86_64", True)]
    assert exit_code(findings) == 3


def test_a_witness_that_the_file_does_not_know_is_said(golden):
    other = Finding("gcc", "gcc", "x86_64", found=(COMPAT,), compared=14)
    findings = settled(golden, SEEN, other)
    assert [(i.what, i.fails) for i in findings[-1].not_checked] == [("cc x86_64", False)]
    assert exit_code(findings) == 0


def days(number):
    return datetime.date.today() + datetime.timedelta(days=number)


def waive(path, text):
    path.write_text(path.read_text() + text + "\n")


def test_a_waiver_lets_its_difference_pass_and_is_said(golden):
    waive(golden, f"waive size-mismatch vcpu_runstate_info [x86_64] until {days(0)}: known")
    findings = settled(golden, SEEN._replace(differences=(WRONG,)))
    assert findings[0].differences == ()
    (item,) = findings[0].not_checked
    assert (item.what, item.why) == (str(WRONG), f"waived until {days(0)}: known")
    assert exit_code(findings) == 0


def test_a_waiver_covers_nothing_else(golden):
    waive(golden, f"waive size-mismatch vcpu_runstate_info [i386] until {days(9)}: known")
    findings = settled(golden, SEEN._replace(differences=(WRONG,)))
    assert exit_code(findings) == 1
    assert findings[-1].notes == ("waives nothing: size-mismatch vcpu_runstate_info [i386]",)


def test_a_waiver_that_expired_waives_nothing_and_says_so(golden):
    waive(golden, f"waive size-mismatch vcpu_runstate_info [x86_64] until {days(-1)}: known")
    findings = settled(golden, SEEN._replace(differences=(WRONG,)))
    assert exit_code(findings) == 1
    assert findings[-1].notes[0].startswith(f"expired on {days(-1)}: the waiver of size-mismatch")


def test_writing_again_keeps_the_waivers(golden, tmp_path):
    waive(golden, "waive size-mismatch vcpu_runstate_info [x86_64] until 2099-01-01: known")
    goldens.settled([SEEN], str(golden), str(golden))
    assert golden.read_text().endswith("[x86_64] until 2099-01-01: known\n")


MALFORMED = {
    "waive size-mismatch x [y] until 2027-01-01": "a waiver needs a reason",
    "waive size-mismatch x [y] until 2027-01-01:  ": "a waiver needs a reason",
    "waive size-mismatch x [y]: known": "a waiver needs a day",
    "waive size-mismatch x [y] until 2027-02-30: known": "2027-02-30 is not a day",
    "waive everything": "not a waiver",
    "three words only": "not a golden line",
}


@pytest.mark.parametrize("line", MALFORMED)
def test_a_malformed_line_is_named_by_its_number(golden, line):
    waive(golden, line)
    with pytest.raises(WitnessError, match=rf"golden\.txt:8: {MALFORMED[line]}"):
        settled(golden, SEEN)


@pytest.mark.parametrize("content", [b"", b"x86", b"\xff\xfe", b"# runstate golden 2\n"])
def test_another_file_is_refused(tmp_path, content):
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(WitnessError, match="not a golden file"):
        settled(path, SEEN)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(WitnessError, match="nowhere: No such file"):
        settled(tmp_path / "nowhere", SEEN)
    with pytest.raises(WitnessError, match="cannot be written: No such file"):
        goldens.settled([SEEN], None, str(tmp_path / "no" / "where"))


def test_a_golden_that_compares_nothing_is_no_pass(golden):
    golden.write_text(golden.read_text().splitlines()[0] + "\n")
    findings = settled(golden, SEEN)
    assert findings[-1].compared == 0
    assert exit_code(findings) == 3
