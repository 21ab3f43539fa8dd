"""Many kernels at once: what each says, over any executor, and what is known from the last run.

The answer depends on the bytes of a unit's files alone, so it is kept under their hash, and a
second run over the same files reads only their hashes.
"""

import argparse
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, as_completed
from contextlib import ExitStack

from runstate_abi.layouts.findings import Finding, relabelled, spaced, unchecked
from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.witnesses import kernels
from runstate_abi.layouts.witnesses.kernels import Settings
from runstate_abi.tools import fleet
from runstate_abi.tools.check.answers import Answers
from runstate_abi.tools.fleet import Unit, opened, units
from runstate_abi.tools.output import Bar

WITNESS = kernels.WITNESS


def asked(
    paths: Sequence[str], settings: Settings, options: argparse.Namespace
) -> Iterator[Finding]:
    """Yield the Findings of all kernels in ``paths``, in the order of their names.

    Of the options: ``jobs`` processes here (None: one per core), or the cluster at ``dask``; the
    folder ``cache`` of known answers, or ``no_cache``.
    """
    found, complaints = units(paths)
    answers = None if options.no_cache else Answers(options.cache)
    with ExitStack() as stack:
        executor = stack.enter_context(fleet.executor(options.jobs, options.dask, len(found)))
        bar = stack.enter_context(Bar(len(found), "kernels"))
        by_unit = {}
        for unit, findings in answered(found, settings, executor, answers):
            by_unit[unit] = findings
            bar.advance(text=os.path.basename(unit[0])[:40])
    for why, path in complaints:
        yield settings.unchecked(path, why)
    for unit in found:
        yield from by_unit[unit]


def answered(
    found: Iterable[Unit], settings: Settings, executor: Executor | None, answers: Answers | None
) -> Iterator[tuple[Unit, list[Finding]]]:
    """Yield each unit with its Findings as they come, by ``executor`` or, without one, here.

    Known answers are taken from ``answers``, and new ones are put there.
    """
    waiting: dict[Future[list[Finding]], list[Unit]] = {}
    asked_already: dict[str, Future[list[Finding]]] = {}
    for unit in found:
        key = answers.key(unit, settings) if answers else None
        known = answers.get(key, unit) if answers and key else None
        if known is not None:
            yield unit, known
        elif executor is None:
            yield unit, _kept(ask(unit, settings), unit, key, answers)
        elif key and key in asked_already:
            # The same bytes again: the first answer serves both.
            waiting[asked_already[key]].append(unit)
        else:
            future = executor.submit(ask, unit, settings)
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
        paths = dict(zip(first, unit, strict=True))
        yield unit, [relabelled(finding, paths) for finding in findings]


def _kept(
    findings: list[Finding], unit: Unit, key: str | None, answers: Answers | None
) -> list[Finding]:
    # What failed for want of memory or of a package may not fail the next time.
    complete = not any(i.what == f.witness for f in findings for i in f.not_checked)
    if answers and key and complete:
        answers.put(key, unit, findings)
    return findings


# A worker that was killed (no memory left) is one unit that could not be checked, not the end.
def _result(future: Future[list[Finding]], unit: Unit) -> list[Finding]:
    try:
        return list(future.result())
    except Exception as error:
        why = f"{unit[0]}: its worker failed: {type(error).__name__}: {spaced(error)}"
        return [unchecked(WITNESS, unit[0], why)]


def ask(unit: Unit, settings: Settings) -> list[Finding]:
    """Return the Findings of one unit; an archive's files are called ``a.deb!boot/vmlinuz``."""
    with opened(unit) as (groups, labels, failed):
        findings = [unchecked(WITNESS, path, why) for path, why in failed]
        for group in groups:
            try:
                findings += kernels.asked_of_files(group, settings)
            except WitnessError as error:
                findings.append(unchecked(WITNESS, unit[0], str(error)))
        if not findings:
            why = f"{unit[0]}: no kernel, kvm.ko or xen-syms in this archive"
            findings.append(unchecked(WITNESS, unit[0], why))
        return [relabelled(finding, labels) for finding in findings]
