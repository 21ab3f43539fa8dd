"""Verdicts that a run before this one has proven, by the same program: they need no new search.

They are kept under a hash of every file of layouts/, of writer/, of this folder and of
the player's. Nothing is taken from there unless kept() is entered, so only the command does it:
``docs --check`` and ``docs --prove`` never do.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runstate_abi.layouts import conditions
from runstate_abi.tools import kept as files
from runstate_abi.tools import player
from runstate_abi.writer import guard

if TYPE_CHECKING:
    from runstate_abi.writer.race import Question

ROOMS = tuple(
    Path(name).parent for name in (conditions.__file__, guard.__file__, __file__, player.__file__)
)
VERDICTS = ("safe", "torn", "torn, in bytes")

_known: dict[str, Any] | None = None


def verdict(question: "Question", proved: "Callable[[Question], str]") -> str:
    """Return one of VERDICTS: the one that is kept, else what ``proved`` says."""
    if _known is None:
        return proved(question)
    key = files.digest(repr((question.writer.name, *question[1:])).encode())
    if _known.get(key) not in VERDICTS:
        _known[key] = proved(question)
    return str(_known[key])


def values(name: str, made: "Callable[[], dict[str, Any]]") -> dict[str, Any]:
    """Return JSON values that are made of many verdicts: those kept, else what ``made`` returns."""
    if _known is None:
        return made()
    if not isinstance(_known.get(name), dict):
        _known[name] = made()
    found: dict[str, Any] = _known[name]
    return found


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


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
