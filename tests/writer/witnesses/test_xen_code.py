"""The judge of Xen's writer, without a Xen: one of our own, linked as xen-syms is, good and broken.

tests/writer/witnesses/test_shipped_kernels.py asks Debian's.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from runstate_abi.layouts.model import WitnessError
from runstate_abi.writer.rulebook.requests import parse
from runstate_abi.writer.rules import PROFILE, judge

SOURCE = Path(__file__).parents[2] / "data" / "judge" / "xen_writer.c"
# Xen's own addresses are in the high half.
FLAGS = (
    *("-m64", "-O2", "-g", "-mcmodel=kernel", "-fno-pic", "-mgeneral-regs-only", "-ffreestanding"),
    *("-fcf-protection=none", "-fno-stack-protector", "-nostdlib", "-static", "-no-pie"),
    *("-fno-tree-loop-distribute-patterns", "-Wl,-e,update_runstate_area"),
    *("-Wl,-Ttext=0xffff82d040200000", "-Wl,--build-id=none"),
)
REQUESTS = [
    parse(f"{abi}@{offset}{flag}{scenario}")
    for abi in ("native", "compat")
    for offset in (0, 16, 256, 3840, 4072)
    for flag in ("", ",flag")
    for scenario in ("", ",hvm")
]


@pytest.fixture(scope="module")
def xen(tmp_path_factory):
    """Return a function (*defines, profile, changed source) -> the XenWriter of our own Xen."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc: not installed")
    pytest.importorskip("unicorn")
    pytest.importorskip("drgn")
    from runstate_abi.writer.witnesses.shipped import open_code, open_types
    from runstate_abi.writer.witnesses.xen_code import XenWriter

    folder = tmp_path_factory.mktemp("xen")

    def open_(*defines, profile="xen-va", old="", new=""):
        source, output = folder / "xen_writer.c", folder / "-".join(("xen", *defines))
        text = SOURCE.read_text()
        assert old in text
        source.write_text(text.replace(old, new))
        words = [*FLAGS, *(f"-D{name}" for name in defines), source, "-o", output]
        subprocess.run(["gcc", *words], check=True)
        file = open_code(str(output))
        return XenWriter(file, open_types(file, ""), physical=profile == "xen-phys")

    return open_


def asked_and_broken(writer, profile):
    seen = [writer.run(asked) for asked in REQUESTS if writer.takes(asked)]
    rules = {v.rule for one in seen for v in judge(one.book(), PROFILE[profile])}
    return len(seen), rules


@pytest.mark.parametrize(("profile", "asked"), [("xen-va", 40), ("xen-phys", 16)])
def test_a_good_xen_is_right(xen, profile, asked):
    writer = xen(profile=profile)
    assert asked_and_broken(writer, profile) == (asked, set())
    assert writer.used == (("copy_to_user_hvm",) if profile == "xen-va" else ())


BROKEN = {
    "NO_FLAG": {"set-first", "window"},
    "NO_CLEAR": {"clear-last", "final"},
    "ALWAYS_FLAG": {"no-flag"},
    "CLEAR_WITH_BODY": {"window"},
    "ONE_BYTE_LESS": {"complete", "final"},
    "STORES_IN_XEN": {"calls"},
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("profile", ["xen-va", "xen-phys"])
def test_a_broken_xen_breaks_these_rules_and_no_other(xen, name, profile):
    # Xen flags every update of a physical area, whether asked or not.
    expected = set() if (name, profile) == ("ALWAYS_FLAG", "xen-phys") else BROKEN[name]
    assert asked_and_broken(xen(name, profile=profile), profile)[1] == expected


def test_an_assertion_that_fails_is_an_update_that_does_not_end(xen):
    old = "#ifdef ALWAYS_FLAG"
    seen = xen(old=old, new=f"__builtin_trap();\n{old}").run(REQUESTS[0])
    assert [one.rule for one in judge(seen.book(), PROFILE["xen-va"])] == ["ends"]
    assert "ud2" in seen.ended


REFUSED = {
    "another name of the function": (
        "update_runstate_area(struct",
        "update_area(struct",
        "no func",
    ),
    "no cpu_info": ("cpu_info", "cpu_news", "no struct cpu_info"),
    "a member that is not there": ("vm_assist", "assist", "vm_assist"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_xen_that_cannot_be_judged_has_a_reason(xen, case):
    old, new, why = REFUSED[case]
    with pytest.raises(WitnessError, match=why):
        xen(old=old, new=new).run(REQUESTS[0])
