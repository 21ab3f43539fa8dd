"""Several processes say what one says."""

import re

from runstate_abi.tools.judge import tallies


def test_processes_change_nothing(judge, c_writer, monkeypatch):
    monkeypatch.setattr(tallies, "CHUNK", 50)  # so that both processes have some of the 1004
    _, one, _ = judge(c_writer("WRONG_PAGE_OF_UPDATE_BYTE"), "--quick")
    _, two, _ = judge(c_writer("WRONG_PAGE_OF_UPDATE_BYTE"), "--quick", "-j", "2")
    assert one == two
    assert re.search(r"WRONG: \d+ of 1004", one)


def test_what_cannot_be_judged_cannot_be_by_two_processes_either(judge, c_writer):
    code, out, err = judge(c_writer("STRAY"), "-j", "2")
    assert (code, out) == (3, "")
    assert "writes 0xdead0000, where nothing is" in err
