"""Headers as people have them: read alone, in C++, with other names for the members."""

import pytest

from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.structs.mirrors import Mirrors, mirrors
from runstate_abi.layouts.structs.runstate import NATIVE
from runstate_abi.layouts.witnesses import header, survey

pytestmark = pytest.mark.host64

U64 = "typedef unsigned long long u64;\n"
INFO = "struct vcpu_runstate_info {{ int state; {0} state_entry_time; {0} time[4]; }}{1};\n"
XEN = INFO.format("uint64_t", "") + (
    "typedef struct vcpu_runstate_info vcpu_runstate_info_t;\n"
    "DEFINE_XEN_GUEST_HANDLE(vcpu_runstate_info_t);\n"
    "struct area { union { XEN_GUEST_HANDLE(vcpu_runstate_info_t) h; uint64_t p; } addr; };\n"
)
ALONE = "the integer types and macros of Xen's and Linux's headers"
# How a header stands alone: its text, and what is said of how it was read.
# fmt: off
TAKEN_FOR_GRANTED = {
    "nothing":             (U64 + INFO.format("u64", ""), None),
    "stdint.h":            (INFO.format("uint64_t", ""), "-include stdint.h"),
    "Linux's names":       (INFO.format("__u64", ""), ALONE),
    "__packed of Linux":   (INFO.format("__u64", " __packed"), ALONE),
    "Xen's xen.h":         ('#include "xen.h"\n' + XEN, f"{ALONE}, without xen.h (not there)"),
    "xen.h in a folder":   ("#include <xen/interface/xen.h>\n" + XEN, f"{ALONE}, without xen/interface/xen.h (not there)"),
    "xen.h above":         ('#include "../xen.h"\n' + XEN, f"{ALONE}, without ../xen.h (not there)"),
    "two headers":         ("#include <linux/types.h>\n#include <xen/xen.h>\n" + XEN, "xen/xen.h (not there)"),
    "Linux's handles":     (INFO.format("uint64_t", "") + "DEFINE_GUEST_HANDLE_STRUCT(vcpu_runstate_info);\nstruct a { GUEST_HANDLE(vcpu_runstate_info) h; };\n", ALONE),
}
COMPILERS = ("gcc", "clang", "g++", "clang++", "aarch64-linux-gnu-gcc", "clang --target=riscv64-linux-gnu")
# fmt: on


@pytest.fixture
def measured(tmp_path, installed):
    """Return a function that asks a compiler about a header of this text."""

    def measure(text, command="gcc", given=None, name="vcpu.h"):
        installed(command)
        (tmp_path / name).write_text(text)
        given = given or Mirrors(((NATIVE.name, NATIVE.name),))
        return survey.asked_of_source(header.observe, command, str(tmp_path / name), given, None)

    return measure


@pytest.mark.parametrize("lacks", TAKEN_FOR_GRANTED)
@pytest.mark.parametrize("command", COMPILERS)
def test_a_header_is_read_alone_and_that_is_said(measured, command, lacks):
    text, note = TAKEN_FOR_GRANTED[lacks]
    finding = measured(text, command)
    packed = "__packed" in lacks
    assert {d.kind for d in finding.differences} == (
        {"size-mismatch", "alignment-mismatch", "offset-mismatch"} if packed else set()
    )
    assert (finding.unrecorded, finding.compared) == ((), 14)
    how = [said for said in finding.notes if said.startswith("read with")]
    assert [note in said for said in how] == ([True] if note else [])


# `struct x { ... } __packed;` compiles where __packed is no macro: as a variable of that name.
# fmt: off
BEHIND = {
    "__packed":                   (True, None),
    "QEMU_PACKED":                (True, None),
    "__attribute__((packed))":    (True, None),
    "the_area":                   (False, None),
    "":                           (False, None),
    "__packed_here":              (None, "__packed_here is behind the struct, and no macro here"),
    "PACKED":                     (None, 'it: --cc \'gcc "-DPACKED=__attribute__((packed))"\''),
}
# fmt: on


@pytest.mark.parametrize("word", BEHIND)
@pytest.mark.parametrize("before", ["#include <stdint.h>", "#include <linux/types.h>"])
def test_a_macro_behind_the_struct_is_never_a_variable(measured, word, before):
    packed, message = BEHIND[word]
    text = INFO.format("uint64_t" if "stdint" in before else "__u64", f" {word}")
    if message:
        with pytest.raises(WitnessError) as refusal:
            measured(f"{before}\n{text}")
        assert message in str(refusal.value)
    else:
        finding = measured(f"{before}\n{text}")
        assert [layout.size for layout in finding.found] == [44 if packed else 48]


def test_a_macro_that_is_defined_is_none_of_ours(measured):
    text = "#define PACKED __attribute__((packed))\n" + U64 + INFO.format("u64", " PACKED")
    finding = measured(text)
    assert [layout.size for layout in finding.found] == [44]
    assert not any("read with" in note for note in finding.notes)


# What nobody can supply: the first thing that is still wrong is told.
LACKING = {
    "a header": ('#include "mine.h"\n' + INFO.format("u64", ""), "mine.h"),
    "a type": (INFO.format("my_u64", ""), "my_u64"),
    "a type beside xen.h": ('#include "xen.h"\n' + INFO.format("my_u64", ""), "my_u64"),
    "types that contradict": (
        "typedef unsigned uint64_t;\n" + INFO.format("uint64_t", "") + "int x = ;\n",
        "expected expression",
    ),
}


@pytest.mark.parametrize("lacks", LACKING)
@pytest.mark.parametrize("command", ["gcc", "clang"])
def test_what_a_header_still_lacks_is_told(measured, command, lacks):
    text, wanted = LACKING[lacks]
    with pytest.raises(WitnessError, match=f"does not compile: .*{wanted}"):
        measured(text, command)


# C++: the text, the name, and the members that differ.
BODY = "int state; u64 state_entry_time; u64 time[4];"
# fmt: off
CXX = {
    f"namespace xen {{ struct info {{ {BODY} }}; }}": ("xen::info", ""),
    f"namespace a::b {{ class info {{ {BODY} public: int f(); }}; }}": ("a::b::info", ""),
    "struct base { int state; }; struct info : base { u64 state_entry_time, time[4]; };": ("info", ""),
    "struct base { int state; u64 state_entry_time; }; struct info : base { u64 time[3]; };": ("info", "time"),
    "struct info { int state = 0; u64 state_entry_time{}; u64 time[4] = {}; info(); };": ("info", ""),
    "enum class S : int { a }; struct info { S state; u64 state_entry_time; u64 time[4]; };": ("info", ""),
    f"struct outer {{ struct info {{ {BODY} }}; }};": ("outer::info", ""),
    "template <class T> struct t { int state; T state_entry_time; T time[4]; }; using info = t<u64>;": ("info", ""),
    "template <class T> struct t { int state; T state_entry_time; T time[4]; }; using info = t<float>;": ("info", "state_entry_time time"),
    f"struct info {{ static u64 kept; {BODY} static u64 f(); virtual ~info(); }};": ("info", "state state_entry_time time"),
}
# fmt: on


@pytest.mark.parametrize("text", CXX)
@pytest.mark.parametrize("command", ["g++", "clang++", "g++ -m32", "clang -x c++"])
def test_a_struct_of_cxx_is_measured(measured, command, text):
    name, differing = CXX[text]
    given = Mirrors(((name, NATIVE.name),))
    finding = measured(U64 + text, command, given, "info.hpp")
    members = {d.member for d in finding.differences if not d.member.startswith("_vptr")}
    assert " ".join(sorted(members - {""})) == differing


# A mirror with other names, the options for it, and the members that differ with them.
TIMES = "u64 running, runnable, blocked, offline;"
BY_NAME = "time=running,runnable,blocked,offline"
# fmt: off
NAMED = {
    f"int state; u64 state_entry_time; {TIMES}":          ([BY_NAME], ""),
    f"int st; u64 entered; {TIMES}":                      (["state=st", "state_entry_time=entered", BY_NAME], ""),
    "int st; u64 entered; u64 t[4];":                     (["state=st", "state_entry_time=entered", "time=t"], ""),
    "int state; u64 state_entry_time; u64 a[2], b[2];":   (["time=a,b"], ""),
    "int state; u64 state_entry_time; u64 runnable, running, blocked, offline;": ([BY_NAME], "runnable running"),
    "int state; u64 state_entry_time; u64 running, runnable, blocked; unsigned offline;": ([BY_NAME], "offline"),
}
# fmt: on


@pytest.mark.parametrize("body", NAMED)
@pytest.mark.parametrize("command", ["gcc", "clang", "g++"])
def test_members_of_other_names_are_compared_by_those(measured, command, body):
    options, differing = NAMED[body]
    text = f"{U64}struct info {{ {body} }};"
    finding = measured(text, command, mirrors(["info=native"], options, []))
    assert " ".join(sorted({d.member for d in finding.differences if d.member})) == differing
    assert finding.compared >= 14
    # Without the options each differs, and where the bytes are the same, they are named.
    bare = measured(text, command, mirrors(["info=native"], [], []))
    assert {d.kind for d in bare.differences} >= {"missing-member", "extra-member"}
    named = " ".join(f"--member {option}" for option in options)
    equal = [note for note in bare.notes if "equal by bytes" in note]
    assert [note.endswith(named) for note in equal] == (
        [True] if not differing else equal and [False]
    )


def test_both_structs_are_judged_by_the_conditions_whatever_their_names(measured):
    text = (
        f"{U64}struct a {{ int st; u64 state_entry_time; {TIMES} }};\n"
        f"struct b {{ int st; u64 state_entry_time; {TIMES} }} __attribute__((packed));\n"
    )
    given = mirrors(["a=native", "struct b=compat"], ["state=st", BY_NAME], [])
    finding = measured(text, "gcc", given)
    assert (len(finding.evaluations), finding.differences) == (16, ())


@pytest.mark.parametrize("name", ["struct info", "info_t", "typeof(((struct o *)0)->i)"])
def test_a_struct_is_named_as_c_names_it(measured, name):
    text = f"{U64}typedef struct info {{ {BODY} }} info_t;\nstruct o {{ struct info i; }};\n"
    for spelled in (f"{name}=native", f"{name}=vcpu_runstate_info"):
        assert measured(text, "gcc", mirrors([spelled], [], [])).differences == ()


def test_with_wrong_names_the_right_ones_are_named(measured):
    text = f"{U64}struct info {{ int state; u64 state_entry_time; {TIMES} }};"
    swapped = ["time=runnable,running,blocked,offline"]
    finding = measured(text, "gcc", mirrors(["info=native"], swapped, []))
    assert {d.member for d in finding.differences} == {"running", "runnable"}
    (note,) = [note for note in finding.notes if "only names" in note]
    assert note.endswith(f"only names differ: --member {BY_NAME}")


def test_a_sign_beside_another_size_is_not_called_equal(measured):
    text = f"{U64}struct info {{ unsigned char state; u64 state_entry_time, time[4]; }};"
    finding = measured(text, "gcc", mirrors(["info=native"], [], []))
    assert "element-size-mismatch" in {d.kind for d in finding.differences}
    assert not [note for note in finding.notes if "equal by bytes" in note]


def test_a_sign_is_noted_and_can_be_allowed(measured):
    text = f"{U64}struct vcpu_runstate_info {{ unsigned st; u64 state_entry_time, time[4]; }};"
    given = mirrors(["native"], ["state=st"], [])
    (note,) = measured(text, "gcc", given).notes
    assert "st is unsigned here" in note
    allowed = mirrors(["native"], ["state=st"], ["sign:state"])
    finding = measured(text, "gcc", allowed)
    assert (finding.notes, finding.differences) == ((), ())
