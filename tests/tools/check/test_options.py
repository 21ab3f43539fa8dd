"""What the command line comes to: the reports to write, and what is refused with exit status 2."""

import pytest

from runstate_abi.tools.check import options


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A folder without a pyproject.toml."""
    monkeypatch.chdir(tmp_path)


# fmt: off
REPORTS = {
    "":                                         [("text", "-")],
    "--json":                                   [("json", "-")],
    "--format ktap":                            [("ktap", "-")],
    "--format ktap=-":                          [("ktap", "-")],
    "--format junit=a.xml":                     [("junit", "a.xml"), ("text", "-")],
    "--format junit=a --format sarif=b=c":      [("junit", "a"), ("sarif", "b=c"), ("text", "-")],
    "--format md --format json=a":              [("json", "a"), ("md", "-")],
    "--json --format json":                     [("json", "-")],
    "--coverage":                               [("text", "-"), ("coverage", "-")],
    "--coverage --json":                        [("json", "-")],
    "--coverage --format ktap=a":               [("ktap", "a"), ("text", "-"), ("coverage", "-")],
}
REFUSED = {
    "--format xml":                    "--format xml: no such format: there are text, json,",
    "--format junti=a":                "--format junti: no such format: did you mean junit?",
    "--format ktap --format md":       "ktap and md on stdout: give one a file: --format ktap=FILE",
    "--format ktap --json":            "on stdout: give one a file",
    "--coverage --format ktap":        "--coverage is text: --format ktap=FILE leaves stdout to it",
    "--require btf,dwarv":             "--require dwarv: no such witness: did you mean dwarf?",
    "--allow-missing compat_vcpu_runstat": "no such struct or witness: did you mean compat_vcpu_",
    "--allow-missing nonsense":        "there are vcpu_runstate_info, compat_vcpu_runstate_info",
    "--abi m68k":                      "no ABI 'm68k': there are x86_64, i386,",
    "-j 0":                            "argument -j: 0 processes",
    "-j many":                         "argument -j/--jobs: many is not a number",
    "--header mine.h":                 "--header FILE needs --struct NAME",
    "--struct mine=native":            "--struct, --member and --allow are about --h",
    "--header m.h --struct native --member time=a,b,c": "time=a,b,c: 3 names for 4 elements",
    "--header m.h --struct native --member tme=a":     "no member 'tme': there are state,",
    "--header m.h --struct native --member state=time": "time: two rows have this name",
    "--header m.h --struct native --allow sign:entry": "there are sign:state,",
    "--header mine.h --struct mine":   "say which struct it mirrors: mine=vcpu_runstate_info or",
}
# fmt: on


@pytest.mark.parametrize("line", REPORTS)
def test_the_reports_that_are_written(line):
    assert options.parsed(line.split()).reports == REPORTS[line]


@pytest.mark.parametrize("line", REFUSED)
def test_wrong_usage_is_exit_2_and_says_what_would_be_right(capsys, line):
    with pytest.raises(SystemExit) as stop:
        options.parsed(line.split())
    assert stop.value.code == 2
    assert REFUSED[line] in capsys.readouterr().err.splitlines()[-1]


def test_required_words_may_be_written_together_and_apart():
    assert options.parsed(["--require", "btf,cc", "--require", "dwarf"]).require == [
        "btf",
        "cc",
        "dwarf",
    ]
