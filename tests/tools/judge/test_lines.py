"""The source line of a breach: from which debug info, in which compilers' code, in every format."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "data" / "judge" / "writer.c"
WRITER = "kvm_xen_update_runstate_guest"
# In one page, in two, and with a cache to be refreshed.
CASES = [f"--case={case}" for case in ("native@0x0,flag", "native@0xff1,flag", "native@0x0,stale1")]

pytest.importorskip("drgn")


def line_of(text):
    """The number of the one line of writer.c that has this text."""
    (number,) = [n for n, line in enumerate(SOURCE.read_text().splitlines(), 1) if text in line]
    return number


# A bug, the rule that it breaks, and the lines of the instruction and of its callers.
BUGS = [
    (
        "BODY_WITHOUT_FLAG",
        "window",
        ["(to + area->entry_time) = entry_time;", "body(area, xen, entry_time);", "write_area(&a"],
    ),
    (
        "COPY_ONE_TOO_MANY",
        "outside",
        [
            "(volatile u8 *)to++ = *from++",
            "area->in_first, second + 1);",
            "body(area, xen, entry_time);",
            "write_area(&a",
        ],
    ),
    ("REFRESH_UNDER_LOCK", "calls", ["kvm_gpc_refresh(one, area.in_first))"]),
]


@pytest.fixture
def stripped(c_object):
    """An object without its DWARF, and that DWARF in a file of its own, elsewhere."""
    path = c_object("writer.o", "BODY_WITHOUT_FLAG")
    subprocess.run(["pahole", "-J", path], check=True)
    (path.parent / "elsewhere").mkdir()
    debug = path.parent / "elsewhere" / "writer.debug"
    subprocess.run(["objcopy", "--only-keep-debug", path, debug], check=True)
    subprocess.run(["objcopy", "--strip-debug", "--keep-section=.BTF", path], check=True)
    return path, debug


def code(judge, *argv):
    """Each broken rule's lines: [(file, line, function), ...]."""
    _, out, _ = judge(*CASES, *map(str, argv), "--json")
    found = [d for one in json.loads(out)["witnesses"] for d in one["differences"]]
    return {d["member"]: [tuple(line.values()) for line in d["code"]] for d in found}


@pytest.mark.parametrize("level", ["-O0", "-O2"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize(("bug", "rule", "lines"), BUGS)
def test_a_breach_names_the_line_of_its_instruction_and_of_each_caller(
    judge, c_object, compiler, level, bug, rule, lines
):
    path = c_object("writer.o", bug, flags=(level,), compiler=compiler)
    found = code(judge, path)[rule]
    assert [line for _, line, _ in found] == [line_of(text) for text in lines]
    assert {Path(file).name for file, _, _ in found} == {"writer.c"}
    assert found[-1][2] == WRITER


@pytest.mark.parametrize("level", ["-O0", "-O2"])
def test_what_shows_only_at_the_return_names_the_line_of_the_return(judge, c_object, level):
    path = c_object("writer.o", "LOCKS_SECOND_ALWAYS", flags=(level,))
    ((_, line, function),) = code(judge, path)["locks"]
    assert function == WRITER
    assert SOURCE.read_text().splitlines()[line - 1].startswith("}")


def test_functions_in_sections_of_their_own_are_told_apart(judge, c_object):
    path = c_object("writer.o", "BODY_WITHOUT_FLAG", flags=("-O0", "-ffunction-sections"))
    assert [line for _, line, _ in code(judge, path)["window"]] == [
        line_of(text) for text in BUGS[0][2]
    ]


def test_the_text_has_the_line_in_the_row_and_the_callers_below(judge, c_object, monkeypatch):
    monkeypatch.chdir(SOURCE.parent.parent)
    _, out, _ = judge(*CASES, str(c_object("writer.o", "BODY_WITHOUT_FLAG")))
    lines = [line_of(text) for text in BUGS[0][2]]
    (row,) = [line for line in out.splitlines() if line.startswith("BROKEN")]
    assert row.endswith(f", at judge/writer.c:{lines[0]}")
    callers = re.findall(r"^  (?:at|from) judge/writer\.c:(\d+) in \w+$", out, re.MULTILINE)
    assert [*map(int, callers)] == lines
    (bad,) = [line for line in out.splitlines() if line.startswith("  >")]
    assert bad.endswith(f"  writer.c:{lines[0]}  window")
    assert "lines:" not in out


def test_without_debug_info_one_line_says_what_would_give_the_lines(judge, stripped):
    path, _ = stripped
    code_, out, _ = judge(*CASES, str(path))
    assert code_ == 1
    hint = "lines: build with -g, or give the .debug file with --btf"
    assert out.splitlines().count(hint) == 1
    assert "writer.c" not in out
    assert re.search(rf"> store p1\+8 8 \w+ +{WRITER}\+0x\w+ +window$", out, re.MULTILINE)
    _, out, _ = judge(*CASES, str(path), "--json")
    assert hint in json.loads(out)["witnesses"][0]["notes"]


def test_a_right_writer_needs_no_lines(judge, c_writer):
    assert "lines:" not in judge(*CASES, c_writer())[1]


def test_debug_info_in_another_file_gives_the_lines(judge, stripped):
    path, debug = stripped
    lines = [line_of(text) for text in BUGS[0][2]]

    def found(*argv):
        return [line for _, line, _ in code(judge, path, *argv)["window"]]

    assert found("--btf", debug) == lines
    assert found() == []
    beside = shutil.copy(debug, f"{path}.debug")
    assert found() == lines
    Path(beside).unlink()
    (path.parent / ".debug").mkdir()
    linked = shutil.copy(debug, path.parent / ".debug" / "linked.debug")
    subprocess.run(["objcopy", f"--add-gnu-debuglink={linked}", path], check=True)
    assert found() == lines


def test_a_modules_debug_file_gives_lines_and_types(judge, stripped, c_object):
    _, debug = stripped
    kernel = c_object("vmlinux.o", flags=("-O0",))
    subprocess.run(["pahole", "-J", kernel], check=True)
    subprocess.run(["objcopy", "--remove-section=.BTF", debug], check=True)
    whole = c_object("kvm.ko", "BODY_WITHOUT_FLAG")
    subprocess.run(["pahole", "-J", "--btf_base", kernel, whole], check=True)
    subprocess.run(["objcopy", "--strip-debug", "--keep-section=.BTF", whole], check=True)
    assert code(judge, whole, "--btf", kernel)["window"] == []
    found = code(judge, whole, "--btf", debug)["window"]
    assert [line for _, line, _ in found] == [line_of(text) for text in BUGS[0][2]]


def test_the_debug_info_of_other_code_gives_no_lines(judge, stripped, c_object):
    path, _ = stripped
    other = c_object("other.o", "NO_CLEAR", flags=("-O0",))
    shutil.copy(other, f"{path}.debug")
    assert code(judge, path)["window"] == []


def test_a_linked_file_has_lines_too(judge, c_object, tmp_path):
    path = c_object("writer.o", "BODY_WITHOUT_FLAG")
    names = subprocess.run(["nm", "-u", path], check=True, capture_output=True, text=True).stdout
    others = tmp_path / "others.c"
    others.write_text(
        "".join(f"int {name}(void) {{ return 0; }}\n" for name in names.split()[1::2])
    )
    flags = ["-mcmodel=kernel", "-fno-pic", "-fno-builtin", "-c"]
    subprocess.run(["gcc", *flags, others, "-o", tmp_path / "others.o"], check=True)
    where = ["-Ttext=0xffffffff81000000", "-e", "0", "-o", tmp_path / "vmlinux"]
    subprocess.run(["ld", *where, path, tmp_path / "others.o"], check=True)
    found = code(judge, tmp_path / "vmlinux")["window"]
    assert [line for _, line, _ in found] == [line_of(text) for text in BUGS[0][2]]


def test_the_formats_for_code_review_point_to_the_line(judge, c_object, monkeypatch):
    path = str(c_object("writer.o", "BODY_WITHOUT_FLAG"))
    line, *callers = [line_of(text) for text in BUGS[0][2]]
    monkeypatch.chdir(SOURCE.parent.parent)

    _, out, _ = judge(*CASES, path, "--format", "github")
    (alert,) = [row for row in out.splitlines() if row.startswith("::error")]
    title = "runstate judge%3A rule window is broken"
    assert alert.startswith(f"::error file=judge/writer.c,line={line},title={title}::")

    (issue,) = json.loads(judge(*CASES, path, "--format", "gitlab")[1])
    assert issue["location"] == {"path": "judge/writer.c", "lines": {"begin": line}}

    (result,) = json.loads(judge(*CASES, path, "--format", "sarif")[1])["runs"][0]["results"]

    def place(one):
        physical = one["physicalLocation"]
        return physical["artifactLocation"]["uri"], physical["region"]["startLine"]

    assert [*map(place, result["locations"])] == [("judge/writer.c", line)]
    assert [place(one)[1] for one in result["relatedLocations"][1:]] == callers


@pytest.mark.parametrize("form", ["github", "md", "junit"])
def test_a_report_is_titled_by_judge(judge, c_writer, form):
    for bug in ((), ("NO_CLEAR",), ("MUTE_COPY=unknown",)):
        _, out, _ = judge(CASES[0], c_writer(*bug), "--format", form)
        assert "runstate judge" in out
        assert "runstate check" not in out
