"""``runstate judge``: what it prints, its exit codes, and what must change nothing of that."""

import io
import json
import os
import re
import subprocess
import sys

import pytest

from runstate_abi.tools import cli, output
from runstate_abi.tools.judge import tallies
from runstate_abi.writer.rulebook.requests import SCENARIO, everything, parse, quick
from runstate_abi.writer.rules import PROFILE, RULES


def test_a_right_writer_exits_0_with_a_line_for_each_rule(judge, c_writer):
    code, out, err = judge(c_writer(), "--quick")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("ok ")] == [r.name for r in RULES]
    assert lines[-1] == f"right: {len(RULES)} rules kept in {len(list(quick()))} updates"
    assert re.fullmatch(
        r"contract [0-9a-f]{10}  stores [0-9a-f]{10}  calls [0-9a-f]{10}", lines[-2]
    )


def test_it_says_what_was_judged(judge, c_writer):
    _, out, _ = judge(c_writer(), "--quick")
    path, *head = out.splitlines()
    assert path.startswith(c_writer())
    assert "GCC" in path
    # A line that goes on begins with more blanks than a name does.
    said = re.sub(r"\n {5,}", " ", "\n".join(head[: head.index("")]))
    said = {line.split()[0]: line.split(maxsplit=1)[1] for line in said.splitlines()}
    assert re.fullmatch(r"kvm_xen_update_runstate_guest, \d+ bytes", said["function"])
    assert said["layout"] == "native 48 (0/8/16), compat 44 (0/4/12) from BTF"
    assert "_raw_read_trylock" in said["called"]
    assert said["asked"].startswith("1004 updates, profile linux-6.2+ (")


def test_a_broken_rule_exits_1_with_the_smallest_case_and_the_instruction(judge, c_writer):
    code, out, _ = judge(c_writer("BODY_WITHOUT_FLAG"), "--quick")
    assert code == 1
    (row,) = [line for line in out.splitlines() if line.startswith("BROKEN")]
    assert re.fullmatch(
        r"BROKEN  window      \d+ of 1004, first native@0x0,flag: the flag goes down here, .*", row
    )
    (bad,) = [line for line in out.splitlines() if line.startswith("  >")]
    assert re.fullmatch(
        r"  > store p1\+8 8 7172737475767778 +kvm_xen_update_runstate_guest\+0x[0-9a-f]+ +window",
        bad,
    )
    assert out.splitlines()[-1].startswith("WRONG: ")


def test_what_is_missing_at_the_end_is_marked_at_the_return(judge, c_writer):
    _, out, _ = judge(c_writer("LOCKS_SECOND_ALWAYS"), "--quick")
    assert "gpc2 is still locked at return" in out
    (row,) = [row for row in out.splitlines() if row.startswith("  > return ")]
    assert re.fullmatch(r"  > return +after kvm_xen_update_runstate_guest\+0x[0-9a-f]+ +locks", row)


def test_a_call_that_is_not_known_exits_3_naming_it(judge, c_writer):
    code, out, err = judge(c_writer("MUTE_COPY=__tsan_copy"), "--quick")
    assert (code, out) == (3, "")
    assert "cannot judge: it calls __tsan_copy, which is not known here, from kvm_xen" in err
    assert err.count("\n") == 1


def test_a_file_that_is_none_exits_3(judge, tmp_path):
    code, out, err = judge(str(tmp_path / "kvm.ko"))
    assert (code, out) == (3, "")
    assert "No such file" in err


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("x.o", "--profile", "linux-2.6"),
        ("x.o", "--case", "native@0x1000"),
        ("x.o", "--case", "native"),
        ("x.o", "--case", "native@1,upside-down"),
        ("x.o", "--case", "native@0x100,busy1"),
        ("x.o", "--case", "native@0xfd1,busy2"),
        ("x.o", "--case", "native@0x100,stale2"),
        ("x.o", "--case", "native@0xfd0,atomic,busy2"),
        ("x.o", "--case", "compat@0xfd1,again"),
        ("x.o", "-j", "0"),
        ("x.o", "--format", "xml"),
        ("x.o", "--btf", "a", "--btf", "b"),
        ("-",),
        ("x.o", "--btf", "-"),
        ("x.o", "--against", "-"),
    ],
)
def test_wrong_usage_exits_2_in_one_line_of_complaint(judge, argv):
    code, out, err = judge(*argv)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("runstate judge: error:")


def test_a_module_without_a_writer_says_so_before_it_asks_for_more(judge, c_writer, tmp_path):
    path = str(tmp_path / "kvm.o")
    rename = "--redefine-sym=kvm_xen_update_runstate_guest=other"
    subprocess.run(["objcopy", rename, c_writer(), path], check=True)
    code, _, err = judge(path, "--btf", str(tmp_path / "no-such-vmlinux"))
    assert code == 3
    assert "no function kvm_xen_update_runstate_guest (a kernel built without CONFIG_KVM_XEN" in err


def test_a_writer_that_was_inlined_is_not_taken_for_one_that_is_configured_out(
    judge, c_writer, tmp_path
):
    """Its caller may have another name than the one that is known."""
    path = str(tmp_path / "xen.o")
    renamed = "--redefine-sym=kvm_xen_update_runstate=kvm_xen_runstate_set_running"
    subprocess.run(["objcopy", renamed, c_writer("INLINED"), path], check=True)
    code, _, err = judge(path, "--quick")
    assert code == 3
    hint = "inlined, give its caller with --entry: perhaps kvm_xen_runstate_set_running\n"
    assert err.endswith(hint)
    assert "CONFIG_KVM_XEN" not in err


def test_a_profile_of_xen_is_not_for_kvm(judge, c_writer):
    code, _, err = judge(c_writer(), "--profile", "xen-va")
    assert code == 2
    assert "not for KVM's writer" in err


def test_a_guest_with_page_tables_of_its_own_is_not_for_kvm(judge, c_writer):
    for more in ((), ("--trace",)):
        code, out, err = judge(c_writer(), "--case", "native@0x100,hvm", *more)
        assert (code, out) == (2, "")
        assert "--case native@0x100,hvm: hvm is for Xen's writer" in err


def test_a_profile_says_what_it_does_not_judge(judge, c_writer):
    code, out, _ = judge(c_writer(source="old_writer.c"), "--quick", "--profile", "linux-6.1")
    assert code == 0
    assert "-   no-flag     not judged: always flagged: until d8ba8ba4c801 (in v6.2)" in out
    assert "in its weaker form: clears the flag in what it reads back" in out
    assert re.search(r"not asked +\d+ updates: it has one cache", out)
    assert "compat not in the debug info" in out


def test_one_case_can_be_asked_for(judge, c_writer):
    code, out, _ = judge(
        c_writer(), "--case", "native@0xff1,flag,atomic", "--case", "compat@16,lost1"
    )
    assert code == 0
    kept = f"right: {len(RULES) - 1} rules kept in 2 updates, 1 not asked"
    assert out.splitlines()[-1] == kept
    (silent,) = [line for line in out.splitlines() if line.startswith("-")]
    assert silent.split()[:4] == ["-", "no-flag", "not", "asked:"]


def test_a_rule_that_one_update_cannot_show_is_not_kept_by_it(judge, c_writer):
    code, out, _ = judge(c_writer(), "--case", "native@0xff1")
    assert code == 0
    silent = ["set-first", "window", "clear-last", "atomic", "refused"]
    lines = out.splitlines()
    assert [line.split()[1] for line in lines if "  not asked: it takes " in line] == silent
    assert not [line for line in lines if line.startswith("ok") and line.split()[1] in silent]
    assert lines[-1] == f"right: {len(RULES) - 5} rules kept in 1 update, 5 not asked"


def test_a_rule_that_is_broken_once_is_in_the_singular(judge, c_writer):
    code, out, _ = judge(c_writer("BODY_WITHOUT_FLAG"), "--case", "native@0x100,flag")
    assert code == 1
    assert out.splitlines()[-1] == "WRONG: 1 of 1 update breaks a rule (window), 3 not asked"


# The scheduler calls with interrupts off already, so that it cannot show what is left off.
def test_an_ioctl_that_makes_a_vcpu_runnable_calls_with_interrupts_on(judge, c_writer):
    for defined, code in (("IRQS_STAY_OFF", 1), ("", 0)):
        writer = c_writer(*filter(None, [defined]))
        assert judge(writer, "--case", "native@0x100,flag,atomic")[0] == 0
        ended, out, _ = judge(writer, "--case", "native@0x100,flag,atomic,ioctl")
        assert (ended, "(irqs)" in out) == (code, bool(code))
    code, _, err = judge(c_writer(), "--case", "native@0x100,ioctl")
    assert (code, "ioctl is for atomic" in err) == (2, True)


def test_a_lost_irqrestore_is_told_by_both_states_and_allowed_if_asked(judge, c_writer):
    writer = c_writer("LOSES_IRQRESTORE_WHEN_BUSY")
    code, out, _ = judge(writer, "--quick")
    assert code == 1
    (row,) = [line for line in out.splitlines() if line.startswith("BROKEN")]
    said = "first native@0xfd0,atomic,ioctl,busy1: interrupts are off at return, and were on at"
    assert row.split()[1] == "irqs"
    assert said in row.replace(row[row.index("@") : row.index(",atomic")], "@0xfd0", 1)
    code, out, _ = judge(writer, "--quick", "--allow", "irqs")
    assert code == 0
    assert [line.split()[1] for line in out.splitlines() if line.startswith("allowed")] == ["irqs"]
    assert out.splitlines()[-1].endswith("updates, allowed: irqs")
    code, out, _ = judge(writer, "--quick", "--allow", "irqs", "--format", "ktap")
    assert (code, "not ok" in out) == (0, False)
    assert judge(c_writer("NO_SET"), "--quick", "--allow", "irqs")[0] == 1
    code, _, err = judge(writer, "--allow", "irq")
    assert (code, "--allow irq: no such rule" in err) == (2, True)


def test_what_never_returns_is_judged_by_what_it_did(judge, c_writer):
    code, out, _ = judge(c_writer("ENDLESS_AFTER_BREACH"), "--case", "native@0x100")
    assert code == 1
    assert out.splitlines()[-1].startswith("WRONG: 1 of 1 update breaks a rule (outside, ends)")
    assert re.search(r"^  > never returned  +after .* ends$", out, re.MULTILINE)
    code, out, err = judge(c_writer("UNKNOWN_CALL_AFTER_BREACH"), "--case", "native@0x100")
    assert (code, err) == (1, "")
    assert out.splitlines()[-1].startswith("WRONG: 1 of 1 update breaks a rule (outside)")


def test_an_endless_retry_says_what_is_not_valid_each_time(judge, c_writer):
    code, out, _ = judge(c_writer("CHECKS_WHOLE_LENGTH"), "--quick")
    assert code == 1
    (row,) = [line for line in out.splitlines() if line.split()[:2] == ["BROKEN", "ends"]]
    endless = "it repeats the same 6 steps without end: gpc1 is not valid for 48 bytes, at "
    assert f"first native@0xfd1,flag: {endless}" in row
    _, out, _ = judge(c_writer("COPY_NEVER_ENDS"), "--case", "native@0xfd1,flag")
    assert "it does not end after 500 steps, at " in out


def test_one_byte_is_in_the_singular(judge, c_writer):
    _, out, _ = judge(c_writer("DEACTIVATES_CACHE"), "--case", "native@0x100")
    assert ": 1 byte is stored in the kernel's own structs, 0x" in out


def test_a_breach_that_is_no_step_has_a_row_of_its_own(judge, c_writer):
    _, out, _ = judge(c_writer("READS_BACK"), "--case", "native@0x100")
    rows = [line for line in out.splitlines() if line.startswith("  > ")]
    (row,) = rows
    assert re.match(r"  > 4 bytes of guest memory read, at p1\+256 +\w+\+0x\w+ +read$", row)


def test_a_report_says_what_was_not_asked(judge, c_writer):
    _, out, _ = judge(c_writer(), "--case", "native@0xff1", "--format", "ktap")
    rules = dict(re.findall(r"rule ([\w-]+) \[x86_64\](.*)", out))
    assert len(rules) == len(RULES)
    skipped = [name for name, rest in rules.items() if rest.startswith(" # SKIP not asked: ")]
    assert skipped == ["set-first", "window", "clear-last", "atomic", "refused"]
    _, out, _ = judge(c_writer(), "--case", "native@0xff1", "--format", "json")
    assert "1 update; fingerprints: " in out


def test_what_was_judged_fits_a_terminal(judge, c_writer):
    _, out, _ = judge(c_writer(), "--quick")
    head = out.split("\n\n")[0].splitlines()[1:]
    assert any("called" in line for line in head)
    assert max(map(len, head)) <= 100


def test_the_help_explains_every_case(judge, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    _, text, _ = judge("--help")
    assert max(map(len, text.splitlines())) <= 100
    words = set(re.findall(r"[\w-]+", text))
    assert {name for name in SCENARIO if name} <= words


def test_the_trace_is_canonical_text(judge, c_writer):
    from replaying.traces import parse as read_back
    from runstate_abi.writer.steps import canonical

    code, out, _ = judge(c_writer(), "--trace", "--case", "native@0x100,flag")
    assert code == 0
    assert canonical(read_back(out)) == out
    assert "store p1+271 1 f8\n" in out


def test_several_traces_say_which_is_which(judge, c_writer):
    cases = ("native@0x100", "compat@0xff4,flag,atomic,busy1")
    _, out, _ = judge(c_writer(), "--trace", *(word for case in cases for word in ("--case", case)))
    assert [line for line in out.splitlines() if line.startswith("#")] == [f"# {c}" for c in cases]


def test_two_right_writers_with_one_contract_compare_equal(judge, c_writer):
    code, out, _ = judge(c_writer(), "--quick", "--against", c_writer("SECOND_PAGE_FIRST"))
    assert code == 0
    said = dict(
        re.findall(r"^  (contract|stores|calls) +(the same|DIFFERENT)  ", out, re.MULTILINE)
    )
    assert said == {"contract": "the same", "stores": "DIFFERENT", "calls": "the same"}


def test_two_contracts_that_differ_exit_1(judge, c_writer):
    code, out, _ = judge(c_writer(), "--quick", "--against", c_writer("NO_SET"))
    assert code == 1
    assert "  contract  DIFFERENT  " in out


def test_two_right_writers_with_two_contracts_exit_1_as_well():
    from types import SimpleNamespace

    from runstate_abi.tools.judge.command import _exit_code

    def right(contract):
        prints = tallies.Prints(contract, "s", "c")
        return SimpleNamespace(right=True, tally=SimpleNamespace(prints=prints))

    assert _exit_code([right("a"), right("a")]) == 0
    assert _exit_code([right("a"), right("b")]) == 1


@pytest.mark.parametrize("form", ["json", "junit", "sarif", "github", "gitlab", "md", "ktap"])
def test_every_format_of_check_says_the_same(judge, c_writer, form):
    good, text, _ = judge(c_writer(), "--quick", "--format", form)
    bad, wrong, _ = judge(c_writer("NO_SET"), "--quick", "--format", form)
    assert (good, bad) == (0, 1)
    assert "set-first" in wrong
    assert text != wrong


def test_what_cannot_be_judged_is_in_a_report_too(judge, c_writer):
    code, out, err = judge(c_writer("STRAY"), "--quick", "--format", "json")
    assert code == 3
    (witness,) = json.loads(out)["witnesses"]
    assert "writes 0xdead0000, where nothing is" in witness["not_checked"][0]["why"]
    assert "writes 0xdead0000" in err


def test_a_report_can_go_to_a_file(judge, c_writer, tmp_path):
    path = tmp_path / "report.ktap"
    code, out, _ = judge(c_writer(), "--quick", "--format", f"ktap={path}")
    assert (code, out) == (0, "")
    text = path.read_text()
    assert text.startswith("KTAP version 1")
    assert "not ok" not in text


@pytest.mark.parametrize("profile", ["linux-6.2+", "linux-6.1", "xen-va", "xen-phys"])
def test_the_rule_book_is_one_page(judge, profile):
    code, out, _ = judge("--rules", "--profile", profile)
    assert code == 0
    assert all(rule.sentence in out for rule in RULES)
    assert len(out.splitlines()) < 40


@pytest.mark.parametrize("profile", ["linux-6.2+", "linux-6.1", "xen-va", "xen-phys"])
def test_a_rule_that_a_profile_relaxes_says_so_where_it_stands(judge, profile):
    _, out, _ = judge("--rules", "--profile", profile)
    relaxed = {one.rule: one.instead for one in PROFILE[profile].relaxed}
    rows = dict(line.split(maxsplit=1) for line in out.splitlines()[2 : 2 + len(RULES)])
    weaker = {name for name, row in rows.items() if "(kept in a weaker form: see below)" in row}
    silent = {name for name, row in rows.items() if "(not judged: see below)" in row}
    assert weaker == {name for name, instead in relaxed.items() if instead}
    assert silent == {name for name, instead in relaxed.items() if not instead}


def test_without_the_emulator_it_says_what_to_install(judge, c_writer, monkeypatch):
    monkeypatch.setitem(sys.modules, "unicorn", None)
    code, _, err = judge(c_writer(), "--quick")
    assert code == 3
    assert "pip install 'runstate-abi[judge]'" in err


def test_without_room_for_the_emulator_it_cannot_judge(c_writer):
    argv = ["judge", "--quick", c_writer()]
    code = f"from runstate_abi.tools import cli; raise SystemExit(cli.main({argv}))"
    limited = 'ulimit -v 1048576; exec "$@"'
    argv = ["sh", "-c", limited, "sh", sys.executable, "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert ": the emulator needs 1040 MiB of address space" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_emulator_is_not_loaded_by_any_other_command():
    code = (
        "import sys; from runstate_abi.tools import cli; cli.main(['judge', '--rules']);"
        "cli.main(['show']); assert 'unicorn' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_the_requests_are_all_offsets_and_every_boundary():
    asked = list(everything())
    plain = {(r.abi, r.offset, r.flag, r.atomic) for r in asked if not r.scenario.name}
    assert len(plain) == 2 * 4096 * 2 * 2
    for request in asked:
        if (
            request.scenario.name
            or request.vcpu.entry_time >> 63
            or request.fill in (b"\0", b"\xff")
        ):
            continue
        assert str(parse(str(request))) == str(request)
        assert parse(str(request)) == request


def test_the_bar_is_for_terminals(judge, c_writer, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(output, "BAR_AFTER_S", 0)
    monkeypatch.setattr(output, "BAR_EVERY_S", 0)
    monkeypatch.setenv("TERM", "xterm")
    assert not os.environ.get("RUNSTATE_TRACEBACK")
    _, _, err = judge(c_writer(), "--quick")
    assert "judging" in err
    assert "100%" in err


class Terminal(io.StringIO):
    """Standard output that is a terminal."""

    def isatty(self):
        return True


def test_the_rule_book_folds_on_a_terminal_and_is_whole_in_a_pipe(capsys, monkeypatch):
    cli.main(["judge", "--rules"])
    whole = capsys.readouterr().out
    assert max(map(len, whole.splitlines())) > 60
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("NO_COLOR", "1")
    cli.main(["judge", "--rules"])
    assert capsys.readouterr().out == whole
    monkeypatch.setattr("sys.stdout", terminal := Terminal())
    cli.main(["judge", "--rules"])
    assert max(map(len, terminal.getvalue().splitlines())) <= 60
    assert "".join(terminal.getvalue().split()) == "".join(whole.split())


def test_the_rule_book_in_a_pipe_does_not_load_rich():
    code = "import sys; from runstate_abi.tools import cli; cli.main(['judge', '--rules']); "
    code += "assert 'rich' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
