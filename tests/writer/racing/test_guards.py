"""The checker against agreement/second.py where a version guards the struct.

The versions are real ones, with and without a carry into the second byte; the checker is asked once
and must give what any of them gives.
"""

import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise, product

import pytest

from agreement.second import HIGH, LOW, STATE, TIME, TORN, WHOLE, WORD, Guarded, is_torn
from runstate_abi.layouts.model import Field, Layout, Scalar
from runstate_abi.layouts.structs.runstate import NATIVE, XEN_RUNSTATE_UPDATE, update_byte
from runstate_abi.writer.guard import FLAG, GUARDS, NOTHING, VALIDITY, VERSION, guard_of
from runstate_abi.writer.guest import RMB_COPY, RMB_REREAD, CannotDrop, Load, Measured, Reader, drop
from runstate_abi.writer.racing.drops import VERSION_READER_DROPS
from runstate_abi.writer.racing.ordering import MODEL, sights
from runstate_abi.writer.racing.patterns import A_B_A, EQUAL, INCREASING, counted
from runstate_abi.writer.racing.projection import solve
from runstate_abi.writer.racing.scene import Case
from runstate_abi.writer.steps import Barrier, Copy, Store

BYTE, HALF = Scalar("uint8_t", 1, False), Scalar("uint16_t", 2, False)
MEMBERS = {"state": (STATE,), "time": (TIME,)}


def struct(word):
    rows = Field(STATE, "state", BYTE), Field(LOW, word, HALF), Field(TIME, "time", BYTE)
    return Layout("tiny", "none", 4, None, rows)


VERSIONED, VALID = struct("version"), struct("tsc_sequence")
GUARDED = {
    VERSION: Guarded(LOW, 1, MEMBERS | {"version": WORD}),
    VALIDITY: Guarded(LOW, 0, MEMBERS | {"tsc_sequence": WORD}),
}


def images(words):
    return tuple(
        bytes([0x11 + 16 * n, *word.to_bytes(2, "little"), 0x12 + 16 * n])
        for n, word in enumerate(words)
    )


# Lists of stores: how, of which offsets, and whether the word is the one of an update in flight.
# fmt: off
SETS = {
    "none": [],
    "word": [(Store, WORD, True)],
    "byte": [(Store, (LOW,), True)],
    "copy": [(Copy, WORD, True)],
    "late": [(Store, (STATE,), True), (Store, WORD, True)],
}
BODIES = {
    "all":    [(Copy, (STATE, LOW, HIGH, TIME), True)],
    "plain":  [(Copy, (STATE, LOW, HIGH, TIME), False)],
    "fields": [(Store, (TIME,), True), (Store, (STATE,), True)],
    "one":    [(Store, (STATE,), True)],
}
CLEARS = {
    "word": [(Store, WORD, False)],
    "copy": [(Copy, WORD, False)],
    "late": [(Store, WORD, False), (Store, (TIME,), False)],
}
# fmt: on
WRITERS = tuple(product(SETS, BODIES, CLEARS, product((False, True), repeat=2)))
PLACES = tuple(product((WHOLE, TORN), ("x86-tso", "weak")))


def update(old, new, guard, offset, writer):
    """The steps of one update; ``writer`` says which stores, and which two barriers are there."""
    *parts, barriers = writer
    # The word of an update in flight is the old one with its bit, or 0.
    busy = [old[LOW] | guard.bit, old[HIGH]] if guard.bit else [0, 0]
    flying = bytes([new[STATE], *busy, new[TIME]])
    for number, stores in enumerate(
        (SETS[parts[0]], BODIES[parts[1]], CLEARS[parts[2]]),
    ):
        for kind, where, up in stores:
            struct = flying if up else new
            yield kind(1, offset + where[0], bytes(struct[o] for o in where))
        if number < len(barriers) and barriers[number]:
            yield Barrier()


def case(layout, words, offset, writer):
    made = images(words)
    guard = guard_of(layout)
    steps = (step for pair in pairwise(made) for step in update(*pair, guard, offset, writer))
    return Case(layout, offset, made, tuple(steps))


DATA = (Load("state", "state", 0), Load("time", "time", 0))


def around(*data, whole=True):
    loads = (Load(f"v{number}", "entry", number, whole) for number in (1, 2))
    first, second = loads
    return (first, RMB_COPY, *data, RMB_REREAD, second)


def readers():
    """Readers that look in either load or both, mask, or never; each without one of its steps."""
    for name, data in (("in order", DATA), ("backwards", DATA[::-1])):
        plain = Reader(name, around(*data), "", "")
        kinds = [replace(plain, checks=checks) for checks in ((), (1,), (2,))]
        kinds += [replace(plain, masks=True), replace(plain, bit_check=False)]
        kinds.append(replace(plain, program=around(*data, whole=False)))
        for reader in kinds:
            yield reader
            for step in VERSION_READER_DROPS:
                try:
                    yield drop(reader, step)
                except CannotDrop:
                    continue


def disagreements(layout, configurations):
    """Ask both, and return how often each verdict came up and where they differ."""
    verdicts, differences = Counter(), []
    for writer, (offset, model), reader, (versions, entry_times, sequences) in configurations:
        symbols = case(layout, versions, offset, writer)
        answer = solve(symbols, reader, MODEL[model], entry_times).found is not None
        guarded = GUARDED[guard_of(layout)]
        cases = (case(layout, words, offset, writer) for words in sequences)
        truth = any(is_torn(one, reader, model, guarded) for one in cases)
        verdicts[truth] += 1
        if truth != answer:
            differences.append((writer, offset, model, reader, entry_times, truth))
    return verdicts, differences


# What the checker is asked, and the versions that the second search is given.
ONE = ((0x10, 0x12), INCREASING, [(0x10, 0x12), (0xFE, 0x100), (0xFFFE, 0)])
THREE = (0x10, 0x12, 0x14)
TWO = (THREE, INCREASING, [THREE, (0xFC, 0xFE, 0x100), (0xFE, 0x100, 0x102)])
BACK = (THREE, A_B_A, [(0x10, 0x12, 0x10), (0xFE, 0x100, 0xFE)])


@pytest.mark.parametrize(
    ("scenario", "one_in"),
    [(ONE, 29), (TWO, 167), pytest.param(ONE, 7, marks=pytest.mark.slow)],
)
def test_a_version_guards_as_trying_everything_says(scenario, one_in):
    every = list(product(WRITERS, PLACES, tuple(readers()), [scenario]))[::one_in]
    verdicts, differences = disagreements(VERSIONED, every)
    assert differences == []
    assert min(verdicts[True], verdicts[False]) > len(every) // 20, verdicts


def measured(chance):
    """A reader as a compiler might make one; its looks may be compared without the bit, or not."""

    def look(number):
        start, size = chance.choice([*[(LOW, 2)] * 9, (0, 4), (LOW, 1), (HIGH, 1)])
        word = tuple(o for o in range(start, start + size) if o in WORD)
        masked = LOW in word and chance.random() < 0.4
        flag = LOW in word and not masked and chance.random() < 0.7
        acquires = chance.random() < 0.3
        does = Measured(start, size, word, flag, (), masked=masked, acquires=acquires)
        return Load(f"look {number}", "measured", number, chance.random() < 0.9, does)

    def data(place):
        does = Measured(place, 1, (), False, (place,), acquires=chance.random() < 0.3)
        return Load(f"data {place}", "measured", 0, True, does)

    between = [[RMB_COPY] * (chance.random() < 0.7), [RMB_REREAD] * (chance.random() < 0.7)]
    program = [look(1), *between[0], data(STATE), data(TIME), *between[1], look(2)]
    for _ in range(chance.choice([0, 0, 0, 1, 2])):
        one, other = (chance.randrange(len(program)) for _ in "12")
        program[one], program[other] = program[other], program[one]
    return Reader("measured", tuple(program), "", "", uses=("state", "time"))


SOUND = [
    (set_, body, clear, barriers)
    for set_, body, clear, barriers in WRITERS
    if set_ in ("word", "copy") and body in ("all", "fields") and clear != "late" and all(barriers)
]


@pytest.mark.parametrize("count", [600, pytest.param(12_000, marks=pytest.mark.slow)])
def test_readers_out_of_any_code_agree_with_trying_everything(count):
    chance = random.Random(count)
    every = [
        (chance.choice(WRITERS), chance.choice(PLACES), measured(chance), ONE) for _ in range(count)
    ]
    verdicts, differences = disagreements(VERSIONED, every)
    assert differences == []
    assert min(verdicts[True], verdicts[False]) > count // 20, verdicts


def test_a_version_that_comes_back_deceives_every_reader():
    every = list(product(WRITERS, PLACES, tuple(readers()), [BACK]))[::307]
    verdicts, differences = disagreements(VERSIONED, every)
    assert differences == []
    assert set(verdicts) == {True}


# Hyper-V's page begins a page, so its number is one access.
VALIDS = ((1, 2), INCREASING, [(1, 2), (0xFF, 0x100), (0x100, 0x101), (0x101, 0x102)])


def test_a_number_that_is_0_meanwhile_guards_as_trying_everything_says():
    # A copy of 0 over a number that nobody made 0 before is torn either way, but shows more words.
    writers = [one for one in WRITERS if one[0] in ("word", "none") and one[2] != "copy"]
    places = [(WHOLE, model) for _, model in PLACES]
    whole = [r for r in readers() if all(op.whole for op in r.loads) and not r.masks]
    every = list(product(writers, places, whole, [VALIDS]))[::31]
    verdicts, differences = disagreements(VALID, every)
    assert differences == []
    assert min(verdicts[True], verdicts[False]) > len(every) // 20, verdicts


def test_each_struct_has_its_guard_by_its_member():
    assert guard_of(VERSIONED) is VERSION
    assert guard_of(VALID) is VALIDITY
    assert guard_of(struct("other")) is NOTHING
    assert FLAG.bit == XEN_RUNSTATE_UPDATE.to_bytes(8, "little")[FLAG.at]
    assert FLAG.place(NATIVE) == update_byte(NATIVE)
    assert NOTHING.place(struct("other")) == -1
    assert [guard.raised(0x10) for guard in GUARDS] == [0x90, 0x11, 0]
    assert [guard.is_up(0x80) for guard in GUARDS] == [True, False, False]


def looks(reader):
    """Of the loads of the version: (is the bit refused?, is it cleared?)."""
    found = sights(reader, MODEL["x86-tso"], VERSIONED, WHOLE)
    return [(sight.flag, sight.masked) for sight in found if sight.compared]


def test_a_reader_looks_where_it_says():
    plain = Reader("plain", around(*DATA), "", "")
    assert looks(plain) == [(True, False), (True, False)]
    assert looks(replace(plain, checks=(1,))) == [(True, False), (False, False)]
    assert looks(replace(plain, checks=(2,))) == [(False, False), (True, False)]
    masks = replace(plain, masks=True)
    assert looks(masks) == [(False, True), (True, False)]
    assert looks(drop(masks, "odd-check")) == [(False, False), (False, False)]
    does = Measured(LOW, 2, WORD, False, (), masked=True), Measured(LOW, 2, WORD, True, ())
    code = replace(plain, program=tuple(Load("v", "measured", 0, True, one) for one in does))
    assert looks(code) == [(False, True), (True, False)]
    assert looks(drop(code, "odd-check")) == [(False, False), (False, False)]


def test_a_version_that_stays_has_no_byte_that_differs():
    assert counted(1, 3, EQUAL) == ()
    assert counted(1, 3, INCREASING) == ((1, (0, 1, 2)),)
    assert counted(1, 3, A_B_A) == ((1, (0, 1, 0)),)
