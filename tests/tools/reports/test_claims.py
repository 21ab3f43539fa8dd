"""The lines that differences lead to are the lines that say it."""

from pathlib import Path

import pytest

from runstate_abi.layouts import conditions
from runstate_abi.layouts.model import Difference
from runstate_abi.layouts.structs import runstate
from runstate_abi.tools.reports.claims import line_in, place_of

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
    module = conditions if kind == "condition-false" else runstate
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


HEADER = """#include "time.h"
/* struct mine { is what the hypervisor writes: state, time */
struct other { int state; };
struct mine;  // struct mine {
int look(struct mine *at) {
}
struct mine
{
    int state; /* time
       time */
    unsigned long long state_entry_time;
    struct { int time_of; } inner;
    unsigned long long time[5];
};
typedef struct {
    unsigned state;
    unsigned long long time[4];
} __attribute__((packed)) mine_t;
struct last { int state_entry_time; };
"""
NAMES = ((NATIVE, "struct mine"), (COMPAT, "mine_t"))


@pytest.mark.parametrize(
    ("struct", "member", "line"),
    [
        (NATIVE, "", 7),
        (NATIVE, "state", 9),
        (NATIVE, "state_entry_time", 11),
        (NATIVE, "time", 13),
        (NATIVE, "nosuch", 7),
        (COMPAT, "", 15),
        (COMPAT, "state", 16),
        (COMPAT, "time", 17),
        (COMPAT, "state_entry_time", 15),  # it is missing; another struct has one
    ],
)
def test_a_headers_line_is_the_members_own_or_the_structs(tmp_path, struct, member, line):
    path = tmp_path / "mine.h"
    path.write_text(HEADER)
    seen = Difference("size-mismatch", struct, member, "x86_64", "", "", "")
    assert line_in(str(path), seen, NAMES) == line


def test_a_condition_is_at_the_first_struct_that_it_names(tmp_path):
    path = tmp_path / "mine.h"
    path.write_text(HEADER)
    text = f"BUILD_BUG_ON(sizeof(struct {COMPAT}) != 0x2c)"
    seen = Difference("condition-false", "A3", "", "x86_64", text, "48 != 0x2c", "")
    assert line_in(str(path), seen, NAMES) == 15


def test_a_struct_that_another_file_defines_is_where_it_is_mentioned(tmp_path):
    path = tmp_path / "mine.h"
    path.write_text('#include "xen.h"\nextern struct mine area;\n')
    for member in ("", "time"):
        seen = Difference("offset-mismatch", NATIVE, member, "x86_64", "", "", "")
        assert line_in(str(path), seen, NAMES) == 2


def test_a_golden_files_line_is_the_members_own(tmp_path):
    path = tmp_path / "golden.txt"
    path.write_text(f"# first\ngcc x86_64 {NATIVE} size 0x30\ngcc x86_64 {NATIVE}.time 0x10 4x8\n")
    seen = Difference("golden-mismatch", NATIVE, "time", "x86_64", "", "", "")
    assert [line_in(str(path), seen._replace(member=m)) for m in ("", "time")] == [2, 3]


def test_a_binary_has_one_line(tmp_path):
    path = tmp_path / "kvm.ko"
    path.write_bytes(b"\x7fELF\xff\xfe" + b"vcpu_runstate_info\n" * 3)
    assert line_in(str(path), Difference("", NATIVE, "", "", "", "", "")) == 1
    assert line_in(str(tmp_path / "nowhere"), Difference("", NATIVE, "", "", "", "", "")) == 1
