"""The lines that differences lead to are the lines that say it."""

from pathlib import Path

import pytest

from runstate_abi.layouts import invariants, runstate
from runstate_abi.layouts.model import Difference
from runstate_abi.tools.reports.claims import place_of

NATIVE, COMPAT = "vcpu_runstate_info", "compat_vcpu_runstate_info"
# (kind, struct, member): words of the line
LINES = {
    ("offset-mismatch", NATIVE, "time"): 'Field(0x10, "time", UINT64, 4),',
    ("offset-mismatch", COMPAT, "time"): 'Field(0x0c, "time", UINT64, 4),',
    ("size-mismatch", NATIVE, ""): f'NATIVE = Layout("{NATIVE}", "x86_64", size=0x30, alignment=8,',
    ("size-mismatch", COMPAT, ""): f'COMPAT = Layout("{COMPAT}", "x86_64", size=0x2c, alignment=1,',
    ("condition-false", "A3", ""): f'Condition("A3", "sizeof(struct {COMPAT}) != 0x2c", 0, False,',
}


@pytest.mark.parametrize("case", LINES)
def test_the_line_says_it(case):
    kind, struct, member = case
    place = place_of(Difference(kind, struct, member, "x86_64", "", "", ""))
    module = invariants if kind == "condition-false" else runstate
    assert Path(module.__file__).as_posix().endswith(place.file)
    line = Path(module.__file__).read_text().splitlines()[place.line - 1]
    assert " ".join(line.split()).startswith(LINES[case])


def test_another_abis_claim_is_its_row():
    place = place_of(Difference("size-mismatch", "vcpu_runstate_info", "", "i386", "", "", ""))
    line = Path(runstate.__file__).read_text().splitlines()[place.line - 1]
    assert line.lstrip().startswith('"i386":')


def test_a_member_that_no_table_has_leads_to_the_table():
    seen = Difference("extra-member", "vcpu_runstate_info", "nosuch", "x86_64", "", "", "")
    line = Path(runstate.__file__).read_text().splitlines()[place_of(seen).line - 1]
    assert line.startswith("NATIVE = ")
