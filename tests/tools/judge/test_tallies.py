"""Many updates counted: fingerprints, the smallest case, and what each rule was asked."""

import pytest

from runstate_abi.tools.judge import tallies
from runstate_abi.writer.rulebook.requests import parse, quick
from runstate_abi.writer.rules import NEWEST, RULES


@pytest.fixture
def writer(c_writer):
    """Return a function: (*defines) -> a writer that can be asked for updates."""
    from runstate_abi.writer.witnesses.machine_code import KvmWriter
    from runstate_abi.writer.witnesses.shipped import open_code, open_types

    def make(*defines):
        file = open_code(c_writer(*defines))
        return KvmWriter(file, open_types(file, ""))

    return make


def test_a_fingerprint_does_not_depend_on_the_chunks_done_first(writer):
    made, requests = writer(), list(quick())
    whole = tallies.judged(lambda: made, requests, NEWEST)
    assert whole == tallies.judged(lambda: made, requests, NEWEST)
    fewer = tallies.judged(lambda: made, requests[1:], NEWEST)
    assert fewer.prints != whole.prints
    # An ioctl's update writes nothing else than the scheduler's: it is in no fingerprint.
    assert requests[-1].ioctl
    fewer = tallies.judged(lambda: made, requests[:-1], NEWEST)
    assert fewer.prints == whole.prints


def test_the_smallest_case_is_told_whatever_comes_first(writer):
    made = writer("NO_SET")
    for requests in (list(quick()), list(quick())[::-1]):
        tally = tallies.judged(lambda: made, requests, NEWEST)
        assert str(tally.broken["set-first"].request) == "native@0x0,flag"


def test_each_rule_has_the_number_of_updates_that_asked_about_it(writer):
    cases = ["native@0x100,flag", "native@0x200,flag", "compat@0x100,atomic"]
    cases += ["native@0x100,atomic,busy1"]
    tally = tallies.judged(writer, [parse(case) for case in cases], NEWEST)
    every = {rule.name: tally.tested[rule.name] for rule in RULES}
    assert every == {
        "set-first": 2, "window": 2, "complete": 3, "clear-last": 2, "final": 3, "outside": 4,
        "padding": 2, "no-flag": 1, "read": 4, "locks": 4, "irqs": 4, "atomic": 2, "refused": 1,
        "dirty": 3, "ends": 4, "caller": 4, "calls": 3,
    }  # fmt: skip


def test_chunks_add_up(writer, monkeypatch):
    made, requests = writer(), list(quick())[:100]
    whole = tallies.judged(lambda: made, requests, NEWEST)
    monkeypatch.setattr(tallies, "CHUNK", 7)
    assert tallies.judged(lambda: made, requests, NEWEST).tested == whole.tested


def test_no_rule_is_broken_more_often_than_it_was_asked_about(writer):
    for name in ("NO_SET", "BODY_WITHOUT_FLAG", "LOCKS_SECOND_ALWAYS"):
        tally = tallies.judged(lambda name=name: writer(name), list(quick()), NEWEST)
        assert tally.broken
        for rule, one in tally.broken.items():
            assert one.times <= tally.tested[rule], (name, rule)
