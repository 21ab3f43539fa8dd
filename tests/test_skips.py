"""What CI cannot skip: a test that is always skipped does not exist."""

from pathlib import Path

import pytest

REASONS = {
    "gcc: not installed": "need gcc: gcc",
    "pahole: not installed": "need pahole: dwarves",
    "the moon is full": "not here: the moon is full",
    "needs two CPUs of an x86-64 machine": "not here: needs two CPUs",
}
# What CI lacks (None: this is no CI), and which of the reasons fail there.
LACKS = {
    None: [],
    "": ["gcc: not installed", "pahole: not installed", "the moon is full"],
    "gcc dwarves": ["the moon is full"],
}


@pytest.mark.parametrize("workers", [[], ["-n", "2"]])
@pytest.mark.parametrize("lacks", LACKS)
def test_ci_fails_where_a_test_is_skipped_that_need_not_be(pytester, monkeypatch, lacks, workers):
    monkeypatch.delenv("RUNSTATE_LACKS", raising=False)
    if lacks is not None:
        monkeypatch.setenv("RUNSTATE_LACKS", lacks)
    pytester.makeconftest((Path(__file__).parent / "conftest.py").read_text())
    for reason, said in REASONS.items():
        pytester.makepyfile(f"import pytest\ndef test_it(): pytest.skip({reason!r})\n")
        done = pytester.runpytest_subprocess("-p", "no:randomly", *workers)
        undue = reason in LACKS[lacks]
        assert done.ret == (1 if undue else 0)
        done.stdout.fnmatch_lines([f"{'UNDUE: ' if undue else ''}1 {said}*"])


def test_a_run_without_a_skip_is_no_failure(pytester, monkeypatch):
    monkeypatch.setenv("RUNSTATE_LACKS", "")
    pytester.makeconftest((Path(__file__).parent / "conftest.py").read_text())
    pytester.makepyfile("def test_it(): pass")
    assert pytester.runpytest_subprocess("-p", "no:randomly").ret == 0
