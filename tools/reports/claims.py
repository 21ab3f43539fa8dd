"""Where a difference points to: the line of the table that it contradicts, the line of the header.

A line of ours is looked up in the installed source, so it cannot be outdated. If it is not found,
it is line 1 of the file.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from runstate_abi.layouts import conditions
from runstate_abi.layouts.model import Difference
from runstate_abi.layouts.structs import runstate
from runstate_abi.layouts.structs.runstate import NATIVE
from runstate_abi.writer import rules


class SourceLine(NamedTuple):
    """A file, relative to the installed ``runstate_abi``, and a line in it."""

    file: str
    line: int


TEXT_MAX = 1 << 20
ROOT = Path(conditions.__file__).parent.parent


def place_of(difference: Difference) -> SourceLine:
    """Return where the claim is: the row of a rule, a condition, a member, an ABI."""
    if difference.kind == "rule-broken":
        return _found(rules.__file__, rf'Rule\("{re.escape(difference.member)}"')
    if difference.kind == "condition-false":
        return _found(conditions.__file__, rf'Condition\("{re.escape(difference.struct)}"')
    if difference.abi != "x86_64":
        return _found(runstate.__file__, rf'^ *"{re.escape(difference.abi)}": +AbiClaims')
    table = "NATIVE = " if difference.struct == NATIVE.name else "COMPAT = "
    start = _found(runstate.__file__, f"^{table}").line
    if not difference.member:
        return _found(runstate.__file__, f"^{table}")
    return _found(runstate.__file__, rf'Field\(.*"{re.escape(difference.member)}"', start)


def _found(file: str, pattern: str, start: int = 1) -> SourceLine:
    path = Path(file)
    name = path.relative_to(ROOT).as_posix()
    lines = path.read_text(encoding="utf-8").splitlines()
    return SourceLine(name, _line(lines, pattern, start) or start)


def line_in(path: str, difference: Difference, names: Iterable[tuple[str, str]] = ()) -> int:
    """Return the line of a header that a difference is about, 1 in a file that is not text.

    ``names`` are (the claim's name, the header's) of structs. A difference about no member, or
    about one that is missing, is at the struct's own line.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = _COMMENT.sub(_blank, file.read(TEXT_MAX))
    except (OSError, UnicodeDecodeError):
        return 1
    name = _name(difference, dict(names))
    struct = _struct(text, name)
    if struct is None:
        lines = text.splitlines()
        start = _line(lines, rf"\b{re.escape(name)}\b") or 1
        mention = rf"\b{re.escape(difference.member)}\b"
        return (_line(lines, mention, start) if difference.member else 0) or start
    member = re.compile(rf"\b{re.escape(difference.member)}\b")
    found = member.search(text, *struct.span("body")) if difference.member else None
    return text.count("\n", 0, found.start() if found else struct.start("name")) + 1


# The file's name for the struct of a difference; for a condition, its text says which.
def _name(difference: Difference, names: dict[str, str]) -> str:
    struct = difference.struct
    if difference.kind == "condition-false":
        struct = next((known for known in names if f"struct {known}" in difference.spec), struct)
    return names.get(struct, struct).removeprefix("struct ")


# This is no C parser: it finds the braces of a definition, and the text between two of them.
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_BODY = r"\{(?P<body>[^{}]*(?:\{[^{}]*\}[^{}]*)*)\}"
_WORDS = r"[^;{}]{0,200}"  # attributes, other names; bounded, so that no text takes long


def _blank(comment: re.Match[str]) -> str:
    return "\n" * comment[0].count("\n") or " "


# ``struct mine {`` by its tag, ``typedef struct { ... } mine;`` by its beginning.
def _struct(text: str, name: str) -> re.Match[str] | None:
    name = re.escape(name)
    tagged = rf"\bstruct\b{_WORDS}\b(?P<name>{name})\s*{_BODY}"
    typedef = rf"\b(?P<name>struct)\b{_WORDS}{_BODY}{_WORDS}\b{name}\b"
    return re.search(tagged, text) or re.search(typedef, text)


def _line(lines: list[str], pattern: str, start: int = 1) -> int:
    rest = enumerate(lines[start - 1 :], start)
    return next((number for number, line in rest if re.search(pattern, line)), 0)
