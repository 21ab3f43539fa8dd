"""The plugin in a foreign project, one that has a ``tools`` package of its own."""

import re
import runpy
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import pytest

from runstate_abi.tools.pytest import plugin


@pytest.fixture
def project(pytester):
    """Return a function that runs pytest on a test file, in a project with its own tools/."""
    pytester.mkpydir("tools")
    (pytester.path / "tools" / "mine.py").write_text("NAME = 'mine'\n")

    def run(text, *options):
        head = "import pytest\nfrom tools.mine import NAME\n"
        pytester.makepyfile(test_foreign=head + textwrap.dedent(text))
        # A pytest-randomly that is installed here would shuffle these tests too.
        return pytester.runpytest_subprocess("-W", "error", "-p", "no:randomly", *options)

    return run


@pytest.mark.host64
def test_a_struct_is_compared_and_the_summary_counts_it(project):
    result = project(
        """
        def test_layout(runstate_check):
            findings = runstate_check("compat", against="construct")
            assert findings[0].found
            runstate_check("native", against="ctypes")
            runstate_check("vcpu_runstate_info", against="rule")
        """
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["runstate: 3 comparisons with 3 witnesses, 0 not checked"])


def test_a_project_that_does_not_ask_sees_nothing(project):
    result = project("def test_nothing(): pass")
    result.assert_outcomes(passed=1)
    assert "runstate" not in result.stdout.str().partition("plugins:")[2].partition("\n")[2]


def test_a_missing_witness_fails_and_never_skips(project):
    result = project(
        """
        @pytest.mark.parametrize("against", ["btf", "dwarf", "cc"])
        def test_layout(runstate_check, against):
            runstate_check("native", against=against)
        """,
        "--runstate-cc=nosuch-cc",
    )
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(
        [
            "*struct vcpu_runstate_info against btf: no file was given: --runstate-btf FILE",
            "*struct vcpu_runstate_info against dwarf: no file was given: --runstate-dwarf FILE",
            "*struct vcpu_runstate_info against cc: cannot run nosuch-cc: No such*",
            "runstate: 0 comparisons with 0 witnesses, 3 not checked",
        ]
    )


@pytest.mark.parametrize("against", ["btf", "dwarf", "cc"])
def test_one_of_two_witnesses_that_is_missing_fails_too(
    project, kernel_object, declarations, against
):
    path = kernel_object("kernel", [declarations["NATIVE"]], keep_dwarf=True)
    asked = f"def test_layout(runstate_check): runstate_check('native', {against!r})"
    named = ["gcc", "nosuch"] if against == "cc" else [path, "/nosuch"]
    options = [f"--runstate-{against}={name}" for name in named]
    result = project(asked, *options)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*not checked: struct vcpu_runstate_info against *nosuch*"])
    project(asked, *options, f"--runstate-allow-missing={against}").assert_outcomes(passed=1)


@pytest.mark.parametrize("lacking", ["the other struct", "the other debug info"])
def test_one_of_two_files_that_cannot_say_it_fails(
    project, kernel_object, compiled_object, declarations, lacking
):
    native, compat = declarations["NATIVE"], declarations["COMPAT"]
    whole = kernel_object("whole", [native, compat])
    if lacking == "the other struct":
        other, why = kernel_object("other", [native, "struct x { int y; };"]), "*other.o*"
    else:
        other, why = compiled_object("other", [native, compat]), "*other.o: no BTF in it*"
    asked = "def test_layout(runstate_check): runstate_check('compat', 'btf')"
    result = project(asked, f"--runstate-btf={whole}", f"--runstate-btf={other}")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*not checked: struct compat_vcpu_runstate_info against {why}"])


def test_a_missing_witness_that_is_allowed_skips_and_is_said(project):
    result = project(
        """
        def test_layout(runstate_check):
            runstate_check("native", against="btf")
        """,
        "--runstate-allow-missing=btf",
    )
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(
        [
            "not checked: struct vcpu_runstate_info against btf: no file was given: *",
            "runstate: 0 comparisons with 0 witnesses, 1 not checked",
        ]
    )


def test_a_file_with_both_kinds_of_debug_info_serves_both(project, kernel_object, declarations):
    texts = [declarations[name] for name in ("NATIVE", "COMPAT", "KVM")]
    path = kernel_object("kernel", texts, keep_dwarf=True)
    result = project(
        """
        @pytest.mark.parametrize("against", ["btf", "dwarf"])
        @pytest.mark.parametrize("struct", ["native", "compat"])
        def test_layout(runstate_check, struct, against):
            (finding,) = runstate_check(struct, against)
            assert finding.witness == against
        """,
        f"--runstate-btf={path}",
        f"--runstate-dwarf={path}",
    )
    result.assert_outcomes(passed=4)


def test_a_file_without_the_struct_fails(project, kernel_object, declarations):
    path = kernel_object("kernel", [declarations["NATIVE"]])
    result = project(
        "def test_layout(runstate_check): runstate_check('compat', 'btf')", f"--runstate-btf={path}"
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*struct compat_vcpu_runstate_info against btf: not in *"])


def test_a_compiler_that_disagrees_fails_with_both_layouts(project):
    result = project(
        "def test_layout(runstate_check): runstate_check('native', 'cc')",
        "--runstate-cc=gcc -m32 -malign-double",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "offset-mismatch vcpu_runstate_info.time [[]i386[]] spec=12 seen=16 (gcc*",
            "    struct vcpu_runstate_info [[]i386[]]  gcc -m32 -malign-double, *",
            "[*]   0x0c 4 x 8 time * 0x10 4 x 8 time",
        ]
    )


MIRROR = """
import ctypes
class Mine(ctypes.Structure):
    _fields_ = [("state", ctypes.c_int32), ("state_entry_time", ctypes.c_uint64),
                ("time", ctypes.c_uint64 * 4)]
class Wrong(ctypes.Structure):
    _fields_ = [("state", ctypes.c_uint32), ("state_entry_time", ctypes.c_uint64),
                ("time", ctypes.c_uint64 * 5)]
def test_mine(runstate_check): runstate_check("native", against=Mine)
def test_wrong(runstate_check): runstate_check("native", against=Wrong)
"""


@pytest.mark.host64
def test_a_projects_own_ctypes_structure_is_compared(project):
    result = project(MIRROR)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "count-mismatch vcpu_runstate_info.time * spec=4 seen=5 (class Wrong)",
            "note: *state is unsigned here and signed in the claim: equal by bytes",
        ]
    )


def test_a_marked_test_runs_for_each_abi(project):
    result = project(
        """
        @pytest.mark.runstate_abi("native", "compat")
        def test_both(abi): assert abi in ("native", "compat")
        @pytest.mark.runstate_abi("compat")
        def test_one(abi): assert abi == "compat"
        @pytest.mark.runstate_abi
        def test_default(abi): pass
        """,
        "--strict-markers",
    )
    result.assert_outcomes(passed=5)


def test_a_marker_with_an_unknown_abi_is_an_error(project):
    result = project("@pytest.mark.runstate_abi('x32')\ndef test_it(abi): pass")
    assert result.ret == pytest.ExitCode.INTERRUPTED or result.ret == pytest.ExitCode.USAGE_ERROR
    assert "no ABI 'x32'" in result.stdout.str() + result.stderr.str()


WRITING = """
from runstate_abi.writer.vcpu import Runstate
RUNSTATE = Runstate(2, 1000, (1, 2, 3, 4))
@pytest.mark.runstate_abi
def test_update(abi, two_pages, runstate_writer):
    area = two_pages.area(abi, offset=0xff0)
    assert runstate_writer(two_pages, area, RUNSTATE)
    two_pages.expect(area, RUNSTATE)
    assert two_pages.runstate(area) == RUNSTATE
"""


def test_an_update_is_played_and_found_in_the_pages(project):
    project(WRITING).assert_outcomes(passed=2)


def test_memory_that_is_wrong_fails_with_the_annotated_dump(project):
    result = project(
        WRITING
        + """
def test_wrong(two_pages, runstate_writer):
    area = two_pages.area("native", offset=0xff0)
    runstate_writer(two_pages, area, RUNSTATE)
    two_pages.data[area.offset + 15] |= 0x80
    two_pages.data[area.offset + 48] = 0
    two_pages.expect(area, RUNSTATE)
"""
    )
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            "2 bytes are not as they should be:",
            "*UPDATE=1*",
            "=*page ends: 16 bytes in it, 32 in the next*",
            "  byte +0x0f (state_entry_time): 0x80, not 0x00",
            "  byte +0x30 (outside the area): 0x00, not 0xa5",
        ]
    )


def test_a_compiled_reader_is_proved_and_counted(project, guest_code):
    path = guest_code("gcc", "-O1", "-g")
    result = project(
        f"""
        def test_guest(runstate_reader):
            reader = runstate_reader({path!r}, "sound")
            assert reader.name == "sound"
            assert len(reader.loads) > 2
            signature = "u64 f(const void *area)"
            assert "time" in runstate_reader({path!r}, "stolen", signature=signature).uses
        """
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["runstate: 2 comparisons with 2 witnesses, 0 not checked"])


@pytest.mark.needs("gcc")
def test_a_torn_reader_fails_with_the_execution_and_the_line(project, guest_code, data):
    pytest.importorskip("drgn")
    path = guest_code("gcc", "-O1", "-g")
    source = (data / "readers" / "readers.c").read_text().splitlines()
    (wrong,) = [
        n
        for n, text in enumerate(source, 1)
        if "out->time[3] = READ_ONCE(a->time[3]); /* wrong" in text
    ]
    result = project(f"def test_guest(runstate_reader): runstate_reader({path!r}, 'late_time')")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "torn: late_time accepts from upstream what was never true",
            "The guest took *",
            f"*readers.c:{wrong}) is loaded after its last load of state_entry_time, *",
            "  - native at 0x1100; all of the execution: --variant upstream --at 0x1100",
        ]
    )
    assert "assertions.py" not in result.stdout.str()


# What could not be asked has a reason, and is a failure whatever may be missing.
# fmt: off
UNASKED = {
    "a call":             ("'calls'",                "cannot follow this reader: it calls unknown"),
    "no function":        ("'nothing'",              "no function nothing"),
    "a signature":        ("'sound', signature='f'", "'f' is no signature"),
    "no writer takes it": ("'sound', variant='xen-phys', at=0xff8", "*-ENXIO"),
    "an unknown version": ("'sound', variant='xen'", "no version 'xen': there are linux-5.14"),
    "an unknown ABI":     ("'sound', abi='x32'",     "no ABI 'x32': there are native, compat"),
}
# fmt: on


@pytest.mark.parametrize("case", UNASKED)
def test_a_reader_that_cannot_be_asked_fails_and_never_passes(project, guest_code, case):
    path, (words, why) = guest_code("gcc", "-O1", "-g"), UNASKED[case]
    result = project(
        f"def test_guest(runstate_reader): runstate_reader({path!r}, {words})",
        *(f"--runstate-allow-missing={name}" for name in ("cc", "code", "reader")),
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*runstate: *{why.replace('[', '[[]')}*"])


# All that pytest 7.2 has of what a plugin can need; TerminalReporter, for one, came with 8.4.
OLD_NAMES = ("fixture", "Parser", "Config", "Metafunc", "FixtureRequest", "UsageError", "Item")


def test_an_old_pytest_can_load_the_plugin(monkeypatch):
    """Every run of every project loads it: one name too new breaks them all."""
    old = types.SimpleNamespace(**{name: getattr(pytest, name) for name in OLD_NAMES})
    monkeypatch.setitem(sys.modules, "pytest", old)
    loaded = runpy.run_path(plugin.__file__)
    assert "pytest_terminal_summary" in loaded


FOREIGN = """
import pytest
@pytest.fixture
def one(): return 1
@pytest.mark.parametrize("n", [1, 2])
def test_foreign(one, n): assert one
def test_skipped(): pytest.skip("why")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this checkout; skipped where pip cannot get what builds it."""
    folder = tmp_path_factory.mktemp("wheel")
    command = ["-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, Path(__file__).parents[3]]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    if "No matching distribution" in done.stderr:
        pytest.skip("pip reaches no package index")
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


@pytest.mark.network
@pytest.mark.parametrize("wanted", ["pytest==7.4.0", "pytest==8.0.0", "pytest"])
def test_strangers_tests_run_as_before_beside_any_pytest(tmp_path, wheel, wanted):
    (tmp_path / "test_foreign.py").write_text(FOREIGN)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    said = []
    for package in (wanted, wheel):
        subprocess.run([python, "-m", "pip", "install", "-q", package], check=True)
        run = [python, "-m", "pytest", "-W", "error", "-rA", "-p", "no:cacheprovider", "."]
        done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        said.append(re.sub(r"in [\d.]+s|^plugins: .*\n", "", done.stdout, flags=re.MULTILINE))
    assert said[0] == said[1]


def test_importing_the_plugin_loads_nothing_but_pytest():
    code = (
        "import sys, pytest; before = set(sys.modules);"
        "import runstate_abi.tools.pytest.plugin;"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [
        "runstate_abi",
        "runstate_abi.tools",
        "runstate_abi.tools.pytest",
        "runstate_abi.tools.pytest.plugin",
    ]
