"""Read memory that people paste: find the output of a tool between prompts and prose.

No line of a dump is read in part: it is understood completely, or refused with its number. Lines
that do not belong to a dump are skipped.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import NamedTuple

from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools.memory.area import SMALLEST
from runstate_abi.tools.memory.image import ADDRESS_END, Image, Piece, arranged
from runstate_abi.tools.memory.text import BYTES, cleaned, forms
from runstate_abi.tools.memory.text.forms import FORMS, DumpLine, Form
from runstate_abi.tools.memory.text.printed import printed

# Nobody pastes more text than this: the image should be given instead.
TEXT_MOST = 16 << 20
HEAD = 1 << 15  # bytes that tell whether a file is text
LINE_MOST = 1 << 14
PREFIX_MOST = 80
_GAP = re.compile(r"[ :]+")
CHOSEN_BY = 400  # so many lines decide the form
NO_FORM = (
    "text, but of no form known here (xxd (-b -e -g -i -p), hexdump, od, gdb x and p, lldb, crash "
    "rd and struct, WinDbg d, QEMU xp, print_hex_dump, plain hex, arrays, bytes literals)"
)
BASES = (16, 10, 8)  # xxd -d and od -Ad print decimal addresses, od without -A octal ones
SAME_MOST = 1 << 20  # bytes of two readings that are compared


class Dump(NamedTuple):
    """The form of a text, and the prefix of each of its lines."""

    form: Form
    prefix: str


def is_text(data: memoryview) -> bool:
    """Are the data text with a dump in it, and not a raw image?"""
    head = bytes(data[:HEAD])
    if not cleaned.readable(head):
        return False
    return _has_memory(head) or (is_prose(data) and _has_memory(bytes(data)))


def _has_memory(data: bytes) -> bool:
    lines = cleaned.clean_lines(data)
    if _dump(lines) is not None:
        return True
    try:
        return printed("\n".join(lines), "") is not None
    except WitnessError:
        return True  # image() raises it again


def is_prose(data: memoryview) -> bool:
    """Is a small file all printable, as pasted text always is and memory hardly ever?"""
    parts = (data[:HEAD], data)  # most files are known by their beginning
    return len(data) <= TEXT_MOST and all(cleaned.readable(bytes(part)) for part in parts)


def image(data: memoryview, source: str, order: str | None = None) -> Image:
    """Return the memory that a text shows; ``order`` is BYTES or WORDS if given (WitnessError)."""
    if len(data) > TEXT_MOST:
        sizes = f"{len(data) >> 20} MiB of text, at most {TEXT_MOST >> 20} are read"
        raise WitnessError(f"{source}: {sizes}; give the image that it was printed from")
    lines = cleaned.clean_lines(bytes(data))
    dump = _dump(lines)
    if dump is None or (not dump.form.addressed and dump.form is not forms.BARE):
        try:
            whole = printed("\n".join(lines), source)
        except WitnessError:
            if dump is None:
                raise
            whole = None  # prose about a dump may name the members of the struct
        if whole is not None:
            return _of_values(*whole, source)
    if dump is None:
        raise WitnessError(f"{source}: {NO_FORM}")
    if not dump.form.addressed:
        return _of_runs(dump, lines, source, order)
    rows = list(_rows(dump, lines, source))
    parts = forms.in_memory_order(dump.form, rows, order, source)
    found = tuple(_pieces(list(zip(rows, parts, strict=True)), source))
    _agree(found, source)
    if not found:
        raise WitnessError(f"{source}: {dump.form.name} text without any bytes")
    return Image(source, f"{dump.form.name} text", arranged(found))


def _of_values(kind: str, found: Sequence[bytes], source: str) -> Image:
    if any(value != found[0] for value in found):
        raise WitnessError(f"{source}: {len(found)} readings ({kind}), and they differ: paste one")
    return Image(source, f"{kind} text", (Piece(0, len(found[0]), memoryview(found[0])),))


# The form that most lines have; of several with as many lines, the first in the table.
def _dump(lines: Sequence[str]) -> Dump | None:
    count: Counter[Dump] = Counter()
    left = CHOSEN_BY
    for line in lines:
        dumps = tuple(_dumps(line))
        count.update(dumps)
        left -= bool(dumps)
        if not left:
            break
    best = sorted(count, key=lambda one: (-count[one], len(one.prefix), FORMS.index(one.form)))
    return next((dump for dump in best if _meant(dump, lines)), None)


def _dumps(line: str) -> Iterator[Dump]:
    if not line or len(line) > LINE_MOST:
        return
    # print_hex_dump() puts a name in front of its lines, "runstate: " or "runstate 00000000: ".
    names = (line[: match.end()] for match in islice(_GAP.finditer(line, 0, PREFIX_MOST), 4))
    for prefix in ("", *names):
        if not forms.BEGINS.match(line, len(prefix)):
            continue
        read = ((form, forms.read_line(form, 0, line[len(prefix) :])) for form in FORMS)
        fit = [form for form, made in read if made and made.groups]
        yield from (Dump(form, prefix) for form in fit)
        if fit:
            return


# The lines of some forms also fit other forms; all lines together decide.
def _meant(dump: Dump, lines: Sequence[str]) -> bool:
    rows = [made for line in lines[:CHOSEN_BY] if (made := _row_of(dump, 0, line)) and made.groups]
    if not dump.form.addressed:
        return any(sum(map(len, made.groups)) >= forms.BARE_LEAST for made in rows)
    steps = [_number_of(b.address, 16) - _number_of(a.address, 16) for a, b in pairwise(rows)]
    if dump.form is forms.BITS and not all(made.shown.strip() for made in rows):
        return bool(steps) and steps[0] == len(rows[0].groups)
    if dump.form is forms.OD:
        alike = all(len(made.address) == len(made.groups[0]) for made in rows)
        begins = tuple(f"{dump.prefix}{made.address}  " for made in rows[:1])
        spaced = any(begin in line for begin in begins for line in lines)
        sizes = [sum(map(len, made.groups)) // 2 for made in rows]
        return not alike or spaced or (len(rows) > 1 and steps == sizes[:-1])
    return True


def _row_of(dump: Dump, number: int, line: str, squeezed: bool = False) -> DumpLine | None:
    if not line.startswith(dump.prefix) or len(line) > LINE_MOST:
        return None
    return forms.read_line(dump.form, number, line[len(dump.prefix) :], squeezed)


# The lines of the dump. Prose and commands between, before and after them are skipped, but not what
# may be a part of the dump, or of another one.
def _rows(dump: Dump, lines: Iterable[str], source: str) -> Iterator[DumpLine]:
    squeezed = begun = False
    for number, line in enumerate(lines, 1):
        made = _row_of(dump, number, line, squeezed)
        if made is not None and (begun or made.groups):
            yield made
            begun, squeezed = True, False
        elif line == forms.SQUEEZED:
            squeezed = begun
        elif not forms.NO_ACCESS.fullmatch(line) and (
            any(item.form.addressed for item in _dumps(line))
            or forms.BROKEN.fullmatch(line.removeprefix(dump.prefix))
            or len(line) > LINE_MOST
            or not line.isprintable()
        ):
            where = f"{source}: line {number} is no line of {dump.form.name}"
            raise WitnessError(f"{where}: {line[:40]!r}")


# Without addresses, prose separates one reading from the next, and a blank line separates two
# areas.
def _of_runs(dump: Dump, lines: Sequence[str], source: str, order: str | None) -> Image:
    runs: list[list[DumpLine]] = [[]]
    for number, line in enumerate(lines, 1):
        made = _row_of(dump, number, line)
        if made is not None and (runs[-1] or sum(map(len, made.groups)) >= forms.BARE_LEAST):
            runs[-1].append(made)
        elif line == forms.SQUEEZED and runs[-1]:
            why = "repeated lines are left out, and no address says how many (od -v prints them)"
            raise WitnessError(f"{source}: line {number}: {why}")
        elif runs[-1]:
            runs.append([])
    sized = [run for run in runs if run]
    taken = [run for run in sized if _size(run) >= SMALLEST] or [max(sized, key=_size)]
    found = []
    for run in taken:
        # Groups of more digits than a number has are bytes: xxd -p, and bytes.hex().
        long = any(len(group) not in forms.SIZES for made in run for group in made.groups)
        asked = BYTES if long and dump.form is forms.BARE else order
        found.append(b"".join(forms.in_memory_order(dump.form, run, asked, source)))
    return _of_values(dump.form.name, found, source)


def _size(run: Sequence[DumpLine]) -> int:
    return sum(len(group) for made in run for group in made.groups) // 2


# The pieces of memory in the lines, in order. Dumps print addresses in several bases. The right one
# is the base in which each line begins where the line before it ends.
def _pieces(lines: Sequence[tuple[DumpLine, bytes]], source: str) -> Iterator[Piece]:
    base = next((base for base in BASES if _continuous(lines, base)), BASES[0])
    start, held = 0, bytearray()
    previous = b""
    for line, data in lines:
        reached = start + len(held)
        address = int(line.address, base)
        if address + len(data) > ADDRESS_END:
            raise WitnessError(f"{source}: line {line.number}: an address beyond 2^64")
        if line.squeezed and previous and address > reached:
            yield Piece(reached, address - reached, memoryview(previous))
        if not data and start < address < reached:
            del held[address - start :]  # the last word was filled up, and the end address shows it
            continue
        if address != reached:
            if held:
                yield Piece(start, len(held), memoryview(bytes(held)))
            start, held = address, bytearray()
        held += data
        previous = data or previous
    if held:
        yield Piece(start, len(held), memoryview(bytes(held)))


def _continuous(lines: Sequence[tuple[DumpLine, bytes]], base: int) -> bool:
    reached: int | None = None
    previous = b""
    for line, data in lines:
        address = _number_of(line.address, base)
        if address < 0:
            return False
        if reached is not None and line.address != lines[0][0].address:
            gap = address - reached
            if line.squeezed:
                follows = gap > 0 and len(previous) > 0 and gap % len(previous) == 0
            else:
                # An address alone ends the text. It may lie inside the last word, which was filled.
                follows = gap == 0 or (not data and -forms.NUMBER < gap < 0)
            if not follows:
                return False
        reached, previous = address + len(data), data
    return True


# -1 if the digits are no number in this base.
def _number_of(digits: str, base: int) -> int:
    try:
        return int(digits, base)
    except ValueError:
        return -1


# No two pieces may have different bytes for one address. In address order it is enough to compare
# each piece with the one that reaches farthest so far.
def _agree(found: Iterable[Piece], source: str) -> None:
    far: Piece | None = None
    for piece in sorted(found, key=lambda piece: piece.address):
        if far is not None and piece.address < far.end:
            end = min(far.end, piece.end, piece.address + SAME_MOST)
            pairs = zip(far.cut(piece.address, end), piece.cut(piece.address, end), strict=True)
            for address, (old, new) in enumerate(pairs, piece.address):
                if old != new:
                    twice = f"address {address:#x} is given twice, with other bytes"
                    raise WitnessError(f"{source}: {twice}: two readings? paste one")
        far = piece if far is None or piece.end > far.end else far
