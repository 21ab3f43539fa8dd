"""Standard input is asked as a file is, is bounded, and is called what it is."""

import io
import os
import sys
from types import SimpleNamespace

import pytest

from runstate_abi.layouts.findings import Finding, unchecked
from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.witnesses import standard_input


@pytest.fixture
def piped(monkeypatch):
    """Return a function that puts bytes into standard input."""
    return lambda data: monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(data)))


def test_it_is_a_file_for_as_long_as_it_is_lent(piped):
    piped(b"\x7fELF" + bytes(range(256)))
    with standard_input.as_file() as path:
        assert os.path.isfile(path)
        with open(path, "rb") as file:
            assert file.read() == b"\x7fELF" + bytes(range(256))
    assert not os.path.exists(path)


@pytest.mark.parametrize(("size", "fits"), [(99, True), (100, True), (101, False), (5000, False)])
def test_it_is_bounded(piped, monkeypatch, size, fits):
    monkeypatch.setattr(standard_input, "FILE_MAX", 100)
    piped(bytes(size))
    if fits:
        with standard_input.as_file() as path:
            assert os.path.getsize(path) == size
    else:
        with pytest.raises(WitnessError, match="standard input: more than"):
            standard_input.as_file().__enter__()


def test_no_more_is_read_than_that(piped, monkeypatch):
    monkeypatch.setattr(standard_input, "FILE_MAX", 100)
    piped(bytes(5000))
    with pytest.raises(WitnessError):
        standard_input.as_file().__enter__()
    assert sys.stdin.buffer.tell() == 101


def test_where_nothing_can_be_kept_in_memory_that_is_said(piped, monkeypatch):
    monkeypatch.delattr(os, "memfd_create")
    piped(b"x")
    with pytest.raises(WitnessError, match="give the file by its name"):
        standard_input.as_file().__enter__()


def test_a_finding_calls_it_what_it_is():
    path = "/proc/7/fd/5"
    finding = Finding("btf", f"{path}: raw BTF", "x86_64", path=path)
    named = standard_input.unnamed(finding, path)
    assert (named.source, named.path) == ("standard input: raw BTF", "")
    other = standard_input.unnamed(finding._replace(path="vmlinux"), path)
    assert other.path == "vmlinux"
    broken = standard_input.unnamed(unchecked("btf", path, f"{path}: truncated"), path)
    assert broken.not_checked[0].why == "standard input: truncated"
