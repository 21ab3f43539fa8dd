"""``runstate race --family``: the readers and writers of a struct that a version guards."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator

from runstate_abi.layouts.exit_status import DIFFERENT, EQUAL, NOT_CHECKED, USAGE
from runstate_abi.tools import output
from runstate_abi.tools.options import add_format, address, count, family_name, nearest, new_parser
from runstate_abi.tools.race import text, version_code, version_text
from runstate_abi.tools.race.rows import Row
from runstate_abi.tools.race.version_text import Answered
from runstate_abi.writer.guest import CannotDrop
from runstate_abi.writer.race import TORN, Question, ask, of_version
from runstate_abi.writer.racing.drops import VERSION_DROPS, VERSION_READER_DROPS
from runstate_abi.writer.racing.patterns import A_B_A, INCREASING
from runstate_abi.writer.racing.symbols import UPDATES_MAX
from runstate_abi.writer.versions.parties import Meeting, meetings
from runstate_abi.writer.versions.place import Place
from runstate_abi.writer.versions.readers import READERS
from runstate_abi.writer.versions.writers import WRITERS

AT = 0x1100  # a cache line in the guest's second page
LINUX = "linux-"


def main(argv: list[str], family: str) -> int:
    options = _parsed(argv, family)
    left_out: Counter[str] = Counter()
    try:
        answered = list(_answers(options, left_out))
    except CannotDrop as error:
        print(f"runstate: {error}", file=sys.stderr)
        return USAGE
    if not answered:
        for line in tuple(text.not_asked(left_out)) or ("these two never meet: other structs",):
            print(f"runstate: {line}", file=sys.stderr)
        return NOT_CHECKED
    if options.format == "json":
        print(json.dumps([version_text.as_json(one, family) for one in answered], indent=1))
        for line in text.not_asked(left_out):
            print(f"runstate: {line}", file=sys.stderr)
    else:
        output.write(version_text.lines(answered, left_out), options.color)
    return DIFFERENT if any(one.verdict == TORN for one in answered) else EQUAL


def _answers(options: argparse.Namespace, left_out: Counter[str]) -> Iterator[Answered]:
    dropped = tuple(dict.fromkeys(options.drop or ()))
    if options.reader_object:
        named = options.reader_object, options.signature, options.area, options.struct
        chosen = list(version_code.meetings_of(version_code.Code(*named), options.family))
    else:
        chosen = list(meetings(WRITERS[options.family], READERS[options.family]))
    if not (options.all or options.reader_object or _names(options)):
        chosen = [m for m in chosen if m.reader.name.startswith(LINUX) and m.is_usual]
    for meeting in chosen:
        if _is_wanted(meeting, options):
            yield from _answer(meeting, options, dropped, left_out)


def _names(options: argparse.Namespace) -> bool:
    return bool(options.variant or options.reader or options.model)


def _is_wanted(meeting: Meeting, options: argparse.Namespace) -> bool:
    return (
        options.variant in (None, meeting.writer.name)
        and options.reader in (None, meeting.reader.name)
        and options.model in (None, meeting.model.name)
    )


# A step that the only writer or reader asked for has not is an error, one of many is counted.
def _answer(
    meeting: Meeting, options: argparse.Namespace, dropped: tuple[str, ...], left_out: Counter[str]
) -> Iterator[Answered]:
    place = Place(meeting.writer.layout, "native", options.at)
    times = options.updates, options.versions
    pair = of_version(meeting.writer), meeting.reader.reader
    question = Question(*pair, meeting.model, place, *times, None, dropped)
    try:
        yield Answered(meeting, Row(question, "", ask(question)))
    except CannotDrop as error:
        if options.variant and options.reader:
            raise
        left_out[str(error)] += 1


_SUMMARY = "Can a guest that checks the version accept what was never true?"
_ABOUT = """\
Without options: every public writer of the family's structs, read by Linux, on the machines where
they meet. --all asks every pair of a writer and a reader of the same struct on both memory models;
a verdict in parentheses is of a pair that never meets so. One question is answered in words, with
the execution.
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
    add(
        "--struct", metavar="NAME", help=f"the struct that it reads: {structs} (default: the first)"
    )
    drops = [*VERSION_DROPS, *VERSION_READER_DROPS]
    without = "leave away a step of writer or reader (repeatable)"
    add("--drop", metavar="STEP", choices=drops, action="append", help=without)
    add_format(made, "text", "json")
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
    if options.reader_object and family == "hyperv":
        made.error("--reader-object: code that gives up at 0 cannot be followed yet")
    if not options.reader_object and (options.signature or options.area or options.struct):
        made.error("--signature, --area and --struct are of --reader-object")
    if options.versions == A_B_A and options.updates < 2:
        made.error("a version comes back after two updates: --updates 2")
    return options
