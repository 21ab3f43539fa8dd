"""Bugs in the writer's source, compiled in eight ways: each is found, by its rule and its line."""

import lzma
import re
from itertools import product
from pathlib import Path

import pytest

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.tools.judge import text, verdict
from runstate_abi.writer.rulebook.requests import quick
from runstate_abi.writer.rules import NO_BARRIERS
from runstate_abi.writer.steps import Store

TESTS = Path(__file__).parents[2]
SOURCE, GOLDEN = TESTS / "data" / "judge" / "writer.c", TESTS / "golden" / "bugs.txt"
BUILDS = [*product(("gcc", "clang"), ("-O0", "-O2", "-O3", "-Os"))]
# What finds a bug only together with -D, as a kernel's configuration has it.
FLAGS = {"OVERRUNS_STACK": ("-fstack-protector-all",)}

pytest.importorskip("drgn")


def rows():
    """(define, rules, case, marks of lines) of each bug; no rules: it is none in x86 code."""
    for row in GOLDEN.read_text().splitlines():
        if row and not row.startswith("#"):
            define, rules, *rest = [cell for cell in re.split(r"  +", row) if cell]
            case, marks = rest or ("", "")
            yield define, "" if rules == "-" else rules, case, marks


BUGS = {define: row for define, *row in rows()}
MARKED = {
    mark: number
    for number, line in enumerate(SOURCE.read_text().splitlines(), 1)
    for mark in re.findall(r"@[\w-]+", line)
}


def places(shape):
    """In one page; at its start; split: the first split there is, at the update byte, before it."""
    update_byte = PAGE_SIZE - shape.update_byte
    return 0, PAGE_SIZE // 16, PAGE_SIZE - shape.size + 1, update_byte - 1, update_byte


CASES = [one for one in quick() if one.offset in places(one.area.shape)]


@pytest.fixture
def seen(c_writer, installed):
    """Return a function (define, compiler, level, requests) -> the verdict."""
    from runstate_abi.writer.witnesses import shipped

    def judged(define, compiler, level, requests=CASES):
        installed(compiler)
        flags = ("-g", level, *FLAGS.get(define, ()))
        defines = (define,) if define else ()
        path = c_writer(*defines, btf=False, flags=flags, compiler=compiler)
        return verdict.verdict(shipped.opened(path, ""), requests)

    return judged


def found(seen, define, compiler, level):
    """What the golden table has of a bug; the line is its number."""
    one = seen(define, compiler, level)
    rules, case, marks = BUGS[define]
    missed = set(rules.split()) - set(one.tally.broken)
    assert not missed, f"not broken: {missed}; broken: {set(one.tally.broken)}"
    first = rules.split()[0]
    line = one.code(first)[0]
    assert Path(line.file).name == "writer.c"
    assert str(one.tally.broken[first].request) == case
    assert line.line in {MARKED[mark] for mark in marks.split()}, f"{first} is at {line}"


# Each bug in one of the eight builds, and each build with several bugs.
BROKEN = [define for define, (rules, *_) in BUGS.items() if rules]
ONCE = [(define, *BUILDS[number % len(BUILDS)]) for number, define in enumerate(BROKEN)]
OTHERS = [(d, *b) for d, b in product(BROKEN, BUILDS) if (d, *b) not in ONCE]


@pytest.mark.parametrize(("define", "compiler", "level"), ONCE)
def test_a_bug_is_found_by_its_rule_in_its_first_case_at_its_line(seen, define, compiler, level):
    found(seen, define, compiler, level)


@pytest.mark.slow
@pytest.mark.parametrize(("define", "compiler", "level"), OTHERS)
def test_a_bug_is_found_however_it_is_compiled(seen, define, compiler, level):
    found(seen, define, compiler, level)


@pytest.mark.parametrize(("compiler", "level"), BUILDS)
def test_a_right_writer_is_right_however_it_is_compiled(seen, compiler, level):
    one = seen("", compiler, level, list(quick()))
    assert (one.right, one.tally.broken) == (True, {})


@pytest.mark.parametrize(("compiler", "level"), [("gcc", "-O2"), ("clang", "-Os")])
def test_a_lost_barrier_is_not_judged_and_that_is_said(seen, compiler, level):
    one = seen("NO_BARRIER", compiler, level)
    assert one.tally.broken == {}
    assert NO_BARRIERS in text.lines(one)
    assert all(NO_BARRIERS in finding.notes for finding in verdict.findings(one))


MOV_STORE, MOV_LOAD = 0x88, 0x8A  # of a byte: Intel SDM, vol. 2


@pytest.mark.rarely
def test_a_debug_package_gives_the_line_of_a_store_that_became_a_load(debian, judge, tmp_path):
    """A package of 320 MB, whose kvm.ko is whole: code, types and lines."""
    from runstate_abi.writer.rulebook.requests import parse
    from runstate_abi.writer.witnesses import lines, shipped

    names = debian._closure(debian._apt("trixie", "amd64"), "linux-image-cloud-amd64-dbg")
    name = next(name for name in names if re.match(r"linux-image-\d+\.", name))
    (debug,) = debian.package("trixie", name, [r"kvm\.ko"])
    (module,) = debian.kernel("trixie", name.removesuffix("-dbg"), [r"kvm\.ko\.xz"])
    good = shipped.opened(str(debug), "")
    address = good.writer.run(parse("native@0x100,flag"), places=True).chains
    steps = good.writer.run(parse("native@0x100,flag")).steps()
    clear = max(at for at, step in enumerate(steps) if isinstance(step, Store))
    ((wanted, *_),) = [lines.opened(good.file, str(debug), "").of(address[clear])[:1]]
    for path, data, btf in (
        (tmp_path / "kvm.ko", debug.read_bytes(), ()),
        (tmp_path / "shipped.ko", lzma.decompress(module.read_bytes()), ("--btf", str(debug))),
    ):
        path.write_bytes(data)
        path.write_bytes(changed(data, shipped.open_code(str(path)), address[clear][0]))
        code, out, _ = judge(str(path), *btf, "--case=native@0x100,flag")
        (row,) = [line for line in out.splitlines() if line.split()[:2] == ["BROKEN", "read"]]
        assert code == 1
        assert row.endswith(f", at {wanted}")
        assert wanted.file.endswith("arch/x86/kvm/xen.c")


def changed(data, file, address):
    (code,) = [s for s in file.sections if s.address <= address < s.address + s.size]
    at = code.offset + address - code.address
    assert data[at] == MOV_STORE
    return data[:at] + bytes((MOV_LOAD,)) + data[at + 1 :]


def test_the_table_is_of_bugs_that_there_are():
    source = SOURCE.read_text()
    assert len(BUGS) >= 25
    assert not [define for define in BUGS if not re.search(rf"\b{define}\b", source)]
    assert all(mark in MARKED for _, _, marks in BUGS.values() for mark in marks.split())
    assert all(len(re.findall(rf"{mark} ", source)) == 1 for mark in MARKED)
