"""A shipped writer is run for every request, each run is judged by the rules, and it is counted.

Runs that differ only in the place of the area are judged once. Work is cut into chunks of a fixed
size, so that a fingerprint does not depend on the number of processes.
"""

import hashlib
import multiprocessing
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, NamedTuple

from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools.fleet import end_with_the_command, uninterrupted
from runstate_abi.writer.rulebook.evidence import Ledger
from runstate_abi.writer.rulebook.requests import Request
from runstate_abi.writer.rules import Profile, Violation, could_break, judge
from runstate_abi.writer.steps import Copy, Store, line
from runstate_abi.writer.witnesses.journal import Run

if TYPE_CHECKING:
    from runstate_abi.writer.witnesses.shipped import Writer

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


def tally(writer: "Writer", requests: Iterable[Request], profile: Profile) -> Tally:
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
    found = violations(seen, book, profile)
    if seen.lost and not found:
        raise seen.lost
    return _Known(found, _prints(book), could_break(book))


def violations(seen: Run, book: Ledger, profile: Profile) -> tuple[Violation, ...]:
    """Return the first breach of each rule in a run whose Ledger is ``book``."""
    found = judge(book, profile)
    # What it did until it was lost is wrong all the same; nobody knows what would have followed.
    return tuple(one for one in found if one.rule != "ends") if seen.lost else found


class Epoch(NamedTuple):
    """The struct's bytes at a point of an update, which the first ``until`` writes have made."""

    when: str
    struct: bytes
    until: int


def epochs(book: Ledger) -> tuple[Epoch, ...]:
    """Return the bytes of the struct that a barrier makes visible; () if nothing is written.

    The order of the stores between two barriers is not fixed.
    """
    landed, count = book.landed, len(book.landed)
    if not landed:
        return ()
    end = Epoch("at the end", landed[-1].after, count)
    if not book.evidence.area.update_flag:
        return (end,)
    up = Epoch("after the first store", landed[0].after, 1)
    return up, Epoch("before the last store", landed[-1].before, count - 1), end


def stores(book: Ledger) -> Iterator[tuple[str, int]]:
    """Yield each store as text, with offsets from the area's start in page 1, and its number."""
    offset = book.evidence.area.offset
    for at, step in enumerate(book.evidence.steps):
        if isinstance(step, Store | Copy):
            place = step.offset - offset * (step.page == 1)
            yield f"{step.page}+{place} {step.data.hex()}", at


def calls(book: Ledger) -> Iterator[tuple[str, int]]:
    """Yield each other step as text, and its number."""
    for at, step in enumerate(book.evidence.steps):
        if not isinstance(step, Store | Copy):
            yield line(step), at


def _prints(book: Ledger) -> tuple[bytes, bytes, bytes]:
    contract = b"".join(one.struct for one in epochs(book))
    texts = "\n".join(text for text, _ in stores(book)), "".join(f"{t}\n" for t, _ in calls(book))
    digests = [hashlib.sha256(part).digest() for part in (contract, *map(str.encode, texts))]
    return digests[0], digests[1], digests[2]


def _count(broken: dict[str, Broken], one: Broken) -> None:
    old = broken.get(one.rule)
    if old is None:
        broken[one.rule] = one
        return
    first = one if simplicity(one.request) < simplicity(old.request) else old
    broken[one.rule] = first._replace(times=old.times + one.times)


def simplicity(request: Request) -> tuple[bool, bool, bool, int, bool]:
    """Return a key that sorts the simplest request first: no failure, not atomic, at offset 0."""
    harm = bool(request.scenario.name), request.atomic, request.ioctl
    return *harm, request.offset, request.abi != "native"


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
    make: Callable[[], "Writer"],
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


Make = Callable[[], "Writer"]
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
        with uninterrupted():
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
    end_with_the_command()
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
