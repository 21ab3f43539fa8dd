"""Many kernels at once: folders, packages and tarballs, over any concurrent.futures.Executor.

A unit's answer depends on the bytes of its files and on nothing else, so
it is kept under their hash, and a second run over the same files reads only their hashes.

Law of this file: ask() is a plain function of plain values, which any process on any machine can
run; nothing that happens to one unit changes the answer for another.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, as_completed
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

from runstate_abi.layouts.findings import Finding, relabelled, unchecked
from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.witnesses import packages
from runstate_abi.tools.checking import kernels
from runstate_abi.tools.checking.answers import Answers
from runstate_abi.tools.checking.kernels import Question
from runstate_abi.tools.checking.units import Unit, several, units

if TYPE_CHECKING:
    from rich.progress import Progress

WITNESS = kernels.WITNESS
DASK_TIMEOUT_S = 10


class Workers(NamedTuple):
    """Where the work is done: ``jobs`` processes here (None: one per core), or a Dask cluster."""

    jobs: int | None = None
    dask: str | None = None


def asked(
    paths: Sequence[str], question: Question, workers: Workers, options: argparse.Namespace
) -> Iterator[Finding]:
    """Yield the Findings of all kernels in ``paths``, in the order of their names."""
    found, complaints = units(paths)
    answers = None if options.no_cache else Answers(options.cache)
    with ExitStack() as stack:
        executor = stack.enter_context(_executor(workers, len(found)))
        progress = stack.enter_context(_progress(len(found)))
        results = survey(found, question, executor, answers)
        by_unit = dict(_shown(results, progress, len(found)))
    for why, path in complaints:
        yield unchecked(WITNESS, path, why, WITNESS not in question.allowed)
    for unit in found:
        yield from by_unit[unit]


def survey(
    found: Iterable[Unit], question: Question, executor: Executor | None, answers: Answers | None
) -> Iterator[tuple[Unit, list[Finding]]]:
    """Yield each unit with its Findings as they come, by ``executor`` or, without one, here.

    Known answers are taken from ``answers``, and new ones are put there.
    """
    waiting: dict[Future[list[Finding]], list[Unit]] = {}
    asked_already: dict[str, Future[list[Finding]]] = {}
    for unit in found:
        key = answers.key(unit.paths, question) if answers else None
        known = answers.get(key, unit.paths) if answers and key else None
        if known is not None:
            yield unit, known
        elif executor is None:
            yield unit, _kept(ask(unit, question), unit, key, answers)
        elif key and key in asked_already:
            # The same bytes twice: what the first is told is the second's answer too.
            waiting[asked_already[key]].append(unit)
        else:
            future = executor.submit(ask, unit, question)
            waiting[future] = [unit]
            if key:
                asked_already[key] = future
    keys = {future: key for key, future in asked_already.items()}
    for future in as_completed(waiting):
        yield from _answered(future, waiting.pop(future), keys.get(future), answers)


def _answered(
    future: Future[list[Finding]], alike: Sequence[Unit], key: str | None, answers: Answers | None
) -> Iterator[tuple[Unit, list[Finding]]]:
    first = alike[0]
    findings = _kept(_result(future, first), first, key, answers)
    yield first, findings
    for unit in alike[1:]:
        paths = dict(zip(first.paths, unit.paths, strict=True))
        yield unit, [relabelled(finding, paths) for finding in findings]


def _kept(
    findings: list[Finding], unit: Unit, key: str | None, answers: Answers | None
) -> list[Finding]:
    # What failed for want of memory or of a package may not fail the next time.
    complete = not any(i.what == f.witness for f in findings for i in f.not_checked)
    if answers and key and complete:
        answers.put(key, unit.paths, findings)
    return findings


# A worker that was killed (no memory left) is one unit that could not be checked, not the end.
def _result(future: Future[list[Finding]], unit: Unit) -> list[Finding]:
    try:
        return list(future.result())
    except Exception as error:
        why = f"{unit.paths[0]}: its worker failed: {type(error).__name__}: {_one_line(error)}"
        return [unchecked(WITNESS, unit.paths[0], why)]


def ask(unit: Unit, question: Question) -> list[Finding]:
    """Return the Findings of one unit; an archive's files are called ``a.deb!boot/vmlinuz``."""
    with tempfile.TemporaryDirectory(prefix="runstate-") as folder:
        paths: list[str] = []
        labels: dict[str, str] = {}
        findings: list[Finding] = []
        for number, path in enumerate(unit.paths):
            if not packages.is_archive(path):
                paths.append(path)
                continue
            place = os.path.join(folder, str(number))
            os.mkdir(place)
            try:
                inside = packages.extract(path, place)
            except WitnessError as error:
                findings.append(unchecked(WITNESS, path, str(error)))
                continue
            labels |= {x.path: f"{path}!{x.member.removeprefix('./')}" for x in inside}
            paths += [x.path for x in inside]
        for group in _kernels(paths, labels):
            try:
                findings += kernels.asked_of_files(group, question)
            except WitnessError as error:
                findings.append(unchecked(WITNESS, unit.paths[0], str(error)))
        if not findings:
            why = f"{unit.paths[0]}: no kernel, kvm.ko or xen-syms in this archive"
            findings.append(unchecked(WITNESS, unit.paths[0], why))
        return [relabelled(finding, labels) for finding in findings]


# An archive may hold several kernels, and what one of them lacks is no other's to have.
def _kernels(paths: Sequence[str], labels: Mapping[str, str]) -> Iterator[Sequence[str]]:
    names = {f"/{labels[path].partition('!')[2]}": path for path in paths if path in labels}
    if len(names) < len(paths):  # files beside the archives, or two of one name
        yield paths
        return
    for group in several(list(names)):
        yield [names[name] for name in group]


def _executor(workers: Workers, count: int) -> AbstractContextManager[Executor | None]:
    if workers.dask:
        return _dask(workers.dask)
    jobs = min(workers.jobs or len(os.sched_getaffinity(0)), count)
    if jobs < 2:
        return nullcontext(None)
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    # Fork is not safe beside the thread of the progress bar.
    return ProcessPoolExecutor(jobs, mp_context=get_context("forkserver"))


def _dask(address: str) -> AbstractContextManager[Executor]:
    try:
        import distributed
    except ImportError:
        raise WitnessError("--dask needs: pip install 'runstate-abi[dask]'") from None
    try:
        connect: Any = distributed.Client  # it has no types
        client = connect(address, timeout=DASK_TIMEOUT_S)
    except (OSError, ValueError, ImportError) as error:
        raise WitnessError(f"--dask {address}: {_one_line(error)}") from None
    return _using(client)


@contextmanager
def _using(client: Any) -> Iterator[Executor]:
    # pure=False: Dask would otherwise hash the arguments and answer from its own memory.
    with client, client.get_executor(pure=False) as executor:
        yield executor


def _progress(count: int) -> "AbstractContextManager[Progress | None]":
    if count < 2 or not sys.stderr.isatty():
        return nullcontext(None)
    from rich.console import Console
    from rich.progress import Progress

    return Progress(console=Console(stderr=True), transient=True)


def _shown(
    results: Iterator[tuple[Unit, list[Finding]]], progress: "Progress | None", count: int
) -> Iterator[tuple[Unit, list[Finding]]]:
    if progress is None:
        yield from results
        return
    task = progress.add_task("kernels", total=count)
    for unit, findings in results:
        progress.update(task, advance=1, description=os.path.basename(unit.paths[0])[:40])
        yield unit, findings


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
