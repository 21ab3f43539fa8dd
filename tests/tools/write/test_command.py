"""``runstate write``: traces, tables, memory, JSON."""

import io
import json
import re
import subprocess
import sys

import pytest

from runstate_abi.tools import cli
from runstate_abi.tools.write import written
from runstate_abi.writer.memory import Moment
from runstate_abi.writer.steps import Store
from runstate_abi.writer.variants import VARIANTS
from runstate_abi.writer.vcpu import Area

SPLIT = ["--abi", "compat", "--at", "0xc0001ff5"]
ANSWERS = {"bytes", "barriers", "canonical", "mem_sha256", "full_sha256", "epoch_sha256"}


def test_the_canonical_trace_of_a_split_compat_update(run):
    assert run(*SPLIT) == (
        0,
        "lock gpc1 irqsave\n"
        "check gpc1 len=11 -> 1\n"
        "lock gpc2\n"
        "check gpc2 len=33 -> 1\n"
        "store p2+0 1 91\n"
        "wmb\n"
        "copy p1+4085 11 0100000088776655443322\n"
        "copy p2+0 33 910101010101010101020202020202020203030303030303030404040404040404\n"
        "wmb\n"
        "store p2+0 1 11\n"
        "wmb\n"
        "dirty gfn=+1\n"
        "unlock gpc2\n"
        "dirty gfn=+0\n"
        "unlock gpc1 irqrestore\n",
        "",
    )


def test_values_are_those_that_were_given(run):
    _, out, _ = run(
        "--at", "0", "--state", "0x2", "--entry-time", "256", "--times", "1,0x2,3,4", "--fill", "00"
    )
    assert "store p1+0 4 02000000" in out
    assert "store p1+8 8 0001000000000080" in out
    assert (
        f"copy p1+16 32 {'01' + '00' * 7 + '02' + '00' * 7 + '03' + '00' * 7 + '04' + '00' * 7}"
        in out
    )


def test_the_flag_can_be_off_and_the_scheduler_can_ask(run):
    _, out, _ = run("--at", "0", "--no-update-flag", "--atomic")
    lines = out.splitlines()
    assert lines[:2] == ["irq save", "trylock gpc1 -> 1"]
    assert lines.count("wmb") == 1


def test_a_version_without_a_switch_says_that_it_flags_always(run):
    code, out, err = run("--at", "0", "--no-update-flag", "--variant", "reconciled")
    assert (code, out.count("wmb")) == (0, 3)
    assert err == "runstate write: reconciled has no switch: it flags always\n"


@pytest.mark.parametrize("name", [one.name for one in VARIANTS])
def test_every_version_can_be_written(name, run):
    code, out, _ = run("--variant", name, "--at", "256")
    assert code == 0
    assert "p1+" in out


def test_a_refused_area_is_one_line_and_exit_1(run):
    assert run("--variant", "linux-6.1", "--at", "4049") == (
        1,
        "",
        "runstate write: linux-6.1: registering the area fails with -EINVAL\n",
    )


def test_the_pre_image_on_a_32_bit_host_shows_its_leak(run):
    _, out, _ = run(*SPLIT, "--variant", "two-paths", "--host", "i386")
    assert "5afe57ac" in out


def test_the_table_has_a_row_a_step_with_the_struct_after_it(run):
    _, out, _ = run(*SPLIT, "--format", "table")
    rows = out.splitlines()
    dots = "." * 16
    assert len(rows) == 1 + 1 + 15
    assert [re.split(r"  +", rows[number]) for number in (1, 6, 8, 15)] == [
        ["0", "a5a5a5a5 a5a5a5a5a5a5a5|a5" + 4 * (" " + "a5" * 8)],
        ["5", "store p2+0 1", f"........ {dots[2:]}|91 {dots} {dots} {dots} {dots}"],
        ["7", "copy p1+4085 11", f"01000000 88776655443322|91 {dots} {dots} {dots} {dots}"],
        ["14", "dirty gfn=+0"],
    ]


def test_the_tables_header_names_what_stands_below_it(run):
    head, before, *_ = run("--at", "0xff1", "--format", "table")[1].splitlines()
    columns = [found.start() for found in re.finditer(r"\S+", head)]
    assert head.split()[2:5] == ["state", "pad_04", "state_entry_time"]
    assert [before[at - 1] + before[at] for at in columns[2:]] == [" a"] * 7


def test_a_store_of_what_was_there_already_is_seen_in_the_table(run):
    _, out, _ = run("--at", "0", "--format", "table", "--fill", "00", "--state", "0")
    row = next(line for line in out.splitlines() if "store p1+0 4" in line)
    assert "00000000 ........ ..............91" in row


def test_the_table_fits_a_wide_terminal(run):
    for at in ("0", "4081", "4095"):
        _, out, _ = run("--at", at, "--format", "table")
        assert max(map(len, out.splitlines())) <= 124


def test_a_byte_outside_the_struct_is_said_in_the_table():
    area = Area("compat", 4)
    data = b"\x07\x08\x09\x0a"
    strayed = Moment(Store(1, 46, data), bytes(46) + data, 0)
    *_, row = written.table(written.Written(area, bytes(8192), (strayed,)))
    assert row.endswith(" ............0708  outside: 090a")


def test_memory_is_shown_as_it_stands_at_a_barrier(run):
    _, out, _ = run(*SPLIT, "--until-barrier", "1")
    trace, memory = out.split("\n\n")
    assert trace.splitlines()[-1] == "wmb"
    rows = memory.splitlines()
    assert rows[0] == "memory after 6 steps, 1 barrier:"
    assert "p2+0    [91]a5" in memory
    assert memory.count("[") == 1


def test_memory_is_shown_at_the_end(run):
    _, out, _ = run("--at", "256", "--memory")
    rows = [line for line in out.splitlines() if re.match(r"p\d\+\d+ ", line)]
    assert rows == [
        "p1+240   " + " ".join(["a5"] * 16),
        "p1+256  [01 00 00 00]a5 a5 a5 a5[88 77 66 55 44 33 22 11]",
        "p1+272  [01 01 01 01 01 01 01 01 02 02 02 02 02 02 02 02]",
        "p1+288  [03 03 03 03 03 03 03 03 04 04 04 04 04 04 04 04]",
        "p1+304   " + " ".join(["a5"] * 16),
    ]


def test_the_json_has_each_step_with_its_field_and_the_struct_after_it(run):
    _, out, _ = run(*SPLIT, "--format", "json", "--memory")
    document = json.loads(out)
    assert document["variant"] == "upstream"
    assert (document["abi"], document["offset"]) == ("compat", 4085)
    assert document["steps"][4]["field"] == "update byte"
    assert document["steps"][4]["struct"][22:24] == "91"
    assert document["memory"]["p1"]["start"] == 4069
    assert set(document) > ANSWERS
    assert run(*SPLIT, "--json", "--memory")[1] == out


@pytest.mark.parametrize("barrier", ["0", "4", "-1"])
def test_a_barrier_that_is_not_there_is_wrong_usage(barrier, wrong):
    assert f"barrier {barrier}: this update has 3" in wrong(*SPLIT, "--until-barrier", barrier)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--at GPA is missing"),
        (["--at", "here"], "argument --at: here is not a number (hexadecimal needs 0x)"),
        (["--at", "-1"], "argument --at: -1 is not a 64-bit number"),
        (["--at", "0", "--variant", "linux-9"], "invalid choice: 'linux-9'"),
        (["--at", "0", "--abi", "both"], "invalid choice: 'both'"),
        (["--at", "0", "--state", "4"], "argument --state: invalid choice: "),
        (["--at", "0", "--state", "99"], "argument --state: invalid choice: "),
        (["--at", "0", "--times", "1,2,3"], "3 values, not 4"),
        (["--at", "0", "--times", "1,2,3,x"], "argument --times: x is not a number"),
        (["--at", "0", "--fill", "a"], "argument --fill: a is not hex digits"),
        (["--at", "0", "--fill", ""], "argument --fill: it is empty"),
        (["--at", "0", "--host", "i386"], "a 32-bit host has no 64-bit guests"),
    ],
)
def test_wrong_usage_names_what_is_wrong(arguments, message, wrong):
    assert message in wrong(*arguments)


def test_the_list_names_every_version_and_its_source(run):
    _, out, _ = run("--list")
    assert [line.split()[0] for line in out.splitlines()] == [one.name for one in VARIANTS]
    assert '5ec3289b31ab ("KVM: x86/xen: Compatibility fixes for shared runstate area")' in out
    listed = json.loads(run("--list", "--json")[1])["versions"]
    assert [one["name"] for one in listed] == [one.name for one in VARIANTS]
    assert listed[0]["commit"] == "30b5c851af79"


def test_a_fill_pattern_begins_with_page_1(run):
    _, out, _ = run("--at", "256", "--fill", "00112233445566", "--memory")
    assert "p1+240   22 33 44 55 66 00 11" in out  # 240 = 34 * 7 + 2


class Terminal(io.StringIO):
    """Standard output that is a terminal."""

    def isatty(self):
        return True


def test_the_list_of_versions_folds_on_a_terminal_and_is_whole_in_a_pipe(capsys, monkeypatch):
    cli.main(["write", "--list"])
    whole = capsys.readouterr().out
    assert max(map(len, whole.splitlines())) > 60
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("NO_COLOR", "1")
    cli.main(["write", "--list"])
    assert capsys.readouterr().out == whole
    monkeypatch.setattr("sys.stdout", terminal := Terminal())
    cli.main(["write", "--list"])
    assert max(map(len, terminal.getvalue().splitlines())) <= 60
    assert "".join(terminal.getvalue().split()) == "".join(whole.split())


def test_the_list_of_versions_in_a_pipe_does_not_load_rich():
    code = "import sys; from runstate_abi.tools import cli; cli.main(['write', '--list']); "
    code += "assert 'rich' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
