"""Standard input as a file: what ``runstate check -`` is told to ask.

The readers map files and look into them more than once, so what comes through a pipe is kept in
memory, never on the disk, under a name that they can open. No finding may have that name in it.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from runstate_abi.layouts.findings import Finding, relabelled
from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.witnesses.compressed import PIECE
from runstate_abi.layouts.witnesses.packages import FILE_MAX

NAME = "standard input"


@contextmanager
def as_file() -> Iterator[str]:
    """Read standard input to its end and lend the path of a file in memory (WitnessError).

    A WitnessError that mentions the path is raised with NAME in its place.
    """
    if not hasattr(os, "memfd_create"):
        raise WitnessError(f"{NAME}: it cannot be kept in memory here: give the file by its name")
    with open(os.memfd_create(NAME), "wb") as file:
        left = FILE_MAX
        while piece := sys.stdin.buffer.read(min(PIECE, left + 1)):
            left -= len(piece)
            if left < 0:
                raise WitnessError(
                    f"{NAME}: more than {FILE_MAX >> 20} MiB: give the file by its name"
                )
            file.write(piece)
        file.flush()
        # By this process's number: a worker is another process.
        path = f"/proc/{os.getpid()}/fd/{file.fileno()}"
        try:
            yield path
        except WitnessError as error:
            raise WitnessError(str(error).replace(path, NAME)) from None


def unnamed(finding: Finding, path: str) -> Finding:
    """Return what was found in the file at ``path`` as what was found in standard input."""
    known = finding._replace(path="") if finding.path == path else finding
    return relabelled(known, {path: NAME, os.path.realpath(path): NAME})
