"""What the figure is given, held against the writers, the readers and the race checker."""

import random
import re

import pytest

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.tools.docs import figure
from runstate_abi.tools.player import data as player
from runstate_abi.writer import race
from runstate_abi.writer.guest import READER
from runstate_abi.writer.memory import Window, play
from runstate_abi.writer.race import Question
from runstate_abi.writer.racing.ordering import MODEL
from runstate_abi.writer.racing.symbols import image_of, versions
from runstate_abi.writer.steps import Barrier, Write
from runstate_abi.writer.variants import VARIANT, Refused, update
from runstate_abi.writer.vcpu import SHAPES, Area

WRITERS = [
    (name, flag)
    for name in figure.WRITERS
    for flag in ((1,) if VARIANT[name].always_flagged else (0, 1))
]


@pytest.fixture(scope="module")
def made():
    return figure.made()


def bits(mark):
    return int(mark, 32) & 15


def is_up(mark):
    return int(mark, 32) > 15


def put(struct, at, marks):
    return "".join(marks[i - at] if at <= i < at + len(marks) else m for i, m in enumerate(struct))


def marked(area, images, memory):
    """The marks of a struct in memory, by a rule of the test's own."""
    found = []
    for offset, byte in enumerate(memory):
        up = offset == area.shape.update_byte and byte >= 0x80
        plain = byte & 0x7F if up else byte
        mask = sum((image[offset] == plain) << number for number, image in enumerate(images))
        found.append(player.DIGITS[mask + 16 * up])
    return "".join(found)


@pytest.mark.parametrize(("name", "flag"), WRITERS)
@pytest.mark.parametrize("abi", SHAPES)
def test_each_plan_leaves_what_the_writer_leaves(made, name, flag, abi):
    rows = made["plans_at"][f"{name}/{flag}/{abi}"]
    for at, number in zip(range(made["first"], made["last"] + 1), rows, strict=True):
        plan, area = made["plans"][number], Area(abi, PAGE_SIZE + at, bool(flag))
        old, new = versions(area, 1)
        images = image_of(area, old), image_of(area, new)
        window = Window()
        window.data[at : at + len(images[0])] = images[0]
        if isinstance(plan, str):
            with pytest.raises(Refused, match=re.escape(plan.partition("the area")[0])):
                update(VARIANT[name], new, area)
            continue
        steps = update(VARIANT[name], new, area)
        struct = made["before"][abi]
        assert struct == marked(area, images, images[0])
        shown = [step for step in steps if isinstance(step, Write | Barrier)]
        assert len(shown) == len(plan)
        for step, drawn in zip(shown, plan, strict=True):
            play(window, [step])
            assert bool(drawn) == isinstance(step, Write)
            if drawn:
                struct = put(struct, drawn[1], drawn[2])
            assert struct == marked(area, images, window.read(at, len(images[0])))


def test_upstream_has_as_many_plans_as_there_are_splits_of_both_layouts(made):
    keys = [f"upstream/{flag}/{abi}" for flag in (0, 1) for abi in SHAPES]
    assert len({number for key in keys for number in made["plans_at"][key]}) == 184


def verdict(made, name, flag, abi, reader, model, at):
    row = made["rows"][made["verdicts"][f"{name}/{flag}/{abi}/{reader}/{model}"]]
    return row[at - made["first"]]


def sample(made, count):
    choose = random.Random(1)
    for _ in range(count):
        name, flag = choose.choice(WRITERS)
        place = choose.choice(list(SHAPES)), choose.choice(figure.READERS)
        model, at = choose.choice(figure.MODELS), choose.randint(made["first"], made["last"])
        yield (name, flag, *place, model, at)


def asked(name, flag, abi, reader, model, at):
    """The race checker's answer, at this very address."""
    dropped = () if flag else ("flag",)
    area, writer = Area(abi, PAGE_SIZE + at), race.of_variant(VARIANT[name])
    try:
        found = race.ask(Question(writer, READER[reader], MODEL[model], area, dropped=dropped))
    except Refused:
        return "refused"
    return "safe" if found.found is None else "torn"


def test_the_verdicts_are_the_race_checkers_at_each_very_address(made):
    said = {figure.SAFE: "safe", figure.REFUSED: "refused"}
    seen = set()
    for one in sample(made, 200):
        seen.add(asked(*one))
        assert said.get(verdict(made, *one), "torn") == asked(*one), one
    assert seen == {"safe", "torn", "refused"}


def test_each_execution_is_one_and_deceives_its_readers(made):
    """Each load gives what memory then holds; the guest takes bytes of no common version."""
    used = {}
    for key, number in made["verdicts"].items():
        _, _, abi, reader, _ = key.split("/")
        for found in made["rows"][number]:
            if found >= 0:
                used.setdefault(found, set()).add((abi, reader))
    assert set(used) == set(range(len(made["executions"])))
    for number, who in used.items():
        execution = made["executions"][number]
        memory = execution["before"]
        for stored, at, marks in (made["events"][event] for event in execution["events"]):
            if stored:
                assert len(marks) <= stored
                memory = put(memory, at, marks)
            else:
                assert memory[at : at + len(marks)] == marks
        for abi, reader in who:
            taken = [execution["accepted"][offset] for offset in uses(made, reader, abi)]
            common = 3
            for mark in taken:
                common &= bits(mark)
            assert common == 0


def uses(made, reader, abi):
    return made["readers"][reader][abi]["uses"]


def test_what_a_reader_does_with_a_whole_struct():
    layout, model = SHAPES["native"].layout, MODEL["x86-tso"]
    used = [*range(4), *range(16, 48)]
    assert player.reader_of(READER["linux-64"], model, layout) == {"refuses": 1, "uses": used}
    assert player.reader_of(READER["naive"], model, layout) == {"refuses": 0, "uses": used}
    assert player.reader_of(READER["state"], model, layout)["uses"] == [0, 1, 2, 3]


def test_the_story_is_what_the_race_checker_says(made):
    said = []
    for one in made["story"]:
        chosen = one["set"]
        names = (chosen[name] for name in ("writer", "flag", "layout", "reader", "machine", "at"))
        said.append(asked(*names))
    assert said == ["torn", "safe", "torn", "safe"]
    same = [{**one["set"], "writer": "", "mode": "", "step": 0} for one in made["story"][2:]]
    assert same[0] == same[1]
