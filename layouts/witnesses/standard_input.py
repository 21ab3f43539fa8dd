"""Standard input as a file, for ``runstate check -``.

The readers map files and read them more than once. So the bytes of a pipe are kept in memory, never
on disk, under a path that they can open. This path must not appear in a finding.
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
    """Read standard input to its end and give the path of a file in memory (WitnessError).

    In a WitnessError that mentions the path, it is replaced by NAME.
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
