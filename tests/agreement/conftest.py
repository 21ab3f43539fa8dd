"""Other checkers of memory models, out of Debian packages, run with their own libraries.

A package is unpacked and not installed: herd7 of Debian sid needs sid's C library, so each program
is started by the loader that lies beside it. The kernel's memory model is the GPL's and is read
from Debian's own linux-source: it is not in this project.
"""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

HERD = ("herdtools7", "libc6", "libgmp10")
CBMC = ("cbmc", "libc6", "libstdc++6", "libgcc-s1", "minisat", "zlib1g")
LIBRARIES = ("usr/lib/x86_64-linux-gnu", "usr/lib")


class Program:
    """A program of an unpacked folder, as the beginning of a command line."""

    def __init__(self, root, name):
        loader = next(root.rglob("ld-linux-x86-64.so.2"))
        self.root = root
        paths = ":".join(str(root / folder) for folder in LIBRARIES)
        self.command = [str(loader), "--library-path", paths, str(root / "usr/bin" / name)]

    def run(self, *arguments, cwd=None):
        return subprocess.run(
            [*self.command, *map(str, arguments)], capture_output=True, text=True, cwd=cwd
        )


def unpacked(debian, suite, packages):
    """The folder with these packages of a suite, unpacked once."""
    apt = debian._apt(suite, "amd64")
    root = debian.CACHE / f"{suite}-{packages[0]}"
    if not (root / "complete").exists():
        root.mkdir(parents=True, exist_ok=True)
        for name in packages:
            data = debian.opened(apt, address(debian, apt, name)).read()
            package = root / f"{name}.deb"
            package.write_bytes(data)
            subprocess.run(["dpkg-deb", "-x", package, root], check=True)
            package.unlink()
        (root / "complete").touch()
    return root


def address(debian, apt, name):
    line = debian._run(apt, "apt-get", "download", "--print-uris", name)
    return line.replace("'", "").split()[0]


@pytest.fixture(scope="session")
def herd7(debian):
    return Program(unpacked(debian, "sid", HERD), "herd7")


@pytest.fixture(scope="session")
def cbmc(debian):
    return Program(unpacked(debian, "trixie", CBMC), "cbmc")


@pytest.fixture(scope="session")
def memory_model(debian):
    return model_folder(debian)


def model_folder(debian):
    """The folder tools/memory-model of the kernel that Debian trixie has the source of."""
    folder = debian.CACHE / "memory-model"
    if not (folder / "complete").exists():
        apt = debian._apt("trixie", "amd64")
        shown = debian._run(apt, "apt-cache", "depends", "linux-source")
        name = next(word for word in shown.split() if word.startswith("linux-source-"))
        folder.mkdir(parents=True, exist_ok=True)
        with debian.opened(apt, address(debian, apt, name)) as response:
            _model(debian, response, folder)
        (folder / "complete").touch()
    return folder


# A tar of the source lies in the tar of the package.
def _model(debian, response, folder):
    with tarfile.open(fileobj=debian._data(response), mode="r|") as outer:
        for entry in outer:
            if entry.name.endswith(".tar.xz"):
                with tarfile.open(fileobj=_Stream(outer.extractfile(entry)), mode="r|xz") as inner:
                    for file in inner:
                        path = Path(file.name)
                        if file.isfile() and path.parts[-3:-1] == ("tools", "memory-model"):
                            (folder / path.name).write_bytes(inner.extractfile(file).read())
                return
    raise LookupError("no source in the package")


class _Stream(io.RawIOBase):
    """A member of a streamed tar, which cannot be told where it is."""

    def __init__(self, file):
        self.file = file

    def read(self, size=-1):
        return self.file.read(size)
