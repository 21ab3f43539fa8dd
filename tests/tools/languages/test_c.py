"""C and C++: every compiler here takes the header, measures what is claimed, refuses a shift."""

import shutil

import pytest

from runstate_abi.layouts.model import compare
from runstate_abi.layouts.structs.runstate import claim
from runstate_abi.layouts.witnesses import compiler
from runstate_abi.layouts.witnesses.probe import Subject
from runstate_abi.tools.languages import c
from runstate_abi.tools.languages.promises import GUESTS, Mirror

COMPILERS = ("gcc -m64", "gcc -m32", "clang -m64", "clang -m32")
STRICT = "-std=c11 -ffreestanding -O1 -Wall -Wextra -Wpedantic -Werror"
ZIG_TARGETS = ("x86-windows-gnu", "arm-linux-gnueabihf", "aarch64-linux-gnu", "riscv64-linux-gnu")

# Ways to define the macros that are not the compiler's own (<assert.h> has the first of them: there
# is no libc for -m32); the Linux way needs -O1, an error
# attribute, and a function that is called.
DEFINED = {
    "static_assert": "#define static_assert _Static_assert",
    "BUILD_BUG_ON": "#define BUILD_BUG_ON(c) ((void)sizeof(char[1 - 2 * !!(c)]))",
    "BUILD_BUG_ON_MSG": (
        "#define NAMED_(line) bug_##line\n#define NAMED(line) NAMED_(line)\n"
        "#define BUILD_BUG_ON_MSG(c, m) do { extern void NAMED(__LINE__)(void)"
        " __attribute__((error(m))); if (c) NAMED(__LINE__)(); } while (0)"
    ),
    "QEMU_BUILD_BUG_ON": '#define QEMU_BUILD_BUG_ON(x) _Static_assert(!(x), "not expecting: " #x)',
    "QEMU_BUILD_BUG_MSG": "#define QEMU_BUILD_BUG_MSG(x, m) _Static_assert(!(x), m)",
    "CTASSERT": '#define CTASSERT(x) _Static_assert(x, "CTASSERT")',
}
SHIFT = "uint32_t shift;\n\tuint64_t time[4];"


@pytest.fixture
def compiled(tool, tmp_path):
    """Return a function that compiles a header's text with some code behind it."""

    def compile_(command, text, code="", fails=False, flags=STRICT, suffix=".c"):
        (tmp_path / "unit.h").write_text(f"{text}\n")
        source = tmp_path / f"unit{suffix}"
        source.write_text(f'#include "unit.h"\n{code}\n')
        words = [*command.split(), *flags.split(), "-c", source, "-o", tmp_path / "unit.o"]
        return tool(*words, fails=fails)

    return compile_


@pytest.mark.parametrize("reader", [False, True], ids=["c", "c-reader"])
@pytest.mark.parametrize("command", COMPILERS)
def test_the_header_compiles_without_a_warning(compiled, command, reader):
    compiled(command, "\n".join(c.header(reader=reader)))


@pytest.mark.parametrize("command", COMPILERS)
def test_a_compiler_measures_the_claims_in_the_declarations(emitted, tmp_path, command):
    if shutil.which(command.split()[0]) is None:
        pytest.skip(f"{command.split()[0]}: not installed")
    header = tmp_path / "runstate.h"
    header.write_text(emitted("c"))
    names = [Subject(f"struct {c.type_name(g.bits)}", g.layout.name) for g in GUESTS]
    unit = compiler.header_unit(str(header), names)
    seen = compiler.observe(unit, f"{command} -ffreestanding").layouts
    compared = [compare(g.layout, x, "") for g, x in zip(GUESTS, seen.found, strict=True)]
    assert [result.differences for result in compared] == [(), ()]
    assert all(result.compared > 10 and not result.unknown for result in compared)


@pytest.mark.parametrize("target", ZIG_TARGETS)
def test_the_header_is_right_on_targets_that_align_otherwise(zig, tool, emitted, tmp_path, target):
    source = tmp_path / "unit.c"
    source.write_text(emitted("c"))
    tool(*zig, "cc", "-target", target, "-ffreestanding", "-c", source, "-o", tmp_path / "unit.o")


@pytest.mark.parametrize("command", COMPILERS)
def test_a_shifted_field_is_refused_by_a_whole_sentence(compiled, changed, emitted, command):
    text = changed(emitted("c"), "uint64_t time[4];", SHIFT)
    said = compiled(command, text, fails=True)
    assert "vcpu_runstate_info_64.time must be at offset 16, right behind state_entry_time" in said
    assert "vcpu_runstate_info_64 must be 48 bytes long" in said
    assert "vcpu_runstate_info_32" not in said.replace("_32 {", "")


@pytest.mark.parametrize("name", [m.name for m in c.MACROS])
@pytest.mark.parametrize("command", ["gcc -m64", "gcc -m32"])
def test_each_macro_asserts(compiled, changed, name, command):
    macro = c.MACRO[name]
    text = f"{DEFINED.get(name, '')}\n" + "\n".join(c.header(macro))
    code = "void start(void) { runstate_abi_assertions(); }" if macro.in_function else ""
    flags = "-std=gnu11 -O1 -Wall -Werror -ffreestanding"
    compiled(command, text, code, flags=flags)
    shifted = changed(text, "uint64_t time[4];", SHIFT)
    said = compiled(command, shifted, code, fails=True, flags=flags)
    assert "message" not in macro.form or "vcpu_runstate_info_64.time must be at offset 16" in said


def test_linux_own_bug_on_notices_only_in_code_that_is_called(compiled, changed):
    macro = c.MACRO["BUILD_BUG_ON_MSG"]
    text = f"{DEFINED[macro.name]}\n" + "\n".join(c.header(macro))
    shifted = changed(text, "uint64_t time[4];", SHIFT)
    compiled("gcc -m64", shifted, "", flags="-std=gnu11 -O1 -ffreestanding")
    called = "void start(void) { runstate_abi_assertions(); }"
    compiled("gcc -m64", shifted, called, fails=True, flags="-std=gnu11 -O1 -ffreestanding")


OWN = """\
#include <stddef.h>
typedef unsigned long long u64;
struct mine {{ int state; u64 state_entry_time{}; u64 time[4]; }} {};
"""


# fmt: off
HELD = (
    ("gcc -m64", "x86_64", "vcpu_runstate_info",        "", "",                          False),
    ("gcc -m32", "i386",   "vcpu_runstate_info",        "", "",                          False),
    ("gcc -m32", "x86_64", "vcpu_runstate_info",        "", "",                          True),
    ("gcc -m64", "x86_64", "compat_vcpu_runstate_info", "", "__attribute__((packed))",   False),
    ("gcc -m64", "x86_64", "compat_vcpu_runstate_info", "", "",                          True),
    ("gcc -m64", "x86_64", "vcpu_runstate_info",        "[2]", "",                       True),
)
# fmt: on


@pytest.mark.parametrize(("command", "abi", "claimed", "first", "last", "fails"), HELD)
def test_other_peoples_structs_are_held(compiled, command, abi, claimed, first, last, fails):
    layout = claim(claimed, abi)._replace(alignment=None)
    text = OWN.format(first, last) + "\n".join(c.mirrored([Mirror("struct mine", layout)]))
    said = compiled(command, text, fails=fails)
    assert not fails or "must be at offset" in said


@pytest.mark.parametrize("command", ["g++ -m64", "g++ -m32", "clang++ -m64", "clang++ -m32"])
def test_cpp_compiles_and_refuses_a_shifted_field(compiled, changed, emitted, command):
    flags = "-std=c++11 -ffreestanding -Wall -Wextra -Wpedantic"
    text = emitted("cpp")
    compiled(command, text, flags=f"{flags} -Werror", suffix=".cc")
    shifted = changed(text, "uint64_t state_entry_time;", "uint64_t shift, state_entry_time;")
    said = compiled(command, shifted, fails=True, flags=flags, suffix=".cc")
    assert "vcpu_runstate_info_64.state_entry_time must be at offset 8, after 4 bytes" in said
