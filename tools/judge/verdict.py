"""The verdict on one shipped kernel: the writer is run for every request, and each run is judged.

The code runs for every request. Runs that differ only in the place of the area are judged once.
Work is cut into chunks of a fixed size, so that a fingerprint does not depend on the number of
processes. text.py prints a verdict; the formats of ``check`` get it as Findings.
"""

import hashlib
import multiprocessing
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import NamedTuple

from runstate_abi.layouts.abi import X86_64
from runstate_abi.layouts.findings import Finding, NotChecked
from runstate_abi.layouts.model import CodeLine, Difference, WitnessError
from runstate_abi.writer.rulebook.evidence import Evidence, Ledger
from runstate_abi.writer.rulebook.requests import HVM, Request, everything, quick, without_caches
from runstate_abi.writer.rules import (
    RULES,
    Profile,
    Rule,
    Violation,
    could_break,
    judge,
    not_judged,
)
from runstate_abi.writer.steps import Copy, Store, canonical
from runstate_abi.writer.witnesses import lines
from runstate_abi.writer.witnesses.journal import RECORDS, Run
from runstate_abi.writer.witnesses.lines import Lines
from runstate_abi.writer.witnesses.shipped import Judged, Writer, WrongRequest, writer_of
from runstate_abi.writer.witnesses.xen_code import XenWriter

CHUNK = 1024
KNOWN_MAX = 100_000  # events of judged runs that are remembered; a correct writer has 10 000


class Broken(NamedTuple):
    """A broken rule: how often, the smallest request that breaks it, and how."""

    rule: str
    times: int
    request: Request
    violation: Violation


class Prints(NamedTuple):
    """Three digests over all requests: bytes per epoch, every single store, every call."""

    contract: str
    stores: str
    calls: str


class Tally(NamedTuple):
    asked: int
    skipped: int
    failing: int  # how many of them break any rule
    broken: dict[str, Broken]
    prints: Prints
    tested: Counter[str]  # how many of them could have broken each rule
    used: tuple[str, ...] = ()  # the kernel's functions that were replaced


class _Known(NamedTuple):
    violations: tuple[Violation, ...]
    prints: tuple[bytes, bytes, bytes]
    tested: frozenset[str]


def tally(writer: Writer, requests: Iterable[Request], profile: Profile) -> Tally:
    """Ask for each update and judge it (WitnessError: this writer cannot be judged)."""
    known: dict[Hashable, _Known] = {}
    digests = [hashlib.sha256() for _ in Prints._fields]
    asked = skipped = failing = remembered = 0
    broken: dict[str, Broken] = {}
    tested: Counter[str] = Counter()
    for request in requests:
        if not writer.takes(request):
            skipped += 1
            continue
        asked += 1
        seen = writer.run(request)
        key = seen.key()
        verdict = known.get(key)
        if verdict is None:
            verdict = known[key] = _judged(seen, profile)
            remembered += len(seen.events)
            if remembered > KNOWN_MAX:
                known.clear()
                remembered = 0
        # An ioctl's update is the scheduler's with interrupts on: it writes nothing else.
        for digest, part in zip(digests, () if request.ioctl else verdict.prints, strict=False):
            digest.update(part)
        failing += bool(verdict.violations)
        tested.update(verdict.tested)
        for violation in verdict.violations:
            _count(broken, Broken(violation.rule, 1, request, violation))
    prints = Prints(*(digest.hexdigest() for digest in digests))
    return Tally(asked, skipped, failing, broken, prints, tested, writer.used)


def _judged(seen: Run, profile: Profile) -> _Known:
    try:
        book = seen.book()
    except WitnessError as error:
        raise WitnessError(f"cannot judge: {error}") from None
    violations = judge(book, profile)
    if seen.lost:
        # What it did until then is wrong all the same; nobody knows what would have followed.
        violations = tuple(one for one in violations if one.rule != "ends")
        if not violations:
            raise seen.lost
    digests = [hashlib.sha256(part).digest() for part in (_epochs(book), *_texts(book.evidence))]
    prints = digests[0], digests[1], digests[2]
    return _Known(violations, prints, could_break(book))


# The bytes of the struct that a barrier makes visible: after the flag is set, before it is cleared,
# at the end. The order of the stores in between is not fixed.
def _epochs(book: Ledger) -> bytes:
    landed = book.landed
    if not landed:
        return b""
    if not book.evidence.area.update_flag:
        return landed[-1].after
    return landed[0].after + landed[-1].before + landed[-1].after


# The stores as lines, with offsets from the area's start in page 1; and all other steps.
def _texts(evidence: Evidence) -> tuple[bytes, bytes]:
    offset = evidence.area.offset
    stores = (step for step in evidence.steps if isinstance(step, Store | Copy))
    places = [f"{s.page}+{s.offset - offset * (s.page == 1)} {s.data.hex()}" for s in stores]
    calls = canonical(step for step in evidence.steps if not isinstance(step, Store | Copy))
    return "\n".join(places).encode(), calls.encode()


def _count(broken: dict[str, Broken], one: Broken) -> None:
    old = broken.get(one.rule)
    if old is None:
        broken[one.rule] = one
        return
    first = one if _size(one.request) < _size(old.request) else old
    broken[one.rule] = first._replace(times=old.times + one.times)


# The simplest request first: no failure, not atomic, the lowest offset.
def _size(request: Request) -> tuple[bool, bool, bool, int, bool]:
    harm = bool(request.scenario.name), request.atomic, request.ioctl
    return *harm, request.offset, request.abi != "native"


def counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def together(tallies: Sequence[Tally]) -> Tally:
    broken: dict[str, Broken] = {}
    digests = [hashlib.sha256() for _ in Prints._fields]
    for one in tallies:
        for rule in one.broken.values():
            _count(broken, rule)
        for digest, part in zip(digests, one.prints, strict=True):
            digest.update(bytes.fromhex(part))
    return Tally(
        sum(one.asked for one in tallies),
        sum(one.skipped for one in tallies),
        sum(one.failing for one in tallies),
        broken,
        Prints(*(digest.hexdigest()[:10] for digest in digests)),
        sum((one.tested for one in tallies), Counter()),
        tuple(sorted({name for one in tallies for name in one.used})),
    )


def judged(
    make: Callable[[], Writer],
    requests: Sequence[Request],
    profile: Profile,
    jobs: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> Tally:
    """Judge all requests in ``jobs`` processes, each with its own writer.

    ``progress`` gets the number of requests done. WitnessError: this writer cannot be judged.
    """
    parts = [requests[start : start + CHUNK] for start in range(0, len(requests), CHUNK)]
    if jobs > 1:
        return together(_in_processes(make, parts, profile, jobs, progress))
    writer, found, done = make(), list[Tally](), 0
    for part in parts:
        found.append(tally(writer, part, profile))
        done += len(part)
        progress(done)
    return together(found)


Make = Callable[[], Writer]
Chunks = Sequence[Sequence[Request]]


# The tally of each chunk, in order. The processes are forked here, because a pool of the standard
# library would have to pickle ``make``.
def _in_processes(
    make: Make, chunks: Chunks, profile: Profile, jobs: int, progress: Callable[[int], None]
) -> list[Tally]:
    context = multiprocessing.get_context("fork")
    pipes: list[Connection] = []
    workers = []
    for number in range(min(jobs, len(chunks))):
        ours, theirs = context.Pipe(duplex=False)
        mine = range(number, len(chunks), jobs)
        worker = context.Process(target=_work, args=(make, chunks, mine, profile, theirs))
        worker.start()
        theirs.close()
        workers.append(worker)
        pipes.append(ours)
    try:
        return _gathered(pipes, chunks, progress)
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def _work(make: Make, chunks: Chunks, mine: range, profile: Profile, pipe: Connection) -> None:
    number = mine.start
    try:
        writer = make()
        for number in mine:
            pipe.send((number, tally(writer, chunks[number], profile)))
    except WitnessError as error:
        pipe.send((number, str(error)))
    pipe.close()


def _gathered(
    pipes: list[Connection], chunks: Chunks, progress: Callable[[int], None]
) -> list[Tally]:
    found: dict[int, Tally] = {}
    while pipes:
        for pipe in wait(pipes):
            assert isinstance(pipe, Connection)
            try:
                number, answer = pipe.recv()
            except EOFError:
                pipes.remove(pipe)
                continue
            if isinstance(answer, str):
                raise WitnessError(answer)
            found[number] = answer
            progress(sum(len(chunks[one]) for one in found))
    if len(found) < len(chunks):
        raise WitnessError(f"a process ended early: {len(found)} of {len(chunks)} chunks judged")
    return [found[number] for number in range(len(chunks))]


WITNESS = "machine-code"


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
        return self.lines.of(self.shown[rule].chains[one.violation.at])

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
