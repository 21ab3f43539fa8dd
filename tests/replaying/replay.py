"""Hold recordings of real kernels and of Xen against the model, and say N of N.

What a file holds is decided by its content and never by its name. A line that could not be
compared is printed, counted, and makes the result a failure.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from replaying import (
    oracle_scenarios,
    oracle_vectors,
    recordings,
    transcripts,
    xen_recordings,
    xen_stores,
)
from replaying.outcomes import Case, Replayed
from runstate_abi.layouts.exit_status import DIFFERENT, EQUAL, NOT_CHECKED
from runstate_abi.layouts.model import WitnessError
from runstate_abi.writer.witnesses.recorded import Malformed, Record, decode, field, record_of

_DESCRIPTION = """\
Repeat what recordings show with the model of the writer, and print N of N for each file.

A recording is the oracle's vectors or scenarios, JSON Lines of final states, registrations, store
traces or Xen areas, or a test program's transcript. What a file holds is told by its content,
never by its name. Each miss is a line; the count comes last.

exit status: 0 all agree, 1 a miss, 2 wrong usage, 3 a file or a line that could not be replayed
"""

Compare = Callable[[Record, Record], Iterator[str]]

# What a record is, by a field that only its kind has: kind, field, comparison.
# fmt: off
RECORDS: tuple[tuple[str, str, Compare], ...] = (
    ("store traces",      "stores",       recordings.stores),
    ("registrations",     "set_addr",     recordings.single),
    ("final states",      "win",          recordings.golden),
    ("Xen areas",         "after_update", lambda meta, record: xen_recordings.area(record)),
)
# fmt: on


def replay(source: str, data: bytes) -> Replayed:
    """Replay one file (WitnessError if it holds nothing that can be replayed)."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise WitnessError(f"{source}: no text, so no recording that replay knows") from None
    head = text.lstrip()[:1]
    if not head:
        raise WitnessError(f"{source}: there is nothing in it")
    if head not in ("{", "["):
        return transcripts.replay_transcript(source, text)
    if not _is_lines(text):
        return _document(source, text)
    return _lines(source, text)


# JSON Lines: the first line is a whole value, and there are more.
def _is_lines(text: str) -> bool:
    first, _, rest = text.lstrip().partition("\n")
    try:
        decode(first)
    except Malformed:
        # A document's first line is not a value by itself; a broken line 1 of many is told apart
        # by the lines after it.
        return rest.lstrip().startswith("{") and first.rstrip().endswith("}")
    return bool(rest.strip()) or '"meta"' in first


def _document(source: str, text: str) -> Replayed:
    try:
        document = decode(text)
        if not isinstance(document, dict) or "format" not in document:
            raise WitnessError(f"{source}: JSON without a format that replay knows: no updates")
        if document["format"] == oracle_vectors.FORMAT:
            return oracle_vectors.replay_vectors(document)
        if document["format"] == oracle_scenarios.FORMAT:
            return oracle_scenarios.replay_scenarios(document)
    except Malformed as error:
        raise WitnessError(f"{source}: {error}") from None
    known = f"{oracle_vectors.FORMAT}, {oracle_scenarios.FORMAT}"
    raise WitnessError(f"{source}: format {document['format']!r} is none of {known}")


def _lines(source: str, text: str) -> Replayed:
    meta: Record = {}
    records: list[tuple[int, Record]] = []
    malformed: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = record_of(decode(line))
            if number == 1 and "meta" in record:
                meta = record_of(record["meta"], "field 'meta'")
            else:
                records.append((number, record))
        except Malformed as error:
            malformed.append(f"line {number}: {error}")
    if not meta and not malformed:
        raise WitnessError(f"{source}: line 1: field 'meta' is missing")
    return _records(source, meta, records, malformed)


def _records(
    source: str, meta: Record, records: list[tuple[int, Record]], malformed: list[str]
) -> Replayed:
    if records and "at" in records[0][1]:
        try:
            found = xen_stores.store_log(meta, records)
        except Malformed as error:
            raise WitnessError(f"{source}: {error}") from None
        return found._replace(malformed=tuple(malformed))
    kinds: list[str] = []
    cases = []
    origins: list[int | None] = []
    for number, record in records:
        try:
            kind, compare = _kind(record)
            name = f"line {number}: {record.get('layout')} at {record.get('off')}"
            cases.append(Case(name, tuple(compare(meta, record))))
            origins.append(xen_recordings.area_origin(record) if "after_update" in record else None)
            kinds.append(kind)
        except (Malformed, WitnessError) as error:
            malformed.append(f"line {number}: {error}")
    what = " and ".join(dict.fromkeys(kinds)) or "records"
    return Replayed(what, tuple(xen_recordings.one_origin(cases, origins)), tuple(malformed))


def _kind(record: Record) -> tuple[str, Compare]:
    for kind, name, compare in RECORDS:
        if name in record:
            return kind, compare
    field(record, "win")
    raise AssertionError  # field() has raised


def report(source: str, replayed: Replayed) -> Iterator[str]:
    """Yield the lines about one file: each miss, each remark, and the count last."""
    for case in replayed.cases:
        for difference in case.differences:
            yield f"miss {source} {case.name}: {difference}"
    for remark, count in Counter(replayed.remarks).items():
        yield f"note {source} {remark}{f' ({count} times)' if count > 1 else ''}"
    good = sum(not case.differences for case in replayed.cases)
    total = f"{good} of {len(replayed.cases)} {replayed.kind}"
    yield f"{source}: {_groups(replayed)}{total}"


# A scenario is run in several versions, and agrees if it does in each.
def _groups(replayed: Replayed) -> str:
    if not replayed.group:
        return ""
    agrees: dict[str, bool] = {}
    for case in replayed.cases:
        name = case.name.split()[0]
        agrees[name] = agrees.get(name, True) and not case.differences
    return f"{sum(agrees.values())} of {len(agrees)} {replayed.group}, "


def main(argv: list[str]) -> int:
    """Replay each file; 0 if all of all agree, 1 if one differs, 3 if one could not be replayed."""
    parser = argparse.ArgumentParser(
        "replaying", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", metavar="FILE", nargs="+", help="a recording; - is stdin")
    code = EQUAL
    for source in parser.parse_args(argv).files:
        code = _worse(code, _one(source))
    return code


def _one(source: str) -> int:
    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
        replayed = replay(source, data)
    except OSError as error:
        print(f"replaying: {source}: {error.strerror}", file=sys.stderr)
        return NOT_CHECKED
    except WitnessError as error:
        print(f"replaying: {error}", file=sys.stderr)
        return NOT_CHECKED
    for line in report(source, replayed):
        # Names come out of the recording: a line end in one must not make two lines.
        print(line if line.isprintable() else ascii(line)[1:-1])
    for line in replayed.malformed:
        print(f"replaying: {source}: {line}", file=sys.stderr)
    if any(case.differences for case in replayed.cases):
        return DIFFERENT
    return NOT_CHECKED if replayed.malformed or not replayed.cases else EQUAL


# A difference outranks what could not be checked.
def _worse(one: int, other: int) -> int:
    return DIFFERENT if DIFFERENT in (one, other) else max(one, other)
