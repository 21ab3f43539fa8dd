"""Recorded stores of real hypervisors as writers for ``runstate race``."""

import sys
from collections.abc import Iterator

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.layouts.model import WitnessError
from runstate_abi.writer.race import Writer, of_recording
from runstate_abi.writer.steps import Steps, writes
from runstate_abi.writer.vcpu import Area
from runstate_abi.writer.witnesses.recorded import (
    Malformed,
    Record,
    area_of,
    decode,
    record_of,
    sequence,
    steps_of_watchpoints,
    truth,
)


def writers(path: str) -> Iterator[tuple[Writer, Area]]:
    """Yield the updates that write watchpoints saw: JSON Lines, one update per record."""
    used = 0
    for number, record in _records(path):
        if "stores" not in record:
            images = "at" in record or "after_update" in record
            shows = "images of memory" if images else "no stores"
            raise WitnessError(
                f"{path}: line {number}: field 'stores' is missing: this shows {shows}, which race "
                "cannot ask about"
            )
        try:
            area = area_of(record, truth(record, "update_flag"))
            steps = steps_of_watchpoints(sequence(record, "stores"), area.offset)
            _require_inside(steps, area)
        except (Malformed, WitnessError) as error:
            raise WitnessError(f"{path}: line {number}: {error}") from None
        if not steps:
            print(f"runstate: {path}: line {number}: no store, left out", file=sys.stderr)
            continue
        used += 1
        yield of_recording(f"line {number}", steps, area), area
    if not used:
        raise WitnessError(f"{path}: no record with stores: nothing was asked")


# The search has no byte outside the area: a guest never reads one.
def _require_inside(steps: Steps, area: Area) -> None:
    for number, write in enumerate(writes(steps), 1):
        start = (write.page - 1) * PAGE_SIZE + write.offset - area.offset
        end = start + len(write.data)
        if start < 0 or end > area.shape.size:
            raise Malformed(
                f"field 'stores': store {number} is of bytes {start} to {end - 1}, and the area "
                f"has 0 to {area.shape.size - 1}"
            )


def _records(path: str) -> Iterator[tuple[int, Record]]:
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                record = _record(path, number, line)
                if "meta" not in record:
                    yield number, record
    except OSError as error:
        raise WitnessError(f"{path}: {error.strerror}") from None
    except UnicodeError:
        raise WitnessError(f"{path}: no text: recorded stores are JSON Lines") from None


def _record(path: str, number: int, line: str) -> Record:
    try:
        return record_of(decode(line))
    except Malformed as error:
        raise WitnessError(f"{path}: line {number}: {error}") from None
