"""What every emitted file asserts about a struct, as values. Each language has its own syntax."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from typing import NamedTuple

from runstate_abi.layouts.model import STRUCT, Field, Layout
from runstate_abi.layouts.structs.runstate import (
    CLAIMS,
    NATIVE,
    RUNSTATE_STRUCTS,
    update_byte,
)


class Guest(NamedTuple):
    """A kind of guest, and the struct that it shares with its hypervisor."""

    bits: int
    word: str
    layout: Layout


# A 32-bit guest aligns its area to 4, as i386 and Xen do. Only KVM's own declaration is packed.
GUESTS = (Guest(64, "native", NATIVE), Guest(32, "compat", CLAIMS["x86_64"].compat_xen))


class Mirror(NamedTuple):
    """Somebody else's struct: its type (``struct my_info``) and the layout it must have."""

    type_name: str
    layout: Layout


def whose(mirrors: Sequence[Mirror]) -> str:
    """Return whose rules the structs follow, for the head of a file."""
    own = all(mirror.layout.name in RUNSTATE_STRUCTS for mirror in mirrors)
    return "the Xen runstate ABI" if own else "the ABI"


class Promise(NamedTuple):
    """``kind`` of the struct (or of ``member``) must be ``number``; ``sentence`` says it."""

    kind: str  # size, alignment, offset, member-size, element-size (bytes), signed (0 or 1)
    member: Field | None
    number: int
    sentence: str


def promises(layout: Layout, type_name: str) -> Iterator[Promise]:
    """Yield the promises of a struct ``type_name`` with this layout."""
    yield Promise("size", None, layout.size, f"{type_name} must be {layout.size} bytes long")
    if layout.alignment is not None:
        text = f"{type_name} must be aligned to {of_bytes(layout.alignment)}"
        yield Promise("alignment", None, layout.alignment, text)
    for member in layout.members:
        yield from _of_member(layout, member, f"{type_name}.{member.name}")


def _of_member(layout: Layout, member: Field, name: str) -> Iterator[Promise]:
    place, size = member.offset, member.type.size
    # What is before it: that gives a number in an error message a meaning.
    before = next((row for row in layout.rows if row.end == place), None)
    after = f"right behind {before.name}" if before else "first of all"
    if before and before.padding:
        after = f"after {of_bytes(before.size)} of padding"
    yield Promise("offset", member, place, f"{name} must be at offset {place}, {after}")
    text = f"{name} must be {of_bytes(member.size)} long"
    yield Promise("member-size", member, member.size, text)
    if member.count > 1:
        text = f"{name} must have {member.count} elements of {of_bytes(size)}"
        yield Promise("element-size", member, size, text)
    if member.type.signed is not None:
        text = f"{name} must be {'signed' if member.type.signed else 'unsigned'}"
        yield Promise("signed", member, int(member.type.signed), text)


def of_bytes(size: int) -> str:
    return "1 byte" if size == 1 else f"{size} bytes"


def measured(forms: Mapping[str, str], type_name: str, promise: Promise) -> str:
    """Return what a promise is about; ``forms`` has a language's words for it, by kind."""
    member = promise.member
    several = member is not None and member.count > 1
    words = {"type": type_name, "name": member.name if member else "", "plus": "+" * several}
    words["member"] = forms["member"].format(**words)
    words["element"] = forms["element"].format(**words) if several else words["member"]
    return forms[promise.kind].format(**words)


def is_lowered(layout: Layout) -> bool:
    """Is the struct aligned to less than its widest member?"""
    return layout.alignment is not None and layout.alignment < widest(layout.rows)


def widest(rows: Iterable[Field]) -> int:
    """Return the strictest alignment that rows ask for where an integer's is its size."""
    return max(natural(row) for row in rows)


def natural(row: Field) -> int:
    """Return the alignment of a member where an integer's is its size."""
    return row.type.alignment or 1 if row.type.kind == STRUCT else row.type.size


def sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def filled(name: str, values: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines of text/NAME.in with every @WORD@ replaced (KeyError if it has no value)."""
    place = files("runstate_abi.tools.languages").joinpath("text", f"{name}.in")
    text = place.read_text(encoding="utf-8")
    yield from re.sub(r"@([A-Z_0-9]+)@", lambda found: values[found[1]], text).splitlines()


def numbers() -> dict[str, str]:
    """Return the sizes, offsets and update bytes of both guests by word: STATE_64, ..."""
    found: dict[str, int] = {}
    for guest in GUESTS:
        layout = guest.layout
        found[f"SIZE_{guest.bits}"] = layout.size
        found[f"UPDATE_BYTE_{guest.bits}"] = update_byte(layout)
        for row in layout.members:
            found[f"{row.name.upper()}_{guest.bits}"] = row.offset
    return {word: str(number) for word, number in found.items()}
