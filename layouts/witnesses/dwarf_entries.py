"""DWARF's entries, as far as a struct needs them: found by name, and read one at a time.

A kernel's .debug_info is 300 MB, and few of its units mention the struct. This reader searches for
references to the name's place in the string section, and walks only the units that have one. It
reads DWARF 2 to 5, 32 and 64 bits, both byte orders, compressed sections, relocatable files and
.dwo files. A form that it does not know is an error if a struct needs it: nothing tells its length.
"""

import os
import re
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.witnesses import elf
from runstate_abi.layouts.witnesses.compressed import starts

# Limits that no honest file comes near, so that a hostile one costs no more.
UNITS_MAX, PLACES_MAX, ENTRIES_MAX = 1 << 17, 1 << 16, 1 << 22
STRINGS_MAX, ABBREVIATIONS_MAX = 64, 1 << 22
WORDS = {4: "I", 8: "Q"}  # the letters of the module struct, by size in bytes

# DWARF 5, 7.5.3 (tags), 7.5.4 (attributes), 7.5.5 (forms); the last two tables of GNU's are split
# DWARF as version 4 had it, and dwz.
# fmt: off
ARRAY, CLASS, ENUMERATION, MEMBER, POINTER, REFERENCE = 0x01, 0x02, 0x04, 0x0d, 0x0f, 0x10
STRUCTURE, TYPEDEF, UNION, INHERITANCE, PTR_TO_MEMBER = 0x13, 0x16, 0x17, 0x1c, 0x1f
SUBRANGE, BASE, CONST, ENUMERATOR, VOLATILE, RESTRICT = 0x21, 0x24, 0x26, 0x28, 0x35, 0x37
RVALUE, ATOMIC, VARIANT_PART, NAMESPACE = 0x42, 0x47, 0x33, 0x39
SIBLING, NAME, BYTE_SIZE, BIT_OFFSET, BIT_SIZE = 0x01, 0x03, 0x0b, 0x0c, 0x0d
COMP_DIR, CONST_VALUE, UPPER_BOUND, COUNT, LOCATION = 0x1b, 0x1c, 0x2f, 0x37, 0x38
DECLARATION, ENCODING, EXTERNAL, TYPE, ENDIANITY = 0x3c, 0x3e, 0x3f, 0x49, 0x65
DATA_BIT_OFFSET, STR_OFFSETS_BASE, DWO_NAME, GNU_DWO_NAME = 0x6b, 0x72, 0x76, 0x2130
LANGUAGE, SPECIFICATION, ALIGNMENT, GNU_VECTOR = 0x13, 0x47, 0x88, 0x2107
GNU_DWO_NAME_BYTES = b"\xb0\x42"
STRING, STRP, IMPLICIT, INDIRECT = 0x08, 0x0e, 0x21, 0x16
FIXED = {0x0b: 1, 0x05: 2, 0x06: 4, 0x07: 8, 0x1e: 16, 0x0c: 1, 0x19: 0, 0x21: 0,  # data, flag
         0x11: 1, 0x12: 2, 0x13: 4, 0x14: 8, 0x20: 8, 0x1c: 4, 0x24: 8,            # references
         0x25: 1, 0x26: 2, 0x27: 3, 0x28: 4, 0x29: 1, 0x2a: 2, 0x2b: 3, 0x2c: 4}   # indices
OFFSETS = (STRP, 0x17, 0x1d, 0x1f, 0x1f20, 0x1f21)  # as wide as the unit's offsets; 0x10 from 3 on
INDEXED = (0x1a, 0x25, 0x26, 0x27, 0x28, 0x1f02)
UNIT_REFERENCES, SECTION_REFERENCE, SIGNATURE = (0x11, 0x12, 0x13, 0x14, 0x15), 0x10, 0x20
SUPPLEMENTARY_REFERENCES, SUPPLEMENTARY_STRINGS = (0x1f20, 0x1c, 0x24), (0x1f21, 0x1d)  # dwz
BLOCKS = {0x0a: 1, 0x03: 2, 0x04: 4}
ULEB, SLEB = (0x0f, 0x15, 0x1a, 0x1b, 0x22, 0x23, 0x1f01, 0x1f02), (0x0d,)
# fmt: on
NAMED = (STRUCTURE, CLASS, UNION, TYPEDEF)
SCOPES = (STRUCTURE, CLASS, UNION, NAMESPACE)


class Abbreviation(NamedTuple):
    tag: int
    children: bool
    attributes: tuple[tuple[int, int, int], ...]  # (attribute, form, value that needs no bytes)
    size: int | None  # of such an entry in bytes, None if it depends on its bytes


class Unit(NamedTuple):
    """A unit: where its header, its first entry and its end are, and the sizes that it decides."""

    start: int
    first: int
    end: int
    version: int
    width: int  # of an offset in bytes: 4 or 8
    address: int
    abbreviations: int
    signature: bytes  # of a type unit, and where in it the type is
    type_offset: int
    skeleton: bool  # whether its other half may be in a .dwo file
    owner: "Entries"


class Entry(NamedTuple):
    unit: Unit
    start: int
    tag: int
    children: bool
    attributes: dict[int, tuple[int, Any]]  # number -> (form, value)
    end: int  # the offset after the attributes

    def get(self, attribute: int) -> Any:
        return self.attributes.get(attribute, (0, None))[1]


class Entries:
    """The DWARF of one ELF file. Abbreviations are read once and kept.

    ``supplement`` is the file into which dwz moved the entries that several files share. An entry
    may be one of these: the unit of each entry has its owner.
    """

    def __init__(self, file: elf.Elf, path: str, supplement: "Entries | None" = None) -> None:
        self.supplement = supplement
        self.path, self.byteorder, self.order = path, file.byteorder, file.order
        self.split = file.has(".debug_info.dwo")
        kind = ".dwo" if self.split else ""
        names = ("info", "abbrev", "str", "str_offsets")
        self.info, self.abbrev, self.str, self.str_offsets = (
            elf.section_bytes(file, f".debug_{name}{kind}") for name in names
        )
        # DWARF 4 has its type units in a section of their own.
        types = elf.section_bytes(file, f".debug_types{kind}")
        self.types_start = len(self.info)
        self.info = b"".join((self.info, types)) if types else self.info
        self.gnu_split = bool(re.search(GNU_DWO_NAME_BYTES, self.abbrev))
        self.units = list(islice(self._units(), UNITS_MAX))
        if len(self.units) == UNITS_MAX:
            raise WitnessError(f"{path}: its DWARF has over {UNITS_MAX} units")
        self.starts = [unit.start for unit in self.units]
        self._tables: dict[tuple[int, ...], dict[int, Abbreviation]] = {}
        self._known = 0  # abbreviations, in all tables

    def named(self, name: str) -> Iterator[Entry]:
        """Yield every struct, class, union and typedef of this name, declarations too.

        ``namespace::name`` is a name in a namespace. ``crate::`` of Rust is any crate.
        """
        *scope, name = name.removeprefix("crate::").split("::")
        for entry in self._named(name):
            if not scope or self._scope(entry)[-len(scope) :] == scope:
                yield entry

    def _named(self, name: str) -> Iterator[Entry]:
        wanted = re.escape(name.encode() + b"\0")
        strings = [hit.start() for hit in islice(re.finditer(wanted, self.str), STRINGS_MAX + 1)]
        if len(strings) > STRINGS_MAX:
            raise WitnessError(f"{self.path}: its DWARF has the string {name} too often")
        moved = re.finditer(wanted, self.supplement.str if self.supplement else b"")
        strings += [hit.start() for hit in islice(moved, STRINGS_MAX)]
        hits = sorted(self._mentions(wanted, strings))
        indexed = {unit: unit.end for unit in self._indexing(strings)}
        last = {self._unit_at(hit): hit + 1 for hit in hits} | indexed
        for unit in sorted(last):
            for start, end in self._types(unit, last[unit]):
                if unit in indexed or bisect_left(hits, start) < bisect_left(hits, end):
                    entry = self.entry(unit, start)
                    if self.name(entry) == name:
                        yield entry

    def entry(self, unit: Unit, start: int) -> Entry:
        """Return the entry that begins at ``start``; WitnessError if none can."""
        if unit.owner is not self:
            return unit.owner.entry(unit, start)
        code, at = uleb(self.info, start)
        found = self._table(unit).get(code)
        if not found or not unit.first <= start < unit.end:
            raise WitnessError(f"{self.path}: its DWARF is damaged: no entry at {start:#x}")
        attributes = {}
        for attribute, form, implicit in found.attributes:
            value, at = self._value(unit, form, at) if form != IMPLICIT else (implicit, at)
            attributes[attribute] = form, value
        return Entry(unit, start, found.tag, found.children, attributes, at)

    # The names of the namespaces and structs that an entry is in. A type unit declares its type in
    # them, and defines it outside.
    def _scope(self, entry: Entry) -> list[str]:
        entry = self.type_of(entry, SPECIFICATION) or entry
        above: list[str] = []
        at = entry.unit.first
        while at < entry.start:
            if self.info[at] == 0:
                above.pop()
                at += 1
                continue
            outer = self.entry(entry.unit, at)
            if outer.children:
                above.append(self.name(outer) if outer.tag in SCOPES else "")
            at = outer.end
        return list(filter(None, above))

    def children(self, entry: Entry) -> Iterator[Entry]:
        """Yield the direct children of an entry, in order."""
        at, depth, info = entry.end, 0, entry.unit.owner.info
        while entry.children and at < entry.unit.end:
            if info[at] == 0:
                at, depth = at + 1, depth - 1
                if depth < 0:
                    return
                continue
            child = self.entry(entry.unit, at)
            if depth == 0:
                yield child
            at, depth = child.end, depth + child.children

    def type_of(self, entry: Entry, attribute: int = TYPE) -> Entry | None:
        """Return the entry of the type that an entry refers to; None is void."""
        form, value = entry.attributes.get(attribute, (0, None))
        if value is None:
            return None
        if entry.unit.owner is not self:
            return entry.unit.owner.type_of(entry, attribute)
        if form in SUPPLEMENTARY_REFERENCES and self.supplement:
            return self.supplement.entry(self.supplement._unit_at(value), value)
        if form in UNIT_REFERENCES:
            return self.entry(entry.unit, entry.unit.start + value)
        if form == SECTION_REFERENCE:
            return self.entry(self._unit_at(value), value)
        for unit in self.units if form == SIGNATURE else ():
            if unit.signature == value:
                return self.entry(unit, unit.start + unit.type_offset)
        raise WitnessError(f"{self.path}: its DWARF refers to a type that is not in this file")

    def name(self, entry: Entry) -> str:
        return self.text(entry, NAME)

    def text(self, entry: Entry, attribute: int) -> str:
        """Return an attribute that is a string, "" if there is none."""
        form, value = entry.attributes.get(attribute, (0, None))
        if value is None or form == 0x1F:  # a path in .debug_line_str
            return ""
        if entry.unit.owner is not self:
            return entry.unit.owner.text(entry, attribute)
        if form in INDEXED:
            place = self._base(entry.unit) + value * entry.unit.width
            value = self._number(self.str_offsets, place, entry.unit.width)
        data = self.info if form == STRING else self.str
        if form in SUPPLEMENTARY_STRINGS and self.supplement:
            data = self.supplement.str
        elif form not in (STRING, STRP, *INDEXED):
            raise WitnessError(f"{self.path}: its DWARF has names in another file (dwz)")
        return bytes(data[value : _end(data, value) - 1]).decode("ascii", "backslashreplace")

    def other_halves(self) -> Iterator[tuple[str, str]]:
        """Yield (folder, name) of each .dwo file that a unit was split into."""
        for unit in self.units:
            if not unit.skeleton:
                continue
            root = self.entry(unit, unit.first)
            for attribute in (DWO_NAME, GNU_DWO_NAME):
                if name := self.text(root, attribute):
                    yield self.text(root, COMP_DIR) or os.path.dirname(self.path), name

    def _units(self) -> Iterator[Unit]:
        at = 0
        while at + 12 <= len(self.info):
            start, width, body = at, 4, at + 4
            length = self._number(self.info, at, 4)
            if length == 0xFFFFFFFF:
                width, body, length = 8, at + 12, self._number(self.info, at + 4, 8)
            at = body + length
            if at > len(self.info) or length < 7:
                raise WitnessError(f"{self.path}: its DWARF is truncated: the unit at {start:#x}")
            yield self._unit(start, body, at, width)

    def _unit(self, start: int, at: int, end: int, width: int) -> Unit:
        word = WORDS[width]
        version, kind = struct.unpack_from(f"{self.order}HB", self.info, at)
        if not 2 <= version <= 5:
            raise WitnessError(f"{self.path}: DWARF of version {version}: known are 2 to 5")
        if version < 5:
            place, address = struct.unpack_from(f"{self.order}{word}B", self.info, at + 2)
            at += 3 + width
            is_type, skeleton = start >= self.types_start, self.gnu_split
        else:
            address, place = struct.unpack_from(f"{self.order}B{word}", self.info, at + 3)
            at += 4 + width
            # DW_UT_type, DW_UT_split_type; DW_UT_skeleton, DW_UT_split_compile have a dwo_id.
            is_type, skeleton = kind in (2, 6), kind == 4
            at += 8 if kind in (4, 5) else 0
        signature, offset = b"", 0
        if is_type:
            signature = bytes(self.info[at : at + 8])
            offset = self._number(self.info, at + 8, width)
            at += 8 + width
        sizes = (version, width, address, place)
        return Unit(start, at, end, *sizes, signature, offset, skeleton, self)

    def _unit_at(self, place: int) -> Unit:
        number = bisect_right(self.starts, place) - 1
        if number < 0 or place >= self.units[number].end:
            raise WitnessError(f"{self.path}: its DWARF is damaged: no unit at {place:#x}")
        return self.units[number]

    # Where the name is in .debug_info, or the offset of one of these strings.
    def _mentions(self, wanted: bytes, strings: list[int]) -> Iterator[int]:
        patterns = [wanted]
        for width in {unit.width for unit in self.units} if strings else ():
            packed = [struct.pack(self.order + WORDS[width], place) for place in strings]
            patterns.append(b"|".join(map(re.escape, packed)))
        for pattern in patterns:
            for count, start in enumerate(starts(pattern, self.info)):
                if count >= PLACES_MAX:
                    raise WitnessError(f"{self.path}: its DWARF has a name too often")
                yield start

    # The units whose names are indices into a table that has one of these strings.
    def _indexing(self, places: list[int]) -> Iterator[Unit]:
        hits = sorted(
            start
            for place in places
            for word in WORDS.values()
            for start in starts(re.escape(struct.pack(self.order + word, place)), self.str_offsets)
        )
        for unit in self.units if hits else ():
            base = self._base(unit)
            end = len(self.str_offsets)
            if unit.version >= 5 and unit.width == 4 and base >= 8:
                end = base - 4 + self._number(self.str_offsets, base - 8, 4)
            if bisect_left(hits, base) < bisect_left(hits, end):
                yield unit

    # (first byte, byte after) of each entry of a NAMED tag that begins before `last`. Only a walk
    # from the unit's first entry shows where entries begin.
    def _types(self, unit: Unit, last: int) -> Iterator[tuple[int, int]]:
        at, table, info = unit.first, self._table(unit), self.info
        for _ in range(ENTRIES_MAX):
            if at >= last:
                return
            start, code = at, info[at]
            code, at = (code, at + 1) if code < 0x80 else uleb(info, at)
            if code == 0:
                continue
            known = table[code]
            if known.size is not None:
                at += known.size
            else:
                for _, form, _ in known.attributes:
                    at = self._value(unit, form, at)[1] if form != IMPLICIT else at
            if known.tag in NAMED:
                yield start, at
        raise WitnessError(f"{self.path}: its DWARF has a unit of over {ENTRIES_MAX} entries")

    def _base(self, unit: Unit) -> int:
        default = 8 if unit.version >= 5 else 0
        if self.split:
            return default
        return self.entry(unit, unit.first).get(STR_OFFSETS_BASE) or default

    def _number(self, data: Any, at: int, width: int) -> int:
        return int(struct.unpack_from(self.order + WORDS[width], data, at)[0])

    def _table(self, unit: Unit) -> dict[int, Abbreviation]:
        key = (unit.abbreviations, unit.version, unit.width, unit.address)
        if key not in self._tables:
            table = dict(islice(_abbreviations(self.abbrev, unit), ABBREVIATIONS_MAX))
            self._known += len(table)
            if self._known > ABBREVIATIONS_MAX:
                raise WitnessError(f"{self.path}: its DWARF has more abbreviations than any")
            self._tables[key] = table
        return self._tables[key]

    def _value(self, unit: Unit, form: int, at: int) -> tuple[Any, int]:
        if form == INDIRECT:
            form, at = uleb(self.info, at)
        size = _size(unit, form)
        if size is not None:
            raw = self.info[at : at + size]
            if form == SIGNATURE:
                return bytes(raw), at + size
            # A flag without bytes is true by being present.
            return (int.from_bytes(raw, self.byteorder) if size else 1), at + size
        if form == STRING:
            return at, _end(self.info, at)
        if form in ULEB:
            return uleb(self.info, at)
        if form in SLEB:
            return _sleb(self.info, at)
        if form in BLOCKS:
            raw = self.info[at : at + BLOCKS[form]]
            length, at = int.from_bytes(raw, self.byteorder), at + BLOCKS[form]
        elif form in (0x09, 0x18):  # block, exprloc
            length, at = uleb(self.info, at)
        else:
            raise WitnessError(f"{self.path}: its DWARF has a form {form:#x}, which is not known")
        return self.info[at : at + length], at + length


# The number of bytes of a value of this form, None if it depends on its bytes.
def _size(unit: Unit, form: int) -> int | None:
    if form in OFFSETS:
        return unit.width
    if form == SECTION_REFERENCE:
        return unit.address if unit.version == 2 else unit.width
    return unit.address if form == 0x01 else FIXED.get(form)


_NUL = re.compile(b"\0")


# The offset after the string that begins here.
def _end(data: Any, at: int) -> int:
    found = _NUL.search(data, at)
    if not found:
        raise ValueError("a string without an end")
    return found.end()


def _abbreviations(data: Any, unit: Unit) -> Iterator[tuple[int, Abbreviation]]:
    at = unit.abbreviations
    while True:
        code, at = uleb(data, at)
        if code == 0:
            return
        tag, at = uleb(data, at)
        children, at, attributes = bool(data[at]), at + 1, []
        while True:
            attribute, at = uleb(data, at)
            form, at = uleb(data, at)
            implicit, at = _sleb(data, at) if form == IMPLICIT else (0, at)
            if attribute == form == 0:
                break
            attributes.append((attribute, form, implicit))
        sizes = [_size(unit, form) for _, form, _ in attributes]
        size = None if None in sizes else sum(filter(None, sizes))
        yield code, Abbreviation(tag, children, tuple(attributes), size)


def uleb(data: Any, at: int) -> tuple[int, int]:
    """Return an unsigned LEB128 number and the offset after it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 70:
            raise ValueError("a number of more than 64 bits")


def _sleb(data: Any, at: int) -> tuple[int, int]:
    value, end = uleb(data, at)
    bits = 7 * (end - at)
    return (value - (1 << bits) if data[end - 1] & 0x40 else value), end
