"""What the tests of several languages share: emitted texts, and bytes that tell where they are."""

import json
import sys

import pytest

from runstate_abi.tools.languages.promises import GUESTS


@pytest.fixture(scope="session")
def zig(package):
    """Return the command that starts Zig."""
    package("ziglang")
    return [sys.executable, "-m", "ziglang"]


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
def node(tool):
    """Return a function that runs JavaScript with a JSON value as input and one as output."""

    def run(script, value):
        return json.loads(tool("node", "-e", script, input=json.dumps(value)))

    return run
