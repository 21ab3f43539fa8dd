"""Verdicts that a run before this one has proven, by the same program: they need no new search.

They are kept under a hash of every file of layouts/, of writer/ and of this folder. Nothing is
taken from there unless kept() is entered, so only the command does it, and ``docs --check`` and
``docs --prove`` never do.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from runstate_abi.layouts import conditions
from runstate_abi.tools import kept as files
from runstate_abi.writer import guard

if TYPE_CHECKING:
    from runstate_abi.writer.race import Question

ROOMS = tuple(Path(name).parent for name in (conditions.__file__, guard.__file__, __file__))
VERDICTS = ("safe", "torn", "torn, in bytes")

_known: dict[str, str] | None = None


def verdict(question: "Question", proved: "Callable[[Question], str]") -> str:
    """Return one of VERDICTS: the one that is kept, else what ``proved`` says."""
    if _known is None:
        return proved(question)
    key = files.digest(repr((question.writer.name, *question[1:])).encode())
    if key not in _known:
        _known[key] = proved(question)
    return _known[key]


@contextmanager
def kept() -> Iterator[None]:
    """Use what is kept, and keep what is proven in addition."""
    global _known
    path = Path(files.default_folder()) / "proven" / files.digest_of_program(ROOMS)
    before = _read(path)
    _known = dict(before)
    try:
        yield
        if _known != before:
            files.write(path, json.dumps(_known))
    finally:
        _known = None


def _read(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    right = isinstance(found, dict) and all(one in VERDICTS for one in found.values())
    return found if right else {}
