"""``runstate check -v``: what each witness was asked, and what it answered, fact by fact.

Law of this file: it is talk, for stderr; whatever decides anything is in the report as well.
"""

import sys
from collections.abc import Iterator, Sequence

from runstate_abi.layouts.conditions import Evaluation
from runstate_abi.layouts.findings import Finding
from runstate_abi.tools.checking.goldens import seen_lines


def say(findings: Sequence[Finding]) -> None:
    """Print on stderr what was asked of every witness."""
    for finding in findings:
        for line in lines(finding):
            print(f"runstate: {line}", file=sys.stderr)


def lines(finding: Finding) -> Iterator[str]:
    """Yield one line about the witness, and one for each thing that it said or did not say."""
    abi = f" [{finding.abi}]" if finding.abi else ""
    source = f" ({finding.source})" if finding.source else ""
    counts = f"{finding.compared} facts, {len(finding.evaluations)} conditions"
    yield f"asked {finding.witness}{abi}: {counts}{source}"
    yield from (f"  {line.place} {line.text}" for line in seen_lines([finding]))
    yield from (f"  {_condition(evaluation)}" for evaluation in finding.evaluations)
    yield from (f"  not recorded: {text}" for text in finding.unrecorded)
    yield from (f"  {item.told}: {item.what}: {item.why}" for item in finding.not_checked)


# A condition is the text of a BUILD_BUG_ON(), which holds where that is false.
def _condition(evaluation: Evaluation) -> str:
    holds, numbers = evaluation.holds, evaluation.numbers
    verdict = {True: "holds", False: "does not hold", None: "is not known"}[holds]
    if not numbers:
        why = evaluation.why
    elif numbers.isalpha():
        why = numbers  # a compiler's: asserted, refused
    else:
        why = f"{numbers} is {'false' if holds else 'true'}"
    return f"{evaluation.condition.id} {verdict} ({why}): {evaluation.condition.sentence}"
