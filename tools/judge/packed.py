"""A kernel's package as its two files: kvm.ko and the kernel that it was built with.

Law of this file: which member is meant; unpacking is archives.py's business.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools.checking import archives


@contextmanager
def unpacked(binary: str, btf: str) -> Iterator[tuple[str, str]]:
    """Give the paths of code and debug info, out of packages if that is what was named.

    One package may hold both. WitnessError if a package has no such file.
    """
    packages = [path for path in (binary, btf) if path and archives.is_archive(path)]
    if not packages:
        yield binary, btf
        return
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="runstate-") as folder:
        yield _found(binary, btf, Path(folder))


def _found(binary: str, btf: str, folder: Path) -> tuple[str, str]:
    code, types = binary, btf
    if archives.is_archive(binary):
        found = _files(binary, folder / "binary")
        code = _one(binary, found, "kvm.ko", "xen-syms")
        types = btf or _maybe(found, "vmlinu")
    if btf and archives.is_archive(btf):
        types = _one(btf, _files(btf, folder / "btf"), "vmlinu")
    return code, types


def _files(package: str, folder: Path) -> dict[str, str]:
    folder.mkdir()
    return {Path(one.member).name: one.path for one in archives.extract(package, str(folder))}


def _one(package: str, found: dict[str, str], *names: str) -> str:
    for name in names:
        path = _maybe(found, name)
        if path:
            return path
    raise WitnessError(f"{package}: no {' and no '.join(names)} in this package")


def _maybe(found: dict[str, str], name: str) -> str:
    return next((path for file, path in found.items() if file.startswith(name)), "")
