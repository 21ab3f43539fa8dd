"""Which files of a fleet are one question: a package, a tarball, a kernel with its modules.

Law of this file: names and first bytes decide, and nothing is opened further. Files that are named
on the command line are always asked; in a folder, those that can be a kernel.
"""

import os
import re
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from runstate_abi.layouts.witnesses import packages


class Unit(NamedTuple):
    """Files that are one question, in the order in which they were found."""

    paths: tuple[str, ...]


def units(paths: Sequence[str]) -> tuple[list[Unit], list[tuple[str, str]]]:
    """Return the units in files and folders, and (why, path) for folders that have none."""
    groups: dict[str, list[str]] = {}
    complaints: list[tuple[str, str]] = []
    for path in paths:
        inside = sorted(_candidates(path)) if os.path.isdir(path) else [path]
        if not inside:
            complaints.append((f"{path}: no kernel, kvm.ko, package or tarball in it", path))
        for file in inside:
            groups.setdefault(file, [])
    return [Unit(tuple(files)) for files in _grouped(list(groups))], complaints


def _candidates(folder: str) -> Iterator[str]:
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in names:
            path = os.path.join(place, name)
            if not os.path.islink(path) and _is_candidate(path):
                yield path


# A kernel's name is asked whatever its bytes, or a damaged one would be passed over. Of other names
# ELF files are not, or every program would be; what else is a kernel is told by its bytes.
def _is_candidate(path: str) -> bool:
    if packages.UNWANTED.fullmatch(path):
        return False
    if packages.is_archive(path):
        return True
    if packages.wanted(path) and os.path.isfile(path):
        return True
    return packages.begins_like_a_kernel(packages.first_bytes(path))


def several(names: Sequence[str]) -> list[list[str]]:
    """Return the files of an archive, by name, as the kernels that they are: one list for each.

    One list of all where that leaves a module without a kernel: its BTF says which it belongs to.
    """
    groups = list(_grouped(names))
    return groups if all(any(not _is_module(f) for f in group) for group in groups) else [[*names]]


_PACKAGE = re.compile(
    r"linux-(?:image|binary|modules|modules-extra)(?:-unsigned)?-(\d[^_]*?)(?:-dbg|-unsigned)*_"
)
_IN_TREE = re.compile(r"/lib/modules/([^/]+)/")
_KERNEL = re.compile(r"vmlinu[xz]-(\d.*)")


# A version brings together what is spread over folders and packages. A module that says none
# belongs to the kernels of the nearest folder above it, as in a build tree. What is left, a package
# or a tarball without a version too, is a unit by itself.
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
