"""Pieces that are programs: the reader's loop, out of the header that `runstate emit` writes.

Law of this file: it cuts that header up and writes nothing of its own.
"""

from runstate_abi.tools.docs.blocks import Block, Code
from runstate_abi.tools.emit.templates import filled, numbers

# fmt: off
SHARED = (
    "struct runstate_snapshot {",
    "typedef uint32_t",
    "uint32_t runstate_load_word(const",
    "void runstate_fence(void)",
    "void runstate_copy(void",
)
OF_64 = ("runstate_entry_time_64(const", "int runstate_try_read_64(", "void runstate_read_64(")
OF_32 = ("runstate_entry_time_32(const", "int runstate_try_read_32(", "void runstate_read_32(")
# fmt: on
INCLUDES = ("#include <stddef.h>", "#include <stdint.h>", "")


def pieces() -> dict[str, tuple[Block, ...]]:
    """Return the pieces of this file by name."""
    return {
        "reader-shared": (Code("c", (*INCLUDES, *_functions(*SHARED))),),
        "reader-64": (Code("c", _functions(*OF_64)),),
        "reader-32": (Code("c", _functions(*OF_32)),),
    }


# The top-level parts of the header in which these words stand, its own conditions left out.
def _functions(*wanted: str) -> tuple[str, ...]:
    lines = [line for line in filled("reader.h", numbers()) if not line.startswith("#")]
    parts = _parts(lines)
    found: list[str] = []
    for words in wanted:
        (part,) = [part for part in parts if any(words in line for line in part)]
        found += (*part, "")
    return tuple(found[:-1])


# Cut at blank lines outside braces.
def _parts(lines: list[str]) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    depth = 0
    for line in lines:
        depth += line.count("{") - line.count("}")
        if line or depth:
            parts[-1].append(line)
        elif parts[-1]:
            parts.append([])
    return [part for part in parts if part]
