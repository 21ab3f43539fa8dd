"""check --family: every struct of every family, in the files and formats that runstate's are."""

import json
import re
import tarfile
from functools import partial

import pytest

from runstate_abi import check_files
from runstate_abi.layouts.structs import families
from runstate_abi.layouts.structs.family_names import MODULES
from runstate_abi.tools.reports.formats import FORMATS

KVM = "6.12.107+deb13-amd64-kvm.ALL.btf"
XEN = "xen-syms-from-dwarf.ALL.btf"
LACKING = ("steal_time", "hyperv", "uapi")  # not in that blob, or not all of it
ALLOWED = [word for name in LACKING for word in ("--allow-missing", name)]


@pytest.fixture
def check(runstate):
    return partial(runstate, "check")


def test_all_families_are_a_line_each(check, data):
    code, out, err = check("--family", "all", *ALLOWED, data / "btf" / KVM)
    assert (code, err) == (0, "")
    lines = [line for line in out.splitlines() if re.match(r"(ok|-|missing|DIFFERS) ", line)]
    assert len(lines) == 1 + len(MODULES)
    for name, line in zip(MODULES, lines[1:], strict=True):
        assert f"{name}" in line
    assert "vcpu_info 64" in lines[1]
    assert "compat_shared_info 2344" in lines[1]
    assert "10 of 10 conditions hold" in lines[1]


def test_what_a_family_lacks_is_not_checked_unless_that_is_allowed(check, data):
    code, out, _ = check("--family", "uapi", data / "btf" / KVM)
    assert code == 3
    assert "not checked: struct kvm_xen_exit: not in " in out
    code, out, _ = check("--family", "uapi", "--allow-missing", "uapi", data / "btf" / KVM)
    assert code == 0
    assert "not asked: struct kvm_xen_exit: not in " in out


def test_a_family_that_a_kernel_of_this_abi_has_not_is_not_asked(check, data):
    blob = data / "btf" / "armmp-from-dwarf.ALL.btf"
    code, out, _ = check("--family", "hyperv", "--abi", "arm32", blob)
    assert code == 3  # nothing was compared
    assert "not asked: family hyperv: a kernel of arm32 has no struct of it" in out


def test_runstate_is_the_default_and_says_what_it_said(check, data):
    plain = check(data / "btf" / KVM)
    assert plain == check("--family", "runstate", data / "btf" / KVM)
    assert "pvclock" not in plain[1]


@pytest.mark.parametrize("name", [*MODULES, "all"])
def test_without_a_file_the_encodings_and_compilers_are_asked(check, name):
    code, out, _ = check("--family", name)
    assert code in (0, 3)  # 3: a compiler that cannot make 32-bit objects here
    assert "DIFFERS" not in out
    wanted = MODULES if name == "all" else [name]
    for one in wanted:
        assert (
            len(
                re.findall(
                    rf"^ok +(construct|ctypes|C rule|conditions) .* {one}", out, re.MULTILINE
                )
            )
            >= 4
        )


# Each number of a blob is a claim's: with a claim changed by one, the same blob differs.
@pytest.mark.parametrize("form", sorted(FORMATS))
@pytest.mark.parametrize("name", ["vcpu_info", "pvclock"])
def test_a_wrong_claim_is_seen_in_every_format(check, data, monkeypatch, name, form):
    family = families.family(name)
    wrong = []
    for layout in family.claims["x86_64"]:
        first = layout.members[0]
        rows = (r._replace(name="other") if r is first else r for r in layout.rows)
        wrong.append(layout._replace(rows=tuple(rows)))
    changed = family._replace(claims={**family.claims, "x86_64": tuple(wrong)})
    words = ("--family", name, "--format", form, data / "btf" / KVM)
    before = check(*words)
    module = families.import_module(MODULES[name])
    monkeypatch.setattr(module, "FAMILY", changed)
    code, out, _ = check(*words)
    assert (before[0], code) == (0, 1)
    assert out.count("missing-member") > before[1].count("missing-member")


def test_a_header_is_held_against_the_claim_of_its_name(check, tmp_path):
    header = tmp_path / "mine.h"
    text = (
        "#include <stdint.h>\nstruct vcpu_set_singleshot_timer "
        "{ uint64_t timeout_abs_ns; uint32_t flags; };\n"
        "struct mine { uint32_t version, sec, nsec; };\n"
    )
    header.write_text(text)
    named = ("--struct", "vcpu_set_singleshot_timer", "--struct", "mine=pvclock_wall_clock")
    code, out, _ = check("--header", header, *named, "--cc", "gcc")
    # Linux packs the wall clock, and this is not packed.
    assert code == 1
    assert re.findall(r"^\S+-mismatch .*", out, re.MULTILINE) == [
        line
        for line in out.splitlines()
        if line.startswith("alignment-mismatch pvclock_wall_clock")
    ]
    header.write_text(text.replace("uint32_t flags", "uint64_t flags"))
    code, out, _ = check("--header", header, *named[:2], "--cc", "gcc")
    assert code == 1
    assert "element-size-mismatch vcpu_set_singleshot_timer.flags" in out


def test_a_struct_of_another_name_in_a_file(check, data):
    words = ("--struct", "pvclock_vcpu_time_info=vcpu_time_info", data / "btf" / KVM)
    code, out, _ = check(*words)
    assert code == 0
    assert "pvclock: vcpu_time_info 32" in out
    code, out, _ = check("--struct", "nowhere=vcpu_time_info", data / "btf" / KVM)
    assert code == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--family", "pvclok"), "no family 'pvclok': did you mean pvclock?"),
        (("--family", "pvclock", "--allow-missing", "vcpu_inf"), "no such struct or witness"),
    ],
)
def test_a_wrong_name_is_wrong_usage(check, words, said):
    code, out, err = check(*words)
    assert (code, out, said in err, err.count("\n")) == (2, "", True, 1)


def test_the_configuration_names_a_family_too(check, data, tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text('[tool.runstate]\nfamily = "pvclock"\n')
    monkeypatch.chdir(tmp_path)
    assert "pvclock: " in check(data / "btf" / KVM)[1]
    (tmp_path / "pyproject.toml").write_text('[tool.runstate]\nfamily = "pvclok"\n')
    code, _, err = check(data / "btf" / KVM)
    assert (code, "did you mean pvclock?" in err) == (2, True)


def test_json_names_the_family_and_coverage_its_invariants(check, data):
    document = json.loads(check("--family", "pvclock", "--json", data / "btf" / KVM)[1])
    assert [one["family"] for one in document["witnesses"]] == ["pvclock"]
    ids = {row["id"] for row in document["coverage"]}
    family = families.family("pvclock")
    wanted = {c.id for c in (*family.conditions, *family.unasserted)}
    wanted |= {
        f"{x.name}.{row.name}" for x in family.layouts("x86_64").values() for row in x.members
    }
    assert wanted <= ids
    assert "A1" not in ids


# An answer that is kept is one to what was asked.
def test_a_cached_answer_is_that_of_its_family(check, data, tmp_path):
    archive = tmp_path / "kernels.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(data / "btf" / XEN, "xen.btf")
    options = ("--cache", tmp_path / "cache", "-j1", archive)
    first, second = check(*options), check("--family", "pvclock", *options)
    assert "vcpu_time_info" not in first[1]
    assert second == check("--family", "pvclock", *options)
    assert check(*options) == first


@pytest.mark.parametrize("verb", ["write", "race", "judge"])
def test_a_verb_about_writers_says_that_there_is_none(runstate, verb):
    code, out, err = runstate(verb, "--family", "uapi")
    assert (code, out) == (2, "")
    assert "no writer of this family yet" in err


@pytest.mark.network
def test_debians_newest_kernel_has_every_struct(check, debian):
    members = [r"vmlinuz.*", r"kvm\.ko.*"]
    kernel, module = debian.kernel("sid", "linux-image-amd64", members)
    code, out, err = check("--family", "all", kernel, module)
    assert (code, err) == (0, "")
    for name in MODULES:
        family = families.family(name)
        (line,) = re.findall(rf"^ok +btf .* {name}: .*$", out, re.MULTILINE)
        assert all(f" {struct} " in line for struct in family.in_kernels["x86_64"])
    assert "0 differences, 0 not checked" in out


@pytest.mark.network
def test_an_arm64_kernel_has_linuxs_declarations(check, debian):
    (kernel,) = debian.kernel("sid", "linux-image-arm64", [r"vmlinuz.*"], architecture="arm64")
    code, out, _ = check("--family", "all", kernel)
    assert code == 0
    assert "shared_info 1096" in out
    assert "pvclock_vcpu_stolen_time 64" in out


# A file that is of another ABI than the first is held against its own ABI's claims.
@pytest.mark.needs("gcc", "gcc -m32")
@pytest.mark.x86
def test_objects_of_two_abis_are_asked_apart(check, tool, tmp_path):
    source = tmp_path / "timer.c"
    source.write_text(
        "struct vcpu_set_singleshot_timer { unsigned long long timeout_abs_ns; unsigned flags; }"
        " timer;\n"
    )
    paths = []
    for flag in ("-m64", "-m32"):
        paths.append(tmp_path / f"timer{flag}.o")
        tool("gcc", "-g", flag, "-c", source, "-o", paths[-1])
    words = ("--family", "uapi", "--allow-missing", "uapi")
    for order in (paths, paths[::-1]):
        code, out, _ = check(*words, *order)
        assert code == 0, out
        assert re.findall(r"^ok +dwarf +\[(\w+)\] +uapi: \S+ (\d+)", out, re.MULTILINE) == [
            (("x86_64", "16"), ("i386", "12"))[path is paths[1]] for path in order
        ]


def test_a_struct_without_a_claim_on_the_abi_is_not_checked(check, data, monkeypatch):
    family = families.family("pvclock")
    module = families.import_module(MODULES["pvclock"])
    known = tuple(x for x in family.claims["x86_64"] if x.name != "pvclock_wall_clock")
    changed = {**family.claims, "x86_64": known}
    monkeypatch.setattr(module, "FAMILY", family._replace(claims=changed))
    code, out, _ = check("--family", "pvclock", data / "btf" / KVM)
    assert code == 3
    assert "not checked: struct pvclock_wall_clock: there is no claim of it on x86_64" in out


def test_a_script_names_a_family_too(data):
    (finding,) = check_files([data / "btf" / KVM], family="pvclock")
    assert (finding.family, finding.differences, finding.not_checked) == ("pvclock", (), ())
    assert len(check_files([data / "btf" / KVM], family="all")) == 1 + len(MODULES)
    with pytest.raises(KeyError):
        check_files([data / "btf" / KVM], family="nonsense")


VCPU_INFO = """
typedef unsigned long long u64;
struct arch_vcpu_info {{ unsigned long cr2, pad; }};
struct my_time {{ unsigned {time}; u64 tsc_timestamp, system_time; unsigned tsc_to_system_mul;
                 {sign} char tsc_shift; unsigned char flags, pad[2]; }};
struct vcpu_info {{ unsigned char evtchn_upcall_pending, evtchn_upcall_mask;
                   unsigned long evtchn_pending_sel; struct arch_vcpu_info arch;
                   struct my_time time; }};
struct vcpu_info x;
"""
RIGHT, SWAPPED = "version, pad0", "pad0, version"


# A struct in a struct is looked into, whatever its tag is: its size alone says little.
@pytest.mark.needs("gcc")
@pytest.mark.x86
@pytest.mark.parametrize("witness", ["header", "dwarf", "btf"])
def test_what_is_in_a_struct_in_a_struct_is_compared(check, tool, tmp_path, witness):
    def asked(text):
        source = tmp_path / "mine.h"
        source.write_text(text)
        if witness == "header":
            return check("--header", source, "--struct", "vcpu_info", "--cc", "gcc")
        made = tmp_path / "mine.o"
        flag = "-g" if witness == "dwarf" else "-gbtf"
        tool("gcc", flag, "-c", "-x", "c", source, "-o", made)
        return check(made, "--struct", "vcpu_info=vcpu_info")

    code, out, err = asked(VCPU_INFO.format(time=RIGHT, sign="signed"))
    assert (code, err) == (0, ""), out
    assert "what is in" not in out
    code, out, _ = asked(VCPU_INFO.format(time=SWAPPED, sign="signed"))
    assert code == 1
    assert "offset-mismatch vcpu_info.time.version [x86_64] spec=0 seen=4" in out
    # A shift that is unsigned goes the other way.
    code, out, _ = asked(VCPU_INFO.format(time=RIGHT, sign="unsigned"))
    assert code == 1
    assert "signedness-mismatch vcpu_info.time.tsc_shift" in out
    code, out, _ = asked(
        VCPU_INFO.replace("struct my_time time;", "double time[4];").format(
            time=RIGHT, sign="signed"
        )
    )
    assert code == 1


# Each definition is compared with the declaration that it is, in any order.
@pytest.mark.needs("gcc")
@pytest.mark.x86
@pytest.mark.parametrize("turned", [False, True])
def test_two_declarations_in_use_are_compared_each_with_its_own(check, tool, tmp_path, turned):
    start = "typedef unsigned long long u64; struct vcpu_time_info { unsigned version, pad0; "
    start += "u64 tsc_timestamp, system_time; unsigned tsc_to_system_mul; signed char tsc_shift; "
    ends = {
        "new": "unsigned char flags, pad1[2]; } x;",
        "old": "signed char pad1[3]; } x;",
        "wrong": "unsigned char pad1[2], flags; } x;",
    }
    paths = {}
    for name, end in ends.items():
        (tmp_path / f"{name}.c").write_text(start + end)
        paths[name] = tmp_path / f"{name}.o"
        tool("gcc", "-g", "-c", tmp_path / f"{name}.c", "-o", paths[name])
    both = [paths["new"], paths["old"]]
    words = ("--struct", "vcpu_time_info")
    code, out, _ = check(*words, *(both[::-1] if turned else both))
    assert code == 0, out
    # Any flags fit in the padding of the old one: a member elsewhere is the new one's, and wrong.
    code, out, _ = check(*words, *([paths["wrong"], *both] if turned else [*both, paths["wrong"]]))
    assert code == 1
    assert "offset-mismatch vcpu_time_info.flags [x86_64] spec=29 seen=31" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--struct", "vcpu_info", "--member", "time=a,b"), "are about runstate's members"),
        (("--struct", "vcpu_info", "--family", "pvclock"), "--struct names one of vcpu_info"),
        (("--struct", "nonsense"), "or a struct of another family"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(check, data, words, said):
    code, out, err = check(*words, data / "btf" / KVM)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


@pytest.mark.needs("gcc")
@pytest.mark.x86
def test_a_vector_is_no_number(check, tool, tmp_path):
    source, made = tmp_path / "v.c", tmp_path / "v.o"
    source.write_text(
        "struct kvm_steal_time { unsigned long steal __attribute__((vector_size(8)));"
        " unsigned version, flags; unsigned char preempted, u8_pad[3]; unsigned pad[11]; } x;\n"
    )
    tool("gcc", "-g", "-c", source, "-o", made)
    code, out, _ = check(made, "--struct", "kvm_steal_time")
    assert code == 1
    assert "type-mismatch kvm_steal_time.steal [x86_64] spec=unsigned seen=no number" in out


@pytest.mark.needs("aarch64-linux-gnu-gcc")
def test_an_empty_struct_has_nothing_to_compare(check, tmp_path):
    header = tmp_path / "arch.h"
    header.write_text("struct arch_vcpu_info { };\n")
    words = ("--struct", "arch_vcpu_info", "--cc", "aarch64-linux-gnu-gcc")
    code, out, _ = check("--header", header, *words)
    assert code == 3
    assert "it is empty here: nothing to compare" in out


SHARED_INFO = """
struct arch_shared_info {{ unsigned long max_pfn, pfn_to_mfn_frame_list_list, nmi_reason, p2m_cr3,
                                         p2m_vaddr, p2m_generation; }};
struct shared_info {{ struct vcpu_info vcpu_info[32]; unsigned long evtchn_pending[64],
                     evtchn_mask[64]; unsigned wc_version, wc_sec, wc_nsec, wc_sec_hi;
                     struct arch_shared_info arch; }};
struct shared_info y;
"""


@pytest.mark.needs("gcc")
@pytest.mark.x86
@pytest.mark.parametrize("witness", ["header", "-g", "-gbtf"])
def test_a_struct_in_a_struct_in_a_struct_is_compared(check, tool, tmp_path, witness):
    for time, wanted in ((RIGHT, 0), (SWAPPED, 1)):
        source, made = tmp_path / "mine.h", tmp_path / "mine.o"
        source.write_text((VCPU_INFO + SHARED_INFO).format(time=time, sign="signed"))
        if witness == "header":
            code, out, _ = check("--header", source, "--struct", "shared_info", "--cc", "gcc")
        else:
            tool("gcc", witness, "-c", "-x", "c", source, "-o", made)
            code, out, _ = check(made, "--struct", "shared_info")
        assert code == wanted, out
        path = "shared_info.vcpu_info.time.version"
        assert (f"offset-mismatch {path} [x86_64] spec=0 seen=4" in out) is bool(wanted)


# What a witness cannot look into is not equal in silence.
@pytest.mark.needs("rustc")
def test_what_is_in_a_struct_that_is_not_looked_into_is_told(check, tmp_path):
    source = tmp_path / "mine.rs"
    source.write_text(
        "#[repr(C)] pub struct Arch { cr2: u64, pad: u64 }\n"
        "#[repr(C)] pub struct VcpuInfo { evtchn_upcall_pending: u8, evtchn_upcall_mask: u8,"
        " evtchn_pending_sel: u64, arch: Arch, time: [u64; 4] }\n"
    )
    _, out, _ = check("--rust", source, "--struct", "VcpuInfo=vcpu_info")
    assert "what is in vcpu_info.arch, what is in vcpu_info.time" in out
