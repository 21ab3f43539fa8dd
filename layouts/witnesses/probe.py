"""The C text that a compiler gets: constants about structs, as data of its object file.

It is two files. The first has the user's declarations, with the user's warning options in force.
The second has the questions. It is marked as a system header, so that -Werror does not apply to our
expressions. A question may need no more of a struct than the members that it names. C and C++ have
different macros for the same questions.
"""

import os
import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

from runstate_abi.layouts.conditions import KVM_SIZES, Condition
from runstate_abi.layouts.model import Member
from runstate_abi.layouts.structs.runstate import MEMBERS, RUNSTATES, XEN_RUNSTATE_UPDATE

PROBE, QUESTIONS = "runstate-probe", "runstate-probe.h"
STUBS = "0/0/0/0/stubs"  # deep enough for "../xen.h"
SECTION, VERSION_SECTION = ".rs_abi", ".rs_ver"  # 8 characters are what a COFF name can hold

# One object for each struct, in a section of its own: every member that is an integer is 1 in it,
# and its bytes tell its order (GCC's scalar_storage_order). A compiler that has no such attribute
# is not asked: clang refuses braces around the initialiser of an _Atomic integer.
IMAGE_SECTION = ".rs_im"

# What __builtin_classify_type() says, in GCC's typeclass.h and so in clang: from INTEGER up to
# POINTER are integers, characters, enumerations and _Bool. A vector is -1.
INTEGER, POINTER, REAL, COMPLEX, STRUCT, UNION = 1, 5, 8, 9, 12, 13

DIMENSIONS = 3  # of an array that are looked through: uint64_t time[2][2] is four times one


class Subject(NamedTuple):
    """A struct to measure: its C type, the name its Layout gets, and the members to look at."""

    c_type: str
    name: str
    members: tuple[Member, ...] = MEMBERS


class Unit(NamedTuple):
    """A translation unit: declarations (C text), the subjects, and whether the 16 are asserted.

    ``asked`` are more constant expressions; that the unit compiles with them is their answer.
    ``stubs`` are headers to find empty where there are none.
    """

    declarations: str
    subjects: tuple[Subject, ...]
    assertions: tuple[Condition, ...] = ()
    asked: tuple[str, ...] = ()
    stubs: tuple[str, ...] = ()


class Language(NamedTuple):
    """What a compiler is asked in: ``options`` are added to its command line.

    ``braces``: whether one pair of braces initialises any integer, _Atomic ones too.
    """

    suffix: str
    options: tuple[str, ...]
    macros: str
    braces: bool


def language(command: str) -> Language:
    """Return the language that a command line compiles: ``g++-12 -m32``, ``clang -x c++``."""
    words = shlex.split(command)
    named = re.search(r"\+\+(-[\d.]+)?$", os.path.basename(words[0]))
    return CXX if named or re.search(r"(^| )-x ?c\+\+", command) else C


class Numbers(NamedTuple):
    """What is asked of a member, in this order: offset, whole and element in bytes, its class."""

    offset: int
    whole: int
    element: int
    type_class: int
    signed: int


def sources(unit: Unit, asked_in: Language) -> dict[str, str]:
    """Return the files of a unit by name; PROBE is the one to compile."""
    return {
        **{os.path.normpath(f"{STUBS}/{stub}"): "" for stub in unit.stubs},
        PROBE + asked_in.suffix: f'{unit.declarations}\n#include "{QUESTIONS}"\n',
        QUESTIONS: "\n".join(_questions(unit, asked_in)) + "\n",
    }


def _questions(unit: Unit, asked_in: Language) -> Iterator[str]:
    yield "#pragma GCC system_header"
    yield _MACROS + asked_in.macros
    if unit.assertions:
        yield _assertion_names()
        for condition in unit.assertions:
            message = f"{condition.id}: {condition.sentence}"
            text = f'_Static_assert(!({condition.text}), "{message}");'
            yield f"#ifdef CONFIG_X86_64\n{text}\n#endif" if condition.x86_64_only else text
    for number, subject in enumerate(unit.subjects):
        yield from _types(subject, f"rs_{number}")
    yield f'__attribute__((section("{SECTION}"), used))'
    yield "static const unsigned long long rs_abi[] = {"
    for number, subject in enumerate(unit.subjects):
        yield from (f"\t(u64_)({one})," for one in _expressions(subject, f"rs_{number}"))
    yield from (f"\t{expression}," for expression in unit.asked)
    yield "\t0\n};"  # C has no empty array
    yield "#if !defined(__clang__) || __has_attribute(scalar_storage_order)"
    for number, subject in enumerate(unit.subjects):
        if subject.members and asked_in.braces:  # without members, it may be no struct at all
            yield f'__attribute__((section("{IMAGE_SECTION}{number}"), used))'
            # Zero in braces initialises whatever is no integer.
            types = (f"of_type_(rs_{number}_{n}_{DIMENSIONS})" for n in range(len(subject.members)))
            ones = ", ".join(
                f".{member.name} = {{ __builtin_choose_expr(is_integer_({type_}), 1, 0) }}"
                for member, type_ in zip(subject.members, types, strict=True)
            )
            yield f"static const {subject.c_type} rs_image_{number} = {{ {ones} }};"
    yield "#endif"
    yield f'__attribute__((section("{VERSION_SECTION}"), used))'
    yield "static const char rs_ver[] = __VERSION__;"


_MACROS = """\
typedef unsigned long long u64_;
#define offsetof_(T, f) __builtin_offsetof(T, f)
#define sizeof_field_(T, f) sizeof(((T *)0)->f)
struct rs_control { int there; };
"""

# element_() takes one dimension from an array and leaves what is none as it is; all of it must
# compile for whatever a member may be. A comma's right side decays as a value does, which tells
# an array from a pointer, and has no qualifiers and no _Atomic.
_C_MACROS = f"""\
#define alignof_(T) _Alignof(T)
#define of_type_(T) (*(T *)0)
#define value_(x) ((void)0, x)
#define kind_(x) __builtin_classify_type(x)
#define same_type_(x, y) __builtin_types_compatible_p(__typeof__(x), __typeof__(y))
#define is_array_(x) (kind_(x) == {POINTER} && !same_type_(x, value_(x)))
#define array_(x) __builtin_choose_expr(is_array_(x), x, (char *)0)
#define element_(x) __builtin_choose_expr(is_array_(x), array_(x)[0], x)
#define element_type_(T) __typeof__(element_(of_type_(T)))
#define is_integer_(x) (kind_(x) >= {INTEGER} && kind_(x) < {POINTER})
#define integer_(x) __builtin_choose_expr(is_integer_(x), x, 0)
#define class_(T) kind_(of_type_(T))
#define signed_(T) ((__typeof__(value_(integer_(of_type_(T)))))-1 < 0)"""

# A class may be one that cannot be passed to kind_() by value, so the traits are asked first.
_CXX_MACROS = f"""\
#define alignof_(T) alignof(T)
#define _Static_assert static_assert
#define element_type_(T) rs_element<T>::type
#define class_(T) rs_class<T>::is
#define signed_(T) rs_signed<T>::is
template <class T> struct rs_element {{ typedef T type; }};
template <class T, decltype(sizeof(0)) n> struct rs_element<T[n]> {{ typedef T type; }};
template <class T, bool = __is_class(T), bool = __is_union(T)> struct rs_class
{{ enum {{ is = __builtin_classify_type(*(T *)0) }}; }};
template <class T> struct rs_class<T, true, false> {{ enum {{ is = {STRUCT} }}; }};
template <class T> struct rs_class<T, false, true> {{ enum {{ is = {UNION} }}; }};
template <class T, bool = (class_(T) >= {INTEGER} && class_(T) < {POINTER})> struct rs_signed
{{ enum {{ is = 0 }}; }};
template <class T, bool = __is_enum(T)> struct rs_integer {{ typedef T type; }};
template <class T> struct rs_integer<T, true> {{ typedef __underlying_type(T) type; }};
template <class T> struct rs_signed<T, true>
{{ typedef typename rs_integer<T>::type integer; enum {{ is = (integer)-1 < (integer)0 }}; }};"""

C = Language(".c", (), _C_MACROS, True)
CXX = Language(".cc", ("-fno-access-control",), _CXX_MACROS, False)


# Constants that compile if the struct has the member; if it also is no bitfield; if it also has a
# size, which ``time[]`` has not.
HAS_MEMBER = "sizeof((void)(({c_type} *)0)->{member}, 1)"
HAS_ADDRESS = "sizeof(&(({c_type} *)0)->{member})"
HAS_SIZE = "sizeof_field_({c_type}, {member})"


# Asked about a struct of our own: a compiler that refuses it says nothing by refusing others.
CONTROL = tuple(
    question.format(c_type="struct rs_control", member="there")
    for question in (HAS_MEMBER, HAS_ADDRESS, HAS_SIZE)
)


def _types(subject: Subject, prefix: str) -> Iterator[str]:
    for number, member in enumerate(subject.members):
        name = f"{prefix}_{number}"
        whole = f"(({subject.c_type} *)0)->{member.name}"
        yield f"typedef __typeof__({whole}) {name}_0;"
        for depth in range(DIMENSIONS):
            yield f"typedef element_type_({name}_{depth}) {name}_{depth + 1};"


def _expressions(subject: Subject, prefix: str) -> Iterator[str]:
    c_type = subject.c_type
    yield from (f"sizeof({c_type})", f"alignof_({c_type})", f"class_({c_type})")
    for number, member in enumerate(subject.members):
        element = f"{prefix}_{number}_{DIMENSIONS}"
        yield from (
            f"offsetof_({c_type}, {member.name})",
            f"sizeof_field_({c_type}, {member.name})",
            f"sizeof({element})",
            f"class_({element})",
            f"signed_({element})",
        )


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
