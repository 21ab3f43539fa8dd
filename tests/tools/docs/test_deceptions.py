"""What goes wrong: the verdicts are the known ones, and each execution told deceives its reader."""

import pytest

from agreement import execution
from runstate_abi.tools.docs import deceptions
from runstate_abi.writer.guest import READER, ReadBarrier
from runstate_abi.writer.race import Proof
from runstate_abi.writer.racing.drops import READER_DROPS, WRITER_DROPS

# x86 (program order) and weak (barriers alone), as herd7, CBMC and Spin answer as well.
# fmt: off
KNOWN = {
    "":           ("safe", "safe"),
    "wmb-set":    ("safe", "torn"),
    "wmb-body":   ("safe", "torn"),
    "wmb-clear":  ("safe", "safe"),
    "set":        ("torn", "torn"),
    "body-bit":   ("torn", "torn"),
    "flag":       ("torn", "torn"),
    "rmb-copy":   ("safe", "torn"),
    "rmb-reread": ("safe", "torn"),
    "reread":     ("torn", "torn"),
    "bit-check":  ("torn", "torn"),
}
# fmt: on


def test_the_table_says_of_each_step_what_is_known_of_it(read_back, form):
    header, *rows = read_back(form)[deceptions.drop_table().caption]
    words = {"": "nothing", **WRITER_DROPS, **READER_DROPS}
    last = [[cell.rpartition(": ")[2] for cell in row[-2:]] for row in rows]
    assert [tuple(row) for row in last] == [KNOWN[name] for name in words]
    assert [row[0] for row in rows] == [text.replace("*", "") for text in words.values()]
    assert header == [] or header[-2:] == ["x86", "weak"]


def test_both_loops_of_the_document_are_safe_on_either_machine():
    for reader, area in (
        (deceptions.THE_64, deceptions.NATIVE),
        (deceptions.THE_32, deceptions.COMPAT),
    ):
        for model in (deceptions.X86, deceptions.WEAK):
            answer = deceptions.answer(deceptions.asked(reader, model, area))
            assert isinstance(answer, Proof)
            assert answer.states > 10


# Of each row of the table: x86 and weak for one update, then for two. What one update can do two
# can: the second may come after all.
# fmt: off
SAFE, TORN, BYTES = "safe", "torn", "torn, in bytes"
COMPARED = [
    (SAFE, SAFE,  SAFE,  SAFE),   # the 64-bit loop
    (SAFE, SAFE,  SAFE,  BYTES),  # the 32-bit loop: its entry time is not aligned
    (SAFE, SAFE,  SAFE,  SAFE),   # and now it is
    (SAFE, SAFE,  BYTES, BYTES),  # and now not even x86 stores it in one piece
    (SAFE, SAFE,  SAFE,  SAFE),   # native
    (SAFE, TORN,  SAFE,  TORN),   # Linux's
    (TORN, TORN,  TORN,  TORN),   # lh-lh
    (TORN, TORN,  TORN,  TORN),   # hl-hl
    (SAFE, TORN,  TORN,  TORN),   # lh-hl
    (TORN, TORN,  TORN,  TORN),   # hl-lh
    (TORN, TORN,  TORN,  TORN),   # a copy
    (SAFE, SAFE,  SAFE,  SAFE),   # the copy's time
    (SAFE, BYTES, SAFE,  BYTES),  # Linux 6.1
    (TORN, BYTES, TORN,  BYTES),
    (SAFE, SAFE,  SAFE,  SAFE),   # Xen, virtual: the 64-bit loop
    (SAFE, SAFE,  BYTES, BYTES),  # the 32-bit loop: copies land in any order
    (SAFE, SAFE,  BYTES, BYTES),  # and native, as on Arm
    (SAFE, TORN,  BYTES, TORN),   # Linux's, on Arm: herd7 agrees
    (SAFE, BYTES, SAFE,  BYTES),  # Xen, physical
    (TORN, BYTES, TORN,  BYTES),
]
# fmt: on


def test_the_table_of_readers_says_what_is_known_of_them(read_back, form):
    _, *rows = read_back(form)["Readers, each update with a later entry time"]
    assert [tuple(cell.rpartition(": ")[2] for cell in row[-4:]) for row in rows] == COMPARED


@pytest.mark.parametrize("model", [deceptions.X86, deceptions.WEAK], ids=lambda model: model.name)
def test_no_reader_needs_the_last_barrier_between_two_updates_either(model):
    for reader in (deceptions.THE_64, deceptions.THE_32):
        asked = deceptions.asked(
            reader, model, deceptions.NATIVE, dropped=("wmb-clear",), updates=2
        )
        assert deceptions.verdict(asked) == SAFE


def test_torn_in_bytes_is_safe_where_words_are_not_torn():
    asked = deceptions.asked(deceptions.THE_32, deceptions.WEAK, deceptions.COMPAT, updates=2)
    assert deceptions.verdict(asked) == BYTES
    words = asked._replace(model=deceptions.WEAK._replace(coarse=True))
    assert deceptions.verdict(words) == SAFE


def test_the_areas_compared_lie_where_the_table_says():
    entry = deceptions.COMPAT.shape.entry_time
    starts = [area.offset + entry for area in (deceptions.EVEN, deceptions.ASTRIDE)]
    assert starts[0] % 8 == 0
    assert (starts[1] // 64, (starts[1] + 7) // 64) == (0, 1)


def test_the_32_bit_loop_has_a_barrier_between_all_its_loads():
    program = deceptions.THE_32.program
    assert len(program) == 2 * len(READER["linux-32"].loads) - 1
    assert all(isinstance(op, ReadBarrier) for op in program[1::2])


@pytest.mark.parametrize(("title", "question"), deceptions.TOLD, ids=lambda x: str(x)[:40])
def test_an_execution_that_is_told_ends_in_a_mixture(title, question):
    answer = deceptions.answer(question)
    believed = execution.replay(answer.case.images[0], answer.events)
    for image in answer.case.images:
        assert any(believed[o] != image[o] for o in answer.accepted if o in answer.witness)
    table = deceptions.told(title, question)
    last = table.rows[-1][1]
    assert last.startswith("accepts ")
    names = set(deceptions.VERSIONS[len(answer.case.images)])
    assert len({name for name in names if f": {name}" in last}) > 1


def test_every_load_and_store_of_an_execution_is_a_line(read_back, form):
    title, question = deceptions.TOLD[0]
    events = deceptions.answer(question).events
    _, *rows = read_back(form)[deceptions.told(title, question).caption]
    assert len(rows) == len(events) + 1
    stores = sum(
        any(cell.replace("hypervisor: ", "").startswith("stores") for cell in row) for row in rows
    )
    assert stores == sum(event.step >= 0 for event in events)


def test_to_tell_of_a_safe_reader_is_refused():
    safe = deceptions.asked(deceptions.THE_64, deceptions.X86, deceptions.NATIVE)
    with pytest.raises(ValueError, match="no execution to tell"):
        deceptions.told("nothing left out", safe)
