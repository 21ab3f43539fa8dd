"""Many kernels at once: which files belong together, and the processes that work on them.

Files that belong together (a kernel with its modules, a package, a tarball) are a unit, and one
piece of work. Files that are named are always units; of a folder, those whose names or first bytes
are a kernel's. The work is a plain function over any concurrent.futures.Executor.
"""

import multiprocessing
import os
import re
import signal
import tempfile
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from typing import Any, NamedTuple

from runstate_abi.layouts.findings import spaced
from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.witnesses import packages

DASK_TIMEOUT_S = 10

# The paths of files that belong together, in the order in which they were found.
Unit = tuple[str, ...]


@contextmanager
def executor(jobs: int | None, dask: str | None, units: int) -> Iterator[Executor | None]:
    """Give what works on so many units: ``jobs`` processes (None: one per core), or a cluster.

    It is None where one process is enough: this one. However the command ends, no process of its
    own is left, and on Ctrl-C only the command itself says so.
    """
    if dask:
        with _dask(dask) as cluster:
            yield cluster
        return
    jobs = min(jobs or len(os.sched_getaffinity(0)), units)
    if jobs < 2:
        yield None
        return
    from concurrent.futures import ProcessPoolExecutor

    before = set(multiprocessing.active_children())
    resource_tracker.ensure_running()  # first, because it would let SIGINT through again
    with uninterrupted():
        forkserver.ensure_running()
    context = multiprocessing.get_context("forkserver")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=end_with_the_command)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        raise
    finally:
        pool.shutdown()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Start processes in which Ctrl-C does nothing: it is for the command, which ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_the_command() -> None:
    """Let this process, a worker, end when the process that started it does, if it is killed."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


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
    with client:
        # pure=False: Dask would otherwise hash the arguments and answer from its own memory.
        cluster: Executor = client.get_executor(pure=False)
        try:
            yield cluster
        except BaseException:
            cluster.shutdown(wait=False)  # it cancels what has not begun
            raise
        cluster.shutdown()


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
    if packages.is_unwanted(path):
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


class Opened(NamedTuple):
    """The files of a unit, those of archives extracted."""

    groups: tuple[Sequence[str], ...]  # the files of each kernel
    labels: Mapping[str, str]  # path of an extracted file -> ``a.deb!boot/vmlinuz``
    failed: tuple[tuple[str, str], ...]  # (archive, why) of those that cannot be read


@contextmanager
def opened(unit: Unit) -> Iterator[Opened]:
    """Extract the archives of a unit for as long as it is worked on, and tell its kernels apart."""
    with tempfile.TemporaryDirectory(prefix="runstate-") as folder:
        paths: list[str] = []
        labels: dict[str, str] = {}
        failed: list[tuple[str, str]] = []
        for number, path in enumerate(unit):
            if not packages.is_archive(path):
                paths.append(path)
                continue
            place = os.path.join(folder, str(number))
            os.mkdir(place)
            try:
                inside = packages.extract(path, place)
            except WitnessError as error:
                failed.append((path, str(error)))
                continue
            labels |= {x.path: f"{path}!{x.member.removeprefix('./')}" for x in inside}
            paths += [x.path for x in inside]
        yield Opened(tuple(_kernels(paths, labels)), labels, tuple(failed))


# An archive may have several kernels. What one lacks must not be taken from another.
def _kernels(paths: Sequence[str], labels: Mapping[str, str]) -> Iterator[Sequence[str]]:
    names = {f"/{labels[path].partition('!')[2]}": path for path in paths if path in labels}
    if len(names) < len(paths):  # files beside the archives, or two of one name
        yield paths
        return
    groups = list(_grouped(list(names)))
    if any(all(map(is_module, group)) for group in groups):
        yield paths  # a module without a kernel: its BTF says which it belongs to
        return
    for group in groups:
        yield [names[name] for name in group]


_PACKAGE = re.compile(
    r"linux-(?:image|binary|modules|modules-extra)(?:-unsigned)?-(\d[^_]*?)(?:-dbg|-unsigned)*_"
)
_IN_TREE = re.compile(r"(?:^|[/!])lib/modules/([^/]+)/")
_KERNEL = re.compile(r"vmlinu[xz]-(\d.*)")


# Files of one version belong together, also in different folders and packages. A module without a
# version belongs to the kernels of the nearest folder above it, as in a build tree. Any other file,
# or a package or tarball without a version, is a unit by itself.
def _grouped(files: Sequence[str]) -> Iterator[list[str]]:
    kernels_in = {
        os.path.dirname(f) for f in files if not is_module(f) and not packages.is_archive(f)
    }
    bare = [file for file in files if is_module(file) and not version(file)]
    trees = {tree for file in bare if (tree := _nearest(file, kernels_in)) is not None}
    groups: dict[tuple[str, str], list[str]] = {}
    for file in files:
        tree, built = _nearest(file, trees), version(file)
        if packages.is_archive(file) or tree is None:
            key = ("version", built) if built else ("file", file)
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


def version(path: str) -> str:
    """Return the version of a kernel as its file's or its package's name says, or ""."""
    name = os.path.basename(path)
    found = _PACKAGE.match(name) or _IN_TREE.search(path) or _KERNEL.fullmatch(name)
    return found[1] if found else ""


def is_module(path: str) -> bool:
    """Is this a module, by its name?"""
    return ".ko" in os.path.basename(path)
