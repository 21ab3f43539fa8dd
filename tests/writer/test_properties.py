"""What holds for every version, at every placement, for all values: found by Hypothesis."""

import pytest
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st

from replaying.traces import parse
from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.writer.memory import Window, apply, play, snapshots, trace
from runstate_abi.writer.steps import (
    Barrier,
    Copy,
    Store,
    TryLock,
    Unlock,
    canonical,
    epochs,
    writes,
)
from runstate_abi.writer.variants import VARIANT, VARIANTS, Refused, prepare
from runstate_abi.writer.vcpu import SHAPES, Area, Runstate

# What embedded-struct breaks, test_alternatives.py says.
NAMES = [one.name for one in VARIANTS if one.name != "embedded-struct"]
KVM = [name for name in NAMES if not name.startswith("xen")]
CACHED = [name for name in KVM if not name.startswith("linux-5") and name != "two-hva-caches"]
UNSIGNED_64 = st.integers(0, (1 << 64) - 1) | st.sampled_from([0, 1 << 63, (1 << 64) - 1])

runstates = st.builds(
    Runstate,
    st.integers(0, (1 << 32) - 1),
    UNSIGNED_64,
    st.tuples(UNSIGNED_64, UNSIGNED_64, UNSIGNED_64, UNSIGNED_64),
)
every_way = settings(deadline=None, max_examples=200, database=None)
# The last 60 offsets are where everything happens; Hypothesis alone would seldom go there.
offsets = st.integers(0, PAGE_SIZE - 1) | st.integers(PAGE_SIZE - 60, PAGE_SIZE - 1)
areas = st.builds(Area, st.sampled_from(sorted(SHAPES)), offsets, st.booleans())
fills = st.binary(min_size=1, max_size=7)


def started(name, area):
    """The caches of a registered area; an example that this version refuses does not count."""
    try:
        return prepare(VARIANT[name], area)
    except Refused:
        reject()


def flags(name, area):
    return area.update_flag or VARIANT[name].always_flagged


@every_way
@given(st.sampled_from(NAMES), areas, runstates, fills, st.booleans())
def test_nothing_outside_the_struct_is_touched(name, area, vcpu, fill, atomic):
    caches = started(name, area)
    window = Window(fill)
    before = bytes(window.data)
    play(window, VARIANT[name].update(vcpu, area, caches, atomic))
    end = area.offset + area.shape.size
    assert window.data[: area.offset] == before[: area.offset]
    assert window.data[end:] == before[end:]


@every_way
@given(st.sampled_from(NAMES), areas, runstates, fills)
def test_the_update_byte_is_up_from_the_first_store_to_the_last(name, area, vcpu, fill):
    caches = started(name, area)
    assume(flags(name, area))
    # 5.14 sets the flag by copying all eight bytes, which may be in two pages, the flag's last.
    assume(name != "linux-5.14" or area.offset + area.shape.size <= PAGE_SIZE)
    top = area.offset + area.shape.update_byte
    moments = list(trace(Window(fill), VARIANT[name].update(vcpu, area, caches, False)))
    written = [one for one in moments if isinstance(one.step, Store | Copy)]
    assert len(written) >= 3
    for moment in written[:-1]:
        assert moment.memory[top] & 0x80


@every_way
@given(st.sampled_from(NAMES), areas, runstates, fills)
def test_at_every_barrier_the_bytes_are_what_the_epochs_say(name, area, vcpu, fill):
    caches = started(name, area)
    steps = [*play(Window(fill), VARIANT[name].update(vcpu, area, caches, False))]
    start, size = area.offset, area.shape.size
    seen = snapshots(trace(Window(fill), steps), start, size)
    # An epoch, said another way: its bytes laid over those before it, in any order.
    memory = dict(enumerate(Window(fill).read(start, size)))
    for epoch, snapshot in zip(epochs(steps), seen, strict=False):
        for write in reversed(epoch):
            first = (write.page - 1) * PAGE_SIZE + write.offset - start
            memory |= dict(enumerate(write.data, first))
        assert bytes(memory[n] for n in range(size)) == snapshot


@every_way
@given(st.sampled_from(["linux-6.2", "upstream"]), areas, runstates, fills)
def test_with_the_flag_off_no_update_byte_is_written_and_there_is_one_barrier(
    name, area, vcpu, fill
):
    area = Area(area.abi, area.offset, update_flag=False)
    steps = tuple(VARIANT[name].update(vcpu, area, prepare(VARIANT[name], area), False))
    assert sum(isinstance(step, Barrier) for step in steps) == 1
    assert not [one for one in writes(steps) if isinstance(one, Store) and len(one.data) == 1]


@every_way
@given(st.sampled_from(NAMES), areas, runstates, fills)
def test_the_struct_ends_as_the_values_say(name, area, vcpu, fill):
    caches = started(name, area)
    window = Window(fill)
    play(window, VARIANT[name].update(vcpu, area, caches, False))
    struct = window.read(area.offset, area.shape.size)
    shape = area.shape
    assert struct[:4] == vcpu.state.to_bytes(4, "little")
    low = vcpu.entry_time.to_bytes(8, "little")[:7]
    assert struct[shape.entry_time : shape.update_byte] == low
    assert struct[shape.time :] == b"".join(one.to_bytes(8, "little") for one in vcpu.times)


# What can be wrong with a cache or a lock before an update, or go wrong while it runs.
def spoil(caches, what):
    def changed():
        caches.host.generation += 1

    {
        "nothing": lambda: None,
        "gpc1 stale": lambda: caches.invalidate(0),
        "gpc2 stale": lambda: caches.invalidate(PAGE_SIZE),
        "memslots": changed,
        "no slot": lambda: (changed(), setattr(caches.host, "slot_end", 0)),
        "no page": lambda: (caches.invalidate(0), caches.host.pages.update({0: 0})),
        "no page 2": lambda: (caches.invalidate(PAGE_SIZE), caches.host.pages.update({1: 0})),
        "gpc1 contended": lambda: setattr(caches.gpc1, "contended", True),
        "gpc2 contended": lambda: setattr(caches.gpc2, "contended", True),
        "inactive": lambda: (caches.gpc1.deactivate_now(), caches.gpc2.deactivate_now()),
    }[what]()


TROUBLES = (
    *("nothing", "gpc1 stale", "gpc2 stale", "memslots", "no slot", "no page", "no page 2"),
    *("gpc1 contended", "gpc2 contended", "inactive"),
)
troubles = st.sampled_from(TROUBLES)


@every_way
@given(st.sampled_from(CACHED), areas, runstates, st.booleans(), troubles)
def test_locks_are_balanced_on_every_path_but_bonzinis(name, area, vcpu, atomic, trouble):
    caches = started(name, area)
    spoil(caches, trouble)
    steps = tuple(VARIANT[name].update(vcpu, area, caches, atomic))
    one_page = not any(isinstance(step, Unlock) and step.cache == "gpc2" for step in steps)
    wrote = any(isinstance(step, Store | Copy) for step in steps)
    leak = name == "single-path" and wrote and one_page
    assert caches.held() == {"gpc1": 0, "gpc2": int(leak)}
    assert not caches.host.irqs_off


@every_way
@given(st.sampled_from(CACHED), areas, runstates, st.booleans(), troubles)
def test_every_early_return_precedes_the_first_store(name, area, vcpu, atomic, trouble):
    caches = started(name, area)
    spoil(caches, trouble)
    steps = tuple(VARIANT[name].update(vcpu, area, caches, atomic))
    done = list(writes(steps))
    if done:
        undisturbed = VARIANT[name].update(vcpu, area, prepare(VARIANT[name], area), False)
        assert done == list(writes(undisturbed))


@every_way
@given(st.sampled_from(CACHED), areas, runstates, troubles)
def test_in_the_scheduler_nothing_sleeps(name, area, vcpu, trouble):
    caches = started(name, area)
    spoil(caches, trouble)
    lines = canonical(VARIANT[name].update(vcpu, area, caches, True))
    assert "refresh" not in lines
    assert "activate" not in lines


@every_way
@given(st.sampled_from(["linux-6.2", "upstream"]), areas, runstates, st.booleans())
def test_merged_code_never_waits_for_a_lock_in_the_scheduler(name, area, vcpu, contended):
    caches = prepare(VARIANT[name], area)
    caches.gpc1.contended = contended
    steps = tuple(VARIANT[name].update(vcpu, area, caches, True))
    assert "lock gpc" not in canonical(steps).replace("trylock", "try").replace("unlock", "un")
    assert any(isinstance(step, TryLock) for step in steps)


@every_way
@given(st.sampled_from(NAMES), areas, runstates, st.booleans())
def test_what_is_written_down_is_read_back(name, area, vcpu, atomic):
    caches = started(name, area)
    window = Window()
    text = canonical(play(window, VARIANT[name].update(vcpu, area, caches, atomic)))
    assert canonical(parse(text)) == text
    again = Window()
    play(again, parse(text))
    assert again.data == window.data


@pytest.mark.parametrize("name", ["linux-5.14", "linux-5.16"])
def test_the_exceptions_that_leave_an_update_half_done_are_those_two(name):
    """Named in the properties above, so shown to be real: a fault after the first store."""
    area = Area("native", 256)
    caches = prepare(VARIANT[name], area)
    window = Window()
    for step in VARIANT[name].update(Runstate(1, 2, (3, 4, 5, 6)), area, caches, False):
        apply(window, step)
        caches.host.pages[0] = 0
    assert window.data[256 + 15] == 0x80
    assert window.read(256, 8) == bytes(8)
