"""The renderings in the hands of the tools they are for: Sphinx, a validator, man."""

import os
import re
import subprocess
import sys
from importlib.resources import files

import pytest
from contrast import contrast

from runstate_abi.tools.compare import matrix
from runstate_abi.tools.docs import command
from runstate_abi.tools.rendering import drawing

# Names the sphinx-build of an old version: see sphinx-3.4.txt.
OLD_SPHINX = "RUNSTATE_OLD_SPHINX"


@pytest.fixture
def tree(tmp_path, page):
    """Return a tree of documentation as Linux has it: the page in a toctree, and included."""
    (tmp_path / "virt").mkdir()
    (tmp_path / "virt" / "runstate.rst").write_text(page("rst"))
    (tmp_path / "conf.py").write_text('project = "kernel"\nmaster_doc = "index"\nextensions = []\n')
    toctree = "Kernel\n======\n\n.. toctree::\n\n   virt/runstate\n   included\n"
    (tmp_path / "index.rst").write_text(toctree)
    (tmp_path / "included.rst").write_text(".. include:: virt/runstate.rst\n")
    return tmp_path


def build(tree, command, builder):
    words = [*command, "-q", "-W", "--keep-going", "-n", "-b", builder, tree, tree / "out"]
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=110)
    assert (done.returncode, done.stderr) == (0, "")
    return tree / "out"


def of_this_python():
    pytest.importorskip("sphinx", reason="sphinx: not installed")
    return [sys.executable, "-m", "sphinx"]


def of_old():
    if OLD_SPHINX not in os.environ:
        pytest.skip(f"{OLD_SPHINX} names no sphinx-build")
    return [os.environ[OLD_SPHINX]]


@pytest.mark.parametrize("command", [of_this_python, of_old])
@pytest.mark.parametrize("builder", ["html", "latex"])
def test_sphinx_builds_the_page_without_a_warning(tree, command, builder):
    out = build(tree, command(), builder)
    names = ["virt/runstate.html", "included.html"] if builder == "html" else ["kernel.tex"]
    for name in names:
        assert "XEN_RUNSTATE_UPDATE" in (out / name).read_text().replace("\\", "").replace("{}", "")


def test_sphinx_finds_fault_with_a_broken_page(tree):
    page = tree / "virt" / "runstate.rst"
    page.write_text(
        page.read_text().replace("The two layouts\n", "The two lay\n", 1) + "\n`No such`_\n"
    )
    with pytest.raises(AssertionError):
        build(tree, of_this_python(), "html")


def test_a_validator_takes_the_html(validate, page):
    validate(page("html"))


def test_a_validator_takes_the_matrix_as_html(validate, capsys):
    assert matrix.main(["--format", "html"]) in (0, 3)
    validate(capsys.readouterr().out)


def test_the_validator_would_not_take_just_anything(validate, page, changed):
    validate(changed(page("html"), "</table>", ""), fails=True)
    validate(changed(page("html"), ' lang="en"', ""), fails=True)


def test_the_html_needs_nothing_else(page):
    text = page("html")
    assert not re.search(r"<link|<img|@import|url\(|src=", text)
    # The figure's data and its program; an address is a link's, or names SVG.
    assert re.findall(r"<script[^>]*>", text) == ['<script type="application/json">', "<script>"]
    program = text[text.rindex("<script>") :]
    assert not re.search(r"fetch|XMLHttp|import\(|WebSocket|https?:", program.partition("</s")[0])
    addresses = re.sub(r'<a class="source" href="https://[^"]+">', "", text)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", addresses)
    assert text.count("<h1>") == 1
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert text.count("<svg") == text.count("<title>") - 1 == 5
    assert text.count("<th scope=") == text.count("<th ")


def test_every_link_of_the_html_has_its_place(page):
    text = page("html")
    places = set(re.findall(r'id="([^"]+)"', text))
    assert set(re.findall(r'href="#([^"]+)"', text)) <= places
    assert {section.name for section in command.document().sections} <= places


def test_text_stands_out_from_what_is_behind_it_in_light_and_dark():
    style = files("runstate_abi.tools.rendering").joinpath("style.css").read_text()
    for scheme in re.findall(r":root \{([^}]*--paper[^}]*)\}", style)[:2]:
        full = re.sub(r"#(\w)(\w)(\w)\b", r"#\1\1\2\2\3\3", scheme)
        colours = dict(re.findall(r"--(\w+): (#\w{6})", full))
        for text in ("ink", "quiet", "link", "mark"):
            for behind in ("paper", "wash"):
                assert contrast(colours[text], colours[behind]) >= 4.5, (text, behind)


def test_labels_stand_out_from_their_boxes_in_light_and_dark():
    for scheme in (1, 2):
        colours = {row[0]: row[scheme] for row in drawing.COLOURS}
        for box in (
            "paper",
            "state",
            "padding",
            "entry",
            "time0",
            "time1",
            "time2",
            "time3",
            "store",
        ):
            assert contrast(colours["ink"], colours[box]) >= 4.5, box
        assert contrast(colours["onflag"], colours["flag"]) >= 4.5
        assert contrast(colours["quiet"], colours["paper"]) >= 4.5


def test_man_shows_the_page_without_a_warning(tool, page, tmp_path):
    (tmp_path / "runstate.7").write_text(page("man"))
    words = ("man", "-l", "--warnings", tmp_path / "runstate.7")
    environment = {**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8", "MANPAGER": "cat"}
    tool("man", "--version")
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "runstate - What vcpu_runstate_info is" in " ".join(done.stdout.split())
    for section in command.document().sections:
        assert section.title.upper() in done.stdout


def test_man_would_complain_of_a_broken_page(tool, page, tmp_path):
    tool("man", "--version")
    (tmp_path / "runstate.7").write_text(page("man") + ".NOSUCH macro\n")
    words = ["man", "-l", "--warnings", tmp_path / "runstate.7"]
    done = subprocess.run(
        words, capture_output=True, text=True, env={**os.environ, "MANWIDTH": "80"}
    )
    assert done.stderr
