"""Sections of an i386 COFF object: what a compiler for 32-bit Windows makes. Enough to read ours.

Law of this file: the format as Microsoft's PE/COFF specification gives it, and no other use than
reading the constants that compiler.py planted.
"""

import struct

_I386 = 0x014C
_HEADER = struct.Struct("<HHIIIHH")
_SECTION = struct.Struct("<8sIIIIIIHHI")


def is_i386(data: bytes) -> bool:
    """Tell whether these are the bytes of an i386 COFF object file."""
    return len(data) >= _HEADER.size and _HEADER.unpack_from(data)[0] == _I386


def section(data: bytes, name: str) -> bytes | None:
    """Return the bytes of a section, None if there is none of this name (8 characters at most)."""
    _, count, _, _, _, optional_size, _ = _HEADER.unpack_from(data)
    table = _HEADER.size + optional_size
    for at in range(table, table + count * _SECTION.size, _SECTION.size):
        if at + _SECTION.size > len(data):
            return None
        raw_name, _, _, size, start, *_ = _SECTION.unpack_from(data, at)
        if raw_name.rstrip(b"\0") == name.encode():
            return data[start : start + size] if start + size <= len(data) else None
    return None
