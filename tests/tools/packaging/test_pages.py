"""Man pages that groff reads without a complaint, completion that a real shell completes with."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from runstate_abi.tools import cli
from runstate_abi.tools.packaging import pages as manual
from runstate_abi.tools.packaging import plain
from runstate_abi.tools.rendering import man

pytest.importorskip("shtab")
pytest.importorskip("argparse_manpage")


@pytest.fixture(scope="module")
def share(tmp_path_factory):
    """The folder that is installed as share/."""
    folder = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(man.EPOCH, raising=False)  # set where packages are built
        manual.write(folder)
    return folder / "share"


def test_every_command_has_a_page(share):
    names = {path.name for path in (share / "man" / "man1").iterdir()}
    assert names == {"runstate.1", *(f"runstate-{verb.name}.1" for verb in cli.VERBS)}


def test_a_page_says_what_the_help_says(share):
    page = (share / "man" / "man1" / "runstate-check.1").read_text().replace("\\-", "-")
    for verb in ("--golden", "--require", "--dask", "Without FILE: the encodings"):
        assert verb in page
    assert page.startswith('.TH RUNSTATE-CHECK 1 "" "runstate-abi" "runstate-abi"\n')


def test_groff_knows_every_macro(share):
    if shutil.which("groff") is None:
        pytest.skip("groff: not installed")
    for path in (share / "man" / "man1").iterdir():
        command = ["groff", "-man", "-Tascii", "-P-cbu", "-ww", "-rLL=78n", path]
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


COLUMNS = 80
NAMES = ("runstate", *(f"runstate-{verb.name}" for verb in cli.VERBS))


def too_wide(words, page):
    """The lines of a page that a program makes wider than a terminal of 80 columns."""
    environment = {**os.environ, "MANWIDTH": str(COLUMNS), "LC_ALL": "C.UTF-8", "MANPAGER": "cat"}
    done = subprocess.run([*words, page], capture_output=True, text=True, env=environment)
    text = re.sub(".\b", "", done.stdout)
    assert "SEE ALSO" in text
    return [line for line in text.splitlines() if len(line) > COLUMNS]


@pytest.mark.needs("man")
@pytest.mark.parametrize("name", NAMES)
def test_man_shows_no_line_wider_than_80_columns(share, name):
    assert too_wide(["man", "-l"], share / "man" / "man1" / f"{name}.1") == []


@pytest.mark.needs("mandoc")
@pytest.mark.parametrize("name", NAMES)
def test_mandoc_shows_no_line_wider_than_80_columns(share, name):
    words = ["mandoc", "-Tutf8", "-O", f"width={COLUMNS}"]
    assert too_wide(words, share / "man" / "man1" / f"{name}.1") == []


@pytest.mark.needs("mandoc")
def test_mandoc_has_no_warning(tmp_path, tool, monkeypatch):
    monkeypatch.setenv(man.EPOCH, "1700000000")  # it warns of a page without a date
    for name, text in manual.man_pages().items():
        (tmp_path / name).write_text(text)
        tool("mandoc", "-Tlint", "-Wwarning", tmp_path / name)


def test_the_date_is_that_of_the_source(monkeypatch):
    monkeypatch.setenv(man.EPOCH, "1700000000")
    for name, text in manual.man_pages().items():
        title = name.upper().replace("-", "\\-")
        assert text.startswith(f'.TH {title} 1 "2023-11-14" "runstate\\-abi" "runstate\\-abi"\n')


def test_a_wrong_date_ends_the_build(tmp_path):
    words = [sys.executable, "-m", "runstate_abi.tools.packaging.pages", tmp_path]
    environment = {**os.environ, man.EPOCH: "yesterday"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert (done.returncode, list(tmp_path.iterdir())) == (1, [])
    assert "SOURCE_DATE_EPOCH: 'yesterday' is no number of seconds since 1970" in done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_see_also_is_last_and_names_the_other_pages(share, name):
    text = (share / "man" / "man1" / f"{name}.1").read_text()
    lines = text.splitlines()
    assert lines.count(".SH SEE ALSO") == 1
    named = lines[lines.index(".SH SEE ALSO") + 1 :]
    pages = [re.fullmatch(r"\.BR (\S+) \(1\),?", line)[1].replace("\\-", "-") for line in named]
    assert pages == [page for page in sorted(NAMES) if page != name]


A_ROW = (".TP", "\\fBa\\fR", "text")
A_FIND = (".PP", ".nf", "runstate find x", ".fi")
# What a parser prints, and what becomes of it.
# fmt: off
TEXTS = (
    ("a -b\nc",                         ["a \\-b", "c"]),
    ("a\n\nb",                          ["a", ".PP", "b"]),
    ("a,\n  b\nc",                      ["a,", "b", "c"]),
    ("exit status: 0 good,\n  2 bad",   ["exit status: 0 good,", "2 bad"]),
    ("words:\n  a    text\n  b  c",     ["words:", *A_ROW, ".TP", "\\fBb\\fR", "c"]),
    ("  a-b  text",                     [".TP", "\\fBa\\-b\\fR", "text"]),
    ("  a    text\n         more\nend", [*A_ROW, "more", ".PP", "end"]),
    ("NAME:\n  a, b,\n  c\nend",        ["NAME:", ".IP", "a, b,", "c", ".PP", "end"]),
    ("words:\n\n  a  text",             ["words:", *A_ROW]),
    ("examples:\n  runstate race",      ["examples:", ".PP", ".nf", "runstate race", ".fi"]),
    ("  runstate find x  where?",       [*A_FIND, ".RS 4", "where?", ".RE"]),
    ("  gdb -x | runstate hexdump -",   [".PP", ".nf", "gdb \\-x | runstate hexdump \\-", ".fi"]),
    ("'a'\n.b",                         ["\\&'a'", "\\&.b"]),
)
# fmt: on


@pytest.mark.parametrize(("text", "lines"), TEXTS)
def test_plain_text_keeps_its_paragraphs_rows_and_commands(text, lines):
    assert list(plain.laid_out(text)) == lines


def test_a_long_command_is_folded_before_an_option_and_stays_one_command():
    command = "runstate race " + " ".join(f"--option{n} value" for n in range(9))
    lines = plain.folded(command)
    assert max(map(len, lines)) <= plain.WIDE
    assert all(line.lstrip().startswith("--") for line in lines[1:])
    done = subprocess.run(
        ["sh", "-c", "\n".join(["runstate() { echo runstate $*; }", *lines])],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == command + "\n"
    assert plain.folded("runstate race --all") == ["runstate race --all"]


def test_a_synopsis_is_not_broken_between_an_option_and_its_value():
    usage = "race [-h] [--abi ABI [ABI ...]] [-o FILE | --check FILE] [FILE ...]"
    name, words = plain.synopsis("runstate race", usage)
    assert name == "\\fBrunstate race\\fR"
    assert words.replace("\\-", "-").split(" ") == [
        *("[-h]", "[--abi\\", "ABI\\", "[ABI\\", "...]]"),
        *("[-o\\", "FILE\\", "|\\", "--check\\", "FILE]", "[FILE\\", "...]"),
    ]
