"""Every kind of member, as every witness sees it: the table that the document prints.

Each cell is measured here. RUNSTATE_WRITE=1 in the environment writes the table anew.
"""

import ctypes
import os
import subprocess
from pathlib import Path

import construct
import pytest

from runstate_abi.layouts import constructs
from runstate_abi.layouts.findings import exit_code, unchecked
from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.structs.mirrors import Mirrors
from runstate_abi.layouts.structs.runstate import COMPAT, NATIVE
from runstate_abi.layouts.witnesses import header as headers
from runstate_abi.layouts.witnesses import survey
from runstate_abi.layouts.witnesses.kernels import Settings, asked_of_files
from runstate_abi.tools.pytest import assertions

WITNESSES = ("header, gcc", "header, clang", "DWARF", "BTF", "ctypes", "Construct")
BIG_ENDIAN_BTF = Path(__file__).parents[2] / "data/cases/14-btf-big-endian/be.btf"
TABLE = Path(__file__).parents[3] / "tools/docs/prose/witnesses.table"
HEAD = (
    "# What each witness says of a native struct that has something else in a place\nwhat is there"
)

_START = "typedef unsigned long long u64; typedef u64 other_t; enum e { A, B = -1 };\n"
RIGHT = "int state; u64 state_entry_time; u64 time[4];"


def body(time, state="int state"):
    return f"struct {NATIVE.name} {{ {state}; u64 state_entry_time; {time}; }} it;"


# fmt: off
C = {
    "a typedef, const or volatile":    body("const volatile other_t time[4]"),
    "an enumeration for `state`":      body("u64 time[4]", "enum e state"),
    "an integer of the other sign":    body("u64 time[4]", "unsigned state"),
    "`u64 time[2][2]`":                body("u64 time[2][2]"),
    "an `int` where the padding is":   body("u64 time[4]", "int state; int pad"),
    "bytes: `char time[32]`":          body("char time[32]"),
    "narrower integers":               body("unsigned time[8]"),
    "a floating-point number":         body("double time[4]"),
    "a pointer":                       body("void *time[4]"),
    "a function's address":            body("void (*time[4])(void)"),
    "a struct of one integer":         body("struct { u64 ns; } time[4]"),
    "a union of one integer":          body("union { u64 ns; } time[4]"),
    "a bitfield of all its bits":      body("u64 time[4]", "int state : 32"),
    "another name":                    body("u64 times[4]"),
    "an integer of the other byte order": body("u64 time[4]").replace(
        "struct vcpu", 'struct __attribute__((scalar_storage_order("big-endian"))) vcpu'),
    "two definitions, of which one differs": None,
    "a machine of the other byte order":     None,
    "a machine without an ABI here":         None,
}


class Swapped(ctypes.BigEndianStructure):
    _fields_ = (("ns", ctypes.c_uint64),)


class One(ctypes.Structure):
    _fields_ = (("ns", ctypes.c_uint64),)


class Either(ctypes.Union):
    _fields_ = (("ns", ctypes.c_uint64),)


CTYPES = {
    "a typedef, const or volatile":    ctypes.c_ulonglong * 4,
    "`u64 time[2][2]`":                ctypes.c_uint64 * 2 * 2,
    "an integer of the other sign":    ctypes.c_int64 * 4,
    "bytes: `char time[32]`":          ctypes.c_char * 32,
    "narrower integers":               ctypes.c_uint32 * 8,
    "a floating-point number":         ctypes.c_double * 4,
    "a pointer":                       ctypes.c_void_p * 4,
    "a function's address":            ctypes.CFUNCTYPE(None) * 4,
    "a struct of one integer":         One * 4,
    "a union of one integer":          Either * 4,
    "an integer of the other byte order": ctypes.c_uint64.__ctype_be__ * 4,
}
CONSTRUCTS = {
    "an integer of the other sign":    construct.Int64sl,
    "a floating-point number":         construct.Float64l,
    "a struct of one integer":         construct.Struct("ns" / construct.Int64ul),
    "an integer of the other byte order": construct.Int64ub,
}
# What no answer of the witness could show: BTF has no word for a member's byte order, clang no such
# attribute.
NOT_RECORDED = {("an integer of the other byte order", "BTF"),
                ("an integer of the other byte order", "header, clang")}
# fmt: on


def said(findings):
    """What the findings come to, in one word."""
    word = {0: "equal", 1: "differs", 3: "refused"}[exit_code(findings)]
    noted = any("equal by bytes" in note for f in findings for note in f.notes)
    return f"{word}, and a note" if word == "equal" and noted else word


def built(folder, text, *flags, compiler="gcc"):
    source, output = folder / "source.c", folder / "out.o"
    source.write_text(_START + text)
    subprocess.run([compiler, "-g", *flags, "-c", source, "-o", output], check=True)
    return output


def special(kind, folder):
    """The object file of a kind that is no member's, with DWARF."""
    if kind.startswith("two"):
        parts = []
        for number, text in enumerate((body("u64 time[4]"), body("u64 time[5]"))):
            text = text.replace(" it;", f" it{number};")
            parts.append(built(folder, text).rename(folder / f"{number}.o"))
        whole = folder / "out.o"
        subprocess.run(["gcc", "-r", "-nostdlib", *parts, "-o", whole], check=True)
        return whole
    if kind.endswith("byte order"):
        target = "--target=aarch64_be-linux-gnu"
        return built(folder, body("u64 time[4]"), target, compiler="clang")
    return built(folder, body("u64 time[4]"))


def asked(kind, witness, folder, monkeypatch):
    """Ask one witness about one kind; None if it has no such thing."""
    text = C[kind]
    if witness.startswith("header"):
        compiler = witness.split()[1]
        if text is None:
            return None
        header = folder / "source.h"
        header.write_text(_START + text)
        try:
            structs = Mirrors(((NATIVE.name, NATIVE.name),))
            return [survey.asked_of_source(headers.observe, compiler, str(header), structs, None)]
        except WitnessError as error:
            return [unchecked(compiler, str(header), str(error))]
    if witness in ("DWARF", "BTF"):
        path = built(folder, text) if text else special(kind, folder)
        if witness == "BTF" and kind == "a machine of the other byte order":
            path = BIG_ENDIAN_BTF  # pahole writes this machine's
        elif witness == "BTF":
            subprocess.run(["pahole", "-J", path], check=True, capture_output=True)
            subprocess.run(["objcopy", "--strip-debug", path], check=True, capture_output=True)
        if kind.startswith("a machine without"):
            data = bytearray(path.read_bytes())
            data[18] = 22  # e_machine: s390
            path.write_bytes(data)
        settings = Settings(allowed=frozenset({COMPAT.name}))
        return list(asked_of_files([str(path)], settings))
    if witness == "ctypes" and kind in CTYPES:
        fields = [("state", ctypes.c_int32), ("state_entry_time", ctypes.c_uint64)]
        mirror = type(
            "Mirror", (ctypes.Structure,), {"_fields_": [*fields, ("time", CTYPES[kind])]}
        )
        return [assertions._of_ctypes(mirror, NATIVE.name)]
    if witness == "Construct" and kind in CONSTRUCTS:
        members = constructs.vcpu_runstate_info.subcons[:3]
        wrong = construct.Struct(*members, "time" / construct.Array(4, CONSTRUCTS[kind]))
        monkeypatch.setitem(constructs.STRUCTS, NATIVE.name, wrong)
        return [f for f in survey.encodings() if f.witness == "construct"]
    return None


def cell(kind, witness, folder, monkeypatch):
    if (kind, witness) in NOT_RECORDED:
        return "not recorded"
    findings = asked(kind, witness, folder, monkeypatch)
    return "not asked" if findings is None else said(findings)


@pytest.mark.needs("gcc", "clang", "pahole")
def test_what_each_witness_says_of_each_kind_is_the_documents_table(tmp_path, monkeypatch):
    rows = [" | ".join((HEAD, *WITNESSES))]
    for number, kind in enumerate(C):
        cells = [kind]
        for place, witness in enumerate(WITNESSES):
            folder = tmp_path / f"{number}-{place}"
            folder.mkdir()
            with monkeypatch.context() as patch:
                cells.append(cell(kind, witness, folder, patch))
        rows.append("\n| ".join(cells))
    text = "\n\n".join(rows) + "\n"
    if os.environ.get("RUNSTATE_WRITE"):
        TABLE.write_text(text)
    assert TABLE.read_text() == text
