"""The programs in the page: put together as they are printed, they compile and are the emitted."""

import re

import pytest

from runstate_abi.tools.docs import command
from runstate_abi.tools.rendering import blocks


def programs():
    """The C of the page in its order: the declarations, then the three parts of the reader."""
    return [*codes("layouts"), *codes("reading")]


def codes(name, language="c"):
    """The programs of one section."""
    (section,) = (one for one in command.document().sections if one.name == name)
    for _, block in blocks.parts((section,)):
        if isinstance(block, blocks.Code) and block.language == language:
            yield "\n".join(block.lines)


@pytest.mark.parametrize("flags", ["-m64", "-m32"])
def test_the_programs_of_the_page_compile_as_they_are_printed(tool, tmp_path, flags):
    declarations, shared, of_64, of_32 = programs()
    of_64 = of_64 if flags == "-m64" else ""
    source = tmp_path / "page.c"
    # The page shows the declarations first, so that what they need comes from its second program.
    includes = "\n".join(re.findall("#include.*", shared))
    (tmp_path / "page.h").write_text("\n".join([includes, declarations, shared, of_64, of_32, ""]))
    source.write_text('#include "page.h"\n')
    words = ["gcc", flags, "-std=c11", "-ffreestanding", "-Wall", "-Wextra", "-Werror"]
    tool(*words, "-c", source, "-o", tmp_path / "page.o")


def test_the_programs_are_pieces_of_the_emitted_header(emitted):
    header = emitted("c-reader")
    for program in programs():
        for part in re.sub(r"#include.*\n", "", program).split("\n\n"):
            if part.strip():
                assert part.strip() in header


@pytest.mark.usefixtures("offset_of")
def test_the_rust_of_the_page_compiles_as_it_is_printed_and_without_std(tool, tmp_path):
    (program,) = codes("reading", "rust")
    (tmp_path / "page.rs").write_text(f"#![no_std]\n{program}\n")
    words = ("rustc", "--edition=2021", "--crate-type=lib", "--emit=metadata", "-Dwarnings")
    tool(*words, tmp_path / "page.rs", "-o", tmp_path / "out")


def test_the_rust_of_the_page_is_of_the_emitted_module(emitted):
    (program,) = codes("reading", "rust")
    module = emitted("rust-reader").split("\n\n")
    parts = program.split("\n\n")
    assert "try_read_64" in parts[-1]
    assert [part for part in parts if part not in module] == []


# Xen's numbers: include/public/xen.h, __HYPERVISOR_vcpu_op and __HYPERVISOR_vm_assist; vcpu.h.
CALLS = """
#include "page.c"

static struct runstate_registration seen;
static int calls;

long hypercall(unsigned int number, unsigned long first, unsigned long second, const void *third)
{
	calls++;
	if (number == 24 && first == 5 && second == 3)
		seen = *(const struct runstate_registration *)third;
	return number == 21 && first == 0 && second == 5 && !third ? -38 : 0;
}

int main(void)
{
	char area[] = "leftover";

	long failed = runstate_register(3, area, sizeof(area));

	failed |= seen.address != (uintptr_t)area || area[0] || area[7];
	return failed || runstate_ask_for_flag() != -38 || calls != 2;
}
"""


@pytest.mark.parametrize("flags", ["-m64", "-m32"])
def test_the_registration_of_the_page_compiles_and_makes_the_calls(tool, tmp_path, flags):
    (program,) = codes("area")
    (tmp_path / "page.c").write_text(program)
    (tmp_path / "main.c").write_text(CALLS)
    words = ["gcc", flags, "-std=c11", "-Wall", "-Wextra", "-Werror"]
    tool(*words, tmp_path / "main.c", "-o", tmp_path / "main")
    tool(tmp_path / "main")
