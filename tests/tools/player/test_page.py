"""The pages of ``race --format html`` and ``write --format html``: their words and their errors."""

import json
import re

import pytest

ONE = ("--variant", "linux-6.1", "--reader", "linux-32", "--model", "x86-tso")
PLACE = ("--abi", "compat", "--at", "0x1038")


def given(page):
    """What the page's player is given."""
    return json.loads(re.search(r'<script type="application/json">(.*)</script>', page)[1])


def test_a_page_about_a_torn_answer_has_the_words_of_the_terminal(runstate):
    code, page, _ = runstate("race", *ONE, *PLACE, "--format", "html")
    plain_code, plain, _ = runstate("race", *ONE, *PLACE)
    assert (code, plain_code) == (1, 1)
    shown = re.search(r"<pre[^>]*><code>(.*?)</code></pre>", page, re.S)[1]
    assert shown == plain.rstrip("\n").replace("&", "&amp;").replace(">", "&gt;")
    assert "<h1>torn: linux-32 accepts from linux-6.1 what was never true</h1>" in page
    values = given(page)
    assert len(values["executions"]) == 1
    assert (values["first"], values["last"]) == (0x38, 0x38)


def test_several_updates_have_names(runstate):
    words = ("--reader", "split-lh-hl", "--variant", "upstream", *ONE[4:], *PLACE[:3], "0x1100")
    _, page, _ = runstate("race", *words, "--updates", "2", "--format", "html")
    assert given(page)["versions"] == ["old", "first", "second"]


def test_a_safe_answer_has_no_execution(runstate):
    words = ("--variant", "upstream", "--reader", "linux-32", *ONE[4:], *PLACE)
    code, page, _ = runstate("race", *words, "--format", "html")
    assert code == 0
    assert (given(page)["executions"], given(page)["rows"]) == ([], [[-1]])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("race", "--format", "html"), "a page about one question"),
        (("race", *ONE, "--abi", "compat", "--format", "html"), "a page about one question"),
        (("race", *ONE, *PLACE, "-o", "x.html"), "-o: the page of --format html"),
        (("race", "--family", "pvclock", "--format", "html"), "a page about one question"),
        (("race", "--family", "pvclock", "-o", "x"), "-o: the page of --format html"),
        (("write", "--at", "0x1000", "-o", "x.html"), "-o: the page of --format html"),
        (("write", "--family", "pvclock", "-o", "x"), "-o: the page of --format html"),
    ],
)
def test_what_is_no_page_is_one_line_and_exit_2(runstate, words, said):
    code, out, err = runstate(*words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


def test_a_page_that_cannot_be_written_is_exit_3(runstate, tmp_path):
    path = tmp_path / "none" / "x.html"
    code, out, err = runstate("write", "--at", "0x1000", "--format", "html", "-o", path)
    assert (code, out) == (3, "")
    assert err.startswith(f"runstate: {path}: cannot be written")


def test_the_bytes_of_an_update_are_its_own_and_the_marks_those_of_its_steps(runstate):
    words = ("--at", "0x1ff1", "--state", "2", "--until-barrier", "2", "--fill", "5a")
    code, page, _ = runstate("write", *words, "--format", "html")
    values = given(page)
    assert code == 0
    assert values["hex"][0] == "5a" * 48
    assert values["hex"][-1].startswith("02000000")
    plan = values["plans"][0]
    assert [bool(step) for step in plan] == [True, False, True, True, False]
    assert plan[0] == [2, 15, "i", 0]  # the update byte is new, with the flag up
    assert len(values["hex"]) == len(plan) + 1


def test_a_refused_area_has_no_page(runstate):
    words = ("--variant", "linux-6.1", "--at", "0x1ff1", "--format", "html")
    code, out, err = runstate("write", *words)
    assert (code, out) == (1, "")
    assert err.startswith("runstate write: ")


def test_nothing_in_the_data_can_end_its_element():
    from runstate_abi.tools.player import markup

    lines = list(markup.lines("", {"versions": ["</script><b>"]}))
    (data,) = [line for line in lines if line.startswith('<script type="application/json">')]
    assert data.count("<") == 2
    assert json.loads(data.split(">", 1)[1].rsplit("<", 1)[0])["versions"] == ["</script><b>"]
