"""Fuzz what reads strangers' bytes: cores, LiME, compressed dumps, pasted text, and what follows.

    python tests/fuzz/fuzz_memory.py -max_total_time=60

atheris (PyPI) drives it by coverage. Anything but an answer or a WitnessError of one line is a
finding, and so is an input that takes longer than a second (-timeout) or a gigabyte
(-rss_limit_mb): pass libFuzzer's own options behind the file's name.
"""

import gzip
import lzma
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["runstate_abi"]):
    from runstate_abi.layouts.model import WitnessError
    from runstate_abi.layouts.witnesses import compressed
    from runstate_abi.tools.memory import containers, elfcore, json_view, sources, text_view
    from runstate_abi.tools.memory.area import LAYOUTS, excerpt, read_as
    from runstate_abi.tools.memory.decision import decide
    from runstate_abi.tools.memory.observations import compare, deltas, observe
    from runstate_abi.tools.memory.search import finding
    from runstate_abi.tools.memory.text import pasted as text


def unpacked(data, source):
    """What a compressed file holds, as any other file."""
    known = containers.compressed_by(data)
    if known is None:
        raise WitnessError("not compressed")
    return anything(containers.inflated(data, known, source), source)


def anything(data, source):
    """A file of any kind."""
    return sources.of_kind(data, source, 0, None)


def words(data, source):
    """Text whose groups are words because an option says so."""
    return text.image(data, source, "words")


compressed.STREAM_MAX = 1 << 20
READERS = (sources.raw_image, text.image, elfcore.image, containers.lime, unpacked, anything, words)
CORE = b"\x7fELF\2\1\1" + bytes(9) + b"\4\0\x3e\0"
HEADS = (b"", b"", CORE, b"EMiL\1\0\0\0", b"", b"", b"")
DATA = Path(__file__).parent.parent / "data" / "pages"
FIND_MOST = 1 << 16


def explained(image, address):
    """Do all that the command does with an area, short of printing it."""
    seen = excerpt(image, address)
    decide(seen, image.machine)
    for layout in LAYOUTS.values():
        if len(seen.data) < layout.size:
            continue
        shown = read_as(layout, seen)
        found = observe(shown) + compare(shown.values, shown.values)
        list(text_view.observed(found))
        list(text_view.body(shown))
        list(text_view.growth(deltas(shown.values, shown.values), "x"))
        json_view.area(shown, "x", ())


def one(data):
    """One input: its first byte chooses the reader, its next eight an address."""
    if len(data) < 9:
        return
    choice = data[0] % len(READERS)
    address = int.from_bytes(data[1:9], "little")
    content = memoryview(HEADS[choice] + data[9:])
    try:
        image = READERS[choice](content, "fuzz")
        explained(image, image.pieces[0].address)
        if image.size <= FIND_MOST:
            finding.find(image, image, lambda count: None)
        explained(image, address)
    except WitnessError as error:
        if "\n" in str(error):
            raise ValueError(f"a message of more than one line: {error!r}") from error


def seeds(folder):
    """Write one good input for each reader: coverage finds its way from there."""
    core = (DATA / "xen417_busy.elfcore").read_bytes()
    page = (DATA / "xen417_busy_d1_cpu0.page.bin").read_bytes()[0xB80:0xC00]
    rows = [(at, page[at : at + 16]) for at in range(0, len(page), 16)]
    texts = (
        "\n".join(f"{at:08x}: {row.hex(' ', 2)}  ................" for at, row in rows),
        "\n".join(f"{at:08x}  {row.hex(' ')}\n*" for at, row in rows) + "\n00000100",
        "\n".join(
            f"0x{at:x} <a+{at}>:\t0x{row[7::-1].hex()}\t0x{row[:7:-1].hex()}" for at, row in rows
        ),
        "\n".join(f"{at:016x}: " + " ".join(f"0x{b:02x}" for b in row) for at, row in rows),
    )
    inputs = [b"\0" + bytes(8) + page, b"\2" + bytes(8) + core[len(CORE) :]]
    texts += (
        page.hex(),
        page.hex(" "),
        repr(page),
        "unsigned char a[] = {" + ", ".join(f"{byte:#04x}" for byte in page) + "};",
        "$1 = {state = 0x0, state_entry_time = 0xe8, time = {0x1, 0x2, 0x3, 0x4}}",
        "\n".join(f"[    1.5] rs: {at:08x}: {row[::-1].hex()}  ..." for at, row in rows),
        "\n".join(f"ffff8880`{at:08x}  {row.hex(' ')}  ................" for at, row in rows),
        "\n".join(f"{at:07o} {row[1]:03o} {row[2]:03o}" for at, row in rows),
        '{"return":"0000000000000010: 0x01 0x02\\r\\n","id":"libvirt-1"}',
    )
    inputs += [b"\1" + bytes(8) + one_text.encode() for one_text in texts]
    inputs += [b"\5" + bytes(8) + texts[0].encode("utf-16"), b"\6" + bytes(8) + texts[2].encode()]
    inputs += [b"\3" + bytes(8) + bytes(8) + b"\x7f" + bytes(15) + page]
    inputs += [b"\4" + bytes(8) + pack(page) for pack in (gzip.compress, lzma.compress)]
    for number, content in enumerate(inputs):
        (Path(folder) / f"seed{number}").write_bytes(content)


def main():
    """Hand over to libFuzzer."""
    with tempfile.TemporaryDirectory() as folder:
        seeds(folder)
        limits = ["-timeout=5", "-rss_limit_mb=1024", "-max_len=8192", "-len_control=0"]
        atheris.Setup([sys.argv[0], *limits, *sys.argv[1:], folder], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
