"""The programs in the page: put together as they are printed, they compile and are the emitted."""

import re

import pytest

from runstate_abi.tools.docs import command
from runstate_abi.tools.rendering import blocks


def programs():
    """The C of the page in its order: the declarations, then the three parts of the reader."""

    def codes(section):
        for block in section.blocks:
            if isinstance(block, blocks.Section):
                yield from codes(block)
            elif isinstance(block, blocks.Code) and block.language == "c":
                yield "\n".join(block.lines)

    sections = {section.name: section for section in command.document().sections}
    return [*codes(sections["layouts"]), *codes(sections["reading"])]


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
