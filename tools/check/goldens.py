"""Golden files: what witnesses said earlier, a line of text for each member, and what is waived.

A line that is gone, new or different is a difference. A waiver accepts one difference until a day,
for a reason, and is a line too:

    waive offset-mismatch vcpu_runstate_info.time [i386] until 2027-03-31: fixed in the next release
"""

import datetime
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from runstate_abi.layouts.conditions import Evaluation
from runstate_abi.layouts.findings import Finding, NotChecked
from runstate_abi.layouts.model import INTEGER, Difference, WitnessError
from runstate_abi.tools import output
from runstate_abi.tools.check.config import contents
from runstate_abi.tools.reports.coverage import kinds

WITNESS = "golden"
FIRST = "# runstate golden 1"


class GoldenLine(NamedTuple):
    """One line: a kind of witness, an ABI, a struct or a member of it, and what it is."""

    witness: str
    abi: str
    place: str
    text: str

    def __str__(self) -> str:
        """``btf x86_64 vcpu_runstate_info.time 0x10 4x8 unsigned``."""
        return f"{self.witness} {self.abi} {self.place} {self.text}"


class Waiver(NamedTuple):
    """An accepted difference: its subject as in its line, until when, and why."""

    subject: str
    until: datetime.date
    reason: str


class Golden(NamedTuple):
    path: str
    lines: tuple[GoldenLine, ...]
    waivers: tuple[Waiver, ...]


def settled(findings: Sequence[Finding], read: str | None, write: str | None) -> list[Finding]:
    """Compare with the file ``read``, apply its waivers, write ``write`` (WitnessError)."""
    golden = _read(read) if read else None
    lines = [
        FIRST,
        "# What witnesses said: WITNESS ABI STRUCT[.MEMBER] OFFSET COUNTxSIZE; made by",
        "# runstate check --write-golden FILE; compared by runstate check --golden FILE",
        *map(str, seen_lines(findings)),
    ]
    settled = list(findings)
    if golden:
        settled.append(_compared(golden, settled))
        settled = _waived(settled, golden)
        lines += (f"waive {w.subject} until {w.until}: {w.reason}" for w in golden.waivers)
    if write:
        output.save(write, "".join(f"{line}\n" for line in lines))
    return settled


def seen_lines(findings: Iterable[Finding]) -> list[GoldenLine]:
    """Return what the findings' layouts say, each line once, in the order of the file."""
    lines = set()
    for witness, layout in {(kinds(f)[0], layout) for f in findings for layout in f.found}:
        aligned = f" align {layout.alignment}" if layout.alignment else ""
        text = f"size {layout.size:#04x}{aligned}"
        lines.add(GoldenLine(witness, layout.abi, layout.name, text))
        for row in layout.members:
            sign = {True: " signed", False: " unsigned", None: ""}[row.type.signed]
            sign = sign if row.type.kind == INTEGER else f" {row.type.kind}"
            text = f"{row.offset:#04x} {row.count}x{row.type.size}{sign}"
            lines.add(GoldenLine(witness, layout.abi, f"{layout.name}.{row.name}", text))
    return sorted(lines)


_WAIVER = re.compile(
    r"waive (?P<subject>\S+ \S+ \[[^\]]*\])"
    r"(?: until (?P<until>\d{4}-\d\d-\d\d))?(?:: *(?P<reason>.*))?"
)


def _read(path: str) -> Golden:
    try:
        text = contents(path).decode()
    except UnicodeDecodeError:
        raise WitnessError(f"{path}: not a golden file: not UTF-8 text") from None
    if not text.startswith(FIRST):
        raise WitnessError(f"{path}: not a golden file: its first line is not {FIRST!r}")
    lines, waivers = [], []
    for number, line in enumerate(text.splitlines(), 1):
        place = f"{path}:{number}"
        if line.startswith("waive"):
            waivers.append(_waiver(line, place))
        elif line.strip() and not line.startswith("#"):
            words = line.split(maxsplit=3)
            if len(words) != 4:
                raise WitnessError(f"{place}: not a golden line: WITNESS ABI STRUCT[.MEMBER] WHAT")
            lines.append(GoldenLine(*words))
    return Golden(path, tuple(lines), tuple(waivers))


def _waiver(text: str, place: str) -> Waiver:
    part = _WAIVER.fullmatch(text)
    if part is None:
        wanted = "waive KIND STRUCT[.MEMBER] [ABI] until YYYY-MM-DD: REASON"
        raise WitnessError(f"{place}: not a waiver: {wanted}")
    if not part["until"] or not (part["reason"] or "").strip():
        missing = "a day (until YYYY-MM-DD)" if not part["until"] else "a reason"
        raise WitnessError(f"{place}: a waiver needs {missing}")
    try:
        until = datetime.date.fromisoformat(part["until"])
    except ValueError:
        raise WitnessError(f"{place}: {part['until']} is not a day") from None
    return Waiver(part["subject"], until, part["reason"].strip())


def _compared(golden: Golden, findings: Sequence[Finding]) -> Finding:
    """Compare the seen lines with the golden ones: one Finding."""
    seen = seen_lines(findings)
    asked = {(line.witness, line.abi) for line in seen}
    known = {(line.witness, line.abi) for line in golden.lines}
    expected = _by_place(line for line in golden.lines if (line.witness, line.abi) in asked)
    present = _by_place(line for line in seen if (line.witness, line.abi) in known)
    differences = []
    for witness, abi, name in sorted({*expected, *present}):
        place = witness, abi, name
        spec, found = (" and ".join(by.get(place, ())) or "absent" for by in (expected, present))
        if spec != found:
            struct, _, member = name.partition(".")
            what, source = (struct, member, abi), f"{witness}, {golden.path}"
            differences.append(Difference("golden-mismatch", *what, spec, found, source))
    silent = [NotChecked(f"golden {w} {a}", "nobody was asked", True) for w, a in known - asked]
    # What is new is no failure, unless nothing else was compared.
    nothing = not expected
    new = [NotChecked(f"{w} {a}", f"not in {golden.path}", nothing) for w, a in asked - known]
    return Finding(
        WITNESS,
        golden.path,
        "",
        compared=sum(map(len, expected.values())),
        differences=tuple(differences),
        not_checked=tuple(sorted(silent + new)),
        path=golden.path,
    )


# The texts by (witness, ABI, struct or member).
def _by_place(lines: Iterable[GoldenLine]) -> dict[tuple[str, str, str], list[str]]:
    by_place: dict[tuple[str, str, str], list[str]] = {}
    for witness, abi, place, text in sorted(lines):
        by_place.setdefault((witness, abi, place), []).append(text)
    return by_place


def _waived(findings: Sequence[Finding], golden: Golden) -> list[Finding]:
    today = datetime.date.today()
    valid = [waiver for waiver in golden.waivers if waiver.until >= today]
    used: set[Waiver] = set()
    notes = [
        f"expired on {w.until}: the waiver of {w.subject}: {w.reason}"
        for w in golden.waivers
        if w.until < today
    ]
    settled = []
    for finding in findings:
        waived = {d: w for d in finding.differences for w in valid if w.subject == d.subject}
        used.update(waived.values())
        skipped = tuple(
            NotChecked(str(d), f"waived until {w.until}: {w.reason}", False, "waived")
            for d, w in waived.items()
        )
        settled.append(
            finding._replace(
                differences=tuple(d for d in finding.differences if d not in waived),
                not_checked=finding.not_checked + skipped,
            )
        )
    notes += [f"waives nothing: {w.subject}" for w in valid if w not in used]
    last = settled[-1]
    return [*settled[:-1], last._replace(notes=(*last.notes, *notes))]


def say(findings: Iterable[Finding]) -> None:
    """Print on stderr what was asked of every witness."""
    for line in (line for finding in findings for line in told(finding)):
        print(f"runstate: {line}", file=sys.stderr)


def told(finding: Finding) -> Iterator[str]:
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
