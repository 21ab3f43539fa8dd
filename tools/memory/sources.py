"""A name on the command line becomes an Image: the one place that knows every kind of source."""

import argparse

from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools.memory import compressed, containers, elfcore, forms, raw, text
from runstate_abi.tools.memory.image import Image

NESTED_MOST = 2  # a compressed dump may be compressed again, by mistake


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what says how a file is read: --base, --raw and --text."""
    from runstate_abi.tools.options import address

    add = parser.add_argument
    add(
        "--base",
        type=address,
        default=0,
        metavar="ADDR",
        help="address of a raw image's byte 0",
    )
    add("--raw", action="store_true", help="take the files as raw bytes, whatever they look like")
    order = "pasted text: its groups of digits are bytes as printed, or little-endian words"
    add("--text", choices=(forms.BYTES, forms.WORDS), help=order)


def asked(name: str, options: argparse.Namespace) -> Image:
    """Return the memory of a file as the options of add_options() say."""
    return opened(name, options.base, options.raw, options.text)


def opened(name: str, base: int = 0, as_raw: bool = False, order: str | None = None) -> Image:
    """Return the memory of a file or of ``-``: an ELF core, a LiME dump, pasted text, raw bytes.

    ``base`` is the address of a raw image's first byte. WitnessError says what is wrong.
    """
    data = raw.content(name)
    source = "standard input" if name == "-" else name
    if as_raw:
        return raw.image(data, source, base)
    for _ in range(NESTED_MOST):
        known = compressed.how(data)
        if known is not None:
            data = compressed.inflated(data, known, source)
    return _of_kind(data, source, base, order)


def _of_kind(data: memoryview, source: str, base: int, order: str | None) -> Image:
    if elfcore.is_elf(data):
        return elfcore.image(data, source)
    if containers.is_lime(data):
        return containers.lime(data, source)
    containers.refuse(data, source)
    if text.is_text(data):
        return text.image(data, source, order)
    if text.is_prose(data):
        raise WitnessError(
            f"{source}: text, but of no form known here ({text.KNOWN}); --raw takes it as bytes"
        )
    return raw.image(data, source, base)
