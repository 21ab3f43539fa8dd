"""Readers of versions out of machine code: verdicts, what is refused, and Debian's kernels."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from runstate_abi.tools import cli

from .test_reader import BUILDS

pytest.importorskip("unicorn")

SOURCE = Path(__file__).parents[3] / "data" / "readers" / "clocks.c"
PLAIN = ("-ffreestanding", "-fno-stack-protector", "-g", "-c")

# fmt: off
SAFE = ("time_masked", "time_first", "time_last", "clock_first", "steal_first", "clock_unfenced")
TORN = ("time_late_bit", "time_never", "time_both_masked", "time_last_masked", "time_no_second",
        "time_late", "clock_never")
REFUSED = {
    "time_other_bit": "it has not returned after 20000 instructions",
    "time_next":      "whether it accepts is no comparison of its loads and test of the flag",
    "time_spares_1":  "whether it accepts is no comparison of its loads and test of the flag",
    "time_by_option": "with 1 for a parameter it accepts in another way",
    "time_by_sign":   "whether it accepts depends on other members too",
    "time_by_cpu":    "what it does depends on the CPU that rdtscp names",
    "time_or_0":      "it returns 0 if the version changes",
    "time_tries":     "it accepts after it has tried a number of times",
}
# fmt: on
KIND = {"time": "pvclock", "clock": "pvclock", "steal": "steal_time"}


@pytest.fixture(scope="module")
def made(installed, tmp_path_factory):
    """A function (compiler, *flags) -> the compiled source."""
    folder, known = tmp_path_factory.mktemp("clocks"), {}

    def build(compiler, *flags):
        installed(compiler)
        if (compiler, flags) not in known:
            path = folder / f"{len(known)}.o"
            subprocess.run([compiler, *PLAIN, *flags, SOURCE, "-o", path], check=True)
            known[compiler, flags] = str(path)
        return known[compiler, flags]

    return build


@pytest.fixture
def asked(capsys):
    """A function (object, function, *options) -> exit status, rows, what is said."""

    def ask(path, function, *options):
        words = ["race", "--family", KIND.get(function.partition("_")[0], "pvclock"), "--json"]
        words += ["--reader-object", f"{path}:{function}", *options]
        if function.startswith("clock"):
            words += ["--struct", "pvclock_wall_clock"]
        status = cli.main(words)
        out, error = capsys.readouterr()
        return status, json.loads(out) if out else [], error

    return ask


@pytest.mark.parametrize(("compiler", "level"), BUILDS)
def test_a_compiled_reader_has_the_verdict_of_its_class(made, asked, compiler, level):
    path = made(compiler, level)
    for function in SAFE:
        status, rows, error = asked(path, function)
        assert (status, {row["verdict"] for row in rows}) == (0, {"safe"}), (function, error)
    for function in TORN:
        status, rows, error = asked(path, function)
        assert (status, {row["verdict"] for row in rows}) == (1, {"torn"}), (function, error)
    for function in REFUSED:
        status, rows, error = asked(path, function)
        assert (status, rows) == (3, []), function
        assert "cannot follow this reader" in error


def test_what_is_refused_says_why(made, asked):
    path = made("gcc", "-O2")
    for function, why in REFUSED.items():
        assert why in asked(path, function)[2], function


def test_each_writer_of_the_struct_is_asked_and_no_other(made, asked):
    path = made("gcc", "-O2")
    _, rows, _ = asked(path, "time_masked")
    times = ("kvm-time", "kvm-time-6.12", "xen-time", "xen-time-va", "xen-time-phys", "bhyve-time")
    assert [row["variant"] for row in rows] == list(times)
    _, rows, _ = asked(path, "clock_first")
    assert [row["variant"] for row in rows] == ["kvm-xen-wallclock", "xen-wallclock"]
    _, rows, _ = asked(path, "steal_first", "--variant", "kvm-x86-steal")
    assert [row["variant"] for row in rows] == ["kvm-x86-steal"]


def test_the_time_stamp_counter_is_no_load_of_the_struct(made, asked):
    """It always says the same here, so what is made of it depends on the struct alone."""
    status, rows, _ = asked(made("gcc", "-O2"), "time_masked", "--variant", "kvm-time")
    assert status == 0
    status, rows, error = asked(made("gcc", "-O2"), "time_by_chance")
    assert (status, {row["verdict"] for row in rows}) == (1, {"safe", "torn"}), error


def test_a_way_that_the_flags_decide_is_followed(made, asked):
    """It is never called safe for one way alone."""
    status, _, error = asked(made("gcc", "-O0"), "time_by_flags")
    assert status == 3
    assert "depends on other members" in error


@pytest.mark.parametrize(
    ("compiler", "flags", "unfenced"),
    [
        ("aarch64-linux-gnu-gcc", ("-O2",), "torn"),
        ("arm-linux-gnueabihf-gcc", ("-O2", "-marm"), "torn"),
        ("gcc", ("-O2", "-m32"), "safe"),
    ],
)
def test_on_another_machine_its_own_barriers_decide(made, asked, compiler, flags, unfenced):
    path = made(compiler, *flags)
    assert {row["verdict"] for row in asked(path, "clock_first")[1]} == {"safe"}
    assert {row["verdict"] for row in asked(path, "clock_never")[1]} == {"torn"}
    assert {row["verdict"] for row in asked(path, "clock_unfenced")[1]} == {unfenced}


def test_preempted_is_of_no_update(made, asked):
    """It is stored on its own: with an older or a newer time it is true all the same."""
    status, rows, _ = asked(made("gcc", "-O2"), "steal_both")
    assert (status, [row["variant"] for row in rows]) == (0, ["kvm-x86-steal", "kvm-x86-preempted"])


def test_of_32_bit_code_a_stolen_time_in_halves_needs_its_version(made, asked):
    path = made("gcc", "-O2", "-m32")
    assert {row["verdict"] for row in asked(path, "steal_first")[1]} == {"safe"}
    (row,) = asked(path, "steal_alone", "--variant", "kvm-x86-steal")[1]
    assert row["verdict"] == "torn"
    (row,) = asked(made("gcc", "-O2"), "steal_alone", "--variant", "kvm-x86-steal")[1]
    assert row["verdict"] == "safe"


def told(capsys, path, function, *options):
    words = ["race", "--family", "pvclock", "--reader-object", f"{path}:{function}", *options]
    return cli.main(words), capsys.readouterr().out


def test_the_barrier_that_is_missing_is_named(made, capsys):
    path = made("aarch64-linux-gnu-gcc", "-O2")
    status, out = told(capsys, path, "clock_unfenced")
    assert status == 1
    said = " ".join(out.split())
    assert re.search(r"With a read barrier between \S+ .*, and one between .* it is safe\.", said)
    assert "read barrier" not in told(capsys, path, "clock_never")[1]


def test_a_version_that_is_compared_in_part_is_told(made, capsys):
    status, out = told(capsys, made("gcc", "-O2"), "time_low_byte")
    assert status == 0
    assert "only the 8 lowest bits of version are compared: 128 updates in one read" in out
    assert "lowest bits" not in told(capsys, made("gcc", "-O2"), "time_first")[1]


def test_which_struct_it_reads_is_its_parameters_type(made, capsys):
    path = made("gcc", "-O2")
    assert "struct pvclock_wall_clock with sec_hi" in told(capsys, path, "clock_first")[1]
    assert "pvclock_vcpu_time_info" in told(capsys, path, "time_first")[1]
    status = cli.main(["race", "--family", "pvclock", "--reader-object", f"{path}:clock_outer"])
    error = capsys.readouterr().err
    assert status == 3
    assert "reads a struct outer of 48 bytes: say which it is, --struct NAME" in error
    inside = ("--struct", "pvclock_wall_clock", "--offset", "32")
    assert told(capsys, path, "clock_outer", *inside)[0] == 0
    status = told(capsys, path, "clock_outer", *inside[:3], "16")[0]
    assert status == 3


def test_a_dropped_check_is_dropped_in_machine_code_too(made, capsys):
    path = made("gcc", "-O2")
    for function in ("time_first", "time_last", "time_masked"):
        assert told(capsys, path, function, "--drop", "odd-check")[0] == 1, function


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--reader-object", "x.o"], "x.o: which function? FILE:FUNCTION"),
        (["--reader-object", "x.o:f", "--all"], "no --reader, --model or --all"),
        (["--struct", "pvclock_wall_clock"], "are of --reader-object"),
        (
            ["--reader-object", "x.o:f", "--struct", "shared_info"],
            "--struct shared_info: none that",
        ),
    ],
)
def test_wrong_usage_is_one_line(capsys, words, said):
    assert cli.main(["race", "--family", "pvclock", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_hyperv_code_is_not_followed_and_says_so(capsys):
    assert cli.main(["race", "--family", "hyperv", "--reader-object", "x.o:f"]) == 3
    assert "code that gives up at 0 is not followed" in capsys.readouterr().err


KERNELS = {
    "6.1": ("bookworm", "pvclock_clocksource_read"),
    "sid": ("sid", "pvclock_clocksource_read_nowd"),
}


@pytest.mark.network
@pytest.mark.parametrize("name", KERNELS)
def test_linux_own_readers_in_debians_kernels_are_safe(debian, asked, name):
    suite, function = KERNELS[name]
    (path,) = debian.kernel(suite, "linux-image-cloud-amd64", [r"vmlinuz.*"])
    for reader in (function, "kvm_steal_clock"):
        options = ("--family", "steal_time") if reader == "kvm_steal_clock" else ()
        status, rows, error = asked(path, reader, *options)
        assert (status, {row["verdict"] for row in rows}) == (0, {"safe"}), error
        assert all(f": {reader}()" in row["reader_source"] for row in rows)


@pytest.mark.network
def test_without_its_objects_names_a_kernel_says_where_to_look(debian, asked):
    (path,) = debian.kernel("bookworm", "linux-image-686-pae", [r"vmlinuz.*"], "i386")
    status, _, error = asked(path, "kvm_steal_clock", "--family", "steal_time")
    assert status == 3
    assert "no object steal_time; kvm_steal_clock loads" in error
