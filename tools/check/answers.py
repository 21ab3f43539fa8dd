"""Answers of earlier runs, kept under a hash of everything that they depend on.

That is the bytes of the files, the options, the claims, and the source of the readers: if one of
them changes, the files are asked again, as they are if an answer cannot be read. No file of the
cache may ever be executed.
"""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from runstate_abi.layouts import conditions, model
from runstate_abi.layouts.findings import Finding, NotChecked, relabelled
from runstate_abi.layouts.structs import runstate
from runstate_abi.layouts.witnesses import packages
from runstate_abi.layouts.witnesses.kernels import Settings

FORMAT = "runstate-answers/1"
ROOMS = (Path(conditions.__file__).parent, Path(__file__).parent)  # layouts/ and this folder
# A file that changed less than this before it was hashed may change again within one time stamp.
SETTLED_S = 2.0

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
        texts = [path.read_bytes() for room in ROOMS for path in sorted(room.rglob("*.py"))]
        claims = repr((runstate.CLAIMS, conditions.CONDITIONS)).encode()
        self.program = digest(b"\0".join((claims, *texts)))

    def key(self, paths: Sequence[str], settings: Settings) -> str | None:
        """Return what an answer about these files is kept under; None if one cannot be read."""
        try:
            base = [self.hash(settings.btf_base)] if settings.btf_base else []
            hashes = [self.hash(path) for path in paths]
        except OSError:
            return None
        asked = (*settings[:2], sorted(settings.allowed), settings.mirrors)
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
            _write(known, found)
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
        _write(self.folder / "answers" / key, json.dumps(_encoded(kept)))


def default_folder() -> str:
    """Return ``$XDG_CACHE_HOME/runstate-abi``, or the same under ~/.cache."""
    root = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(root, "runstate-abi")


def digest(data: bytes) -> str:
    """Return the SHA-256 of some bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def _label(number: int) -> str:
    return f"\0{number}\0"


def _write(path: Path, text: str) -> None:
    # Renamed into place: another process may read it at the same time. No cache is no error.
    try:
        folder = path.parent
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("wb", dir=folder, delete=False) as file:
            file.write(text.encode())
        os.replace(file.name, path)
    except OSError:
        pass


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
