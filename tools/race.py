"""``runstate race``: can a guest that follows a protocol accept what was never true?

Law of this file: arguments in, questions asked, an exit code out. What an answer looks like is in
racing/text.py, what is asked in writer/race.py.
"""

import argparse
import json
import sys
from collections.abc import Iterator

from runstate_abi.tools import arguments, ink
from runstate_abi.tools.racing import export, kernel, recorded, rows, text
from runstate_abi.tools.racing.rows import Row
from runstate_abi.writer.drops import READER_DROPS, WRITER_DROPS
from runstate_abi.writer.guest import READERS, CannotDrop
from runstate_abi.writer.ordering import GRAINS, MEASURED_GRAIN, MODELS
from runstate_abi.writer.patterns import A_B_A, ENTRY_TIMES, EQUAL, INCREASING
from runstate_abi.writer.race import UPDATES_MAX
from runstate_abi.writer.variants import VARIANTS, Refused
from runstate_abi.writer.vcpu import SHAPES
from runstate_abi.writer.verdicts import SAFE

AS_EXPECTED, NOT_AS_EXPECTED, USAGE, NOT_CHECKED = 0, 1, 2, 3

EPILOG = """\
examples:
  runstate race                                              every row of the table
  runstate race --variant linux-6.1 --reader linux-64 --model x86-tso --abi compat --at 0x1038
  runstate race --variant upstream --reader linux-64 --model weak --at 0x1000 --drop wmb-set
  runstate race --recorded stores.jsonl --reader linux-64    what a real kernel was seen to store
  runstate race --export litmus -o DIR                       the same questions for herd7

exit status: 0 every answer is the expected one (where the table of expected verdicts does not say:
  safe), 1 one is not, 2 wrong usage, 3 nothing could be asked"""


def main(argv: list[str]) -> int:
    """Ask, print the answers, return the exit code."""
    parser = _parser()
    options = parser.parse_args(argv)
    _check(parser, options)
    if options.expected:
        print("\n".join(text.expected_table()))
        return AS_EXPECTED
    if options.export:
        return export.main(options.export, options.output)
    try:
        return _show(options, _rows(options))
    except (CannotDrop, Refused) as error:
        print(f"runstate: {error}", file=sys.stderr)
        return NOT_CHECKED if isinstance(error, Refused) else USAGE


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser(
        "race", "Can a guest that follows a protocol accept what was never true?", EPILOG
    )
    add = parser.add_argument
    add("--variant", choices=[variant.name for variant in VARIANTS], help="who writes")
    add("--reader", choices=[reader.name for reader in READERS], help="who reads")
    add("--model", choices=[model.name for model in MODELS if not model.recorded])
    add("--abi", choices=list(SHAPES), help="the struct of a 64-bit or of a 32-bit guest")
    add("--at", type=_address, metavar="GPA", help="where the area is (default: where it matters)")
    add("--updates", type=int, choices=range(1, UPDATES_MAX + 1), default=1, metavar="N")
    add("--equal-entry-time", action="store_true", help="updates that leave the entry time alone")
    add("--entry-times", choices=list(ENTRY_TIMES), default=INCREASING, help="what they may do")
    drops = [*WRITER_DROPS, *READER_DROPS]
    add("--drop", action="append", choices=drops, metavar="STEP", help=", ".join(drops))
    grain = "x86: what lies within an aligned block of so many bytes is one access: 8, 32 or 64"
    add("--grain", type=int, choices=GRAINS, default=MEASURED_GRAIN, metavar="BYTES", help=grain)
    add("--recorded", metavar="FILE", help="ask about recorded stores (JSON Lines) instead")
    add("--kernel", metavar="BINARY", help="ask about the code of a kvm.ko, emulated (see judge)")
    add("--btf", metavar="FILE", default="", help="with --kernel: where its types are (vmlinuz)")
    add("--json", action="store_true", help="a list of all rows, with the executions")
    add("--expected", action="store_true", help="print the table of expected verdicts and stop")
    add("--export", choices=("litmus", "cbmc"), help="write the questions for another checker")
    add("-o", "--output", metavar="DIR", help="where --export writes")
    add("--color", choices=ink.CHOICES, default="auto", help="auto: on a terminal")
    return parser


def _address(said: str) -> int:
    value = int(said, 0)
    if not 0 <= value < 1 << 64:
        raise argparse.ArgumentTypeError(f"{said} is not a 64-bit address")
    return value


# What argparse cannot say.
def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if options.equal_entry_time:
        if options.entry_times not in (INCREASING, EQUAL):
            parser.error("--equal-entry-time contradicts --entry-times")
        options.entry_times = EQUAL
    if options.entry_times == A_B_A and options.updates < 2:
        parser.error("an entry time comes back after two updates: --updates 2")
    if bool(options.export) != bool(options.output):
        parser.error("--export and -o DIR go together")
    if options.kernel and (options.variant or options.recorded or options.model):
        parser.error("--kernel is a writer, on x86-tso: no --variant, --recorded or --model")
    if options.recorded and (options.variant or options.at is not None or options.abi):
        parser.error("--recorded says itself who wrote where")
    if options.recorded and options.model:
        parser.error("--recorded stores are in the order that they have: no --model")


def _rows(options: argparse.Namespace) -> Iterator[Row]:
    asked = rows.Wanted(
        options.variant,
        options.reader,
        options.model,
        options.abi,
        options.at,
        options.updates,
        options.entry_times,
        tuple(dict.fromkeys(options.drop or ())),
        options.grain,
    )
    if options.recorded:
        return recorded.rows(options.recorded, asked)
    if options.kernel:
        return kernel.rows(options.kernel, options.btf, asked)
    return rows.rows(asked)


def _show(options: argparse.Namespace, answers: Iterator[Row]) -> int:
    answered: list[Row] = []
    values: list[dict[str, object]] = []
    for row in text.progress(answers, rows.writers(options.variant)):
        answered.append(row)
        if options.json:
            values.append(text.as_json(row))
    if not answered:
        print("runstate: no writer takes this area, or none has this step", file=sys.stderr)
        return NOT_CHECKED
    if options.json:
        print(json.dumps(values, indent=1))
    elif len(answered) == 1:
        ink.write(text.answer(answered[0]), options.color)
    else:
        ink.write(text.table(answered), options.color)
    surprising = [row for row in answered if row.verdict != (row.expected or SAFE)]
    for row in surprising if options.json else ():
        print(f"runstate: {text.complaint(row)}", file=sys.stderr)
    return NOT_AS_EXPECTED if surprising else AS_EXPECTED
