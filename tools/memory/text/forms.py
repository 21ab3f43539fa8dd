"""The forms in which tools print memory, one row each, and the bytes of their lines.

A line has an address (in some forms), groups of digits, and the characters for the bytes. The
number of digits in a group says how many bytes it is. A group is either bytes as printed or a
little-endian number, whose bytes are reversed. The form says which; or the characters; or a
runstate area, which makes sense in one order only. Else the user is asked.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools.memory.area import LAYOUTS, SHIFT, SMALLEST, Values, state_name, values
from runstate_abi.tools.memory.decision import EXACT, NONE, ORDERED, standing
from runstate_abi.tools.memory.text import BYTES, EITHER, WORDS


class Form(NamedTuple):
    name: str
    line: re.Pattern[str]
    order: str  # of the bytes of a group: as printed, a little-endian number, or either
    lean: str = ""  # the order if nothing else tells; "": the user is asked

    @property
    def addressed(self) -> bool:
        return "address" in self.line.groupindex


class DumpLine(NamedTuple):
    number: int  # in the text
    address: str  # as printed
    groups: tuple[str, ...]
    shown: str  # the characters
    # a ``*`` is before it, so the previous line is repeated up to this address
    squeezed: bool = False
    filled: bool = False  # the last group is shorter and right-aligned, as xxd -e prints it


_H = "[0-9a-f]"


def _groups(repeated: str) -> str:
    # A plain repeat of digits with optional blanks between them could match in 2^n ways. Python
    # before 3.11.5 (Debian 12 has 3.11.2) matches a possessive repeat of a group wrongly. So a
    # look-ahead finds the repeat, and a backreference takes what it found as a whole.
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


def _form(name: str, line: str, order: str, lean: str = "") -> Form:
    return Form(name, re.compile(line, re.IGNORECASE), order, lean)


# If a line fits several forms, the first one counts.
FORMS = (
    _form("gdb x, QEMU xp, lldb", _PLACE + _WORDS, WORDS),
    _form("xxd -b", _BITS, BYTES),
    _form("xxd, lldb, crash rd, print_hex_dump", _COLON, EITHER),
    _form("od, hexdump", _OD, EITHER, WORDS),
    _form("WinDbg d", _CHARS, EITHER, WORDS),
    _form("numbers", _WORDS, WORDS),
    _form("plain hex", _BARE, EITHER),
)
BITS, COLON, OD, CHARS, BARE = (FORMS[number] for number in (1, 2, 3, 4, 6))
BARE_LEAST = 16  # digits of the first line: a word of prose may have fewer, "add" or "facade"

# The bytes of a group and the base of its digits, by the number of digits. Only od and hexdump
# print numbers that are not hexadecimal.
SIZES = {2: (1, 16), 4: (2, 16), 8: (4, 16), 16: (8, 16)}
OD_SIZES = SIZES | {3: (1, 8), 6: (2, 8), 11: (4, 8), 22: (8, 8), 5: (2, 10)}

# What a line of any form begins with: a word of digits.
BEGINS = re.compile(rf"(?:0x)?{_H}+(?:[ :-]|$)", re.IGNORECASE)
SQUEEZED = "*"
NO_ACCESS = re.compile(rf"(?:{_H}+: )?(?:Cannot access memory|error: memory read).*", re.IGNORECASE)
# A line that begins like a line of a dump but has no form: a part of it is lost.
BROKEN = re.compile(
    rf"(?:0x)?(?=\S*\d){_H}{{6,16}}(?::\s+(?:0x)?{_H}{{2}}.*|\s+(?:0x)?{_H}{{2,16}}(?:[^\w:].*)?)",
    re.IGNORECASE,
)


def read_line(form: Form, number: int, line: str, squeezed: bool = False) -> DumpLine | None:
    """Return a line of text as a line of the form, None if it is none."""
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
    made = DumpLine(number, address, groups, shown, squeezed)
    if form is COLON and groups:
        made = _with_tail(made)
    return made if _fits(form, made) else None


# xxd -e puts an incomplete last group to the right of its column.
def _with_tail(made: DumpLine) -> DumpLine:
    width = len(made.groups[0])
    tail = re.match(rf"( +)({_H}+)(?=  |$)", made.shown, re.IGNORECASE)
    if tail is None or len(tail[0]) != width + 1 or not len(tail[2]) < width or len(tail[2]) % 2:
        return made
    groups = (*made.groups, tail[2].lower())
    return made._replace(groups=groups, shown=made.shown[tail.end() :], filled=True)


# If there are more characters than bytes, they are not characters but more groups.
def _fits(form: Form, made: DumpLine) -> bool:
    if form is BITS:
        return len(made.shown.strip()) <= len(made.groups)
    if form is CHARS or (form is BARE and made.shown):
        size = sum(len(group) for group in made.groups) // 2
        return 0 < len(made.shown.strip(" |<>")) <= size and len({len(x) for x in made.groups}) == 1
    if form is BARE and len(made.groups) > 1:
        sizes = {len(group) for group in made.groups[:-1]}
        return len(sizes) == 1 and sizes.pop() in SIZES and len(made.groups[-1]) in SIZES
    return True


# The bytes of a line in memory order (WitnessError).
def _in_order(form: Form, made: DumpLine, order: str, source: str) -> bytes:
    digits = {len(group) for group in made.groups}
    where = f"{source}: line {made.number}"
    mixed = WitnessError(f"{where}: groups that are not all bytes, or all words")
    if form is BITS:
        return bytes(int(group, 2) for group in made.groups)
    sizes = OD_SIZES if form is OD else SIZES
    if made.groups and (form.order == WORDS or form in (OD, CHARS)):
        if len(digits) > 1 or not digits <= sizes.keys():
            raise mixed
        size, base = sizes[len(made.groups[0])]
        if base != 16:
            try:
                return b"".join(int(x, base).to_bytes(size, "little") for x in made.groups)
            except (ValueError, OverflowError):
                raise mixed from None
    if any(count % 2 for count in digits):
        raise WitnessError(f"{where}: half a byte (an odd number of digits)")
    if order != WORDS or digits <= {2}:
        return bytes.fromhex("".join(made.groups))
    return b"".join(bytes.fromhex(group)[::-1] for group in made.groups)


NUMBER = 8  # bytes
DIFFERENT_LEAST = 3  # numbers that the order changes
LOOKED_AT = 1 << 12  # bytes of a dump in which an area is looked for
UNTOLD = (
    "bytes or words? neither the characters nor the numbers of its {} text tell: --text bytes "
    "takes its groups as printed, --text words as little-endian words"
)


def in_memory_order(
    form: Form, made: Sequence[DumpLine], asked: str | None, source: str
) -> tuple[bytes, ...]:
    """Return each line's bytes in memory order, ``asked`` if given (WitnessError: unknown)."""
    if form.order != EITHER or asked:
        order = form.order if form.order != EITHER else str(asked)
        return tuple(_in_order(form, line, order, source) for line in made)
    both = {way: tuple(_in_order(form, x, way, source) for x in made) for way in (BYTES, WORDS)}
    if both[BYTES] == both[WORDS]:
        return both[BYTES]
    told = _by_characters(made, both, source) or _by_area(both) or form.lean
    # Without an option xxd prints groups of two bytes after an address of eight digits. It never
    # prints words in groups of two bytes.
    pairs = all(len(group) in (2, 4) for line in made for group in line.groups)
    if not told and not (pairs and all(len(line.address) == 8 for line in made)):
        raise WitnessError(f"{source}: {UNTOLD.format(form.name)}")
    return both[told or BYTES]


# Each line decides for itself; one whose characters are all dots fits both orders.
def _by_characters(
    made: Sequence[DumpLine], both: dict[str, tuple[bytes, ...]], source: str
) -> str:
    says: set[str] = {WORDS for line in made if line.filled}
    for line, as_is, back in zip(made, both[BYTES], both[WORDS], strict=True):
        fits = _shows(as_is, line.shown), _shows(back, line.shown)
        if fits[0] != fits[1]:
            says.add(BYTES if fits[0] else WORDS)
    if len(says) > 1:
        raise WitnessError(f"{source}: the characters of some lines fit words, of others bytes")
    return says.pop() if says else ""


# At the end of a line the blanks that stand for blanks may be lost.
def _shows(data: bytes, shown: str) -> bool:
    characters = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in data)
    shown = shown.strip(" |<>")
    return bool(shown) and shown in characters.strip(" |<>")


def _by_area(both: dict[str, tuple[bytes, ...]]) -> str:
    joined = {way: b"".join(parts) for way, parts in both.items()}
    numbers = range(0, len(joined[BYTES]), NUMBER)
    as_is, back = joined[BYTES], joined[WORDS]
    differ = sum(as_is[at : at + NUMBER] != back[at : at + NUMBER] for at in numbers)
    # One number or two are small enough in either order.
    for judge in (_exact, _best, _state) if differ >= DIFFERENT_LEAST else (_state,):
        found = {way: judge(data) for way, data in joined.items()}
        best, other = sorted(found, key=lambda way: found[way], reverse=True)
        if found[best] > found[other] and (found[best] >= ORDERED or found[other] == NONE):
            # The other may say the same, as what could be a reading that is wrong by four bytes.
            return "" if judge(joined[other], True) >= found[best] else best
    return ""


# These three judge a dump in one order. ``shifts``: also believe what standing() says of times that
# may be read four bytes too early or too late.


# Somewhere in the dump, times add up to an entry time. A single time does so in either order.
def _exact(data: bytes, shifts: bool = False) -> int:
    last = min(len(data), LOOKED_AT) - SMALLEST
    return EXACT * any(
        standing(seen, shifts) == EXACT and sum(map(bool, seen.times)) > 1
        for at in range(0, last + 1, SHIFT)
        for seen in _values(data[at:])
    )


def _best(data: bytes, shifts: bool = False) -> int:
    return max((standing(seen, shifts) for seen in _values(data)), default=NONE)


def _values(data: bytes) -> Iterator[Values]:
    return (values(layout, data) for layout in LAYOUTS.values() if len(data) >= layout.size)


def _state(data: bytes, shifts: bool = False) -> int:
    return int(state_name(int.from_bytes(data[:SHIFT], "little")) is not None)
