"""What -v says: every fact that a witness stated, every condition, and what it did not say."""

import pytest

from runstate_abi.layouts.abi import X86_64
from runstate_abi.layouts.conditions import CONDITIONS, Evaluation, evaluate_all
from runstate_abi.layouts.findings import NotChecked, unchecked
from runstate_abi.layouts.model import Layouts
from runstate_abi.layouts.structs.runstate import COMPAT, NATIVE
from runstate_abi.layouts.witnesses.survey import holding, judged
from runstate_abi.tools.check import goldens

CLAIMS = {NATIVE.name: NATIVE, COMPAT.name: COMPAT}


@pytest.fixture
def finding():
    """Both structs from a witness that knows no alignment, and the conditions on them."""
    seen = Layouts("btf", "kvm.ko", (NATIVE._replace(alignment=None), COMPAT))
    return judged(
        holding("btf", seen, CLAIMS, X86_64), evaluate_all(CONDITIONS, CLAIMS, "x86_64", {})
    )


def test_every_member_is_said_with_what_was_seen(finding):
    lines = list(goldens.told(finding))
    assert lines[0] == "asked btf [x86_64]: 27 facts, 16 conditions (kvm.ko)"
    assert "  vcpu_runstate_info size 0x30" in lines
    assert "  vcpu_runstate_info.time 0x10 4x8 unsigned" in lines
    assert "  compat_vcpu_runstate_info size 0x2c align 1" in lines
    assert "  compat_vcpu_runstate_info.state 0x00 1x4 signed" in lines
    assert "  not recorded: alignment" in lines


def test_every_condition_is_said_with_its_numbers(finding):
    lines = list(goldens.told(finding))
    assert "  A3 holds (44 != 0x2c is false): the compat struct is 44 bytes" in lines
    assert sum(line.startswith("  A") for line in lines) == 16
    assert any(line.startswith("  A8 is not known (no struct kvm_vcpu_xen") for line in lines)


@pytest.mark.parametrize(
    ("evaluation", "text"),
    [
        (Evaluation(CONDITIONS[2], False, "48 != 0x2c"), "A3 does not hold (48 != 0x2c is true)"),
        (Evaluation(CONDITIONS[2], True, "asserted"), "A3 holds (asserted)"),
    ],
)
def test_a_condition_that_does_not_hold_is_said_so(finding, evaluation, text):
    lines = list(goldens.told(finding._replace(evaluations=(evaluation,))))
    assert f"  {text}: the compat struct is 44 bytes" in lines


def test_what_was_not_checked_is_said():
    assert list(goldens.told(unchecked("clang", "", "not installed", fails=False))) == [
        "asked clang: 0 facts, 0 conditions",
        "  not asked: clang: not installed",
    ]


def test_it_is_talk(finding, capsys):
    goldens.say([finding, finding._replace(not_checked=(NotChecked("x", "y", True),))])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert all(line.startswith("runstate: ") for line in captured.err.splitlines())
    assert captured.err.count("runstate: asked btf") == 2
