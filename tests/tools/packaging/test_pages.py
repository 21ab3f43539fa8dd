"""Man pages that groff reads without a complaint, completion that a real shell completes with."""

import os
import shutil
import subprocess
import sys

import pytest

from runstate_abi.tools import cli
from runstate_abi.tools.packaging import pages as manual

pytest.importorskip("shtab")
pytest.importorskip("argparse_manpage")


@pytest.fixture(scope="module")
def share(tmp_path_factory):
    """The folder that is installed as share/."""
    folder = tmp_path_factory.mktemp("pages")
    manual.write(folder)
    return folder / "share"


def test_every_command_has_a_page(share):
    names = {path.name for path in (share / "man" / "man1").iterdir()}
    assert names == {"runstate.1", *(f"runstate-{verb.name}.1" for verb in cli.VERBS)}


def test_a_page_says_what_the_help_says(share):
    page = (share / "man" / "man1" / "runstate-check.1").read_text().replace("\\-", "-")
    for verb in ("--golden", "--require", "--dask", "Without FILE: the encodings"):
        assert verb in page
    assert page.startswith('.TH RUNSTATE-CHECK "1" "" "runstate-abi" "runstate-abi"\n')


def test_groff_knows_every_macro(share):
    if shutil.which("groff") is None:
        pytest.skip("groff: not installed")
    for path in (share / "man" / "man1").iterdir():
        # -W break: a synopsis is one long word, which no line can hold.
        command = ["groff", "-man", "-Tascii", "-P-cbu", "-wmac", "-Wbreak", path]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert (done.stderr, "NAME" in done.stdout) == ("", True)


def completed(script, *words):
    """What bash offers for the last word."""
    line = " ".join(f"'{word}'" for word in words)
    code = f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; "
    code += "_shtab_runstate; printf '%s\\n' \"${COMPREPLY[@]}\""
    return subprocess.run(["bash", "-c", code], capture_output=True, text=True).stdout.split()


def test_bash_completes_commands_and_options(share):
    script = share / "bash-completion" / "completions" / "runstate"
    assert completed(script, "runstate", "che") == ["check"]
    assert completed(script, "runstate", "check", "--wri") == ["--write-golden"]
    assert completed(script, "runstate", "help", "wr") == ["write"]
    assert set(completed(script, "runstate", "")) >= {verb.name for verb in cli.VERBS}


@pytest.mark.parametrize(("shell", "option"), [("bash", "-n"), ("zsh", "-n"), ("fish", "-n")])
def test_the_shell_reads_its_script(share, shell, option):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell}: not installed")
    subprocess.run([shell, option, share / manual.SHELLS[shell]], check=True)


def test_the_same_source_gives_the_same_pages_whatever_the_hash_seed():
    code = "from runstate_abi.tools.packaging import pages; print(pages.man_pages())"
    made = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(made) == 1
