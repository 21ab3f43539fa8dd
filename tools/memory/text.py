"""Memory as people paste it: xxd, hexdump, od, gdb's x and QEMU's xp, told apart by their text.

Tools that print words print them as numbers; here they come back in memory order, little-endian,
as every machine that Xen runs on is.

Law of this file: a line is understood whole or refused with its number; nothing is guessed at.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools.memory.image import ADDRESS_END, Image, Piece, arranged

# More text than this is not pasted, and the image that it was printed from should be given.
TEXT_MOST = 16 << 20
LINE_MOST = 4096


class Form(NamedTuple):
    """One way of printing memory: what a line looks like, and whether its groups are numbers.

    ``least`` is how long the first line must be, where it could be anything.
    """

    name: str
    line: re.Pattern[str]
    words: bool
    least: int = 0


# In this order: the first that matches the first line is the text's form.
_HEX = r"[0-9a-f]"
_NUMBERS = rf"(?P<groups>(?:\s+0x{_HEX}+)+)\s*"
_GDB = rf"0x(?P<address>{_HEX}+)(?: <.*>)?:{_NUMBERS}"
_QEMU = rf"(?P<address>{_HEX}+):{_NUMBERS}"
# Possessive: digits that may or may not be parted by a blank could be parted in 2^n ways.
_XXD = rf"(?P<address>{_HEX}+): (?P<groups>(?: ?{_HEX}{{2,}}+)++) ?(?:  ?(?P<ascii>.*))?"
_PLAIN = rf"(?P<address>)(?P<groups>{_HEX}{{2,}})"
_OD = rf"(?P<address>{_HEX}{{6,16}})(?P<groups>(?: {{1,8}}{_HEX}{{2,}})*) *(?:[|>].*)?"
# fmt: off
FORMS = (
    #    name           line                      words  least
    Form("gdb x",       re.compile(_GDB, re.I),   True),
    Form("QEMU xp",     re.compile(_QEMU, re.I),  True),
    Form("xxd",         re.compile(_XXD, re.I),   False),
    Form("plain hex",   re.compile(_PLAIN, re.I), False, 16),
    Form("od, hexdump", re.compile(_OD, re.I),    True),
)
# fmt: on
SQUEEZED = "*"
WORD_DIGITS = (2, 4, 8, 16)
BASES = (16, 10, 8)  # xxd -d and od -Ad print decimal addresses, od without -A octal ones

# A mail quotes with these; and a few lines of prose may lead to the memory.
_QUOTE = re.compile(r"(?:> ?)+")
LEAD_MOST = 12

# What surrounds a paste: prompts with the command behind them, a shell's, a comment.
_AROUND = re.compile(r"\s*|\((?:gdb|qemu)\).*|[$#>] .*|\[.*\][$#] .*")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_NO_ACCESS = re.compile(rf"(?:{_HEX}+: )?Cannot access memory.*", re.I)


class Line(NamedTuple):
    """One line: its number in the text, its address as printed, and its bytes in memory order.

    ``squeezed`` says that ``*`` stood before it: the line before is repeated up to this address.
    """

    number: int
    address: str
    data: bytes
    squeezed: bool


def is_text(data: memoryview) -> bool:
    """Tell whether the data begin with a line of one of FORMS."""
    return form_of(data) is not None


def is_prose(data: memoryview) -> bool:
    """Tell whether a small file is all printable: what memory hardly is, and a paste always."""
    heads = (bytes(data[:LINE_MOST]), bytes(data)) if len(data) <= TEXT_MOST else ()
    return bool(heads) and all(_printable(head) for head in heads)


def _printable(data: bytes) -> bool:
    return all(line.replace("\t", " ").isprintable() for line in _lines(data))


def form_of(data: memoryview) -> Form | None:
    """Return the form of the first line that has one, behind prompts and a few lines of prose."""
    found = _first(_lines(bytes(data[: 2 * LINE_MOST])))
    return None if found is None else found[1]


# The number of the first line that has a form, from 0 on, and its form.
def _first(lines: Iterable[str]) -> tuple[int, Form] | None:
    left = LEAD_MOST
    for number, line in enumerate(lines):
        if len(line) > LINE_MOST or not left or not line.replace("\t", " ").isprintable():
            return None
        form = next((form for form in FORMS if _begins(form, line)), None)
        if form is not None:
            return number, form
        left -= not _AROUND.fullmatch(line)
    return None


def _begins(form: Form, line: str) -> bool:
    return len(line) >= form.least and form.line.fullmatch(line) is not None


def image(data: memoryview, source: str) -> Image:
    """Return the memory that a text shows, at the addresses it shows (WitnessError)."""
    form = form_of(data)
    if form is None:
        raise WitnessError(f"{source}: its first line is of no form known here ({_names()})")
    if len(data) > TEXT_MOST:
        raise WitnessError(
            f"{source}: {len(data) >> 20} MiB of {form.name} text, at most {TEXT_MOST >> 20} are "
            "read; give the image that it was printed from"
        )
    whole = _lines(bytes(data))
    first, _ = _first(whole) or (0, form)
    matched = tuple(_matched(form, enumerate(whole[first:], first + 1), source))
    lines = tuple(_parsed(form, matched, source))
    pieces = arranged(_pieces(lines, _base(lines), source))
    if not pieces:
        raise WitnessError(f"{source}: {form.name} text without any bytes")
    return Image(source, f"{form.name} text", pieces)


def _names() -> str:
    return "; ".join(form.name for form in FORMS)


def _lines(text: bytes) -> list[str]:
    lines = [_ESCAPES.sub("", line).rstrip() for line in text.decode("latin-1").split("\n")]
    quoted = [line for line in lines if line]
    if quoted and all(line.startswith(">") for line in quoted[:-1] or quoted):
        return [_QUOTE.sub("", line, count=1) for line in lines]
    return lines


class Matched(NamedTuple):
    """A line that has the text's form; ``squeezed`` as in Line."""

    number: int
    match: re.Match[str]
    squeezed: bool


def _matched(form: Form, lines: Iterable[tuple[int, str]], source: str) -> Iterator[Matched]:
    squeezed = False
    for number, line in lines:
        if _AROUND.fullmatch(line) or _NO_ACCESS.fullmatch(line):
            continue
        if line == SQUEEZED:
            squeezed = True
            continue
        match = form.line.fullmatch(line) if len(line) <= LINE_MOST else None
        if match is None:
            raise WitnessError(f"{source}: line {number} is no line of {form.name}: {line[:40]!r}")
        yield Matched(number, match, squeezed)
        squeezed = False


def _parsed(form: Form, matched: tuple[Matched, ...], source: str) -> Iterator[Line]:
    words = form.words or _reversed([line.match for line in matched], source)
    for number, match, squeezed in matched:
        yield Line(number, match["address"], _bytes(words, form, match, number, source), squeezed)


def _groups(match: re.Match[str]) -> list[str]:
    return [group.lower().removeprefix("0x") for group in match["groups"].split()]


def _bytes(words: bool, form: Form, match: re.Match[str], number: int, source: str) -> bytes:
    groups = _groups(match)
    digits = {len(group) for group in groups}
    if not groups:
        return b""
    if form.words and (len(digits) > 1 or digits.pop() not in WORD_DIGITS):
        raise WitnessError(f"{source}: line {number}: groups that are not all bytes, or all words")
    if any(len(group) % 2 for group in groups):
        raise WitnessError(f"{source}: line {number}: half a byte (an odd number of digits)")
    order = -1 if words else 1
    return b"".join(bytes.fromhex(group)[::order] for group in groups)


# `xxd -e` prints words, and only the characters at the end of its lines say so: of all lines
# together, because one whose characters are all dots may be either.
def _reversed(matches: list[re.Match[str]], source: str) -> bool:
    straight = turned = either = False
    for match in matches:
        shown = match.groupdict().get("ascii")
        groups = [bytes.fromhex(group) for group in _groups(match) if len(group) % 2 == 0]
        if shown:
            as_is = _shows(b"".join(groups), shown)
            back = _shows(b"".join(group[::-1] for group in groups), shown)
            straight, turned = straight or as_is > back, turned or back > as_is
            either |= as_is and back and any(len(g) > 2 and g != g[::-1] for g in groups)
    if straight and turned:
        raise WitnessError(f"{source}: the characters of some lines fit words, of others bytes")
    if either and not straight and not turned:
        raise WitnessError(f"{source}: bytes, or words (xxd -e)? no line's characters tell")
    return turned


def _shows(data: bytes, shown: str) -> bool:
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in data).startswith(shown)


# The base in which every line begins where the one before it ends; hexadecimal if none does.
def _base(lines: tuple[Line, ...]) -> int:
    return next((base for base in BASES if _continuous(lines, base)), BASES[0])


def _continuous(lines: tuple[Line, ...], base: int) -> bool:
    reached: int | None = None
    previous = b""
    for line in lines:
        address = _number(line.address, base)
        if address is None:
            return False
        if reached is not None and not _follows(line, address - reached, len(previous)):
            return False
        reached, previous = address + len(line.data), line.data
    return True


def _number(digits: str, base: int) -> int | None:
    try:
        return int(digits, base)
    except ValueError:
        return None


# `gap`: how far behind the end of the line before, of `length` bytes, the line begins.
def _follows(line: Line, gap: int, length: int) -> bool:
    if line.squeezed:
        return gap > 0 and length > 0 and gap % length == 0
    # An address alone ends the text. It may lie inside the last word, which was filled up.
    return gap == 0 or (not line.data and -8 < gap < 0)


def _pieces(lines: Iterable[Line], base: int, source: str) -> Iterator[Piece]:
    start, held = 0, bytearray()
    previous = b""
    for line in lines:
        reached = start + len(held)
        address = int(line.address, base) if line.address else reached
        if address + len(line.data) > ADDRESS_END:
            raise WitnessError(f"{source}: line {line.number}: an address beyond 2^64")
        if line.squeezed and previous and address > reached:
            yield Piece(reached, address - reached, memoryview(previous))
        if not line.data and start < address < reached:
            del held[address - start :]  # The last word was filled up; the end address knows.
            continue
        if address != reached:
            if held:
                yield Piece(start, len(held), memoryview(bytes(held)))
            start, held = address, bytearray()
        held += line.data
        previous = line.data or previous
    if held:
        yield Piece(start, len(held), memoryview(bytes(held)))
