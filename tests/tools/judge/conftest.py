"""What the tests of judge share."""

import shutil

import pytest


@pytest.fixture
def c_object(c_writer, installed, tmp_path):
    """A function (name, *defines, flags, compiler) -> a copy of an object with DWARF."""

    def build(name, *defines, flags=("-O2",), compiler="gcc"):
        installed(compiler)
        made = c_writer(*defines, btf=False, flags=("-g", *flags), compiler=compiler)
        return shutil.copy(made, tmp_path / name)

    return build
