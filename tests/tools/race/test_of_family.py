"""race --family: the verdicts, by hand; who never meets; the forms of an answer; wrong usage."""

import json

import pytest

from runstate_abi.tools import cli

FAMILIES = ("pvclock", "steal_time", "hyperv")
X86, WEAK = "x86-tso", "weak"

# Readers that a writer deceives whatever the machine: they do not look whether the version is odd,
# or do not read it again.
BLIND = {"osv-0.09-time", "osv-wallclock", "win-xenbus-wallclock", "openbsd-wallclock"}
# Compiler barriers alone: they order nothing on a weak machine.
BY_X86 = {"netbsd-xen-time", "osv-time"}
UNFENCED = {"kvm-wallclock", "bhyve-time", "kvm-x86-steal", "kvm-riscv32-steal"}
# What is one aligned word has no halves that could be of two updates.
WORD = {
    "linux-x86-steal", "linux-loongarch-steal", "linux-riscv64-steal", "linux-arm64-steal",
    "linux-x86-preempted", "linux-loongarch-preempted",
}  # fmt: skip
INVALID_LATE = "xen-tsc-page"  # it does not make the page invalid first


def expected(row):
    if row["reader"] in WORD:
        return "safe"
    if row["reader"] in BLIND or row["variant"] == INVALID_LATE:
        return "torn"
    unordered = row["reader"] in BY_X86 or row["variant"] in UNFENCED
    return "torn" if row["model"] == WEAK and unordered else "safe"


@pytest.fixture
def asked(capsys):
    """A function (family, *options) -> exit status, rows, what is said on stderr."""

    def ask(family, *options):
        status = cli.main(["race", "--family", family, "--json", *options])
        out, error = capsys.readouterr()
        return status, json.loads(out) if out else [], error

    return ask


@pytest.mark.parametrize("family", FAMILIES)
def test_every_pair_has_the_verdict_of_the_table_by_hand(asked, family):
    status, rows, error = asked(family, "--all")
    assert rows
    assert error == ""
    assert {row["family"] for row in rows} == {family}
    wrong = [(r["variant"], r["reader"], r["model"]) for r in rows if r["verdict"] != expected(r)]
    assert wrong == []
    assert status == 1


def test_every_writer_and_reader_of_a_family_is_asked(asked):
    counts = {}
    for family in FAMILIES:
        _, rows, _ = asked(family, "--all")
        counts[family] = [len({row[key] for row in rows}) for key in ("variant", "reader")]
    assert counts == {"pvclock": [9, 25], "steal_time": [7, 8], "hyperv": [2, 1]}


def reach(rows, **wanted):
    found = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    return {(row["verdict"], row["reachable"]) for row in found}


def test_what_never_happens_says_why(asked):
    _, rows, _ = asked("pvclock", "--all")
    old = {"reader": "osv-0.09-time", "model": X86}
    assert reach(rows, variant="kvm-time", **old) == {("torn", False)}
    assert reach(rows, variant="xen-time", **old) == {("torn", True)}  # by a hypercall of another
    why = {row["unreachable_because"] for row in rows if row["reader"] == old["reader"]}
    assert any("own vCPU" in one for one in why)
    assert reach(rows, reader="linux-vdso-time", model=X86) == {("safe", True)}
    assert reach(rows, reader="osv-wallclock", model=X86) == {("torn", True)}
    assert reach(rows, reader="osv-wallclock", model=WEAK) == {("torn", False)}
    assert reach(rows, reader="openbsd-wallclock", model=X86) == {("torn", False)}
    assert reach(rows, reader="linux-arm-wallclock", model=WEAK) == {("safe", True)}
    _, rows, _ = asked("hyperv", "--all")
    assert reach(rows, variant="xen-tsc-page", model=X86) == {("torn", False)}
    _, rows, _ = asked("steal_time", "--all")
    assert reach(rows, reader="linux-riscv32-steal", model=WEAK) == {("torn", True)}


# RISC-V's KVM has no barrier, and a 32-bit host stores the stolen time in two halves.
@pytest.mark.parametrize(("family", "status"), [("pvclock", 0), ("steal_time", 1), ("hyperv", 0)])
def test_without_options_linux_is_asked_where_it_meets_a_writer(asked, family, status):
    seen, rows, _ = asked(family)
    assert seen == status
    assert all(row["reader"].startswith("linux-") for row in rows)
    assert all(row["model"] == X86 for row in rows if row["machines"] == ["x86"])
    assert len(rows) < len(asked(family, "--all")[1])


# Without a step: KVM's newest and Linux, on x86-tso and on weak.
@pytest.mark.parametrize(
    ("dropped", "verdicts"),
    [
        ("wmb-set", ("safe", "torn")),
        ("wmb-body", ("safe", "torn")),
        ("set", ("torn", "torn")),
        ("body-odd", ("torn", "torn")),
        ("rmb-copy", ("safe", "torn")),
        ("rmb-reread", ("safe", "torn")),
        ("reread", ("torn", "torn")),
        ("odd-check", ("torn", "torn")),
    ],
)
def test_each_step_is_there_for_something(asked, dropped, verdicts):
    pair = ("--variant", "kvm-time", "--reader", "linux-vdso-time")
    for updates in ("1", "2"):
        _, rows, _ = asked("pvclock", *pair, "--drop", dropped, "--updates", updates)
        assert tuple(row["verdict"] for row in rows) == verdicts
        assert all(row["dropped"] == [dropped] for row in rows)


def test_hyperv_needs_its_check_for_0(asked):
    pair = ("--variant", "kvm-tsc-page", "--reader", "linux-tsc-page")
    status, rows, _ = asked("hyperv", *pair, "--drop", "zero-check")
    assert (status, {row["verdict"] for row in rows}) == (1, {"torn"})
    assert asked("hyperv", *pair)[0] == 0


def test_a_version_that_comes_back_deceives_a_reader_that_does_all(asked):
    options = ("--reader", "linux-vdso-time", "--updates", "2")
    assert asked("pvclock", *options)[0] == 1  # bhyve has no barrier, and weak needs one
    options += ("--model", X86)
    assert asked("pvclock", *options)[0] == 0
    status, rows, _ = asked("pvclock", *options, "--versions", "a-b-a")
    assert (status, {row["verdict"] for row in rows}) == (1, {"torn"})


def test_a_torn_row_has_its_execution_and_what_it_means(asked):
    pair = ("--variant", "xen-wallclock", "--reader", "osv-wallclock", "--model", X86)
    _, (row,), _ = asked("pvclock", *pair)
    assert row["means"] == "the date is off by up to 1 s, or by as much as it was set"
    assert row["schema"] == "runstate-race-family/1"
    looks = [event["bytes"] for event in row["trace"] if event["what"] in ("v1", "v2")]
    assert looks == ["11000000", "11000000"]  # odd, and equal
    assert row["trace"][-1]["what"] == "accepted"
    pair = ("--variant", "xen-wallclock", "--reader", "linux-arm-wallclock", "--model", WEAK)
    _, rows, _ = asked("pvclock", *pair, "--drop", "odd-check")
    assert "136 years" in rows[0]["means"]


def test_one_answer_is_told_in_words(capsys):
    pair = ["--variant", "xen-wallclock", "--reader", "osv-wallclock", "--model", X86]
    assert cli.main(["race", "--family", "pvclock", *pair]) == 1
    out = capsys.readouterr().out
    assert out.startswith("torn: osv-wallclock accepts from xen-wallclock what was never true\n")
    for part in (
        "Its two reads of version were equal, 11 00 00 00",
        "odd: an update was in",
        "v1: version = 11 00 00 00",
        "in time: the date is off by up to 1 s",
        "writer: Xen xen/common/time.c",
        "state_entry_time",
    ):
        assert (part in out) == (part != "state_entry_time"), part
    assert cli.main(["race", "--family", "hyperv", "--reader", "linux-tsc-page", *pair[4:]]) == 1
    out = capsys.readouterr().out
    assert "(torn): by the order of accesses, but these two never meet so" in out


NEWEST = ("--variant", "kvm-time", "--reader", "linux-time")
PAGE = ("--variant", "kvm-tsc-page", "--reader", "linux-tsc-page")
BHYVE = ("--variant", "bhyve-time", "--reader", "linux-time")


@pytest.mark.parametrize(
    ("family", "words", "status", "said"),
    [
        ("pvclock", ["--variant", "kvm-tim"], 2, "did you mean kvm-time?"),
        ("pvclock", ["--reader", "linux-64"], 2, "pvclock has none"),
        ("pvclock", ["--versions", "a-b-a"], 2, "--updates 2"),
        ("pvclock", ["--kernel", "kvm.ko"], 2, "unrecognized arguments: --kernel"),
        ("pvclock", ["--drop", "flag"], 2, "invalid choice: 'flag'"),
        ("pvclock", [*NEWEST, "--drop", "zero-check"], 2, "reader linux-time has no zero-check"),
        ("hyperv", [*PAGE, "--drop", "odd-check"], 2, "reader linux-tsc-page has no odd-check"),
        ("hyperv", [*PAGE, "--drop", "body-odd"], 2, "this update has no body-odd"),
        ("pvclock", [*BHYVE, "--drop", "wmb-set"], 2, "this update has no wmb-set"),
        ("pvclock", ["--variant", "kvm-time", "--reader", "osv-wallclock"], 3, "never meet"),
        ("uapi", [], 2, "no writer of this family yet"),
    ],
)
def test_wrong_usage_is_one_line(capsys, family, words, status, said):
    assert cli.main(["race", "--family", family, *words]) == status
    out, error = capsys.readouterr()
    assert out == ""
    assert said in error
    assert error.count("\n") == 1


def test_a_struct_that_crosses_a_page_is_written_by_few(asked):
    status, rows, error = asked("pvclock", "--at", "0x1ff8", "--all")
    assert status == 1
    assert {row["variant"] for row in rows} == {"xen-time-va", "kvm-wallclock"}
    assert "kvm-time-6.12 writes no struct that crosses a page" in error
    status, rows, error = asked("pvclock", "--at", "0x1ff8", "--variant", "kvm-time")
    assert (status, rows) == (3, [])


def test_help_lists_the_writers_and_readers_of_the_family(capsys):
    assert cli.main(["race", "--family=steal_time", "--help"]) == 0
    out = capsys.readouterr().out
    assert "kvm-riscv32-steal" in out
    assert "linux-arm64-steal" in out
    assert "linux-wallclock" not in out


def test_a_step_that_was_dropped_is_not_told(capsys):
    pair = ["--variant", "xen-wallclock", "--reader", "linux-wallclock", "--model", X86]
    assert cli.main(["race", "--family", "pvclock", *pair, "--drop", "odd-check"]) == 1
    out = capsys.readouterr().out
    assert "(from before the update, odd: an update was in\nflight): so it accepted." in out
    assert "without: odd-check" in out
