"""Open a file of any known kind as an Image.

A file is mapped and not read, so memory use does not depend on its size.
"""

import argparse
import os
import sys
from typing import IO

from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.witnesses import elf
from runstate_abi.layouts.witnesses.compressed import mapped
from runstate_abi.tools.memory import containers, elfcore
from runstate_abi.tools.memory.image import Image, Piece
from runstate_abi.tools.memory.text import BYTES, WORDS
from runstate_abi.tools.options import address

KIND = "raw"
# Standard input cannot be mapped. A pipe carries pasted text or a small image; a larger one has a
# name and should be given by it.
STDIN_MOST = 64 << 20
NESTED_MOST = 2  # a compressed dump may have been compressed again by mistake


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how a file is read: --base, --raw and --text."""
    add = parser.add_argument
    base = "address of a raw image's byte 0"
    add("--base", type=address, default=0, metavar="ADDR", help=base)
    add("--raw", action="store_true", help="take the files as raw bytes, whatever they look like")
    order = "pasted text: its groups of digits are bytes as printed, or little-endian words"
    add("--text", choices=(BYTES, WORDS), help=order)


def asked(name: str, options: argparse.Namespace) -> Image:
    """Return the memory of a file, with the options of add_options()."""
    return opened(name, options.base, options.raw, options.text)


def opened(name: str, base: int = 0, as_raw: bool = False, order: str | None = None) -> Image:
    """Return the memory of a file or of ``-``: an ELF core, a LiME dump, pasted text, raw bytes.

    ``base`` is the address of a raw image's first byte. WitnessError says what is wrong.
    """
    data = content(name)
    source = "standard input" if name == "-" else name
    if as_raw:
        return raw_image(data, source, base)
    for _ in range(NESTED_MOST):
        known = containers.compressed_by(data)
        if known is not None:
            data = containers.inflated(data, known, source)
    return of_kind(data, source, base, order)


def of_kind(data: memoryview, source: str, base: int, order: str | None) -> Image:
    """Return the memory in data that are not compressed, of whatever kind (WitnessError)."""
    if data[: len(elf.MAGIC)] == elf.MAGIC:
        return elfcore.image(data, source)
    if data[: len(containers.LIME_MAGIC)] == containers.LIME_MAGIC:
        return containers.lime(data, source)
    containers.refuse(data, source)
    from runstate_abi.tools.memory.text import pasted as text

    if text.is_text(data):
        return text.image(data, source, order)
    if text.is_prose(data):
        raise WitnessError(f"{source}: {text.NO_FORM}; --raw takes it as bytes")
    return raw_image(data, source, base)


def content(source: str) -> memoryview:
    """Return the bytes of a file, mapped, or of standard input for ``-`` (WitnessError)."""
    if source == "-":
        return _piped(sys.stdin.buffer, "standard input")
    if os.path.isfile(source) or not os.path.exists(source):
        return memoryview(mapped(source))
    try:
        with open(source, "rb") as file:
            return _piped(file, source)
    except OSError as error:
        raise WitnessError(f"{source}: {error.strerror}") from None


def _piped(file: IO[bytes], source: str) -> memoryview:
    data = file.read(STDIN_MOST + 1)
    if not data:
        raise WitnessError(f"{source}: empty")
    if len(data) > STDIN_MOST:
        most = f"{STDIN_MOST >> 20} MiB"
        raise WitnessError(f"{source}: more than {most} through a pipe; give the file by its name")
    return memoryview(data)


def raw_image(data: memoryview, source: str, base: int = 0) -> Image:
    return Image(source, KIND, (Piece(base, len(data), data),))
