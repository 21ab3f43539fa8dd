"""``runstate race --family``: the readers and writers of a struct that a version guards."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from textwrap import wrap

from runstate_abi.layouts.exit_status import DIFFERENT, EQUAL, NOT_CHECKED, USAGE
from runstate_abi.tools import output
from runstate_abi.tools.options import add_format, address, count, family_name, nearest, new_parser
from runstate_abi.tools.output import Ink, Line, aligned, plain
from runstate_abi.tools.race import text, version_code, version_rows
from runstate_abi.tools.race.rows import refuse_signature
from runstate_abi.tools.race.version_rows import NOT_REACHED, Answered
from runstate_abi.writer.guest import CannotDrop
from runstate_abi.writer.race import TORN, race
from runstate_abi.writer.racing.drops import VERSION_DROPS, VERSION_READER_DROPS
from runstate_abi.writer.racing.patterns import A_B_A, INCREASING
from runstate_abi.writer.racing.symbols import UPDATES_MAX
from runstate_abi.writer.versions.meanings import meaning
from runstate_abi.writer.versions.readers import READERS
from runstate_abi.writer.versions.writers import WRITERS

AT = 0x1100  # a cache line in the guest's second page
SCHEMA = "runstate-race-family/1"


def main(argv: list[str], family: str) -> int:
    options = _parsed(argv, family)
    left_out: Counter[str] = Counter()
    if options.reader_object and family == "hyperv":
        print("runstate: --reader-object: code that gives up at 0 is not followed", file=sys.stderr)
        return NOT_CHECKED
    try:
        answered = list(version_rows.answers(options, left_out))
    except CannotDrop as error:
        print(f"runstate: {error}", file=sys.stderr)
        return USAGE
    if not answered:
        why = "these two never meet: other structs"
        if options.reader_object:
            why = version_code.nobody(version_rows.code_of(options), family)
        for line in tuple(text.not_asked(left_out)) or (why,):
            print(f"runstate: {line}", file=sys.stderr)
        return NOT_CHECKED
    if options.format == "html":
        return _page(options, answered, left_out)
    if options.format == "json":
        print(json.dumps([_as_json(one, family) for one in answered], indent=1))
        for line in text.not_asked(left_out):
            print(f"runstate: {line}", file=sys.stderr)
    else:
        output.write(_lines(answered, left_out), options.color)
    return _status(answered)


def _status(answered: Sequence[Answered]) -> int:
    return DIFFERENT if any(one.verdict == TORN for one in answered) else EQUAL


def _page(
    options: argparse.Namespace, answered: Sequence[Answered], left_out: Mapping[str, int]
) -> int:
    from runstate_abi.tools.race import player

    if len(answered) > 1 or left_out:
        print(f"runstate: {player.one_answer(len(answered), left_out)}", file=sys.stderr)
        return USAGE
    lines = player.lines(answered[0].row, _notes(answered[0]))
    return output.deliver(lines, options.output, None, "") or _status(answered)


def _as_json(one: Answered, family: str) -> dict[str, object]:
    """Return an answer as JSON values; ``trace`` is the execution, empty if there is none."""
    value = text.as_json(one.row)
    del value["abi"], value["hidden"]
    reach = one.meeting.unreachable
    return {
        "schema": SCHEMA,
        "family": family,
        "struct": one.meeting.writer.layout.name,
        **value,
        "versions": one.row.question.entry_times,
        "reader_summary": one.row.question.reader.summary,
        "machines": list(one.meeting.machines),
        "reachable": not reach,
        "unreachable_because": reach,
        "means": _means(one) if one.verdict == TORN else "",
        "writer_source": one.meeting.writer.source,
        "reader_source": one.meeting.reader.reader.source,
    }


# What the torn read means in time, by the members that are of different updates.
def _means(one: Answered) -> str:
    found = one.row.answer.found
    assert found is not None
    layout = one.row.question.area.shape.layout
    return meaning({r.name for r in layout.rows for at in found.witness if r.offset <= at < r.end})


def _lines(answered: Sequence[Answered], left_out: Mapping[str, int]) -> Iterator[Line]:
    """Yield one answer in words; of several a table for each struct and model, and what is torn."""
    if len(answered) == 1 and not left_out:
        yield from text.answer(answered[0].row)
        yield from _notes(answered[0])
        return
    tables: dict[str, list[Answered]] = {}
    for one in answered:
        tables.setdefault(f"{_struct(one)}, {one.meeting.model.name}", []).append(one)
    for title, rows in tables.items():
        yield Ink(f"{title}: ", "strong"), Ink(rows[0].meeting.model.summary)
        yield from plain(aligned(_grid(rows)))
        yield (Ink(""),)
    if any(one.cell == NOT_REACHED for one in answered):
        yield (Ink(f"{NOT_REACHED}: by the order of accesses, but these two never meet so", "dim"),)
    yield from _torn(answered)
    codes = dict.fromkeys(one.row.question.reader for one in answered if _is_code(one))
    yield from plain(f"{reader.name}: {reader.summary}" for reader in codes)
    yield from plain(islice(chain.from_iterable(map(_in_part, answered)), 1))
    yield from plain(text.not_asked(left_out))
    torn = sum(one.verdict == TORN for one in answered)
    yield (Ink(f"{len(answered)} questions: {len(answered) - torn} safe, {torn} torn"),)


def _struct(one: Answered) -> str:
    layout = one.meeting.writer.layout
    upper = " with sec_hi" if any(row.name == "sec_hi" for row in layout.rows) else ""
    return f"struct {layout.name}{upper}"


# Readers down and writers across: there are more readers.
def _grid(rows: Sequence[Answered]) -> list[list[str]]:
    cells = {(one.meeting.reader.name, one.meeting.writer.name): one.cell for one in rows}
    writers = dict.fromkeys(one.meeting.writer.name for one in rows)
    readers = dict.fromkeys(one.meeting.reader.name for one in rows)
    body = [[f"  {reader}", *(cells.get((reader, w), "-") for w in writers)] for reader in readers]
    return [["", *writers], *body]


# The first execution of each reader that is torn, in words.
def _torn(answered: Iterable[Answered]) -> Iterator[Line]:
    seen = set[str]()
    for one in answered:
        name = one.meeting.reader.name
        if one.verdict == TORN and name not in seen and not one.meeting.unreachable:
            seen.add(name)
            yield from text.told(one.row, race(one.row.question, one.row.answer))
            options = f"--variant {one.meeting.writer.name}"
            if not _is_code(one):
                options += f" --reader {name} --model {one.meeting.model.name}"
            words = f"all of the execution: {options}"
            yield from chain(_notes(one), plain((f"{text.BULLET}{words}", "")))


# A version that is compared in part counts to less.
def _in_part(one: Answered) -> Iterator[str]:
    shape, loads = one.row.question.area.shape, one.row.question.reader.loads
    word = shape.guard.word(shape.layout)
    compared = {at for load in loads if load.measured for at in load.measured.compared}
    low = next((n for n, at in enumerate(word) if at not in compared), len(word))
    if 0 < low < len(word):
        places = f"only the {8 * low} lowest bits of {shape.guard.name(shape.layout)} are compared"
        yield f"{places}: {1 << 8 * low - 1} updates in one read deceive it"


def _is_code(one: Answered) -> bool:
    return any(load.measured for load in one.row.question.reader.loads)


def _notes(one: Answered) -> Iterator[Line]:
    reader = one.row.question.reader
    notes = [f"writer: {one.meeting.writer.source}", f"reader: {reader.source}"]
    notes += [reader.summary, *_in_part(one)] if _is_code(one) else []
    if one.verdict == TORN:
        notes.insert(0, f"in time: {_means(one)}")
        notes += [f"it cannot happen: {one.meeting.unreachable}"] * bool(one.meeting.unreachable)
    for note in notes:
        first, *rest = wrap(note, text.WIDTH - len(text.BULLET))
        yield Ink(text.BULLET, "dim"), Ink(first)
        yield from plain(" " * len(text.BULLET) + line for line in rest)


_SUMMARY = "Can a guest that checks the version accept what was never true?"
_ABOUT = """\
Without options: every public writer of the family's structs, read by Linux, on the machines where
they meet. --all asks every pair of a writer and a reader of the same struct on both memory models;
a verdict in parentheses is of a pair that never meets so. One question is answered in words, with
the execution.

With --reader-object a guest's reader is asked as its compiler made it. Which struct it reads is the
type of its first pointer to const, or --struct. It accepts when it returns after its loads; if it
returns an integer and has a pointer for the result, when it returns what it returns if nothing
changes. The time stamp counter always says the same. On Arm only barriers and load-acquires order
loads: an address that depends on a load, and isb, are not taken for an order.
"""
_EXAMPLES = """\
examples:
  runstate race --family pvclock                                 who writes, read by Linux
  runstate race --family pvclock --all --json                    every pair, as a list
  runstate race --family pvclock --variant xen-wallclock --reader osv-wallclock --model x86-tso
  runstate race --family steal_time --variant kvm-riscv32-steal --model weak
  runstate race --family pvclock --drop odd-check                without looking at the lowest bit
  runstate race --family pvclock --reader-object guest.o:read_time   what a compiler made of one
  runstate race --family steal_time --reader-object vmlinuz:kvm_steal_clock  a shipped kernel's
  runstate race --family pvclock --reader-object vmlinuz:vread_pvclock       its vDSO's

exit status: 0 every answer is safe, 1 one is torn, 2 wrong usage, 3 nothing could be asked"""


def parser(family: str) -> argparse.ArgumentParser:
    made = new_parser("race", _SUMMARY, _epilog(family))
    add = made.add_argument
    add("--family", type=family_name, metavar="NAME", help=f"{family}: whose writers and readers")
    add("--all", action="store_true", help="every writer, reader and model")
    add("--variant", metavar="WRITER", help="who writes (default: all)")
    add("--reader", metavar="READER", help="who reads (default: all)")
    add("--model", choices=("x86-tso", "weak"), help="the memory model (default: both)")
    add("--at", metavar="GPA", type=address, default=AT, help=f"the address (default: {AT:#x})")
    number, most = range(1, UPDATES_MAX + 1), UPDATES_MAX
    often = f"updates while the guest reads once, at most {most} (default: 1)"
    add("--updates", metavar="N", type=count, choices=number, default=1, help=often)
    times = f"how the version changes (default: {INCREASING})"
    add("--versions", choices=list(text.VERSIONS), default=INCREASING, help=times)
    guest = "the reader is this function's machine code: in an object, a program or a kernel"
    add("--reader-object", metavar="FILE:FUNCTION", default="", help=guest)
    types = "its C signature, if there is no DWARF: 'u64 f(const void *area)'"
    add("--signature", metavar="TEXT", default="", help=types)
    symbol = "the object that it reads, or its address, if it is no parameter"
    add("--area", metavar="OBJECT", default="", help=symbol)
    structs = ", ".join(version_code.STRUCTS[family])
    which = f"the struct that it reads: {structs} (default: its parameter's type, or the first)"
    add("--struct", metavar="NAME", help=which)
    where = "the struct is so many bytes behind the pointer or in the object (default: 0)"
    add("--offset", metavar="BYTES", type=count, default=0, help=where)
    player_to = "where the page of --format html goes (default: -, stdout)"
    drops = [*VERSION_DROPS, *VERSION_READER_DROPS]
    without = "leave away a step of writer or reader (repeatable)"
    add("--drop", metavar="STEP", choices=drops, action="append", help=without)
    add_format(made, "text", "json", "html")
    add("-o", "--output", metavar="FILE", default="-", help=player_to)
    add("--color", choices=output.CHOICES, default="auto", help="auto: on a terminal")
    return made


def _epilog(family: str) -> str:
    writers = {one.name: f"{one.summary} ({one.layout.name})" for one in WRITERS[family]}
    readers = {one.name: one.reader.summary for one in READERS[family]}
    parts = (
        _ABOUT,
        *text.listed("WRITER:", writers),
        *text.listed("READER:", readers),
        *text.listed("--versions:", text.VERSIONS),
        *text.listed("STEP:", VERSION_DROPS | VERSION_READER_DROPS),
        "",
        _EXAMPLES,
    )
    return "\n".join(parts)


def _parsed(argv: list[str], family: str) -> argparse.Namespace:
    made = parser(family)
    options = made.parse_args(argv)
    for option, known in (("variant", WRITERS[family]), ("reader", READERS[family])):
        name, names = getattr(options, option), [one.name for one in known]
        if name is not None and name not in names:
            made.error(f"--{option} {name}: {family} has none{nearest(name, names)}")
    if options.output != "-" and options.format != "html":
        made.error("-o: the page of --format html")
    structs = version_code.STRUCTS[family]
    if options.struct is not None and options.struct not in structs:
        made.error(
            f"--struct {options.struct}: none that a reader is asked of"
            f"{nearest(options.struct, structs)}"
        )
    if options.reader_object and not options.reader_object.rpartition(":")[0]:
        made.error(f"{options.reader_object}: which function? FILE:FUNCTION")
    if options.reader_object and (options.reader or options.model or options.all):
        made.error("--reader-object is a reader, on its machine: no --reader, --model or --all")
    refuse_signature(made, options.signature)
    of_code = options.signature, options.area, options.struct, options.offset
    if not options.reader_object and any(of_code):
        made.error("--signature, --area, --struct and --offset are of --reader-object")
    if options.versions == A_B_A and options.updates < 2:
        made.error("a version comes back after two updates: --updates 2")
    return options
