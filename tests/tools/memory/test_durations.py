import pytest

from runstate_abi.tools.memory.durations import words

DAY = 86_400_000_000_000


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1_500, "1.5 us"),
        (883_004_121, "883 ms"),
        (1_000_000_000, "00:00:01.0"),
        (59_999_999_999, "00:00:59.9"),
        (3 * DAY + 14_706_700_000_000, "3 d 04:05:06.7"),
        (-1_500, "-1.5 us"),
    ],
)
def test_a_time_is_said_as_a_person_would(ns, text):
    assert words(ns) == text


def test_the_largest_time_is_said_in_days():
    assert words((1 << 64) - 1).startswith("213503 d ")
