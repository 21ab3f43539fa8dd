"""Files that are kept between runs. They may be lost at any time, and none is ever executed."""

import hashlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path


def default_folder() -> str:
    """Return ``$XDG_CACHE_HOME/runstate-abi``, or the same under ~/.cache."""
    root = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(root, "runstate-abi")


def digest(data: bytes) -> str:
    """Return the SHA-256 of some bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def digest_of_program(rooms: Iterable[Path], more: bytes = b"") -> str:
    """Return the SHA-256 of every module in some folders, or files, and of ``more``."""
    every = (
        p for room in rooms for p in ([room] if room.is_file() else sorted(room.rglob("*.py")))
    )
    return digest(b"\0".join((more, *(path.read_bytes() for path in every))))


def write(path: Path, text: str) -> None:
    """Write a file, or leave what is there: if it cannot be kept, that is no error."""
    # Renamed into place: another process may read it at the same time.
    try:
        folder = path.parent
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("wb", dir=folder, delete=False) as file:
            file.write(text.encode())
        os.replace(file.name, path)
    except OSError:
        pass
