"""What tests of several verbs share."""

import json
from functools import partial

import pytest

from runstate_abi.tools import cli
from runstate_abi.tools.memory import sources


@pytest.fixture
def runstate(capsys):
    """Return a function: the words of a command -> (exit code, stdout, stderr)."""

    def run(*words):
        capsys.readouterr()  # what was said before, as by debian.py while it fetches
        try:
            code = cli.main([str(word) for word in words])
        except SystemExit as stop:
            code = stop.code
        return (code, *capsys.readouterr())

    return run


@pytest.fixture
def judge(runstate):
    """Return a function: arguments -> (exit code, stdout, stderr)."""
    return partial(runstate, "judge")


@pytest.fixture(scope="session")
def guest_code(tool, data, tmp_path_factory):
    """Return a function (*words of a compiler, source) -> path of an object, each made once."""
    pytest.importorskip("unicorn")
    folder, made = tmp_path_factory.mktemp("guests"), {}

    def compiled(*words, source=data / "readers" / "readers.c"):
        if (words, source) not in made:
            output = folder / f"{len(made)}.o"
            tool(*words, "-c", source, "-o", output)
            made[words, source] = str(output)
        return made[words, source]

    return compiled


@pytest.fixture(scope="session")
def real_pages(data):
    """Every record of pages.json that says where its area is, with the file's path.

    Those of 4.17.7 that are no area look like none as soon as one looks, and are for `find` only.
    """
    records = json.loads((data / "pages" / "pages.json").read_text())
    return [
        {**r, "path": data / "pages" / r["file"]}
        for r in records
        if "area_offset" in r and (r["xen"], r["what"][:5]) != ("4.17.7", "false")
    ]


@pytest.fixture(scope="session")
def open_page():
    """Return a function: the Image of a file at an address."""

    def opened(path, base=0):
        return sources.raw_image(sources.content(str(path)), str(path), base)

    return opened


@pytest.fixture
def validate(tool, node_module, tmp_path):
    """Return a function that runs html-validate over a text."""
    program = f"{node_module('html-validate')}/bin/html-validate.mjs"

    def run(text, fails=False):
        (tmp_path / "page.html").write_text(text)
        rules = '{"root": true, "extends": ["html-validate:recommended", "html-validate:document"]}'
        (tmp_path / ".htmlvalidate.json").write_text(rules)
        return tool("node", program, tmp_path / "page.html", fails=fails, cwd=tmp_path)

    return run
