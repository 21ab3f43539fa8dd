"""The families besides runstate: three encodings, compilers, debug info and the C rule agree."""

import re
import sys
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import construct
import pytest

from runstate_abi.layouts import conditions
from runstate_abi.layouts.abi import ABI
from runstate_abi.layouts.model import STRUCT, Layouts, Look, Scalar, compare
from runstate_abi.layouts.structs import families
from runstate_abi.layouts.structs.family_names import MODULES
from runstate_abi.layouts.witnesses import family_claims, of_family
from runstate_abi.layouts.witnesses.btf import Btf, observe
from runstate_abi.tools.compare import grid
from runstate_abi.tools.reports import coverage

FAMILIES = [families.family(name) for name in MODULES]
IDS = list(MODULES)
each = pytest.mark.parametrize("family", FAMILIES, ids=IDS)
TOOLS = Path(__file__).parents[3] / "tools"


def told(findings):
    """(differences, what failed) of some findings that compared something."""
    findings = list(findings)
    assert any(finding.compared or finding.evaluations for finding in findings)
    failed = [item for one in findings for item in one.not_checked if item.fails]
    return [str(d) for one in findings for d in one.differences], failed


@each
def test_table_construct_ctypes_the_c_rule_and_the_conditions_agree(family):
    assert told(of_family.encodings(family)) == ([], [])


@each
def test_every_struct_has_both_encodings_on_x86_64_and_every_claim_a_header(family):
    module = import_module(family.encodings)
    here = {layout.name for layout in family.claims["x86_64"]}
    assert set(module.CONSTRUCTS["x86_64"]) == here == set(module.CTYPES["x86_64"])
    assert set(family.headers) == set(family.structs)
    assert {name for names in family.in_kernels.values() for name in names} <= {*family.structs}


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(command, marks=pytest.mark.needs(program))
        for command, program in (
            ("gcc -m64", "gcc"),
            ("gcc -m32", "gcc -m32"),
            ("clang -m64", "clang"),
            ("g++", "g++"),
            ("aarch64-linux-gnu-gcc", "aarch64-linux-gnu-gcc"),
            ("arm-linux-gnueabihf-gcc", "arm-linux-gnueabihf-gcc"),
        )
    ],
)
@pytest.mark.x86
@each
def test_a_compiler_lays_the_declarations_out_as_the_table_says(family, command):
    (finding,) = of_family.asked_of_compilers(family, [command], True, None)
    assert told([finding]) == ([], [])
    assert {x.name for x in finding.found} == set(family.layouts(finding.abi))


def test_zig_fills_every_cell_of_every_abi():
    pytest.importorskip("ziglang")
    findings = list(grid.asked_of_zig(FAMILIES))
    for family in FAMILIES:
        found = grid.grid(findings, family)
        assert list(grid.differences(found)) == []
        assert grid.unasked(found) == 0
        abis = {column.abi for column in found.columns if column.claims}
        assert abis == set(family.claims)


# What an honest blob has: out of Debian's kernel and kvm.ko, a Linux for i386 and for armhf by
# their DWARF, and xen-syms.
BLOBS = {
    "6.12.107+deb13-amd64-kvm.ALL.btf": ("x86_64", 17 - 1),  # runstate's two aside
    "i386-from-dwarf.ALL.btf": ("i386", 9),
    "armmp-from-dwarf.ALL.btf": ("arm32", 5),
    "xen-syms-from-dwarf.ALL.btf": ("x86_64", 13),
}


@pytest.mark.parametrize("name", BLOBS)
def test_real_debug_info_agrees(data, name):
    abi, least = BLOBS[name]
    blob = Btf(memoryview((data / "btf" / name).read_bytes()), source=name)
    count = 0
    for family in FAMILIES:
        seen = observe(blob, family.structs, ABI[abi], family_claims.inside(family))
        finding = family_claims.held(family, "btf", seen, ABI[abi])
        assert finding.differences == ()
        assert all(one.holds for one in finding.evaluations)
        count += len({layout.name for layout in finding.found})
    assert count >= least - 1


# Of each number on x86-64 two witnesses at least that cannot have it from one another.
@pytest.mark.needs("gcc")
@pytest.mark.x86
@each
def test_every_invariant_is_confirmed_by_two_independent_witnesses(family):
    findings = [
        *of_family.encodings(family),
        *of_family.asked_of_compilers(family, ["gcc -m64"], True, None),
    ]
    for row in coverage.coverage(findings):
        kinds = {name.split(" [")[0] for name in row.confirmed} - {"conditions"}
        assert len(kinds) >= 2, row
        assert row.denied == ()


def narrower(row):
    """A row of the same bytes, which are other numbers."""
    if row.type.size == 1:
        return row._replace(type=Scalar("minifloat", 1, None, kind="floating"))
    if row.type.kind == STRUCT:
        return row._replace(type=Scalar("uint8_t", 1, False), count=row.size)
    half = row.type.size // 2
    return row._replace(type=Scalar("half", half, False), count=row.count * 2)


# Each member of each claim made wrong on purpose: every witness that has it must say so.
@pytest.mark.needs("gcc")
@pytest.mark.x86
@each
def test_a_wrong_member_is_a_difference_to_every_witness(family):
    for claim in {x.name: x for x in family.claims["x86_64"]}.values():
        others = [x for x in family.claims["x86_64"] if x.name != claim.name]
        for row in claim.members:
            rows = tuple(narrower(r) if r is row else r for r in claim.rows)
            wrong = claim._replace(rows=rows), *others
            changed = family._replace(claims={**family.claims, "x86_64": wrong})
            findings = list(of_family.encodings(changed))
            if row is claim.members[-1]:
                findings += of_family.asked_of_compilers(changed, ["gcc -m64"], True, None)
            for finding in findings:
                if finding.abi == "x86_64" and finding.witness != "conditions":
                    members = {(d.struct, d.member) for d in finding.differences}
                    assert (claim.name, row.name) in members, finding.witness


# What is wrong in one of the encodings alone.
@pytest.mark.parametrize(("witness", "made"), [("construct", "CONSTRUCTS"), ("ctypes", "CTYPES")])
@each
def test_an_encoding_that_is_wrong_is_seen_by_itself(family, witness, made, monkeypatch):
    module = import_module(family.encodings)
    honest = getattr(module, made)["x86_64"]
    for name, struct in honest.items():
        structs = {"x86_64": {**honest, name: without_the_first(struct)}}
        with monkeypatch.context() as patch:
            patch.setattr(module, made, structs)
            found = list(of_family.encodings(family))
        wrong = {f.witness for f in found if any(d.struct == name for d in f.differences)}
        assert wrong == {witness}


def without_the_first(struct):
    if isinstance(struct, construct.Struct):
        rest = struct.subcons[1:] or ["other" / construct.Bytes(struct.sizeof())]
        return construct.Struct(*rest)
    kept = {
        name: struct.__dict__[name] for name in ("_pack_", "_layout_") if name in struct.__dict__
    }
    return type("wrong", (struct.__mro__[1],), {"_fields_": struct._fields_[1:], **kept})


@each
def test_each_condition_is_false_for_some_change(family):
    """A condition that no change of a layout makes false asserts nothing."""
    for condition in (*family.conditions, *family.unasserted):
        claims = family.layouts("x86_64")
        before = conditions.evaluate(condition, claims, {})
        if before.holds is None:
            claims = {x.name: x for x in family.claims["x86_64"]}  # the second of two declarations
            before = conditions.evaluate(condition, claims, {})
        assert before.holds is True, condition
        assert any(
            conditions.evaluate(condition, {**claims, name: wrong}, {}).holds is False
            for name in conditions.structs_of(condition) | set(claims)
            if name in claims
            for wrong in changed(claims[name])
        ), condition


BYTE = Scalar("uint8_t", 1, False)


def changed(layout):
    """Layouts with one thing changed: longer, moved, wider, narrower, a sign, an alignment."""
    pad = layout.rows[0]._replace(name="new_pad", type=BYTE, count=8, padding=True)
    moved = (row._replace(offset=row.offset + 8) for row in layout.rows)
    yield layout._replace(size=layout.size + 8, rows=(pad._replace(offset=0), *moved))
    behind = pad._replace(offset=layout.size)
    yield layout._replace(size=layout.size + 8, rows=(*layout.rows, behind))
    if layout.alignment is not None:
        yield layout._replace(alignment=1 if layout.alignment > 1 else 2)
    for n, row in enumerate(layout.rows):
        if row.type.size == 1:
            moved = (r._replace(offset=r.offset + row.count) for r in layout.rows[n + 1 :])
            wider = row._replace(type=row.type._replace(size=2))
            rows = (*layout.rows[:n], wider, *moved)
            yield layout._replace(size=layout.size + row.count, rows=rows, alignment=None)
        if row.type.signed is not None:
            other = row._replace(type=row.type._replace(signed=not row.type.signed))
            yield layout._replace(rows=(*layout.rows[:n], other, *layout.rows[n + 1 :]))
        if not row.padding and row.type.size > 1:
            yield layout._replace(rows=(*layout.rows[:n], narrower(row), *layout.rows[n + 1 :]))
            half = row._replace(type=BYTE._replace(size=row.size // 2), count=1)
            rest = pad._replace(offset=half.end, count=row.end - half.end)
            yield layout._replace(rows=(*layout.rows[:n], half, rest, *layout.rows[n + 1 :]))
    members = layout.members
    for one, two in pairwise(members):
        if one.size == two.size:
            swap = {one.name: two.name, two.name: one.name}
            rows = tuple(r._replace(name=swap.get(r.name, r.name)) for r in layout.rows)
            yield layout._replace(rows=rows)


def test_flattened_is_every_byte_by_its_path():
    family = families.family("vcpu_info")
    structs = {x.name: x for one in FAMILIES for x in one.claims["x86_64"]}
    claims = family.layouts("x86_64")
    whole = families.flattened(claims["shared_info"], {**structs, **claims})
    assert whole.offsetof("vcpu_info[3].time.version") == 3 * 64 + 32
    assert whole.offsetof("vcpu_info[31].evtchn_pending_sel") == 31 * 64 + 8
    assert whole.size == 3136  # and Layout() refuses a gap


@dataclass
class Entry:
    """What a name of MODULES stands for."""

    module: str = "mine"
    encodings: str = "mine_encodings"


@pytest.fixture
def mine(data, monkeypatch):
    monkeypatch.syspath_prepend(str(data / "families"))
    monkeypatch.setitem(families.MODULES, "mine", Entry.module)
    monkeypatch.setitem(families.ENCODINGS, "mine", Entry.encodings)
    yield families.family("mine")
    for name in (Entry.module, Entry.encodings):
        sys.modules.pop(name, None)


def test_a_family_is_a_table_and_two_encodings(mine):
    assert told(of_family.encodings(mine)) == ([], [])


# Prose and templates are files of their own.
# What a clock means, how it is read and who writes it is known of these structs alone.
OF_CLOCKS = ("docs/protocol.py", "judge/of_family.py", "memory/clock_rules.py", "memory/decoded.py")


def test_no_struct_is_named_in_the_code_of_a_verb():
    names = sorted({name for family in FAMILIES for name in family.structs})
    pattern = re.compile(rf"\b({'|'.join(names)})\b")
    # The word for runstate's second name: a family and a struct are both called vcpu_info.
    found = [
        f"{path.relative_to(TOOLS)}:{number}: {line.strip()}"
        for path in sorted(TOOLS.rglob("*.py"))
        if str(path.relative_to(TOOLS)) not in OF_CLOCKS
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


def test_of_two_declarations_the_one_that_fits_is_the_claim():
    family = families.family("pvclock")
    for claim in family.claims["x86_64"]:
        chosen = family_claims.claims_for(family, [claim], ABI["x86_64"])[claim.name]
        assert compare(chosen, claim, "").differences == ()
    seen = Layouts("btf", "a file", tuple(family.claims["x86_64"][:1]))
    assert family_claims.held(family, "btf", seen, ABI["x86_64"]).differences == ()


def test_a_declaration_that_is_not_the_first_is_named_by_its_members():
    family = families.family("pvclock")
    said = []
    for claim in family.claims["x86_64"]:
        seen = Layouts("btf", "a file", (claim,))
        said += family_claims.held(family, "btf", seen, ABI["x86_64"]).notes
    name = "struct vcpu_time_info"
    assert said == [f"{name}: compared with the declaration without flags"]


def test_what_any_abi_looks_into_is_looked_into():
    inner = Look(frozenset({"x.y"}))
    one = Look(frozenset({"a.b"}), {"c": inner})
    other = Look(frozenset({"d.e"}), {"c": Look(frozenset({"z"})), "f": inner})
    both = {"c": Look(frozenset({"x.y", "z"})), "f": inner}
    assert family_claims._joined(one, other) == Look(frozenset({"a.b", "d.e"}), both)
    assert family_claims._joined(None, other) == other
