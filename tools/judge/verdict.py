"""The verdict on one shipped kernel: what was counted, against what, and where a rule is broken.

text.py prints a verdict; the formats of ``check`` get it as Findings.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from runstate_abi.layouts.abi import X86_64
from runstate_abi.layouts.findings import MACHINE_CODE, Finding, NotChecked
from runstate_abi.layouts.model import CodeLine, Difference, WitnessError
from runstate_abi.tools.judge.tallies import Tally, judged
from runstate_abi.tools.output import counted
from runstate_abi.writer.rulebook.requests import HVM, Request, everything, quick, without_caches
from runstate_abi.writer.rules import NO_BARRIERS, RULES, Rule, Violation, not_judged
from runstate_abi.writer.witnesses import lines
from runstate_abi.writer.witnesses.journal import RECORDS, Run
from runstate_abi.writer.witnesses.lines import Lines
from runstate_abi.writer.witnesses.shipped import Judged, Writer, WrongRequest, writer_of
from runstate_abi.writer.witnesses.xen_code import XenWriter


@dataclass(frozen=True, slots=True)
class Verdict:
    judged: Judged
    tally: Tally
    passed_over: tuple[tuple[str, str], ...]  # (rule, reason) of each rule that was not judged
    shown: dict[str, Run]  # a run that breaks the rule, for each broken rule
    lines: Lines  # not opened if no rule is broken
    allowed: frozenset[str] = frozenset()  # rules whose breach is a note

    @property
    def right(self) -> bool:
        """Is every rule kept, and every struct as claimed?"""
        return not set(self.tally.broken) - self.allowed and not self.judged.differences

    def code(self, rule: str) -> tuple[CodeLine, ...]:
        """Return the line of the instruction that breaks a rule, then its callers' lines."""
        one = self.tally.broken[rule]
        return self.code_of(self.shown[rule], one.violation)

    def code_of(self, run: Run, violation: Violation) -> tuple[CodeLine, ...]:
        """Return the line where a run breaks a rule, then its callers' lines."""
        at = violation.at
        if violation.aside:
            return self.lines.of(run.aside(at))
        return self.lines.of(run.chains[at], at_return=at == len(run.chains) - 1)

    @property
    def hint(self) -> str:
        """Why the line of a broken rule is not known, "" if each is."""
        if self.lines.hint or all(self.code(rule) for rule in self.shown):
            return self.lines.hint
        return "the debug info has none for some of these instructions"

    @property
    def untested(self) -> tuple[tuple[str, str], ...]:
        """(rule, reason) of each rule that none of the updates could have broken."""
        passed_over = {name for name, _ in self.passed_over}
        return tuple(
            (rule.name, f"not asked: it takes {rule.wanted}")
            for rule in RULES
            if rule.name not in passed_over
            and not self.tally.tested[rule.name]
            and rule.name not in self.tally.broken
        )


def requests(judged: Judged, boundaries_only: bool) -> list[Request]:
    """Return the requests for a writer: every placement, or only boundaries and failures."""
    if isinstance(judged.writer, XenWriter):
        return [one for one in without_caches(boundaries_only) if judged.writer.takes(one)]
    return list(quick() if boundaries_only else everything())


def refuse(judged: Judged, requests: Sequence[Request]) -> None:
    """Refuse a scenario of another writer (WrongRequest)."""
    for one in requests:
        if one.scenario == HVM and not isinstance(judged.writer, XenWriter):
            raise WrongRequest(f"--case {one}: hvm is for Xen's writer")


def verdict(
    kernel: Judged,
    requests: Sequence[Request],
    jobs: int = 1,
    progress: Callable[[int], None] = lambda done: None,
    allowed: frozenset[str] = frozenset(),
) -> Verdict:
    """Ask for every update and judge it; repeat one for each broken rule, with its places."""
    writer, profile = kernel.writer, kernel.profile

    def another() -> Writer:
        # Each process has an emulator of its own.
        name = writer.entry.name
        return writer_of(writer.file, writer.types, name, profile) if jobs > 1 else writer

    found = judged(another, requests, profile, jobs, progress)
    if not found.asked:
        raise WitnessError(f"{kernel.path}: cannot judge: it takes none of these requests")
    shown = {rule: writer.run(one.request, places=True) for rule, one in found.broken.items()}
    where = lines.opened(kernel.file, kernel.path, kernel.types_path) if shown else Lines(None)
    return Verdict(kernel, found, not_judged(RECORDS, profile), shown, where, allowed)


def findings(seen: Verdict) -> Iterator[Finding]:
    """Yield a verdict as Findings: the structs, then each rule."""
    judged, total = seen.judged, seen.tally.asked
    unjudged = (*seen.passed_over, *seen.untested)
    skipped = [NotChecked(f"rule {rule}", why, False) for rule, why in unjudged]
    for name in judged.layouts.missing:
        why = "not in the debug info (clang drops what only sizeof uses): as claimed here"
        skipped.append(NotChecked(f"struct {name}", why, False))
    if seen.tally.skipped:
        why = "this writer has one cache, so its area must not cross a page"
        skipped.append(NotChecked(counted(seen.tally.skipped, "update"), why, False))
    prints = ", ".join(f"{name} {text}" for name, text in seen.tally.prints._asdict().items())
    notes = (
        f"profile {judged.profile.name}",
        f"{counted(total, 'update')}; fingerprints: {prints}",
        *((f"lines: {seen.hint}",) if seen.hint else ()),
        NO_BARRIERS,
    )
    whole = Finding(MACHINE_CODE, judged.source, X86_64.name, path=judged.path, notes=notes)
    yield whole._replace(
        found=judged.layouts.found,
        compared=judged.compared,
        differences=judged.differences,
        not_checked=tuple(skipped),
        about="writer",
        fingerprints=tuple(seen.tally.prints._asdict().items()),
    )
    for rule in RULES:
        if rule.name not in dict(unjudged):
            broken, allowed = _broken(seen, rule), rule.name in seen.allowed
            yield whole._replace(
                compared=seen.tally.tested[rule.name],
                differences=() if allowed else broken,
                notes=(*notes, *(f"allowed: {one}" for one in broken if allowed)),
                about=f"rule {rule.name}",
            )


def _broken(seen: Verdict, rule: Rule) -> tuple[Difference, ...]:
    one = seen.tally.broken.get(rule.name)
    if one is None:
        return ()
    count = f"{one.times} of {counted(seen.tally.asked, 'update')}"
    said = f"{count}, first {one.request}: {one.violation.why}"
    function = seen.judged.writer.entry.name
    names = ("rule-broken", function, rule.name, X86_64.name)
    return (Difference(*names, rule.sentence, said, seen.judged.source, seen.code(rule.name)),)
