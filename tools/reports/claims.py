"""Where a difference points to: the line of the table that it contradicts, the line of the header.

A line of ours is looked up in the installed source, so it cannot be outdated. If it is not found,
it is line 1 of the file.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from runstate_abi.layouts import conditions
from runstate_abi.layouts.model import Difference
from runstate_abi.layouts.structs import runstate
from runstate_abi.layouts.structs.runstate import NATIVE, RUNSTATE_STRUCTS, XEN_COMPAT
from runstate_abi.writer import rules

if TYPE_CHECKING:
    from runstate_abi.layouts.structs.families import Family


class SourceLine(NamedTuple):
    """A file, relative to the installed ``runstate_abi``, and a line in it."""

    file: str
    line: int


TEXT_MAX = 1 << 20
ROOT = Path(conditions.__file__).parent.parent


def place_of(difference: Difference) -> SourceLine:
    """Return where the claim is: the row of a rule, a condition, a member, an ABI."""
    member = re.escape(difference.member)
    if difference.kind == "rule-broken":
        return _found(rules.__file__, rf'Rule\("{member}"')
    if family := _family(difference):
        return _in_family(family, difference, member)
    if difference.kind == "condition-false":
        return _found(conditions.__file__, rf'Condition\("{re.escape(difference.struct)}"')
    if difference.abi != "x86_64":
        return _found(runstate.__file__, rf'^ *"{re.escape(difference.abi)}": +AbiClaims')
    word = "NATIVE" if difference.struct == NATIVE.name else "COMPAT"
    table = _found(runstate.__file__, f"^{word} = ")
    return _found(runstate.__file__, rf'Field\(.*"{member}"', table.line) if member else table


# None: it is runstate's. A condition's id stands for its struct.
def _family(difference: Difference) -> "Family | None":
    if difference.struct in (*RUNSTATE_STRUCTS, XEN_COMPAT):
        return None
    from runstate_abi.layouts.structs.families import families
    from runstate_abi.layouts.structs.family_names import ALL

    for one in families(ALL):
        ids = (condition.id for condition in (*one.conditions, *one.unasserted))
        if difference.struct.partition(".")[0] in (*one.structs, *ids):
            return one
    return None


def _in_family(family: "Family", difference: Difference, member: str) -> SourceLine:
    file = str(ROOT / family.file)
    if difference.kind == "condition-false":
        return _found(file, rf'Condition\("{re.escape(difference.struct)}"')
    table = _found(file, rf'Layout\("{re.escape(difference.struct)}"')
    found = _found(file, rf'Field\(.*"{member}"', table.line) if member else table
    return found if found.line > 1 or not member else table


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
            text = _COMMENT.sub(lambda c: "\n" * c[0].count("\n") or " ", file.read(TEXT_MAX))
    except (OSError, UnicodeDecodeError):
        return 1
    known, struct = dict(names), difference.struct
    if difference.kind == "condition-false":
        struct = next((name for name in known if f"struct {name}" in difference.spec), struct)
    name = re.escape(known.get(struct, struct).removeprefix("struct "))
    # ``struct mine {`` by its tag, ``typedef struct { ... } mine;`` by its beginning.
    tagged = rf"\bstruct\b{_WORDS}\b(?P<name>{name})\s*{_BODY}"
    typedef = rf"\b(?P<name>struct)\b{_WORDS}{_BODY}{_WORDS}\b{name}\b"
    mention = rf"\b{re.escape(difference.member)}\b"
    match = re.search(tagged, text) or re.search(typedef, text)
    if match is None:
        lines = text.splitlines()
        start = _line(lines, rf"\b{name}\b") or 1
        return (_line(lines, mention, start) if difference.member else 0) or start
    body = match.span("body")
    found = re.compile(mention).search(text, *body) if difference.member else None
    return text.count("\n", 0, found.start() if found else match.start("name")) + 1


# This is no C parser: it finds the braces of a definition, and the text between two of them.
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_BODY = r"\{(?P<body>[^{}]*(?:\{[^{}]*\}[^{}]*)*)\}"
_WORDS = r"[^;{}]{0,200}"  # attributes, other names; bounded, so that no text takes long


def _line(lines: list[str], pattern: str, start: int = 1) -> int:
    rest = enumerate(lines[start - 1 :], start)
    return next((number for number, line in rest if re.search(pattern, line)), 0)
