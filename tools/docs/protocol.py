"""The sections of a family whose structs a version guards: how to read, who writes, what tears.

The text and the C are files of prose/: NAME.reading, NAME.places and NAME.wrong, NAME-PART.c, and
guarded.* for what all such families have in common. parties.py, compared.py and kinds.py make the
tables, of writer/versions.
"""

import re
from collections.abc import Iterator, Mapping
from importlib.resources import files

from runstate_abi.layouts.abi import X86_64
from runstate_abi.layouts.model import Layout
from runstate_abi.layouts.structs import families
from runstate_abi.layouts.structs.families import Family
from runstate_abi.layouts.structs.family_names import ALL
from runstate_abi.tools.docs import prose
from runstate_abi.tools.docs.prose import Pieces
from runstate_abi.tools.rendering.blocks import Block, Code, Section, Table

SECTIONS = ("reading", "writing", "compared", "wrong", "readers")  # in the order of the page
# The C that a family's own begins with.
SHARED = {"pvclock": ("guarded", "guarded-tsc"), "hyperv": ("guarded", "guarded-tsc")}
# The members of Xen's wall clock, and the ABIs on which it is.
CLOCK = ("wc_version", "wc_sec", "wc_nsec", "wc_sec_hi")
PENDING = "evtchn_upcall_pending"  # a member of the struct that Xen's time info is in
CLOCK_ABIS = ("x86_64", "i386", "arm64", "arm32")


def sections(family: Family, words: Mapping[str, str], made: Pieces) -> Iterator[Section]:
    """Yield the sections (KeyError: an unknown name).

    ``words`` are what the text may name, ``made`` the tables of parties.py and kinds.py.
    """
    texts = {name: _text(family, name) for name in SECTIONS}
    titles = {name: prose.title_of(text) for name, text in texts.items()}
    every = {**made, **pieces(family), "places": (places(family, words),)}
    for name, text in texts.items():
        yield prose.section(name, text, every, words, titles)


# The family's own file, or that of all.
def _text(family: Family, name: str) -> str:
    own = _prose(f"{family.name}.{name}")
    return own if own is not None else _prose(f"guarded.{name}") or ""


def _prose(name: str) -> str | None:
    place = files("runstate_abi.tools.docs").joinpath("prose", name)
    return place.read_text(encoding="utf-8") if place.is_file() else None


def pieces(family: Family) -> dict[str, tuple[Block, ...]]:
    """Return the programs and what else the texts may show by name."""
    barriers = prose.section("barriers", _prose("guarded.barriers") or "", {}, {}, {})
    own = {"c-declarations": family.declarations, **_own(family)}
    shared = "\n".join(_prose(f"{name}.c") or "" for name in SHARED.get(family.name, ("guarded",)))
    programs = {"c-shared": used(shared, "\n".join(own.values())), **own}
    return {
        **{name: (Code("c", tuple(text.splitlines())),) for name, text in programs.items()},
        "barriers": tuple(block for block in barriers.blocks if not isinstance(block, Section)),
        "clock-places": (clock_places(),),
    }


def used(shared: str, own: str) -> str:
    """Return the program that all pages share without the types that this page does not use."""
    types = re.findall(r"typedef \w+ (\w+);\n", shared)
    for name in types:
        if not re.search(rf"\b{name}\b", own + re.sub(r"typedef .*", "", shared)):
            shared = re.sub(rf"typedef \w+ {name};\n", "", shared)
    return shared


def places(family: Family, words: Mapping[str, str]) -> Table:
    """Return how a guest gets the structs of a family."""
    known = {**words, "xen.time": str(_with(PENDING, X86_64.name).offsetof("time"))}
    return prose.table(_prose(f"{family.name}.places") or "", known)


# The struct of an ABI, of whatever family, that has a member.
def _with(member: str, abi: str) -> Layout:
    every = (layout for one in families.families(ALL) for layout in one.claims.get(abi, ()))
    return next(x for x in every if any(row.name == member for row in x.rows))


# The family's programs, with the offsets that they name filled in.
def _own(family: Family) -> dict[str, str]:
    folder = files("runstate_abi.tools.docs").joinpath("prose")
    found = {}
    for place in folder.iterdir():
        name, _, part = place.name.removesuffix(".c").partition("-")
        if place.name.endswith(".c") and name == family.name:
            text = place.read_text(encoding="utf-8")
            found[f"c-{part}"] = re.sub(r"@([\w.]+)@", lambda word: _offset(word[1]), text)
    return found


def _offset(word: str) -> str:
    abi, _, member = word.partition(".")
    return f"{clock_offsets(abi)[f'wc_{member}']:#x}"


def clock_offsets(abi: str) -> dict[str, int]:
    """Return where the members of the wall clock are in Xen's struct (KeyError: another ABI)."""
    outer = _with(CLOCK[0], abi)
    found = {row.name: row.offset for row in outer.rows if row.name in CLOCK}
    if CLOCK[-1] not in found:  # on i386 it is a member of arch
        arch = outer.field("arch")
        found[CLOCK[-1]] = arch.offset + _with(CLOCK[-1], abi).offsetof(CLOCK[-1])
    return found


def clock_places() -> Table:
    """Return where the wall clock is in Xen's struct, a row for each kind of guest."""
    rows = []
    for abi in CLOCK_ABIS:
        found = clock_offsets(abi)
        rows.append((abi, *(f"{found[member]:#x}" for member in CLOCK)))
    caption = "Offsets of the wall clock in the struct that Xen and its guest share"
    return Table(
        caption,
        ("guest", *(f"`{member}`" for member in CLOCK)),
        tuple(rows),
        numeric=frozenset(range(1, len(CLOCK) + 1)),
    )
