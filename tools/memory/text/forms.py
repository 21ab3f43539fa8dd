"""How tools print memory with one line for some bytes: a row for each form.

A line is its address, if it has one, groups of digits, and the characters that the bytes are. The
number of digits in a group says how many bytes it is. Whether a group is a number, whose bytes come
back in reverse, is told by the row, by the characters, or by evidence.
"""

import re
from typing import NamedTuple

from runstate_abi.layouts.model import WitnessError

BYTES, WORDS, EITHER = "bytes", "words", "either"


class Form(NamedTuple):
    """One way of printing memory.

    ``order`` says how the bytes of a group are: as printed, or those of a little-endian number.
    ``lean`` is the order if neither characters nor evidence tell; empty means that the user is
    asked.
    """

    name: str
    line: re.Pattern[str]
    order: str
    lean: str = ""

    @property
    def addressed(self) -> bool:
        """Whether each line begins with its address."""
        return "address" in self.line.groupindex


class Row(NamedTuple):
    """One line of a form: ``number`` in the text, its address as printed, groups, characters.

    ``squeezed`` says that ``*`` stood before it: the line before is repeated up to this address.
    ``filled`` says that the last group is shorter, and stands to the right, as xxd -e has it.
    """

    number: int
    address: str
    groups: tuple[str, ...]
    shown: str
    squeezed: bool = False
    filled: bool = False


_H = "[0-9a-f]"


def _groups(repeated: str) -> str:
    # Digits that may or may not be parted by a blank could be parted in 2^n ways.
    # Python before 3.11.5 (Debian 12 has 3.11.2) loses its place in a possessive repeat of a group,
    # so what is repeated is held whole by a look ahead and then by what that found.
    return rf"(?=(?P<groups>{repeated}))(?P=groups)"


_PLACE = rf"(?P<address>(?:0x)?{_H}++)(?: <.*?>)?:"
_WORDS = _groups(rf"(?: *\b0x{_H}++)+") + "(?P<shown>)"
_BITS = rf"(?P<address>(?:0x)?{_H}++): {{0,4}}{_groups('(?: ?[01]{8})+')}(?![^ ])(?P<shown>.*)"
_WHOLE = rf"{_H}{{2,}}+(?![^ ])"
_SEVERAL = _groups(rf"(?: ?{_WHOLE})+")
_COLON = rf"{_PLACE} {{0,4}}{_SEVERAL}(?P<shown>.*)"
_OD = rf"(?P<address>{_H}{{4,16}}+){_groups(rf'(?: {{1,8}}{_WHOLE})*')}(?P<shown> *[|>].*)?"
_CHARS = rf"(?P<address>{_H}{{4,16}}+) {{1,4}}{_SEVERAL}(?P<shown>.*)"
_BARE = (
    rf"(?P<groups>(?:{_H}{{2}}[:-])+{_H}{{2}}"
    rf"|{_H}{{2,}}+(?=(?P<rest>(?: {{1,4}}{_WHOLE})*))(?P=rest))"
    r"(?P<shown>  .*)?"
)


def _row(name: str, line: str, order: str, lean: str = "") -> Form:
    return Form(name, re.compile(line, re.IGNORECASE), order, lean)


# A line that fits several rows is of the first.
FORMS = (
    _row("gdb x, QEMU xp, lldb", _PLACE + _WORDS, WORDS),
    _row("xxd -b", _BITS, BYTES),
    _row("xxd, lldb, crash rd, print_hex_dump", _COLON, EITHER),
    _row("od, hexdump", _OD, EITHER, WORDS),
    _row("WinDbg d", _CHARS, EITHER, WORDS),
    _row("numbers", _WORDS, WORDS),
    _row("plain hex", _BARE, EITHER),
)
BITS, COLON, OD, CHARS, BARE = (FORMS[number] for number in (1, 2, 3, 4, 6))
BARE_LEAST = 16  # digits of the first line: a word of prose may have fewer, "add" or "facade"

# How many bytes a group is, and its base, by the number of its digits; od and hexdump alone print
# others than hexadecimal ones.
SIZES = {2: (1, 16), 4: (2, 16), 8: (4, 16), 16: (8, 16)}
OD_SIZES = SIZES | {3: (1, 8), 6: (2, 8), 11: (4, 8), 22: (8, 8), 5: (2, 10)}

# What a line of any form begins with: a word of digits.
BEGINS = re.compile(rf"(?:0x)?{_H}+(?:[ :-]|$)", re.IGNORECASE)
SQUEEZED = "*"
NO_ACCESS = re.compile(rf"(?:{_H}+: )?(?:Cannot access memory|error: memory read).*", re.IGNORECASE)
# A line that begins as a dump's does, and yet is of no form: something of the dump is lost.
BROKEN = re.compile(
    rf"(?:0x)?(?=\S*\d){_H}{{6,16}}(?::\s+(?:0x)?{_H}{{2}}.*|\s+(?:0x)?{_H}{{2,16}}(?:[^\w:].*)?)",
    re.IGNORECASE,
)


def row(form: Form, number: int, line: str, squeezed: bool = False) -> Row | None:
    """Return a line as a row of the form, None if it is none."""
    match = form.line.fullmatch(line)
    if match is None:
        return None
    found = match.groupdict()
    text = (found["groups"] or "").lower().replace("0x", "")
    groups = tuple(text.replace(":", " ").replace("-", " ").split())
    if form is BITS:
        groups = tuple(re.findall("[01]{8}", text))
    address = (found.get("address") or "").lower().removeprefix("0x")
    shown = found["shown"] or ""
    made = Row(number, address, groups, shown, squeezed)
    if form is COLON and groups:
        made = _with_tail(made)
    return made if _fits(form, made) else None


# xxd -e puts a last group that is not whole to the right of its column.
def _with_tail(made: Row) -> Row:
    width = len(made.groups[0])
    tail = re.match(rf"( +)({_H}+)(?=  |$)", made.shown, re.IGNORECASE)
    if tail is None or len(tail[0]) != width + 1 or not len(tail[2]) < width or len(tail[2]) % 2:
        return made
    groups = (*made.groups, tail[2].lower())
    return made._replace(groups=groups, shown=made.shown[tail.end() :], filled=True)


# Characters that are more than the bytes are no characters, but groups that the form has not.
def _fits(form: Form, made: Row) -> bool:
    if form is BITS:
        return len(made.shown.strip()) <= len(made.groups)
    if form is CHARS or (form is BARE and made.shown):
        size = sum(len(group) for group in made.groups) // 2
        return 0 < len(made.shown.strip(" |<>")) <= size and len({len(x) for x in made.groups}) == 1
    if form is BARE and len(made.groups) > 1:
        sizes = {len(group) for group in made.groups[:-1]}
        return len(sizes) == 1 and sizes.pop() in SIZES and len(made.groups[-1]) in SIZES
    return True


def in_order(form: Form, made: Row, order: str, source: str) -> bytes:
    """Return the bytes of a row in memory order (WitnessError names what its groups are not)."""
    digits = {len(group) for group in made.groups}
    where = f"{source}: line {made.number}"
    if form is BITS:
        return bytes(int(group, 2) for group in made.groups)
    uniform = form.order == WORDS or form in (OD, CHARS)
    sizes = OD_SIZES if form is OD else SIZES
    if uniform and made.groups and (len(digits) > 1 or not digits <= sizes.keys()):
        raise WitnessError(f"{where}: groups that are not all bytes, or all words")
    if uniform and digits and sizes[digits.copy().pop()][1] != 16:
        return _of_base(made.groups, *sizes[digits.pop()], where)
    if any(count % 2 for count in digits):
        raise WitnessError(f"{where}: half a byte (an odd number of digits)")
    if order != WORDS or digits <= {2}:
        return bytes.fromhex("".join(made.groups))
    return b"".join(bytes.fromhex(group)[::-1] for group in made.groups)


def _of_base(groups: tuple[str, ...], size: int, base: int, where: str) -> bytes:
    try:
        return b"".join(int(group, base).to_bytes(size, "little") for group in groups)
    except (ValueError, OverflowError):
        raise WitnessError(f"{where}: groups that are not all bytes, or all words") from None
