"""What tears and what is reordered: phases of stores and the order of loads, by hand."""

from dataclasses import replace

import pytest

from runstate_abi.layouts.structs.runstate import COMPAT, NATIVE
from runstate_abi.writer.guest import READER, Load, Measured
from runstate_abi.writer.racing.execution import _Stage
from runstate_abi.writer.racing.ordering import MODEL, is_whole, phases, sights
from runstate_abi.writer.racing.scene import Case, scene, written
from runstate_abi.writer.steps import Barrier, Copy, Store

X86, WEAK, RECORDED = MODEL["x86-tso"], MODEL["weak"], MODEL["program-order"]


def cut(steps, model, offset=0):
    """Phases as lists of offsets."""
    found = phases(steps, model, NATIVE, offset)
    return [[list(access.offsets) for access in phase.accesses] for phase in found]


TWO = (Store(1, 0, b"abcd"), Store(1, 8, b"efgh"), Barrier(), Store(1, 15, b"x"))


def test_on_x86_each_store_is_a_phase_and_on_weak_each_epoch():
    assert cut(TWO, X86) == [[[0, 1, 2, 3]], [[8, 9, 10, 11]], [[15]]]
    assert cut(TWO, WEAK) == [[[0, 1, 2, 3], [8, 9, 10, 11]], [[15]]]


@pytest.mark.parametrize("model", [X86, WEAK])
def test_the_bytes_of_a_memcpy_are_stores_of_their_own(model):
    assert cut([Copy(1, 0, b"abc")], model) == [[[0], [1], [2]]]


def test_a_recorded_store_is_one_access_unless_it_crosses_what_a_machine_makes_in_one_piece():
    assert cut([Copy(1, 24, b"abcd")], RECORDED) == [[[24, 25, 26, 27]]]
    assert cut([Copy(1, 30, b"abcd")], RECORDED) == [[[30], [31], [32], [33]]]
    assert cut([Copy(1, 30, b"abcd")], RECORDED._replace(coarse=True)) == [[[30, 31], [32, 33]]]


@pytest.mark.parametrize(
    ("address", "size", "x86", "weak"),
    [(0, 8, True, True), (4, 8, True, False), (28, 8, False, False), (60, 4, True, True),
     (62, 4, False, False), (63, 1, True, True), (32, 8, True, True), (30, 2, True, True),
     (2, 4, True, False)],
)  # fmt: skip
def test_an_access_is_whole_within_32_bytes_on_x86_and_aligned_on_weak(address, size, x86, weak):
    assert (is_whole(address, size, X86), is_whole(address, size, WEAK)) == (x86, weak)


def test_stores_to_a_byte_keep_their_order_and_so_does_what_comes_before_them():
    steps = (Store(1, 8, b"a"), Store(1, 8, b"bcdefghi"), Store(1, 15, b"j"), Store(1, 0, b"k"))
    (phase,) = phases(steps, WEAK, NATIVE, 0)
    assert phase.after == (0b0, 0b1, 0b11, 0b0)


def test_a_store_to_other_bytes_comes_before_nothing():
    (phase,) = phases((Store(1, 0, b"k"), Store(1, 8, b"a"), Store(1, 8, b"b")), WEAK, NATIVE, 0)
    assert phase.after == (0b0, 0b0, 0b10)


def test_an_execution_makes_the_stores_that_come_before_one_first():
    steps = (Store(1, 8, b"a"), Store(1, 0, b"k"), Store(1, 8, b"bcdefghi"), Store(1, 15, b"j"))
    images = bytes(NATIVE.size), b"k".ljust(8, b"\0") + b"bcdefghj" + bytes(NATIVE.size - 16)
    stage = _Stage(Case(NATIVE, 0, images, steps), READER["linux-64"], WEAK)
    stage.store(0, 3)
    assert [event.data for event in stage.events] == [b"a", b"bcdefghi", b"j"]
    assert stage.memory[8:16] == b"bcdefghj"
    stage.store(0, 2)  # has been made
    stage.store(0, 1)
    assert bytes(stage.memory) == images[1]


def test_a_second_page_is_the_rest_of_the_struct():
    assert cut([Copy(2, 0, b"ab")], X86, offset=4096 - 15) == [[[15], [16]]]


def before(reader, model, layout=NATIVE):
    """For each load, the names of the loads that must come before it; the copy is one name."""
    found = sights(READER[reader], model, layout, 0)
    return {
        sight.load.name: {found[i].load.name for i in range(len(found)) if sight.after >> i & 1}
        for sight in found
        if sight.load.name != "copy" or sight.offsets[0] == layout.offsetof("time")
    }


def test_on_x86_loads_are_in_program_order():
    assert before("linux-32", X86, COMPAT) == {
        "h1": set(),
        "l1": {"h1"},
        "h1'": {"h1", "l1"},
        "copy": {"h1", "l1", "h1'"},
        "h2": {"h1", "l1", "h1'", "copy"},
        "l2": {"h1", "l1", "h1'", "copy", "h2"},
        "h2'": {"h1", "l1", "h1'", "copy", "h2", "l2"},
    }


def test_on_weak_only_barriers_and_loads_of_the_same_byte_order_loads():
    first = {"h1", "l1", "h1'"}
    assert before("linux-32", WEAK, COMPAT) == {
        "h1": set(),
        "l1": set(),
        "h1'": {"h1"},
        "copy": first,
        "h2": {*first, "copy"},
        "l2": {*first, "copy"},
        "h2'": {*first, "copy", "h2"},
    }


def test_what_comes_before_an_earlier_load_comes_before_a_later_one_too():
    program = tuple(Load(part, part, 1) for part in ("low", "entry", "high"))
    found = sights(replace(READER["linux-64"], program=program), WEAK, NATIVE, 0)
    assert [sight.after for sight in found] == [0b0, 0b1, 0b11]


@pytest.mark.parametrize(("name", "loads"), [("linux-64", 2), ("plain-64", 16)])
def test_only_a_load_that_the_address_decides_tears(name, loads):
    found = sights(READER[name], X86, NATIVE, 20)
    assert sum(bool(sight.load.read) for sight in found) == loads


def of_code(*loads):
    program = tuple(Load(str(n), "measured", 0, False, one) for n, one in enumerate(loads))
    return sights(replace(READER["linux-64"], program=program), X86, NATIVE, 0)


def test_loads_of_one_instruction_have_no_order_on_x86_either():
    low, high = Measured(16, 8, (), False, ()), Measured(24, 8, (), False, ())
    assert [sight.after for sight in of_code(low, high)] == [0b0, 0b1]
    assert [sight.after for sight in of_code(low, high._replace(same=True))] == [0b0, 0b0]


def test_a_load_acquire_comes_before_the_loads_behind_it_and_after_none():
    first, second, third = (Measured(at, 8, (), False, ()) for at in (16, 24, 32))
    loads = (first, second._replace(acquires=True), third)
    program = tuple(Load(str(n), "measured", 0, True, one) for n, one in enumerate(loads))
    found = sights(replace(READER["linux-64"], program=program), WEAK, NATIVE, 0)
    assert [sight.after for sight in found] == [0b0, 0b0, 0b10]


def test_memcpy_loads_even_an_aligned_word_byte_by_byte_in_any_order():
    found = of_code(Measured(16, 8, (), False, (), copied=True), Measured(24, 8, (), False, ()))
    assert [sight.offsets for sight in found[:-1]] == [(at,) for at in range(16, 24)]
    assert [sight.after for sight in found] == [*[0] * 8, 0xFF]


def test_where_in_a_line_of_64_bytes_an_area_begins_decides_what_tears():
    """Its entry time is at 28 or at 60 of a line: the second is in two lines."""
    model = X86._replace(grain=64)
    for offset, loads in ((20, 2), (52, 16), (64 + 20, 2), (64 + 52, 16)):
        case = Case(NATIVE, offset, (bytes(48), b"x" * 48), ())
        found = scene(case, READER["plain-64"], model).looks.sights
        assert sum(bool(sight.load.read) for sight in found) == loads, offset


def test_the_flags_bit_is_a_flag_in_each_byte_of_the_entry_time_and_nowhere_else():
    case = Case(NATIVE, 0, (bytes(48), b"\x01" * 48), (Copy(1, 0, b"\x81" * 48),))
    tokens = [token for ((_, token, _),) in written(case, X86).histories]
    assert tokens == [(1, 1) if at in range(8, 16) else 0x81 for at in range(48)]
