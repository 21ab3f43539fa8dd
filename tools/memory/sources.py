"""A name on the command line becomes an Image: the one place that knows every kind of source."""

from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools.memory import elfcore, raw, text
from runstate_abi.tools.memory.image import Image

# makedumpfile's and QEMU's compressed dumps; Xen's dump-core is an ELF file.
KDUMP_MAGIC = (b"KDUMP   ", b"makedumpfile")


def is_kdump(data: memoryview) -> bool:
    """Tell whether the data begin as a compressed kernel dump does."""
    return any(bytes(data[: len(magic)]) == magic for magic in KDUMP_MAGIC)


def opened(name: str, base: int = 0, as_raw: bool = False) -> Image:
    """Return the memory of a file or of ``-``: an ELF core, pasted text, or raw bytes.

    ``base`` is the address of a raw image's first byte. WitnessError says what is wrong.
    """
    data = raw.content(name)
    source = "standard input" if name == "-" else name
    if as_raw:
        return raw.image(data, source, base)
    if elfcore.is_elf(data):
        return elfcore.image(data, source)
    if is_kdump(data):
        raise WitnessError(
            f"{source}: a compressed kernel dump; hexdump --drgn reads it (extra `drgn`)"
        )
    if text.is_text(data):
        return text.image(data, source)
    if text.is_prose(data):
        raise WitnessError(f"{source}: text, but of no form known here; --raw takes it as bytes")
    return raw.image(data, source, base)
