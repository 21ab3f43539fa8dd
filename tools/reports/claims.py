"""Where a difference leads to: the line of the table that it contradicts, the line of the header.

Law of this file: the line is looked up in the source text as it is installed, so it cannot go
stale; a table that was not found is line 1 of its file.
"""

import re
from pathlib import Path
from typing import NamedTuple

from runstate_abi.layouts import invariants, runstate
from runstate_abi.layouts.model import Difference
from runstate_abi.layouts.runstate import NATIVE
from runstate_abi.writer import rules


class Place(NamedTuple):
    """A file, relative to the installed ``runstate_abi``, and a line in it."""

    file: str
    line: int


TEXT_MAX = 1 << 20
FIRST_MEMBER = NATIVE.members[1].name  # state_entry_time: "state" is a word of many structs
ROOT = Path(runstate.__file__).parent.parent


def place_of(difference: Difference) -> Place:
    """Return where the claim stands: the row of a rule, a condition, a member, an ABI."""
    if difference.kind == "rule-broken":
        return _found(rules.__file__, rf'Rule\("{re.escape(difference.member)}"')
    if difference.kind == "condition-false":
        return _found(invariants.__file__, rf'Condition\("{re.escape(difference.struct)}"')
    if difference.abi != "x86_64":
        return _found(runstate.__file__, rf'^ *"{re.escape(difference.abi)}": +AbiClaims')
    table = "NATIVE = " if difference.struct == NATIVE.name else "COMPAT = "
    start = _found(runstate.__file__, f"^{table}").line
    if not difference.member:
        return _found(runstate.__file__, f"^{table}")
    return _found(runstate.__file__, rf'Field\(.*"{re.escape(difference.member)}"', start)


def _found(file: str, pattern: str, start: int = 1) -> Place:
    path = Path(file)
    name = path.relative_to(ROOT).as_posix()
    lines = path.read_text(encoding="utf-8").splitlines()
    return Place(name, _line(lines, pattern, start) or start)


def line_in(path: str, difference: Difference) -> int:
    """Return the line of a header that a difference is about, 1 in a file that is not text.

    The user's struct may have another name than the claim's; its members have the same.
    """
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read(TEXT_MAX).splitlines()
    except (OSError, UnicodeDecodeError):
        return 1
    start = _line(lines, rf"\b{re.escape(difference.struct)}\b") or 1
    member = difference.member or FIRST_MEMBER
    found = _line(lines, rf"\b{re.escape(member)}\b", start) or start
    return start if not difference.member and start > 1 else found


def _line(lines: list[str], pattern: str, start: int = 1) -> int:
    rest = enumerate(lines[start - 1 :], start)
    return next((number for number, line in rest if re.search(pattern, line)), 0)
