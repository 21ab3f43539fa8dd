"""The files for other people's pipelines: valid, and run here as they are run there."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

HOUSE = Path(__file__).resolve().parent.parent
RUNSTATE = Path(sys.executable).with_name("runstate")


@pytest.fixture
def step(tmp_path):
    """Return a function that runs a step of action.yml as the runner does: (step, inputs)."""
    action = yaml.safe_load((HOUSE / "action.yml").read_text())
    steps = {s["name"]: s for s in action["runs"]["steps"]}
    defaults = {name: value["default"] for name, value in action["inputs"].items()}
    installed = tmp_path / "runstate" / "bin"
    installed.mkdir(parents=True)
    (installed / "runstate").symlink_to(RUNSTATE)

    def run(name, **inputs):
        given = {f"inputs.{n}": v for n, v in (defaults | inputs).items()}
        given |= {"runner.temp": str(tmp_path), "github.action_path": str(HOUSE)}
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


def test_the_action_fails_with_the_commands_exit_code(step, tmp_path):
    done = step("check", files="nowhere/vmlinux")
    assert done.returncode == 3
    assert done.stdout.startswith("::error ")
    assert (tmp_path / "GITHUB_OUTPUT").read_text() == "sarif=runstate.sarif\nexit=3\n"


def test_an_input_is_never_run(step, tmp_path):
    step("check", files="$(touch hacked) `touch hacked` ; touch hacked")
    assert not (tmp_path / "hacked").exists()


def test_no_input_is_expanded_inside_a_script():
    action = yaml.safe_load((HOUSE / "action.yml").read_text())
    assert not [s for s in action["runs"]["steps"] if "${{" in s["run"]]


def test_the_workflow_gives_the_action_only_what_it_takes():
    action = yaml.safe_load((HOUSE / "action.yml").read_text())
    workflow = yaml.safe_load((HOUSE / ".github" / "workflows" / "check.yml").read_text())
    steps = workflow["jobs"]["check"]["steps"]
    ours = [s for s in steps if s.get("uses") == "./"]
    assert len(ours) == 1
    assert set(ours[0].get("with", {})) <= set(action["inputs"])
    used = re.findall(r"steps\.runstate\.outputs\.(\w+)", json.dumps(steps))
    assert set(used) <= set(action["outputs"])


def test_the_hooks_name_commands_that_there_are():
    hooks = yaml.safe_load((HOUSE / ".pre-commit-hooks.yaml").read_text())
    assert [hook["id"] for hook in hooks] == ["runstate-check", "runstate-docs"]
    for hook in hooks:
        words = hook["entry"].split()
        assert words[0] == "runstate"
        assert subprocess.run([RUNSTATE, *words[1:], "--help"], capture_output=True).returncode == 0


@pytest.mark.network
def test_pre_commit_runs_the_hooks(tmp_path):
    """In a scratch repository, with the hooks installed from this one's last commit."""
    if shutil.which("git") is None:
        pytest.skip("git: not installed")
    pytest.importorskip("pre_commit")

    def run(*command):
        environment = {**os.environ, "PRE_COMMIT_HOME": str(tmp_path / "cache")}
        return subprocess.run(
            command, cwd=repository, env=environment, capture_output=True, text=True
        )

    repository = tmp_path / "repository"
    repository.mkdir()
    clean = (
        "typedef unsigned long long u64;\n"
        "struct vcpu_runstate_info { int state; u64 state_entry_time; u64 time[4]; };\n"
    )
    (repository / "mine.h").write_text(clean)
    (repository / "pyproject.toml").write_text(
        '[tool.runstate]\nheader = "mine.h"\nstruct = ["vcpu_runstate_info"]\ncc = ["gcc"]\n'
    )
    run("git", "init", "-q")
    run("git", "add", ".")
    try_ = [
        sys.executable,
        "-m",
        "pre_commit",
        "try-repo",
        str(HOUSE),
        "runstate-check",
        "-a",
        "-v",
    ]
    done = run(*try_)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "native 48; 14 compared, 0 differ" in done.stdout
    (repository / "mine.h").write_text(clean.replace("time[4]", "time[5]"))
    run("git", "add", ".")
    done = run(*try_)
    assert done.returncode == 1
    assert "count-mismatch vcpu_runstate_info.time [x86_64] spec=4 seen=5" in done.stdout
