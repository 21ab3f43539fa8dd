"""Fuzz what `runstate check` reads: BTF, DWARF, ELF, PE, packages, configuration, golden files.

    python tests/fuzz/fuzz_check.py -max_total_time=60

atheris (PyPI) drives it by coverage. Anything but an answer or a WitnessError of one line is a
finding, and so is an input that takes longer than ten seconds or half a gigabyte; libFuzzer's own
options may follow the file's name.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["runstate_abi"]):
    from runstate_abi.layouts.model import WitnessError
    from runstate_abi.layouts.witnesses import compiler, kernels, packages, pe
    from runstate_abi.tools.check import config, goldens

DATA = Path(__file__).parent.parent / "data" / "btf"
FOLDER = tempfile.TemporaryDirectory()
PLACE = Path(FOLDER.name)
SETTINGS = kernels.Settings()
OPEN = dict.fromkeys(key.option for key in config.KEYS)


def image(path):
    """A kernel, a module, an ELF file, a BTF blob."""
    list(kernels.asked_of_files([path], SETTINGS))


def archive(path):
    """A Debian package or a tarball."""
    packages.is_archive(path)
    for item in packages.extract(path, FOLDER.name):
        Path(item.path).unlink()


def settings(path):
    """A pyproject.toml."""
    complaint = config.apply(argparse.Namespace(**OPEN), path)
    if "\n" in complaint:
        raise ValueError(f"a message of more than one line: {complaint!r}")


def golden(path):
    """A golden file."""
    goldens.settled([], path, None)


def pe_file(path):
    """A PE image, or an object of a compiler for Windows."""
    data = memoryview(Path(path).read_bytes())
    pe.as_elf(data, path)
    list(kernels.asked_of_files([path], SETTINGS))
    compiler.measured(compiler.OURS, path, bytes(data))


READERS = (image, image, archive, archive, settings, golden, image, image, pe_file, pe_file)
AR = b"!<arch>\n" + b"debian-binary   0           0     0     644     4         `\n2.0\n"
HEADS = (
    b"\x7fELF\2\1\1" + bytes(9),
    b"\x9f\xeb\1\0",
    AR,
    b"",
    b"[tool.runstate]\n",
    b"# runstate golden 1\n",
    b"\x02\x21\x4c\x18",  # lz4 -l
    b"\x04\x22\x4d\x18",  # lz4
    b"MZ".ljust(0x3C, b"\0") + b"\x40\0\0\0PE\0\0\x64\x86\2\0",
    b"\x64\x86\2\0",
)


def one(data):
    """One input: its first byte chooses the reader and what the file begins with."""
    if not data:
        return
    choice = data[0] % len(READERS)
    path = PLACE / "fuzz.tar.xz"
    path.write_bytes(HEADS[choice] + data[1:])
    try:
        READERS[choice](str(path))
    except WitnessError as error:
        if "\n" in str(error):
            raise ValueError(f"a message of more than one line: {error!r}") from error


def seeds(folder):
    """Real BTF and DWARF, behind the byte that chooses its reader."""
    for path in DATA.glob("*.btf"):
        (folder / path.name).write_bytes(b"\1" + path.read_bytes()[4:])
    for path in DATA.parent.glob("cases/*/*.o"):
        (folder / path.name).write_bytes(b"\0" + path.read_bytes()[16:])
    (folder / "key").write_bytes(b"\4abi = 'i386'\nfiles = ['a']\n")
    (folder / "waiver").write_bytes(b"\5waive a b [c] until 2027-01-01: d\n")


if __name__ == "__main__":
    corpus = PLACE / "corpus"
    corpus.mkdir()
    seeds(corpus)
    limits = ["-timeout=10", "-rss_limit_mb=512", "-max_len=65536"]
    atheris.Setup([sys.argv[0], *limits, *sys.argv[1:], str(corpus)], one)
    atheris.Fuzz()
