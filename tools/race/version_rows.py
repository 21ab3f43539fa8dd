"""The answers of ``runstate race --family``: every writer of a struct with every reader of it."""

import argparse
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from runstate_abi.tools.race import version_code
from runstate_abi.tools.race.rows import Row
from runstate_abi.writer.guest import CannotDrop
from runstate_abi.writer.race import TORN, Question, ask, of_version
from runstate_abi.writer.versions.parties import Meeting, meetings
from runstate_abi.writer.versions.place import Place
from runstate_abi.writer.versions.readers import READERS
from runstate_abi.writer.versions.writers import WRITERS

LINUX = "linux-"
NOT_REACHED = f"({TORN})"


class Answered(NamedTuple):
    """One meeting and its answer."""

    meeting: Meeting
    row: Row

    @property
    def verdict(self) -> str:
        return self.row.verdict

    @property
    def cell(self) -> str:
        """The verdict in a table: in parentheses if the execution cannot happen."""
        return NOT_REACHED if self.verdict == TORN and self.meeting.unreachable else self.verdict


def code_of(options: argparse.Namespace) -> version_code.Code:
    """Return what is asked of a guest's code."""
    named = options.reader_object, options.signature, options.area, options.struct, options.offset
    return version_code.Code(*named)


def answers(options: argparse.Namespace, left_out: Counter[str]) -> Iterator[Answered]:
    """Yield what the options ask for; ``left_out`` counts what cannot be asked, by reason."""
    dropped = tuple(dict.fromkeys(options.drop or ()))
    if options.reader_object:
        chosen = list(version_code.meetings_of(code_of(options), options.family))
    else:
        chosen = list(meetings(WRITERS[options.family], READERS[options.family]))
    if not (options.all or options.reader_object or _names(options)):
        chosen = [m for m in chosen if m.reader.name.startswith(LINUX) and m.is_usual]
    for meeting in chosen:
        if _is_wanted(meeting, options):
            yield from _answer(meeting, options, dropped, left_out)


def _names(options: argparse.Namespace) -> bool:
    return bool(options.variant or options.reader or options.model)


def _is_wanted(meeting: Meeting, options: argparse.Namespace) -> bool:
    return (
        options.variant in (None, meeting.writer.name)
        and options.reader in (None, meeting.reader.name)
        and options.model in (None, meeting.model.name)
    )


# A step that the only writer or reader asked for has not is an error, one of many is counted.
def _answer(
    meeting: Meeting, options: argparse.Namespace, dropped: tuple[str, ...], left_out: Counter[str]
) -> Iterator[Answered]:
    place = Place(meeting.writer.layout, options.at)
    if not meeting.writer.takes(place):
        left_out[f"{meeting.writer.name} writes no struct that crosses a page"] += 1
        return
    times = options.updates, options.versions
    pair = of_version(meeting.writer), meeting.reader.reader
    question = Question(*pair, meeting.model, place, *times, None, dropped)
    try:
        yield Answered(meeting, Row(question, "", ask(question)))
    except CannotDrop as error:
        if options.variant and options.reader:
            raise
        left_out[str(error)] += 1
