"""Several processes say what one says."""

import re


def test_processes_change_nothing(judge, built):
    _, one, _ = judge(built("WRONG_PAGE_OF_UPDATE_BYTE"))
    _, two, _ = judge(built("WRONG_PAGE_OF_UPDATE_BYTE"), "-j", "2")
    assert one == two
    assert re.search(r"WRONG: \d+ of 17076", one)


def test_what_cannot_be_judged_cannot_be_by_two_processes_either(judge, built):
    code, out, err = judge(built("ENDLESS"), "-j", "2")
    assert (code, out) == (3, "")
    assert "did not return after 20000 instructions" in err
