"""Hand-made inputs: a BTF assembler and an ELF assembler, each a page long.

They know the formats on their own: nothing of the readers that they test is imported here.
"""

import struct

import pytest

# include/uapi/linux/btf.h
KIND = {
    "UNKN": 0, "INT": 1, "PTR": 2, "ARRAY": 3, "STRUCT": 4, "UNION": 5, "ENUM": 6, "FWD": 7,
    "TYPEDEF": 8, "VOLATILE": 9, "CONST": 10, "RESTRICT": 11, "FUNC": 12, "FUNC_PROTO": 13,
    "VAR": 14, "DATASEC": 15, "FLOAT": 16, "DECL_TAG": 17, "TYPE_TAG": 18, "ENUM64": 19,
}  # fmt: skip
SIGNED = 1 << 24


class BtfAssembler:
    """Types in order, as words; ``build()`` makes the blob."""

    def __init__(self, order="<", base=None):
        self.order = order
        self.first_id = base.first_id + base.count if base else 1
        self.first_string = base.first_string + len(base.strings) if base else 0
        self.strings = b"" if base else b"\0"
        self.types = b""
        self.count = 0

    def string(self, text):
        """Return the offset of a name, new each time; the empty one is at 0."""
        if not text:
            return 0
        self.strings += text.encode() + b"\0"
        return self.first_string + len(self.strings) - len(text.encode()) - 1

    def words(self, *values):
        """Pack words of 32 bits."""
        return struct.pack(f"{self.order}{len(values)}I", *values)

    def type(self, kind, name="", size=0, parts=(), vlen=0, flag=0):
        """Add any type and return its id: ``size`` is the third word, ``parts`` what follows."""
        number = KIND[kind] if isinstance(kind, str) else kind
        offset = name if isinstance(name, int) else self.string(name)
        self.types += self.words(offset, flag << 31 | number << 24 | vlen, size, *parts)
        self.count += 1
        return self.first_id + self.count - 1

    def int(self, name, size, encoding=0):
        """Add an integer of ``size`` bytes."""
        return self.type("INT", name, size, [encoding | size * 8])

    def struct(self, name, size, *members, kind="STRUCT", flag=0):
        """Add a struct; a member is (name, type, byte), or (name, type, bit, width) with flag=1."""
        parts = []
        for member, type_, at, *width in members:
            offset = width[0] << 24 | at if flag and width else at * 8
            parts += [self.string(member), type_, offset]
        return self.type(kind, name, size, parts, len(members), flag)

    def array(self, element, count):
        """Add an array."""
        return self.type("ARRAY", parts=[element, element, count])

    def build(self, layout=(), header_size=24, gap=b""):
        """Return the blob; ``layout`` are (bytes once, bytes each) for kinds from 0 on."""
        table = b"".join(struct.pack(f"{self.order}BBH", *sizes, 0) for sizes in layout)
        header_size = max(header_size, 32) if layout else header_size
        header = struct.pack(
            f"{self.order}HBBI",
            0xEB9F,  # magic
            1,  # version
            0,  # flags
            header_size,  # hdr_len
        )
        header += self.words(
            0,  # type_off
            len(self.types),  # type_len
            len(self.types) + len(gap) + len(table),  # str_off
            len(self.strings),  # str_len
        )
        if layout:
            header += self.words(len(self.types) + len(gap), len(table))  # layout_off, layout_len
        return header.ljust(header_size, b"\0") + self.types + gap + table + self.strings


class RunstateBtf(BtfAssembler):
    """The same, with the integers that the runstate structs need: ids 1 and 2 of a base."""

    def __init__(self, order="<", base=None):
        super().__init__(order, base)
        self.int32 = self.int("int", 4, SIGNED)
        self.u64 = self.int("uint64_t", 8)

    def runstate(self, name="vcpu_runstate_info", size=48, entry_time=8, time=16):
        """Add the struct, native unless told otherwise."""
        members = (
            ("state", self.int32, 0),
            ("state_entry_time", self.u64, entry_time),
            ("time", self.array(self.u64, 4), time),
        )
        return self.struct(name, size, *members)


@pytest.fixture(scope="session")
def assembler():
    """Return the class that assembles BTF."""
    return BtfAssembler


@pytest.fixture(scope="session")
def runstate_btf():
    """Return the class that assembles BTF with runstate structs."""
    return RunstateBtf


def assemble_elf(sections, elf_class=64, order="<", machine=62, type=1, flags=None, types=None):
    """Return an ELF file: header, the bytes of ``sections`` {name: bytes}, names, section table.

    ``flags`` and ``types`` give a section's sh_flags and sh_type where they are not 0 and PROGBITS.
    """
    wide = elf_class == 64
    header_size, entry_size = (64, 64) if wide else (52, 40)
    body, names, rows = b"", b"\0", [(0, 0, 0, 0, 0)]
    for name, content in {**sections, ".shstrtab": b""}.items():
        at = len(names)
        names += name.encode() + b"\0"
        content = names if name == ".shstrtab" else content
        kind = 3 if name == ".shstrtab" else (types or {}).get(name, 1)
        rows.append((at, kind, (flags or {}).get(name, 0), header_size + len(body), len(content)))
        body += content
    row_format = f"{order}IIQQQQIIQQ" if wide else f"{order}IIIIIIIIII"
    table = b"".join(
        struct.pack(row_format, name, kind, flag, 0, offset, size, 0, 0, 1, 0)
        for name, kind, flag, offset, size in rows
    )
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    header = ident + struct.pack(
        f"{order}HHI" + ("QQQ" if wide else "III") + "IHHHHHH",
        type,  # e_type
        machine,  # e_machine
        1,  # e_version
        0,  # e_entry
        0,  # e_phoff
        header_size + len(body),  # e_shoff
        0,  # e_flags
        header_size,  # e_ehsize
        0,  # e_phentsize
        0,  # e_phnum
        entry_size,  # e_shentsize
        len(rows),  # e_shnum
        len(rows) - 1,  # e_shstrndx
    )
    return header + body + table


@pytest.fixture(scope="session")
def make_elf():
    """Return the function that assembles ELF files."""
    return assemble_elf


@pytest.fixture(scope="session")
def large(runstate_btf):
    """Return BTF as large as only a kernel's is."""
    btf = runstate_btf()
    btf.runstate()
    for _ in range(20_000):
        btf.int("filler", 4)
    return btf.build()
