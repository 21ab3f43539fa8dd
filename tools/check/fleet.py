"""Many kernels at once: folders, packages and tarballs, over any concurrent.futures.Executor.

Files that belong together (a kernel with its modules, a package, a tarball) are asked together. The
answer depends on their bytes alone, so it is kept under their hash, and a second run over the same
files reads only their hashes. Files that are named are always asked; of a folder, those whose names
or first bytes are a kernel's.
"""

import argparse
import os
import re
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, as_completed
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

from runstate_abi.layouts.findings import Finding, relabelled, spaced, unchecked
from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.witnesses import kernels, packages
from runstate_abi.layouts.witnesses.kernels import Settings
from runstate_abi.tools.check.answers import Answers
from runstate_abi.tools.output import Bar

WITNESS = kernels.WITNESS
DASK_TIMEOUT_S = 10


# The paths of files that belong together, in the order in which they were found.
Unit = tuple[str, ...]


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
        executor = stack.enter_context(_executor(options, len(found)))
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
    with tempfile.TemporaryDirectory(prefix="runstate-") as folder:
        paths: list[str] = []
        labels: dict[str, str] = {}
        findings: list[Finding] = []
        for number, path in enumerate(unit):
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
                findings += kernels.asked_of_files(group, settings)
            except WitnessError as error:
                findings.append(unchecked(WITNESS, unit[0], str(error)))
        if not findings:
            why = f"{unit[0]}: no kernel, kvm.ko or xen-syms in this archive"
            findings.append(unchecked(WITNESS, unit[0], why))
        return [relabelled(finding, labels) for finding in findings]


# An archive may have several kernels. What one lacks must not be taken from another.
def _kernels(paths: Sequence[str], labels: Mapping[str, str]) -> Iterator[Sequence[str]]:
    names = {f"/{labels[path].partition('!')[2]}": path for path in paths if path in labels}
    if len(names) < len(paths):  # files beside the archives, or two of one name
        yield paths
        return
    groups = list(_grouped(list(names)))
    if any(all(map(_is_module, group)) for group in groups):
        yield paths  # a module without a kernel: its BTF says which it belongs to
        return
    for group in groups:
        yield [names[name] for name in group]


def _executor(options: argparse.Namespace, count: int) -> AbstractContextManager[Executor | None]:
    if options.dask:
        return _dask(options.dask)
    jobs = min(options.jobs or len(os.sched_getaffinity(0)), count)
    if jobs < 2:
        return nullcontext(None)
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    return ProcessPoolExecutor(jobs, mp_context=get_context("forkserver"))


@contextmanager
def _dask(address: str) -> Iterator[Executor]:
    try:
        import distributed
    except ImportError:
        raise WitnessError("--dask needs: pip install 'runstate-abi[dask]'") from None
    try:
        connect: Any = distributed.Client  # it has no types
        client = connect(address, timeout=DASK_TIMEOUT_S)
    except (OSError, ValueError, ImportError) as error:
        raise WitnessError(f"--dask {address}: {spaced(error)}") from None
    # pure=False: Dask would otherwise hash the arguments and answer from its own memory.
    with client, client.get_executor(pure=False) as executor:
        yield executor


def units(paths: Sequence[str]) -> tuple[list[Unit], list[tuple[str, str]]]:
    """Return the units in files and folders, and (why, path) for folders that have none."""
    files: dict[str, None] = {}  # as a set that keeps its order
    complaints: list[tuple[str, str]] = []
    for path in paths:
        inside = [path]
        if os.path.isdir(path):
            every = (os.path.join(place, name) for place, _, n in os.walk(path) for name in n)
            names = sorted(every)
            inside = _once([file for file in names if _is_candidate(file)])
            lost = [f for f in names if packages.wanted(f) and not os.path.exists(f)]
            complaints += [(f"{file}: a link to a file that is not there", file) for file in lost]
        if not inside:
            complaints.append((f"{path}: no kernel, kvm.ko, package or tarball in it", path))
        files |= dict.fromkeys(inside)
    return [tuple(group) for group in _grouped(list(files))], complaints


# A file with a kernel's name is asked in any case, or a damaged one would be skipped. A file with
# another name must begin like a kernel. ELF files are excluded, or every program would count.
def _is_candidate(path: str) -> bool:
    if packages.UNWANTED.fullmatch(path):
        return False
    if packages.is_archive(path) or (packages.wanted(path) and os.path.isfile(path)):
        return True
    return packages.begins_like_a_kernel(packages.first_bytes(path))


# Without the symbolic links to files that are there anyway: /boot has vmlinuz -> vmlinuz-6.12.
def _once(files: Sequence[str]) -> list[str]:
    real = {os.path.realpath(file) for file in files if not os.path.islink(file)}
    links = {os.path.realpath(file): file for file in reversed(files) if os.path.islink(file)}
    kept = {file for target, file in links.items() if target not in real}
    return [file for file in files if file in kept or not os.path.islink(file)]


_PACKAGE = re.compile(
    r"linux-(?:image|binary|modules|modules-extra)(?:-unsigned)?-(\d[^_]*?)(?:-dbg|-unsigned)*_"
)
_IN_TREE = re.compile(r"/lib/modules/([^/]+)/")
_KERNEL = re.compile(r"vmlinu[xz]-(\d.*)")


# Files of one version belong together, also in different folders and packages. A module without a
# version belongs to the kernels of the nearest folder above it, as in a build tree. Any other file,
# or a package or tarball without a version, is a unit by itself.
def _grouped(files: Sequence[str]) -> Iterator[list[str]]:
    kernels_in = {
        os.path.dirname(f) for f in files if not _is_module(f) and not packages.is_archive(f)
    }
    bare = [file for file in files if _is_module(file) and not _version(file)]
    trees = {tree for file in bare if (tree := _nearest(file, kernels_in)) is not None}
    groups: dict[tuple[str, str], list[str]] = {}
    for file in files:
        tree, version = _nearest(file, trees), _version(file)
        if packages.is_archive(file) or tree is None:
            key = ("version", version) if version else ("file", file)
        else:
            key = ("tree", tree)
        groups.setdefault(key, []).append(file)
    yield from groups.values()


def _nearest(file: str, folders: Collection[str]) -> str | None:
    folder = os.path.dirname(file)
    while folder not in folders:
        above = os.path.dirname(folder)
        if above == folder:
            return None
        folder = above
    return folder


def _version(path: str) -> str:
    name = os.path.basename(path)
    found = _PACKAGE.match(name) or _IN_TREE.search(path) or _KERNEL.fullmatch(name)
    return found[1] if found else ""


def _is_module(path: str) -> bool:
    return ".ko" in os.path.basename(path)
