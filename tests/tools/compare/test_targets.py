"""Zig as a compiler for every ABI at once."""

import sys

import pytest

from runstate_abi.layouts.abi import ABIS
from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools.compare import grid


def test_every_target_of_zig_is_an_abi_and_agrees(package):
    package("ziglang")
    assert set(grid.TARGETS) == {abi.name for abi in ABIS}
    findings = list(grid.asked_of_zig())
    assert [finding.abi for finding in findings] == list(grid.TARGETS)
    found = grid.grid(findings)
    assert grid.unasked(found) == 0
    assert list(grid.differences(found)) == []
    # Zig 0.15's own version names a URL, so a slash alone is no path of this machine.
    assert not any(sys.executable in finding.witness + finding.source for finding in findings)


def test_without_zig_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(grid, "find_spec", lambda name: None)
    with pytest.raises(WitnessError, match=r"pip install 'runstate-abi\[cross\]'"):
        list(grid.asked_of_zig())
