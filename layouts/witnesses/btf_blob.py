"""A BTF blob: its strings, and where the record of each type begins.

A kernel's BTF has 130,000 records of different lengths and no index; making objects of them all
takes 50 ms. So this reader searches for bytes, and walks from record to record only to find out
whether a record begins where they were found. It remembers where every 64th record begins.
"""

import re
import struct
import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.witnesses import btf_header as form
from runstate_abi.layouts.witnesses.compressed import Buffer, found_at, starts

SIZE_MAX = 256 << 20  # an allyesconfig kernel's BTF is below 64 MiB
NAME_MAX = 1024  # the kernel's own KSYM_NAME_LEN is 512
GIVE_BASE = "give the vmlinux (or its BTF) that this module was built against"
RECORD = 3  # words of a record before what its kind adds: name_off, info, size or type
STRIDE = 64

# Split BTF continues the type and string numbers of its base, but does not name the base. With the
# wrong base, its names begin inside strings, and its functions' types are no prototypes. So the
# names of this many types, evenly spread, are checked. The strings have 15 bytes on average, so one
# wrong name in fifteen passes by chance.
SAMPLES = 128
# Kinds whose third word is the id of a type.
REFERRING = (
    form.PTR, form.TYPEDEF, form.VOLATILE, form.CONST, form.RESTRICT,
    form.FUNC, form.VAR, form.DECL_TAG, form.TYPE_TAG,
)  # fmt: skip
# The kinds that a type of a distilled base may stand for.
ALIKE = {
    form.INT: (form.INT,), form.FLOAT: (form.FLOAT,),
    form.STRUCT: (form.STRUCT,), form.UNION: (form.UNION,), form.FWD: (form.STRUCT, form.UNION),
    form.ENUM: (form.ENUM, form.ENUM64), form.ENUM64: (form.ENUM, form.ENUM64),
}  # fmt: skip

# If there are more, one pass over all records is cheaper than confirming each place that was found.
# FEW also limits how many lengths are remembered: kernels have 300 different info words.
FEW_STRINGS, FEW = 8, 4096


class Record(NamedTuple):
    """One type. ``size`` is in bytes, or the id of another type if the kind refers to one."""

    blob: "Btf"
    number: int  # in its blob, from 0 on
    name_offset: int
    kind: int
    flag: int
    vlen: int
    size: int
    parts: list[int]  # the words after the first three

    @property
    def id(self) -> int:
        return self.blob.first_id + self.number

    @property
    def name(self) -> str:
        """The type's name, empty if it has none (WitnessError)."""
        return self.blob.string(self.name_offset)

    @property
    def kind_name(self) -> str:
        return self.blob.kinds[self.kind].name


class Btf:
    """One blob, alone or split: then its types and strings are numbered after its base's.

    It remembers how far it has walked. It walks its base to the end only to know its own first id.
    ``distilled`` marks the .BTF.base section of a module, whose structs have no members and define
    nothing. ``note`` says to the user how it was read.
    """

    def __init__(
        self, data: Buffer, base: "Btf | None" = None, source: str = "BTF", distilled: bool = False
    ) -> None:
        """Check the header, the strings and whether the base fits (WitnessError)."""
        if len(data) > SIZE_MAX:
            raise WitnessError(f"{source}: {len(data)} bytes of BTF; no kernel has so much")
        header = form.header(data, source)
        self.source, self.base, self.distilled, self.note = source, base, distilled, ""
        self.order = header.order
        self.kinds = form.kinds(data, header, source)
        # The types are read in place; the strings are copied, because a view has no find().
        self.types = memoryview(data)[slice(*header.types)]
        self.strings = bytes(memoryview(data)[slice(*header.strings)])
        self.words = _words(self.types, self.order)
        self._marks, self._count, self._lengths = [0], -1, dict[int, int]()
        self._known = dict[bytes, tuple[set[int], list[Record]]]()
        _check_strings(self)
        self.first_string: int = base.first_string + len(base.strings) if base else 0
        self._first_id = None if base else 1
        for record in self._sample() if base else ():
            if base and not self.begins_string(record.name_offset):
                raise self._no_fit(base, f"no name begins at {record.name_offset:#x}")

    @property
    def first_id(self) -> int:
        """The id of this blob's first type. A base is walked once for it (WitnessError)."""
        if self._first_id is None and self.base:
            self._first_id = self.base.end_id()
            end = self.end_id()
            for record in self._sample():
                if record.kind in REFERRING and record.size >= end:
                    raise self._no_fit(self.base, f"it refers to type {record.size} of {end - 1}")
                if record.kind == form.FUNC and not (
                    record.size and self.record(record.size).kind == form.FUNC_PROTO
                ):
                    why = f"type {record.size} is no function prototype"
                    raise self._no_fit(self.base, why)
        return self._first_id or 1

    def end_id(self) -> int:
        """Return the id after the last one. This walks the whole blob (WitnessError)."""
        return self.first_id + self._counted()

    def record(self, id_: int) -> Record:
        """Return the type with this id, from this blob or its base (WitnessError)."""
        if self.base and self.base.reaches(id_):
            return self.base.record(id_)
        number = id_ - self.first_id
        if not self.reaches(id_):
            raise WitnessError(f"{self.source}: there is no BTF type {id_}")
        at = self._marks[number // STRIDE]
        for _ in range(number % STRIDE):
            at += self.length(at)
        return self._record(number, at)

    def reaches(self, id_: int) -> bool:
        """Has this blob or its base a type with this id? 0 is void, which is no type."""
        if self.base and self.base.reaches(id_):
            return True
        number = id_ - self.first_id
        if number >= 0:
            self._walk(0, number)
        return number >= 0 and not number >= self._count >= 0

    def string(self, offset: int) -> str:
        """Return the name at ``offset``, from this blob or its base (WitnessError)."""
        if self.base and offset < self.first_string:
            return self.base.string(offset)
        start = offset - self.first_string
        end = self.strings.find(b"\0", start, start + NAME_MAX)
        if start >= len(self.strings) or end < 0:
            raise WitnessError(f"{self.source}: there is no BTF string at {offset:#x}")
        name = self.strings[start:end].decode("ascii", "backslashreplace")
        if not name.isprintable():
            raise WitnessError(f"{self.source}: the BTF string at {offset:#x} is not a name")
        return name

    def begins_string(self, offset: int) -> bool:
        """Does a string begin at ``offset``, and not inside another?"""
        if self.base and offset < self.first_string:
            return self.base.begins_string(offset)
        start = offset - self.first_string
        return start < len(self.strings) and (start == 0 or self.strings[start - 1] == 0)

    def named(self, name: str) -> list[Record]:
        """Return every type of this name, the base's first, but none of a distilled base's."""
        return list(self._named(name.encode() + b"\0")[1])

    # (offsets of the name among the strings seen so far, types of that name). Kept, because a
    # module asks its base what the base was asked itself.
    def _named(self, name: bytes) -> tuple[set[int], list[Record]]:
        if name not in self._known:
            self._known[name] = self._looked_up(name)
        return self._known[name]

    def _looked_up(self, name: bytes) -> tuple[set[int], list[Record]]:
        before = self.base._named(name) if self.base else (set(), [])
        offsets, records = set(before[0]), list(before[1])
        # A string may be the tail of another, so every occurrence counts.
        offsets |= {self.first_string + at for at in found_at(name, self.strings)}
        if not self.distilled:
            places = self._places(offsets) if len(offsets) <= FEW_STRINGS else None
            if places is None:
                found = ((n, at) for n, at in self.starts() if self.words[at] in offsets)
            else:
                found = ((n, at) for at in places if (n := self._number_at(at)) is not None)
            records += [self._record(number, at) for number, at in found]
        return offsets, records

    def starts(self) -> Iterator[tuple[int, int]]:
        """Yield (number, first word) of every type of this blob alone."""
        at = 0
        for number in range(self._counted()):
            yield number, at
            at += self.length(at)

    # About SAMPLES types of this blob alone, evenly spread; all if they are few.
    def _sample(self) -> Iterator[Record]:
        every = max(1, self._counted() // SAMPLES)
        if every < STRIDE:
            return (
                self._record(number, at) for number, at in islice(self.starts(), 0, None, every)
            )
        blocks = range(0, -(-self._counted() // STRIDE), every // STRIDE)
        return (self._record(block * STRIDE, self._marks[block]) for block in blocks)

    def lacking(self, base: "Btf") -> list[str]:
        """Return which types of this distilled base ``base`` does not have.

        By name, kind and size, as tools/lib/bpf/btf_relocate.c looks for them. WitnessError if one
        has another size there, or if most are not there: it is another kernel.
        """
        wanted = [r for r in self._sample() if r.kind in ALIKE and r.name]
        lacking = []
        for record in wanted:
            text = f"{record.kind_name} {record.name}"
            there = [one for one in base.named(record.name) if one.kind in ALIKE[record.kind]]
            if not there:
                lacking.append(text)
            elif record.kind != form.FWD and record.size not in {one.size for one in there}:
                raise self._no_fit(base, f"its {text} has {there[0].size} bytes, not {record.size}")
        if 2 * len(lacking) > len(wanted):
            raise self._no_fit(base, f"it has no {lacking[0]}")
        return lacking

    def _no_fit(self, base: "Btf", why: str) -> WitnessError:
        return WitnessError(f"{self.source}: {base.source} is the wrong base ({why}): {GIVE_BASE}")

    # The number of types in this blob alone. This walks it to its end.
    def _counted(self) -> int:
        self._walk(sys.maxsize, 0)
        return self._count

    # Words where a record with one of these names may begin; None if they are too many.
    def _places(self, offsets: set[int]) -> list[int] | None:
        places: list[int] = []
        for offset in offsets:
            # bytes.find() takes four times as long: it looks for the last byte first, a zero.
            for start in starts(re.escape(struct.pack(self.order + "I", offset)), self.types):
                at, rest = divmod(start, form.WORD)
                if not rest and at + 1 < len(self.words) and self.words[at + 1] > form.VLEN:
                    places.append(at)
                if len(places) > FEW:
                    return None
        return sorted(places)

    # The number of the record that begins at word `at`, None if that is inside a record.
    def _number_at(self, at: int) -> int | None:
        self._walk(at, 0)
        here, number = self._step(bisect_right(self._marks, at) - 1, at)
        return number if here == at else None

    def _record(self, number: int, at: int) -> Record:
        end = at + self.length(at)
        if end > len(self.words):
            raise self._overrun(number)
        name_offset, info, size, *parts = self.words[at:end].tolist()
        kind, flag = info >> form.KIND_SHIFT & form.KIND, info >> form.FLAG_SHIFT
        return Record(self, number, name_offset, kind, flag, info & form.VLEN, size, parts)

    def length(self, at: int) -> int:
        """Return the length in words of the record that begins at word ``at`` (WitnessError)."""
        info = self.words[at + 1]
        return self._lengths.get(info) or self._learn(info, at)

    # The inner loop of every search: one lookup of a record's info word gives its length. It
    # continues until a mark is after word `at` and after record `number`, or to the end of the
    # section. Four records per round, because the loop itself would cost a third.
    def _walk(self, at: int, number: int) -> None:
        marks, words, lengths = self._marks, self.words, self._lengths
        info = marks[-1] + 1
        try:
            while self._count < 0 and (marks[-1] <= at or len(marks) * STRIDE <= number + STRIDE):
                try:
                    for _ in range(STRIDE // 4):
                        info += lengths[words[info]]
                        info += lengths[words[info]]
                        info += lengths[words[info]]
                        info += lengths[words[info]]
                    marks.append(info - 1)
                except KeyError:
                    self._learn(words[info], info - 1)
                    info = marks[-1] + 1
        except IndexError:
            # There are no more words: the last record must end where they do.
            at, number = self._step(len(marks) - 1, len(words) - 1)
            if at != len(words):
                raise self._overrun(number - (at > len(words))) from None
            self._count = number

    # A hostile blob may have a new info word in every record: it must not fill the memory.
    def _learn(self, info: int, at: int) -> int:
        kind = info >> form.KIND_SHIFT & form.KIND
        if kind == form.UNKN or kind >= len(self.kinds):
            _, number = self._step(len(self._marks) - 1, at)
            where = f"{self.source}: BTF type {self.first_id + number} is of kind {kind}"
            raise WitnessError(f"{where}, which is not known, and no layout section describes it")
        if len(self._lengths) > FEW:
            self._lengths.clear()
        _, once, each = self.kinds[kind]
        self._lengths[info] = length = RECORD + (once + each * (info & form.VLEN)) // form.WORD
        return length

    # From mark number `block` to word `at` or after it: that word, and the number of its record.
    def _step(self, block: int, at: int) -> tuple[int, int]:
        here, number = self._marks[block], block * STRIDE
        while here < at:
            here += self.length(here)
            number += 1
        return here, number

    def _overrun(self, number: int) -> WitnessError:
        type_ = f"BTF type {self.first_id + number}"
        return WitnessError(f"{self.source}: {type_} ends behind the type section")


# A view can be cast to words of this machine's byte order, if it is not empty.
def _words(types: memoryview, order: str) -> "memoryview[int] | array[int]":
    native = (order == "<") == (sys.byteorder == "little")
    if types and native:
        return types.cast("I")
    words = array("I", types.tobytes())
    if not native:
        words.byteswap()
    return words


def _check_strings(blob: Btf) -> None:
    split = blob.strings[:1] != b"\0"
    if split and blob.base is None:
        raise WitnessError(f"{blob.source}: split BTF: {GIVE_BASE}")
    if blob.base and not split:
        raise WitnessError(f"{blob.source}: not split BTF: it builds on no other")
    if blob.base and blob.base.order != blob.order:
        raise WitnessError(f"{blob.source}: another byte order than {blob.base.source}")
    if blob.strings and blob.strings[-1]:
        raise WitnessError(f"{blob.source}: its BTF strings do not end with a NUL")
