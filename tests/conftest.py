"""What tests of several folders share."""

import importlib.util
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def data():
    """Return the folder of files that tests read."""
    return HERE / "data"


@pytest.fixture(scope="session")
def debian():
    """Return the module that gets files out of Debian packages, or skip: no index is reached."""
    # pytest's importlib mode puts no folder of tests on sys.path.
    spec = importlib.util.spec_from_file_location("runstate_tests_debian", HERE / "debian.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        module._apt("trixie", "amd64")
    except module.Unreachable as error:
        pytest.skip(f"no Debian package index: {error}")
    return module
