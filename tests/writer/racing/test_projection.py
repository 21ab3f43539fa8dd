"""The checker against agreement/second.py, one pattern of equal entry-time bytes at a time."""

import random
from collections import Counter
from itertools import product

import pytest

from agreement.second import HIGH, LOW, STATE, TIME, TORN, WHOLE, WORD, Guarded, is_torn
from runstate_abi.layouts.model import Field, Layout, Scalar
from runstate_abi.writer.guest import READERS, CannotDrop, Load, Measured, ReadBarrier, Reader, drop
from runstate_abi.writer.racing.drops import READER_DROPS
from runstate_abi.writer.racing.ordering import MODEL
from runstate_abi.writer.racing.patterns import A_B_A, DIFFERENT, EQUAL, INCREASING
from runstate_abi.writer.racing.projection import solve
from runstate_abi.writer.racing.scene import Case
from runstate_abi.writer.steps import Barrier, Copy, Store

BYTE, HALF = Scalar("uint8_t", 1, False), Scalar("uint16_t", 2, False)
TINY = Layout(
    "tiny",
    "none",
    4,
    None,
    (Field(0, "state", BYTE), Field(1, "state_entry_time", HALF), Field(3, "time", BYTE)),
)
FLAG = 0x80


def images(low, high):
    """True images whose entry times have these values in their bytes, one a version."""
    return tuple(
        bytes([version, 0x11 + low[version], 0x21 + high[version], 0x41 + version])
        for version in range(len(low))
    )


# What an update may look like: lists of stores (how, of which offsets, with the flag in which).
# fmt: off
SETS = {
    "none":  [],
    "byte":  [(Store, (HIGH,), HIGH)],
    "eight": [(Store, (LOW, HIGH), HIGH)],
    "copy":  [(Copy, (LOW, HIGH), HIGH)],
    "wrong": [(Store, (LOW,), LOW)],
}
BODIES = {
    "all":    [(Store, (STATE,), None), (Store, (LOW, HIGH), HIGH), (Copy, (TIME,), None)],
    "copied": [(Copy, (STATE, LOW, HIGH, TIME), HIGH)],
    "plain":  [(Copy, (STATE, LOW, HIGH, TIME), None)],
    "halves": [(Copy, (STATE,), None), (Copy, (TIME,), None), (Store, (LOW,), None)],
    "parts":  [(Copy, (STATE, LOW), None), (Copy, (HIGH, TIME), HIGH)],
}
CLEARS = {
    "byte":  [(Store, (HIGH,), None)],
    "eight": [(Store, (LOW, HIGH), None)],
}
# fmt: on


def update(image, offset, set_, body, clear, barriers):
    """The steps of one update with the image's bytes; ``barriers`` says which three are there."""
    steps = []
    for part, barrier in zip((SETS[set_], BODIES[body], CLEARS[clear]), barriers, strict=True):
        for kind, where, flag in part:
            data = bytes(image[o] | (FLAG if o == flag else 0) for o in where)
            steps.append(kind(1, offset + where[0], data))
        if barrier:
            steps.append(Barrier())
    return steps


GUARDED = Guarded(HIGH, FLAG, {"state": (STATE,), "state_entry_time": WORD, "time": (TIME,)})


def readers():
    """Every reader, and every reader without one of its steps."""
    for reader in READERS:
        yield reader
        for name in READER_DROPS:
            try:
                yield drop(reader, name)
            except CannotDrop:
                continue


WRITERS = tuple(product(SETS, BODIES, CLEARS, product((False, True), repeat=3)))
PLACES = tuple(product((WHOLE, TORN), ("x86-tso", "weak", "program-order")))


def case(true_images, offset, writer):
    made = (update(image, offset, *writer) for image in true_images[1:])
    return Case(TINY, offset, true_images, tuple(step for steps in made for step in steps))


def disagreements(configurations):
    """Ask both, and return how often each verdict came up and where they differ."""
    verdicts, differences = Counter(), []
    for writer, (offset, model), reader, (entry_times, differing, patterns) in configurations:
        versions = len(patterns[0][0])
        symbols = case(images(range(versions), range(versions)), offset, writer)
        answer = solve(symbols, reader, MODEL[model], entry_times, differing)
        truth = any(
            is_torn(case(images(*p), offset, writer), reader, model, GUARDED) for p in patterns
        )
        verdicts[truth] += 1
        if truth != (answer.found is not None):
            differences.append((writer, offset, model, reader, entry_times, differing, truth))
    return verdicts, differences


ONE_UPDATE = [
    (INCREASING, [mask], [((0, mask & 1), (0, mask >> 1))]) for mask in (0b01, 0b10, 0b11)
]


# One in so many of 302,400: a prime, so that no part of the product is always the same.
@pytest.mark.parametrize("one_in", [293, pytest.param(59, marks=pytest.mark.slow)])
def test_every_pattern_of_one_update_agrees_with_trying_everything(one_in):
    every = list(product(WRITERS, PLACES, tuple(readers()), ONE_UPDATE))[::one_in]
    verdicts, differences = disagreements(every)
    assert differences == []
    # Both verdicts come up often: a checker that always gives one would not pass.
    assert min(verdicts[True], verdicts[False]) > len(every) // 7, verdicts


SPANS = [(0, 1), (1, 2), (1, 2), (1, 2), (1, 1), (2, 1), (2, 2), (0, 2), (3, 1), (0, 4)]


def measured(chance):
    """A reader as a compiler might make one: any loads, compared and believed in any way."""
    program = []
    for number in range(chance.randrange(2, 6)):
        start, size = chance.choice(SPANS)
        where = range(start, start + size)
        entry = tuple(o for o in where if o in (LOW, HIGH))
        compared = chance.choice([(), entry, entry, entry[:1]])
        flag = HIGH in where and chance.random() < 0.6
        believed = chance.choice([(), tuple(where), tuple(o for o in where if o not in entry)])
        does = Measured(start, size, compared, flag, believed)
        program.append(Load(f"load {number}", "measured", 0, chance.random() < 0.5, does))
        if chance.random() < 0.4:
            program.append(ReadBarrier("rmb"))
    rest = Measured(
        *chance.choice([(STATE, 1, (), False, (STATE,)), (TIME, 1, (), False, (TIME,))])
    )
    program.insert(chance.randrange(len(program)), Load("rest", "measured", 0, True, rest))
    return Reader("measured", tuple(program), "", "")


@pytest.mark.parametrize("count", [600, pytest.param(12_000, marks=pytest.mark.slow)])
def test_readers_out_of_any_code_agree_with_trying_everything(count):
    chance = random.Random(count)
    every = [
        (
            chance.choice(WRITERS),
            chance.choice(PLACES),
            measured(chance),
            chance.choice(ONE_UPDATE),
        )
        for _ in range(count)
    ]
    verdicts, differences = disagreements(every)
    assert differences == []
    assert min(verdicts[True], verdicts[False]) > count // 7, verdicts


def test_a_reader_of_the_entry_time_alone_is_refused():
    does = Measured(LOW, 2, (), True, (LOW, HIGH))
    reader = Reader("alone", (Load("load", "measured", 0, True, does),), "", "")
    with pytest.raises(ValueError, match="alone uses no other member than state_entry_time"):
        solve(case(images((0, 1), (0, 1)), WHOLE, WRITERS[0]), reader, MODEL["x86-tso"])


# Found by asking more at random: each was wrong once.
ONCE_WRONG = [
    # a byte of the entry time that no image has, believed by a reader that does not compare it
    (
        ("wrong", "plain", "eight", (True, False, False)),
        "copied-time",
        ["bit-check"],
        ONE_UPDATE[1],
    ),
    (("wrong", "plain", "eight", (False, False, True)), "copied-time", ["reread"], ONE_UPDATE[1]),
]


@pytest.mark.parametrize(("writer", "reader", "dropped", "scenario"), ONCE_WRONG)
def test_what_was_wrong_once_agrees(writer, reader, dropped, scenario):
    chosen = next(one for one in READERS if one.name == reader)
    for name in dropped:
        chosen = drop(chosen, name)
    every = [(writer, place, chosen, scenario) for place in PLACES]
    verdicts, differences = disagreements(every)
    assert differences == []
    assert verdicts[True]


def all_patterns(updates, entry_times):
    """One pair of columns for every way in which bytes of the entry times can be equal."""
    versions = range(updates + 1)
    found = {}
    for low, high in product(product(versions, repeat=updates + 1), repeat=2):
        times = list(zip(high, low, strict=True))
        if IS_SO[entry_times](times):
            found.setdefault((equalities(low), equalities(high)), (low, high))
    return list(found.values())


IS_SO = {
    INCREASING: lambda times: times == sorted(set(times)),
    DIFFERENT: lambda times: len(times) == len(set(times)),
    EQUAL: lambda times: len(set(times)) == 1,
    A_B_A: lambda times: times[0] == times[2] != times[1],
}


def equalities(column):
    return tuple(column.index(value) for value in column)


@pytest.mark.parametrize(
    ("updates", "entry_times", "every"),
    [(1, INCREASING, 1009), (1, EQUAL, 1009), (2, INCREASING, 2003), (2, DIFFERENT, 2003),
     (2, EQUAL, 2003), (2, A_B_A, 2003)],
)  # fmt: skip
def test_the_coarsest_patterns_stand_for_all_of_them(updates, entry_times, every):
    patterns = all_patterns(updates, entry_times)
    scenario = [(entry_times, None, patterns)]
    some = list(product(WRITERS, PLACES, tuple(readers()), scenario))[::every]
    verdicts, differences = disagreements(some)
    assert differences == []
    assert verdicts[True], verdicts
