"""[tool.runstate]: what it sets, what it refuses, and that the command line wins."""

import argparse
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools.check import config, options


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return a function that writes pyproject.toml where the command is run."""
    monkeypatch.chdir(tmp_path)

    def write(text, name="pyproject.toml"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def test_every_key_sets_its_option(project):
    project(
        '[tool.runstate]\nfiles = ["vmlinux"]\nbtf-base = "base"\nabi = "i386"\n'
        'allow-missing = ["dwarf"]\ncc = ["gcc -m32"]\nheader = "x.h"\n'
        'struct = ["mine=vcpu_runstate_info"]\nformat = ["junit=report.xml"]\ncoverage = true\n'
        'require = ["cc", "btf,dwarf"]\ngolden = "golden.txt"\njobs = 3\ndask = "tcp://x:1"\n'
        'cache = "cache"\nno-cache = true\n'
    )
    parsed = vars(options.parsed([]))
    assert {key.option for key in config.KEYS} <= set(parsed)
    assert (parsed["files"], parsed["btf_base"], parsed["abi"]) == (["vmlinux"], "base", "i386")
    assert (parsed["allow_missing"], parsed["cc"]) == (["dwarf"], ["gcc -m32"])
    assert (parsed["header"], parsed["structs"]) == ("x.h", ["mine=vcpu_runstate_info"])
    assert parsed["reports"] == [("junit", "report.xml"), ("text", "-"), ("coverage", "-")]
    assert (parsed["require"], parsed["golden"]) == (["cc", "btf", "dwarf"], "golden.txt")
    assert (parsed["jobs"], parsed["dask"]) == (3, "tcp://x:1")
    assert (parsed["cache"], parsed["no_cache"]) == ("cache", True)


def test_the_command_line_wins(project):
    project('[tool.runstate]\nfiles = ["vmlinux"]\nabi = "i386"\nrequire = ["dwarf"]\n')
    parsed = options.parsed(["other", "--abi", "arm64", "--require", "btf"])
    assert (parsed.files, parsed.abi, parsed.require) == (["other"], "arm64", ["btf"])


def test_paths_are_relative_to_their_file(project, tmp_path):
    (tmp_path / "ci").mkdir()
    project('[tool.runstate]\nfiles = ["vmlinux", "/boot/vmlinuz"]\n', "ci/check.toml")
    assert options.parsed(["--config", "ci/check.toml"]).files == ["ci/vmlinux", "/boot/vmlinuz"]


def test_a_project_without_the_table_changes_nothing(project):
    project('[project]\nname = "runstate-user"\n')
    assert options.parsed([]).files == []


def test_a_named_file_is_read_instead_of_the_projects(project):
    project('[tool.runstate]\nabi = "i386"\n')
    project('[tool.runstate]\nabi = "arm64"\n', "other.toml")
    assert options.parsed(["--config", "other.toml"]).abi == "arm64"


# What stands in the table (or instead of it), and what is said of it.
REFUSED = {
    'requires = ["btf"]': "has no key 'requires': did you mean require?",
    "xyzzy = 1": "has no key 'xyzzy': there are files, btf-base",
    'files = "vmlinux"': "files: a list of strings, not 'vmlinux'",
    "cc = [1]": "cc: a list of strings, not [1]",
    "jobs = true": "jobs: a number, not True",
    "[[tool.runstate]]": "not TOML: ",
    'abi = "m68k"': "no ABI 'm68k'",
    'format = ["xml"]': "--format xml: no such format",
    'require = ["dwarv"]': "--require dwarv: no such witness: did you mean dwarf?",
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_it_refuses_is_exit_2_and_one_line(project, capsys, case):
    project(f"[tool.runstate]\n{case}\n")
    with pytest.raises(SystemExit) as stop:
        options.parsed([])
    assert stop.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("runstate check: error: ")
    assert REFUSED[case] in last


def test_a_table_that_is_none_is_refused(project, capsys):
    project("[tool]\nrunstate = 1\n")
    with pytest.raises(SystemExit):
        options.parsed([])
    assert "tool.runstate is not a table" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(WitnessError, match=r"nowhere\.toml: No such file"):
        options.parsed(["--config", str(tmp_path / "nowhere.toml")])


def test_what_is_in_effect_is_said(project, capsys):
    project('[tool.runstate]\nabi = "i386"\n')
    options.parsed(["-v", "vmlinux"])
    assert capsys.readouterr().err.splitlines() == [
        "runstate: in effect: [tool.runstate]",
        'runstate:   files = ["vmlinux"]',
        'runstate:   abi = "i386"',
    ]


def test_that_nothing_is_in_effect_is_said_too(project, capsys):
    project("")
    options.parsed(["-v"])
    assert capsys.readouterr().err == "runstate: in effect: the defaults, and no option\n"


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.one_of(
        st.text(),
        st.builds("[tool.runstate]\n{}".format, st.text()),
        st.builds(
            "[tool.runstate]\n{} = {}\n".format,
            st.sampled_from([key.name for key in config.KEYS]),
            st.sampled_from(["1", '"a"', "['a']", "[['a']]", "true", "{}", "1979-05-27", "nan"]),
        ),
    )
)
def test_whatever_it_says_is_taken_or_refused_on_one_line(tmp_path, text):
    path = tmp_path / "pyproject.toml"
    path.write_text(text, errors="surrogatepass")
    complaint = config.apply(options.parser().parse_args([]), str(path))
    assert "\n" not in complaint


def test_a_table_that_is_no_file_or_is_too_long_is_not_read(tmp_path):
    pipe, long = tmp_path / "pipe", tmp_path / "long.toml"
    long.write_bytes(b"#" * (config.SIZE_MAX + 1))
    for path in ("/dev/zero", str(long)):
        with pytest.raises(WitnessError, match="not a file of at most"):
            config.apply(argparse.Namespace(), path)
    os.mkfifo(pipe)
    with pytest.raises(WitnessError, match="not a file of at most"):
        config.apply(argparse.Namespace(), str(pipe))


@pytest.mark.parametrize("text", ['files = ["a\\u0000"]', 'golden = "a\\u0000"'])
def test_a_null_byte_is_refused_by_its_key(tmp_path, text):
    path = tmp_path / "x.toml"
    path.write_text(f"[tool.runstate]\n{text}\n")
    complaint = config.apply(argparse.Namespace(), str(path))
    assert complaint.endswith("has a null byte")
