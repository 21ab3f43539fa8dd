"""The document: its sections in order, prose and tables put together.

Law of this file: the order of the sections and the words that the prose may use; nothing is said
here. Prose is in prose/, numbers are in layouts/ and writer/, and the other files of this folder
bring the two together.
"""

from importlib.resources import files

from runstate_abi.layouts.invariants import STAGES, conditions_of
from runstate_abi.layouts.runstate import COMPAT, NATIVE, update_byte
from runstate_abi.tools.document import (
    calls,
    deceptions,
    history,
    placements,
    programs,
    prose,
    structs,
    updates,
)
from runstate_abi.tools.document.blocks import Block, Document, References
from runstate_abi.tools.document.sources import REFERENCES

SECTIONS = (
    "area",
    "layouts",
    "abis",
    "states",
    "times",
    "update",
    "reading",
    "wrong",
    "padding",
    "pages",
    "asserts",
    "checks",
    "history",
    "registration",
    "sources",
)
TABLES = ("invariants", "xen-calls", "kvm-calls", "versions", "witnesses")
MODULES = (structs, updates, placements, deceptions, programs, history)


def document() -> Document:
    """Return the whole document."""
    pieces: dict[str, tuple[Block, ...]] = {
        name: made for module in MODULES for name, made in module.pieces().items()
    }
    pieces |= {name: (prose.table(text(f"{name}.table"), words()),) for name in TABLES}
    pieces["sources-list"] = (References(REFERENCES + history.references()),)
    texts = {name: text(f"{name}.txt") for name in SECTIONS}
    titles = {name: prose.title_of(one) for name, one in texts.items()}
    sections = tuple(
        prose.section(name, one, pieces, words(), titles) for name, one in texts.items()
    )
    return Document(
        "runstate",
        "The Xen runstate area",
        "What `vcpu_runstate_info` is, byte by byte; how hypervisors write it; how a guest reads "
        "it safely.",
        sections,
    )


def text(name: str) -> str:
    """Return a file of prose/: a section or a table."""
    place = files("runstate_abi.tools.document").joinpath("prose", name)
    return place.read_text(encoding="utf-8")


def words() -> dict[str, str]:
    """Return what may stand in braces in the prose."""
    (hole,) = NATIVE.padding
    return {
        "native.update_byte": str(update_byte(NATIVE)),
        "compat.update_byte": str(update_byte(COMPAT)),
        "native.size": str(NATIVE.size),
        "native.pad": str(hole.size),
        "native.pad_first": str(hole.offset),
        "native.pad_last": str(hole.end - 1),
        "stages": "; ".join(
            f"`{stage.name}` ({len(conditions_of(index))} of them: {stage.source})"
            for index, stage in enumerate(STAGES)
        ),
        **placements.words(),
        **calls.words(),
        **deceptions.words(),
    }
