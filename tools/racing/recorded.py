"""Recorded stores of real hypervisors as rows of ``runstate race``.

Law of this file: it reads a recording and says what it cannot use; who judges it is elsewhere.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools.racing.rows import Row, Wanted
from runstate_abi.writer.guest import READERS
from runstate_abi.writer.race import Question, Writer, ask, of_recording
from runstate_abi.writer.racing.ordering import MODEL
from runstate_abi.writer.vcpu import PAGE_MASK, SHAPES, Area
from runstate_abi.writer.witnesses.recorded import steps_of_watchpoints

RECORDED = MODEL["program-order"]


def rows(path: str, wanted: Wanted) -> Iterator[Row]:
    """Yield a row for each recorded update and each reader asked for."""
    for writer, area in writers(path):
        for reader in [r for r in READERS if wanted.reader in (None, r.name)]:
            question = Question(
                writer, reader, RECORDED, area, wanted.updates, wanted.entry_times, None,
                wanted.dropped,
            )  # fmt: skip
            yield Row(question, "", ask(question), None)


def writers(path: str) -> Iterator[tuple[Writer, Area]]:
    """Yield the updates that write watchpoints saw: JSON Lines, a record with its stores each."""
    used = 0
    for number, record in _records(path):
        try:
            area = Area(record["layout"], record["off"], bool(record["update_flag"]))
            steps = steps_of_watchpoints(record["stores"], record["off"] & PAGE_MASK)
        except (KeyError, TypeError, ValueError) as error:
            raise WitnessError(f"{path}: line {number}: {type(error).__name__}: {error}") from None
        writer = of_recording(f"line {number}", steps, area)
        if len(writer.hidden) == SHAPES[area.abi].size:
            print(f"runstate: {path}: line {number}: no store, left out", file=sys.stderr)
            continue
        used += 1
        yield writer, area
    if not used:
        raise WitnessError(f"{path}: no record with stores: nothing was asked")


def _records(path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                value = json.loads(line)
                if not isinstance(value, dict):
                    raise WitnessError(f"{path}: line {number}: no JSON object")
                if "meta" not in value:
                    yield number, value
    except (OSError, UnicodeError, json.JSONDecodeError) as error:
        raise WitnessError(f"{path}: recorded stores, JSON Lines wanted: {error}") from None
