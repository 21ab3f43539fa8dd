"""gdb and drgn: Python to be loaded there; the code is in text/, the numbers come from the tables.

Law of this file: it writes Python literals and nothing else.
"""

from collections.abc import Iterator

from runstate_abi.layouts.model import Layout
from runstate_abi.layouts.structs.runstate import RUNSTATES, XEN_RUNSTATE_UPDATE
from runstate_abi.tools.languages.promises import GUESTS, filled


def gdb() -> Iterator[str]:
    """Yield a script that gives gdb the command ``runstate``."""
    rows = (f'    "{g.word}": ({g.layout.size}, {_members(g.layout)}),' for g in GUESTS)
    return _filled("runstate_gdb.py", "\n".join(rows))


def drgn() -> Iterator[str]:
    """Yield a module that makes drgn objects of both structs."""
    rows = (
        f'    "{g.word}": ("{g.layout.name}", {g.layout.size}, {_members(g.layout)}),'
        for g in GUESTS
    )
    return _filled("runstate_drgn.py", "\n".join(rows))


def _members(layout: Layout) -> str:
    rows = (
        f'        ("{row.name}", {row.offset}, {row.type.size}, {row.count}, {row.type.signed}),'
        for row in layout.members
    )
    return "\n".join(("(", *rows, "    )"))


def _filled(name: str, structs: str) -> Iterator[str]:
    values = {
        "UPDATE_FLAG": f"1 << {XEN_RUNSTATE_UPDATE.bit_length() - 1}",
        "STATES": str({runstate.value: runstate.name for runstate in RUNSTATES}),
        "STRUCTS": structs,
    }
    return filled(name, values)
