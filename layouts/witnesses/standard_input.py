"""Standard input as a file, for ``runstate check -``.

The readers need a file to map. So the bytes of a pipe are kept in memory, not on disk, under a path
that can be opened. This path must not appear in a finding.
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
    """Give the path of a file in memory that has all of standard input (WitnessError)."""
    if not hasattr(os, "memfd_create"):
        raise WitnessError(f"{NAME}: it cannot be kept in memory here: give the file by its name")
    with open(os.memfd_create(NAME), "wb") as file:
        left = FILE_MAX
        while piece := sys.stdin.buffer.read(min(PIECE, left + 1)):
            left -= len(piece)
            if left < 0:
                most = f"{FILE_MAX >> 20} MiB"
                raise WitnessError(f"{NAME}: more than {most}: give the file by its name")
            file.write(piece)
        file.flush()
        # With this process's number, because a worker is another process.
        path = f"/proc/{os.getpid()}/fd/{file.fileno()}"
        try:
            yield path
        except WitnessError as error:
            raise WitnessError(str(error).replace(path, NAME)) from None


def unnamed(finding: Finding, path: str) -> Finding:
    """Return a finding about the file at ``path`` as one about standard input."""
    known = finding._replace(path="") if finding.path == path else finding
    return relabelled(known, {path: NAME, os.path.realpath(path): NAME})
