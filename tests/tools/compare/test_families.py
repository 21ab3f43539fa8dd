"""show, diff and matrix of families besides runstate."""

import json
import re

import pytest

from runstate_abi.layouts.abi import ABI
from runstate_abi.layouts.structs import families
from runstate_abi.layouts.structs.family_names import MODULES
from runstate_abi.tools.compare import grid

each = pytest.mark.parametrize("name", MODULES)


@each
def test_show_has_every_row_of_every_struct(runstate, name):
    code, out, err = runstate("show", "--family", name)
    assert (code, err) == (0, "")
    layouts = json.loads(runstate("show", "--family", name, "--json")[1])["layouts"]
    wanted = families.family(name).claims["x86_64"]
    assert sorted(x["name"] for x in layouts) == sorted(x.name for x in wanted)
    for layout in wanted:
        assert f"{layout.name} [x86_64]" in out
        for row in layout.members:
            place = rf"0x{row.offset:02x} +{row.offset} +{row.size}\b"
            titled = rf"{re.escape(row.name)}(\[{row.count}\])?"
            assert re.search(rf"^{titled} .*{place}", out, re.MULTILINE)
        aligned = [(x["size"], x["alignment"]) for x in layouts if x["name"] == layout.name]
        assert (layout.size, layout.alignment) in aligned


def test_a_compat_form_stands_beside_its_native_one(runstate):
    out = runstate("show", "--family", "vcpu_info")[1]
    assert re.search(r" vcpu_info \[x86_64\] +compat_vcpu_info \[x86_64\]", out)
    assert re.search(r"^evtchn_pending_sel .* 0x08 +8 +8 +0x04 +4 +4$", out, re.MULTILINE)


def test_all_begins_with_runstate(runstate):
    out = runstate("show", "--family", "all")[1]
    assert out.startswith(runstate("show")[1].rstrip("\n"))
    for name in MODULES:
        assert f"\n{name}: {families.family(name).title}\n" in out


def test_no_struct_on_an_abi_is_wrong_usage(runstate, monkeypatch):
    family = families.family("pvclock")
    module = families.import_module(MODULES["pvclock"])
    claims = {"x86_64": family.claims["x86_64"]}
    monkeypatch.setattr(module, "FAMILY", family._replace(claims=claims))
    code, out, err = runstate("show", "--family", "pvclock", "--abi", "riscv64")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "no struct of it on riscv64" in err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("vcpu_info", "vcpu_info"), 0, "0 differ"),
        (("vcpu_info", "compat_vcpu_info"), 1, "-4     6 bytes of padding before it"),
        (("vcpu_info", "vcpu_info@arm64"), 1, "size-mismatch vcpu_info [x86_64] spec=64 seen=48"),
        (("kvm_xen_exit", "kvm_xen_exit@i386"), 1, "u.hcall.params"),
    ],
)
def test_diff_of_two_claims(runstate, words, code, said):
    got, out, err = runstate("diff", *words)
    assert (got, err, said in out) == (code, "", True), out


def test_diff_of_a_claim_and_a_file_or_a_compiler(runstate, data):
    blob = data / "btf" / "6.12.107+deb13-amd64-kvm.ALL.btf"
    assert runstate("diff", "shared_info", blob)[0] == 0
    assert runstate("diff", "--family", "vcpu_info", blob, blob)[0] == 0
    assert runstate("diff", "shared_info", data / "btf" / "i386-from-dwarf.ALL.btf")[0] == 1
    assert runstate("diff", "shared_info", "cc:gcc")[0] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("vcpu_info@arm65", "vcpu_info"), "no ABI 'arm65'"),
        (("compat_vcpu_info@arm64", "vcpu_info"), "no struct compat_vcpu_info on arm64"),
        (("--family", "pvclok", "a", "b"), "did you mean pvclock?"),
    ],
)
def test_diff_refuses_a_claim_that_is_not_there(runstate, words, said):
    code, out, err = runstate("diff", *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


@each
def test_the_matrix_has_each_claim_of_each_abi(runstate, name):
    code, out, _ = runstate("matrix", "--family", name, "--cc", "gcc -m64", "--json")
    document = json.loads(out)
    family = families.family(name)
    assert (code, document["differences"]) == (0, [])
    columns = [column["abi"] for column in document["columns"]]
    assert columns == list(ABI)
    for row in document["rows"]:
        for abi, cell in zip(columns, row["cells"], strict=True):
            layout = family.layouts(abi).get(row["struct"])
            value = grid._value(layout, row["kind"], row["member"] or "") if layout else None
            assert cell["claim"] == value


def test_all_families_are_one_matrix(runstate, data):
    blob = data / "btf" / "6.12.107+deb13-amd64-kvm.ALL.btf"
    missing = [w for name in MODULES for w in ("--allow-missing", name)]
    words = ("matrix", "--family", "all", "--cc", "gcc -m64", *missing, blob)
    code, out, _ = runstate(*words, "--json")
    document = json.loads(out)
    structs = {row["struct"] for row in document["rows"]}
    assert code == 0
    assert {"vcpu_runstate_info", "shared_info", "kvm_steal_time", "kvm_xen_exit"} <= structs
    assert [column["title"] for column in document["columns"][len(ABI) :]] == [
        f"{blob} [x86_64 assumed]"
    ]
    assert all(len(row["cells"]) == len(ABI) + 1 for row in document["rows"])
    page = runstate(*words, "--format", "html")[1]
    assert "The structs that a guest shares, on every ABI" in page


def test_the_matrix_says_where_a_witness_disagrees(runstate, data, monkeypatch):
    family = families.family("pvclock")
    module = families.import_module(MODULES["pvclock"])
    wrong = tuple(
        x._replace(rows=tuple(r._replace(name="other") if r.name == "sec" else r for r in x.rows))
        for x in family.claims["x86_64"]
    )
    monkeypatch.setattr(module, "FAMILY", family._replace(claims={"x86_64": wrong}))
    code, out, _ = runstate(
        "matrix", "--family", "pvclock", data / "btf" / "i386-from-dwarf.ALL.btf"
    )
    assert code == 1
    assert "missing-member pvclock_wall_clock.other" in out


@pytest.mark.needs("gcc")
@pytest.mark.x86
def test_diff_looks_into_a_struct_in_a_struct(runstate, tool, tmp_path):
    text = (
        "typedef unsigned long long u64; struct arch_vcpu_info { unsigned long cr2, pad; };"
        "struct time { unsigned PAIR; u64 tsc_timestamp, system_time; unsigned tsc_to_system_mul;"
        " signed char tsc_shift; unsigned char flags, pad[2]; };"
        "struct vcpu_info { unsigned char evtchn_upcall_pending, evtchn_upcall_mask;"
        " unsigned long evtchn_pending_sel; struct arch_vcpu_info arch; struct time time; } x;\n"
    )
    for pair, wanted in (("version, pad0", 0), ("pad0, version", 1)):
        source, made = tmp_path / "x.c", tmp_path / "x.o"
        source.write_text(text.replace("PAIR", pair))
        tool("gcc", "-gbtf", "-c", source, "-o", made)
        code, out, err = runstate("diff", "vcpu_info", made)
        assert (code, err) == (wanted, ""), out
        assert ("offset-mismatch vcpu_info.time.version" in out) is bool(wanted)
