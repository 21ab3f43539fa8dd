"""Read the prose: text files that a person edits, with places for what is made from tables.

A file is paragraphs with blank lines between. `# Title` is the section's, `## Title` opens a part
of it; lines that begin with `- ` or `1. ` are a list; `! Label: text` is a note; `{{name}}` by
itself is a table, a drawing or a program made elsewhere; {name} within text is a number or a word;
[[name]] is a link to another section, under its title. A table is a file of its own: its caption,
its header, and for each row a paragraph whose lines after the first begin with `|`, one a cell.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from runstate_abi.tools.docs.sources import NUMBERS
from runstate_abi.tools.languages.promises import filled, numbers
from runstate_abi.tools.languages.rust_zig import rust_with_reader
from runstate_abi.tools.rendering import blocks
from runstate_abi.tools.rendering.blocks import Block, Bullets, Code, Section, Table

_PIECE = re.compile(r"\{\{([a-z0-9-]+)\}\}")
_WORD = re.compile(r"\{([a-z0-9_.]+)\}")
_LINK = re.compile(r"\[\[([a-z-]+)\]\]")
_ITEM = re.compile(r"(?:- |\d+\. )")

Pieces = Mapping[str, tuple[Block, ...]]


def title_of(text: str) -> str:
    """Return the title of the section that a prose file is."""
    return text.partition("\n")[0].removeprefix("# ")


def section(
    name: str, text: str, pieces: Pieces, words: Mapping[str, str], titles: Mapping[str, str]
) -> Section:
    """Return a prose file as a section (KeyError: an unknown name in it)."""
    text = _LINK.sub(lambda found: f"[[{found[1]}|{titles[found[1]]}]]", text)
    text = _filled(_PIECE.sub(r"<<\1>>", text), words)
    parts = [part.strip() for part in re.split(r"\n{2,}", text.strip())]
    heads = [index for index, part in enumerate(parts) if part.startswith("## ")]
    ends = [*heads, len(parts)]
    content: list[Block | Section] = list(_blocks(parts[1 : ends[0]], pieces))
    for head, end in pairwise(ends):
        title = parts[head].removeprefix("## ")
        anchor = "-".join(re.findall(r"[a-z0-9]+", title.lower()))
        inner = tuple(_blocks(parts[head + 1 : end], pieces))
        content.append(Section(f"{name}-{anchor}", title, inner))
    return Section(name, title_of(parts[0]), tuple(content))


def table(text: str, words: Mapping[str, str]) -> Table:
    """Return a file as a table (KeyError: an unknown name; ValueError: a row's cells)."""
    head, *rows = re.split(r"\n{2,}", _filled(text, words).strip())
    caption, header = head.split("\n")
    cells = (tuple(_flowing(cell) for cell in row.split("\n|")) for row in rows)
    return Table(caption.removeprefix("# "), tuple(header.split(" | ")), tuple(cells))


def _filled(text: str, words: Mapping[str, str]) -> str:
    return _WORD.sub(lambda found: words[found[1]], text)


def _blocks(parts: Sequence[str], pieces: Pieces) -> Iterator[Block]:
    for part in parts:
        if part.startswith("<<"):
            yield from pieces[part.strip("<>")]
        elif _ITEM.match(part):
            items = re.split(rf"\n(?={_ITEM.pattern})", part)
            texts = tuple(_flowing(_ITEM.sub("", item, count=1)) for item in items)
            yield Bullets(texts, ordered=not part.startswith("- "))
        elif part.startswith("! "):
            label, _, text = part.removeprefix("! ").partition(": ")
            yield blocks.Note(f"{label}.", _flowing(text))
        else:
            yield blocks.Paragraph(_flowing(part))


def _flowing(text: str) -> str:
    return " ".join(text.split())


# fmt: off
SHARED = (
    "struct runstate_snapshot {",
    "typedef uint32_t",
    "runstate_load_word(const void *area, size_t offset)\n",
    "void runstate_fence(void)",
    "runstate_copy(void",
)
OF_64 = ("runstate_entry_time_64(const", "int runstate_try_read_64(", "void runstate_read_64(")
OF_32 = ("runstate_entry_time_32(const", "int runstate_try_read_32(", "void runstate_read_32(")
RUST_64 = (
    "pub const XEN_RUNSTATE_UPDATE:",
    "pub struct VcpuRunstateInfo64",
    "use core::sync::atomic::{",
    "pub struct Snapshot",
    "unsafe fn load_word(",
    "unsafe fn load_pair(",
    "unsafe fn copy(",
    "unsafe fn entry_time_64(",
    "unsafe fn try_read_64(",
)
# fmt: on
INCLUDES = ("#include <stddef.h>", "#include <stdint.h>", "")


def pieces() -> dict[str, tuple[Block, ...]]:
    """Return the pieces of this file by name."""
    # Without the lines of the preprocessor.
    c_lines = [line for line in filled("reader.h", numbers()) if not line.startswith("#")]
    calls = {name.split(".")[1].upper(): str(number) for name, number in NUMBERS.items()}
    return {
        "reader-shared": (Code("c", (*INCLUDES, *_parts(c_lines, SHARED))),),
        "reader-64": (Code("c", _parts(c_lines, OF_64)),),
        "reader-32": (Code("c", _parts(c_lines, OF_32)),),
        "reader-rust": (Code("rust", _parts(rust_with_reader(), RUST_64)),),
        "register-c": (Code("c", tuple(filled("register.c", calls))),),
    }


# The top-level parts of a program that contain these words.
def _parts(lines: Iterable[str], wanted: Iterable[str]) -> tuple[str, ...]:
    parts = re.split(r"\n{2,}(?=\S)", "\n".join(lines).strip("\n"))
    found: list[str] = []
    for words in wanted:
        (part,) = [part for part in parts if words in part]
        found += (*part.split("\n"), "")
    return tuple(found[:-1])
