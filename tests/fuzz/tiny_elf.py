"""The smallest objects with a function in them: any bytes as the code of any of four machines."""

import struct

# What guests/cpus.py knows: (class, machine).
MACHINES = {"x86-64": (64, 62), "i386": (32, 3), "arm64": (64, 183), "arm32": (32, 40)}
# Two looks at the entry time, state and time[1] between them: gcc -Os. It returns 1 if it accepts.
# fmt: off
READERS = {
    "x86-64": "488b570831c04885d278198b078906488b471848894618488b47084839d00f94c00fb6c0c3",
    "i386":   "5731c056538b7424108b7c24148b4e048b5e0885db78228b068b561889078b46148957188947148b"
              "46048b560831c831da09d00f94c00fb6c05b5e5fc3",
    "arm64":  "020440f94201f8b7030040b9230000b9030c40f9230c00f9bf3b03d5000440f91f0002ebe0179f1a"
              "c0035fd600008052feffff17",
    "arm32":  "d820c0e1000053e30b0000ba30402de900c090e5d841c0e100c081e5f841c1e15bf07ff5d800c0e1"
              "030051e1020050010100a0030000a0133080bde80000a0e31eff2fe1",
}
# fmt: on
READERS = {name: bytes.fromhex(code) for name, code in READERS.items()}
NAMES = b"\0f\0area\0.text\0.bss\0.symtab\0.strtab\0.rel\0"
EHDR = {64: "<16sHHIQQQIHHHHHH", 32: "<16sHHIIIIIHHHHHH"}
SHDR = {64: "<IIQQQQIIQQ", 32: "<IIIIIIIIII"}
SYM = {64: "<IBBHQQ", 32: "<IIIBBH"}
EHDR_SIZE, EXEC, ALLOC = {64: 64, 32: 52}, 6, 3


def made(machine, code, relocations=b"", kind=1, address=0, area=(0, 64)):
    """Return an ELF file with the function ``f`` and the object ``area`` = (address, size).

    ``kind`` is e_type: 1 an object, 2 a program; a program's code is at ``address``.
    """
    bits, number = MACHINES[machine]
    symbols = [_symbol(bits, b"", 0, 0, 0, 0), _symbol(bits, b"f", 2, 1, address, len(code))]
    symbols.append(_symbol(bits, b"area", 1, 2, *area))
    rela = bits == 64
    contents = [
        # name, type, flags, address, bytes, size if not theirs, link, info, entry
        (b"", 0, 0, 0, b"", 0, 0, 0, 0),
        (b".text", 1, EXEC, address, code, None, 0, 0, 0),
        (b".bss", 8, ALLOC, area[0], b"", area[1], 0, 0, 0),
        (b".symtab", 2, 0, 0, b"".join(symbols), None, 4, 1, struct.calcsize(SYM[bits])),
        (b".strtab", 3, 0, 0, NAMES, None, 0, 0, 0),
        (b".rel", 4 if rela else 9, 0, 0, relocations, None, 3, 1, 24 if rela else 8),
    ]
    at, body, headers = EHDR_SIZE[bits], b"", b""
    for name, type_, flags, where, data, size, link, info, entry in contents:
        size = len(data) if size is None else size
        named = NAMES.index(name + b"\0")
        row = (named, type_, flags, where, at + len(body), size, link, info, 1, entry)
        headers += struct.pack(SHDR[bits], *(one & (1 << bits) - 1 for one in row))
        body += data
    ident = b"\x7fELF" + bytes([bits // 32, 1, 1]) + bytes(9)
    sizes = (EHDR_SIZE[bits], 0, 0, struct.calcsize(SHDR[bits]), len(contents), 4)
    start = at + len(body)
    return struct.pack(EHDR[bits], ident, kind, number, 1, 0, 0, start, 0, *sizes) + body + headers


def _symbol(bits, name, kind, section, value, size):
    named, value = NAMES.index(name + b"\0"), value & (1 << bits) - 1
    if bits == 64:
        return struct.pack(SYM[bits], named, kind | 0x10, 0, section, value, size)
    return struct.pack(SYM[bits], named, value, size & 0xFFFF_FFFF, kind | 0x10, 0, section)
