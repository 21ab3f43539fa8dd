"""What the tests of several languages share: tools that may be missing, and bytes that tell."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runstate_abi.tools.languages.promises import GUESTS


@pytest.fixture(scope="session")
def tool():
    """Return a function that runs a program to its end, or skips: it is not installed."""

    def run(*words, fails=False, **options):
        if shutil.which(str(words[0])) is None:
            pytest.skip(f"{words[0]}: not installed")
        done = subprocess.run(
            [str(word) for word in words], capture_output=True, text=True, timeout=110, **options
        )
        said = done.stdout + done.stderr
        assert bool(done.returncode) == fails, said
        return said if fails else done.stdout

    return run


@pytest.fixture(scope="session")
def package():
    """Return a function that imports a package of the extra `cross` or `test`, or skips."""

    def get(name):
        return pytest.importorskip(name, reason=f"{name}: not installed")

    return get


@pytest.fixture(scope="session")
def zig(package):
    """Return the command that starts Zig."""
    package("ziglang")
    return [sys.executable, "-m", "ziglang"]


@pytest.fixture(scope="session")
def node_module(tool):
    """Return a function that finds an npm package, for require(); or skips: it is not there."""

    def find(name):
        roots = [*os.environ.get("NODE_PATH", "").split(":"), tool("npm", "root", "-g").strip()]
        found = [root for root in roots if root and (Path(root) / name).is_dir()]
        if not found:
            pytest.skip(f"npm package {name}: not installed (globally, or in NODE_PATH)")
        return str(Path(found[0]) / name)

    return find


@pytest.fixture(scope="session")
def area():
    """Return bytes of which each is its own offset: whoever reads a field reads where it is."""
    return bytes(range(max(guest.layout.size for guest in GUESTS)))


@pytest.fixture(scope="session")
def fields(area):
    """Return what a right reader makes of them: {"native": {"time[0]": number, ...}, ...}."""

    def elements(layout):
        for row in layout.members:
            for index in range(row.count):
                path = row.name if row.count == 1 else f"{row.name}[{index}]"
                start = layout.offsetof(path)
                yield path, int.from_bytes(area[start : start + row.type.size], "little")

    return {guest.word: dict(elements(guest.layout)) for guest in GUESTS}


@pytest.fixture(scope="session")
def changed():
    """Return a function that replaces one piece of a text and makes sure that it was there."""

    def change(text, old, new):
        assert text.count(old) >= 1, f"{old!r} is not in the text"
        return text.replace(old, new, 1)

    return change


@pytest.fixture(scope="session")
def emitted():
    """Return a function: the whole text of one language."""
    emit = importlib.import_module("runstate_abi.tools.emit")
    return lambda word: "\n".join(emit.emitted(word)) + "\n"


@pytest.fixture(scope="session")
def node(tool):
    """Return a function that runs JavaScript with a JSON value as input and one as output."""

    def run(script, value):
        return json.loads(tool("node", "-e", script, input=json.dumps(value)))

    return run
