"""What goes wrong: the verdicts are the known ones, and each execution told deceives its reader."""

import pytest

from runstate_abi.tools.document import deceptions
from runstate_abi.writer import execution
from runstate_abi.writer.drops import READER_DROPS, WRITER_DROPS
from runstate_abi.writer.guest import READER, ReadBarrier
from runstate_abi.writer.race import Proof

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
            answer = deceptions.Question(reader, model, area).answer()
            assert isinstance(answer, Proof)
            assert answer.states > 10


def test_the_32_bit_loop_has_a_barrier_between_all_its_loads():
    program = deceptions.THE_32.program
    assert len(program) == 2 * len(READER["linux-32"].loads) - 1
    assert all(isinstance(op, ReadBarrier) for op in program[1::2])


@pytest.mark.parametrize(("title", "question"), deceptions.TOLD, ids=lambda x: str(x)[:40])
def test_an_execution_that_is_told_ends_in_a_mixture(title, question):
    answer = question.answer()
    believed = execution.replay(answer.case.images[0], answer.events)
    for image in answer.case.images:
        assert any(believed[o] != image[o] for o in answer.accepted if o in answer.witness)
    table = deceptions.told(title, question)
    last = table.rows[-1][1]
    assert last.startswith("accepts ")
    assert "old" in last
    assert "new" in last


def test_every_load_and_store_of_an_execution_is_a_line(read_back, form):
    title, question = deceptions.TOLD[0]
    events = question.answer().events
    _, *rows = read_back(form)[deceptions.told(title, question).caption]
    assert len(rows) == len(events) + 1
    stores = sum(
        any(cell.replace("hypervisor: ", "").startswith("stores") for cell in row) for row in rows
    )
    assert stores == sum(event.step >= 0 for event in events)


def test_to_tell_of_a_safe_reader_is_refused():
    safe = deceptions.Question(deceptions.THE_64, deceptions.X86, deceptions.NATIVE)
    with pytest.raises(ValueError, match="no execution to tell"):
        deceptions.told("nothing left out", safe)


def test_the_crossing_area_has_its_entry_time_in_two_cache_lines():
    start = deceptions.CROSSING + deceptions.COMPAT.shape.entry_time
    assert {start // 64, (start + 7) // 64} == {0, 1}
