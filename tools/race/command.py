"""``runstate race``: can a guest that follows a protocol accept what was never true?"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from textwrap import fill

from runstate_abi.layouts.exit_status import DIFFERENT, EQUAL, NOT_CHECKED, USAGE
from runstate_abi.tools import output
from runstate_abi.tools.options import (
    add_format,
    add_writers,
    address,
    count,
    new_parser,
    refuse_families,
    version_family,
)
from runstate_abi.tools.output import Line
from runstate_abi.tools.race import rows, text
from runstate_abi.tools.race.rows import Row
from runstate_abi.writer import race
from runstate_abi.writer.guest import READER, READERS, CannotDrop
from runstate_abi.writer.racing.drops import READER_DROPS, WRITER_DROPS
from runstate_abi.writer.racing.ordering import GRAINS, MEASURED_GRAIN, MODEL, MODELS
from runstate_abi.writer.racing.patterns import A_B_A, ENTRY_TIMES, INCREASING
from runstate_abi.writer.racing.symbols import UPDATES_MAX
from runstate_abi.writer.variants import VARIANT, Refused
from runstate_abi.writer.vcpu import SHAPES


def main(argv: list[str]) -> int:
    family = version_family(argv)
    if family:
        from runstate_abi.tools.race import of_family

        return of_family.main(argv, family)
    options = parsed(argv)
    try:
        if options.emit_reader:
            return _emit(options)
        left_out: Counter[str] = Counter()
        return _show(options, _rows(options, left_out), left_out)
    except (CannotDrop, Refused) as error:
        print(f"runstate: {error}", file=sys.stderr)
        return NOT_CHECKED if isinstance(error, Refused) else USAGE


def _rows(options: argparse.Namespace, left_out: Counter[str]) -> Iterator[Row]:
    named = (options.variant, options.reader, options.model, options.abi, options.at)
    dropped = tuple(dict.fromkeys(options.drop or ()))
    asked = rows.Wanted(*named, options.updates, options.entry_times, dropped, options.grain)
    code = _code(options, options.reader_object) if options.reader_object else None
    if options.recorded:
        return rows.of_recording(options.recorded, asked, left_out)
    if options.kernel:
        return rows.of_kernel(options.kernel, options.btf, asked, options.all, left_out, code)
    if code:
        return rows.of_code(code, asked, left_out)
    return (rows.shipped if options.nothing_named else rows.rows)(asked, left_out)


def _code(options: argparse.Namespace, what: str) -> rows.Code:
    return rows.Code(what, options.signature, options.area)


# A reader as the row of writer/guest.py that it would be, to be kept in a test.
def _emit(options: argparse.Namespace) -> int:
    found, _ = rows.reader_of(_code(options, options.emit_reader), options.abi)
    output.write(output.plain(text.as_python(found.reader)))
    return EQUAL


def _show(options: argparse.Namespace, answers: Iterator[Row], left_out: Counter[str]) -> int:
    answered: list[Row] = []
    values: list[dict[str, object]] = []
    seen: set[str] = set()
    with output.Bar(rows.writers(options.variant), "asking") as bar:
        for row in answers:
            bar.at(len(seen), f"{len(answered)} answers, {row.writer}")
            seen.add(row.writer)
            answered.append(row)
            if options.format == "json":
                values.append(text.as_json(row))
    if not answered:
        nothing = ("no writer takes this area, or none has this step",)
        for line in tuple(text.not_asked(left_out)) or nothing:
            print(f"runstate: {line}", file=sys.stderr)
        return NOT_CHECKED
    if options.format == "html":
        return _page(options, answered, left_out)
    if options.format == "json":
        writers = {row.question.writer for row in answered}
        stores = {writer.name: writer.flag_stores for writer in writers if writer.flag_stores}
        document = {"schema": text.SCHEMA, "answers": values, "not_asked": dict(left_out)}
        document |= {"flag_stores": stores} if stores else {}
        print(json.dumps(document, indent=1))
        for line in (*text.not_asked(left_out), *rows.not_shown(answered)):
            print(f"runstate: {line}", file=sys.stderr)
    else:
        output.write(_lines(answered, left_out, options.rows), options.color)
    return _status(answered)


def _page(options: argparse.Namespace, answered: Sequence[Row], left_out: Counter[str]) -> int:
    from runstate_abi.tools.race import player

    if len(answered) > 1 or left_out:
        print(f"runstate: {player.one_answer(len(answered), left_out)}", file=sys.stderr)
        return USAGE
    lines = player.lines(answered[0])
    return output.deliver(lines, options.output, None, "") or _status(answered)


def _status(answered: Sequence[Row]) -> int:
    return DIFFERENT if any(row.verdict == race.TORN for row in answered) else EQUAL


# One answer in words; several as the shortest table that distinguishes them.
def _lines(answered: Sequence[Row], left_out: Counter[str], in_full: bool) -> Iterator[Line]:
    if len(answered) == 1 and not left_out and not in_full:
        return text.answer(answered[0])
    table = text.summary if text.is_tabular(answered) and not in_full else text.in_full
    return chain(table(answered, left_out), text.first_torn(answered))


# smp_wmb() is barrier() in arch/x86/include/asm/barrier.h: only the compiler sees it.
_NO_BARRIERS = (
    "--kernel is x86 code, in which a barrier leaves no instruction: where a weak machine would "
    "need one is in the source alone (--variant upstream)"
)
WIDTH = 78

HTML_TO = "where the page of --format html goes (default: -, stdout)"
_SUMMARY = "Can a guest that follows a protocol accept what was never true?"
_ABOUT = """\
Without options: KVM's newest writer, read by 64-bit Linux on both memory models and by 32-bit
Linux on x86-tso, at every placement that matters. An option that names a writer, reader, model,
struct or address asks about it, and about every value of what is not named; --all asks about
everything. One question is answered in words: a proof, or the execution. Many are answered by a
table, writers down and readers across.

With --kernel a kernel's code is asked, read by Linux (--all: by every reader), and the answer says
by which stores it puts the flag up and down. x86 code has no barriers: --model weak is for the
versions whose source is here.

With --reader-object a guest's reader is asked as its compiler made it, by the writers of today: KVM
and Xen. The area is the function's first pointer to const, or its first pointer, or the object
--area. It accepts when it returns after its loads; if it returns an integer and has a pointer for
the result, when it returns what it returns if nothing changes. The answer is about this machine
code: a barrier of the source that left it as it is makes no difference. A kernel's own variables
are taken as the file has them. Of Linux's own readers, xen_steal_clock() for one, --area and the
signature are known; a vmlinuz without a table of symbols is read by its kallsyms.
"""
_EXAMPLES = """\
examples:
  runstate race                                              the newest writer, read by Linux
  runstate race --all                                        every writer and reader, as a table
  runstate race --variant linux-6.1 --reader linux-64 --model x86-tso --abi compat --at 0x1038
  runstate race --variant upstream --reader linux-64 --model weak --at 0x1000 --drop wmb-set
  runstate race --reader-object guest.o:read_runstate        what gcc made of a guest's reader
  runstate race --recorded stores.jsonl --reader linux-64    what a real kernel was seen to store
  runstate race --reader-object vmlinuz:xen_steal_clock      a guest kernel as it is shipped
  runstate race --reader-object guest.o:f --kernel kvm.ko    and a kernel's, no model between
  runstate race --kernel kvm.ko.xz --btf vmlinuz             the code of a kernel, read by Linux
  runstate race --variant linux-6.1 --reader linux-32 --model x86-tso --abi compat --at 0x1038 \\
    --format html -o torn.html                               a page to attach to a review

exit status: 0 every answer is safe, 1 one is torn, 2 wrong usage, 3 nothing could be asked"""


def parsed(argv: list[str]) -> argparse.Namespace:
    """Return the options; wrong usage exits 2 with one line."""
    made = parser()
    options = made.parse_args(argv)
    refuse_families(made, options)
    # What argparse cannot check.
    if options.output != "-" and options.format != "html":
        made.error("-o: the page of --format html")
    if options.entry_times == A_B_A and options.updates < 2:
        made.error("an entry time comes back after two updates: --updates 2")
    if options.btf and not options.kernel:
        made.error("--btf is the types of --kernel")
    if options.all and options.recorded:
        made.error("--recorded is one writer: no --all")
    if options.kernel and (options.variant or options.recorded):
        made.error("--kernel is a writer: no --variant or --recorded")
    if options.kernel and options.model and MODEL[options.model].barriers:
        made.error(f"--model {options.model}: {_NO_BARRIERS}")
    if options.recorded and (options.variant or options.at is not None or options.abi):
        made.error("--recorded says itself who wrote where")
    for one in filter(None, (options.reader_object, options.emit_reader)):
        if not one.rpartition(":")[0]:
            made.error(f"{one}: which function? FILE:FUNCTION")
    if options.reader_object and (options.reader or options.model or options.all):
        made.error("--reader-object is a reader, on its machine: no --reader, --model or --all")
    if options.recorded and options.reader_object:
        made.error("--recorded is read by the model's readers: no --reader-object")
    if (options.signature or options.area) and not (options.reader_object or options.emit_reader):
        made.error("--signature and --area are of --reader-object")
    rows.refuse_signature(made, options.signature)
    if options.recorded and options.model:
        made.error("--recorded stores are in the order that they have: no --model")
    named = options.variant or options.reader or options.model or options.abi
    options.nothing_named = not (options.all or named or options.at is not None)
    return options


def parser() -> argparse.ArgumentParser:
    made = new_parser("race", _SUMMARY, _epilog())
    add_writers(made)
    add = made.add_argument
    add("--all", action="store_true", help="every writer, reader, model and placement")
    writers, who = list(VARIANT), "which version of the update writes (default: all)"
    add("--variant", metavar="WRITER", choices=writers, help=who)
    readers, how = list(READER), "which protocol the guest reads by (default: all)"
    add("--reader", metavar="READER", choices=readers, help=how)
    models = [model.name for model in MODELS if not model.recorded]
    add("--model", choices=models, help="the memory model (default: both)")
    abis = "the guest's struct: of 64 or of 32 bits (default: both)"
    add("--abi", choices=list(SHAPES), help=abis)
    where = "the area's guest-physical address (default: wherever it matters)"
    add("--at", metavar="GPA", type=address, help=where)
    number, most = range(1, UPDATES_MAX + 1), UPDATES_MAX
    often = f"updates while the guest reads once, at most {most} (default: 1)"
    add("--updates", metavar="N", type=count, choices=number, default=1, help=often)
    times = f"how state_entry_time changes (default: {INCREASING})"
    add("--entry-times", choices=list(ENTRY_TIMES), default=INCREASING, help=times)
    drops = [*WRITER_DROPS, *READER_DROPS]
    without = "leave away a step of writer or reader (repeatable)"
    add("--drop", metavar="STEP", choices=drops, action="append", help=without)
    default = MEASURED_GRAIN
    whole = "x86-tso, --recorded: an access within an aligned block of so many bytes does not "
    whole += f"tear: {', '.join(map(str, GRAINS))} (default: {default})"
    add("--grain", metavar="BYTES", type=count, choices=GRAINS, default=default, help=whole)
    add("--recorded", metavar="FILE", help="the writer is a recording: JSON Lines of stores")
    code = "the writer is the code of this kvm.ko, emulated as by judge, on x86-tso"
    add("--kernel", metavar="BINARY", help=code)
    types = "with --kernel: the vmlinux or vmlinuz it was built with"
    add("--btf", metavar="FILE", default="", help=types)
    guest = "the reader is this function's machine code: in an object, a program, a vmlinux or a "
    guest += "vmlinuz"
    add("--reader-object", metavar="FILE:FUNCTION", default="", help=guest)
    types = "its C signature, if there is no DWARF: 'int f(const void *area, void *out)'"
    add("--signature", metavar="TEXT", default="", help=types)
    symbol = "the object that is the area, or its address, if it is no parameter"
    add("--area", metavar="OBJECT", default="", help=symbol)
    row = "print the reader that this function is, as a row in Python, and stop"
    add("--emit-reader", metavar="FILE:FUNCTION", default="", help=row)
    add("--rows", action="store_true", help="every answer in a row of its own, no summary")
    add_format(made, "text", "json", "html")
    add("-o", "--output", metavar="FILE", default="-", help=HTML_TO)
    add("--color", choices=output.CHOICES, default="auto", help="auto: on a terminal")
    return made


def _epilog() -> str:
    models = {model.name: model.summary for model in MODELS if not model.recorded}
    parts = (
        _ABOUT,
        "WRITER (runstate write --list says where each is from):",
        fill(", ".join(VARIANT), WIDTH, initial_indent="  ", subsequent_indent="  "),
        *text.listed("READER:", {reader.name: reader.summary for reader in READERS}),
        *text.listed("--model:", models),
        *text.listed("--entry-times:", ENTRY_TIMES),
        *text.listed("STEP:", WRITER_DROPS | READER_DROPS),
        "",
        _EXAMPLES,
    )
    return "\n".join(parts)
