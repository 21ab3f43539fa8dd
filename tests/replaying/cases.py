"""Answer cases of updates: JSON Lines in, JSON Lines out. ``python tests/replaying/cases.py FILE``.

A line has abi, offset, state, state_entry_time, time and variant, and where they are not the
defaults update_flag (true), atomic (false), fill ("a5") and host ("x86_64"); an "id" is handed
through. Numbers are JSON integers or strings such as "0x10"; a state may be any 32 bits, because no
version of the update looks at it. The answer has bytes, barriers, canonical, mem_sha256,
full_sha256 and epoch_sha256, or error. FILE is - for standard input.

Exit status: 0 all answered, 1 a case was wrong, 3 the file cannot be read.
"""

import json
import sys
from pathlib import Path
from typing import Any

# A program inside a folder of tests: its neighbours are found by name.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from replaying.arena import window
from replaying.fields import known, octets
from runstate_abi.layouts.abi import PAGE_SIZE, U32, U64
from runstate_abi.layouts.exit_status import DIFFERENT, EQUAL, NOT_CHECKED
from runstate_abi.tools.write.written import Written, answer, write
from runstate_abi.writer.variants import VARIANT, Refused
from runstate_abi.writer.vcpu import HOSTS, SHAPES, TIME_COUNT, Area, Runstate, split
from runstate_abi.writer.witnesses.recorded import (
    Malformed,
    Record,
    choice,
    decode,
    number,
    number_of,
    record_of,
    sequence,
    truth,
)

FILL = "a5"
REQUIRED = ("abi", "offset", "state", "state_entry_time", "time", "variant")
# What a case of the oracle's vectors also has, so that one can be asked as it is.
ANNOTATIONS = ("why", "len1", "len2", "before", "expect")
CASE = frozenset((*REQUIRED, "update_flag", "atomic", "fill", "host", "id", *ANNOTATIONS))


def main(source: str) -> int:
    """Print an answer for each line of a file, and return the exit status."""
    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        print(f"cases: {source}: {error}", file=sys.stderr)
        return NOT_CHECKED
    code = EQUAL
    # JSON Lines end in LF alone: a string may hold what Unicode also calls a line end.
    for number_, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        reply = reply_to(line)
        if "error" in reply:
            reply["error"] = f"line {number_}: {reply['error']}"
            print(f"cases: {source}: {reply['error']}", file=sys.stderr)
            code = DIFFERENT
        print(json.dumps(reply))
    return code


def reply_to(line: bytes) -> dict[str, Any]:
    """Return the answer to one case: what the update writes, or the error that it is."""
    reply: dict[str, Any] = {}
    try:
        record = record_of(decode(_text(line)))
        if "id" in record:
            reply["id"] = record["id"]
        reply.update(answer(_asked(record)))
    except (Malformed, Refused, ValueError) as error:
        reply["error"] = str(error)
    return reply


def _text(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(f"not UTF-8: byte {line[error.start]:#04x}") from None


def _asked(record: Record) -> Written:
    known(record, CASE)
    case = {"update_flag": True, "atomic": False, "fill": FILL, "host": HOSTS[0], **record}
    variant = VARIANT[choice(case, "variant", tuple(VARIANT))]
    abi, host = choice(case, "abi", tuple(SHAPES)), choice(case, "host", HOSTS)
    offset = number(case, "offset", 0, PAGE_SIZE - 1)
    area = Area(abi, offset, truth(case, "update_flag"), host)
    times = [number_of(one, "time", 0, U64) for one in sequence(case, "time")]
    entry_time = number(case, "state_entry_time", 0, U64)
    vcpu = _runstate(number(case, "state", 0, U32), entry_time, times, "time")
    for name, size in zip(("len1", "len2"), split(offset, area.shape.size), strict=True):
        if name in case and case[name] != size:
            raise Malformed(f"field '{name}': {case[name]}, and it is {size}")
    return write(variant, vcpu, area, truth(case, "atomic"), window(_pattern(case, "fill")))


def _pattern(record: Record, name: str) -> bytes:
    fill = octets(record, name)
    if not fill:
        raise Malformed(f"field '{name}' is empty")
    return fill


def _runstate(state: int, entry_time: int, times: list[int], name: str) -> Runstate:
    if len(times) != TIME_COUNT:
        raise Malformed(f"field '{name}': {len(times)} values, not {TIME_COUNT}")
    return Runstate(state, entry_time, (times[0], times[1], times[2], times[3]))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tests/replaying/cases.py FILE")
    sys.exit(main(sys.argv[1]))
