"""What a real compiler makes of the structs, for whatever target its command line selects.

The compiler turns constants (sizeof, offsetof, ...) into data of an object file, and they are read
out of it; nothing is executed, so a cross compiler is as good a witness as the host's own. No
system header is needed: the types come from the compiler's own __UINT64_TYPE__.

Law of this file: C text out, numbers back. What the numbers should be is not known here.
"""

import os
import shlex
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from typing import NamedTuple

from runstate_abi.layouts.abi import ABI, Abi, Member
from runstate_abi.layouts.invariants import CONDITIONS, KVM_SIZES, Condition, applies
from runstate_abi.layouts.model import (
    Field,
    Layout,
    LayoutError,
    Layouts,
    Scalar,
    WitnessError,
    tiled,
)
from runstate_abi.layouts.runstate import MEMBERS, RUNSTATES, XEN_RUNSTATE_UPDATE
from runstate_abi.layouts.witnesses import coff, elf

TIMEOUT_S = 60
_PROBE = "runstate-probe.c"
_SECTION, _VERSION_SECTION = ".rs_abi", ".rs_ver"  # 8 characters are what a COFF name can hold


class Subject(NamedTuple):
    """A struct to measure: its C type, the name its Layout gets, and the members to look at."""

    c_type: str
    name: str
    members: tuple[Member, ...] = MEMBERS


class Unit(NamedTuple):
    """A translation unit: declarations (C text), the subjects, and whether the 16 are asserted."""

    declarations: str
    subjects: tuple[Subject, ...]
    assertions: tuple[Condition, ...] = ()


class Observation(NamedTuple):
    """What a compiler said: the layouts, its ABI, the conditions compiled and those refused."""

    layouts: Layouts
    abi: Abi
    asserted: tuple[Condition, ...]
    refused: tuple[Condition, ...]


_TYPES = """\
typedef __UINT8_TYPE__ u8;
typedef __UINT32_TYPE__ u32;
typedef __UINT64_TYPE__ u64;
#ifndef UINT64_MAX
typedef __UINT64_TYPE__ uint64_t;
#endif
"""

# The three declarations that are in use: Xen's public header (and Linux's copy of it), KVM's
# packed compat form, and the one Xen generates. Same members, one layout rule each.
_BODY = "int state; uint64_t state_entry_time; uint64_t time[4];"
_XEN_BODY = _BODY.replace("uint64_t", "uint64_compat_t")
OURS = Unit(
    _TYPES
    + f"struct vcpu_runstate_info {{ {_BODY} }};\n"
    + f"struct compat_vcpu_runstate_info {{ {_BODY} }} __attribute__((packed));\n"
    + "typedef __UINT64_TYPE__ uint64_compat_t __attribute__((aligned(4)));\n"
    + f"struct xen_compat_vcpu_runstate_info {{ {_XEN_BODY} }};\n",
    (
        Subject("struct vcpu_runstate_info", "vcpu_runstate_info"),
        Subject("struct compat_vcpu_runstate_info", "compat_vcpu_runstate_info"),
        Subject("struct xen_compat_vcpu_runstate_info", "xen_compat_vcpu_runstate_info"),
    ),
    CONDITIONS,
)


def header_unit(header: str, structs: Sequence[tuple[str, str]]) -> Unit:
    """Return the unit that measures structs of the user's own header: (C type, Layout name)."""
    if not os.path.isfile(header):
        raise WitnessError(f"{header}: no such header")
    include = f'#include "{os.path.abspath(header)}"\n'
    return Unit(include, tuple(Subject(c_type, name) for c_type, name in structs))


def observe(unit: Unit, command: str, abi: Abi | None = None) -> Observation:
    """Compile ``unit`` with ``command`` (``gcc -m32``) and return what the compiler says.

    The ABI is read from the object file unless ``abi`` says which; WitnessError if the compiler
    cannot be run, does not compile the unit, or is for an ABI that layouts/abi.py does not know.
    """
    refused: tuple[Condition, ...] = ()
    result = _compile(command, source_text(unit))
    if isinstance(result, str):
        refused = _refused(unit.assertions, result)
        result = _compile(command, source_text(unit, with_assertions=False)) if refused else result
    if isinstance(result, str):
        raise WitnessError(f"{command}: does not compile: {_first_error(result)}")
    seen = _read_object(result, command)
    target = abi or seen.machine
    if isinstance(target, str):
        raise WitnessError(f"{command}: compiles for {target}, an ABI without a claim (see --abi)")
    values = list(struct.unpack(f"{seen.order}{len(seen.numbers) // 8}Q", seen.numbers))
    layouts = tuple(_layout(subject, values, target, command) for subject in unit.subjects)
    asserted = tuple(c for c in unit.assertions if applies(c, target.name))
    source = f"{command}, {seen.version}"
    return Observation(Layouts("compiler", source, layouts), target, asserted, refused)


# An assertion that fails puts its own text into the compiler's complaint.
def _refused(assertions: tuple[Condition, ...], complaint: str) -> tuple[Condition, ...]:
    return tuple(c for c in assertions if f"{c.id}: {c.sentence}" in complaint)


def source_text(unit: Unit, with_assertions: bool = True) -> str:
    """Return the C text that is compiled: constants in a section of their own, and assertions."""
    numbers = [expression for subject in unit.subjects for expression in _expressions(subject)]
    lines = [unit.declarations, _MACROS]
    if with_assertions and unit.assertions:
        lines += [_assertion_names(), *(_assertion(c) for c in unit.assertions)]
    lines += [
        f'__attribute__((section("{_SECTION}"), used))',
        "static const unsigned long long rs_abi[] = {",
        *(f"\t{expression}," for expression in numbers),
        "};",
        f'__attribute__((section("{_VERSION_SECTION}"), used))',
        "static const char rs_ver[] = __VERSION__;",
    ]
    return "\n".join(lines) + "\n"


_MACROS = """\
#define offsetof_(T, f) __builtin_offsetof(T, f)
#define sizeof_field_(T, f) sizeof(((T *)0)->f)
#define is_signed_(T, f) ((__typeof__(((T *)0)->f))-1 < 0)
"""


def _expressions(subject: Subject) -> list[str]:
    c_type = subject.c_type
    expressions = [f"sizeof({c_type})", f"_Alignof({c_type})"]
    for member in subject.members:
        element = member.name if member.count == 1 else f"{member.name}[0]"
        expressions += [
            f"offsetof_({c_type}, {member.name})",
            f"sizeof_field_({c_type}, {member.name})",
            f"sizeof_field_({c_type}, {element})",
            f"is_signed_({c_type}, {element})",
        ]
    return expressions


# The names that the kernel's conditions use. vx is struct kvm_vcpu_xen *, of which two members
# count; CONFIG_X86_64 is an x86-64 kernel, which x32 programs are not.
def _assertion_names() -> str:
    copies = " ".join(f"u8 {member}[{size}];" for member, size in KVM_SIZES.items())
    constants = "\n".join(f"#define {r.constant} {r.value}" for r in RUNSTATES)
    return (
        "#define offsetof(T, f) offsetof_(T, f)\n"
        "#define sizeof_field(T, f) sizeof_field_(T, f)\n"
        f"#define XEN_RUNSTATE_UPDATE {XEN_RUNSTATE_UPDATE:#x}ULL\n"
        f"{constants}\n"
        f"struct kvm_copies {{ {copies} }};\n"
        "#define vx ((struct kvm_copies *)0)\n"
        "#if defined(__x86_64__) && defined(__LP64__)\n#define CONFIG_X86_64 1\n#endif"
    )


def _assertion(condition: Condition) -> str:
    text = f'_Static_assert(!({condition.text}), "{condition.id}: {condition.sentence}");'
    return f"#ifdef CONFIG_X86_64\n{text}\n#endif" if condition.x86_64_only else text


# Returns the object's bytes, or the compiler's complaint as text.
def _compile(command: str, text: str) -> bytes | str:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise WitnessError(f"the compiler's command line: {command}: {error}") from None
    if not words:
        raise WitnessError("the compiler's command line is empty")
    with tempfile.TemporaryDirectory(prefix="runstate-") as folder:
        source, output = os.path.join(folder, _PROBE), os.path.join(folder, "probe.o")
        with open(source, "w", encoding="utf-8") as file:
            file.write(text)
        try:
            done = subprocess.run(
                [*words, "-c", source, "-o", output],
                stdin=subprocess.DEVNULL,
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
        if done.returncode or not os.path.exists(output):
            return done.stdout.decode(errors="replace") or f"exit status {done.returncode}"
        with open(output, "rb") as file:
            return file.read()


def _first_error(complaint: str) -> str:
    lines = [line.strip() for line in complaint.splitlines() if line.strip()]
    errors = [line for line in lines if "error:" in line]
    first = (errors or lines or ["no message"])[0]
    # A line number in our own probe means nothing to the user.
    return first.split("error:", 1)[-1].strip() if _PROBE in first else first


class _Object(NamedTuple):
    order: str  # of bytes, as struct writes it
    machine: Abi | str  # what the object is for; a name where there is no Abi
    numbers: bytes
    version: str


def _read_object(data: bytes, command: str) -> _Object:
    names = (_SECTION, _VERSION_SECTION)
    machine: Abi | str
    sections: list[bytes | memoryview | None]
    if coff.is_i386(data):
        machine, order = ABI["i386-windows"], "<"
        sections = [coff.section(data, name) for name in names]
    else:
        file = elf.parse(data, f"the object of {command}")
        machine, order = file.abi or file.description, "<" if file.byteorder == "little" else ">"
        sections = [file.section(name) for name in names]
    numbers, version = (bytes(section or b"") for section in sections)
    if not numbers or not version:
        raise WitnessError(f"{command}: no section {_SECTION} in its object file (built for LTO?)")
    return _Object(order, machine, numbers, version.split(b"\0")[0].decode(errors="replace"))


def _layout(subject: Subject, values: list[int], abi: Abi, command: str) -> Layout:
    size, alignment = values.pop(0), values.pop(0)
    rows = []
    for member in subject.members:
        offset, whole, element, signed = (values.pop(0) for _ in range(4))
        type_ = Scalar(_c_name(member, element, bool(signed)), element, bool(signed))
        rows.append(Field(offset, member.name, type_, whole // element if element else 0))
    try:
        return tiled(subject.name, abi.name, size, alignment, rows)
    except LayoutError as error:
        raise WitnessError(f"{command}: {error}") from None


def _c_name(member: Member, size: int, signed: bool) -> str:
    same = size == member.type.size and signed == member.type.signed
    return member.type.name if same else f"{'s' if signed else 'u'}{size * 8}"
