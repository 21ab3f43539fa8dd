"""The sections of a family's page about what is asserted, what is easily got wrong, and commands.

prose/NAME.checking has commands for one family alone.
"""

import re
from collections.abc import Iterable, Iterator
from importlib.resources import files

from runstate_abi.layouts.conditions import Condition
from runstate_abi.layouts.structs.families import Family
from runstate_abi.layouts.structs.family_names import VERSIONED
from runstate_abi.tools.rendering.blocks import Block, Bullets, Code, Paragraph, Section, Table


def sections(family: Family) -> Iterator[Section]:
    """Yield the sections."""
    yield Section("asserted", "What kernels and hypervisors assert", (_asserted(family),))
    yield Section("unasserted", "What nobody asserts", (_unasserted(family),))
    if family.notes:
        yield Section("traps", "Traps", (Bullets(tuple(map(coded, family.notes))),))
    yield Section("checking", "How to check it", (_commands(family),))


def _asserted(family: Family) -> Block:
    if not family.conditions:
        return Paragraph("Our table has no assertion about these structs.")
    return _conditions("A build stops if one of these is true", family.conditions)


def _unasserted(family: Family) -> Block:
    if not family.unasserted:
        return Paragraph("Our table has nothing here.")
    return _conditions("As above, and `runstate check` asks them", family.unasserted)


# As BUILD_BUG_ON() has them, and what is so if none is true.
def _conditions(caption: str, conditions: Iterable[Condition]) -> Table:
    rows = tuple(
        (x.id, f"`{x.text}`", f"{coded(x.sentence)}{' (x86-64)' * x.x86_64_only}")
        for x in conditions
    )
    return Table(caption, ("", "`BUILD_BUG_ON` of", "then it holds that"), rows)


# A word with an underscore or an index is C's: ``wc.sec_hi``, ``pad1[3]``.
_C_WORD = re.compile(r"(?<![\w.])(?=[\w.]*[_\[])\w+(?:\.\w+)*(?:\[\w*\])?")


def coded(text: str) -> str:
    """Return a sentence with its C names marked as code."""
    return _C_WORD.sub(lambda found: f"`{found[0]}`", text)


def _commands(family: Family) -> Code:
    name, struct = family.name, family.structs[0]
    commands = [
        ("what the table says", f"show --family {name}"),
        ("the encodings, compilers and kernel of this machine", f"check --family {name}"),
    ]
    if family.in_kernels:
        commands.append(("the debug info of a kernel", f"check --family {name} vmlinux kvm.ko"))
    commands += [
        ("each member on each ABI, by a compiler for it", f"matrix --family {name} --zig"),
        ("a header of your own", f"check --header FILE --struct NAME={struct}"),
        (
            "one in memory, member by member",
            f"hexdump FILE --family {name} \\\n    --struct {struct} --at ADDRESS",
        ),
    ]
    if family.name in VERSIONED:
        commands += [
            ("every reader with every writer", f"race --family {name} --all"),
            ("the writers, of which it shows any step by step", f"write --family {name} --list"),
        ]
    texts = (f"# {what}\nrunstate {words}" for what, words in commands)
    lines = (line for text in texts for line in text.split("\n"))
    return Code("sh", (*lines, *_own(family)))


def _own(family: Family) -> tuple[str, ...]:
    place = files("runstate_abi.tools.docs").joinpath("prose", f"{family.name}.checking")
    return tuple(place.read_text(encoding="utf-8").splitlines()) if place.is_file() else ()
