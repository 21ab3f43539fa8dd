"""Kernels and their modules: which belong together, and what is said when something is missing."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from runstate_abi.layouts.abi import X86_64
from runstate_abi.layouts.findings import complaint, exit_code, unreadable
from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.structs.runstate import COMPAT
from runstate_abi.layouts.witnesses.kernels import Settings, asked_of_files

SETTINGS = Settings()


def ask(*paths, **changes):
    return list(asked_of_files(paths, SETTINGS._replace(**changes)))


@pytest.fixture
def pair(kernel_object, declarations):
    """A kernel and its module, as Debian builds them: compat only in the module."""
    kernel = kernel_object("kernel", [declarations["NATIVE"], "struct filler { int a; };"])
    module = kernel_object(
        "kvm", [declarations[n] for n in ("NATIVE", "COMPAT", "KVM")], base=kernel
    )
    return kernel, module


@pytest.mark.parametrize("order", [1, -1])
def test_a_kernel_and_its_module_are_one_question(pair, order):
    findings = ask(*pair[::order])
    assert [f.path for f in findings] == list(pair)
    assert [f.compared for f in findings] == [13, 26]
    assert [e.holds for e in findings[1].evaluations] == [True] * 16
    assert exit_code(findings) == 0
    assert not any(f.not_checked or f.notes for f in findings)


def test_a_base_given_apart_is_not_itself_asked(pair):
    findings = ask(pair[1], btf_base=pair[0])
    assert [f.path for f in findings] == [pair[1]]
    assert exit_code(findings) == 0


def test_the_abi_comes_from_the_elf_machine(pair):
    assert {(f.abi, f.assumed) for f in ask(*pair)} == {("x86_64", False)}


def test_a_raw_blob_does_not_say_its_abi(pair, tmp_path):
    blob = tmp_path / "kernel.btf"
    copy = ["objcopy", "-O", "binary", "--only-section=.BTF", "--set-section-flags", ".BTF=alloc"]
    subprocess.run([*copy, pair[0], blob], check=True)
    (assumed,) = ask(str(blob))
    assert (assumed.abi, assumed.assumed) == ("x86_64", True)
    (given,) = ask(str(blob), abi=X86_64)
    assert (given.abi, given.assumed) == ("x86_64", False)


def test_a_module_alone_asks_for_its_kernel(pair):
    (finding,) = ask(pair[1])
    assert unreadable(finding)
    assert "split BTF: give the vmlinux" in complaint(finding)
    assert complaint(finding).endswith("name it beside the module, or as --btf-base vmlinux")
    assert exit_code([finding]) == 3


def test_a_module_of_another_kernel_is_refused(pair, kernel_object, declarations):
    other = kernel_object("other", [declarations["NATIVE"], "struct another_one { long b[7]; };"])
    findings = ask(other, pair[1])
    (refused,) = [complaint(f) for f in findings if unreadable(f)]
    assert refused.startswith(f"{pair[1]}: {other} is the wrong base (")
    assert exit_code(findings) == 3


def test_several_kernels_keep_their_own_modules(pair, kernel_object, declarations):
    other = kernel_object("other", [declarations["NATIVE"], "struct another_one { long b[7]; };"])
    module = kernel_object(
        "other_kvm", [declarations[n] for n in ("NATIVE", "COMPAT", "KVM")], base=other
    )
    findings = ask(pair[0], other, module, pair[1])
    assert [f.path for f in findings] == [pair[0], pair[1], other, module]
    assert exit_code(findings) == 0


def test_a_kernel_alone_lacks_the_compat_struct_and_says_where_it_is(pair):
    (finding,) = ask(pair[0])
    (item,) = finding.not_checked
    assert (item.what, item.fails) == ("struct compat_vcpu_runstate_info", True)
    assert "arch/x86/kvm/xen.h, so it is in kvm.ko" in item.why
    assert exit_code([finding]) == 3


@pytest.mark.parametrize("name", ["compat_vcpu_runstate_info", "btf"])
def test_a_missing_struct_can_be_allowed_by_its_own_name_only(pair, name):
    findings = ask(pair[0], allowed=frozenset([name]))
    assert len(findings[0].not_checked) == 1
    assert exit_code(findings) == (0 if name != "btf" else 3)


def test_a_forward_declaration_is_not_found(kernel_object):
    path = kernel_object("forward", ["struct user { struct vcpu_runstate_info *area; };"])
    (finding,) = ask(path)
    assert [item.what for item in finding.not_checked] == [
        "struct vcpu_runstate_info",
        "struct compat_vcpu_runstate_info",
    ]
    assert exit_code([finding]) == 3


def test_an_i386_kernel_needs_no_compat_struct(kernel_object, declarations):
    path = kernel_object("i386", [declarations["NATIVE"]], flags=["-m32"])
    (finding,) = ask(path)
    assert (finding.abi, finding.found[0].size) == ("i386", 44)
    assert exit_code([finding]) == 0


def test_a_kernel_that_forgot_to_pack_differs(kernel_object, declarations):
    unpacked = declarations["COMPAT"].replace(" __attribute__((packed))", "")
    path = kernel_object("kvm", [declarations["NATIVE"], unpacked, declarations["KVM"]])
    (finding,) = ask(path)
    lines = [str(d).split(" spec=")[0] for d in finding.differences]
    assert "size-mismatch compat_vcpu_runstate_info [x86_64]" in lines
    assert "offset-mismatch compat_vcpu_runstate_info.time [x86_64]" in lines
    assert {line.split()[1] for line in lines if "condition" in line} == {"A3", "A4", "A5"}
    assert exit_code([finding]) == 1


def test_kvms_own_copy_is_the_binarys_and_not_the_claims(kernel_object, declarations):
    wide = declarations["KVM"].replace("unsigned current", "u64 current")
    path = kernel_object("kvm", [declarations["NATIVE"], declarations["COMPAT"], wide])
    (finding,) = ask(path)
    assert [d.struct for d in finding.differences] == ["A8", "A9"]


def test_without_kvms_own_copy_the_declared_one_is_used_and_that_is_said(
    kernel_object, declarations
):
    (finding,) = ask(kernel_object("xen", [declarations["NATIVE"], declarations["COMPAT"]]))
    assert len(finding.evaluations) == 16
    assert finding.notes == (
        "sizeof(vx->...) is what KVM's source declares: there is no struct kvm_vcpu_xen here",
    )


def test_every_definition_of_a_name_is_compared(kernel_object, declarations, tmp_path):
    first = kernel_object("first", [declarations["NATIVE"]], keep_dwarf=True)
    wrong = declarations["NATIVE"].replace("time[4]", "time[5]")
    second = kernel_object("second", [wrong], keep_dwarf=True)
    both = tmp_path / "both.o"
    strip = ["objcopy", "--remove-section=.BTF", "--weaken"]
    for path in (first, second):
        subprocess.run([*strip, path], check=True)
    subprocess.run(["ld", "-r", first, second, "-o", both], check=True)
    subprocess.run(["pahole", "-J", both], check=True, capture_output=True)
    subprocess.run(["objcopy", "--strip-debug", both], check=True)
    (finding,) = ask(str(both))
    assert sorted(layout.size for layout in finding.found) == [48, 56]
    assert {d.kind for d in finding.differences} == {"size-mismatch", "count-mismatch"}


def test_one_cause_is_one_line(pair):
    (finding,) = ask("/nowhere/vmlinuz", pair[1])
    assert complaint(finding) == (
        f"/nowhere/vmlinuz: No such file or directory; {pair[1]} needs the BTF of its kernel"
    )
    assert exit_code([finding]) == 3


def test_a_struct_that_cannot_be_read_is_not_called_missing(runstate_btf, tmp_path):
    kernel = runstate_btf()
    kernel.runstate()
    module = runstate_btf(base=kernel)
    module.runstate(COMPAT.name, 44, 2, 12)  # its entry time begins within its state
    paths = tmp_path / "kernel.btf", tmp_path / "kvm.btf"
    for path, btf in zip(paths, (kernel, module), strict=True):
        path.write_bytes(btf.build())
    findings = ask(*map(str, paths))
    (why,) = [item.why for f in findings for item in f.not_checked]
    assert "it overlaps the row before it" in why
    assert exit_code(findings) == 3


@pytest.fixture
def distilled(runstate_btf, make_elf, tmp_path):
    """Write a kernel and a module that brings a distilled base: (kernel's struct, base's types)."""

    def write(kernel_size, base_size, names=("task",)):
        kernel = runstate_btf()
        kernel.runstate()
        kernel.struct("task", kernel_size)
        base = runstate_btf()
        for name in names:
            base.struct(name, base_size)
        module = runstate_btf(base=base)
        module.runstate(COMPAT.name, 44, 4, 12)
        paths = tmp_path / "vmlinux", tmp_path / "kvm.ko"
        paths[0].write_bytes(make_elf({"__ksymtab": b"k", ".BTF": kernel.build()}, type=2))
        parts = {".modinfo": b"m", ".BTF": module.build(), ".BTF.base": base.build()}
        paths[1].write_bytes(make_elf(parts))
        return tuple(map(str, paths))

    return write


@pytest.mark.parametrize("given", [False, True])
def test_a_distilled_base_stands_beside_its_kernel(distilled, given):
    kernel, module = distilled(64, 64)
    findings = ask(module, btf_base=kernel) if given else ask(module, kernel)
    assert exit_code(findings) == 0
    assert [layout.size for layout in findings[-1].found] == [48, 44]
    assert len(findings[-1].evaluations) == 16
    # The module by itself has one of the two structs.
    (alone,) = ask(module)
    assert [layout.size for layout in alone.found] == [44]
    assert [item.what for item in alone.not_checked] == ["struct vcpu_runstate_info"]


def test_a_distilled_base_of_another_kernel_is_the_wrong_base(distilled):
    kernel, module = distilled(64, 72)
    (refused,) = [complaint(f) for f in ask(kernel, module) if unreadable(f)]
    assert f"{kernel} is the wrong base (its STRUCT task has 64 bytes, not 72)" in refused
    kernel, module = distilled(64, 64, "abcdefghijkl")
    (refused,) = [complaint(f) for f in ask(kernel, module) if unreadable(f)]
    assert f"{kernel} is the wrong base (it has no STRUCT a)" in refused


def test_a_type_that_the_kernel_lacks_is_said(distilled):
    kernel, module = distilled(64, 64, ("task", "a"))
    findings = ask(kernel, module)
    assert exit_code(findings) == 0
    assert f"its .BTF.base has types that {kernel} has not: STRUCT a" in findings[-1].notes


def test_what_is_missing_may_be_in_a_file_that_was_not_read(distilled):
    _, module = distilled(64, 64)
    findings = ask("/nowhere/vmlinuz", module)
    (item,) = findings[-1].not_checked
    assert item.why == f"not in {module}: /nowhere/vmlinuz could not be read"


@pytest.mark.x86
def test_a_pe_file_with_dwarf_is_asked(compiled_object, declarations, tmp_path):
    whole = tmp_path / "xen.efi"
    linked = tmp_path / "xen"
    built = compiled_object("xen", [declarations["NATIVE"], declarations["COMPAT"]])
    flags = ["-static", "-nostdlib", "-no-pie", "-Wl,-e0"]
    subprocess.run(["gcc", *flags, built, "-o", linked], check=True)
    subprocess.run(["objcopy", "-O", "pei-x86-64", linked, whole], check=True)
    (finding,) = ask(str(whole))
    assert ([x.size for x in finding.found], finding.differences) == ([48, 44], ())
    assert "xen.efi: PE file (x86-64), " in finding.source


def test_a_file_that_cannot_be_read_does_not_hide_the_others(pair):
    findings = ask("/nowhere/vmlinuz", *pair)
    assert [unreadable(f) for f in findings] == [True, False, False]
    assert complaint(findings[0]) == "/nowhere/vmlinuz: No such file or directory"
    assert exit_code(findings) == 3


def test_an_unreadable_base_is_named(pair):
    with pytest.raises(WitnessError, match=r"^/nowhere/vmlinuz: No such file or directory$"):
        ask(pair[1], btf_base="/nowhere/vmlinuz")


@pytest.mark.parametrize(("allowed", "fails"), [((), True), (("btf",), False)])
def test_a_file_without_btf_can_be_allowed(kernel_object, declarations, tmp_path, allowed, fails):
    bare = tmp_path / "bare.o"
    path = kernel_object("kernel", [declarations["NATIVE"]])
    subprocess.run(["objcopy", "--remove-section=.BTF", path, bare], check=True)
    (finding,) = ask(str(bare), allowed=frozenset(allowed))
    assert [item.fails for item in finding.not_checked] == [fails]
    assert "no .BTF section (no debug info)" in finding.not_checked[0].why


def test_the_identity_is_the_build_id(pair, tmp_path):
    linked = tmp_path / "linked"
    subprocess.run(
        ["ld", "--build-id=0xfeedfacecafebeef", "-e0", pair[0], "-o", linked], check=True
    )
    (finding,) = ask(str(linked), allowed=frozenset(["compat_vcpu_runstate_info"]))
    assert finding.source.endswith("build-id feedfacecafe")
    assert Path(finding.path) == linked


def test_a_file_with_btf_and_dwarf_is_asked_for_both(kernel_object, declarations):
    texts = [declarations[n] for n in ("NATIVE", "COMPAT", "KVM")]
    findings = ask(kernel_object("kernel", texts, keep_dwarf=True))
    assert [(f.witness, f.compared, len(f.evaluations)) for f in findings] == [
        ("btf", 26, 16),
        ("dwarf", 26, 16),
    ]
    assert exit_code(findings) == 0


def test_dwarf_that_contradicts_the_btf_beside_it_differs(kernel_object, declarations, tmp_path):
    wrong = declarations["NATIVE"].replace("time[4]", "time[5]")
    path = kernel_object("wrong", [wrong, declarations["COMPAT"]], keep_dwarf=True)
    right = kernel_object("right", [declarations["NATIVE"], declarations["COMPAT"]])
    blob = tmp_path / "right.btf"
    dump = ["objcopy", "-O", "binary", "-j", ".BTF", "--set-section-flags", ".BTF=alloc"]
    subprocess.run([*dump, right, blob], check=True)
    subprocess.run(["objcopy", f"--update-section=.BTF={blob}", path], check=True)
    findings = ask(path)
    assert [(f.witness, bool(f.differences)) for f in findings] == [("btf", False), ("dwarf", True)]
    assert exit_code(findings) == 1


def test_files_with_dwarf_alone_are_one_question(compiled_object, declarations):
    kernel = compiled_object("kernel", [declarations["NATIVE"]])
    module = compiled_object("kvm", [declarations["COMPAT"]])
    findings = ask(kernel, module)
    assert [f.witness for f in findings] == ["dwarf", "dwarf"]
    assert exit_code(findings) == 0
    (alone,) = ask(kernel)
    assert [item.what for item in alone.not_checked] == ["struct compat_vcpu_runstate_info"]


def test_a_file_with_dwarf_is_checked_without_drgn(compiled_object, declarations, monkeypatch):
    monkeypatch.setitem(sys.modules, "drgn", None)
    path = compiled_object("kernel", [declarations["NATIVE"], declarations["COMPAT"]])
    (finding,) = ask(path)
    assert (finding.witness, finding.compared, exit_code([finding])) == ("dwarf", 26, 0)


def test_a_compressed_module_keeps_its_dwarf(kernel_object, declarations, tmp_path):
    texts = [declarations[n] for n in ("NATIVE", "COMPAT", "KVM")]
    module = kernel_object("kvm", texts, keep_dwarf=True)
    info = tmp_path / "modinfo"
    info.write_bytes(b"license=GPL\0")
    subprocess.run(["objcopy", f"--add-section=.modinfo={info}", module], check=True)
    subprocess.run(["gzip", "-k", module], check=True)
    assert [f.witness for f in ask(f"{module}.gz")] == ["btf", "dwarf"]


def test_two_forms_of_one_kernel_are_one_question(pair, tmp_path):
    copy = tmp_path / "same.o"
    copy.write_bytes(Path(pair[0]).read_bytes())
    findings = ask(pair[0], str(copy), pair[1])
    assert [f.path for f in findings] == [pair[0], str(copy), pair[1]]
    assert exit_code(findings) == 0


@pytest.mark.rarely
def test_a_debug_kernel_and_its_module_agree_with_themselves(debian):
    """A vmlinux of 360 MB and a kvm.ko of 24 MB: BTF and DWARF of both; 100 MB are streamed."""
    names = debian._closure(debian._apt("trixie", "amd64"), "linux-image-amd64-dbg")
    name = next(name for name in names if re.match(r"linux-image-\d+\.", name))
    paths = debian.package("trixie", name, [r"vmlinux-.*", r"kvm\.ko"])
    findings = ask(*map(str, paths))
    assert [f.witness for f in findings] == ["btf", "dwarf", "btf", "dwarf"]
    assert [f.compared for f in findings] == [13, 13, 26, 26]
    assert exit_code(findings) == 0


def test_damaged_btf_is_that_files_matter_alone(pair, tmp_path):
    damaged = tmp_path / "damaged.o"
    data = Path(pair[0]).read_bytes()
    damaged.write_bytes(data.replace(b"\x9f\xeb\x01", b"\x9f\x00\x01"))
    findings = ask(str(damaged), *pair)
    (refused,) = [f for f in findings if unreadable(f)]
    assert complaint(refused).startswith(f"{damaged}: not BTF")
    assert [f.compared for f in findings if not unreadable(f)] == [13, 26]
    assert exit_code(findings) == 3


def test_a_struct_there_is_no_word_for_hides_no_other_files_difference(kernel_object, declarations):
    wrong = kernel_object("wrong", ["struct vcpu_runstate_info { int state; };"])
    wordless = kernel_object(
        "wordless",
        ["struct vcpu_runstate_info { int state; union { long a; char b; }; };"],
    )
    findings = ask(wrong, wordless)
    (refused,) = [f for f in findings if unreadable(f)]
    assert complaint(refused).startswith(f"{wordless}: struct vcpu_runstate_info: ")
    assert exit_code(findings) == 1


# ELF class and e_machine of machines that have no ABI here, and one of ours in the wrong class.
FOREIGN = [(2, 8), (2, 21), (2, 22), (2, 40), (2, 258), (2, 247), (2, 3), (2, 0)]


@pytest.mark.parametrize("machine", FOREIGN)
@pytest.mark.parametrize("witness", ["btf", "dwarf"])
def test_a_machine_without_an_abi_is_not_compared_as_another(
    compiled_object, kernel_object, declarations, tmp_path, machine, witness
):
    build = kernel_object if witness == "btf" else compiled_object
    data = bytearray(Path(build("native", [declarations["NATIVE"]])).read_bytes())
    data[18:20] = machine[1].to_bytes(2, "little")
    if witness == "dwarf":
        data[16] = 2  # an executable: nothing is relocated
    foreign = tmp_path / "foreign.o"
    foreign.write_bytes(data)
    (finding,) = ask(str(foreign))
    assert (finding.witness, unreadable(finding), exit_code([finding])) == (witness, True, 3)
    assert "no ABI here is that machine's" in complaint(finding)
