"""Many kernels at once: what each says, over any executor, and the answers of earlier runs.

An answer is kept under a hash of everything that it depends on: the bytes of a unit's files, the
options, the claims, and the source of the readers. If one of them changes, the files are asked
again, as they are if an answer cannot be read. No file of the cache may ever be executed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, as_completed
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from runstate_abi.layouts import conditions, model
from runstate_abi.layouts.findings import Finding, NotChecked, relabelled, spaced, unchecked
from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.structs import runstate
from runstate_abi.layouts.witnesses import kernels, packages
from runstate_abi.layouts.witnesses.debug_info import BTF, Settings
from runstate_abi.tools import fleet
from runstate_abi.tools.fleet import Unit, opened, units
from runstate_abi.tools.kept import default_folder, digest, digest_of_program, write
from runstate_abi.tools.output import Bar

FORMAT = "runstate-answers/1"
# What reads and what groups: layouts/, this folder, and the module that check and judge share.
ROOMS = (Path(conditions.__file__).parent, Path(__file__).parent)
MODULES = (Path(fleet.__file__),)
# A file that changed less than this before it was hashed may change again within one time stamp.
SETTLED_S = 2.0


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
        return [unchecked(BTF, unit[0], why)]


def ask(unit: Unit, settings: Settings) -> list[Finding]:
    """Return the Findings of one unit; an archive's files are called ``a.deb!boot/vmlinuz``."""
    with opened(unit) as (groups, labels, failed):
        findings = [unchecked(BTF, path, why) for path, why in failed]
        for group in groups:
            try:
                findings += kernels.asked_of_files(group, settings)
            except WitnessError as error:
                findings.append(unchecked(BTF, unit[0], str(error)))
        if not findings:
            why = f"{unit[0]}: no kernel, kvm.ko or xen-syms in this archive"
            findings.append(unchecked(BTF, unit[0], why))
        return [relabelled(finding, labels) for finding in findings]


# The values that an answer is made of.
_TYPES = {
    kind.__name__: kind
    for kind in (
        Finding,
        NotChecked,
        model.Layout,
        model.Field,
        model.Scalar,
        model.Difference,
        conditions.Evaluation,
        conditions.Condition,
    )
}


class Answers:
    """A folder of answers; where it cannot be used, every file is asked again."""

    def __init__(self, folder: str | None = None) -> None:
        self.folder = Path(folder or default_folder())
        # The claims as they are, and the source text of all that reads.
        claims = repr((runstate.CLAIMS, conditions.CONDITIONS)).encode()
        self.program = digest_of_program((*ROOMS, *MODULES), claims)

    def key(self, paths: Sequence[str], settings: Settings) -> str | None:
        """Return what an answer about these files is kept under; None if one cannot be read."""
        try:
            base = [self.hash(settings.btf_base)] if settings.btf_base else []
            hashes = [self.hash(path) for path in paths]
        except OSError:
            return None
        asked = (*settings[:2], sorted(settings.allowed), *settings[3:])
        # A compressed tarball is recognised by its name, so the bytes alone are no key.
        kinds = [packages.is_archive(path) for path in paths]
        return digest(repr((FORMAT, self.program, asked, kinds, base, hashes)).encode())

    def hash(self, path: str) -> str:
        """Return the SHA-256 of a file, from its time stamps if it has been hashed (OSError)."""
        status = os.stat(path)
        stamps = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        known = self.folder / "hashes" / digest(repr((*stamps, status.st_ctime_ns)).encode())
        try:
            return known.read_text(encoding="ascii")
        except (OSError, ValueError):
            pass
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if time.time() - max(status.st_mtime, status.st_ctime) > SETTLED_S:
            write(known, found)
        return found

    def get(self, key: str, paths: Sequence[str]) -> list[Finding] | None:
        """Return a known answer, about files that are at ``paths`` today."""
        try:
            text = (self.folder / "answers" / key).read_text(encoding="utf-8")
            findings = _decoded(json.loads(text))
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None
        if not isinstance(findings, tuple) or not all(isinstance(f, Finding) for f in findings):
            return None
        return [relabelled(f, {_label(n): path for n, path in enumerate(paths)}) for f in findings]

    def put(self, key: str, paths: Sequence[str], findings: Iterable[Finding]) -> None:
        """Keep an answer, its paths replaced by their numbers."""
        labels = {path: _label(number) for number, path in enumerate(paths)}
        kept = tuple(relabelled(finding, labels) for finding in findings)
        write(self.folder / "answers" / key, json.dumps(_encoded(kept)))


def _label(number: int) -> str:
    return f"\0{number}\0"


# JSON has no tuples: [name of the type, its values], "" being a plain tuple.
def _encoded(value: Any) -> Any:
    if not isinstance(value, tuple):
        return value
    name = type(value).__name__ if hasattr(value, "_fields") else ""
    return [name, *map(_encoded, value)]


def _decoded(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    name, *parts = value
    made = [_decoded(part) for part in parts]
    return _TYPES[name](*made) if name else tuple(made)
