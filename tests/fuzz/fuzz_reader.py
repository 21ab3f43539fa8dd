"""Fuzz what `runstate race --reader-object` runs: any code as the reader of a guest.

    python tests/fuzz/fuzz_reader.py -max_total_time=60

atheris (PyPI) drives it by coverage. Anything but a Reader or a WitnessError of one line is a
finding, and so is an input that takes longer than ten seconds or half a gigabyte; libFuzzer's own
options may follow the file's name.
"""

import sys
import tempfile
from pathlib import Path

import atheris
import tiny_elf

with atheris.instrument_imports(include=["runstate_abi"]):
    from runstate_abi.layouts.model import WitnessError
    from runstate_abi.writer.witnesses.guests.file import found

FOLDER = tempfile.TemporaryDirectory()
PLACE = Path(FOLDER.name)
NAMES = tuple(tiny_elf.MACHINES)
POINTERS = "int f(const void *area, void *out)", ""
GLOBAL = "unsigned long f(void)", "area"
# Where a program and its area may be, some of it where nothing can be.
PLACES = (
    (0x40_0000, (0x60_1000, 64)),
    (0x40_0000, (0x40_0010, 64)),
    (0x40_0000, (-16, 64)),
    (0xFFFF_FFFF_8100_0000, (0xFFFF_FFFF_8200_0000, 1 << 40)),
    (0x3000_0000, (0x7100_0020, 64)),
)


def one(data):
    """One input: three bytes choose the machine, the file and what is damaged; the rest is code."""
    if len(data) < 3:
        return
    machine, how, damage = NAMES[data[0] % 4], data[1], data[2]
    said, area = GLOBAL if how & 1 else POINTERS
    code, relocations = data[3:], b""
    if how & 2:
        relocations, code = code[:48], code[48:]
    where = PLACES[how >> 3 & 7] if how >> 3 & 7 < len(PLACES) else None
    file = tiny_elf.made(machine, code, relocations, *((2, *where) if where else ()))
    if how & 4:
        at = damage % len(file)
        file = file[:at] if damage & 1 else file[:at] + bytes([damage]) + file[at + 1 :]
    path = PLACE / "fuzz.o"
    path.write_bytes(file)
    try:
        found(str(path), "f", said, area, None)
    except WitnessError as error:
        if "\n" in str(error):
            raise ValueError(f"a message of more than one line: {error!r}") from error


def main():
    """Hand over to libFuzzer."""
    for number, name in enumerate(NAMES):
        for how in (7 << 3, 7 << 3 | 1, 0, 1):  # an object, a program; an area that is global
            seed = bytes([number, how, 0]) + tiny_elf.READERS[name]
            (PLACE / f"seed{number}-{how}").write_bytes(seed)
    limits = ["-timeout=10", "-rss_limit_mb=512", "-max_len=512", "-len_control=0"]
    atheris.Setup([sys.argv[0], *limits, *sys.argv[1:], FOLDER.name], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
