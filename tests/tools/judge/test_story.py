"""The story of a breach: the cause first, one trace for what breaks together, and short."""

import re
from pathlib import Path

import pytest

from runstate_abi.tools.judge.story import LINES_MOST

README = Path(__file__).parents[3] / "README.md"
CASES = ("--case=native@0x0,flag", "--case=native@0xff1,flag", "--case=native@0x0")

# A bug -> the rules of each story, the first in front, and the step that is marked for it.
# fmt: off
STORIES = {
    "TIMES_TOO_FAR":            [["outside", "complete", "final"]],
    "COPY_ONE_TOO_MANY":        [["outside"]],
    "SINGLE_PATH":              [["padding", "locks"]],
    "BODY_WITHOUT_FLAG":        [["window"]],
    "NO_CLEAR":                 [["clear-last", "final"]],
    "ONE_TIME_MISSING":         [["complete", "final"]],
    "FLAG_ALWAYS":              [["no-flag"]],
    "DIRTY_AFTER_UNLOCK":       [["dirty"]],
}
MARKED = {
    "TIMES_TOO_FAR":            [r"store p1\+20 8 1112131415161718", r"store p1\+44 8 \w{16}"],
    "COPY_ONE_TOO_MANY":        [r"store p2\+33 1 6b"],
    "SINGLE_PATH":              [r"store p1\+4 1 00", "return"],
    "BODY_WITHOUT_FLAG":        [r"store p1\+8 8 7172737475767778"],
    "NO_CLEAR":                 ["return"],
    "ONE_TIME_MISSING":         [r"store p1\+15 1 78", "return"],
    "FLAG_ALWAYS":              [r"store p1\+15 1 \w\w"],
    "DIRTY_AFTER_UNLOCK":       [r"dirty gfn=\+0"],
}
# fmt: on


def told(judge, path, *more):
    """The stories of a verdict, as lists of lines."""
    _, out, _ = judge(path, *more)
    parts = out.rstrip("\n").split("\n\n")[2:-1]
    return [part.splitlines() for part in parts]


def rules(story):
    first, *rest = story
    return [first.split(":")[0], *re.findall(r"^  then ([\w-]+): ", "\n".join(rest), re.MULTILINE)]


@pytest.mark.parametrize("bug", STORIES)
def test_what_breaks_in_one_update_is_one_story_with_the_cause_first(judge, c_writer, bug):
    seen = told(judge, c_writer(bug), *CASES)
    assert [rules(story) for story in seen] == STORIES[bug]
    (story,) = seen
    marks = [line.removeprefix("  > ") for line in story if line.startswith("  > ")]
    assert len(marks) == len(MARKED[bug])
    for mark, wanted in zip(marks, MARKED[bug], strict=True):
        assert re.match(rf"{wanted}  ", mark)
    named = [name for mark in marks for name in re.split(r"  +", mark)[-1].split(", ")]
    assert sorted(named) == sorted(rules(story))


def test_a_rule_that_breaks_in_another_update_only_has_a_story_of_its_own(judge, c_writer):
    seen = told(judge, c_writer("FLAG_ALWAYS", "NO_SECOND_UNLOCK"), *CASES)
    assert [rules(story) for story in seen] == [["no-flag"], ["locks"]]
    assert [story[0].split(": ")[1] for story in seen] == ["native@0x0", "native@0xff1,flag"]


def test_the_stores_of_one_copy_are_one_line_and_verbose_has_each(judge, c_writer):
    path = c_writer("NO_SECOND_UNLOCK")
    (story,) = told(judge, path, "--case=native@0xff1")
    stores = [line for line in story if "store p" in line]
    assert [re.search(r"\((\d+) stores\)", line)[1] for line in stores] == ["15", "33"]
    assert [line.split()[1:3] for line in stores] == [["p1+4081", "15"], ["p2+0", "33"]]
    (whole,) = told(judge, path, "--case=native@0xff1", "--verbose")
    assert sum("store p" in line for line in whole) == 48
    assert not any("stores)" in line for line in whole)


def test_verbose_has_an_update_for_each_rule(judge, c_writer):
    seen = told(judge, c_writer("TIMES_TOO_FAR"), *CASES, "--verbose")
    assert sorted(rules(story) for story in seen) == [["complete"], ["final"], ["outside"]]


@pytest.mark.parametrize("more", [(), ("COPY_BACKWARDS",)])
@pytest.mark.parametrize("bug", ["ENDLESS_AFTER_BREACH", "SINGLE_PATH", "COPY_ONE_TOO_MANY"])
def test_a_story_is_short_whatever_was_done(judge, c_writer, bug, more):
    for story in told(judge, c_writer(bug, *more), "--quick"):
        assert len(story) <= LINES_MOST
        assert any(line.startswith("  > ") for line in story)


def test_what_is_left_out_of_a_long_story_is_counted(judge, c_writer):
    path, case = c_writer("COPY_ONE_TOO_MANY", "COPY_BACKWARDS"), "--case=native@0xff1,flag"
    (story,) = told(judge, path, case)
    (whole,) = told(judge, path, case, "--verbose")
    gaps = [int(line.split()[1]) for line in story if line.startswith("    ... ")]
    # Without the lines of source, the first line is no step.
    assert len(story) - 1 - len(gaps) + sum(gaps) == len(whole) - 1
    assert LINES_MOST - 3 <= len(story) <= LINES_MOST
    assert sum(line.startswith("  > ") for line in story) == 1


# A bug -> what parts from the right writer, in which update and where; what each does there.
CONTRACT = "contract: first in native@0x0,flag"
PARTINGS = {
    "TIMES_TOO_FAR": (
        f"{CONTRACT}: before the last store, time[0] (byte 16)",
        ["1112131415161718", "a5a5a5a511121314"],
    ),
    "SET_AFTER_BODY": (
        f"{CONTRACT}: after the first store, state (byte 0)",
        ["a5a5a5a5, not stored", "00000000"],
    ),
    "NO_CLEAR": (
        f"{CONTRACT}: before the last store, time[3] (byte 40)",
        ["373533312f2d2b29", "a5a5a5a5a5a5a5a5, not stored"],
    ),
    "NO_SECOND_UNLOCK": (
        "calls: first in native@0xff1,flag: call 7",
        ["unlock gpc2", "dirty gfn=+0"],
    ),
    "COPY_BACKWARDS": ("stores: first in native@0xff1,flag: store 2", ["1+0 02", "1+14 07"]),
}


@pytest.mark.parametrize("bug", PARTINGS)
def test_against_shows_where_two_writers_part(judge, c_writer, bug):
    right, wrong = c_writer(), c_writer(bug)
    code, out, _ = judge(right, "--against", wrong, *CASES)
    assert code == (bug != "COPY_BACKWARDS")  # whose contract is the same
    where, sides = PARTINGS[bug]
    *_, said, first, second = out.splitlines()
    assert said == where
    for line, path, wanted in zip((first, second), (right, wrong), sides, strict=True):
        named, text, *instruction = re.split(r"  +", line.strip())
        assert (named, text) == (path, wanted)
        assert bool(instruction) == ("not stored" not in wanted)


def test_against_itself_says_the_same_and_no_more(judge, c_writer):
    code, out, _ = judge(c_writer(), "--against", c_writer(), "--quick")
    assert code == 0
    assert [line.split()[:3] for line in out.splitlines()[-3:]] == [
        [name, "the", "same"] for name in ("contract", "stores", "calls")
    ]


def test_two_generations_part_and_say_so(judge, c_writer):
    old = c_writer(source="old_writer.c")
    code, out, _ = judge(c_writer(), "--against", old, "--quick")
    assert code == 1
    assert "contract: first in native@0x0,flag: after the first store" in out


def test_the_readme_shows_what_is_printed(judge, c_object, monkeypatch):
    """But for the code's addresses, which are the compiler's."""
    monkeypatch.chdir(README.parent)
    (story,) = told(judge, str(c_object("xen.o", "SINGLE_PATH")), "--quick")
    block = README.read_text().partition("'/^[a-z-]*: /,/^$/p'\n")[2].partition("```")[0]
    plain = [re.sub(r"\+0x[0-9a-f]+ *", "", line) for line in (*block.splitlines(), *story)]
    assert plain[: len(story)] == plain[len(story) :]
