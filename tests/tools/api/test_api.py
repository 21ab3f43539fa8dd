"""The public names: each is there, explained and typed, and costs nothing before it is used."""

import inspect
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import jsonschema
import pytest

import runstate_abi
from runstate_abi.layouts.model import WitnessError

HERE = Path(__file__).parents[2]
DATA = HERE / "data"
SCHEMAS = sorted((HERE.parent / "tools" / "api" / "schemas").glob("*.json"))


@pytest.mark.parametrize("name", runstate_abi.__all__)
def test_each_name_is_there_and_explained(name):
    value = getattr(runstate_abi, name)
    assert name in dir(runstate_abi)
    assert name == "__version__" or inspect.getdoc(value)


def test_each_public_function_is_typed_and_in_the_list():
    functions = [f for f in vars(runstate_abi).values() if inspect.isfunction(f)]
    public = [f for f in functions if f.__module__ == "runstate_abi" and f.__name__[0] != "_"]
    assert {f.__name__ for f in public} <= set(runstate_abi.__all__)
    assert len(public) == 5
    for function in public:
        signature = inspect.signature(function)
        assert signature.return_annotation is not inspect.Signature.empty
        annotations = [one.annotation for one in signature.parameters.values()]
        assert inspect.Parameter.empty not in annotations, function.__name__


def test_a_name_that_is_none_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nosuch"):
        runstate_abi.nosuch  # noqa: B018


def test_importing_the_layouts_loads_no_more_than_the_command_show():
    def loaded(code):
        text = code + "; import sys; print(*sys.modules)"
        done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
        return set(done.stdout.split()[-1000:])

    ours = loaded("from runstate_abi import NATIVE, COMPAT, Layout, compare")
    shown = loaded("from runstate_abi.tools import cli; cli.main(['show', '--json'])")
    assert {one for one in ours - shown if not one.startswith("runstate_abi")} == set()


def test_a_kernels_types_are_compared():
    good, bad = DATA / "btf/xen-syms-from-dwarf.ALL.btf", DATA / "btf/i386-from-dwarf.ALL.btf"
    (finding,) = runstate_abi.check_files([good])
    assert (finding.differences, finding.compared) == ((), 26)
    assert runstate_abi.check_files([bad])[0].differences
    assert not runstate_abi.check_files([bad], abi="i386")[0].differences


def test_an_area_is_read_out_of_a_core():
    area = runstate_abi.read_area(DATA / "pages/xen417_inflight.elfcore", at=0x175F4BA0)
    assert (area.abi, area.values.updating) == ("native", True)
    with pytest.raises(WitnessError, match="0x10"):
        runstate_abi.read_area(DATA / "pages/xen417_inflight.elfcore", at=0x10)


def test_the_steps_of_an_update_and_what_a_reader_makes_of_them():
    runstate = runstate_abi.Runstate(1, 10, (1, 2, 3, 4))
    steps = runstate_abi.updates("upstream", "compat", 0xFF5, runstate)
    assert len(steps) == 15
    race = runstate_abi.find_race("linux-6.1", "linux-64", "x86-tso", "compat", 0x1038)
    proof = runstate_abi.find_race("upstream", "linux-64", "x86-tso", "compat", 0x1038)
    assert (type(race).__name__, type(proof).__name__) == ("Race", "Proof")


def test_a_compiled_writer_is_judged(c_writer):
    assert runstate_abi.judge(c_writer(), quick=True).right
    assert not runstate_abi.judge(c_writer("SINGLE_PATH"), quick=True).right


def test_the_script_of_the_readme_runs():
    (script,) = re.findall(
        r"```python\n(from runstate_abi.*?)```", (HERE.parent / "README.md").read_text(), re.S
    )
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=DATA, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


# What each verb prints as JSON, by the schema that it names.
COMMANDS = {
    "runstate-show/1": ["show"],
    "runstate-check/1": ["check", "btf/6.12.107+deb13-amd64-kvm.ALL.btf", "xen/README"],
    "runstate-diff/1": ["diff", "native", "compat"],
    "runstate-matrix/1": ["matrix", "--abi", "i386"],
    "runstate-write/1": ["write", "--at", "0xff5", "--abi", "compat", "--memory"],
    "runstate-versions/1": ["write", "--list"],
    "runstate-write-family/1": ["write", "--family", "steal_time", "--at", "0x40"],
    "runstate-writers-family/1": ["write", "--family", "hyperv", "--list"],
    "runstate-race/1": ["race", "--variant", "linux-6.1", "--reader", "linux-64", "--at", "0x1038"],
    "runstate-race-family/1": ["race", "--family", "steal_time"],
    "runstate-find/1": ["find", "pages/xen417_busy.elfcore"],
    "runstate-hexdump/1": ["hexdump", "pages/xen417_busy.elfcore", "--gpa", "0x175f4ba0"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_json_of_each_verb_is_what_its_schema_says(name):
    command = [sys.executable, "-m", "runstate_abi", *COMMANDS[name], "--json"]
    done = subprocess.run(command, cwd=DATA, capture_output=True, text=True)
    document = json.loads(done.stdout)
    is_as_promised(document, name)


def is_as_promised(document, name):
    """Is a document, or a list of rows, what its schema says, and another one not?"""
    rows = document if isinstance(document, list) else [document]
    assert {row["schema"] for row in rows} == {name}
    (path,) = [one for one in SCHEMAS if one.stem == name.replace("/", "-")]
    schema = json.loads(path.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document, schema)
    other = {**rows[0], "schema": "runstate-other/1"}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate([other] if isinstance(document, list) else other, schema)


JUDGED = "runstate-judge-family/1"


@pytest.mark.parametrize(
    ("family", "source"), [("pvclock", "clock_writer.c"), ("steal_time", "steal_writer.c")]
)
def test_the_json_of_judge_for_a_family_is_what_its_schema_says(c_writer, family, source):
    command = [sys.executable, "-m", "runstate_abi", "judge", c_writer(source=source)]
    command += ["--family", family, "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    is_as_promised(json.loads(done.stdout), JUDGED)


def test_every_schema_is_of_a_verb():
    assert {path.stem.replace("-1", "/1") for path in SCHEMAS} == {*COMMANDS, JUDGED}
