"""One shipped kernel's verdict: what was judged, what it came to, and the worst of it explained.

text.py prints it; the formats of ``check`` get it as Findings.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from runstate_abi.layouts.abi import X86_64
from runstate_abi.layouts.findings import Finding, NotChecked
from runstate_abi.layouts.model import Difference, WitnessError
from runstate_abi.tools.judge import tallies
from runstate_abi.tools.judge.tallies import Tally, counted
from runstate_abi.writer.rulebook.requests import HVM, Request, everything, quick, without_caches
from runstate_abi.writer.rules import RULES, Rule, not_judged
from runstate_abi.writer.witnesses.journal import RECORDS, Run
from runstate_abi.writer.witnesses.shipped import Judged, Writer, WrongRequest, writer_of
from runstate_abi.writer.witnesses.xen_code import XenWriter

WITNESS = "machine-code"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The tally, (rule, why) of what was not judged, and a run that breaks each broken rule."""

    judged: Judged
    tally: Tally
    passed_over: tuple[tuple[str, str], ...]
    shown: dict[str, Run]

    @property
    def right(self) -> bool:
        """Is every rule kept, and every struct as claimed?"""
        return not self.tally.broken and not self.judged.differences

    @property
    def untested(self) -> tuple[tuple[str, str], ...]:
        """(rule, why) of each rule that none of the updates asked about."""
        passed_over = {name for name, _ in self.passed_over}
        return tuple(
            (rule.name, f"not asked: it takes {rule.wanted}")
            for rule in RULES
            if rule.name not in passed_over
            and not self.tally.tested[rule.name]
            and rule.name not in self.tally.broken
        )


def requests(judged: Judged, boundaries_only: bool) -> list[Request]:
    """Return what a writer is asked: every placement, or the boundaries and the failures alone."""
    if isinstance(judged.writer, XenWriter):
        return [one for one in without_caches(boundaries_only) if judged.writer.takes(one)]
    return list(quick() if boundaries_only else everything())


def refuse(judged: Judged, requests: Sequence[Request]) -> None:
    """Refuse a scenario that is another writer's (WrongRequest)."""
    for one in requests:
        if one.scenario == HVM and not isinstance(judged.writer, XenWriter):
            raise WrongRequest(f"--case {one}: hvm is for Xen's writer")


def verdict(
    judged: Judged,
    requests: Sequence[Request],
    jobs: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> Verdict:
    """Ask for every update and judge it; run once more what breaks a rule, to show its places."""
    writer, profile = judged.writer, judged.profile

    def another() -> Writer:
        # Each process has an emulator of its own.
        name = writer.entry.name
        return writer_of(writer.file, writer.types, name, profile) if jobs > 1 else writer

    found = tallies.judged(another, requests, profile, jobs, progress)
    if not found.asked:
        raise WitnessError(f"{judged.path}: cannot judge: it takes none of these requests")
    shown = {rule: writer.observe(one.request, places=True) for rule, one in found.broken.items()}
    return Verdict(judged, found, not_judged(RECORDS, profile), shown)


def findings(seen: Verdict) -> Iterator[Finding]:
    """Yield a verdict as Findings: the structs, and then each rule."""
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
    )
    whole = Finding(WITNESS, judged.source, X86_64.name, path=judged.path, notes=notes)
    yield whole._replace(
        found=judged.layouts.found,
        compared=judged.compared,
        differences=judged.differences,
        not_checked=tuple(skipped),
        about="writer",
    )
    for rule in RULES:
        if rule.name not in dict(unjudged):
            yield whole._replace(
                compared=seen.tally.tested[rule.name],
                differences=_broken(seen, rule),
                about=f"rule {rule.name}",
            )


def _broken(seen: Verdict, rule: Rule) -> tuple[Difference, ...]:
    one = seen.tally.broken.get(rule.name)
    if one is None:
        return ()
    count = f"{one.times} of {counted(seen.tally.asked, 'update')}"
    said = f"{count}, first {one.request}: {one.violation.why}"
    function = seen.judged.writer.entry.name
    return (
        Difference(
            "rule-broken", function, rule.name, X86_64.name, rule.sentence, said, seen.judged.source
        ),
    )
