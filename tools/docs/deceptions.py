"""Pieces about what goes wrong: the race checker's answers, and executions line by line.

No verdict and no interleaving is written here: all come from writer/race.py.
"""

from collections.abc import Iterable, Iterator
from functools import cache, partial
from itertools import groupby

from runstate_abi.layouts.model import Layout
from runstate_abi.tools.docs import proven
from runstate_abi.tools.rendering.blocks import Block, Table
from runstate_abi.writer import race
from runstate_abi.writer.guard import guard_of
from runstate_abi.writer.guest import COPY, READER
from runstate_abi.writer.race import Proof, Question, Race
from runstate_abi.writer.racing import patterns
from runstate_abi.writer.racing.drops import READER_DROPS, WRITER_DROPS
from runstate_abi.writer.racing.ordering import GRAINS, MODEL
from runstate_abi.writer.variants import VARIANT
from runstate_abi.writer.vcpu import ENTRY_TIME_SIZE, SHAPES, Area

X86, WEAK = MODEL["x86-tso"], MODEL["weak"]
CURRENT, LINUX_6_1, XEN_VA, XEN_PHYS = (
    race.of_variant(VARIANT[name]) for name in ("upstream", "linux-6.1", "xen-va", "xen-phys")
)

# An aligned area in one cache line, and one whose compat state_entry_time crosses into the next.
ALIGNED = 0
CROSSING = 64 - SHAPES["compat"].entry_time - 4

THE_32 = READER["fenced-32"]
THE_64 = READER["linux-64"]

# Questions about the newest writer.
asked = partial(Question, CURRENT)

# The names of the versions of the struct, by how many there are.
VERSIONS = {2: ("old", "new"), 3: ("old", "first", "second")}
PARITY = ("even", "odd")

# Cached because each of the four renderings asks the same questions.
answer = cache(race.find_race)

NATIVE, COMPAT = Area("native", ALIGNED), Area("compat", ALIGNED)
EVEN = Area("compat", ENTRY_TIME_SIZE - SHAPES["compat"].entry_time)
ASTRIDE = Area("compat", CROSSING)


def pieces() -> dict[str, tuple[Block, ...]]:
    equal = asked(THE_64, X86, NATIVE, entry_times=patterns.EQUAL)
    return {
        "drop-table": (drop_table(),),
        "reader-table": (reader_table(),),
        "interleavings": tuple(told(title, question) for title, question in TOLD),
        "equal-time": (told("All of the protocol, and an update with the same time", equal),),
    }


def words() -> dict[str, str]:
    return {"x86.grain": str(X86.grain), "x86.promised": str(GRAINS[0])}


def verdict(question: Question) -> str:
    """Return "safe" or "torn"; "torn, in bytes" if only a machine that tears words shows it."""
    return proven.verdict(question, _proved)


def _proved(question: Question) -> str:
    found = answer(question)
    if isinstance(found, Proof):
        return "safe"
    return "torn" if found.words else "torn, in bytes"


def drop_table() -> Table:
    """Return the verdicts on both kinds of machine, with each step left out in turn."""
    rows = [("nothing", "", *_verdicts(()))]
    for side, drops in (("hypervisor", WRITER_DROPS), ("guest", READER_DROPS)):
        rows += ((words, side, *_verdicts((name,))) for name, words in drops.items())
    header = ("left out", "by", "x86", "weak")
    caption = "One step left out: a 64-bit guest's loop, an aligned area, one update"
    return Table(caption, header, tuple(rows))


def _verdicts(dropped: tuple[str, ...]) -> tuple[str, str]:
    x86, weak = (verdict(asked(THE_64, model, NATIVE, dropped=dropped)) for model in (X86, WEAK))
    return x86, weak


# fmt: off
COMPARED = (
    ("the 64-bit loop above",                             THE_64,                NATIVE, CURRENT),
    ("the 32-bit loop above",                             THE_32,                COMPAT, CURRENT),
    ("the 32-bit loop, `state_entry_time` aligned to 8",  THE_32,                EVEN,   CURRENT),
    ("the 32-bit loop, `state_entry_time` in two cache lines", THE_32,           ASTRIDE, CURRENT),
    ("the 32-bit loop, in the native layout",             THE_32,                NATIVE, CURRENT),
    ("Linux's 32-bit loop: no barriers between halves",   READER["linux-32"],    COMPAT, CURRENT),
    ("halves: low, high; copy; low, high",                READER["split-lh-lh"], COMPAT, CURRENT),
    ("halves: high, low; copy; high, low",                READER["split-hl-hl"], COMPAT, CURRENT),
    ("halves: low, high; copy; high, low",                READER["split-lh-hl"], COMPAT, CURRENT),
    ("halves: high, low; copy; low, high",                READER["split-hl-lh"], COMPAT, CURRENT),
    ("a copy and no protocol",                            READER["naive"],       NATIVE, CURRENT),
    ("the 64-bit loop, believing the copy's `state_entry_time`", READER["copied-time"], NATIVE, CURRENT),
    ("Linux 6.1 writes; the 32-bit loop",                 THE_32,                COMPAT, LINUX_6_1),
    ("Linux 6.1 writes, `state_entry_time` in two cache lines; the 32-bit loop", THE_32, ASTRIDE, LINUX_6_1),
    ("Xen writes a virtual area; the 64-bit loop",         THE_64,               NATIVE, XEN_VA),
    ("Xen writes a virtual area; the 32-bit loop",         THE_32,               COMPAT, XEN_VA),
    ("Xen writes a virtual area, native layout; the 32-bit loop (Arm)", THE_32,  NATIVE, XEN_VA),
    ("Xen writes a virtual area, native layout; Linux's 32-bit loop (Arm)", READER["linux-32"], NATIVE, XEN_VA),
    ("Xen writes a physical area; the 32-bit loop",       THE_32,                COMPAT, XEN_PHYS),
    ("Xen writes a physical area, `state_entry_time` in two cache lines; the 32-bit loop", THE_32, ASTRIDE, XEN_PHYS),
)
TOLD = (
    ("The flag was not asked for",                        asked(THE_64, X86,  NATIVE, dropped=("flag",))),
    ("A reader that does not look at the flag",           asked(THE_64, X86,  NATIVE, dropped=("bit-check",))),
    ("A reader that does not read the entry time again",  asked(THE_64, X86,  NATIVE, dropped=("reread",))),
    ("No read barrier before the copy",                   asked(THE_64, WEAK, NATIVE, dropped=("rmb-copy",))),
    ("No read barrier after the copy",                    asked(THE_64, WEAK, NATIVE, dropped=("rmb-reread",))),
    ("An update without the flag in the body's entry time", asked(THE_64, X86, NATIVE, dropped=("body-bit",))),
    ("An update without its first barrier",               asked(THE_64, WEAK, NATIVE, dropped=("wmb-set",))),
    ("An update without its second barrier",              asked(THE_64, WEAK, NATIVE, dropped=("wmb-body",))),
    ("A 32-bit reader that begins with the low half",     asked(READER["split-lh-lh"], X86, COMPAT)),
    ("Low half, high half, copy, high half, low half: one update is not enough", asked(READER["split-lh-hl"], X86, COMPAT, updates=2)),
    ("Linux 6.1: the flag is set by an 8-byte store that crosses a cache line", Question(LINUX_6_1, THE_32, X86, ASTRIDE)),
)
# fmt: on


def reader_table() -> Table:
    """Return the verdicts on readers and writers, on both kinds of machine, for 1 and 2 updates."""
    columns = [(model, updates) for updates in (1, 2) for model in (X86, WEAK)]
    rows = tuple(
        (words, *(verdict(Question(writer, reader, m, area, n)) for m, n in columns))
        for words, reader, area, writer in COMPARED
    )
    header = ("reader", "x86, one update", "weak, one", "x86, two in a row", "weak, two in a row")
    return Table("Readers, each update with a later entry time", header, rows)


def told(title: str, question: Question) -> Table:
    """Return the shortest execution that deceives a reader, a row per access (ValueError: none)."""
    found = answer(question)
    if isinstance(found, Proof):
        raise ValueError(f"{title}: no execution to tell")
    rows = []
    for event in found.events:
        # guest.py names loads "copy", a member, or t, h, l or v with the number of the reading.
        again = event.name.rstrip("'").endswith("2")
        verb = "copies" if event.name == COPY.name else "loads again" if again else "loads"
        values = dict(enumerate(event.data, event.offset))
        words = _listed(_elements(values, found)) + _shown(values, found.case.layout)
        rows.append((f"stores {words}", "") if event.step >= 0 else ("", f"{verb} {words}"))
    every, uses = _elements(found.accepted, found), question.reader.uses
    accepted = _listed(x for x in every if x[0].split("`")[1:2] and _member(x[0]) in uses)
    rows.append(("", f"accepts {accepted}"))
    machine = "x86" if question.model is X86 else "weak"
    caption = f"{title} ({machine})"
    # The first cell is not the name of its row: the table shows an order.
    return Table(caption, ("hypervisor", "guest"), tuple(rows), row_heads=False)


# The member of an element's name: "`time[1]` low half" is of time.
def _member(name: str) -> str:
    return name.split("`")[1].partition("[")[0]


# Whether the guard's word says that an update is in flight, if that byte is among these.
def _shown(values: dict[int, int], layout: Layout) -> str:
    guard = guard_of(layout)
    place = guard.place(layout)
    if place not in values or not guard.bit:
        return ""
    up = guard.is_up(values[place])
    if not guard.counts:
        return f", flag {'up' if up else 'down'}"
    if set(guard.word(layout)) <= values.keys():
        return ""  # the number shows it
    return f", `{guard.name(layout)}` {'odd' if up else 'even'}"


def _elements(values: dict[int, int], found: Race) -> Iterator[tuple[str, str]]:
    layout = found.case.layout
    guard = guard_of(layout)
    for element in layout.elements():
        here = [offset for offset in range(element.offset, element.end) if offset in values]
        if here == [guard.place(layout)] and not guard.counts:
            yield "update byte", _version(values, here, found)
        elif here and not element.row.padding:
            first, last = here[0] - element.offset, here[-1] - element.offset
            yield (
                f"`{element.name}`{_part(first, last, element.size)}",
                _version(values, here, found),
            )


def _part(first: int, last: int, size: int) -> str:
    half = size // 2
    words = {(0, half - 1): " low half", (half, size - 1): " high half", (0, size - 1): ""}
    other = f" byte {first}" if first == last else f" bytes {first} to {last}"
    return words.get((first, last), other)


# Bytes that are equal in several images belong to each; what shows an update in flight is not part
# of the value. A whole word that counts updates is a number.
def _version(values: dict[int, int], here: list[int], found: Race) -> str:
    guard, layout = guard_of(found.case.layout), found.case.layout
    if guard.counts and here == list(guard.word(layout)):
        number = int.from_bytes(bytes(values[o] for o in here), "little")
        return f"{number}{f' ({PARITY[number % 2]})' * bool(guard.bit)}"
    flag, images = guard.place(layout), found.case.images
    fits = [
        name
        for name, image in zip(VERSIONS[len(images)], images, strict=True)
        if all((values[o] & ~guard.bit if o == flag else values[o]) == image[o] for o in here)
    ]
    if not fits:
        return "parts of several"
    if len(fits) < len(images):
        return " = ".join(fits)
    return f"the same in {'both' if len(images) == 2 else 'all'}"


# Adjacent elements of one version are shown as one: ``time[1]`` to ``time[3]``.
def _listed(parts: Iterable[tuple[str, str]]) -> str:
    said = []
    for version, group in groupby(parts, key=lambda part: part[1]):
        names = [name for name, _ in group]
        span = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
        said.append(f"{span}: {version}")
    return ", ".join(said)
