"""Files and standard input as bytes: mapped, never read whole.

Law of this file: memory stays bounded whatever the file's size, and nothing is interpreted.
"""

import mmap
import os
import stat
import sys

from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools.memory.image import Image, Piece

# Standard input cannot be mapped. What comes through a pipe is pasted text or a small image; a
# larger one has a name, and should be given by it.
KIND = "raw"
STDIN_MOST = 64 << 20


def content(source: str) -> memoryview:
    """Return the bytes of a file, mapped, or of standard input for ``-`` (WitnessError)."""
    if source == "-":
        return _stdin()
    try:
        with open(source, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                data = _bounded(file.read(STDIN_MOST + 1), source)
                if not data:
                    raise WitnessError(f"{source}: empty")
                return memoryview(data)
            if status.st_size == 0:
                raise WitnessError(f"{source}: empty file")
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WitnessError(f"{source}: {reason}") from None


def _stdin() -> memoryview:
    data = _bounded(sys.stdin.buffer.read(STDIN_MOST + 1), "standard input")
    if not data:
        raise WitnessError("standard input: empty")
    return memoryview(data)


def _bounded(data: bytes, source: str) -> bytes:
    if len(data) > STDIN_MOST:
        raise WitnessError(
            f"{source}: more than {STDIN_MOST >> 20} MiB through a pipe; give the file by its name"
        )
    return data


def image(data: memoryview, source: str, base: int = 0) -> Image:
    """Return raw memory whose first byte has the address ``base``."""
    return Image(source, KIND, (Piece(base, len(data), data),))
