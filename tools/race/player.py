"""One answer of ``runstate race`` as a page that can be stepped through."""

from collections.abc import Iterable, Iterator, Mapping

from runstate_abi.tools.output import Line
from runstate_abi.tools.player import page
from runstate_abi.tools.race import text
from runstate_abi.tools.race.rows import Row


def one_answer(answers: int, left_out: Mapping[str, int]) -> str:
    """Return why there is no page for these answers."""
    asked = answers + sum(left_out.values())
    return f"--format html is a page about one question, and these are {asked}: name all of it"


def lines(row: Row, notes: Iterable[Line] = ()) -> Iterator[str]:
    """Yield the page about an answer, with the words that the terminal has."""
    answer = [*text.answer(row), *notes]
    title = _plain(answer[0])
    return page.of_answer(row.question, row.answer, title, map(_plain, answer))


def _plain(line: Line) -> str:
    return "".join(ink.text for ink in line)
