"""``runstate race --export``: the small questions as files for herd7 and for CBMC.

Law of this file: it chooses questions and writes files; their text is made in writer/.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from runstate_abi.layouts.model import WitnessError
from runstate_abi.writer.racing import cbmc, litmus
from runstate_abi.writer.racing.small import Small, smalls

# One in so many of the small questions, by verdict: primes, so that no part of the product is
# always the same, and of the rarer verdict more.
EVERY = {("weak", False): 3, ("weak", True): 89, ("x86-tso", False): 19, ("x86-tso", True): 35}


def chosen(model: str) -> Iterator[Small]:
    """Yield the questions of a model that are exported."""
    seen = {False: 0, True: 0}
    for small in smalls(model):
        if seen[small.torn] % EVERY[model, small.torn] == 0:
            yield small
        seen[small.torn] += 1


def main(kind: str, folder: str) -> int:
    """Write the files into ``folder`` and say how many; return the exit code."""
    made = 0
    try:
        for path, text in files(kind):
            where = Path(folder) / path
            where.parent.mkdir(parents=True, exist_ok=True)
            where.write_text(text, encoding="ascii")
            made += 1
    except OSError as error:
        raise WitnessError(f"{error.filename}: cannot be written: {error.strerror}") from None
    print(f"runstate: {made} files in {folder}", file=sys.stderr)
    return 0


def files(kind: str) -> Iterator[tuple[str, str]]:
    """Yield (path, text): ``litmus`` for herd7, ``cbmc`` for CBMC."""
    if kind == "litmus":
        for small in chosen("weak"):
            yield f"lkmm/{small.name}.litmus", litmus.lkmm(small)
        for small in chosen("x86-tso"):
            yield f"x86/{small.name}.litmus", litmus.x86(small)
    else:
        for small in chosen("x86-tso"):
            yield f"{small.name}.c", cbmc.c_source(small)
