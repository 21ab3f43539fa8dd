"""What a compiler makes of the structs, for the target of its command line.

The compiler writes constants (sizeof, offsetof, ...) into an object file, which is read and never
executed, so a cross compiler will do. No system header is needed: the types come from the
compiler's own __UINT64_TYPE__. The C text is in probe.py.
"""

import os
import re
import shlex
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from typing import Literal, NamedTuple

from runstate_abi.layouts import model
from runstate_abi.layouts.abi import ABI, Abi
from runstate_abi.layouts.conditions import CONDITIONS, Condition, applies
from runstate_abi.layouts.model import (
    Field,
    Layout,
    Layouts,
    Member,
    Scalar,
    WitnessError,
    witnessed,
)
from runstate_abi.layouts.structs.runstate import COMPAT, NATIVE, XEN_COMPAT
from runstate_abi.layouts.witnesses import elf, pe, probe
from runstate_abi.layouts.witnesses.probe import Numbers, Subject, Unit

TIMEOUT_S = 60
ByteOrder = Literal["little", "big"]


class Measurement(NamedTuple):
    """What a compiler said: the layouts, its ABI, the conditions compiled and those refused.

    ``unrecorded`` are facts that it does not know about these structs. ``note`` says how it was
    asked, if in no usual way.
    """

    layouts: Layouts
    abi: Abi
    asserted: tuple[Condition, ...]
    refused: tuple[Condition, ...]
    unrecorded: tuple[str, ...] = ()
    note: str = ""


TYPES = """\
typedef __UINT8_TYPE__ u8;
typedef __UINT32_TYPE__ u32;
typedef __UINT64_TYPE__ u64;
#ifndef UINT64_MAX
typedef __UINT64_TYPE__ uint64_t;
#endif
"""

# What the other families' declarations use as well.
MORE_TYPES = """\
typedef __UINT16_TYPE__ u16, uint16_t;
typedef __INT8_TYPE__ s8, int8_t;
typedef __INT16_TYPE__ s16, int16_t;
typedef __INT32_TYPE__ s32, int32_t;
typedef __INT64_TYPE__ s64, int64_t;
typedef __UINT8_TYPE__ uint8_t;
typedef __UINT32_TYPE__ uint32_t;
#define __packed __attribute__((packed))
"""

# The three declarations that are in use: Xen's public header (and Linux's copy of it), KVM's
# packed compat form, and the one Xen generates. Same members, one layout rule each.
_BODY = "int state; uint64_t state_entry_time; uint64_t time[4];"
_XEN_BODY = _BODY.replace("uint64_t", "uint64_compat_t")
_DECLARATIONS = f"""\
{TYPES}\
struct vcpu_runstate_info {{ {_BODY} }};
struct compat_vcpu_runstate_info {{ {_BODY} }} __attribute__((packed));
typedef __UINT64_TYPE__ uint64_compat_t __attribute__((aligned(4)));
struct xen_compat_vcpu_runstate_info {{ {_XEN_BODY} }};
"""
OURS = Unit(
    _DECLARATIONS,
    tuple(Subject(f"struct {name}", name) for name in (NATIVE.name, COMPAT.name, XEN_COMPAT)),
    CONDITIONS,
)


def header_unit(
    header: str, subjects: Sequence[Subject], before: str = "", stubs: tuple[str, ...] = ()
) -> Unit:
    """Return the unit that measures structs of a header, with C text in front of it."""
    if not os.path.isfile(header):
        raise WitnessError(f"{header}: no such header")
    include = f'{before}#include "{os.path.abspath(header)}"\n'
    return Unit(include, tuple(subjects), stubs=stubs)


def observe(unit: Unit, command: str, abi: Abi | None = None) -> Measurement:
    """Compile ``unit`` with ``command`` (``gcc -m32``) and return what the compiler says.

    The ABI is read from the object file; ``abi`` is that of a machine which layouts/abi.py does
    not know. WitnessError if the compiler cannot be run or does not compile the unit.
    """
    refused: tuple[Condition, ...] = ()
    result = compiled(unit, command)
    if isinstance(result, str):
        # An assertion that fails puts its own text into the compiler's complaint.
        refused = tuple(c for c in unit.assertions if f"{c.id}: {c.sentence}" in result)
        result = compiled(unit._replace(assertions=()), command) if refused else result
    if isinstance(result, str):
        raise does_not_compile(command, result)
    return measured(unit, command, result, abi)._replace(refused=refused)


def measured(unit: Unit, command: str, data: bytes, abi: Abi | None = None) -> Measurement:
    """Return what stands in the object that ``command`` made of ``unit`` (WitnessError)."""
    view = memoryview(data)
    coff = pe.MACHINES.get(pe.machine(view))
    file = (pe.as_elf if coff else elf.parse)(view, f"the object of {command}")
    images = (f"{probe.IMAGE_SECTION}{number}" for number in range(len(unit.subjects)))
    names = (probe.SECTION, probe.VERSION_SECTION, *images)
    numbers, version, *found = (bytes(file.section(name) or b"") for name in names)
    if not numbers or not version:
        raise WitnessError(f"{command}: no section {names[0]} in its object file (built for LTO?)")
    target = ABI[coff] if coff else file.abi or abi
    if target is None:
        why = f"compiles for {file.description}, an ABI without a claim (see --abi)"
        raise WitnessError(f"{command}: {why}")
    values = list(struct.unpack(f"{file.order}{len(numbers) // 8}Q", numbers))
    layouts = tuple(
        _layout(subject, values, image, file.byteorder, target, command)
        for subject, image in zip(unit.subjects, found, strict=True)
    )
    asserted = tuple(c for c in unit.assertions if applies(c, target.name))
    source = f"{command}, {version.split(bytes(1))[0].decode(errors='replace')}"
    return Measurement(Layouts("compiler", source, layouts), target, asserted, ())


def compiled(unit: Unit, command: str, stage: Sequence[str] = ("-c",)) -> bytes | str:
    """Return the object's bytes, or the complaint as text (WitnessError: it cannot be run)."""
    words = command_words(command)
    asked_in = probe.language(command)
    options = list(asked_in.options)
    if not unit.assertions:  # each that is refused has an error of its own
        options.append("-Wfatal-errors")
    with tempfile.TemporaryDirectory(prefix="runstate-") as folder:
        if unit.stubs:
            options += ["-idirafter", os.path.join(folder, probe.STUBS)]
            os.makedirs(options[-1])
        for name, text in probe.sources(unit, asked_in).items():
            path = os.path.join(folder, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(text)
        source = os.path.join(folder, probe.PROBE + asked_in.suffix)
        return made([*words, *options, *stage, source], command, os.path.join(folder, "probe.o"))


def command_words(command: str) -> list[str]:
    """Return the words of a compiler's command line (WitnessError: it has none)."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise WitnessError(f"the compiler's command line: {command}: {error}") from None
    if not words:
        raise WitnessError("the compiler's command line is empty")
    return words


def made(
    words: Sequence[str], command: str, output: str, text: bytes = b"", folder: str | None = None
) -> bytes | str:
    """Return the bytes of the file that a compiler makes, or what it said (WitnessError)."""
    status, said = ran([*words, "-o", output], command, text, folder)
    if status or not os.path.exists(output):
        return said
    with open(output, "rb") as file:
        return file.read()


def ran(
    words: Sequence[str], command: str, text: bytes = b"", folder: str | None = None
) -> tuple[int, str]:
    """Run a compiler on ``text``; return its status and what it said (WitnessError: it cannot)."""
    try:
        done = subprocess.run(
            words,
            input=text,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        raise WitnessError(f"{command}: still compiling after {TIMEOUT_S} s") from None
    except OSError as error:
        raise WitnessError(f"{command}: cannot run {words[0]}: {error.strerror}") from None
    said = done.stdout.decode(errors="replace")
    return done.returncode, said or f"exit status {done.returncode}"


def does_not_compile(command: str, complaint: str) -> WitnessError:
    """Return the error that tells the first line of a compiler's complaint."""
    lines = [line.strip() for line in complaint.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"error(\[\w+\])?:", line)]
    first = (errors or lines or ["no message"])[0]
    # A line number in our own probe means nothing to the user.
    ours = probe.PROBE in first or probe.QUESTIONS in first
    first = first.split("error:", 1)[-1].strip() if ours else first
    return WitnessError(f"{command}: does not compile: {first}")


# ``image``: the bytes of the subject with 1 in every integer; empty if all have the object's order.
def _layout(
    subject: Subject, values: list[int], image: bytes, order: ByteOrder, abi: Abi, command: str
) -> Layout:
    size, alignment, type_class = (values.pop(0) for _ in range(3))
    numbers = [Numbers(*(values.pop(0) for _ in Numbers._fields)) for _ in subject.members]
    if type_class != probe.STRUCT:
        what = "a union" if type_class == probe.UNION else "no struct"
        raise WitnessError(f"{command}: {subject.c_type} is {what}; a layout is a struct's")
    rows = [
        Field(seen.offset, m.name, _scalar(m, seen, image, order), seen.whole // seen.element)
        for m, seen in zip(subject.members, numbers, strict=True)
        if seen.whole  # ``uint64_t time[0];`` has no element
    ]
    return witnessed(f"{command}: ", subject.name, abi.name, size, alignment, rows)


# What a class that is no integer's is called here: the compiler gives no names of types.
_KINDS = {
    probe.POINTER: model.POINTER,
    probe.REAL: model.FLOATING,
    probe.COMPLEX: model.FLOATING,
    probe.STRUCT: model.STRUCT,
    probe.UNION: model.UNION,
}


def _scalar(member: Member, seen: Numbers, image: bytes, order: ByteOrder) -> Scalar:
    size, signed = seen.element, bool(seen.signed)
    if not probe.INTEGER <= seen.type_class < probe.POINTER:
        kind = _KINDS.get(seen.type_class, model.OTHER)
        return Scalar(f"{kind} of {size} bytes", size, None, kind=kind)
    same = (size, signed) == (member.type.size, member.type.signed)
    name = member.type.name if same else f"{'s' if signed else 'u'}{size * 8}"
    one = image[seen.offset : seen.offset + size] or (1).to_bytes(size, order)
    kind = model.INTEGER if one == (1).to_bytes(size, "little") else model.BIG_ENDIAN
    return Scalar(name, size, signed, kind=kind)
