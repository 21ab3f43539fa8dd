"""``runstate race``: can a guest that follows a protocol accept what was never true?"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence

from runstate_abi.tools import ink
from runstate_abi.tools.memory.lines import Line
from runstate_abi.tools.race import kernel, recorded, rows, table, text
from runstate_abi.tools.race.options import parsed
from runstate_abi.tools.race.rows import Row
from runstate_abi.writer import race
from runstate_abi.writer.guest import CannotDrop
from runstate_abi.writer.variants import Refused

# Every answer is safe; one is torn.
SAFE, TORN, USAGE, NOT_CHECKED = 0, 1, 2, 3


def main(argv: list[str]) -> int:
    """Ask, print the answers, return the exit code."""
    options = parsed(argv)
    try:
        left_out: Counter[str] = Counter()
        return _show(options, _rows(options, left_out), left_out)
    except (CannotDrop, Refused) as error:
        print(f"runstate: {error}", file=sys.stderr)
        return NOT_CHECKED if isinstance(error, Refused) else USAGE


def _rows(options: argparse.Namespace, left_out: Counter[str]) -> Iterator[Row]:
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
        return recorded.rows(options.recorded, asked, left_out)
    if options.kernel:
        return kernel.rows(options.kernel, options.btf, asked, left_out)
    return (rows.shipped if options.nothing_named else rows.rows)(asked, left_out)


def _show(options: argparse.Namespace, answers: Iterator[Row], left_out: Counter[str]) -> int:
    answered: list[Row] = []
    values: list[dict[str, object]] = []
    for row in text.progress(answers, rows.writers(options.variant)):
        answered.append(row)
        if options.json:
            values.append(text.as_json(row))
    if not answered:
        nothing = ("no writer takes this area, or none has this step",)
        for line in tuple(table.not_asked(left_out)) or nothing:
            print(f"runstate: {line}", file=sys.stderr)
        return NOT_CHECKED
    if options.json:
        print(json.dumps(values, indent=1))
        for line in (*table.not_asked(left_out), *table.not_shown(answered)):
            print(f"runstate: {line}", file=sys.stderr)
    else:
        ink.write(_lines(answered, left_out, options.rows), options.color)
    return TORN if any(row.verdict == race.TORN for row in answered) else SAFE


# One answer in words, and many as the shortest table that tells them apart.
def _lines(answered: Sequence[Row], left_out: Counter[str], in_full: bool) -> Iterator[Line]:
    if len(answered) == 1 and not left_out and not in_full:
        return text.answer(answered[0])
    if table.is_tabular(answered) and not in_full:
        return table.summary(answered, left_out)
    return table.in_full(answered, left_out)
