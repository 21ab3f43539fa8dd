"""Read memory that is printed as a struct (debuggers), an array (xxd -i) or a bytes literal.

The numbers of a struct are returned as native has them, with zero padding.
"""

import codecs
import re
from bisect import bisect_left
from collections.abc import Iterator

from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.structs.runstate import COMPAT, NATIVE, RUNSTATES
from runstate_abi.tools.memory.area import SHIFT, Values, packed
from runstate_abi.tools.memory.text import ARRAY, LITERAL, STRUCT

LEAST = 16  # bytes: fewer are hardly meant as memory
TEXT_MOST = 1 << 20
REPEATS_MOST = 1 << 16
DECLARED_MOST = 200  # characters in front of an array, in which its type may be

_NUMBER = re.compile(r"(0x[0-9a-f]+|[0-9]+)(?:u?l{0,2}|_?[ui](?:8|16|32|64))", re.I)
_CAST = r"(?:\([\w \[\]]{1,40}\) ?)?"
_STATE = re.compile(rf"\bstate['\"]?\s*[=:]\s*{_CAST}(?:RUNSTATE_)?(\w+)", re.I)
_ENTRY = re.compile(rf"\bstate_entry_time['\"]?\s*[=:]\s*{_CAST}(\w+)", re.I)
_TIMES = re.compile(
    rf"\btime['\"]?\s*[=:]\s*{_CAST}(?:\[([^][]{{1,400}})\]|[{{(]([^{{}}()]{{1,400}})[}})])", re.I
)
_INDEX = re.compile(r"\[(?:\d+|0x[0-9a-f]+|RUNSTATE_\w+)\]\s*=\s*")
_BARE_ROWS = re.compile(r"(?:^0x[0-9a-f]+,[^\n]*(?:\n|\Z))+(?:^0x[0-9a-f]+$)?", re.I | re.M)
_COMMENT = re.compile(r"/\*[^*\n]{0,200}\*/|//[^\n]*")

# gdb and Python repeat: {0x0 <repeats 9 times>, 0x10}, '\000' <repeats 15 times>.
_REPEATED = r"(?:\s*<repeats (\d+) times>)?"
_LIST = re.compile(r"[\[{(]([^\[\]{}()]*)[\]})]")
_ITEM = re.compile(rf"([^\s,]+){_REPEATED}[\s,]*")
_QUOTED = re.compile(
    rf"""(b?)(?:"((?:[^"\\\n]|\\.)*+)"|'((?:[^'\\\n]|\\.)*+)'){_REPEATED}[ ,)(]*\n?[ ,)(]*""", re.I
)
# The C, Rust and numpy names of integers, wide ones first: "unsigned long" has "unsigned" in it.
_TYPES = (
    (8, re.compile(r"u?int64_t|\bu64\b|uint64|long|giant")),
    (4, re.compile(r"u?int32_t|\bu32\b|uint32|\bint\b")),
    (2, re.compile(r"u?int16_t|\bu16\b|uint16|short")),
    (1, re.compile(r"u?int8_t|\bu8\b|uint8|char|\bbyte")),
)


def printed(text: str, source: str) -> tuple[str, tuple[bytes, ...]] | None:
    """Return the form of what is printed and the bytes of each value, None if there is nothing."""
    for kind, read in ((STRUCT, _structs), (LITERAL, _literals), (ARRAY, _arrays)):
        if len(text) <= TEXT_MOST and (found := tuple(read(text, source))):
            return kind, found
    return None


# Each state_entry_time begins a reading: its state is the last one before it, its times follow.
def _structs(text: str, source: str) -> Iterator[bytes]:
    entries = list(_ENTRY.finditer(text))
    states = list(_STATE.finditer(text))
    begins = [match.start() for match in states]
    ends = [match.start() for match in entries[1:]] + [len(text)]
    for match, end in zip(entries, ends, strict=False):
        state = bisect_left(begins, match.start()) - 1
        times = _TIMES.search(text, match.end(), end)
        if state < 0 or times is None:
            raise WitnessError(f"{source}: a printed struct without its state, or its four times")
        names = _INDEX.sub("", times[1] or times[2])
        numbers = [_number(item) for item in re.split(r"[,\s]+", names.strip(" ,\n"))]
        named = {known.name: known.value for known in RUNSTATES}
        word = states[state][1]
        values = (named.get(word.lower(), _number(word)), _number(match[1]), *numbers)
        if len(numbers) != len(RUNSTATES) or None in values:
            raise WitnessError(f"{source}: a printed struct whose members are no plain numbers")
        first, entry, *rest = (value % (1 << 64) for value in values if value is not None)
        yield packed(Values(first % (1 << 32), entry, tuple(rest), bytes(SHIFT)))


# gdb pads with p/z, and prints octal with p/o. A leading zero means octal in C.
def _number(text: str) -> int | None:
    match = _NUMBER.fullmatch(text)
    if match is None or len(match[1]) > 40:
        return None
    digits = match[1].lower()
    octal = digits.startswith("0") and digits.isdigit() and len(digits) > 1
    if octal and set(digits) & set("89"):
        return None
    return int(digits, 8) if octal else int(digits, 0)


def _literals(text: str, source: str) -> Iterator[bytes]:
    held, end = bytearray(), 0
    for match in _QUOTED.finditer(text):
        part = _unquoted(match)
        if held and match.start() != end:
            yield from _large(held)
            held = bytearray()
        if part is not None:
            held += part * _times(match[4], source)
            end = match.end()
    yield from _large(held)


def _large(held: bytearray) -> Iterator[bytes]:
    if len(held) >= LEAST:
        yield bytes(held)


# Escapes make a string bytes. A string of only digits is what bytes.hex() returned.
def _unquoted(match: re.Match[str]) -> bytes | None:
    content = match[2] if match[2] is not None else match[3]
    if match[1] or re.search(r"\\(?:x[0-9a-f]{2}|[0-7]{1,3})", content, re.I):
        try:
            return codecs.escape_decode(content.encode("latin-1"))[0]
        except (ValueError, UnicodeEncodeError):
            return None
    spaced = content.replace(" ", "")
    plain = re.fullmatch(r"(?:[0-9a-f]{2}){16,}", spaced, re.I)
    return bytes.fromhex(spaced) if plain else None


def _times(digits: str | None, source: str) -> int:
    count = int(digits) if digits and len(digits) < 9 else 1 if not digits else REPEATS_MOST + 1
    if count > REPEATS_MOST:
        raise WitnessError(f"{source}: a value that is repeated {digits} times")
    return count


def _arrays(text: str, source: str) -> Iterator[bytes]:
    text = _COMMENT.sub("", text)
    found = False
    for match in _LIST.finditer(text):
        declared = text[max(match.start() - DECLARED_MOST, 0) : match.start()].rpartition("\n")[2]
        for value in _array(match[1], declared, source):
            found = True
            yield value
    if not found:
        for rows in _BARE_ROWS.finditer(text):
            yield from _array(rows[0], "", source)


def _array(listed: str, declared: str, source: str) -> Iterator[bytes]:
    values: list[int] = []
    digits: set[int] = set()
    for match in _ITEM.finditer(listed.strip()):
        value = _number(match[1])
        if value is None:
            return
        values += [value] * _times(match[2], source)
        digits.add(len(match[1]) - 2 if match[1][:2].lower() == "0x" else 0)
        if len(values) > TEXT_MOST:
            raise WitnessError(f"{source}: an array of more than {TEXT_MOST} numbers")
    size = _size(values, digits, declared) if len(values) > 4 else 0
    if size * len(values) >= LEAST and max(values) < 1 << 8 * size:
        yield b"".join(value.to_bytes(size, "little") for value in values)
    elif len(values) * 8 >= COMPAT.size and max(values) >> 8:
        raise WitnessError(f"{source}: an array of {len(values)} numbers: of how many bytes each?")


# The bytes of a number: by its leading zeros, else its type, else so that all fill an area.
def _size(values: list[int], digits: set[int], declared: str) -> int:
    if len(digits) == 1 and (width := digits.copy().pop()) in (2, 4, 8, 16):
        return width // 2
    for size, name in _TYPES:
        if name.search(declared):
            return size
    for area in (NATIVE.size, COMPAT.size):
        size = area // len(values)
        # Six small numbers in a sentence are no times; 48 of them are bytes.
        large = size == 1 or max(values) >> 4 * size
        if area == size * len(values) and size in (1, 2, 4, 8) and large:
            return size
    return 1 if len(values) > NATIVE.size and max(values) < 1 << 8 else 0
