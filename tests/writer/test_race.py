"""The verdicts, from the argument's side: the mutation matrix, the known defects, the replays."""

from functools import cache

import pytest

from agreement.execution import Mismatch, replay
from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.structs.runstate import XEN_RUNSTATE_UPDATE
from runstate_abi.tools.race.rows import placements
from runstate_abi.writer.guest import READER, READERS, CannotDrop, Load, ReadBarrier, drop
from runstate_abi.writer.race import (
    Proof,
    Question,
    Race,
    Writer,
    case_of,
    find_race,
    of_recording,
    of_variant,
)
from runstate_abi.writer.racing.drops import WRITER_DROPS, without
from runstate_abi.writer.racing.execution import tell
from runstate_abi.writer.racing.interleaving import Move
from runstate_abi.writer.racing.ordering import MODEL, part
from runstate_abi.writer.racing.patterns import A_B_A, DIFFERENT, EQUAL
from runstate_abi.writer.racing.projection import Found
from runstate_abi.writer.steps import Barrier, Copy, Store
from runstate_abi.writer.variants import VARIANT, Refused
from runstate_abi.writer.vcpu import (
    Area,
    Runstate,
    entry_bytes,
    flagged,
    state_bytes,
    times_bytes,
    top_byte,
)

X86, WEAK = MODEL["x86-tso"], MODEL["weak"]
LINUX = READER["linux-64"]
ALIGNED = Area("native", 0x1000)


def verdicts(writer, reader=LINUX, area=ALIGNED, **scenario):
    """The verdicts on x86-tso and on weak."""
    return tuple(
        "torn"
        if isinstance(find_race(Question(writer, reader, model, area, **scenario)), Race)
        else "safe"
        for model in (X86, WEAK)
    )


def test_the_first_update_finds_the_image_of_before():
    """It reads bits of it back."""
    kept = Store(1, ALIGNED.offset + 15, b"\x80", b"\x7f")
    runstates = Runstate(0, 0x05 << 56, (1, 2, 3, 4)), Runstate(1, 0x0A << 56, (5, 6, 7, 8))
    case = case_of(Writer("keeps", lambda vcpu, area: (kept,)), ALIGNED, runstates)
    assert case.steps[0].data == b"\x85"


def upstream(**scenario):
    return verdicts(of_variant(VARIANT["upstream"]), **scenario)


# The mutation matrix, row for row.


@pytest.mark.parametrize(
    ("dropped", "x86", "weak"),
    [
        ((), "safe", "safe"),
        (("wmb-set",), "safe", "torn"),
        (("wmb-body",), "safe", "torn"),
        (("wmb-clear",), "safe", "safe"),
        (("set",), "torn", "torn"),
        (("body-bit",), "torn", "torn"),
        (("rmb-copy",), "safe", "torn"),
        (("rmb-reread",), "safe", "torn"),
        (("reread",), "torn", "torn"),
        (("bit-check",), "torn", "torn"),
        (("flag",), "torn", "torn"),
    ],
)
@pytest.mark.parametrize("updates", [1, 2])
def test_each_step_is_there_for_something(dropped, x86, weak, updates):
    assert upstream(dropped=dropped, updates=updates) == (x86, weak)


def hand_made(set_, clear, body=None):
    """A writer of one page: ``set_`` and ``clear`` are given the vCPU and yield steps."""

    def steps(vcpu, area):
        shape, at = area.shape, area.offset
        up = flagged(vcpu.entry_time)
        yield from set_(vcpu, at, shape)
        yield Barrier()
        yield Store(1, at + shape.state, state_bytes(vcpu))
        yield Store(1, at + shape.entry_time, entry_bytes(up))
        yield Copy(1, at + shape.time, times_bytes(vcpu))
        yield Barrier()
        yield from clear(vcpu, at, shape)
        yield Barrier()

    return Writer("hand-made", lambda vcpu, area: tuple(steps(vcpu, area)))


def byte(up):
    def store(vcpu, at, shape):
        value = flagged(vcpu.entry_time) if up else vcpu.entry_time
        yield Store(1, at + shape.update_byte, top_byte(value))

    return store


def eight(up, kind=Store):
    def store(vcpu, at, shape):
        value = flagged(vcpu.entry_time) if up else vcpu.entry_time
        yield kind(1, at + shape.entry_time, entry_bytes(value))

    return store


def halves(up):
    def store(vcpu, at, shape):
        data = entry_bytes(flagged(vcpu.entry_time) if up else vcpu.entry_time)
        yield Store(1, at + shape.entry_time, data[:4])
        yield Store(1, at + shape.entry_time + 4, data[4:])

    return store


def test_a_writer_that_stores_outside_its_pages_cannot_be_asked():
    def astray(vcpu, area):
        return (Store(2, -7, entry_bytes(vcpu.entry_time)),)

    with pytest.raises(WitnessError, match="astray, native at 0x1ff1: it cannot be asked: 8 bytes"):
        find_race(Question(Writer("astray", astray), LINUX, X86, Area("native", 0x1FF1)))


def wrong_byte(vcpu, at, shape):
    low = (vcpu.entry_time & 0xFF) | (XEN_RUNSTATE_UPDATE >> 56)
    yield Store(1, at + shape.entry_time, bytes([low]))


@pytest.mark.parametrize(
    ("set_", "clear", "expected"),
    [
        (byte(True), byte(False), ("safe", "safe")),
        (eight(True), byte(False), ("safe", "safe")),
        (halves(True), byte(False), ("torn", "torn")),
        (eight(True, Copy), byte(False), ("torn", "torn")),
        (wrong_byte, byte(False), ("torn", "torn")),
        (byte(True), halves(False), ("safe", "safe")),
        (byte(True), eight(False, Copy), ("safe", "safe")),
    ],
    ids=["byte", "eight", "set-halves", "set-copied", "wrong-byte", "clear-halves", "clear-copied"],
)
def test_how_the_flag_is_put_up_and_taken_down_decides(set_, clear, expected):
    assert verdicts(hand_made(set_, clear)) == expected


def test_an_unchanged_entry_time_lets_two_updates_look_like_one():
    assert upstream(entry_times=EQUAL) == ("torn", "torn")


def test_an_entry_time_that_comes_back_is_torn():
    assert upstream(entry_times=A_B_A, updates=2) == ("torn", "torn")


def test_time_that_runs_backwards_alone_is_harmless():
    assert upstream(entry_times=DIFFERENT) == ("safe", "safe")
    assert upstream(entry_times=DIFFERENT, updates=2) == ("safe", "safe")


def test_three_updates_in_a_row_are_safe_too():
    found = find_race(Question(of_variant(VARIANT["upstream"]), LINUX, WEAK, ALIGNED, updates=3))
    assert isinstance(found, Proof)


@pytest.mark.parametrize("updates", [0, 4])
def test_as_many_updates_can_be_asked_about_as_there_are_other_states(updates):
    with pytest.raises(ValueError, match=f"1 to 3 updates can be asked about, not {updates}"):
        upstream(updates=updates)


def test_an_entry_time_cannot_come_back_after_one_update():
    with pytest.raises(ValueError, match="two updates"):
        upstream(entry_times=A_B_A)


# What tears, and where.


def torn_addresses(name, abi, reader=LINUX, model=X86, line=0x1000):
    """Offsets in a cache line at which the verdict is torn."""
    writer = of_variant(VARIANT[name])
    return {
        at
        for at in range(64)
        if isinstance(find_race(Question(writer, reader, model, Area(abi, line + at))), Race)
    }


def crossing(entry, block):
    """Offsets of an area in a cache line at which the entry time crosses blocks of this size."""
    return {at for at in range(64) if (at + entry) // block != (at + entry + 7) // block}


@pytest.mark.parametrize("name", ["linux-5.16", "linux-6.1"])
@pytest.mark.parametrize(("abi", "entry"), [("native", 8), ("compat", 4)])
@pytest.mark.parametrize("grain", [8, 32, 64])
def test_the_8_byte_set_is_torn_where_it_tears_and_nowhere_else(name, abi, entry, grain):
    model = X86._replace(grain=grain)
    assert torn_addresses(name, abi, model=model) == crossing(entry, grain)


@pytest.mark.parametrize("abi", ["native", "compat"])
def test_the_byte_store_is_safe_at_every_address(abi):
    assert torn_addresses("upstream", abi) == set()
    assert torn_addresses("upstream", abi, model=WEAK) == set()


@pytest.mark.parametrize("line", [0x1000, 0x1740])
def test_an_unaligned_load_is_safe_only_where_it_is_one_access(line):
    torn = torn_addresses("upstream", "native", READER["plain-64"], line=line)
    assert torn == crossing(8, 32)


def phys_torn(abi, grain):
    writer, found = of_variant(VARIANT["xen-phys"]), set()
    for at in range(64):
        try:
            answer = find_race(Question(writer, LINUX, X86._replace(grain=grain), Area(abi, at)))
        except Refused:
            continue
        if isinstance(answer, Race):
            found.add(at)
    return found


def test_xens_phys_area_of_a_32_bit_guest_is_torn_across_a_line_and_on_zen_across_half_a_line():
    assert phys_torn("compat", 64) == {56}
    assert phys_torn("compat", 32) == {24, 56}
    assert phys_torn("native", 32) == set()


def test_the_flag_off_is_torn_everywhere():
    for place in placements("native"):
        for model in (X86, WEAK):
            area = Area("native", place.address, update_flag=False)
            assert isinstance(
                find_race(Question(of_variant(VARIANT["upstream"]), LINUX, model, area)), Race
            )


# Split loads.


@pytest.mark.parametrize(
    ("reader", "one", "two"),
    [
        ("linux-32", "safe", "safe"),
        ("split-lh-lh", "torn", "torn"),
        ("split-hl-hl", "torn", "torn"),
        ("split-lh-hl", "safe", "torn"),
        ("split-hl-lh", "torn", "torn"),
    ],
)
def test_of_the_orders_of_two_halves_one_is_sound_for_one_update_on_x86(reader, one, two):
    assert upstream(reader=READER[reader])[0] == one
    assert upstream(reader=READER[reader], updates=2)[0] == two


@pytest.mark.parametrize("reader", ["linux-32", "split-lh-hl"])
def test_no_order_of_halves_is_sound_where_loads_may_be_reordered(reader):
    assert upstream(reader=READER[reader])[1] == "torn"


# Patterns of equal bytes.


def test_all_255_patterns_one_by_one_say_the_same_as_the_eight_that_are_asked():
    for mask in range(1, 256):
        for model in (X86, WEAK):
            one = find_race(
                Question(of_variant(VARIANT["upstream"]), LINUX, model, ALIGNED, patterns=[mask])
            )
            assert isinstance(one, Proof), mask


def test_a_split_load_is_torn_for_those_patterns_that_leave_its_first_half_equal():
    writer, reader = of_variant(VARIANT["upstream"]), READER["split-lh-lh"]
    torn = {
        mask
        for mask in range(1, 256)
        if isinstance(find_race(Question(writer, reader, X86, ALIGNED, patterns=[mask])), Race)
    }
    assert torn == {mask for mask in range(1, 256) if not mask & 0xF0}


# Executions.


@cache
def every_race():
    """A race for each variant, reader, model and ABI that has one, at two placements."""
    return tuple(races())


def races():
    for variant in VARIANT.values():
        for abi, at in (("native", 0x1000), ("compat", 0x1038), ("native", 0x1FF1)):
            for reader in READERS:
                for model in (X86, WEAK):
                    try:
                        found = find_race(
                            Question(of_variant(variant), reader, model, Area(abi, at))
                        )
                    except Refused:
                        continue
                    if isinstance(found, Race):
                        yield variant, reader, model, found


def test_every_counterexample_replays_byte_by_byte_to_the_accepted_image():
    count = 0
    for variant, reader, _, found in every_race():
        copied = replay(found.case.images[0], found.events)
        assert copied == found.accepted, (variant.name, reader.name)
        assert not is_true(found, reader, copied)
        assert accepts(found, reader)
        count += 1
    assert count > 200


def test_a_race_that_needs_single_bytes_says_so_and_replays_too():
    writer, reader = of_variant(VARIANT["xen-va"]), READER["linux-32"]
    found = find_race(Question(writer, reader, X86, ALIGNED, updates=2))
    assert isinstance(found, Race)
    assert not found.words
    assert replay(found.case.images[0], found.events) == found.accepted
    assert accepts(found, reader)


def is_true(found, reader, copied):
    """Is what the reader believes the image of one update?"""
    rows = [found.case.layout.field(name) for name in reader.uses]
    offsets = [offset for row in rows for offset in range(row.offset, row.end)]
    return any(all(image[o] == copied[o] for o in offsets) for image in found.case.images)


def accepts(found, reader):
    """Does the reader accept what its loads gave in this execution?"""
    seen = {}
    entry = found.case.layout.field("state_entry_time")
    for event in found.events:
        if event.step >= 0 or event.name in ("copy", "state"):
            continue
        for offset, value in enumerate(event.data, event.offset):
            if seen.setdefault(offset, value) != value:
                return False
    return not (reader.bit_check and seen[entry.end - 1] & 0x80)


def test_the_stores_of_a_counterexample_are_the_writers_and_in_the_models_order():
    for _, _, model, found in every_race():
        made = [event for event in found.events if event.step >= 0]
        fences = [i for i, step in enumerate(found.case.steps) if isinstance(step, Barrier)]
        epoch = [sum(fence < event.step for fence in fences) for event in made]
        order = epoch if model.barriers else [event.step for event in made]
        assert order == sorted(order)
        left_out = set(steps_before(found, model, made[-1].step)) - {e.step for e in made}
        assert not left_out
        for event in made:
            step = found.case.steps[event.step]
            start = (step.page - 1) * 4096 + step.offset - found.case.offset
            first = event.offset - start
            assert step.data[first : first + len(event.data)] == event.data


def test_the_loads_of_a_counterexample_are_the_readers_and_in_the_models_order():
    for _, reader, model, found in every_race():
        place, places = 0, {}
        for op in reader.program:
            place += isinstance(op, ReadBarrier) or not model.barriers
            places |= {op.name: place} if isinstance(op, Load) else {}
        loads = [event for event in found.events if event.step < 0]
        order = [places[event.name] for event in loads]
        assert order == sorted(order)
        for load in reader.loads:
            start, size = part(found.case.layout, load)
            loaded = [
                offset
                for event in loads
                if event.name == load.name
                for offset in range(event.offset, event.offset + len(event.data))
            ]
            assert sorted(loaded) == list(range(start, start + size))


def test_a_load_is_made_after_those_that_must_come_before_it_and_no_others():
    reader = drop(LINUX, "rmb-reread")
    found = find_race(Question(of_variant(VARIANT["upstream"]), READER["naive"], WEAK, ALIGNED))
    state, again = 1, 49  # t1 is load 0, and the copy's bytes follow
    path = (Move(0, (), 1), Move(0, (), 0), Move(0, (0,)))
    told = tell(found.case, reader, WEAK, Found((), (0, 0), path, (((0, 0),),), (state, again)))
    assert [(event.name, event.offset, len(event.data)) for event in told.events] == [
        *(("t1", 8, 8), ("copy", 8, 8), ("t2", 8, 8)),
        *(("copy", 0, 8), ("copy", 16, 32)),  # what does not matter is loaded with what does
        ("", 15, 1),
    ]
    # h1, l1 and h1' are loads 0 to 2
    path = (*(Move(0, (), look) for look in range(4)), Move(0, (0,)))
    asked = Found((), (0, 0), path, (((0, 0),),), (0, 1, 2, 3))
    told = tell(found.case, READER["linux-32"], WEAK, asked)
    loads = [(event.name, event.offset, len(event.data)) for event in told.events][3:]
    assert loads[:2] == [("copy", 0, 48), ("", 15, 1)]


def test_a_store_is_made_after_those_that_must_come_before_it_and_no_others():
    asked = Question(
        of_variant(VARIANT["upstream"]), READER["naive"], WEAK, ALIGNED, dropped=("wmb-set",)
    )
    case = find_race(asked).case
    entry_time, clear = (0, 2), (1, 0)  # the flag and the state are stores 0 and 1
    for stored, before in ((entry_time, [(15, 1), (8, 8)]), (clear, [(15, 1), (0, 4), (8, 8)])):
        path = (Move(0, (0,)), Move(0, (), 0))
        told = tell(case, READER["naive"], WEAK, Found((), (0, 0), path, ((stored,),), (0,)))
        stores = [(one.offset, len(one.data)) for one in told.events if one.step >= 0]
        assert stores[: len(before)] == before
        assert len(stores) == 2 or stores[-1] == (15, 1)


def steps_before(found, model, last):
    """The numbers of the writes that the model puts before a step."""
    steps = list(enumerate(found.case.steps))
    if model.barriers:
        last = max((n for n, step in steps[:last] if isinstance(step, Barrier)), default=-1)
    return [number for number, step in steps[: last + 1] if isinstance(step, Store | Copy)]


def test_a_replay_notices_a_load_of_what_memory_does_not_hold():
    found = find_race(Question(of_variant(VARIANT["upstream"]), READER["naive"], X86, ALIGNED))
    index = next(i for i, event in enumerate(found.events) if event.step < 0)
    event = found.events[index]
    wrong = event._replace(data=bytes([event.data[0] ^ 1]) + event.data[1:])
    with pytest.raises(Mismatch):
        replay(found.case.images[0], (*found.events[:index], wrong, *found.events[index + 1 :]))


def test_entry_times_of_a_counterexample_are_as_asked():
    later = find_race(
        Question(of_variant(VARIANT["upstream"]), READER["split-lh-hl"], X86, ALIGNED, updates=2)
    )
    times = [one.entry_time for one in later.versions]
    assert times == sorted(set(times))
    same = find_race(
        Question(of_variant(VARIANT["upstream"]), LINUX, X86, ALIGNED, entry_times=EQUAL)
    )
    assert len({one.entry_time for one in same.versions}) == 1


# What cannot be dropped, and what a recording does not show.


@pytest.mark.parametrize("name", ["body-bit"])
def test_what_a_version_does_not_do_cannot_be_dropped(name):
    with pytest.raises(CannotDrop, match=name):
        verdicts(of_variant(VARIANT["linux-6.1"]), dropped=(name,))


def test_a_version_without_a_switch_cannot_be_without_the_flag():
    with pytest.raises(CannotDrop, match="no switch"):
        verdicts(of_variant(VARIANT["linux-6.1"]), dropped=("flag",))


@pytest.mark.parametrize(
    ("name", "fewer"), [(n, 0 if n in ("body-bit", "flag") else 1) for n in WRITER_DROPS]
)
def test_a_drop_takes_one_step_or_one_bit(name, fewer):
    steps = of_variant(VARIANT["upstream"]).steps(Runstate(1, 5, (1, 2, 3, 4)), ALIGNED)
    left = without(steps, ALIGNED, name)
    assert len(left) == len(steps) - fewer
    assert (left == steps) == (name == "flag")


@pytest.mark.parametrize(("name", "which"), [("wmb-set", 0), ("wmb-body", 1), ("wmb-clear", 2)])
def test_the_barrier_that_is_dropped_is_the_one_that_is_named(name, which):
    steps = of_variant(VARIANT["upstream"]).steps(Runstate(1, 5, (1, 2, 3, 4)), ALIGNED)
    barrier = [index for index, step in enumerate(steps) if isinstance(step, Barrier)][which]
    assert without(steps, ALIGNED, name) == steps[:barrier] + steps[barrier + 1 :]


def recording(steps):
    return of_recording("seen", tuple(steps), ALIGNED)


STATE_AND_TIMES = [(0, "01000000"), *((16 + 8 * i, f"{i + 1:02x}" * 8) for i in range(4))]


def stores(*writes):
    return [Copy(1, ALIGNED.offset + offset, bytes.fromhex(data)) for offset, data in writes]


def test_a_recorded_update_with_the_flag_is_safe_and_without_it_torn():
    program_order = MODEL["program-order"]
    flag = recording(stores((15, "91"), *STATE_AND_TIMES, (8, "11111111111111"), (15, "11")))
    none = recording(stores(*STATE_AND_TIMES, (8, "1111111111111111")))
    assert isinstance(find_race(Question(flag, LINUX, program_order, ALIGNED)), Proof)
    assert isinstance(find_race(Question(none, LINUX, program_order, ALIGNED)), Race)


def test_bytes_that_a_recording_does_not_show_are_claimed_nothing_about():
    seen = recording(stores((15, "91"), *STATE_AND_TIMES[1:], (8, "1111"), (15, "11")))
    assert seen.hidden == {0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14}
    assert isinstance(find_race(Question(seen, LINUX, MODEL["program-order"], ALIGNED)), Proof)


def test_a_recording_is_repeated_with_other_values_and_its_strays_as_they_were():
    steps = [(15, "91"), (8, "91"), (0, "07000000"), (0, "01000000"), (8, "11"), (15, "11")]
    outside = Store(1, ALIGNED.offset + 48, b"\x11")
    seen = recording([*stores(*steps), Barrier(), outside])
    vcpu = Runstate(2, 0x2233445566778899, (1, 2, 3, 4))
    *repeated, barrier, last = seen.steps(vcpu, ALIGNED)
    assert [step.data.hex() for step in repeated] == [
        "a2",
        "91",
        "07000000",
        "02000000",
        "99",
        "22",
    ]
    assert (barrier, last) == (Barrier(), outside)


def test_what_is_stored_beside_the_area_changes_nothing_in_it():
    def beside(vcpu, area):
        around = (area.offset - 1, area.offset + area.shape.size)
        steps = of_variant(VARIANT["upstream"]).steps(vcpu, area)
        return (*(Store(1, at, b"\xff") for at in around), *steps)

    found = find_race(
        Question(Writer("beside", beside), READER["naive"], X86, Area("native", 0x1100))
    )
    assert isinstance(found, Race)
    # Both stores are told as well, and a replay of them leaves the copy as it was accepted.
    assert {-1, 48} <= {event.offset for event in found.events}
    before = found.case.images[0]
    assert replay(before, found.events) == found.accepted
    path = (Move(0, (0,)), Move(1, (0,)), Move(1, (), 0))
    asked = Found((), (0, 0), path, (((0, 0),), ((1, 0),)), (0,))
    told = tell(found.case, READER["naive"], X86, asked)
    assert [event.offset for event in told.events] == [-1, 48, 0]
    assert told.accepted == dict(enumerate(before))


# Bytes that no image has, at places where all images are equal or in the update byte itself.


def stray_state_first(vcpu, area, byte=b"\xff"):
    stray = Store(1, area.offset + area.shape.state + 3, byte)
    return (stray, Barrier(), *of_variant(VARIANT["upstream"]).steps(vcpu, area))


# Outside state_entry_time, the flag's bit is no flag.
def flag_in_state_first(vcpu, area):
    return stray_state_first(vcpu, area, b"\x80")


def odd_update_byte_first(vcpu, area):
    shape, at = area.shape, area.offset
    return (
        Store(1, at + shape.update_byte, b"\x55"),
        Barrier(),
        Store(1, at + shape.state, state_bytes(vcpu)),
        Barrier(),
        Copy(1, at + shape.time, times_bytes(vcpu)),
        Barrier(),
        Store(1, at + shape.entry_time, entry_bytes(vcpu.entry_time)),
    )


@pytest.mark.parametrize("reader", ["linux-64", "copied-time"])
@pytest.mark.parametrize("steps", [stray_state_first, flag_in_state_first, odd_update_byte_first])
def test_a_byte_that_no_image_has_is_found_by_whoever_believes_it(steps, reader):
    assert verdicts(Writer("stray", steps), reader=READER[reader]) == ("torn", "torn")


def test_of_a_copy_only_what_must_be_apart_is_told_apart():
    area, dropped = Area("native", 0x100), ("rmb-reread",)
    upstream = of_variant(VARIANT["upstream"])
    question = Question(upstream, READER["linux-32"], MODEL["weak"], area, dropped=dropped)
    copied = [event for event in find_race(question).events if event.name == "copy"]
    assert [(event.offset, len(event.data)) for event in copied] == [(0, 16), (16, 32)]
