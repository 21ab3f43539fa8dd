"""``runstate check`` as a person and a CI job meet it: exit codes, lines, JSON."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runstate_abi.layouts.structs import runstate
from runstate_abi.tools import cli
from runstate_abi.tools.check import command as check
from runstate_abi.tools.reports import formats

RUNSTATE = str(Path(sys.executable).with_name("runstate"))


@pytest.fixture
def run(capsys):
    """Run the command in this process: (exit code, stdout, stderr)."""

    def run(*argv):
        try:
            code = cli.main(["check", *map(str, argv)])
        except SystemExit as stop:
            code = stop.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.mark.host64
def test_without_files_everything_here_agrees(run):
    code, out, err = run()
    assert (code, err) == (0, "")
    marks = {line.split()[1]: line.split()[0] for line in out.splitlines()[:6]}
    assert {marks[w] for w in ("construct", "ctypes", "C", "conditions")} == {"ok"}
    assert "26 of 26 conditions hold" in out
    assert " 0 differences, " in out


@pytest.mark.host64
def test_without_compilers_and_kernel_that_is_said_and_allowed(run, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(check, "HERE_BTF", ("/nowhere/vmlinux",))
    code, out, _ = run()
    assert code == 0
    assert out.count("not asked: not installed") == 4
    assert "no such file: a kernel without CONFIG_DEBUG_INFO_BTF" in out
    assert out.endswith("0 differences, 0 not checked, 5 not asked\n")


@pytest.mark.host64
def test_an_encoding_that_drifts_is_exit_1(run, monkeypatch):
    from runstate_abi.layouts import ctypes_structs

    structs = ctypes_structs.STRUCTS
    monkeypatch.setitem(structs, "vcpu_runstate_info", structs["compat_vcpu_runstate_info"])
    code, out, _ = run()
    assert code == 1
    assert "offset-mismatch vcpu_runstate_info.time [x86_64] spec=16 seen=12 (layouts/" in out


def test_a_kernel_and_its_module_are_equal(run, kernel_object, declarations):
    kernel = kernel_object("kernel", [declarations["NATIVE"]])
    module = kernel_object("kvm", [declarations["COMPAT"], declarations["KVM"]], base=kernel)
    code, out, err = run(module, kernel)
    assert (code, err) == (0, "")
    assert "16 of 16 conditions hold" in out


@pytest.mark.parametrize("argv", [("kernel.o", "-"), ("--btf-base", "kernel.o", "-")])
def test_a_module_comes_through_a_pipe(kernel_object, declarations, argv):
    kernel = kernel_object("kernel", [declarations["NATIVE"]])
    module = kernel_object("kvm", [declarations["COMPAT"], declarations["KVM"]], base=kernel)
    argv = [kernel if word == "kernel.o" else word for word in argv]
    code, out, err = command(*argv, "--allow-missing", "vcpu_runstate_info", stdin=module)
    assert (code, err) == (0, "")
    assert "(standard input: ELF file (ELF64 x86-64), sha256 " in out
    assert "/proc/" not in out


def test_a_base_comes_through_a_pipe(kernel_object, declarations):
    kernel = kernel_object("kernel", [declarations["NATIVE"]])
    module = kernel_object("kvm", [declarations["COMPAT"], declarations["KVM"]], base=kernel)
    code, out, err = command("--btf-base", "-", "--json", module, stdin=kernel)
    (witness,) = json.loads(out)["witnesses"]
    assert (code, err, witness["input"]["path"]) == (0, "", module)
    code, out, err = command("--json", "-", stdin=kernel)
    (witness,) = json.loads(out)["witnesses"]
    assert (code, err, witness["input"]) == (3, "", None)


def test_a_pipe_that_has_dwarf_is_asked_for_it(compiled_object, declarations):
    binary = compiled_object("both", [declarations["NATIVE"], declarations["COMPAT"]])
    code, out, err = command("-", stdin=binary)
    assert (code, err) == (0, "")
    assert "ok  dwarf  [x86_64]  native 48, compat 44; " in out


def test_a_pipe_that_cannot_be_read_is_one_line_and_exit_3(tmp_path):
    empty, text = tmp_path / "empty", tmp_path / "text"
    empty.touch()
    text.write_text("#include <linux/kernel.h>")
    for path, message in ((empty, "an empty file"), (text, "neither ELF, nor BTF")):
        code, out, err = command("-", stdin=path)
        assert (code, out, err.count("\n")) == (3, "", 1)
        assert err.startswith(f"runstate: could not check standard input: {message}")


def test_verbose_says_what_each_witness_was_asked(run):
    code, out, err = run("--cc", "gcc -m64", "-v")
    assert (code, out) == run("--cc", "gcc -m64")[:2]
    assert 'runstate:   cc = ["gcc -m64"]\n' in err
    assert "runstate: asked gcc -m64 [x86_64]: 42 facts, 16 conditions (gcc -m64, " in err
    assert "runstate:   vcpu_runstate_info.time 0x10 4x8 unsigned\n" in err


def test_a_missing_struct_is_exit_3_unless_allowed(run, kernel_object, declarations):
    kernel = kernel_object("kernel", [declarations["NATIVE"]])
    assert run(kernel)[0] == 3
    assert run(kernel, "--allow-missing", "compat_vcpu_runstate_info")[0] == 0


def test_a_binary_that_differs_is_exit_1(run, kernel_object, declarations):
    wrong = declarations["NATIVE"].replace("int state", "long state")
    code, out, _ = run(kernel_object("kernel", [wrong]))
    assert code == 1
    assert "element-size-mismatch vcpu_runstate_info.state [x86_64] spec=4 seen=8 (" in out


def test_json_says_what_was_read_and_what_came_of_it(run, kernel_object, declarations):
    path = kernel_object("kernel", [declarations["NATIVE"], declarations["COMPAT"]])
    code, out, _ = run("--json", path)
    seen = json.loads(out)
    assert (code, seen["exit"], seen["schema"]) == (0, 0, "runstate-check/1")
    (witness,) = seen["witnesses"]
    assert (witness["witness"], witness["abi"], witness["abi_assumed"]) == ("btf", "x86_64", False)
    assert witness["input"]["path"] == path
    assert len(witness["input"]["sha256"]) == 64
    assert [(s["name"], s["size"]) for s in witness["structs"]] == [
        ("vcpu_runstate_info", 48),
        ("compat_vcpu_runstate_info", 44),
    ]
    assert [c["holds"] for c in witness["conditions"]] == [True] * 16


def broken_files(folder):
    """Files that are not what check can read, and what it says of each."""
    elf = Path(sys.executable).resolve().read_bytes()
    files = {
        "empty": (b"", "an empty file"),
        "text": (b"#include <linux/kernel.h>\n", "neither ELF, nor BTF, nor a kernel image"),
        "half.elf": (elf[:2000], "truncated"),
        "stub.elf": (elf[:20], "truncated"),
        "lie.btf": (b"\x9f\xeb\x01\x00" + (24).to_bytes(4, "little") + b"\xff" * 16, "BTF"),
        "short.btf": (b"\x9f\xeb\x01", "truncated"),
    }
    for name, (data, message) in files.items():
        (folder / name).write_bytes(data)
        yield folder / name, message
    (folder / "empty folder").mkdir()
    yield folder / "empty folder", "no kernel, kvm.ko, package or tarball in it"
    yield folder / "nowhere", "No such file or directory"


def test_what_cannot_be_read_is_one_line_and_exit_3(run, tmp_path):
    for path, message in broken_files(tmp_path):
        code, out, err = run(path)
        assert (code, out) == (3, ""), path
        assert err.startswith(f"runstate: could not check {path}: "), path
        assert message in err
        assert err.count("\n") == 1


def test_a_file_without_permission_is_one_line(run, tmp_path):
    secret = tmp_path / "vmlinux"
    secret.write_bytes(b"\x7fELF")
    secret.chmod(0)
    if os.access(secret, os.R_OK):
        # root reads everything, but not what sysfs has made write-only.
        secret = next(Path("/sys/bus").glob("*/uevent"))
    code, out, err = run(secret)
    assert (code, out) == (3, "")
    assert err == f"runstate: could not check {secret}: Permission denied\n"


def test_a_compiler_that_does_not_exist_is_exit_3(run):
    code, out, err = run("--cc", "nosuch-cc -m64")
    assert (code, out) == (3, "")
    assert err == (
        "runstate: could not check nosuch-cc -m64: "
        "cannot run nosuch-cc: No such file or directory\n"
    )


def test_a_compiler_that_disagrees_is_exit_1(run):
    code, out, _ = run("--cc", "gcc -m32 -malign-double")
    assert code == 1
    assert "note: struct vcpu_runstate_info here is what it is on x86_64, " in out


@pytest.fixture
def header(tmp_path):
    path = tmp_path / "mine.h"
    path.write_text(
        "typedef struct { int state; unsigned long long state_entry_time, time[4]; } mine_t;\n"
        "struct mine { int state; unsigned long long state_entry_time, time[4]; }"
        " __attribute__((packed));\n"
        "struct wrong { unsigned state; unsigned long long state_entry_time, time[5]; };\n"
    )
    return path


@pytest.mark.host64
def test_a_users_header_is_held_against_the_claims(run, header):
    structs = ["--struct=mine_t=vcpu_runstate_info", "--struct=mine=compat_vcpu_runstate_info"]
    code, out, err = run("--header", header, *structs)
    assert (code, err) == (0, "")
    assert "16 of 16 conditions hold" in out


@pytest.mark.host64
def test_a_users_header_that_differs_is_exit_1(run, header):
    code, out, _ = run("--header", header, "--struct", "wrong=vcpu_runstate_info")
    assert code == 1
    assert "note: struct vcpu_runstate_info: state is unsigned here and signed in the claim" in out
    assert "count-mismatch vcpu_runstate_info.time [x86_64] spec=4 seen=5 (" in out


def test_a_header_that_does_not_compile_is_exit_3(run, tmp_path):
    path = tmp_path / "bad.h"
    path.write_text("struct vcpu_runstate_info {")
    code, out, err = run("--header", path, "--struct", "vcpu_runstate_info")
    assert (code, out, err.count("\n")) == (3, "", 1)
    assert "does not compile" in err


OTHERS = (
    "typedef unsigned long long u64;\n"
    "struct renamed { int state; u64 entered; u64 time[4]; };\n"
    "struct single {\n  int state;\n  u64 state_entry_time;\n  u64 time;\n};\n"
    "struct filled { int state; unsigned flags; u64 state_entry_time; u64 time[4]; };\n"
)
SAID = {
    "renamed": (1, "missing-member vcpu_runstate_info.state_entry_time [x86_64] spec=offset 8"),
    "single": (1, "count-mismatch vcpu_runstate_info.time [x86_64] spec=4 seen=1 ("),
    "filled": (0, "    note: struct vcpu_runstate_info has a member flags at offset 4, size 4"),
    "nosuch": (3, "finds no struct nosuch and no nosuch in it"),
}


@pytest.mark.host64
@pytest.mark.parametrize("struct", SAID)
def test_a_struct_that_lacks_something_differs_and_is_no_failure_to_check(run, tmp_path, struct):
    path = tmp_path / "others.h"
    path.write_text(OTHERS)
    code, out, err = run("--header", path, "--struct", f"{struct}=vcpu_runstate_info")
    assert (code, SAID[struct][1] in out + err) == (SAID[struct][0], True)
    assert (err == "") == (code != 3)


@pytest.mark.host64
def test_two_structs_that_mirror_one_claim_are_two_findings(run, tmp_path):
    path = tmp_path / "others.h"
    path.write_text(OTHERS)
    structs = [f"--struct={name}=vcpu_runstate_info" for name in ("filled", "single", "renamed")]
    code, out, _ = run("--header", path, *structs, "--json")
    seen = [
        (w["source"].split(": ")[1][:7], len(w["differences"]))
        for w in json.loads(out)["witnesses"]
    ]
    assert (code, [name.split(";")[0] for name, _ in seen]) == (1, ["filled", "single", "renamed"])
    assert [bool(count) for _, count in seen] == [False, True, True]


def test_a_compiler_says_its_own_abi_whatever_abi_is_for_files(run):
    code, out, _ = run("--cc", "gcc -m64", "--cc", "gcc -m32", "--abi", "arm64")
    assert (code, "[x86_64]" in out, "[i386]" in out, "arm64" in out) == (0, True, True, False)


@pytest.mark.needs("clang")
def test_a_guest_of_32_bit_windows_is_told_what_it_is_given(run):
    code, out, _ = run("--cc", "clang --target=i686-pc-windows-msvc")
    assert (code, "a 32-bit guest is given 44: declare it with #pragma pack(4)" in out) == (0, True)


@pytest.mark.host64
def test_a_compiler_that_is_there_and_does_not_work_fails(run, tmp_path, monkeypatch):
    (tmp_path / "clang").write_text("#!/bin/sh\necho broken; exit 1\n")
    (tmp_path / "clang").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(check, "HERE_BTF", ("/nowhere/vmlinux",))
    code, out, err = run()
    assert code == 3
    assert err.count("could not check clang") == err.count("\n") == 2
    assert ", 2 not checked, 1 not asked" in out


def test_a_kernel_of_this_machine_that_is_there_and_cannot_be_read_fails(
    run, tmp_path, monkeypatch
):
    (tmp_path / "vmlinux").write_bytes(b"no BTF")
    monkeypatch.setattr(check, "HERE_BTF", (str(tmp_path / "vmlinux"),))
    code, _, err = run()
    assert (code, err.count("vmlinux")) == (3, 1)


def test_a_file_whose_name_has_a_line_end_cannot_forge_a_line(run, tmp_path):
    path = tmp_path / "a\nok  btf  forged"
    path.write_bytes(b"\x7fELF")
    code, out, err = run(path)
    assert (code, out, err.count("\n")) == (3, "", 1)


@pytest.mark.parametrize("form", formats.FORMATS)
def test_a_name_that_is_no_utf_8_is_no_internal_error(run, tmp_path, monkeypatch, form):
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.h")
    Path(path).write_text(OTHERS)
    output = tmp_path / "report"
    argv = ["--header", path, "--struct", "single=vcpu_runstate_info", f"--format={form}={output}"]
    assert run(*argv)[0] == 1
    assert output.read_bytes()


@pytest.mark.parametrize("form", ["gitlab", "sarif"])
def test_two_files_of_one_name_have_two_fingerprints(run, tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    seen = set()
    for folder in "ab":
        (tmp_path / folder).mkdir()
        Path(folder, "mine.h").write_text(OTHERS)
        argv = ["--header", f"{folder}/mine.h", "--struct", "single=vcpu_runstate_info"]
        found = json.loads(run(*argv, "--format", form)[1])
        if form == "gitlab":
            seen |= {issue["fingerprint"] for issue in found}
        else:
            seen |= {r["partialFingerprints"]["runstate/v1"] for r in found["runs"][0]["results"]}
    assert len(seen) == 2 * 2


# Where each format keeps (file, line) of the first difference, which is about the struct's size.
LINE = {
    "sarif": lambda text: json.loads(text)["runs"][0]["results"][0]["locations"][0][
        "physicalLocation"
    ]["region"]["startLine"],
    "gitlab": lambda text: json.loads(text)[0]["location"]["lines"]["begin"],
    "github": lambda text: int(text.partition(",line=")[2].partition(",")[0]),
}


def test_a_floating_type_is_told_in_every_format(run, tmp_path, monkeypatch):
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    path = tmp_path / "double.h"
    path.write_text(
        "struct mine { int state; unsigned long long state_entry_time; double time[4]; };"
    )
    for form in formats.FORMATS:
        argv = ["--header", path, "--struct", "mine=vcpu_runstate_info", "--format", form]
        code, out, _ = run(*argv)
        assert (code, "type-mismatch" in out) == (1, True)


@pytest.mark.parametrize("form", LINE)
def test_a_finding_about_a_struct_is_at_the_structs_line(run, tmp_path, monkeypatch, form):
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    path = tmp_path / "others.h"
    path.write_text(OTHERS)
    argv = ["--header", path, "--struct", "single=vcpu_runstate_info", "--format", form]
    code, out, _ = run(*argv)
    assert (code, LINE[form](out)) == (1, 3)


USAGE = {
    "a header without a struct": ["--header", "mine.h"],
    "a struct without a header": ["--struct", "mine=vcpu_runstate_info"],
    "a struct that mirrors nothing": ["--header", "mine.h", "--struct", "mine"],
    "an unknown ABI": ["--abi", "m68k"],
    "an unknown option": ["--nosuch"],
    "standard input twice": ["-", "--btf-base", "-"],
}


@pytest.mark.parametrize("case", USAGE)
def test_wrong_usage_is_exit_2(run, case):
    code, out, err = run(*USAGE[case])
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("runstate check: error: ")


def command(*argv, stdin=os.devnull, **changes):
    """Run the installed command with a file piped into it: (exit code, stdout, stderr)."""
    with subprocess.Popen(["cat", stdin], stdout=subprocess.PIPE) as cat:
        done = subprocess.run(
            [RUNSTATE, "check", *map(str, argv)],
            stdin=cat.stdout,
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, **changes},
        )
    return done.returncode, done.stdout, done.stderr


def test_each_exit_code_is_met_by_running_the_command(tmp_path):
    assert command("--cc", "gcc")[0] == 0
    assert command("--cc", "gcc -m32 -malign-double")[0] == 1
    assert command("--nosuch")[0] == 2
    assert command(tmp_path / "nowhere")[0] == 3
    # A module that cannot be imported is no difference, and no usage.
    broken = tmp_path / "runstate_broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import runstate_abi.tools.check.command as check\n"
        "def main(argv): raise RuntimeError('x')\n"
        "check.main = main\n"
    )
    code, out, err = command("--cc", "gcc", PYTHONPATH=str(broken))
    assert (code, out) == (70, "")
    assert err.startswith("runstate: internal error: RuntimeError: x (")


FAILING = {
    "text": lambda text: "DIFFERS" in text,
    "json": lambda text: json.loads(text)["exit"] == 1,
    "ktap": lambda text: "\nnot ok " in text,
    "junit": lambda text: "<failure " in text,
    "sarif": lambda text: bool(json.loads(text)["runs"][0]["results"]),
    "github": lambda text: text.startswith("::error "),
    "gitlab": lambda text: bool(json.loads(text)),
    "md": lambda text: "there are differences" in text,
}


@pytest.mark.host64
@pytest.mark.parametrize("form", formats.FORMATS)
def test_a_mutated_claim_makes_every_format_fail(run, monkeypatch, form):
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    code, out, _ = run("--cc", "gcc", "--format", form)
    assert (code, FAILING[form](out)) == (0, False)
    right = runstate.CLAIMS["x86_64"]
    monkeypatch.setitem(runstate.CLAIMS, "x86_64", right._replace(native=right.compat_kvm))
    code, out, _ = run("--cc", "gcc", "--format", form)
    assert (code, FAILING[form](out)) == (1, True)


@pytest.mark.parametrize("form", formats.FORMATS)
def test_a_witness_that_is_required_and_absent_makes_every_format_fail(run, monkeypatch, form):
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    code, out, err = run("--cc", "gcc", "--require", "dwarf", "--format", form)
    assert code == 3
    assert err == (
        "runstate: could not check dwarf: required (--require dwarf), and nothing was compared "
        "with a file with DWARF\n"
    )
    said = {"text": "1 not checked", "md": "not everything could be checked"}
    assert said.get(form, "required (--require dwarf)") in out


def test_reports_are_written_beside_the_text(run, tmp_path):
    junit, sarif = tmp_path / "r.xml", tmp_path / "r.sarif"
    code, out, _ = run("--cc", "gcc", "--format", f"junit={junit}", "--format", f"sarif={sarif}")
    assert (code, out.split()[0]) == (0, "ok")
    assert junit.read_text().startswith("<?xml")
    assert json.loads(sarif.read_text())["version"] == "2.1.0"


def test_a_report_that_cannot_be_written_is_one_line_and_exit_3(run, tmp_path):
    code, _, err = run("--cc", "gcc", "--format", f"junit={tmp_path}/no/where")
    assert code == 3
    assert err == (f"runstate: {tmp_path}/no/where: cannot be written: No such file or directory\n")


@pytest.mark.host64
def test_a_golden_file_is_written_and_compared(run, tmp_path):
    golden = tmp_path / "golden.txt"
    assert run("--cc", "gcc", "--write-golden", golden)[0] == 0
    code, out, _ = run("--cc", "gcc", "--golden", golden)
    assert (code, "golden" in out) == (0, True)
    golden.write_text(golden.read_text().replace("0x10 4x8", "0x18 4x8"))
    code, out, _ = run("--cc", "gcc", "--golden", golden)
    assert code == 1
    assert "golden-mismatch vcpu_runstate_info.time [x86_64] spec=0x18 4x8 unsigned seen=" in out


def test_the_projects_own_options_are_used(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("pyproject.toml").write_text('[tool.runstate]\ncc = ["gcc"]\nrequire = ["dwarf"]\n')
    assert run()[0] == 3
    assert run("--require", "cc")[0] == 0


def test_a_plain_check_of_files_loads_no_renderer_and_nothing_of_fleets(
    kernel_object, declarations
):
    path = kernel_object("kernel", [declarations[n] for n in ("NATIVE", "COMPAT", "KVM")])
    code = (
        "import sys; from runstate_abi.tools import cli; code = cli.main(sys.argv[1:]);"
        "print(*sys.modules, file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "check", path], capture_output=True, text=True, cwd="/"
    )
    assert done.returncode == 0
    loaded = set(done.stderr.split())
    unwanted = "json tomllib xml.etree.ElementTree difflib drgn concurrent.futures rich shutil"
    assert not loaded & set(unwanted.split())
    ours = {name.removeprefix("runstate_abi.tools.") for name in loaded if ".tools." in name}
    needed = "check check.command check.options cli options output"
    needed += " reports reports.formats reports.text"
    assert ours == set(needed.split())
